package command_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tidemark-es/tidemark/command"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// lateState is one whose WaitFor fails.
type lateState struct {
	*projection.Table[string, int64]
}

var errLate = errors.New("late")

func (lateState) WaitFor(context.Context, eventlog.Position) error { return errLate }

// Applied tells that the state didn't get there, and where the events are; of a
// command that came to nothing, it says why.
func TestAppliedFails(t *testing.T) {
	b := startBank(t, logtest.Fresh(t), func(b *bank) command.State[int64] { return lateState{b.table} })
	ctx := logtest.Context(t)
	if r, err := b.accounts.Do(ctx, "ada", deposit(1), command.Applied()); !errors.Is(err, errLate) || r.At.Seq != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	b.do(t, "cy", deposit(1)) // who doesn't ask for it doesn't wait
	// Events beside an error are none.
	both := func(int64) ([]any, error) { return []any{Deposited{1}}, errTooPoor }
	if r, err := b.accounts.Do(ctx, "bob", both, command.Applied()); !errors.Is(err, command.ErrRejected) || r.At.Seq != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, commits := b.folded(t, "bob"); commits != 0 {
		t.Errorf("%d commits", commits)
	}
}

// A command whose context ends while another is at work on its key isn't begun.
func TestNotBegun(t *testing.T) {
	b := openBank(t, logtest.Fresh(t))
	b.do(t, "ada", func(int64) ([]any, error) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.accounts.Do(ended, "ada", func(int64) ([]any, error) {
			t.Error("it is decided")
			return nil, nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		return []any{Deposited{1}}, nil
	})
}

// absent is a context whose end is seen once, by who waits as the n-th behind
// the first draft: so an append has been sent, and its caller has no answer.
type absent struct {
	context.Context
	n, looks *atomic.Int64
}

func (a absent) leave() { a.looks.CompareAndSwap(-1, 0) }

func (a absent) Done() <-chan struct{} {
	if a.looks.Load() >= 0 && a.looks.Add(1) == a.n.Load() {
		c := make(chan struct{})
		close(c)
		return c
	}
	return a.Context.Done()
}

// An append without an answer is sent again, and found, or refused for what
// came before it: the command is carried out once, and its caller hears of
// nothing.
func TestAppendWithoutAnswerIsFound(t *testing.T) {
	var state *disturbed
	b := startBank(t, logtest.Fresh(t), func(b *bank) command.State[int64] {
		state = &disturbed{Table: b.table, b: b}
		return state
	})
	for i, c := range []struct {
		key         string
		disturbed   int64
		opts        []command.Option
		at, decided int
	}{
		{key: "ada", at: 2, decided: 1},
		{key: "bob", at: 3, disturbed: 1, decided: 2}, // the first append is refused, which nobody hears
		{key: "cy", opts: []command.Option{command.ID("c")}, at: 2, decided: 1},
	} {
		b.do(t, c.key, deposit(1), command.Applied()) // so that its head is known, and its state read once
		ctx := absent{logtest.Context(t), new(atomic.Int64), new(atomic.Int64)}
		ctx.n.Store(int64(1 + len(c.opts))) // with an ID, it first waits for its turn
		ctx.looks.Store(-1)
		state.times.Store(c.disturbed)
		decided := 0
		r, err := b.accounts.Do(ctx, c.key, func(int64) ([]any, error) {
			decided++
			return []any{Deposited{1}}, nil
		}, append(c.opts, command.With(func(*eventlog.Draft) { ctx.leave() }))...)
		if err != nil || r.None || decided != c.decided {
			t.Errorf("case %d: got %+v, %v, decided %d times", i, r, err, decided)
		}
		if cents, commits := b.folded(t, c.key); commits != c.at || cents != int64(c.at) {
			t.Errorf("case %d: the log has %d in %d commits", i, cents, commits)
		}
	}
}

// gone is a context whose end is seen by who waits, and not by who looks: as if
// it had come when the append was already sent.
type gone struct {
	context.Context
	ended *atomic.Bool
}

func (g gone) Done() <-chan struct{} {
	if !g.ended.Load() {
		return g.Context.Done()
	}
	c := make(chan struct{})
	close(c)
	return c
}

// The outcome of an append isn't known: the command either finds out, or says
// so and by which ID it can be repeated; it is carried out once.
func TestAmbiguousAppendIsSettled(t *testing.T) {
	b := openBank(t, logtest.Fresh(t))
	for range 20 {
		before, _ := b.folded(t, "ada")
		ctx := gone{logtest.Context(t), new(atomic.Bool)}
		_, err := b.accounts.Do(ctx, "ada", deposit(1), command.With(func(*eventlog.Draft) { ctx.ended.Store(true) }))
		if unknown, ok := errors.AsType[*eventlog.AmbiguousError](err); ok {
			b.do(t, "ada", deposit(1), command.ID(unknown.ID))
		} else if err != nil { // the end came before it was sent
			if after, _ := b.folded(t, "ada"); after != before {
				t.Fatalf("it failed for certain, and %d came of it: %v", after-before, err)
			}
			continue
		}
		if after, _ := b.folded(t, "ada"); after != before+1 {
			t.Fatalf("one deposit came to %d", after-before)
		}
	}
}

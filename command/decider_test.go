package command_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/command"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

func TestDecides(t *testing.T) {
	b := openBank(t, logtest.Fresh(t))
	ctx := logtest.Context(t)
	b.do(t, "ada", deposit(100))
	r := b.do(t, "ada", withdraw(30), command.Applied())
	if cents, _ := b.table.Get("ada"); cents != 70 || r.At.Seq != 2 || r.None || r.Duplicate {
		t.Errorf("got %d behind %+v", cents, r)
	}
	_, err := b.accounts.Do(ctx, "ada", withdraw(71))
	rejected, ok := errors.AsType[*command.RejectedError](err)
	if !errors.Is(err, command.ErrRejected) || !errors.Is(err, errTooPoor) || !ok || rejected.Key != "ada" || rejected.At < 2 {
		t.Errorf("got %v", err)
	}
	if r := b.do(t, "ada", func(int64) ([]any, error) { return nil, nil }); !r.None || r.At.Seq < 2 {
		t.Errorf("nothing to do came to %+v", r)
	}
	if cents, commits := b.folded(t, "ada"); cents != 70 || commits != 2 {
		t.Errorf("the log has %d in %d commits", cents, commits)
	}
}

func TestHandlersAndDraft(t *testing.T) {
	b := openBank(t, logtest.Fresh(t))
	ctx := logtest.Context(t)
	type Withdraw struct{ Cents int64 }
	h := command.Handle(b.accounts, func(have int64, c Withdraw) ([]any, error) { return withdraw(c.Cents)(have) })
	if _, err := h.Do(ctx, "ada", Withdraw{5}); !errors.Is(err, errTooPoor) {
		t.Errorf("got %v", err)
	}
	b.do(t, "ada", deposit(10))
	r, err := h.Do(ctx, "ada", Withdraw{5}, command.With(func(d *eventlog.Draft) { d.Causation, d.Key = "form-7", "somebody else" }))
	if err != nil {
		t.Fatal(err)
	}
	c, ok, err := b.feed.Lookup(ctx, r.At.Seq)
	if err != nil || !ok || c.Key != "ada" || c.Event(0).Causation() != "form-7" {
		t.Errorf("got %+v, %v, %v", c, ok, err)
	}
	if _, err := command.Handle[int64, Withdraw](b.accounts, nil).Do(ctx, "ada", Withdraw{1}); !errors.Is(err, command.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// T1.3 for commands: of one key through one decider, they queue and don't
// conflict.
func TestCommandsOfOneKeyQueue(t *testing.T) {
	b := openBank(t, logtest.Fresh(t))
	const callers, each = 8, 10
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				if _, err := b.accounts.Do(logtest.Context(t), "ada", func(have int64) ([]any, error) {
					calls.Add(1)
					return []any{Deposited{1}}, nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	cents, commits := b.folded(t, "ada")
	if cents != callers*each || commits != callers*each {
		t.Errorf("the log has %d in %d commits", cents, commits)
	}
	if n := calls.Load(); n != callers*each {
		t.Errorf("%d commands were decided %d times", callers*each, n)
	}
}

// Two processes with tables of their own: no decision is made on an old state,
// and none is rejected on one.
func TestTwoProcessesOnOneKey(t *testing.T) {
	log := logtest.Fresh(t)
	banks := []*bank{openBank(t, log), openBank(t, log)}
	banks[0].do(t, "ada", deposit(40))
	var paid atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 20 {
				_, err := banks[i%2].accounts.Do(logtest.Context(t), "ada", withdraw(1), command.Attempts(1000))
				switch {
				case err == nil:
					paid.Add(1)
				case !errors.Is(err, errTooPoor):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if cents, _ := banks[0].folded(t, "ada"); cents != 0 || paid.Load() != 40 {
		t.Errorf("of 40, %d were paid out and %d are left", paid.Load(), cents)
	}
	// What the other process has paid in counts at once.
	for range 20 {
		banks[0].do(t, "ada", deposit(1))
		banks[1].do(t, "ada", withdraw(1))
	}
}

// disturbed changes the key whenever its state was read.
type disturbed struct {
	*projection.Table[string, int64]
	b     *bank
	times atomic.Int64
}

func (s *disturbed) GetAt(key, feed string) (int64, bool, uint64, error) {
	v, ok, at, err := s.Table.GetAt(key, feed)
	if s.times.Add(-1) >= 0 {
		if _, err := s.b.feed.Append(context.Background(), key, eventlog.ExpectAny, Deposited{1}); err != nil {
			return v, ok, at, err
		}
	}
	return v, ok, at, err
}

func TestConflictsAreDecidedAgain(t *testing.T) {
	var state *disturbed
	b := startBank(t, logtest.Fresh(t), func(b *bank) command.State[int64] {
		state = &disturbed{Table: b.table, b: b}
		return state
	})
	b.do(t, "ada", deposit(1))
	state.times.Store(3)
	b.do(t, "ada", withdraw(4)) // there when the third disturbance is
	if cents, _ := b.folded(t, "ada"); cents != 0 {
		t.Errorf("%d are left", cents)
	}
	state.times.Store(1 << 40)
	_, err := b.accounts.Do(logtest.Context(t), "ada", deposit(1), command.Attempts(3))
	conflict, ok := errors.AsType[*command.ConflictError](err)
	if !errors.Is(err, command.ErrConflict) || !errors.Is(err, eventlog.ErrConflict) || !ok || conflict.Attempts != 3 {
		t.Errorf("got %v", err)
	}
	// A rejection on an old state is none.
	_, err = b.accounts.Do(logtest.Context(t), "ada", withdraw(1<<40), nil)
	last, known := errors.AsType[*eventlog.ConflictError](err)
	if conflict, ok = errors.AsType[*command.ConflictError](err); !ok || conflict.Attempts != command.DefaultAttempts || !known || last.Actual == 0 {
		t.Errorf("got %v", err)
	}
}

func TestCommandWithIDIsCarriedOutOnce(t *testing.T) {
	log := logtest.Fresh(t)
	b := openBank(t, log)
	b.do(t, "ada", deposit(100))
	paid := b.do(t, "ada", deposit(1), command.ID("bonus"))
	if r := b.do(t, "ada", deposit(1), command.ID("bonus")); !r.Duplicate || r.At != paid.At {
		t.Errorf("again, at once, came to %+v, not %+v", r, paid)
	}
	b.do(t, "ada", withdraw(1))
	first := b.do(t, "ada", withdraw(100), command.ID("order-1"))
	for _, again := range []*bank{b, openBank(t, log)} {
		// It would be rejected now, if it weren't known.
		if r := again.do(t, "ada", withdraw(100), command.ID("order-1")); !r.Duplicate || r.At != first.At {
			t.Errorf("again came to %+v, not %+v", r, first)
		}
		again.do(t, "ada", deposit(100))
		if r := again.do(t, "ada", withdraw(100), command.ID("order-1")); !r.Duplicate || r.At != first.At {
			t.Errorf("again came to %+v, not %+v", r, first)
		}
		again.do(t, "ada", withdraw(100))
	}
	if _, err := b.accounts.Do(logtest.Context(t), "ada", withdraw(1), command.ID("order-2")); !errors.Is(err, errTooPoor) {
		t.Errorf("got %v", err)
	}
}

func TestPanicIsContained(t *testing.T) {
	b := openBank(t, logtest.Fresh(t))
	_, err := b.accounts.Do(logtest.Context(t), "ada", func(int64) ([]any, error) { panic(errTooPoor) })
	_, _, line, _ := runtime.Caller(0)
	if at := fmt.Sprintf("decider_test.go:%d", line-1); err == nil || !strings.Contains(err.Error(), at) {
		t.Errorf("it doesn't say %s: %v", at, err)
	}
	p, ok := errors.AsType[*command.PanicError](err)
	if !ok || !errors.Is(err, errTooPoor) || p.Stack == "" || errors.Is(err, command.ErrRejected) || errors.Is(err, command.ErrConflict) {
		t.Errorf("got %v", err)
	}
	_, err = b.accounts.Do(logtest.Context(t), "ada", deposit(1), command.With(func(*eventlog.Draft) { panic("with") }))
	if p, ok := errors.AsType[*command.PanicError](err); !ok || p.Value != "with" {
		t.Errorf("got %v", err)
	}
	b.do(t, "ada", deposit(1)) // the key isn't held
	if _, commits := b.folded(t, "ada"); commits != 1 {
		t.Errorf("%d commits", commits)
	}
}

func TestInvalid(t *testing.T) {
	log := logtest.Fresh(t)
	b := openBank(t, log)
	ctx := logtest.Context(t)
	for name, opt := range map[string]command.Option{"ID": command.ID(""), "Attempts": command.Attempts(0), "With": command.With(nil)} {
		if _, err := b.accounts.Do(ctx, "ada", deposit(1), opt); !errors.Is(err, command.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := b.accounts.Do(ctx, "ada", nil); !errors.Is(err, command.ErrInvalid) {
		t.Errorf("nil: got %v", err)
	}
	if _, err := b.accounts.Do(ctx, "", deposit(1)); !errors.Is(err, eventlog.ErrInvalidKey) {
		t.Errorf("no key: got %v", err)
	}
	if _, err := command.New[int64](nil, b.table); !errors.Is(err, command.ErrInvalid) {
		t.Errorf("nil feed: got %v", err)
	}
	stream := log.App() + "_theirs"
	logtest.CreateStream(t, log.JetStream(), jetstream.StreamConfig{Name: stream, Subjects: []string{stream + ".>"}})
	theirs, err := log.Adopt(ctx, "theirs", eventlog.Adoption{Stream: stream, Layouts: []eventlog.Layout{{Subject: stream + ".{id}.{type}"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := command.New(theirs, b.table); !errors.Is(err, command.ErrInvalid) || !errors.Is(err, eventlog.ErrReadOnly) {
		t.Errorf("somebody else's stream: got %v", err)
	}
	if _, err := command.New[int64](b.feed, nil); !errors.Is(err, command.ErrInvalid) {
		t.Errorf("nil state: got %v", err)
	}
	if _, err := command.Handle(nil, func(int64, int) ([]any, error) { return nil, nil }).Do(ctx, "ada", 1); !errors.Is(err, command.ErrInvalid) {
		t.Errorf("nil decider: got %v", err)
	}
	idle, err := command.New(b.feed, projection.NewTable[string, int64]("idle"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Do(ctx, "ada", deposit(1)); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("a table that isn't started: got %v", err)
	}
	if _, commits := b.folded(t, "ada"); commits != 0 {
		t.Errorf("%d commits", commits)
	}
}

func TestStoppedTableRefuses(t *testing.T) {
	b := openBank(t, logtest.Fresh(t))
	b.do(t, "ada", deposit(1))
	if err := b.rt.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.accounts.Do(logtest.Context(t), "ada", deposit(1)); !errors.Is(err, projection.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

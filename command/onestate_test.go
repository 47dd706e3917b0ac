package command_test

import (
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/command"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// A command that nobody disturbs is decided once: also where the decider
// doesn't know the key's last sequence, which the state includes.
func TestWrongGuessIsNoConflict(t *testing.T) {
	log := logtest.Fresh(t)
	b := openBank(t, log)
	b.do(t, "ada", deposit(5))
	b.do(t, "ada", withdraw(5), command.Applied()) // there is no row any more
	calls := 0
	once := func(cents int64) func(int64) ([]any, error) {
		return func(int64) ([]any, error) {
			calls++
			return []any{Deposited{cents}}, nil
		}
	}
	fresh := openBank(t, log)
	r := fresh.do(t, "ada", once(1), command.Attempts(1))
	if err := b.rt.Wait(logtest.Context(t), r.At); err != nil {
		t.Fatal(err)
	}
	other := b.do(t, "ada", deposit(2), command.Attempts(1)) // it remembers the withdrawal
	if err := fresh.rt.Wait(logtest.Context(t), other.At); err != nil {
		t.Fatal(err)
	}
	if r := fresh.do(t, "ada", once(3), command.Attempts(1)); r.Duplicate || calls != 2 {
		t.Errorf("%d calls, %+v", calls, r)
	}
	if cents, commits := b.folded(t, "ada"); cents != 6 || commits != 5 {
		t.Errorf("the log has %d in %d commits", cents, commits)
	}
}

// A state that lacks events of the key, since they are parked, is none to
// decide on; nor are they applied.
func TestParkedKeyIsRefused(t *testing.T) {
	for name, as := range map[string]func(b *bank) command.State[int64]{
		"the table":     nil,
		"one behind it": func(b *bank) command.State[int64] { return b.behind },
	} {
		t.Run(name, func(t *testing.T) {
			b := startBank(t, logtest.Fresh(t), as, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
			ctx := logtest.Context(t)
			b.do(t, "ada", deposit(5))
			if r, err := b.accounts.Do(ctx, "ada", deposit(13), command.Applied()); !errors.Is(err, projection.ErrParked) || r.At.Seq != 2 {
				t.Errorf("applied: %+v, %v", r, err)
			}
			if _, err := b.accounts.Do(ctx, "ada", deposit(1)); !errors.Is(err, projection.ErrParked) {
				t.Errorf("got %v", err)
			}
			b.do(t, "bob", deposit(1), command.Applied())
			if err := b.rt.DropParked(ctx, b.rt.Parked()...); err != nil {
				t.Fatal(err)
			}
			b.do(t, "ada", withdraw(5), command.Applied())
			if cents, commits := b.folded(t, "ada"); cents != 13 || commits != 3 {
				t.Errorf("the log has %d in %d commits", cents, commits)
			}
		})
	}
}

package command_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/command"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	Deposited struct{ Cents int64 }
	Withdrawn struct{ Cents int64 }
)

var (
	errTooPoor = errors.New("not enough money")
	errUnlucky = errors.New("unlucky")
)

// bank is a process of its own on a log: its table, its runtime, its decider.
type bank struct {
	feed     *eventlog.Feed
	table    *projection.Table[string, int64]
	behind   *projection.Table[string, int64] // the same, told by the table
	rt       *projection.Runtime
	accounts *command.Decider[int64]
}

func openBank(t *testing.T, log *eventlog.Log) *bank {
	t.Helper()
	return startBank(t, log, nil)
}

// startBank lets the state that is decided on be another one than the table. An
// account of nothing has no row, and a deposit of 13 fails.
func startBank(t *testing.T, log *eventlog.Log, as func(*bank) command.State[int64], opts ...projection.TableOption) *bank {
	t.Helper()
	ctx := logtest.Context(t)
	feed, err := log.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"), eventlog.Type[Withdrawn]("withdrawn"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bank{feed: feed, table: projection.NewTable[string, int64]("balances", opts...)}
	projection.On(b.table, feed, func(tx *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		if d.Cents == 13 {
			return errUnlucky
		}
		tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
		return nil
	})
	projection.On(b.table, feed, func(tx *projection.Tx[string, int64], e eventlog.Event, w Withdrawn) error {
		if left := tx.Value(e.Key) - w.Cents; left != 0 {
			tx.Put(e.Key, left)
		} else {
			tx.Delete(e.Key)
		}
		return nil
	})
	b.behind = projection.Map("behind", b.table, func(_ string, cents int64) int64 { return cents })
	if b.rt, err = (projection.Config{NoSnapshots: true}).Start(ctx, log, b.table, b.behind); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.rt.Close(); err != nil {
			t.Error(err)
		}
	})
	state := command.State[int64](b.table)
	if as != nil {
		state = as(b)
	}
	if b.accounts, err = command.New(feed, state); err != nil {
		t.Fatal(err)
	}
	return b
}

func deposit(cents int64) func(int64) ([]any, error) {
	return func(int64) ([]any, error) { return []any{Deposited{cents}}, nil }
}

func withdraw(cents int64) func(int64) ([]any, error) {
	return func(have int64) ([]any, error) {
		if have < cents {
			return nil, errTooPoor
		}
		return []any{Withdrawn{cents}}, nil
	}
}

func (b *bank) do(t *testing.T, key string, decide func(int64) ([]any, error), opts ...command.Option) command.Result {
	t.Helper()
	r, err := b.accounts.Do(logtest.Context(t), key, decide, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// folded reads a key from the log: its balance, how many commits, and whether
// it was ever below zero.
func (b *bank) folded(t *testing.T, key string) (cents int64, commits int) {
	t.Helper()
	for c, err := range b.feed.Commits(context.Background(), eventlog.OfKey(key)) {
		if err != nil {
			t.Fatal(err)
		}
		commits++
		for i := range c.Len() {
			v, err := c.Event(i).Value()
			if err != nil {
				t.Fatal(err)
			}
			switch v := v.(type) {
			case Deposited:
				cents += v.Cents
			case Withdrawn:
				cents -= v.Cents
			}
		}
		if cents < 0 {
			t.Fatalf("%s is at %d behind %s: decided on an old state", key, cents, c.Position())
		}
	}
	return cents, commits
}

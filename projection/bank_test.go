package projection_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// The bank that the tests keep: accounts with deposits and withdrawals, and
// a second feed of audits.
type (
	opened    struct{ Owner string }
	deposited struct{ Cents int64 }
	withdrawn struct{ Cents int64 }
	closed    struct{}
	audited   struct{ Note string }
)

type bank struct {
	log      *eventlog.Log
	accounts *eventlog.Feed
	audits   *eventlog.Feed
}

// inMemory are the options of a fresh log without files, where it is embedded:
// for tests of many runs, to which those are nothing but time.
func inMemory(t testing.TB) eventlog.Options {
	t.Helper()
	o := logtest.Options(t)
	if o.URL == "" {
		o.Dir, o.Memory = "", true
	}
	return o
}

func openBank(t testing.TB, o eventlog.Options) *bank {
	t.Helper()
	return bankOf(t, logtest.Open(t, o))
}

func bankOf(t testing.TB, log *eventlog.Log) *bank {
	t.Helper()
	b := &bank{log: log}
	b.accounts = must(log.Feed(t.Context(), "accounts", eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited"),
		eventlog.Type[withdrawn]("withdrawn"), eventlog.Type[closed]("closed")))(t)
	b.audits = must(log.Feed(t.Context(), "audits", eventlog.Type[audited]("audited")))(t)
	return b
}

// must returns a value, and fails the test on an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (b *bank) append(t testing.TB, key string, events ...any) eventlog.Position {
	t.Helper()
	return must(b.accounts.Append(t.Context(), key, eventlog.ExpectAny, events...))(t)
}

func (b *bank) audit(t testing.TB, key, note string) eventlog.Position {
	t.Helper()
	return must(b.audits.Append(t.Context(), key, eventlog.ExpectAny, audited{note}))(t)
}

// balances sums each account up; a closed account is gone.
func (b *bank) balances(opts ...projection.TableOption) *projection.Table[string, int64] {
	type tx = *projection.Tx[string, int64]
	t := projection.NewTable[string, int64]("balances", opts...)
	projection.On(t, b.accounts, func(t tx, e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	projection.On(t, b.accounts, func(t tx, e eventlog.Event, d withdrawn) error {
		if t.Value(e.Key) < d.Cents {
			return fmt.Errorf("account %s has %d, not %d", e.Key, t.Value(e.Key), d.Cents)
		}
		t.Put(e.Key, t.Value(e.Key)-d.Cents)
		return nil
	})
	projection.On(t, b.accounts, func(t tx, e eventlog.Event, _ closed) error {
		t.Delete(e.Key)
		return nil
	})
	return t
}

// notes counts the audits of each key, and its account's events: two feeds.
func (b *bank) notes(opts ...projection.TableOption) *projection.Table[string, int] {
	t := projection.NewTable[string, int]("notes", opts...)
	projection.On(t, b.audits, func(t *projection.Tx[string, int], e eventlog.Event, _ audited) error {
		t.Put(e.Key, t.Value(e.Key)+1)
		return nil
	})
	projection.On(t, b.accounts, func(t *projection.Tx[string, int], e eventlog.Event, _ deposited) error {
		t.Put(e.Key, t.Value(e.Key)+1000)
		return nil
	})
	return t
}

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// start starts projections; each is closed when the test ends.
func (b *bank) start(t testing.TB, c projection.Config, ps ...projection.Projection) *projection.Runtime {
	t.Helper()
	rt := must(c.Start(logtest.Context(t), b.log, ps...))(t)
	t.Cleanup(func() { _ = rt.Close() })
	return rt
}

func contents[K comparable, V any](t *projection.Table[K, V]) map[K]V { return maps.Collect(t.All()) }

func equal[K comparable, V comparable](t testing.TB, what string, got *projection.Table[K, V], want map[K]V) {
	t.Helper()
	if g := contents(got); !maps.Equal(g, want) {
		t.Errorf("%s: %v, want %v", what, g, want)
	}
}

func status(t testing.TB, rt *projection.Runtime, name string) projection.Status {
	t.Helper()
	for _, s := range must(rt.Status(context.WithoutCancel(t.Context())))(t) {
		if s.Projection == name {
			return s
		}
	}
	t.Fatalf("no projection %q", name)
	return projection.Status{}
}

// often is a policy that saves after each n events, as fast as they come.
func often(n uint64) projection.Config {
	return projection.Config{Snapshots: projection.Policy{Events: n, MinInterval: 1}}
}

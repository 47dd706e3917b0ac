package backup_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

type deposited struct{ Cents int64 }

// bank is an application of two feeds and a unit of two projections.
type bank struct {
	log              *eventlog.Log
	accounts, audits *eventlog.Feed
	sums, counts     *projection.Table[string, int64]
	past             *history
}

// history is what was appended to the accounts and the audits.
type history struct {
	mu     sync.Mutex
	events []entry
}

type entry struct {
	at    eventlog.Position
	key   string
	cents int64
}

// fold is what the projections are at a timeframe.
func (h *history) fold(at timeframe.Timeframe) (sums, counts map[string]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sums, counts = make(map[string]int64), make(map[string]int64)
	for _, e := range h.events {
		if seq, _ := at.Get(e.at.Feed); e.at.Seq > seq {
			continue
		}
		counts[e.key]++
		if e.at.Feed == "accounts" {
			sums[e.key] += e.cents
		}
	}
	return sums, counts
}

func (b *bank) append(f *eventlog.Feed, key string, cents int64) (eventlog.Position, error) {
	at, err := f.Append(context.Background(), key, eventlog.ExpectAny, deposited{cents})
	if err == nil {
		b.past.mu.Lock()
		defer b.past.mu.Unlock()
		b.past.events = append(b.past.events, entry{at, key, cents})
	}
	return at, err
}

// again is the same application with projections that weren't started.
func (b *bank) again(t testing.TB) *bank {
	t.Helper()
	next := open(t, b.log)
	next.past = b.past
	return next
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fresh(t testing.TB, app string) *eventlog.Log {
	return logtest.Open(t, eventlog.Options{App: app, Dir: t.TempDir()})
}

// open opens the application's feeds, and makes projections to start.
func open(t testing.TB, log *eventlog.Log) *bank {
	t.Helper()
	b := &bank{log: log, past: &history{}}
	b.accounts = must(log.Feed(t.Context(), "accounts", eventlog.Type[deposited]("deposited")))(t)
	b.audits = must(log.Feed(t.Context(), "audits", eventlog.Type[deposited]("deposited")))(t)
	b.sums, b.counts = projection.NewTable[string, int64]("sums"), projection.NewTable[string, int64]("counts")
	projection.On(b.sums, b.accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	for _, f := range []*eventlog.Feed{b.accounts, b.audits} {
		projection.On(b.counts, f, func(t *projection.Tx[string, int64], e eventlog.Event, _ deposited) error {
			t.Put(e.Key, t.Value(e.Key)+1)
			return nil
		})
	}
	return b
}

func (b *bank) unit() *projection.Unit { return projection.NewUnit("bank", b.sums, b.counts) }

func (b *bank) start(t testing.TB, every uint64) *projection.Runtime {
	t.Helper()
	c := projection.Config{Snapshots: projection.Policy{Events: every, MinInterval: 1}}
	return must(c.Start(logtest.Context(t), b.log, b.unit()))(t)
}

func (b *bank) deposit(t testing.TB, f *eventlog.Feed, n int) (at eventlog.Position) {
	t.Helper()
	for i := range n {
		at = must(b.append(f, fmt.Sprintf("k%d", i%5), int64(i)))(t)
	}
	return at
}

// filled is an application with snapshots, that doesn't run.
func filled(t testing.TB, n int) *bank {
	t.Helper()
	b := open(t, fresh(t, logtest.App(t)))
	b.deposit(t, b.accounts, n)
	b.deposit(t, b.audits, n)
	if err := b.start(t, 10).Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

func contents(t *projection.Table[string, int64]) map[string]int64 { return maps.Collect(t.All()) }

// started starts a restored application, and fails unless it comes from its
// snapshot and is what the original was at that timeframe.
func started(t testing.TB, original *bank, log *eventlog.Log, m *backup.Manifest) *bank {
	t.Helper()
	b := open(t, log)
	rt := b.start(t, 1000)
	t.Cleanup(func() { _ = rt.Close() })
	at := must(log.Heads(t.Context()))(t)
	for _, s := range must(rt.Status(t.Context()))(t) {
		if s.Recovery.Source != projection.FromSnapshot || len(s.Recovery.Skipped) > 0 {
			t.Fatalf("recovery of %s: %+v", s.Projection, s.Recovery)
		}
	}
	for feed, f := range map[string]*eventlog.Feed{"accounts": original.accounts, "audits": original.audits} {
		mine := must(log.Opened(feed))(t)
		seq, _ := at.Get(feed)
		theirs := must(f.Observe(t.Context(), seq))(t)
		ours := must(mine.Observe(t.Context(), seq))(t)
		if mine.Incarnation() != f.Incarnation() || seq != m.Feeds()[mine.Stream()] || ours.Prints[seq] != theirs.Prints[seq] {
			t.Fatalf("feed %s at %d isn't what it was", feed, seq)
		}
	}
	sums, counts := original.past.fold(at)
	if !maps.Equal(contents(b.sums), sums) || !maps.Equal(contents(b.counts), counts) {
		t.Fatalf("restored %v and %v, want %v and %v", contents(b.sums), contents(b.counts), sums, counts)
	}
	return b
}

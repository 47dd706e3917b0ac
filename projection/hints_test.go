package projection_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// T2.6: while one branch of a diamond is at work on an event, for 20 s, what
// reads both publishes nothing of it; then it publishes once, with the effects
// of both, whichever branch was late.
func TestDiamondWithALateBranch(t *testing.T) {
	for _, late := range []string{"left", "right"} {
		t.Run(late, func(t *testing.T) {
			bubble.Run(t, func(t *testing.T) {
				ctx := logtest.Context(t)
				b := openBank(t, eventlog.Options{App: "app", Memory: true})
				src := b.balances()
				branch := func(name string, factor int64) *projection.Table[string, int64] {
					return projection.Map(name, src, func(_ string, v int64) int64 {
						if name == late {
							bubble.Pass(20 * time.Second)
						}
						return factor * v
					})
				}
				left, right := branch("left", 1), branch("right", 100)
				sum := projection.NewTable[string, int64]("sum", projection.Derived())
				for _, from := range []*projection.Table[string, int64]{left, right} {
					projection.OnChange(sum, from, func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
						tx.Put(c.Key, tx.Value(c.Key)+c.New-c.Old)
						return nil
					})
				}
				rt := b.start(t, projection.Config{NoSnapshots: true, StuckAfter: time.Hour}, src, left, right, sum)
				w := sum.Watch()
				defer w.Close()
				for i, want := range []int64{101, 303} {
					at := b.append(t, "ada", deposited{int64(i + 1)})
					bubble.Pass(10 * time.Second) // the late one is in the middle of it
					none, cancel := context.WithTimeout(ctx, time.Second)
					if d, err := w.Next(none); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("published with one branch: %+v, %v", d, err)
					}
					cancel()
					if err := rt.Wait(ctx, at); err != nil {
						t.Fatal(err)
					}
					if d := next(t, w); d.Reset || len(d.Changes) != 1 || d.Changes[0].New != want || d.Cause.Position() != at {
						t.Errorf("event %d: %+v, want %d", i, d, want)
					}
				}
				none, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				if d, err := w.Next(none); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("published twice: %+v, %v", d, err)
				}
			})
		})
	}
}

// T0.10, R0.17: a state that doesn't change is saved, again and again, and what
// is stored is compared with it and compacted: readers never see a row missing,
// and watchers are told of nothing.
func TestSavingIsInvisible(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, inMemory(t))
	balances := b.balances()
	want := make(map[string]int64)
	for i := range 40 {
		key := fmt.Sprint("k", i)
		b.append(t, key, deposited{1})
		want[key] = 1
	}
	rt := b.start(t, often(1), balances)
	w := balances.Watch()
	defer w.Close()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := contents(balances); !maps.Equal(got, want) {
					t.Errorf("a reader saw %v", got)
					return
				}
				if v, ok := balances.Get("k7"); !ok || v != 1 || balances.Len() != len(want) {
					t.Errorf("a reader saw %d %v of %d rows", v, ok, balances.Len())
					return
				}
			}
		})
	}
	for range 15 {
		saves := rt.Metrics()[0].Snapshots.Saves
		at := b.append(t, "k0", opened{"of no concern to the table"})
		awaitStatus(t, rt, "saved again", func(s projection.SnapshotStatus) bool {
			seq, _ := s.At.Get("accounts")
			return s.Saves > saves && seq >= at.Seq
		})
		if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
	last := b.append(t, "k0", deposited{1})
	if d := next(t, w); d.Reset || d.Missed > 0 || d.Cause.Position() != last {
		t.Errorf("a watcher was told %+v", d)
	}
}

// T1.2: an append that is refused, by its expectation, by a transaction's
// condition or by the store, changes no view, and no observer is told of it.
func TestRefusedAppendsAreSeenByNobody(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	var handled []string
	balances := b.balances()
	seen := projection.NewTable[string, int]("seen")
	projection.On(seen, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, _ deposited) error {
		handled = append(handled, e.Key)
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	rt := b.start(t, projection.Config{}, projection.NewUnit("unit", balances, seen))
	if err := rt.Wait(ctx, b.append(t, "ada", deposited{1})); err != nil {
		t.Fatal(err)
	}
	w := balances.Watch()
	defer w.Close()
	want := map[string]int64{"ada": 1}
	refused := func(class error, _ eventlog.Position, err error) {
		t.Helper()
		if !errors.Is(err, class) {
			t.Errorf("got %v, want %v", err, class)
		}
		equal(t, "behind a refusal", balances, want)
	}
	at, err := b.accounts.Append(ctx, "ada", eventlog.ExpectNew, deposited{10})
	refused(eventlog.ErrConflict, at, err)
	_, err = b.accounts.AppendTransaction(ctx, eventlog.Transaction{Drafts: []eventlog.Draft{
		{Key: "bob", Events: []any{deposited{10}}, Expect: eventlog.ExpectNew},
		{Key: "ada", Events: []any{deposited{10}}, Expect: eventlog.ExpectNew},
	}})
	refused(eventlog.ErrConflict, at, err)
	js := b.log.JetStream()
	cfg := must(js.Stream(ctx, b.accounts.Stream()))(t).CachedInfo().Config
	full := cfg
	full.MaxMsgs = int64(must(b.accounts.State(ctx))(t).Messages)
	must(js.UpdateStream(ctx, full))(t)
	at, err = b.accounts.Append(ctx, "eve", eventlog.ExpectAny, deposited{10})
	refused(eventlog.ErrRefused, at, err)
	must(js.UpdateStream(ctx, cfg))(t)
	last := b.append(t, "cyd", deposited{2})
	if err := rt.Wait(ctx, last); err != nil {
		t.Fatal(err)
	}
	want["cyd"] = 2
	equal(t, "in the end", balances, want)
	if d := next(t, w); d.Reset || len(d.Changes) != 1 || d.Changes[0].Key != "cyd" || d.Cause.Position() != last {
		t.Errorf("a watcher was told %+v", d)
	}
	if got := fmt.Sprint(handled); got != "[ada cyd]" {
		t.Errorf("handled %s", got)
	}
}

// R1.8: what is applied is stored before: each time a handler is called, the
// stream's leader has the event's message, beside many callers that append.
func TestStoredBeforeApplied(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	stream := must(b.log.JetStream().Stream(ctx, b.accounts.Stream()))(t)
	table := projection.NewTable[string, int64]("t")
	projection.On(table, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		info, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		if info.State.LastSeq < e.Position().Seq {
			return fmt.Errorf("event %v is applied, and the log ends at %d", e.Position(), info.State.LastSeq)
		}
		m, err := stream.GetMsg(ctx, e.Position().Seq)
		if err != nil || !m.Time.Equal(e.Time) {
			return fmt.Errorf("event %v is applied, and isn't stored: %v, %w", e.Position(), m, err)
		}
		tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
		return nil
	})
	rt := b.start(t, projection.Config{NoSnapshots: true}, table)
	var wg sync.WaitGroup
	const callers, each = 16, 20
	for i := range callers {
		wg.Go(func() {
			for range each {
				at, err := b.accounts.Append(ctx, fmt.Sprint("k", i), eventlog.ExpectAny, deposited{1})
				if err == nil { // acknowledged, so it will be applied
					err = rt.Wait(ctx, at)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if v, _ := table.Get(fmt.Sprint("k", i)); v == 0 {
					t.Errorf("k%d isn't applied behind %v", i, at)
				}
			}
		})
	}
	wg.Wait()
	if err := table.Err(); err != nil {
		t.Error(err)
	}
	var sum int64
	for _, v := range table.All() {
		sum += v
	}
	if sum != callers*each {
		t.Errorf("%d deposits", sum)
	}
}

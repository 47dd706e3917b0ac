package projection_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// follow brings a copy of a table up to date by a delta.
func follow[K comparable, V any](have map[K]V, d projection.Delta[K, V]) {
	if d.Reset {
		clear(have)
	}
	for _, c := range d.Changes {
		if c.Has {
			have[c.Key] = c.New
		} else {
			delete(have, c.Key)
		}
	}
}

// T2.9, T1.13: from now, with the rows, and since a timeframe: each later
// delta once, in order; from what isn't covered, the rows.
func TestWatch(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	balances := b.balances(projection.History(3))
	rt := b.start(t, projection.Config{}, balances)
	for i := range int64(5) {
		b.append(t, fmt.Sprint(i), deposited{i})
	}
	if err := rt.Wait(ctx, b.append(t, "0", deposited{5})); err != nil {
		t.Fatal(err)
	}
	tf := func(s string) timeframe.Timeframe { return must(timeframe.Parse(s))(t) }
	now, rows := balances.Watch(), balances.Watch(projection.WithRows())
	covered, gone := balances.Watch(projection.Since(tf("accounts=4"))), balances.Watch(projection.Since(tf("accounts=2")))
	all, beyond := balances.Watch(projection.Since(tf("accounts=6"))), balances.Watch(projection.Since(tf("accounts=99")))
	if d := next(t, rows); !d.Reset || len(d.Changes) != 5 || d.At.String() != "accounts=6" || !d.Changes[0].Has || d.Missed != 0 {
		t.Errorf("with rows: %+v", d)
	}
	if d := next(t, covered); d.Reset || d.Cause.Seq != 5 || d.Changes[0].Key != "4" {
		t.Errorf("covered: %+v", d)
	}
	if d := next(t, covered); d.Reset || d.Cause.Seq != 6 || d.At.String() != "accounts=6" {
		t.Errorf("covered: %+v", d)
	}
	for what, w := range map[string]*projection.Watcher[string, int64]{"not covered": gone, "beyond the table": beyond} {
		if d := next(t, w); !d.Reset || len(d.Changes) != 5 {
			t.Errorf("%s: %+v", what, d)
		}
	}
	b.append(t, "0", closed{})
	for i, w := range []*projection.Watcher[string, int64]{now, rows, covered, gone, all, beyond} {
		if d := next(t, w); d.Reset || d.Cause.Seq != 7 || len(d.Changes) != 1 || d.Changes[0].Old != 5 || d.Changes[0].Has {
			t.Errorf("watcher %d: %+v", i, d)
		}
		if i > 0 {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if i == 1 {
			if _, err := w.Next(ctx); !errors.Is(err, projection.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		}
	}
	short, cancel := context.WithCancelCause(ctx)
	why := errors.New("why")
	cancel(why)
	for _, err := range now.Deltas(short) {
		if !errors.Is(err, why) {
			t.Errorf("cancelled: %v", err)
		}
	}
	// What came before the end is told before it.
	b.append(t, "1", withdrawn{99}) // fails
	if _, err := now.Next(ctx); !errors.Is(err, projection.ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}

// T2.8, T2.9: a watcher that is too slow is told so and gets a fresh start;
// nothing waits for it, and it ends with the table's rows. A watcher that
// keeps up gets every delta.
func TestSlowWatcher(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	balances := b.balances(projection.History(10))
	rt := b.start(t, projection.Config{}, balances)
	slow := balances.Watch(projection.WithRows())
	defer slow.Close()
	have := map[string]int64{}
	follow(have, next(t, slow))
	const commits = 100
	for i := range commits {
		p := b.append(t, fmt.Sprint(i%7), deposited{int64(i)})
		if i == commits-1 {
			if err := rt.Wait(ctx, p); err != nil { // though nobody reads slow
				t.Fatal(err)
			}
		}
	}
	d := next(t, slow)
	if !d.Reset || d.Missed != commits {
		t.Errorf("reset %v, missed %d", d.Reset, d.Missed)
	}
	follow(have, d)
	b.append(t, "7", deposited{1})
	follow(have, next(t, slow))
	equal(t, "copy", balances, have)

	// A restart of the reader inside the process: a table that is made anew
	// begins anew.
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Next(ctx); !errors.Is(err, projection.ErrClosed) {
		t.Errorf("runtime closed: %v", err)
	}
}

// Copies that follow by Watch while the table changes and watchers come and
// go are equal to it in the end. Views meanwhile see one moment: the table
// and what is derived from it agree.
func TestWatchAndViewMeanwhile(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	balances := b.balances()
	twice := projection.Map("twice", balances, func(_ string, v int64) int64 { return 2 * v }, projection.History(8))
	rt := b.start(t, projection.Config{}, balances, twice)
	const commits = 400
	var wg sync.WaitGroup
	for range 3 {
		w := twice.Watch(projection.WithRows())
		wg.Go(func() {
			defer w.Close()
			have := map[string]int64{}
			for d, err := range w.Deltas(ctx) {
				if err != nil {
					t.Error(err)
					return
				}
				if follow(have, d); have["end"] != 0 {
					break
				}
			}
			if got := contents(twice); !maps.Equal(got, have) {
				t.Errorf("copy %v, table %v", have, got)
			}
		})
	}
	stop, views := make(chan struct{}), 0
	wg.Go(func() {
		for {
			err := projection.View(func(s *projection.Snapshot) error {
				a, b := balances.In(s), twice.In(s)
				if a.Len() != b.Len() {
					return fmt.Errorf("%d and %d rows at %s", a.Len(), b.Len(), s.At())
				}
				var sum int64
				for k, v := range a.All() {
					if sum += v; b.Value(k) != 2*v {
						return fmt.Errorf("%s: %d and %d at %s", k, v, b.Value(k), s.At())
					}
				}
				// Each commit but the last deposits one.
				if at, _ := s.At().Get("accounts"); uint64(sum) != at {
					return fmt.Errorf("%d deposited at %s", sum, s.At())
				}
				return nil
			}, balances, twice)
			if err != nil {
				t.Error(err)
				return
			}
			views++
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range commits {
		b.append(t, fmt.Sprint(i%5), deposited{1})
	}
	if err := rt.Wait(ctx, b.append(t, "end", deposited{1})); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	if views == 0 {
		t.Error("nobody looked")
	}
}

// While a table that was added catches up with those that were restored, there
// is no moment that all of them show.
func TestViewWhileTablesCatchUp(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	rt := b.start(t, projection.Config{}, b.balances())
	wait(t, rt, b.append(t, "ada", deposited{1}))
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	for _, read := range []bool{true, false} {
		balances := b.balances()
		var healed atomic.Bool
		failed := make(chan struct{}, 1000)
		added := projection.NewTable[string, int64]("added", projection.OnFailure(projection.FailurePolicy{Retries: 100, Backoff: 20 * time.Millisecond, MaxBackoff: time.Second}))
		projection.On(added, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			if !healed.Load() {
				failed <- struct{}{}
				return errors.New("not yet")
			}
			tx.Put(e.Key, d.Cents)
			return nil
		})
		all := []projection.Projection{balances, added}
		if read {
			all = append(all, projection.Join("joined", balances, added, func(_ string, l, r int64) int64 { return l + r }))
		}
		rt := b.start(t, projection.Config{Background: true, Snapshots: projection.Policy{NotOnClose: true}}, projection.NewUnit("balances", all...))
		<-failed
		<-failed // tables are let be read in between
		seen := func(s *projection.Snapshot) error {
			if l, r := balances.In(s).Value("ada"), added.In(s).Value("ada"); l != r {
				t.Errorf("%d and %d at %s", l, r, s.At())
			}
			return nil
		}
		if err := projection.View(seen, all...); !errors.Is(err, projection.ErrNotReady) {
			t.Errorf("catching up: %v", err)
		}
		healed.Store(true)
		must(rt.Need(logtest.Context(t), all...))(t)()
		if err := projection.View(seen, all...); err != nil {
			t.Error(err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestViewRefuses(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	balances, notes := b.balances(), b.notes()
	nothing := func(*projection.Snapshot) error { return nil }
	if err := projection.View(nothing, balances); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("not started: %v", err)
	}
	b.start(t, projection.Config{}, balances, notes)
	for what, err := range map[string]error{
		"two units":   projection.View(nothing, balances, notes),
		"no tables":   projection.View(nothing),
		"no function": projection.View(nil, balances),
		"not named":   projection.View(func(s *projection.Snapshot) error { notes.In(s).Get("x"); return nil }, balances),
	} {
		if !errors.Is(err, projection.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, ok := errors.AsType[*projection.PanicError](projection.View(func(*projection.Snapshot) error { panic("x") }, balances)); !ok {
		t.Error("the panic came through")
	}
	var kept *projection.Snapshot
	if err := projection.View(func(s *projection.Snapshot) error { kept = s; return nil }, balances); err != nil {
		t.Fatal(err)
	}
	if _, ok := balances.In(kept).Get("x"); ok || balances.In(kept).Len() != 0 {
		t.Error("a view that is over can be read")
	}
}

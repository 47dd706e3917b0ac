package projection_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// awaitState waits until a projection is in a state.
func awaitState(ctx context.Context, t testing.TB, rt *projection.Runtime, name string, want projection.State) {
	t.Helper()
	for {
		for _, s := range rt.Metrics() {
			if s.Projection == name && s.State == want {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%q isn't %s: %+v", name, want, rt.Metrics())
		case <-time.After(time.Millisecond):
		}
	}
}

// R2.32, T2.18: a lazy projection that nobody needs does no work; the first
// need brings it, and what it reads, to the state of an eager one; let go, it
// comes back from its snapshot.
func TestLazy(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{5})
	calls := 0 // by the unit's goroutine; read when that sleeps or after a wait
	lazy := projection.NewTable[string, int64]("lazy", projection.Lazy(20*time.Millisecond))
	projection.On(lazy, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		calls++
		tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
		return nil
	})
	rich := projection.Filter("rich", lazy, func(_ string, c int64) bool { return c > 3 }, projection.Lazy(20*time.Millisecond))
	eager := b.balances()
	rt := b.start(t, often(1), lazy, rich, eager)
	if err := rt.Wait(ctx, b.append(t, "b", deposited{2})); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lazy", "rich"} {
		if s := status(t, rt, name); s.State != projection.Dormant || s.Applied != 0 || s.Recovery.Source != "" || s.Lag != nil {
			t.Errorf("nobody needs it: %+v", s)
		}
	}
	if err := errors.Join(rt.Ready(ctx, 0), rt.Healthy(ctx)); err != nil || rt.Timeframe().String() != "accounts=2" {
		t.Errorf("what is dormant counts: %v, %s", err, rt.Timeframe())
	}
	for round := range 2 {
		release := must(rt.Need(ctx, rich))(t)
		alike(t, "needed", lazy, eager)
		if err := rt.Wait(ctx, b.append(t, "c", deposited{9})); err != nil { // it is waited for now
			t.Fatal(err)
		}
		alike(t, "live", lazy, eager)
		equal(t, "needed", rich, map[string]int64{"a": 5, "c": int64(9 * (round + 1))})
		s := status(t, rt, "lazy")
		if s.State != projection.Live || (s.Recovery.Source == projection.FromSnapshot) != (round > 0) {
			t.Errorf("round %d: %+v", round, s)
		}
		_, d1, err1 := rt.Digest(ctx, "lazy")
		_, d2, err2 := rt.Digest(ctx, "balances")
		if err := errors.Join(err1, err2); err != nil || d1 != d2 {
			t.Errorf("digests %s, %s, %v", d1, d2, err)
		}
		release()
		release()
		awaitState(ctx, t, rt, "lazy", projection.Dormant)
		if s := status(t, rt, "lazy"); s.Rows != 0 || s.At.Len() != 0 || s.Recovery.Source != "" {
			t.Errorf("it was let go: %+v", s)
		}
		if want := 3 + round; calls != want {
			t.Errorf("%d events were handled, want %d: each once", calls, want)
		}
		if _, _, err := rt.Digest(ctx, "lazy"); !errors.Is(err, projection.ErrDormant) && err != nil {
			t.Errorf("digest of what is dormant: %v", err)
		}
		awaitState(ctx, t, rt, "lazy", projection.Dormant)
	}
}

func alike(t testing.TB, what string, got, want *projection.Table[string, int64]) {
	t.Helper()
	equal(t, what, got, contents(want))
}

// Reading wakes a lazy table, and doesn't wait; watching keeps it awake.
func TestLazyReadAndWatched(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	at := b.append(t, "a", deposited{5})
	lazy := b.balances(projection.Lazy(10 * time.Millisecond))
	rt := b.start(t, often(1), lazy)
	if err := rt.Wait(ctx, at); err != nil {
		t.Errorf("a wait for what nobody needs: %v", err)
	}
	for v, ok := lazy.Get("a"); !ok || v != 5; v, ok = lazy.Get("a") {
		if ctx.Err() != nil {
			t.Fatal("reading doesn't wake it")
		}
	}
	awaitState(ctx, t, rt, "balances", projection.Dormant)
	if err := projection.View(func(*projection.Snapshot) error { return nil }, lazy); !errors.Is(err, projection.ErrDormant) {
		t.Errorf("a view of what is dormant: %v", err)
	}
	w := lazy.Watch(projection.WithRows()) // it may be awake before the watcher has its place
	defer w.Close()
	rows, appended := map[string]int64{}, false
	for d, err := range w.Deltas(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Reset {
			clear(rows)
		}
		for _, c := range d.Changes {
			rows[c.Key] = c.New
		}
		if !appended && rows["a"] == 5 {
			appended = true
			b.append(t, "b", deposited{7})
		}
		if rows["b"] == 7 {
			break
		}
	}
	if want := map[string]int64{"a": 5, "b": 7}; !maps.Equal(rows, want) {
		t.Errorf("watched %v, want %v", rows, want)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	awaitState(ctx, t, rt, "balances", projection.Dormant)
}

// What a table that isn't lazy reads is needed from the start; what can't be
// lazy is refused.
func TestLazyNeededDownstream(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{5})
	src := b.balances(projection.Lazy(0))
	up := projection.Map("up", src, func(_ string, v int64) int64 { return v + 1 })
	rt := b.start(t, projection.Config{}, src, up)
	equal(t, "downstream", up, map[string]int64{"a": 6})
	if s := status(t, rt, "balances"); s.State != projection.Live {
		t.Errorf("%+v", s)
	}
	release, err := rt.Need(ctx, src)
	if err != nil {
		t.Fatal(err)
	}
	release()
	other := b.balances()
	pass := func(*projection.Tx[string, int64], projection.Change[string, int64]) error { return nil }
	leaf := projection.NewTable[string, int64]("leaf", projection.Lazy(0))
	projection.OnChange(leaf, other, pass)
	_, err = projection.Start(ctx, b.log, other, leaf)
	if !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), `"leaf" is Lazy, and not Derived`) {
		t.Errorf("a lazy reader of an eager table, by history: %v", err)
	}
	_, err = projection.Start(ctx, b.log, projection.NewUnit("both", other, b.notes(projection.Lazy(0))))
	if !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), `"notes" is Lazy`) || !strings.Contains(err.Error(), "give it to Start by itself") {
		t.Errorf("a lazy table of events beside an eager one: %v", err)
	}
	if _, err := rt.Need(ctx, other); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("need of what isn't started: %v", err)
	}
	if _, err := rt.Need(ctx); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("need of nothing: %v", err)
	}
	sleeping := b.notes(projection.Lazy(0))
	rt2 := b.start(t, projection.Config{}, sleeping)
	if err := rt2.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := rt2.Need(ctx, sleeping); !errors.Is(err, projection.ErrClosed) {
		t.Errorf("need behind the end: %v", err)
	}
}

// A lazy table whose handler fails says so to who needs it.
func TestLazyStopped(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", withdrawn{1})
	lazy := b.balances(projection.Lazy(10 * time.Millisecond))
	rt := b.start(t, often(1), lazy)
	if err := rt.Healthy(ctx); err != nil {
		t.Errorf("nobody needs it: %v", err)
	}
	var stopped *projection.StoppedError
	if _, err := rt.Need(ctx, lazy); !errors.As(err, &stopped) || stopped.Position.Seq != 1 {
		t.Errorf("needed: %v", err)
	}
}

package projection_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// fragile sums deposits up, and fails at what the test says.
type fragile struct {
	*projection.Table[string, int64]
	calls atomic.Int64
	fail  atomic.Pointer[func(e eventlog.Event, d deposited) error]
}

func (b *bank) fragile(fail func(e eventlog.Event, d deposited) error, opts ...projection.TableOption) *fragile {
	f := &fragile{Table: projection.NewTable[string, int64]("fragile", opts...)}
	f.fail.Store(&fail)
	projection.On(f.Table, b.accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		f.calls.Add(1)
		t.Put(e.Key, t.Value(e.Key)*3+d.Cents) // the order shows
		return (*f.fail.Load())(e, d)
	})
	return f
}

func (f *fragile) heal() { f.fail.Store(new(never)) }

var never = func(eventlog.Event, deposited) error { return nil }

// atPoison fails at deposits of 666 by a panic.
func atPoison(_ eventlog.Event, d deposited) error {
	if d.Cents == 666 {
		panic("poison")
	}
	return nil
}

func wait(t testing.TB, rt *projection.Runtime, at eventlog.Position) {
	t.Helper()
	if err := rt.Wait(logtest.Context(t), at); err != nil {
		t.Fatal(err)
	}
}

func expect[K comparable, V comparable](t testing.TB, table *projection.Table[K, V], want map[K]V) {
	t.Helper()
	got := contents(table)
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %v is %v, want %v", table.Name(), k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s holds %v, want %v", table.Name(), got, want)
	}
}

// T2.10: a reducer that panics on one event.
func TestPoisonIsParkedAndARestartDoesntTryItAgain(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	policy := projection.OnFailure(projection.FailurePolicy{Retries: 2, Backoff: time.Millisecond, Then: projection.ParkCommit})
	var told []projection.Parked
	f := b.fragile(atPoison, policy)
	other := b.notes()
	rt := b.start(t, projection.Config{Parked: func(p projection.Parked) { told = append(told, p) }}, f, other)
	b.append(t, "ada", deposited{1})
	bad := b.append(t, "ada", deposited{5}, deposited{666})
	b.append(t, "ada", deposited{2})
	wait(t, rt, b.append(t, "bob", deposited{7}))
	expect(t, f.Table, map[string]int64{"ada": 5, "bob": 7})
	if n := f.calls.Load(); n != 3+3*2 {
		t.Errorf("the handler was called %d times, want 9", n)
	}
	parked := rt.Parked()
	if len(parked) != 1 {
		t.Fatalf("parked: %+v", parked)
	}
	p := parked[0]
	if p.Projection != "fragile" || p.Position != (eventlog.Position{Feed: "accounts", Seq: bad.Seq, Index: 1}) || p.Key != "ada" || p.Type != "deposited" ||
		p.Attempts != 3 || !strings.Contains(p.Err, "poison") || !strings.Contains(p.Stack, "atPoison") || p.Waiting || p.Skipped {
		t.Errorf("parked: %+v", p)
	}
	if s := statusOf(t, rt, "fragile"); s.Parked != 1 || s.State != projection.Live || s.Err != nil {
		t.Errorf("status: %+v", s)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].Position != p.Position {
		t.Errorf("the hook was told %+v", told)
	}

	again := b.fragile(atPoison, policy)
	rt = b.start(t, projection.Config{}, again)
	if n := again.calls.Load(); n != 0 {
		t.Errorf("a restart called the handler %d times", n)
	}
	if now := rt.Parked(); len(now) != 1 || now[0].Position != p.Position || now[0].Err != p.Err || now[0].Attempts != 3 {
		t.Errorf("after a restart: %+v", now)
	}
	expect(t, again.Table, map[string]int64{"ada": 5, "bob": 7})

	// Handled again while it still fails, and then not.
	if n, err := rt.RetryParked(t.Context()); n != 0 || err == nil || !strings.Contains(err.Error(), "poison") {
		t.Errorf("retry: %d, %v", n, err)
	}
	if now := rt.Parked(); len(now) != 1 || now[0].Attempts != 4 {
		t.Errorf("after a retry: %+v", now)
	}
	expect(t, again.Table, map[string]int64{"ada": 5, "bob": 7})
	again.heal()
	if n, err := rt.RetryParked(t.Context()); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	healed := map[string]int64{"ada": (5*3+5)*3 + 666, "bob": 7}
	expect(t, again.Table, healed)

	// It lasts without another event.
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	last := b.fragile(atPoison, policy)
	rt = b.start(t, projection.Config{}, last)
	expect(t, last.Table, healed)
	if len(rt.Parked()) != 0 || last.calls.Load() != 0 {
		t.Errorf("parked: %+v, %d calls", rt.Parked(), last.calls.Load())
	}
}

func statusOf(t testing.TB, rt *projection.Runtime, name string) projection.Status {
	t.Helper()
	all := rt.Metrics()
	i := slices.IndexFunc(all, func(s projection.Status) bool { return s.Projection == name })
	if i < 0 {
		t.Fatalf("no status of %q in %+v", name, all)
	}
	return all[i]
}

// R2.22: a parked key keeps its order, and others go on.
func TestAParkedKeyKeepsItsOrder(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	f := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	rt := b.start(t, projection.Config{}, f)
	b.append(t, "ada", deposited{1})
	b.append(t, "ada", deposited{666})
	b.append(t, "ada", opened{"Ada"}) // isn't handled, so it doesn't wait
	b.append(t, "bob", deposited{666})
	b.append(t, "ada", deposited{2})
	third := b.append(t, "ada", deposited{3})
	wait(t, rt, b.append(t, "eve", deposited{9}))
	expect(t, f.Table, map[string]int64{"ada": 1, "eve": 9})
	parked := rt.Parked()
	if len(parked) != 4 || parked[0].Waiting || parked[1].Waiting || !parked[2].Waiting || parked[2].Attempts != 0 {
		t.Fatalf("parked: %+v", parked)
	}
	// The last one of the key alone: those before it are tried first, and
	// while they fail, it stays.
	if parked[3].Position.Seq != third.Seq {
		t.Fatalf("parked: %+v", parked)
	}
	if n, err := rt.RetryParked(t.Context(), parked[3]); n != 0 || err == nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	if len(rt.Parked()) != 4 {
		t.Errorf("parked: %+v", rt.Parked())
	}
	f.heal()
	if n, err := rt.RetryParked(t.Context(), parked[3]); n != 3 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	if now := rt.Parked(); len(now) != 1 || now[0].Key != "bob" {
		t.Errorf("parked: %+v", now)
	}
	wait(t, rt, b.append(t, "ada", deposited{4}))
	wait(t, rt, b.append(t, "bob", deposited{4}))
	ada := ((((1*3+666)*3+2)*3 + 3) * 3) + 4
	expect(t, f.Table, map[string]int64{"ada": int64(ada), "eve": 9})
	// Given up, a later one of bob's leaves those before it parked, and the
	// first one the one behind it.
	wait(t, rt, b.append(t, "bob", deposited{5}))
	if err := rt.DropParked(t.Context(), rt.Parked()[2]); err != nil || len(rt.Parked()) != 2 || rt.Parked()[1].Type != "" {
		t.Errorf("%v, parked: %+v", err, rt.Parked())
	}
	if err := rt.DropParked(t.Context(), rt.Parked()[0]); err != nil {
		t.Error(err)
	}
	if now := rt.Parked(); len(now) != 1 || !now[0].Waiting {
		t.Errorf("parked: %+v", now)
	}
	if n, err := rt.RetryParked(t.Context()); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	expect(t, f.Table, map[string]int64{"ada": int64(ada), "eve": 9, "bob": 4})
}

func TestASkippedEventLeavesARecord(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	f := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.Skip}))
	rt := b.start(t, projection.Config{}, f)
	b.append(t, "ada", deposited{666})
	wait(t, rt, b.append(t, "ada", deposited{2}))
	expect(t, f.Table, map[string]int64{"ada": 2})
	parked := rt.Parked()
	if len(parked) != 1 || !parked[0].Skipped || parked[0].Stack == "" {
		t.Fatalf("parked: %+v", parked)
	}
	if n, err := rt.RetryParked(t.Context(), parked...); n != 0 || !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("retry: %d, %v", n, err)
	}
	if n, err := rt.RetryParked(t.Context()); n != 0 || err != nil {
		t.Errorf("retry of all: %d, %v", n, err)
	}
	if err := rt.DropParked(t.Context(), parked...); err != nil || len(rt.Parked()) != 0 {
		t.Errorf("drop: %v, %+v", err, rt.Parked())
	}
	if err := rt.DropParked(t.Context(), parked...); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("second drop: %v", err)
	}
}

// R2.22: a failure that passes costs nothing but time, and nobody sees half of
// a commit meanwhile.
func TestRetriesUndoAndTryAgain(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	failures := 3
	var f *fragile
	var upstream *projection.Table[string, int64]
	var seen []int64
	f = b.fragile(nil, projection.OnFailure(projection.FailurePolicy{Retries: 3, Backoff: time.Millisecond}))
	upstream = b.balances()
	doubled := projection.NewTable[string, int64]("doubled", projection.OnFailure(projection.FailurePolicy{Retries: 3, Backoff: time.Millisecond}))
	projection.OnChange(doubled, upstream, func(t *projection.Tx[string, int64], c projection.Change[string, int64]) error {
		t.Put(c.Key, 2*c.New)
		if c.New == 3 && failures > 0 {
			failures--
			seen = append(seen, c.Old)
			return errors.New("not yet")
		}
		return nil
	})
	f.heal()
	rt := b.start(t, projection.Config{}, f, upstream, doubled)
	w := upstream.Watch()
	defer w.Close()
	b.append(t, "ada", deposited{1})
	b.append(t, "ada", deposited{2})
	wait(t, rt, b.append(t, "ada", deposited{4}))
	expect(t, upstream, map[string]int64{"ada": 7})
	expect(t, doubled, map[string]int64{"ada": 14})
	if !slices.Equal(seen, []int64{1, 1, 1}) {
		t.Errorf("what it is tried with: %v", seen)
	}
	var told []int64
	for d, err := range w.Deltas(logtest.Context(t)) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range d.Changes {
			told = append(told, c.New)
		}
		if len(told) >= 3 {
			break
		}
	}
	if !slices.Equal(told, []int64{1, 3, 7}) {
		t.Errorf("watchers were told %v", told)
	}
	if len(rt.Parked()) != 0 {
		t.Errorf("parked: %+v", rt.Parked())
	}
}

// While a retry is waited for, the tables can be read at the commit before.
func TestReadersDontWaitForARetry(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	f := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Retries: 1, Backoff: time.Hour, MaxBackoff: time.Hour, Then: projection.ParkCommit}))
	double := projection.Map("double", f.Table, func(_ string, v int64) int64 { return 2 * v })
	rt := b.start(t, projection.Config{}, f, double)
	wait(t, rt, b.append(t, "ada", deposited{1}))
	// One batch or several: what comes before the failure is shown.
	ok := b.append(t, "ada", deposited{2})
	bad := b.append(t, "ada", deposited{666})
	wait(t, rt, ok)
	for f.calls.Load() < 3 {
		if err := rt.Wait(logtest.Context(t), ok); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, f.Table, map[string]int64{"ada": 5})
	err := projection.View(func(s *projection.Snapshot) error {
		if v, w := f.In(s).Value("ada"), double.In(s).Value("ada"); v != 5 || w != 10 {
			return fmt.Errorf("%d and %d", v, w)
		}
		return nil
	}, f.Table, double)
	if err != nil {
		t.Error(err)
	}
	// Closing doesn't wait either, and decides nothing.
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	again := b.fragile(never)
	rt = b.start(t, projection.Config{}, again)
	wait(t, rt, bad)
	expect(t, again.Table, map[string]int64{"ada": 5*3 + 666})
}

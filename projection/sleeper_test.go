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
	"pgregory.net/rapid"
)

// asleep is a lazy graph behind an eager table, and the same one eager: a
// filter, a ranking by group of that, and a join of both sides.
type asleep struct {
	src   *projection.Table[string, int64]
	rich  [2]*projection.Table[string, int64]
	best  [2]*projection.Table[int64, []projection.Ranked[string, int64]]
	both  [2]*projection.Table[string, int64]
	calls atomic.Int64 // of the lazy side's functions
}

func newAsleep(b *bank, idle time.Duration) *asleep {
	a := &asleep{src: b.balances()}
	for i, name := range []string{"lazy-", "eager-"} {
		count := func() {
			if i == 0 {
				a.calls.Add(1)
			}
		}
		var opts []projection.TableOption
		if i == 0 {
			opts = append(opts, projection.Lazy(idle))
		}
		a.rich[i] = projection.Filter(name+"rich", a.src, func(_ string, v int64) bool { count(); return v > 2 }, opts...)
		a.best[i] = projection.TopNBy(name+"best", a.rich[i], 2, func(_ string, v int64) (int64, bool) { count(); return v % 3, true }, func(a, b int64) bool { return a > b }, opts...)
		a.both[i] = projection.LeftJoin(name+"both", a.src, a.rich[i], func(_ string, l, r int64, ok bool) int64 { count(); return 2*l + r }, opts...)
	}
	return a
}

func (a *asleep) all() []projection.Projection {
	return []projection.Projection{a.both[0], a.best[1], a.rich[0], a.src, a.best[0], a.rich[1], a.both[1]}
}

func (a *asleep) alike(s *projection.Snapshot) error {
	rich, both := [2]map[string]int64{}, [2]map[string]int64{}
	best := [2]string{}
	for i := range 2 {
		rich[i], both[i] = maps.Collect(a.rich[i].In(s).All()), maps.Collect(a.both[i].In(s).All())
		best[i] = fmt.Sprint(maps.Collect(a.best[i].In(s).All()))
	}
	if !maps.Equal(rich[0], rich[1]) || !maps.Equal(both[0], both[1]) || best[0] != best[1] {
		return fmt.Errorf("at %s: %v, %v, %v", s.At(), rich, both, best)
	}
	return nil
}

// R2.32, T2.18, R2.11: lazy tables behind eager ones do no work while nobody
// needs them; whoever needs one, whenever, finds what an eager one has at the
// same commit, from then on as well; and it is let go again.
func TestSleepersProperty(t *testing.T) {
	ctx := logtest.Context(t)
	log := must(eventlog.Open(ctx, eventlog.Options{App: logtest.App(t), Memory: true}))(t)
	t.Cleanup(func() { _ = log.Close() })
	b := bankOf(t, log)
	var a *asleep
	var rt *projection.Runtime
	defer func() { _ = rt.Close() }()
	rapid.Check(t, func(r *rapid.T) {
		if rt == nil || rapid.IntRange(0, 19).Draw(r, "restart") == 0 {
			if rt != nil {
				if err := rt.Close(); err != nil {
					r.Fatal(err)
				}
			}
			a = newAsleep(b, time.Millisecond)
			rt = must(often(5).Start(ctx, log, a.all()...))(t)
		}
		still := func() {
			for _, name := range []string{"lazy-rich", "lazy-best", "lazy-both"} {
				awaitState(ctx, t, rt, name, projection.Dormant)
			}
			calls := a.calls.Load()
			if err := rt.Wait(ctx, b.append(t, "a", deposited{1})); err != nil {
				r.Fatal(err)
			}
			if n, rows := a.calls.Load(), status(t, rt, "lazy-rich").Rows; n != calls || rows != 0 {
				r.Fatalf("%d calls, %d rows: nobody needs it", n-calls, rows)
			}
		}
		for range rapid.IntRange(1, 2).Draw(r, "needs") {
			needs := rapid.SampledFrom([][]projection.Projection{
				{a.rich[0], a.best[0], a.both[0]}, {a.both[0], a.best[0]}, {a.best[0], a.rich[0], a.both[0]},
			}).Draw(r, "needed")
			release := must(rt.Need(ctx, needs...))(t)
			for range rapid.IntRange(0, 3).Draw(r, "commits") {
				at := b.append(t, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "key"), deposited{rapid.Int64Range(-3, 3).Draw(r, "cents")})
				if rapid.Bool().Draw(r, "waits") {
					if err := rt.Wait(ctx, at); err != nil {
						r.Fatal(err)
					}
				}
				if err := projection.View(a.alike, a.all()...); err != nil {
					r.Fatal(err)
				}
			}
			if err := projection.View(a.alike, a.all()...); err != nil {
				r.Fatal(err)
			}
			release()
		}
		still()
	})
}

// Who needs a sleeper alone, by whatever way, has it; what reads it sleeps on.
func TestSleeperNeeded(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{5})
	a := newAsleep(b, 5*time.Millisecond)
	rt := b.start(t, often(1), a.all()...)
	if s := status(t, rt, "lazy-rich"); s.State != projection.Dormant || s.Lag != nil || s.Recovery.Source != "" || s.Unit != "balances" {
		t.Errorf("%+v", s)
	}
	if err := projection.View(a.alike, a.all()...); !errors.Is(err, projection.ErrDormant) {
		t.Errorf("a view of what sleeps: %v", err)
	}
	awaitState(ctx, t, rt, "lazy-both", projection.Dormant) // the View woke it
	awaitState(ctx, t, rt, "lazy-best", projection.Dormant)
	at := b.append(t, "b", deposited{9})
	if err := a.rich[0].WaitFor(ctx, at); err != nil {
		t.Fatal(err)
	}
	for { // WaitFor has let it go: GetAt wakes it, and says what it includes
		v, ok, seq, err := a.rich[0].GetAt("b", "accounts")
		if err != nil || seq != 0 && (seq != at.Seq || !ok || v != 9) || ctx.Err() != nil {
			t.Fatalf("%d, %t at %d, %v", v, ok, seq, err)
		}
		if seq != 0 {
			break
		}
	}
	awaitState(ctx, t, rt, "lazy-best", projection.Dormant) // it reads what is awake, and isn't needed
	w := a.best[0].Watch(projection.WithRows())
	appended := false
	for d, err := range w.Deltas(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Reset && len(d.Changes) == 2 && !appended { // it has been filled: of 5 and 9
			appended = true
			at = b.append(t, "c", deposited{3})
		}
		if !d.Reset && d.Cause.Position() == at {
			break
		}
	}
	release := must(rt.Need(ctx, a.best[0]))(t)
	if s := status(t, rt, "lazy-best"); s.State != projection.Live || s.At.String() != "accounts=3" || s.Recovery.Source != projection.FromRows {
		t.Errorf("%+v", s)
	}
	_, _, err := rt.Digest(ctx, "lazy-best")
	if !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("digest of what isn't saved: %v", err)
	}
	if err := errors.Join(w.Close(), rt.Ready(ctx, 0), rt.Healthy(ctx)); err != nil {
		t.Error(err)
	}
	release()
	awaitState(ctx, t, rt, "lazy-best", projection.Dormant)
	if got := a.best[0].At(); got.Len() != 0 {
		t.Errorf("what sleeps is at %s", got)
	}
	then := newAsleep(b, time.Hour)
	must(projection.AsOf(ctx, b.log, must(timeframe.Parse("accounts=2"))(t), then.all()...))(t)
	if err := projection.View(then.alike, then.all()...); err != nil || then.rich[0].Len() != 2 {
		t.Errorf("of the past: %d, %v", then.rich[0].Len(), err)
	}
}

// A sleeper whose function fails says so to who needs it, and is tried again
// when it has been let go; what it reads goes on. One whose source has stopped
// says that.
func TestSleeperFails(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{5})
	src := b.balances()
	var bad atomic.Bool
	bad.Store(true)
	low := projection.Map("low", src, func(_ string, v int64) int64 {
		if bad.Load() {
			panic("low")
		}
		return -v
	}, projection.Lazy(2*time.Millisecond))
	behind := projection.Map("behind", low, func(_ string, v int64) int64 { return -v }, projection.Lazy(2*time.Millisecond))
	second := false
	half := projection.Map("half", src, func(_ string, v int64) int64 {
		if second {
			panic("half")
		}
		second = true
		return v
	}, projection.Lazy(0))
	b.append(t, "b", deposited{6})
	rt := b.start(t, often(1), src, low, behind, half)
	if _, err := rt.Need(ctx, half); !errors.Is(err, projection.ErrStopped) || half.Len() != 0 {
		t.Errorf("half filled: %v, %v", contents(half), err)
	}
	_, err := rt.Need(ctx, behind)
	if stopped, ok := errors.AsType[*projection.StoppedError](err); !ok || stopped.Projection != "behind" || stopped.Upstream != "low" || !errors.Is(err, projection.ErrUpstream) {
		t.Errorf("needed: %v", err)
	}
	if err := rt.Healthy(ctx); src.Err() != nil {
		t.Errorf("what it reads: %v, %v", err, src.Err())
	}
	bad.Store(false)
	awaitState(ctx, t, rt, "low", projection.Dormant)
	release := must(rt.Need(ctx, behind))(t)
	equal(t, "mended", behind, map[string]int64{"a": 5, "b": 6})
	release()
	awaitState(ctx, t, rt, "low", projection.Dormant)
	b.append(t, "a", withdrawn{9}) // balances refuses it
	for src.Err() == nil {
		if ctx.Err() != nil {
			t.Fatal("it doesn't stop")
		}
	}
	if s := status(t, rt, "low"); s.State != projection.Dormant {
		t.Errorf("nobody needs it: %+v", s)
	}
	if _, err := rt.Need(ctx, behind); !errors.Is(err, projection.ErrUpstream) {
		t.Errorf("what it reads has stopped: %v", err)
	}
}

// Beside appends, readers and views, a sleeper that wakes and sleeps all the
// time is never seen with rows of another moment than what it reads.
func TestSleeperBesideAll(t *testing.T) {
	ctx, cancel := context.WithCancel(logtest.Context(t))
	b := openBank(t, logtest.Options(t))
	a := newAsleep(b, time.Nanosecond)
	rt := b.start(t, often(7), a.all()...)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				switch i {
				case 0:
					if v, ok := a.rich[0].Get("a"); ok && v <= 2 {
						t.Errorf("%d is rich", v)
					}
				case 1:
					if release, err := rt.Need(ctx, a.all()...); err == nil {
						if err := projection.View(a.alike, a.all()...); err != nil {
							t.Error(err)
						}
						release()
					} else if ctx.Err() == nil {
						t.Error(err)
					}
				default:
					if err := projection.View(a.alike, a.all()...); err != nil && !errors.Is(err, projection.ErrDormant) {
						t.Error(err)
					}
				}
			}
		})
	}
	var at eventlog.Position
	for i := range 100 {
		at = b.append(t, fmt.Sprint("abc"[i%3:i%3+1]), deposited{int64(i % 5)})
	}
	if err := rt.Wait(ctx, at); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
}

package projection_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// next returns a watcher's next delta.
func next[K comparable, V any](t testing.TB, w *projection.Watcher[K, V]) projection.Delta[K, V] {
	t.Helper()
	return must(w.Next(logtest.Context(t)))(t)
}

// diamond is two branches of one table, and a table that adds both up; order
// says which branch comes first, everywhere.
func (b *bank) diamond(swap bool) (src *projection.Table[string, int64], sum *projection.Table[string, int64], all []projection.Projection) {
	src = b.balances()
	left := projection.Map("left", src, func(_ string, v int64) int64 { return 2 * v })
	right := projection.Map("right", src, func(_ string, v int64) int64 { return v + 1 })
	sum = projection.NewTable[string, int64]("sum", projection.Derived())
	add := func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
		if v := tx.Value(c.Key) + c.New - c.Old; c.Has {
			tx.Put(c.Key, v)
		} else {
			tx.Delete(c.Key)
		}
		return nil
	}
	all = []projection.Projection{src, left, right, sum}
	if swap {
		left, right = right, left
		all = []projection.Projection{sum, left, right, src}
	}
	projection.OnChange(sum, left, add)
	projection.OnChange(sum, right, add)
	return src, sum, all
}

// T2.5, T2.6, T2.7, R2.19: what reconverges is published once for a source
// commit, with the effects of both branches, whichever comes first; two
// commits aren't squashed, and what the source batched into one isn't torn.
func TestDiamond(t *testing.T) {
	for _, swap := range []bool{false, true} {
		t.Run(fmt.Sprintf("swap=%v", swap), func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			src, sum, all := b.diamond(swap)
			rt := b.start(t, projection.Config{}, all...)
			w := sum.Watch()
			defer w.Close()
			b.append(t, "ada", deposited{1})
			b.append(t, "ada", deposited{2}, deposited{3})
			last := b.append(t, "bob", deposited{4})
			for i, want := range []projection.Change[string, int64]{
				{Key: "ada", New: 4, Has: true}, {Key: "ada", Old: 4, Had: true, New: 19, Has: true}, {Key: "bob", New: 13, Has: true},
			} {
				d := next(t, w)
				if d.Reset || len(d.Changes) != 1 || d.Cause.Position() != (eventlog.Position{Feed: "accounts", Seq: uint64(i + 1)}) || d.Cause.Key != want.Key || d.Cause.ID == "" || d.Cause.Time.IsZero() {
					t.Fatalf("delta %d: %+v", i, d)
				}
				if at := fmt.Sprintf("accounts=%d", i+1); d.At.String() != at {
					t.Errorf("delta %d at %s", i, d.At)
				}
				got := d.Changes[0]
				if got.Cause != d.Cause {
					t.Errorf("cause %+v", got.Cause)
				}
				if got.Cause = (projection.Cause{}); got != want {
					t.Errorf("delta %d: %+v, want %+v", i, got, want)
				}
			}
			if err := rt.Wait(ctx, last); err != nil {
				t.Fatal(err)
			}
			equal(t, "source", src, map[string]int64{"ada": 6, "bob": 4})
			equal(t, "sum", sum, map[string]int64{"ada": 19, "bob": 13})
			if s := status(t, rt, "sum"); s.Unit != "balances" {
				t.Errorf("unit %q", s.Unit)
			}
		})
	}
}

// T2.4: what a step does and undoes is no change; a second reason for a key
// isn't one either, nor the loss of one of two; the loss of the last is one.
func TestNoOutwardChange(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	balances := b.balances()
	signs := projection.Distinct("signs", balances, func(_ string, v int64) (string, bool) {
		return map[bool]string{true: "rich", false: "poor"}[v >= 100], true
	})
	rt := b.start(t, projection.Config{}, balances, signs)
	bw, sw := balances.Watch(), signs.Watch()
	defer bw.Close()
	defer sw.Close()
	b.append(t, "ada", deposited{1}, closed{})                // there and gone
	b.append(t, "ada", deposited{5})                          // poor
	b.append(t, "bob", deposited{6})                          // a second reason
	b.append(t, "bob", deposited{1}, withdrawn{1})            // nothing
	b.append(t, "bob", closed{})                              // one of two
	b.append(t, "ada", closed{}, deposited{5})                // gone and there again
	b.append(t, "ada", withdrawn{5}, deposited{1}, closed{})  // the last one
	last := b.append(t, "cyd", deposited{100}, deposited{50}) // rich
	if err := rt.Wait(ctx, last); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 5 {
		d := next(t, bw)
		got = append(got, fmt.Sprintf("%d:%s:%v>%v", d.Cause.Seq, d.Changes[0].Key, d.Changes[0].Had, d.Changes[0].Has))
	}
	if want := "2:ada:false>true 3:bob:false>true 5:bob:true>false 7:ada:true>false 8:cyd:false>true"; strings.Join(got, " ") != want {
		t.Errorf("balances: %v, want %v", got, want)
	}
	got = nil
	for range 3 {
		d := next(t, sw)
		got = append(got, fmt.Sprintf("%d:%s:%v>%v", d.Cause.Seq, d.Changes[0].Key, d.Changes[0].Had, d.Changes[0].Has))
	}
	if want := "2:poor:false>true 7:poor:true>false 8:rich:false>true"; strings.Join(got, " ") != want {
		t.Errorf("signs: %v, want %v", got, want)
	}
}

// A graph that can't be run is refused at the start, with what is wrong.
func TestGraphRefused(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	type table = projection.Table[string, int64]
	pass := func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error { return nil }
	a := projection.NewTable[string, int64]("a")
	c := projection.NewTable[string, int64]("c")
	d := projection.NewTable[string, int64]("d")
	projection.OnChange(c, a, pass)
	projection.OnChange(d, c, pass)
	projection.OnChange(a, d, pass)
	_, err := projection.Start(t.Context(), b.log, a, c, d)
	if !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), "a -> c -> d -> a") {
		t.Errorf("cycle: %v", err)
	}
	self := projection.NewTable[string, int64]("self")
	projection.OnChange(self, self, pass)
	if _, err := projection.Start(t.Context(), b.log, self); !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), "self -> self") {
		t.Errorf("self: %v", err)
	}

	src := b.balances()
	reader := projection.NewTable[string, int64]("reader", projection.Unsaved())
	projection.OnChange(reader, src, pass)
	projection.OnChange(reader, src, pass)
	projection.OnChange[string, int64, string, int64](reader, src, nil)
	projection.OnChange(reader, (*table)(nil), pass)
	both := projection.NewTable[string, int64]("both", projection.Derived(), projection.Equal(func(a, b string) bool { return a == b }))
	projection.OnChange(both, src, pass)
	projection.Reads(both, reader)
	projection.On(both, b.accounts, func(*projection.Tx[string, int64], eventlog.Event, deposited) error { return nil })
	looks := projection.NewTable[string, int64]("looks", projection.Derived())
	projection.Reads(looks, reader)
	joined := projection.JoinBy("joined", src, src, func(key string, _ int64) (string, bool) { return key, true }, func(_ string, l, r int64) int64 { return l + r })
	_, err = projection.Start(t.Context(), b.log, reader, both, looks, joined)
	if !errors.Is(err, projection.ErrInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{`"reader" reads the changes of "balances", which isn't started`, "twice", "nil function", "nil table",
		`"reader" is Unsaved, and not Derived`, `"both" is Derived, and handles events`, `"looks" is Derived, and reads the state of "reader"`, "Equal compares another type", `joins "balances" with itself: make a second table of it first (Map)`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	// Nothing was started, so what was right can be started now.
	rt := b.start(t, projection.Config{}, src)
	projection.OnChange(src, looks, pass) // too late
	if err := rt.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// A node that fails undoes its part of the step, and stops with what reads
// it; what it reads, and what has nothing to do with it, goes on. Mended, it
// comes to the state that it would have without the failure.
func TestFailedNode(t *testing.T) {
	for _, derived := range []bool{true, false} {
		t.Run(fmt.Sprintf("derived=%v", derived), func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			var opts []projection.TableOption
			if derived {
				opts = append(opts, projection.Derived())
			}
			build := func(bad int64) (src, mid, low, side *projection.Table[string, int64]) {
				src = b.balances()
				mid = projection.NewTable[string, int64]("mid", opts...)
				projection.OnChange(mid, src, func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
					tx.Put("last", c.New)
					tx.Put(c.Key, c.New)
					tx.Delete("last")
					if c.New == bad {
						panic("thirteen")
					}
					return nil
				})
				low = projection.Map("low", mid, func(_ string, v int64) int64 { return -v })
				side = projection.Map("side", src, func(_ string, v int64) int64 { return v })
				return src, mid, low, side
			}
			src, mid, low, side := build(13)
			rt := b.start(t, often(1), low, mid, src, side)
			b.append(t, "ada", deposited{1})
			b.append(t, "bob", deposited{13})
			last := b.append(t, "bob", deposited{3})
			err := rt.Wait(ctx, last)
			se, ok := errors.AsType[*projection.StoppedError](err)
			if !ok || se.Position.Seq != 2 {
				t.Fatalf("wait: %v", err)
			}
			if err := low.Err(); !errors.Is(err, projection.ErrUpstream) || !errors.Is(err, projection.ErrStopped) {
				t.Errorf("below: %v", err)
			}
			if pe, ok := errors.AsType[*projection.StoppedError](mid.Err()); !ok || pe.Upstream != "balances" || pe.Stack == "" || !strings.Contains(pe.Error(), "thirteen") {
				t.Errorf("the failed one: %v", mid.Err())
			}
			if src.Err() != nil || side.Err() != nil {
				t.Errorf("%v, %v", src.Err(), side.Err())
			}
			equal(t, "source", src, map[string]int64{"ada": 1, "bob": 16})
			equal(t, "beside", side, map[string]int64{"ada": 1, "bob": 16})
			equal(t, "failed", mid, map[string]int64{"ada": 1})
			equal(t, "below", low, map[string]int64{"ada": -1})
			if err := projection.View(func(*projection.Snapshot) error { return nil }, src, mid); !errors.Is(err, projection.ErrStopped) {
				t.Errorf("view of one that has stopped: %v", err)
			}
			if err := rt.Close(); err != nil {
				t.Fatal(err)
			}

			src, mid, low, side = build(-1)
			rt = b.start(t, projection.Config{}, low, mid, src, side)
			if err := rt.Wait(ctx, b.append(t, "cyd", deposited{5})); err != nil {
				t.Fatal(err)
			}
			equal(t, "source", src, map[string]int64{"ada": 1, "bob": 16, "cyd": 5})
			equal(t, "mended", mid, map[string]int64{"ada": 1, "bob": 16, "cyd": 5})
			equal(t, "below", low, map[string]int64{"ada": -1, "bob": -16, "cyd": -5})
			want := projection.FromReplay
			if derived {
				want = projection.FromRows
			}
			if got := status(t, rt, "mid").Recovery.Source; got != want {
				t.Errorf("mended from %s", got)
			}
		})
	}
}

// R2.14: with Reads a handler sees another table behind the same commit,
// however the tables were given.
func TestReads(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	balances := b.balances()
	seen := projection.NewTable[string, int64]("seen")
	look := projection.Reads(seen, balances)
	projection.On(seen, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, _ deposited) error {
		if v, ok := look.Get(e.Key); !ok || v != look.Value(e.Key) {
			return fmt.Errorf("%d, %v", v, ok)
		}
		tx.Put(e.Key, 1000*tx.Value(e.Key)+look.Value(e.Key))
		return nil
	})
	rt := b.start(t, projection.Config{}, seen, balances)
	b.append(t, "ada", deposited{1})
	if err := rt.Wait(ctx, b.append(t, "ada", deposited{2}, deposited{3})); err != nil {
		t.Fatal(err)
	}
	equal(t, "seen", seen, map[string]int64{"ada": 1_006_006})
	if v, ok := look.Get("ada"); ok || v != 0 {
		t.Errorf("outside: %d %v", v, ok)
	}
	if err := rt.Wait(ctx, b.append(t, "ada", deposited{1})); !errors.Is(err, projection.ErrStopped) || !strings.Contains(err.Error(), "Lookup") {
		t.Errorf("after misuse: %v", err)
	}
}

// A function that gives another group than before is found out, and stops its
// table: what it should be taken out of isn't known.
func TestFickleGroups(t *testing.T) {
	feed := must(eventlog.Offline("accounts", eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited"),
		eventlog.Type[withdrawn]("withdrawn"), eventlog.Type[closed]("closed")))(t)
	src := (&bank{accounts: feed}).balances()
	calls := 0
	fickle := func(string, int64) (int, bool) { calls++; return calls, true }
	count := func(n int, _ string, _ int64) int { return n }
	r := must(projection.Rehearse(src, projection.Aggregate("aggregate", src, fickle, count, count), projection.Distinct("distinct", src, fickle)))(t)
	for seq, want := range []int{0, 2} {
		c := must(feed.Rehearse(eventlog.Draft{Key: "ada", Events: []any{deposited{1}}}, uint64(seq)+1, time.Unix(1, 0)))(t)
		_, err := r.Apply(c)
		if stopped := strings.Count(fmt.Sprint(err), "stopped at"); stopped != want || (err != nil && !errors.Is(err, projection.ErrNotDerived)) {
			t.Errorf("%d stopped: %v", stopped, err)
		}
	}
}

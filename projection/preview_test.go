package projection_test

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// with applies changes to rows.
func with[K comparable, V any](rows map[K]V, changes []projection.Change[K, V]) map[K]V {
	for _, c := range changes {
		if c.Has {
			rows[c.Key] = c.New
		} else {
			delete(rows, c.Key)
		}
	}
	return rows
}

// foreseen compares a table before and behind a commit with its preview.
func foreseen[K, V comparable](rt *rapid.T, t *projection.Table[K, V], o *projection.Outcome) func() {
	want := with(contents(t), t.ChangesIn(o))
	return func() {
		if got := contents(t); !maps.Equal(got, want) {
			rt.Fatalf("%s is %v, and the preview said %v", t.Name(), got, want)
		}
	}
}

// foreseenKeys is foreseen of a table whose values change without telling.
func foreseenKeys[K comparable, V any](rt *rapid.T, t *projection.Table[K, V], o *projection.Outcome) func() {
	want := with(contents(t), t.ChangesIn(o))
	return func() {
		got := contents(t)
		if !maps.EqualFunc(got, want, func(V, V) bool { return true }) {
			rt.Fatalf("%s is %v, and the preview said %v", t.Name(), got, want)
		}
	}
}

// R2.36, T2.16: what a preview says is what the commit does, in every table of
// a graph, and the preview itself does nothing.
func TestPreviewSaysWhatHappens(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a log for each of many runs; the other tests of previews run")
	}
	rapid.Check(t, func(rt *rapid.T) {
		log := must(eventlog.Open(t.Context(), eventlog.Options{App: logtest.App(t), Memory: true}))(t)
		defer log.Close()
		b := bankOf(t, log)
		w := world{factor: 2, more: true}
		n, all := w.tables(b)
		run := must(projection.Start(logtest.Context(t), log, all...))(t)
		defer run.Close()
		var f fold
		for range rapid.IntRange(1, 10).Draw(rt, "commits") {
			key := rapid.SampledFrom(keys).Draw(rt, "key")
			feed, events := b.audits, []any{audited{"x"}}
			if rapid.IntRange(0, 3).Draw(rt, "account") > 0 {
				feed, events = b.accounts, nil
				for range rapid.IntRange(1, 3).Draw(rt, "events") {
					if rapid.IntRange(0, 3).Draw(rt, "close") == 0 {
						events = append(events, closed{})
					} else {
						events = append(events, deposited{rapid.Int64Range(0, 9).Draw(rt, "cents")})
					}
				}
			}
			var compare []func()
			for range rapid.IntRange(1, 2).Draw(rt, "previews") {
				o, err := run.Preview(t.Context(), feed, key, events...)
				if err != nil {
					rt.Fatal(err)
				}
				f.check(rt, w, n) // nothing has changed
				compare = []func(){
					foreseen(rt, n.balances, o), foreseen(rt, n.scaled, o), foreseen(rt, n.even, o), foreseen(rt, n.notes, o),
					foreseen(rt, n.groups, o), foreseenKeys(rt, n.signs, o), foreseen(rt, n.joined, o), foreseen(rt, n.left, o),
					foreseen(rt, n.named, o), foreseen(rt, n.top, o), foreseen(rt, n.far, o), foreseen(rt, n.changes, o), foreseen(rt, n.deep, o),
				}
			}
			at := must(feed.Append(t.Context(), key, eventlog.ExpectAny, events...))(t)
			f.commits = append(f.commits, folded{key, events})
			if err := run.Wait(logtest.Context(t), at); err != nil {
				rt.Fatal(err)
			}
			for _, c := range compare {
				c()
			}
			f.check(rt, w, n)
		}
	})
}

func TestPreviewTouchesNothing(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	balances, notes := b.balances(), b.notes()
	double := projection.Map("double", balances, func(_ string, v int64) int64 { return 2 * v })
	rt := b.start(t, projection.Config{}, balances, notes, double)
	wait(t, rt, b.append(t, "ada", deposited{5}))
	if err := rt.Ready(logtest.Context(t), 0); err != nil {
		t.Fatal(err)
	}
	w := balances.Watch()
	defer w.Close()
	before, was := rt.Timeframe(), digests(t, rt)
	o, err := rt.Preview(t.Context(), b.accounts, "ada", deposited{1}, closed{}, deposited{2})
	if err != nil {
		t.Fatal(err)
	}
	if c := balances.ChangesIn(o); len(c) != 1 || c[0].Old != 5 || c[0].New != 2 || c[0].Cause.Key != "ada" || c[0].Cause.Seq != 2 {
		t.Errorf("changes: %+v", c)
	}
	if c := double.ChangesIn(o); len(c) != 1 || c[0].New != 4 {
		t.Errorf("changes behind: %+v", c)
	}
	if got := fmt.Sprint(o.Changed(), o.At("notes"), o.At("nobody").IsEmpty()); got != "[balances double notes] accounts=1,audits=0 true" {
		t.Error(got)
	}
	if _, err := rt.Preview(t.Context(), b.accounts, "new", deposited{1}); err != nil {
		t.Fatal(err)
	}
	if !rt.Timeframe().Equal(before) || fmt.Sprint(digests(t, rt)) != fmt.Sprint(was) {
		t.Errorf("at %s with %v, was %s with %v", rt.Timeframe(), digests(t, rt), before, was)
	}
	expect(t, balances, map[string]int64{"ada": 5})
	// The watcher is told of the next commit, and of nothing else.
	wait(t, rt, b.append(t, "ada", deposited{10}))
	for d, err := range w.Deltas(logtest.Context(t)) {
		if err != nil || len(d.Changes) != 1 || d.Changes[0].Old != 5 || d.Changes[0].New != 15 {
			t.Errorf("told %+v, %v", d, err)
		}
		break
	}
	// A failure is the preview's alone.
	o, err = rt.Preview(t.Context(), b.accounts, "ada", deposited{1}, withdrawn{1000})
	failed, ok := errors.AsType[*projection.HandlerError](err)
	if !ok || failed.Projection != "balances" || failed.Type != "withdrawn" || len(balances.ChangesIn(o)) != 0 || len(double.ChangesIn(o)) != 0 || len(notes.ChangesIn(o)) != 1 {
		t.Errorf("%v, %v", err, o.Changed())
	}
	if err := rt.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		feed   *eventlog.Feed
		events []any
		want   error
	}{{nil, []any{deposited{1}}, projection.ErrInvalid}, {b.accounts, nil, eventlog.ErrInvalid}, {b.accounts, []any{audited{"x"}}, eventlog.ErrInvalidType}} {
		if _, err := rt.Preview(t.Context(), test.feed, "ada", test.events...); !errors.Is(err, test.want) {
			t.Errorf("%v: %v, want %v", test.events, err, test.want)
		}
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Preview(t.Context(), b.accounts, "ada", deposited{1}); !errors.Is(err, projection.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	// What was previewed isn't in the snapshot.
	again := b.balances()
	b.start(t, projection.Config{}, again)
	expect(t, again, map[string]int64{"ada": 15})
}

func digests(t testing.TB, rt *projection.Runtime) (out []string) {
	t.Helper()
	for _, s := range rt.Metrics() {
		at, d, err := rt.Digest(logtest.Context(t), s.Projection)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s.Projection, at.String(), d.String())
	}
	return out
}

// Previews beside appends, readers and saves.
func TestPreviewsBesideAll(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	balances := b.balances()
	top := projection.TopN("top", balances, 2, func(a, b int64) bool { return a > b })
	rt := b.start(t, projection.Config{Snapshots: projection.Policy{Events: 3, MinInterval: time.Nanosecond}}, balances, top)
	var wg sync.WaitGroup
	var last eventlog.Position
	wg.Go(func() {
		for i := range 100 {
			last = b.append(t, fmt.Sprint(i%10), deposited{1})
		}
	})
	for range 2 {
		wg.Go(func() {
			for i := range 100 {
				o, err := rt.Preview(t.Context(), b.accounts, fmt.Sprint(i%20), deposited{1000})
				if c := balances.ChangesIn(o); err != nil || len(c) != 1 || c[0].New != c[0].Old+1000 || c[0].Old > 10 {
					t.Errorf("%+v, %v", c, err)
				}
			}
		})
	}
	wg.Wait()
	wait(t, rt, last)
	for k, v := range contents(balances) {
		if v != 10 {
			t.Errorf("%s is %d", k, v)
		}
	}
	if balances.Len() != 10 {
		t.Errorf("%v", contents(balances))
	}
}

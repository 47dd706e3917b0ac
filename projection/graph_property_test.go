package projection_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// world is what a program of the property test computes; the versions decide
// how, and so do the saved tables.
type world struct {
	bonus   int64 // of each deposit: the version of balances
	factor  int64 // of scaled: its version
	unsaved bool  // half of the operators
	more    bool  // with tables that were added later
}

type nodes struct {
	balances, scaled, even *projection.Table[string, int64]
	notes, changes, deep   *projection.Table[string, int]
	groups                 *projection.Table[int64, projection.Group[int64]]
	signs                  *projection.Table[bool, int]
	joined, left, named    *projection.Table[string, string]
	top                    *projection.Table[int, projection.Ranked[string, int64]]
	far                    *projection.Table[int64, projection.Group[int64]]
}

func (w world) tables(b *bank) (n nodes, all []projection.Projection) {
	var opts []projection.TableOption
	if w.unsaved {
		opts = append(opts, projection.Unsaved())
	}
	type tx = *projection.Tx[string, int64]
	n.balances = projection.NewTable[string, int64]("balances", projection.Version(uint64(w.bonus)))
	projection.On(n.balances, b.accounts, func(t tx, e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents+w.bonus)
		return nil
	})
	projection.On(n.balances, b.accounts, func(t tx, e eventlog.Event, _ closed) error {
		t.Delete(e.Key)
		return nil
	})
	n.notes = b.notes()
	n.scaled = projection.Map("scaled", n.balances, func(_ string, v int64) int64 { return v * w.factor }, projection.Version(uint64(w.factor)))
	n.even = projection.Filter("even", n.scaled, func(_ string, v int64) bool { return v%2 == 0 }, opts...)
	n.groups = projection.Aggregate("groups", n.even, func(k string, v int64) (int64, bool) { return v % 3, v != 6 },
		func(a int64, _ string, v int64) int64 { return a + v }, func(a int64, _ string, v int64) int64 { return a - v })
	n.joined = projection.Join("joined", n.balances, n.notes, func(_ string, l int64, r int) string { return fmt.Sprint(l, r) }, opts...)
	all = []projection.Projection{n.balances, n.notes, n.scaled, n.even, n.groups, n.joined}
	if !w.more {
		return n, all
	}
	n.signs = projection.Distinct("signs", n.scaled, func(_ string, v int64) (bool, bool) { return v > 10, true }, opts...)
	n.left = projection.LeftJoin("left", n.balances, n.notes, func(_ string, l int64, r int, ok bool) string { return fmt.Sprint(l, r, ok) })
	n.named = projection.JoinBy("named", n.balances, n.notes, func(_ string, l int64) (string, bool) { return keys[l%3], l%5 != 0 },
		func(_ string, l int64, r int) string { return fmt.Sprint(l, r) }, opts...)
	n.top = projection.TopN("top", n.scaled, 2, func(a, b int64) bool { return a > b }, opts...)
	n.far = projection.Aggregate("far", n.even, func(k string, v int64) (int64, bool) { return v % 2, true },
		func(a int64, _ string, v int64) int64 { return a ^ v }, func(a int64, _ string, v int64) int64 { return a ^ v })
	count := func(t *projection.Tx[string, int], c projection.Change[string, int64]) error {
		t.Put(c.Key, t.Value(c.Key)+1)
		return nil
	}
	n.changes, n.deep = projection.NewTable[string, int]("changes"), projection.NewTable[string, int]("deep") // by history
	projection.OnChange(n.changes, n.balances, count)
	projection.OnChange(n.deep, n.even, count)
	return n, append(all, n.signs, n.left, n.named, n.top, n.changes, n.far, n.deep)
}

var keys = []string{"ada", "bob", "cyd"}

// fold is the oracle: everything from all commits, from the beginning.
type fold struct {
	commits []folded
}

type folded struct {
	key    string
	events []any
}

func (f *fold) check(t *rapid.T, w world, n nodes) {
	balances, notes, changes, deep := map[string]int64{}, map[string]int{}, map[string]int{}, map[string]int{}
	for _, c := range f.commits {
		old, had := balances[c.key]
		for _, e := range c.events {
			switch e := e.(type) {
			case deposited:
				balances[c.key] += e.Cents + w.bonus
				notes[c.key] += 1000
			case closed:
				delete(balances, c.key)
			case audited:
				notes[c.key]++
			}
		}
		if v, has := balances[c.key]; v != old || had != has {
			changes[c.key]++
			if old*w.factor%2 == 0 && had || v*w.factor%2 == 0 && has {
				deep[c.key]++
			}
		}
	}
	scaled, even := map[string]int64{}, map[string]int64{}
	groups, far := map[int64]projection.Group[int64]{}, map[int64]projection.Group[int64]{}
	joined, left, named := map[string]string{}, map[string]string{}, map[string]string{}
	signs := map[bool]int{}
	var ranked []projection.Ranked[string, int64]
	for k, v := range balances {
		s := v * w.factor
		scaled[k] = s
		signs[s > 10]++
		ranked = append(ranked, projection.Ranked[string, int64]{Key: k, Value: s})
		if s%2 == 0 {
			even[k] = s
			if s != 6 {
				groups[s%3] = projection.Group[int64]{Rows: groups[s%3].Rows + 1, Value: groups[s%3].Value + s}
			}
			far[s%2] = projection.Group[int64]{Rows: far[s%2].Rows + 1, Value: far[s%2].Value ^ s}
		}
		r, ok := notes[k]
		left[k] = fmt.Sprint(v, r, ok)
		if ok {
			joined[k] = fmt.Sprint(v, r)
		}
		if r, ok := notes[keys[v%3]]; ok && v%5 != 0 {
			named[k] = fmt.Sprint(v, r)
		}
	}
	slices.SortFunc(ranked, func(a, b projection.Ranked[string, int64]) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Key, b.Key))
	})
	top := map[int]projection.Ranked[string, int64]{}
	for i, r := range ranked[:min(2, len(ranked))] {
		top[i+1] = r
	}
	same(t, "balances", n.balances, balances)
	same(t, "notes", n.notes, notes)
	same(t, "scaled", n.scaled, scaled)
	same(t, "even", n.even, even)
	same(t, "groups", n.groups, groups)
	same(t, "joined", n.joined, joined)
	if w.more {
		same(t, "signs", n.signs, signs)
		same(t, "left", n.left, left)
		same(t, "named", n.named, named)
		same(t, "top", n.top, top)
		same(t, "changes", n.changes, changes)
		same(t, "far", n.far, far)
		same(t, "deep", n.deep, deep)
	}
}

func same[K, V comparable](t *rapid.T, what string, got *projection.Table[K, V], want map[K]V) {
	if g := contents(got); !maps.Equal(g, want) {
		t.Fatalf("%s: %v, want %v", what, g, want)
	}
}

// T2.1, T2.12, R2.13: whatever happens, and wherever the program is ended,
// changed and started again, each table is what a fold of all events makes
// it: incremental = initial = rebuild.
func TestGraphProperty(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a log for each of many runs; the other tests of the graph run")
	}
	rapid.Check(t, func(rt *rapid.T) {
		ctx := logtest.Context(t)
		log := must(eventlog.Open(ctx, eventlog.Options{App: logtest.App(t), Memory: true}))(t)
		defer log.Close()
		b := bankOf(t, log)
		var f fold
		w := world{factor: 1}
		at := make(map[string]eventlog.Position)
		for life := range rapid.IntRange(2, 4).Draw(rt, "lives") {
			if life > 0 {
				switch rapid.IntRange(0, 5).Draw(rt, "changed") {
				case 0:
					w.bonus++
				case 1:
					w.factor++
				case 2:
					w.unsaved = !w.unsaved
				case 3:
					w.more = !w.more
				}
			}
			n, all := w.tables(b)
			c := often(uint64(rapid.IntRange(1, 6).Draw(rt, "events per snapshot")))
			c.Snapshots.NotOnClose = rapid.Bool().Draw(rt, "killed")
			run := must(c.Start(ctx, log, all...))(t)
			f.check(rt, w, n)
			for range rapid.IntRange(0, 12).Draw(rt, "commits") {
				key := rapid.SampledFrom(keys).Draw(rt, "key")
				var p eventlog.Position
				if rapid.IntRange(0, 3).Draw(rt, "audit") == 0 {
					p = b.audit(t, key, "x")
					f.commits = append(f.commits, folded{key, []any{audited{"x"}}})
				} else {
					var events []any
					for range rapid.IntRange(1, 3).Draw(rt, "events") {
						if rapid.IntRange(0, 3).Draw(rt, "close") == 0 {
							events = append(events, closed{})
						} else {
							events = append(events, deposited{rapid.Int64Range(0, 9).Draw(rt, "cents")})
						}
					}
					p = b.append(t, key, events...)
					f.commits = append(f.commits, folded{key, events})
				}
				at[p.Feed] = p
			}
			for _, p := range at {
				if err := run.Wait(ctx, p); err != nil {
					rt.Fatal(err)
				}
			}
			f.check(rt, w, n)
			if err := run.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

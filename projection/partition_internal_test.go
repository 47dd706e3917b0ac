package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"pgregory.net/rapid"
)

type (
	added struct{ N int64 }
	gone  struct{}
	bad   struct{}
)

// partedGraph is a graph over a source that is a plain table (0 partitions) or
// a partitioned one: operators, and a table that depends on the order of what it
// is told.
type partedGraph struct {
	*Rehearsal
	told []string
	rows func() string
}

type partedOptions struct {
	src, told FailurePolicy
	toldBad   int64 // a value that told fails at
}

// partedSource is the graph's first table: plain where partitions is 0.
func partedSource(feeds []*eventlog.Feed, partitions int, policy FailurePolicy) (Relation[string, int64], Projection) {
	add := func(old int64, e eventlog.Event, n int64) int64 { return old*3 + n + int64(e.Index) }
	if partitions == 0 {
		table := NewTable[string, int64]("src", OnFailure(policy))
		for _, f := range feeds {
			On(table, f, func(tx *Tx[string, int64], e eventlog.Event, d added) error {
				tx.Put(e.Key, add(tx.Value(e.Key), e, d.N))
				return nil
			})
			On(table, f, func(tx *Tx[string, int64], e eventlog.Event, _ gone) error { tx.Delete(e.Key); return nil })
			On(table, f, func(tx *Tx[string, int64], e eventlog.Event, _ bad) error { tx.Put(e.Key, -1); return errBad })
		}
		return table, table
	}
	p := NewPartitioned[int64]("src", partitions, OnFailure(policy))
	for _, f := range feeds {
		OnRow(p, f, func(r Row[int64], e eventlog.Event, d added) error {
			r.Put(add(r.Value(), e, d.N))
			return nil
		})
		OnRow(p, f, func(r Row[int64], e eventlog.Event, _ gone) error { r.Delete(); return nil })
		OnRow(p, f, func(r Row[int64], e eventlog.Event, _ bad) error { r.Put(-1); panic(errBad) })
	}
	return p, p
}

var errBad = errors.New("bad")

func newPartedGraph(t *rapid.T, feeds []*eventlog.Feed, partitions int, o partedOptions) *partedGraph {
	g := &partedGraph{}
	src, first := partedSource(feeds, partitions, o.src)
	double := Map("double", src, func(_ string, v int64) int64 { return 2 * v })
	even := Filter("even", src, func(_ string, v int64) bool { return v%2 == 0 })
	bands := Aggregate("bands", src, func(_ string, v int64) (int64, bool) { return v % 5, v%5 != 4 },
		func(a int64, _ string, v int64) int64 { return a + v }, func(a int64, _ string, v int64) int64 { return a - v })
	told := NewTable[string, int64]("told", OnFailure(o.told))
	OnChange(told, src, func(tx *Tx[string, int64], c Change[string, int64]) error {
		g.told = append(g.told, fmt.Sprint(c))
		tx.Put("all", tx.Value("all")*31+c.New-c.Old+int64(c.Cause.Seq))
		if c.Has && c.New%7 == o.toldBad {
			return errBad
		}
		return nil
	})
	var err error
	if g.Rehearsal, err = Rehearse(first, double, even, bands, told); err != nil {
		t.Fatal(err)
	}
	g.rows = func() string {
		dumps, err := g.Dump()
		if err != nil {
			t.Fatal(err)
		}
		var s strings.Builder
		for _, d := range dumps {
			fmt.Fprintf(&s, "%s %v\n", d.Projection, slices.Sorted(maps.Keys(d.Rows)))
			for _, k := range slices.Sorted(maps.Keys(d.Rows)) {
				fmt.Fprintf(&s, "\t%s %s\n", k, d.Rows[k])
			}
		}
		for _, p := range g.Parked() {
			p.Since, p.Stack, p.Err = time.Time{}, "", ""
			fmt.Fprintf(&s, "parked %+v\n", p)
		}
		for _, u := range g.rt.units {
			for _, n := range u.nodes {
				fmt.Fprintf(&s, "%s at %s, %d events", n.name, n.at(), n.applied)
				if n.stopped != nil {
					fmt.Fprintf(&s, ", stopped at %s by %q of %q", n.stopped.Position, n.stopped.Type, n.stopped.Upstream)
				}
				s.WriteString("\n")
			}
		}
		return s.String()
	}
	return g
}

// batch hands commits over at once, as a reader of the log does.
func (g *partedGraph) batch(commits []eventlog.Commit) {
	for _, u := range g.rt.units {
		u.pace.each = time.Nanosecond // long runs, whatever the machine does
		u.apply(context.Background(), arrival{feed: commits[0].Feed, batch: commits, at: commits[len(commits)-1].Seq})
	}
}

// R2.7, R2.17: for random histories, failures and policies, and any number of
// partitions: what reads a partitioned table is told just what it would be told
// by a plain one, commit by commit and in that order; and what is parked, skipped or stopped is, too.
func TestPartitionedGraphProperty(t *testing.T) {
	var feeds []*eventlog.Feed
	for _, name := range []string{"a", "b"} {
		f, err := eventlog.Offline(name, eventlog.Type[added]("added"), eventlog.Type[gone]("gone"), eventlog.Type[bad]("bad"))
		if err != nil {
			t.Fatal(err)
		}
		feeds = append(feeds, f)
	}
	policy := func(t *rapid.T, who string, actions ...FailureAction) FailurePolicy {
		return FailurePolicy{Retries: rapid.IntRange(0, 1).Draw(t, who+" retries"), Backoff: 1, Then: rapid.SampledFrom(actions).Draw(t, who)}
	}
	rapid.Check(t, func(t *rapid.T) {
		o := partedOptions{
			src: policy(t, "src", Stop, Skip, ParkCommit, ParkKey), told: policy(t, "told", Stop, Skip),
			toldBad: rapid.Int64Range(0, 14).Draw(t, "told fails at"),
		}
		graphs := []*partedGraph{newPartedGraph(t, feeds, 0, o)}
		for _, n := range []int{1, 3} {
			graphs = append(graphs, newPartedGraph(t, feeds, n, o))
		}
		seq := make([]uint64, len(feeds))
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			i := rapid.IntRange(0, len(feeds)-1).Draw(t, "feed")
			var batch []eventlog.Commit
			for range rapid.IntRange(1, 20).Draw(t, "commits") {
				var events []any
				for range rapid.IntRange(1, 3).Draw(t, "events") {
					events = append(events, rapid.SampledFrom([]any{added{1}, added{2}, added{5}, added{0}, gone{}, added{9}, added{4}, bad{}}).Draw(t, "event"))
				}
				seq[i]++
				c, err := feeds[i].Rehearse(eventlog.Draft{Key: rapid.SampledFrom([]string{"k", "l", "m", "n", "o"}).Draw(t, "key"), Events: events}, seq[i], time.Unix(int64(seq[i]), 0))
				if err != nil {
					t.Fatal(err)
				}
				batch = append(batch, c)
			}
			for _, g := range graphs {
				g.batch(batch)
			}
		}
		want := graphs[0]
		for _, g := range graphs[1:] {
			if a, b := g.rows(), want.rows(); a != b {
				t.Fatalf("in partitions, as a plain table:\n%s", differing(a, b))
			}
			if !slices.Equal(g.told, want.told) {
				t.Fatalf("told\n%v, want\n%v", g.told, want.told)
			}
		}
	})
}

// differing is the lines that two texts don't have in common.
func differing(a, b string) string {
	var s strings.Builder
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, l := range as {
		if !slices.Contains(bs, l) {
			s.WriteString("- " + l + "\n")
		}
	}
	for _, l := range bs {
		if !slices.Contains(as, l) {
			s.WriteString("+ " + l + "\n")
		}
	}
	return s.String()
}

package projection

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/problem"
)

// BenchmarkStep is what a commit of one event costs beyond reading it, by the
// number of tables that pass it on and of the keys that take turns: those of
// 10,000 are out of the processor's own caches.
func BenchmarkStep(b *testing.B) {
	type posted struct{ Cents int64 }
	type account struct{ Count, Cents int64 }
	f, err := eventlog.Offline("f", eventlog.Type[posted]("posted"))
	if err != nil {
		b.Fatal(err)
	}
	for _, keys := range []int{100, 10_000} {
		var all []eventlog.Commit
		for i := range keys {
			c, err := f.Rehearse(eventlog.Draft{Key: fmt.Sprintf("acct-%06d", i), Events: []any{posted{int64(i)}}}, uint64(i+1), time.Unix(0, 0))
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, c)
		}
		for _, behind := range []int{0, 1, 5} {
			b.Run(fmt.Sprintf("keys=%d/behind=%d", keys, behind), func(b *testing.B) {
				last := NewTable[string, account]("t")
				On(last, f, func(tx *Tx[string, account], e eventlog.Event, p posted) error {
					a := tx.Value(e.Key)
					tx.Put(e.Key, account{a.Count + 1, a.Cents + p.Cents})
					return nil
				})
				parts := []part{{"t", []*node{last.n}}}
				for i := range behind {
					last = Map(fmt.Sprint("copy-", i), last, func(_ string, a account) account { return a })
					parts = append(parts, part{last.Name(), []*node{last.n}})
				}
				var p problem.List
				c := link(parts, &p)
				c[0].connect()
				for _, n := range c[0].nodes {
					n.uncut = true // as without snapshots
				}
				g := newGroup(c[0].nodes)
				for b.Loop() {
					g.begin("f")
					for run := range slices.Chunk(all, lockRun) {
						for _, n := range g.nodes {
							n.state.lock()
						}
						g.run(&unit{}, f, run)
						for _, n := range g.nodes {
							n.state.unlock()
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/event")
				if v := last.Len(); v != keys || g.nodes[0].step.stop != nil {
					b.Fatal(v, g.nodes[0].step.stop)
				}
			})
		}
	}
}

// BenchmarkPartitions is graph/partitions2 without a log: a reducer that takes
// 5 us, on commits in memory, by the number of partitions.
func BenchmarkPartitions(b *testing.B) {
	type posted struct{ Cents int64 }
	log := logtest.Open(b, eventlog.Options{App: logtest.App(b), Memory: true})
	f, err := log.Feed(b.Context(), "f", eventlog.Type[posted]("posted"))
	if err != nil {
		b.Fatal(err)
	}
	var run []eventlog.Commit
	for i := range lockRun {
		at, err := f.Append(b.Context(), fmt.Sprintf("acct-%06d", i), eventlog.ExpectAny, posted{int64(i)})
		if err != nil {
			b.Fatal(err)
		}
		c, _, err := f.Lookup(b.Context(), at.Seq)
		if err != nil {
			b.Fatal(err)
		}
		run = append(run, c)
	}
	for _, partitions := range []int{1, 2} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			p := NewPartitioned[uint64]("t", partitions)
			OnRow(p, f, func(r Row[uint64], e eventlog.Event, d posted) error {
				x := r.Value() + uint64(d.Cents)
				for range 6000 { // about 5 us
					x = x*6364136223846793005 + 1442695040888963407
				}
				r.Put(x)
				return nil
			})
			g := newGroup([]*node{p.n})
			for b.Loop() {
				g.begin("f")
				p.lock()
				g.run(&unit{}, f, run)
				p.unlock()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lockRun, "ns/event")
			if p.Len() != lockRun || p.n.step.stop != nil {
				b.Fatal(p.Len(), p.n.step.stop)
			}
		})
	}
}

package projection

import (
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// BenchmarkStep is what a commit of one event costs beyond reading it, by the
// number of tables that pass it on.
func BenchmarkStep(b *testing.B) {
	type posted struct{ Cents int64 }
	type account struct{ Count, Cents int64 }
	for _, behind := range []int{0, 1, 5} {
		b.Run(fmt.Sprintf("behind=%d", behind), func(b *testing.B) {
			log := logtest.Open(b, eventlog.Options{App: logtest.App(b), Memory: true})
			f, err := log.Feed(b.Context(), "f", eventlog.Type[posted]("posted"))
			if err != nil {
				b.Fatal(err)
			}
			var run []eventlog.Commit
			for i := range 256 {
				at, err := f.Append(b.Context(), fmt.Sprintf("acct-%06d", i%100), eventlog.ExpectAny, posted{int64(i)})
				if err != nil {
					b.Fatal(err)
				}
				c, _, err := f.Lookup(b.Context(), at.Seq)
				if err != nil {
					b.Fatal(err)
				}
				run = append(run, c)
			}
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
			var p problems
			c := link(parts, &p)
			c[0].connect()
			g := newGroup(c[0].nodes)
			for b.Loop() {
				g.begin("f")
				for _, n := range g.nodes {
					n.state.lock()
				}
				g.run(&unit{}, f, run)
				for _, n := range g.nodes {
					n.state.unlock()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/event")
			if v := last.Len(); v != 100 || g.nodes[0].step.stop != nil {
				b.Fatal(v, g.nodes[0].step.stop)
			}
		})
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

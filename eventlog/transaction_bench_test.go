package eventlog_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// What a tag costs, and a transaction: operations (appends, transactions) of
// several callers on an embedded log with files. The events are 200 bytes, of
// 10,000 keys.
func BenchmarkTransaction(b *testing.B) {
	type noted struct{ Text string }
	text := string(make([]byte, 190))
	for _, callers := range []int{1, 64} {
		for _, c := range []struct {
			name string
			tags int
			keys int
		}{{"plain", 0, 1}, {"tagged", 1, 1}, {"tagged3", 3, 1}, {"keys2", 0, 2}, {"keys10", 0, 10}, {"guarded", -1, 1}} {
			b.Run(fmt.Sprintf("callers=%d/impl=%s", callers, c.name), func(b *testing.B) {
				log := logtest.Embedded(b)
				f, err := log.Feed(b.Context(), "notes", eventlog.Type[noted]("noted"))
				if err != nil {
					b.Fatal(err)
				}
				var n atomic.Int64
				one := func(i int64) error {
					var tx eventlog.Transaction
					for k := range int64(c.keys) {
						d := eventlog.Draft{Key: fmt.Sprint((i*int64(c.keys) + k) % 10_000), Events: []any{noted{text}}}
						for t := range c.tags {
							d.Tags = append(d.Tags, fmt.Sprint("t", (i+int64(t))%1000))
						}
						tx.Drafts = append(tx.Drafts, d)
					}
					if c.tags < 0 {
						tx.Guards = []eventlog.Guard{{Tag: fmt.Sprint("t", i%1000)}}
					}
					if c.keys > 1 || c.tags < 0 {
						_, err := f.AppendTransaction(b.Context(), tx)
						return err
					}
					_, err := f.AppendDraft(b.Context(), tx.Drafts[0])
					return err
				}
				b.SetParallelism((callers + 1) / 2) // times GOMAXPROCS, which is 2 here
				b.ResetTimer()
				if callers == 1 {
					for range b.N {
						if err := one(n.Add(1)); err != nil {
							b.Fatal(err)
						}
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if err := one(n.Add(1)); err != nil {
								b.Error(err)
							}
						}
					})
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			})
		}
	}
}

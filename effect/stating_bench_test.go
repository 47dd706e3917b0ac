package effect_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/stephook"
	"github.com/tidemark-es/tidemark/projection"
)

// What a handler costs that states an intent for each event, or each change, in
// memory.
func BenchmarkStating(b *testing.B) {
	orders, err := eventlog.Offline("orders", eventlog.Type[Placed]("placed"))
	if err != nil {
		b.Fatal(err)
	}
	commits := make([]eventlog.Commit, 20000)
	for i := range commits {
		d := eventlog.Draft{Key: fmt.Sprint("key-", i%1000), ID: fmt.Sprintf("0123456789abcdef%06d", i), Events: []any{Placed{"tea"}}}
		if commits[i], err = orders.Rehearse(d, uint64(i+1), time.Unix(0, 0)); err != nil {
			b.Fatal(err)
		}
	}
	for _, of := range []string{"events", "changes", "nothing"} {
		b.Run("of="+of, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				o, err := effect.Offline[mail]("mails", 1)
				if err != nil {
					b.Fatal(err)
				}
				var p projection.Projection = o
				switch of {
				case "events", "nothing":
					effect.On(o, orders, func(tx *effect.Tx[mail], e eventlog.Event, d Placed) error {
						if of == "events" {
							tx.Want("", mail{To: e.Key, Text: d.Item})
						}
						return nil
					})
				default:
					counts := projection.NewTable[string, int]("counts")
					projection.On(counts, orders, func(tx *projection.Tx[string, int], e eventlog.Event, _ Placed) error {
						tx.Put(e.Key, tx.Value(e.Key)+1)
						return nil
					})
					effect.OnChange(o, counts, func(tx *effect.Tx[mail], c projection.Change[string, int]) error {
						tx.Want("", mail{To: c.Key})
						return nil
					})
					p = projection.NewUnit("u", counts, o)
				}
				b.StartTimer()
				if err := stephook.Apply(p, orders, commits); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(commits)), "ns/event")
		})
	}
}

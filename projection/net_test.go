package projection_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// T2.4: however many events a commit has, and however often they come to the
// same keys, each key that ends differently is one change, from what it was
// before to what it is behind.
func TestChangesAreNet(t *testing.T) {
	feed := must(eventlog.Offline("accounts", eventlog.Type[deposited]("deposited")))(t)
	for _, events := range []int{1, 2, 3, 15, 16, 17, 18, 40} {
		table := projection.NewTable[int, int64]("net")
		n := 0
		projection.On(table, feed, func(tx *projection.Tx[int, int64], _ eventlog.Event, d deposited) error {
			key := n * 7 % 11
			if n++; (n+key)%4 == 0 {
				tx.Delete(key)
			} else {
				tx.Put(key, tx.Value(key)+d.Cents)
			}
			return nil
		})
		r := must(projection.Rehearse(table))(t)
		for seq := range uint64(6) {
			before := contents(table)
			batch := make([]any, events)
			for i := range batch {
				batch[i] = deposited{int64(i%3 - 1)}
			}
			c := must(feed.Rehearse(eventlog.Draft{Key: "a", Events: batch}, seq+1, time.Unix(0, 0)))(t)
			o := must(r.Apply(c))(t)
			after := contents(table)
			want, got := map[int]string{}, map[int]string{}
			for key := range 11 {
				old, had := before[key]
				now, has := after[key]
				if had != has || old != now {
					want[key] = fmt.Sprint(old, had, now, has)
				}
			}
			for _, d := range table.ChangesIn(o) {
				if _, twice := got[d.Key]; twice {
					t.Errorf("%d events: two changes of %d", events, d.Key)
				}
				got[d.Key] = fmt.Sprint(d.Old, d.Had, d.New, d.Has)
			}
			if !maps.Equal(got, want) {
				t.Errorf("%d events: changes %v, want %v", events, got, want)
			}
		}
	}
}

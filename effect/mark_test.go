package effect

import (
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	paid   struct{}
	packed struct{}
)

// What one process states for the payment, since the parcel was packed before,
// another one states for the parcel. Where the first has ended all up to the
// payment, and the parcel was packed behind that, it is still to be carried
// out: whoever takes over, and in whichever order it has read the feeds.
func TestTakeOverWithFeedsInAnotherOrder(t *testing.T) {
	payments, err := eventlog.Offline("payments", eventlog.Type[paid]("paid"))
	if err != nil {
		t.Fatal(err)
	}
	parcels, err := eventlog.Offline("parcels", eventlog.Type[packed]("packed"))
	if err != nil {
		t.Fatal(err)
	}
	commit := func(f *eventlog.Feed, e any) eventlog.Commit {
		c, err := f.Rehearse(eventlog.Draft{Key: "ada", Events: []any{e}}, 1, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	both := []eventlog.Commit{commit(payments, paid{}), commit(parcels, packed{})}
	for id, order := range map[string][]eventlog.Commit{
		"ship:" + causeHash("offline", "parcels", "ada", "parcels@1") + "/both/ada":   both,
		"ship:" + causeHash("offline", "payments", "ada", "payments@1") + "/both/ada": {both[1], both[0]},
	} {
		count := projection.NewTable[string, int]("both")
		projection.On(count, payments, func(tx *projection.Tx[string, int], e eventlog.Event, _ paid) error {
			tx.Put(e.Key, tx.Value(e.Key)+1)
			return nil
		})
		projection.On(count, parcels, func(tx *projection.Tx[string, int], e eventlog.Event, _ packed) error {
			tx.Put(e.Key, tx.Value(e.Key)+1)
			return nil
		})
		o, err := Offline[string]("ship", 1)
		if err != nil {
			t.Fatal(err)
		}
		OnChange(o, count, func(tx *Tx[string], c projection.Change[string, int]) error {
			if c.New == 2 {
				tx.Want("", "send it")
			}
			return nil
		})
		r, err := projection.Rehearse(count, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range order {
			if _, err := r.Apply(c); err != nil {
				t.Fatal(err)
			}
		}
		row, ok := o.table.Get(id)
		if !ok {
			t.Fatalf("%s isn't stated", id)
		}
		for _, c := range []struct {
			payments, parcels uint64
			passed            bool
		}{{0, 0, false}, {1, 0, false}, {0, 1, false}, {1, 1, true}} {
			run := &runner[string]{o: o, mark: marking{from: map[string]uint64{"payments": c.payments, "parcels": c.parcels}, until: row.Time}}
			if got := run.passed(id, &row); got != c.passed {
				t.Errorf("%s, ended up to %+v: passed is %v", id, c, got)
			}
			row.Last = 7 // there is an outcome
			if run.passed(id, &row) {
				t.Errorf("%s was begun, and is passed over", id)
			}
			row.Last = 0
		}
		o.forget(id) // as of a snapshot: its own commit decides
		if run := (&runner[string]{o: o, mark: marking{from: map[string]uint64{row.Feed: 1}, until: row.Time}}); !run.passed(id, &row) {
			t.Errorf("%s from a snapshot isn't passed", id)
		}
	}
}

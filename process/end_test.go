package process_test

import (
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

// A process that ends by a step with a reaction has no state from there on; the
// reaction is wanted all the same, and the key begins anew, from nothing. A row
// of it stays until the next event of the key, and none for an event that
// nothing comes of.
func TestEndAndBeginAgain(t *testing.T) {
	orders, err := eventlog.Offline("orders", eventlog.Type[Paid]("paid"), eventlog.Type[Sent]("sent"))
	if err != nil {
		t.Fatal(err)
	}
	parcels, err := eventlog.Offline("parcels", eventlog.Type[Requested]("requested"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Offline[int]("p", 1, parcels)
	if err != nil {
		t.Fatal(err)
	}
	process.On(p, orders, nil, func(do *process.Step[int], e eventlog.Event, _ Paid) error {
		if do.Set(do.State() + 1); do.State() == 2 {
			do.Append(parcels, e.Key, Requested{})
			do.End()
		}
		return nil
	})
	process.On(p, orders, nil, func(*process.Step[int], eventlog.Event, Sent) error { return nil })
	r, err := projection.Rehearse(p)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		events           []any
		state, rows, due int // state 0: none
	}{
		{[]any{Sent{}}, 0, 0, 0},
		{[]any{Paid{}}, 1, 1, 0},
		{[]any{Paid{}}, 0, 1, 1},
		{[]any{Paid{}}, 1, 1, 1},
		{[]any{Paid{}}, 0, 1, 2},
		{[]any{Sent{}}, 0, 0, 2},
		{[]any{Paid{}, Paid{}, Sent{}}, 0, 1, 3}, // one commit
		{[]any{Paid{}, Paid{}, Paid{}}, 1, 1, 4},
	} {
		commit, err := orders.Rehearse(eventlog.Draft{Key: "ada", Events: c.events}, uint64(i+1), time.Unix(int64(i), 0))
		if err == nil {
			_, err = r.Apply(commit)
		}
		if err != nil {
			t.Fatal(err)
		}
		dump, err := r.Dump()
		if err != nil {
			t.Fatal(err)
		}
		due, err := p.Due(time.Unix(100, 0))
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := p.State("ada"); s != c.state || ok != (c.state > 0) || len(dump[0].Rows) != c.rows || len(due) != c.due {
			t.Errorf("behind commit %d: state %d, %v, %d rows, %d reactions; want %+v", i+1, s, ok, len(dump[0].Rows), len(due), c)
		}
	}
}

package projection_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// A rehearsal steps as a runtime does: graph, failures, parking; and begins
// anew.
func TestRehearsal(t *testing.T) {
	feed := must(eventlog.Offline("accounts", eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited")))(t)
	b := &bank{accounts: feed}
	parks := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	stops := projection.NewTable[string, int64]("stops", projection.Version(3))
	projection.On(stops, feed, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		t.Put(e.Key, d.Cents)
		return atPoison(e, d)
	})
	double := projection.Map("double", parks.Table, func(_ string, v int64) int64 { return 2 * v })
	r := must(projection.Rehearse(parks, double, stops))(t)
	for range 2 {
		seq := uint64(0)
		apply := func(key string, cents ...int64) (*projection.Outcome, error) {
			seq++
			var events []any
			for _, c := range cents {
				events = append(events, deposited{c})
			}
			c := must(feed.Rehearse(eventlog.Draft{Key: key, Events: events}, seq, time.Unix(1, 0)))(t)
			return r.Apply(c)
		}
		o, err := apply("ada", 1, 2)
		if c := double.ChangesIn(o); err != nil || len(c) != 1 || c[0].New != 10 || c[0].Had || fmt.Sprint(o.Changed()) != "[double fragile stops]" {
			t.Errorf("%+v, %v", c, err)
		}
		_, err = apply("ada", 666)
		stopped, ok := errors.AsType[*projection.StoppedError](err)
		if !ok || stopped.Projection != "stops" || stopped.Position.Seq != 2 {
			t.Errorf("%v", err)
		}
		o, err = apply("ada", 4)
		if err != nil || len(o.Changed()) != 0 || len(r.Parked()) != 2 {
			t.Errorf("%v, %v, %+v", err, o.Changed(), r.Parked())
		}
		dump := must(r.Dump())(t)
		if got := fmt.Sprint(dump); got != "[{fragile 0 map[ada:5 #"+dump[0].Rows["ada"][3:]+"]} {double 0 map[ada:10 #"+dump[1].Rows["ada"][4:]+"]} {stops 3 map[ada:2 #"+dump[2].Rows["ada"][3:]+"]}]" {
			t.Error(got)
		}
		bob := must(feed.Rehearse(eventlog.Draft{Key: "bob", Events: []any{deposited{6}}}, 10, time.Unix(1, 0)))(t)
		if err := r.Step(bob); err != nil {
			t.Error(err)
		}
		if v, ok := double.Get("bob"); v != 12 || !ok {
			t.Error(v, ok)
		}
		if err := r.Step(bob); !errors.Is(err, projection.ErrInvalid) {
			t.Errorf("a step again: %v", err)
		}
		seq = 1
		if _, err := apply("ada", 1); !errors.Is(err, projection.ErrInvalid) {
			t.Errorf("a sequence again: %v", err)
		}
		r.Reset()
		if parks.Len()+double.Len()+stops.Len()+len(r.Parked()) != 0 {
			t.Error("it isn't empty")
		}
	}
	if _, err := projection.Rehearse(); !errors.Is(err, projection.ErrInvalid) {
		t.Error(err)
	}
	other := must(eventlog.Offline("other", eventlog.Type[opened]("opened")))(t)
	c := must(other.Rehearse(eventlog.Draft{Key: "k", Events: []any{opened{}}}, 1, time.Now()))(t)
	if _, err := r.Apply(c); !errors.Is(err, projection.ErrNotRead) {
		t.Error(err)
	}
}

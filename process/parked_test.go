package process_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

// What can't be appended is given up at once and listed as what it is, until
// somebody drops it; the state, and other reactions, go on.
func TestParkedReactions(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		ctx, cancel := context.WithCancel(t.Context())
		orders, err := log.Feed(ctx, "orders", eventlog.Type[Paid]("paid"))
		if err != nil {
			t.Fatal(err)
		}
		parcels, err := log.Feed(ctx, "parcels", eventlog.Type[Requested]("requested"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := process.New[int](ctx, log, "p", 1, parcels)
		if err != nil {
			t.Fatal(err)
		}
		process.On(p, orders, func(e eventlog.Event, _ Paid) string {
			if e.Key == "nobody" {
				return ""
			}
			return "all"
		}, func(do *process.Step[int], e eventlog.Event, _ Paid) error {
			do.Set(do.State() + 1)
			do.Append(parcels, strings.TrimPrefix(e.Key, "no-"), Requested{})
			do.After(-time.Hour, "past")   // fires at once
			do.After(1<<62, "far in time") // and this never
			return nil
		})
		process.OnTimer(p, func(do *process.Step[int], _ eventlog.Event, name string) error {
			if name == "past" {
				do.Set(do.State() + 100)
			}
			return nil
		})
		rt, err := (projection.Config{NoSnapshots: true}).Start(ctx, log, p)
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error)
		go func() { ran <- p.Run(ctx, effect.Options{}) }()
		for _, key := range []string{"no-", "ada", "nobody"} {
			if _, err := orders.Append(ctx, key, eventlog.ExpectAny, Paid{}); err != nil {
				t.Fatal(err)
			}
		}
		bubble.Pass(time.Minute)
		synctest.Wait()
		if s, _ := p.State("all"); s != 202 {
			t.Errorf("the state is %d", s)
		}
		parked := p.Parked()
		if len(parked) != 1 || !strings.HasSuffix(parked[0].ID, "/p/all/0") || parked[0].Feed != parcels || parked[0].Key != "" ||
			!slices.Equal(parked[0].Events, []any{Requested{}}) || !strings.Contains(parked[0].Error, "key") || p.Pending() != 2 {
			t.Fatalf("%d are pending, %+v given up", p.Pending(), parked)
		}
		if err := p.Retry(ctx, parked[0].ID, "ops"); err != nil {
			t.Fatal(err)
		}
		bubble.Pass(time.Minute)
		if again := p.Parked(); len(again) != 1 || !again[0].Since.After(parked[0].Since) {
			t.Fatalf("tried again: %+v", again)
		}
		if err := p.Drop(ctx, parked[0].ID, "ops"); err != nil {
			t.Fatal(err)
		}
		if err := p.Drop(ctx, parked[0].ID, "ops"); !errors.Is(err, effect.ErrNotParked) || len(p.Parked()) != 0 {
			t.Errorf("dropped: %v, %+v", err, p.Parked())
		}
		cancel()
		if err := errors.Join(<-ran, rt.Close()); err != nil {
			t.Error(err)
		}
	})
}

// A step says what is wrong with what it wants, all of it, and which feed.
func TestStepsSayWhatIsWrong(t *testing.T) {
	orders, err := eventlog.Offline("orders", eventlog.Type[Paid]("paid"))
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
		do.Append(nil, e.Key, Requested{})
		do.Append(orders, e.Key, Paid{})
		do.Append(parcels, e.Key)
		do.Append(parcels, e.Key, Paid{})
		return nil
	})
	r, err := projection.Rehearse(p)
	if err != nil {
		t.Fatal(err)
	}
	c, err := orders.Rehearse(eventlog.Draft{Key: "ada", Events: []any{Paid{}}}, 1, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Apply(c)
	for _, want := range []string{"nil feed", `feed "orders", which New wasn't given`, `no events to parcels/"ada"`, "not registered"} {
		if !errors.Is(err, process.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

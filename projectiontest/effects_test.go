package projectiontest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/projectiontest"
)

type (
	placed    struct{ Item string }
	paid      struct{}
	requested struct{}
	sent      struct{}
	reminded  struct{}
)

// mails states a mail for each order, and a question a day later.
func mails(t testing.TB, orders *eventlog.Feed) *effect.Outbox[string] {
	o := projectiontest.Outbox[string](t, "mails")
	effect.On(o, orders, func(tx *effect.Tx[string], e eventlog.Event, d placed) error {
		switch d.Item {
		case "":
			return nil // nothing to say
		case "poison":
			return errPoor
		}
		tx.Want("", e.Key+": "+d.Item)
		tx.WantAt("later", e.Time.Add(24*time.Hour), e.Key+": how is the "+d.Item)
		return nil
	})
	return o
}

// Given orders, when one is placed, then a mail is wanted; when it is carried
// out, then that is recorded.
func ExampleCarry() {
	t := new(testing.T) // the test's

	orders := projectiontest.Feed(t, "orders", eventlog.Type[placed]("placed"))
	outbox := mails(t, orders)
	k := projectiontest.New(t, outbox)
	k.When(orders, "ada", placed{"tea"}).
		Then(projectiontest.Wants(outbox, "ada: tea", "ada: how is the tea"))
	send := func(ctx context.Context, e effect.Effect[string]) error { return nil }
	projectiontest.Carry(k, outbox, send, effect.Options{}).
		Then(effect.Done{Attempts: 1}) // the other one isn't due
	k.At(projectiontest.Epoch.AddDate(0, 0, 2))
	projectiontest.Carry(k, outbox, send, effect.Options{}).
		Then(effect.Done{Attempts: 1}).
		Then(projectiontest.Waiting(outbox, 0, 0))
	// Output:
}

// T2.17, in the kit: intents, attempts with backoff, and ends, as Run makes
// them.
func TestEffectsInTheKit(t *testing.T) {
	orders := projectiontest.Feed(t, "orders", eventlog.Type[placed]("placed"))
	outbox := mails(t, orders)
	k := projectiontest.New(t, outbox)
	k.When(orders, "bob", placed{""}).Then(projectiontest.Wants(outbox))
	k.When(orders, "ada", placed{"tea"}).Then(
		projectiontest.Wants(outbox, "ada: tea", "ada: how is the tea"),
		projectiontest.Waiting(outbox, 2, 0))
	away := errors.New("away")
	var seen []effect.Effect[string]
	send := func(_ context.Context, e effect.Effect[string]) error {
		seen = append(seen, e)
		switch len(seen) {
		case 1:
			return away
		case 2:
			panic("no paper")
		}
		return nil
	}
	opts := effect.Options{Attempts: 3, Backoff: time.Minute}
	projectiontest.Carry(k, outbox, send, opts).Then(effect.Failed{Attempts: 1, Error: "away"})
	projectiontest.Carry(k, outbox, send, opts).Then() // it waits for the backoff
	k.At(projectiontest.Epoch.Add(time.Hour))
	projectiontest.Carry(k, outbox, send, opts) // panics
	k.At(projectiontest.Epoch.Add(2 * time.Hour))
	projectiontest.Carry(k, outbox, send, opts).Then(effect.Done{Attempts: 3}).
		Then(projectiontest.Waiting(outbox, 1, 0))
	if len(seen) != 3 || seen[0].ID != "mails:Gud1gK2ocNqFfNDj3o0DIw.0" || seen[2].ID != seen[0].ID || seen[2].Attempt != 3 {
		t.Errorf("attempts %+v", seen)
	}
	k.At(projectiontest.Epoch.AddDate(0, 0, 7))
	projectiontest.Carry(k, outbox, func(context.Context, effect.Effect[string]) error { return effect.Permanent(away) }, opts).
		Then(effect.GaveUp{Attempts: 1, Error: "permanent failure: away"}).
		Then(projectiontest.Waiting(outbox, 0, 1))
	k.Given(outbox.Outcomes(), outbox.Parked()[0].ID, effect.Retried{By: "bob"}).
		Then(projectiontest.Waiting(outbox, 1, 0))

	r := &recorder{TB: t}
	outbox = mails(t, orders)
	k = projectiontest.New(r, outbox)
	k.When(orders, "ada", placed{"tea"}).Then(projectiontest.Wants(outbox, "bob: tea"))
	r.expect(t, `outbox "mails" wants [ada: tea ada: how is the tea], want [bob: tea]`)
	k.Then(projectiontest.Wants(outbox))
	r.expect(t, "ask behind When")
	k.Then(projectiontest.Waiting(outbox, 7, 0))
	r.expect(t, `2 effects wait and 0 were given up, want 7 and 0`)
	projectiontest.Carry(k, outbox, send, opts).Then(effect.Done{Attempts: 2})
	r.expect(t, `the outcomes are [effect.Done{Attempts:1}], want [effect.Done{Attempts:2}]`)
	k.When(orders, "ada", placed{"poison"}).Fails(errPoor)
}

// Offline outboxes and managers say that they have no log.
func TestOfflineEffects(t *testing.T) {
	orders := projectiontest.Feed(t, "orders", eventlog.Type[placed]("placed"))
	outbox := mails(t, orders)
	if err := outbox.Run(t.Context(), func(context.Context, effect.Effect[string]) error { return nil }, effect.Options{}); !errors.Is(err, eventlog.ErrOffline) {
		t.Error(err)
	}
	if _, err := effect.Offline[string]("No Name", 0); !errors.Is(err, effect.ErrInvalid) {
		t.Error(err)
	}
	if _, err := outbox.Due(time.Now(), effect.Options{Attempts: -1}); !errors.Is(err, effect.ErrInvalid) {
		t.Error(err)
	}
	if _, err := effect.Attempt(t.Context(), effect.Effect[string]{}, nil, effect.Options{}); !errors.Is(err, effect.ErrInvalid) {
		t.Error(err)
	}
	if _, err := process.Offline[int]("p", 0, nil); !errors.Is(err, process.ErrInvalid) {
		t.Error(err)
	}
	m, err := process.Offline[int]("p", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), effect.Options{}); !errors.Is(err, eventlog.ErrOffline) {
		t.Error(err)
	}
}

// A process manager, its timer included, without a server.
func TestReact(t *testing.T) {
	orders := projectiontest.Feed(t, "orders", eventlog.Type[paid]("paid"))
	parcels := projectiontest.Feed(t, "parcels", eventlog.Type[requested]("requested"), eventlog.Type[sent]("sent"), eventlog.Type[reminded]("reminded"))
	p, err := process.Offline[string]("shipping", 1, parcels)
	if err != nil {
		t.Fatal(err)
	}
	process.On(p, orders, nil, func(do *process.Step[string], e eventlog.Event, _ paid) error {
		do.Set("paid")
		do.Append(parcels, e.Key, requested{})
		do.After(24*time.Hour, "late")
		return nil
	})
	process.On(p, parcels, nil, func(do *process.Step[string], e eventlog.Event, _ sent) error {
		do.Set("sent")
		return nil
	})
	process.OnTimer(p, func(do *process.Step[string], e eventlog.Event, name string) error {
		if do.State() == "paid" {
			do.Append(parcels, do.Key(), reminded{})
		}
		return nil
	})
	k := projectiontest.New(t, projection.NewUnit("all", p))
	k.Given(orders, "ada", paid{}).Given(orders, "bob", paid{})
	projectiontest.React(k, p).Then(
		projectiontest.On(parcels, "ada", requested{}),
		projectiontest.On(parcels, "bob", requested{}))
	projectiontest.React(k, p).Then() // each once
	k.Given(parcels, "ada", sent{})
	k.At(projectiontest.Epoch.AddDate(0, 0, 3))
	projectiontest.React(k, p).Then(
		projectiontest.On(p.Timers(), "ada", process.Fired{Name: "late"}),
		projectiontest.On(p.Timers(), "bob", process.Fired{Name: "late"}),
		projectiontest.On(parcels, "bob", reminded{}))
	if s, ok := p.State("ada"); !ok || s != "sent" {
		t.Errorf("%q %v", s, ok)
	}
}

// The kit says which reactions came instead.
func TestReactionsDiffer(t *testing.T) {
	orders := projectiontest.Feed(t, "orders", eventlog.Type[paid]("paid"))
	parcels := projectiontest.Feed(t, "parcels", eventlog.Type[requested]("requested"))
	p, err := process.Offline[string]("shipping", 1, parcels)
	if err != nil {
		t.Fatal(err)
	}
	process.On(p, orders, nil, func(do *process.Step[string], e eventlog.Event, _ paid) error {
		do.Append(parcels, e.Key, requested{}) // which nothing reads
		return nil
	})
	r := &recorder{TB: t}
	k := projectiontest.New(r, p).Given(orders, "ada", paid{})
	projectiontest.React(k, p).Then(projectiontest.On(parcels, "bob", requested{}))
	r.expect(t, "the reactions are [parcels/ada [projectiontest_test.requested{}]], want [parcels/bob [projectiontest_test.requested{}]]")
}

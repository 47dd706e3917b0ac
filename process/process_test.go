package process_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

// The server's clock of access times must belong to no bubble of fake time.
func TestMain(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}

type (
	Paid      struct{}
	Requested struct{}
	Sent      struct{}
	Reminded  struct{}
)

// late is short since everything else goes on in fake time, too: leases,
// heartbeats.
const late = 5 * time.Minute

type shipping struct{ Paid, Sent bool }

// office is a process: it requests a parcel for each paid order, and reminds
// once when none was sent in time.
type office struct {
	t               *testing.T
	orders, parcels *eventlog.Feed
	p               *process.Manager[shipping]
	rt              *projection.Runtime
	cancel          context.CancelFunc
	ended           chan error
}

// note ends a process that has all that it waits for, in whichever order.
func note(do *process.Step[shipping], s shipping) {
	if do.Set(s); s.Paid && s.Sent {
		do.End()
	}
}

func openOffice(t *testing.T, log *eventlog.Log) *office {
	t.Helper()
	ctx := t.Context()
	o := &office{t: t, ended: make(chan error, 1)}
	var err error
	if o.orders, err = log.Feed(ctx, "orders", eventlog.Type[Paid]("paid")); err != nil {
		t.Fatal(err)
	}
	if o.parcels, err = log.Feed(ctx, "parcels", eventlog.Type[Requested]("requested"), eventlog.Type[Sent]("sent"), eventlog.Type[Reminded]("reminded")); err != nil {
		t.Fatal(err)
	}
	if o.p, err = process.New[shipping](ctx, log, "shipping", 1, o.parcels); err != nil {
		t.Fatal(err)
	}
	process.On(o.p, o.orders, nil, func(do *process.Step[shipping], e eventlog.Event, _ Paid) error {
		note(do, shipping{Paid: true, Sent: do.State().Sent})
		do.Append(o.parcels, e.Key, Requested{})
		do.After(late, "late")
		return nil
	})
	process.On(o.p, o.parcels, nil, func(do *process.Step[shipping], e eventlog.Event, _ Sent) error {
		note(do, shipping{Paid: do.State().Paid, Sent: true})
		return nil
	})
	process.OnTimer(o.p, func(do *process.Step[shipping], e eventlog.Event, name string) error {
		if name == "late" && do.State().Paid {
			do.Append(o.parcels, do.Key(), Reminded{})
		}
		return nil
	})
	if o.rt, err = (projection.Config{NoSnapshots: true}).Start(ctx, log, o.p); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) run() {
	ctx, cancel := context.WithCancel(o.t.Context())
	o.cancel = cancel
	go func() { o.ended <- o.p.Run(ctx, effect.Options{}) }()
}

func (o *office) close() {
	o.t.Helper()
	if o.cancel != nil {
		o.cancel()
		if err := <-o.ended; err != nil {
			o.t.Error(err)
		}
	}
	if err := o.rt.Close(); err != nil {
		o.t.Error(err)
	}
}

func (o *office) append(f *eventlog.Feed, key string, events ...any) {
	o.t.Helper()
	at, err := f.Append(o.t.Context(), key, eventlog.ExpectAny, events...)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.rt.Wait(o.t.Context(), at); err != nil {
		o.t.Fatal(err)
	}
}

// count reads how often events of a type are in the feed of parcels.
func (o *office) count(typ string) (n int) {
	o.t.Helper()
	for e, err := range o.parcels.Read(o.t.Context()) {
		if err != nil {
			o.t.Fatal(err)
		}
		if e.Type == typ {
			n++
		}
	}
	return n
}

func (o *office) counts(what string, requested, reminded int) {
	o.t.Helper()
	bubble.Pass(time.Minute) // of fake time: all that is due is done
	synctest.Wait()
	if a, b := o.count("requested"), o.count("reminded"); a != requested || b != reminded {
		o.t.Errorf("%s: %d requested and %d reminded, want %d and %d", what, a, b, requested, reminded)
	}
}

func faked(t *testing.T, f func(t *testing.T, log *eventlog.Log)) {
	t.Helper()
	bubble.Run(t, func(t *testing.T) {
		log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		f(t, log)
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Reactions and timers, once each: through restarts, replays, and a timer that
// is due while nothing runs.
func TestReactionsAndTimers(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		o := openOffice(t, log)
		o.run()
		o.append(o.orders, "ada", Paid{})
		o.append(o.orders, "bob", Paid{})
		o.counts("paid", 2, 0)
		o.append(o.parcels, "bob", Sent{})
		if _, ok := o.p.State("bob"); ok {
			t.Error("bob's state hasn't ended")
		}
		bubble.Pass(late - 3*time.Minute)
		o.counts("before they are late", 2, 0)
		o.close()

		bubble.Pass(2 * late) // nothing runs when the timers are due
		o = openOffice(t, log)
		o.run()
		o.counts("after a restart", 2, 1)
		if s, ok := o.p.State("ada"); !ok || !s.Paid {
			t.Errorf("ada's state is %+v, %v", s, ok)
		}
		if _, ok := o.p.State("bob"); ok {
			t.Error("bob's timer has made a state")
		}
		o.append(o.orders, "cy", Paid{})
		o.counts("cy", 3, 1)
		bubble.Pass(late)
		o.counts("later", 3, 2)
		o.close()

		o = openOffice(t, log) // once more, all of it
		o.run()
		bubble.Pass(2 * late)
		o.counts("replayed", 3, 2)
		if pending, parked := o.p.Pending(), o.p.Parked(); pending != 0 || len(parked) != 0 {
			t.Errorf("%d are pending, %+v given up", pending, parked)
		}
		o.close()
	})
}

// The append is done and its record lost: the reaction is attempted again, by
// its identity, and is in the log once.
func TestReactionIsAppendedOnce(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		o := openOffice(t, log)
		o.append(o.orders, "ada", Paid{}, Paid{}) // one commit, two steps
		due, err := o.p.Due(time.Now())
		if err != nil || len(due) != 2 {
			t.Fatal(due, err)
		}
		// What a process has done that ended before it could record it.
		if _, err := o.parcels.AppendDraft(t.Context(), eventlog.Draft{Key: "ada", ID: due[0].ID, Events: []any{Requested{}}}); err != nil {
			t.Fatal(err)
		}
		o.run()
		o.counts("run", 2, 0)
		o.close()
	})
}

func TestInvalid(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		ctx := t.Context()
		if _, err := process.New[int](ctx, log, "p", 1, nil); !errors.Is(err, process.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		orders, err := log.Feed(ctx, "orders", eventlog.Type[Paid]("paid"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := process.New[int](ctx, log, "p", 1)
		if err != nil {
			t.Fatal(err)
		}
		process.On(p, orders, nil, func(do *process.Step[int], e eventlog.Event, _ Paid) error {
			do.Append(orders, e.Key, Paid{}) // not given to New
			return nil
		})
		rt, err := (projection.Config{NoSnapshots: true}).Start(ctx, log, p)
		if err != nil {
			t.Fatal(err)
		}
		at, err := orders.Append(ctx, "ada", eventlog.ExpectAny, Paid{})
		if err != nil {
			t.Fatal(err)
		}
		if err := rt.Wait(ctx, at); !errors.Is(err, process.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
}

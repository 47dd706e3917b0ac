package process_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	Viewed struct{}
	Packed struct{}
)

// order is what a process has handled, by feed.
type order struct{ Paid, Packed, Requested bool }

// shop is a process that requests a parcel for what is paid and packed, which
// is in two feeds, and fails where that, or a timer, comes before.
type shop struct {
	log                      *eventlog.Log
	orders, packing, parcels *eventlog.Feed
}

func openShop(t *testing.T, log *eventlog.Log) *shop {
	t.Helper()
	feed := func(name string, types ...eventlog.FeedOption) *eventlog.Feed {
		f, err := log.Feed(t.Context(), name, types...)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	return &shop{
		log:     log,
		orders:  feed("orders", eventlog.Type[Paid]("paid"), eventlog.Type[Viewed]("viewed")),
		packing: feed("packing", eventlog.Type[Packed]("packed")),
		parcels: feed("parcels", eventlog.Type[Requested]("requested"), eventlog.Type[Sent]("sent")),
	}
}

func (s *shop) append(t *testing.T, f *eventlog.Feed, key string, e any) {
	t.Helper()
	if _, err := f.Append(t.Context(), key, eventlog.ExpectAny, e); err != nil {
		t.Fatal(err)
	}
}

var errEarly = errors.New("it comes before what led to it")

func (s *shop) manager(t *testing.T, version uint64) *process.Manager[order] {
	t.Helper()
	p, err := process.New[order](t.Context(), s.log, "shipping", version, s.parcels)
	if err != nil {
		t.Fatal(err)
	}
	request := func(do *process.Step[order], o order) error {
		if do.Set(o); o.Paid && o.Packed {
			do.Append(s.parcels, do.Key(), Requested{})
			do.After(10*time.Second, "late")
		}
		return nil
	}
	process.On(p, s.orders, nil, func(do *process.Step[order], e eventlog.Event, _ Paid) error {
		o := do.State()
		o.Paid = true
		return request(do, o)
	})
	process.On(p, s.packing, nil, func(do *process.Step[order], e eventlog.Event, _ Packed) error {
		o := do.State()
		o.Packed = true
		return request(do, o)
	})
	behind := func(do *process.Step[order], o order) error {
		if do.Set(o); !o.Paid || !o.Packed {
			return fmt.Errorf("%w: %+v", errEarly, o)
		}
		return nil
	}
	process.On(p, s.parcels, nil, func(do *process.Step[order], e eventlog.Event, _ Requested) error {
		o := do.State()
		o.Requested = true
		return behind(do, o)
	})
	// What somebody else appends behind a consequence is behind its causes.
	process.On(p, s.parcels, nil, func(do *process.Step[order], e eventlog.Event, _ Sent) error { return behind(do, do.State()) })
	process.OnTimer(p, func(do *process.Step[order], e eventlog.Event, name string) error { return behind(do, do.State()) })
	return p
}

// witness is another reader, of some of the feeds.
func (s *shop) witness(p *process.Manager[order]) *projection.Table[string, uint64] {
	seen := projection.NewTable[string, uint64]("seen")
	projection.On(seen, s.orders, func(tx *projection.Tx[string, uint64], e eventlog.Event, _ Paid) error {
		tx.Put(e.Key, e.Seq)
		return nil
	})
	projection.On(seen, p.Timers(), func(tx *projection.Tx[string, uint64], e eventlog.Event, _ process.Fired) error {
		if tx.Value(e.Key) == 0 {
			return errEarly
		}
		return nil
	})
	return seen
}

// run lets a version of the process run from the first event on, until all is
// done, and returns its feed of timers.
func (s *shop) run(t *testing.T, version uint64, meanwhile func()) *eventlog.Feed {
	t.Helper()
	p := s.manager(t, version)
	rt, err := (projection.Config{NoSnapshots: true}).Start(t.Context(), s.log, p, s.witness(p))
	if err != nil {
		t.Fatal(err)
	}
	life, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(life, effect.Options{}) }()
	meanwhile()
	bubble.Pass(20 * time.Second)
	synctest.Wait()
	if err := rt.Healthy(t.Context()); err != nil {
		t.Errorf("version %d: %v", version, err)
	}
	if o, ok := p.State("ada"); !ok || o != (order{true, true, true}) {
		t.Errorf("version %d: %+v, %t", version, o, ok)
	}
	for _, st := range rt.Metrics() {
		if len(st.Held) > 0 {
			t.Errorf("%s: held: %+v", st.Projection, st.Held)
		}
	}
	end()
	if err := errors.Join(<-ended, rt.Close()); err != nil {
		t.Error(err)
	}
	return p.Timers()
}

// R0.22: a reaction says what had led to it, of all feeds, and so does a timer.
// A replay by the manager handles that before, also where the consequence's
// feed is read to its end long before the cause's is; and so does any other
// unit that reads them.
func TestReplayKeepsCausesFirst(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		s := openShop(t, log)
		timers := s.run(t, 1, func() {
			s.append(t, s.packing, "ada", Packed{})
			for i := range 1100 { // more than a batch
				if _, err := s.orders.AppendAsync(t.Context(), eventlog.Draft{Key: fmt.Sprint("guest-", i), Events: []any{Viewed{}}}); err != nil {
					t.Fatal(err)
				}
			}
			s.append(t, s.orders, "ada", Paid{})
			bubble.Pass(time.Second)
			synctest.Wait()
			s.append(t, s.parcels, "ada", Sent{})
		})
		const want = "orders=1101,packing=1"
		for _, f := range []*eventlog.Feed{s.parcels, timers} {
			for e, err := range f.Read(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if seen, err := e.Seen(); err != nil || seen.String() != want && e.Type != "sent" {
					t.Errorf("%s %s had seen %s, %v, want %s", e.Position(), e.Type, seen, err, want)
				}
			}
		}
		s.run(t, 2, func() {}) // from the first event
		if st, err := s.parcels.State(t.Context()); err != nil || st.Last != 2 {
			t.Errorf("the replay appended: %+v, %v", st, err)
		}
	})
}

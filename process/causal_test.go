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

// R0.22: a reaction says what had led to it, of all feeds, and so does a timer.
// A replay by the manager handles that before, also where the consequence's
// feed is read to its end long before the cause's is; and so does any other
// unit that reads them.
func TestReplayKeepsCausesFirst(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		ctx := t.Context()
		feed := func(name string, types ...eventlog.FeedOption) *eventlog.Feed {
			f, err := log.Feed(ctx, name, types...)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		orders, packing := feed("orders", eventlog.Type[Paid]("paid"), eventlog.Type[Viewed]("viewed")), feed("packing", eventlog.Type[Packed]("packed"))
		parcels := feed("parcels", eventlog.Type[Requested]("requested"), eventlog.Type[Sent]("sent"))
		write := func(f *eventlog.Feed, key string, e any) {
			if _, err := f.Append(ctx, key, eventlog.ExpectAny, e); err != nil {
				t.Fatal(err)
			}
		}
		early := errors.New("it comes before what led to it")
		run := func(version uint64, meanwhile func(p *process.Manager[order])) {
			p, err := process.New[order](ctx, log, "shipping", version, parcels)
			if err != nil {
				t.Fatal(err)
			}
			request := func(do *process.Step[order], s order) error {
				if do.Set(s); s.Paid && s.Packed {
					do.Append(parcels, do.Key(), Requested{})
					do.After(10*time.Second, "late")
				}
				return nil
			}
			process.On(p, orders, nil, func(do *process.Step[order], e eventlog.Event, _ Paid) error {
				s := do.State()
				s.Paid = true
				return request(do, s)
			})
			process.On(p, packing, nil, func(do *process.Step[order], e eventlog.Event, _ Packed) error {
				s := do.State()
				s.Packed = true
				return request(do, s)
			})
			behind := func(do *process.Step[order], s order) error {
				if do.Set(s); !s.Paid || !s.Packed {
					return fmt.Errorf("%w: %+v", early, s)
				}
				return nil
			}
			process.On(p, parcels, nil, func(do *process.Step[order], e eventlog.Event, _ Requested) error {
				s := do.State()
				s.Requested = true
				return behind(do, s)
			})
			// What somebody else appends behind a consequence is behind its causes.
			process.On(p, parcels, nil, func(do *process.Step[order], e eventlog.Event, _ Sent) error { return behind(do, do.State()) })
			process.OnTimer(p, func(do *process.Step[order], e eventlog.Event, name string) error { return behind(do, do.State()) })
			seen := projection.NewTable[string, uint64]("seen") // of another unit, and not of all feeds
			projection.On(seen, orders, func(tx *projection.Tx[string, uint64], e eventlog.Event, _ Paid) error {
				tx.Put(e.Key, e.Seq)
				return nil
			})
			projection.On(seen, p.Timers(), func(tx *projection.Tx[string, uint64], e eventlog.Event, _ process.Fired) error {
				if tx.Value(e.Key) == 0 {
					return early
				}
				return nil
			})
			rt, err := (projection.Config{NoSnapshots: true}).Start(ctx, log, p, seen)
			if err != nil {
				t.Fatal(err)
			}
			life, end := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() { ended <- p.Run(life, effect.Options{}) }()
			meanwhile(p)
			bubble.Pass(20 * time.Second)
			synctest.Wait()
			if err := rt.Healthy(ctx); err != nil {
				t.Errorf("version %d: %v", version, err)
			}
			if s, ok := p.State("ada"); !ok || s != (order{true, true, true}) {
				t.Errorf("version %d: %+v, %t", version, s, ok)
			}
			for _, s := range rt.Metrics() {
				if len(s.Held) > 0 {
					t.Errorf("%s: held: %+v", s.Projection, s.Held)
				}
			}
			end()
			if err := errors.Join(<-ended, rt.Close()); err != nil {
				t.Error(err)
			}
		}
		run(1, func(p *process.Manager[order]) {
			write(packing, "ada", Packed{})
			for i := range 1100 { // more than a batch
				if _, err := orders.AppendAsync(ctx, eventlog.Draft{Key: fmt.Sprint("guest-", i), Events: []any{Viewed{}}}); err != nil {
					t.Fatal(err)
				}
			}
			write(orders, "ada", Paid{})
			bubble.Pass(time.Second)
			synctest.Wait()
			write(parcels, "ada", Sent{})
		})
		for f, want := range map[*eventlog.Feed]string{parcels: "orders=1101,packing=1", feed("shipping-timers", eventlog.Type[process.Fired]("fired")): "orders=1101,packing=1"} {
			for e, err := range f.Read(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				if seen, err := e.Seen(); err != nil || seen.String() != want && e.Type != "sent" {
					t.Errorf("%s %s had seen %s, %v, want %s", e.Position(), e.Type, seen, err, want)
				}
			}
		}
		run(2, func(*process.Manager[order]) {}) // from the first event
		if st, err := parcels.State(ctx); err != nil || st.Last != 2 {
			t.Errorf("the replay appended: %+v, %v", st, err)
		}
	})
}

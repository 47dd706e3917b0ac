//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

// order is one thing that is bought; no two have the same number.
type order struct{ N int }

// A parcel is requested once for an order, by a process manager, and reminded
// of once, by a timer.
type (
	requested struct{ N int }
	reminded  struct{ N int }
)

// world is what is outside: who is written to, whichever session of which log
// does it.
type world struct {
	mu   sync.Mutex
	next int            // the next order's number
	ids  map[string]int // which order an ID was given for
	sent map[int]int    // letters, by order
	now  map[int]int    // of those, the ones since fresh
	rand *rand.Rand
	bad  []string
}

func newWorld(seed uint64) *world {
	return &world{ids: make(map[string]int), sent: make(map[int]int), now: make(map[int]int), rand: rand.New(rand.NewPCG(seed, 1))}
}

func (w *world) number() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return w.next
}

// orders is how many there were.
func (w *world) orders() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next
}

// fresh begins to count anew what is sent.
func (w *world) fresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = make(map[int]int)
}

// send carries an effect out. Some attempts fail before that, and some after.
func (w *world) send(_ context.Context, e effect.Effect[order]) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	fate := w.rand.IntN(20)
	if fate == 0 {
		return errors.New("away")
	}
	if was, ok := w.ids[e.ID]; ok && was != e.Intent.N {
		w.bad = append(w.bad, fmt.Sprintf("%s is the ID of orders %d and %d", e.ID, was, e.Intent.N))
	}
	w.ids[e.ID] = e.Intent.N
	w.sent[e.Intent.N]++
	if fate > 1 { // else it is repeated by right
		w.now[e.Intent.N]++
		return nil
	}
	return errors.New("nobody knows whether it arrived")
}

// buyers is an application: orders, a letter for each (effects), a parcel for
// each (reactions), and a reminder of each parcel (timers).
type buyers struct {
	t       *testing.T
	w       *world
	log     *eventlog.Log
	orders  *eventlog.Feed
	parcels *eventlog.Feed
	letters *effect.Outbox[order]
	ship    *process.Manager[int]
	rt      *projection.Runtime
	cancel  context.CancelFunc
	ended   chan error
}

func openBuyers(ctx context.Context, t *testing.T, dir string, w *world) *buyers {
	t.Helper()
	b := &buyers{t: t, w: w, ended: make(chan error, 2)}
	b.log = must(eventlog.Open(ctx, eventlog.Options{App: "buyers", Dir: dir}))(t)
	return b
}

// start derives all from the application's feeds. What these have lost, and the
// log knows, is given up.
func (b *buyers) start(ctx context.Context) {
	b.t.Helper()
	for {
		err := b.derive(ctx)
		loss, lost := errors.AsType[*eventlog.LossError](err)
		if err == nil {
			return
		}
		if !lost {
			b.t.Fatal(err)
		}
		must(0, must(b.log.Opened(loss.Feed))(b.t).AcceptLoss(ctx, loss.From, loss.To))(b.t)
	}
}

func (b *buyers) derive(ctx context.Context) (err error) {
	if b.orders, err = b.log.Feed(ctx, "orders", eventlog.Type[order]("ordered")); err != nil {
		return err
	}
	if b.parcels, err = b.log.Feed(ctx, "parcels", eventlog.Type[requested]("requested"), eventlog.Type[reminded]("reminded")); err != nil {
		return err
	}
	if b.letters, err = effect.New[order](ctx, b.log, "letters", 1); err != nil {
		return err
	}
	effect.On(b.letters, b.orders, func(tx *effect.Tx[order], _ eventlog.Event, o order) error {
		tx.Want("", o)
		return nil
	})
	if b.ship, err = process.New[int](ctx, b.log, "ship", 1, b.parcels); err != nil {
		return err
	}
	process.On(b.ship, b.orders, func(_ eventlog.Event, o order) string { return fmt.Sprint("order-", o.N) },
		func(do *process.Step[int], _ eventlog.Event, o order) error {
			do.Set(o.N)
			do.Append(b.parcels, do.Key(), requested(o))
			do.After(time.Millisecond, "remind")
			return nil
		})
	process.OnTimer(b.ship, func(do *process.Step[int], _ eventlog.Event, _ string) error {
		do.Append(b.parcels, do.Key(), reminded{do.State()})
		return nil
	})
	b.rt, err = everyFew(7).Start(ctx, b.log, b.letters, b.ship)
	return err
}

func (b *buyers) run(ctx context.Context) {
	ctx, b.cancel = context.WithCancel(ctx)
	opts := effect.Options{Backoff: time.Millisecond, Attempts: 100, MarkEvery: 20 * time.Millisecond}
	go func() { b.ended <- b.letters.Run(ctx, b.w.send, opts) }()
	go func() { b.ended <- b.ship.Run(ctx, opts) }()
}

func (b *buyers) close() {
	b.t.Helper()
	var err error
	if b.cancel != nil {
		b.cancel()
		err = errors.Join(<-b.ended, <-b.ended)
	}
	if b.rt != nil {
		err = errors.Join(err, b.rt.Close())
	}
	if err := errors.Join(err, b.log.Close()); err != nil {
		b.t.Fatal(err)
	}
}

// buy appends so many orders, of few keys.
func (b *buyers) buy(ctx context.Context, n int) {
	b.t.Helper()
	var last eventlog.Position
	for range n {
		o := order{b.w.number()}
		last = must(b.orders.Append(ctx, fmt.Sprint("buyer-", o.N%5), eventlog.ExpectAny, o))(b.t)
	}
	if err := b.rt.Wait(ctx, last); n > 0 && err != nil {
		b.t.Fatal(err)
	}
}

// settle waits until all is done that is wanted. A timer that an order led to,
// which the log has lost, is held until as many others have come; so they do.
func (b *buyers) settle(ctx context.Context) {
	b.t.Helper()
	await(ctx, b.t, "all effects and reactions", func() bool {
		heads := must(b.log.Heads(ctx))(b.t)
		head, _ := heads.Get("orders")
		for _, s := range must(b.rt.Status(ctx))(b.t) {
			for _, held := range s.Held {
				if missing, _ := held.Missing.Get("orders"); missing > head {
					b.buy(ctx, int(missing-head))
					return false
				}
			}
		}
		for feed, seq := range heads.All() {
			if at, ok := b.rt.Timeframe().Get(feed); ok && at < seq {
				return false
			}
		}
		return b.letters.Pending() == 0 && b.ship.Pending() == 0
	})
}

// done are the orders whose letters have an end in the log.
func (b *buyers) done(ctx context.Context) map[int]bool {
	b.t.Helper()
	b.w.mu.Lock()
	ids := make(map[string]int, len(b.w.ids))
	maps.Copy(ids, b.w.ids)
	b.w.mu.Unlock()
	done := make(map[int]bool)
	for e, err := range b.letters.Outcomes().Read(ctx) {
		if err != nil {
			b.t.Fatal(err)
		}
		if e.Type == "done" {
			done[ids[e.Key]] = true
		}
	}
	return done
}

// check says what is wrong: an order in the log without its letter, its parcel
// or its reminder, one that has several of the latter, and one whose letter had
// an end in the log when this session began, and was sent again.
func (b *buyers) check(ctx context.Context, done map[int]bool) {
	b.t.Helper()
	parcels, reminders := make(map[int]int), make(map[int]int)
	for e, err := range b.parcels.Read(ctx) {
		if err != nil {
			b.t.Fatal(err)
		}
		switch v := must(e.Value())(b.t).(type) {
		case requested:
			parcels[v.N]++
		case reminded:
			reminders[v.N]++
		}
	}
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	orders := 0
	for e, err := range b.orders.Read(ctx) {
		if err != nil {
			b.t.Fatal(err)
		}
		orders++
		n := must(eventlog.Decode[order](e))(b.t).N
		if b.w.sent[n] == 0 || parcels[n] != 1 || reminders[n] != 1 {
			b.t.Errorf("order %d at %s: %d letters, %d parcels, %d reminders", n, e.Position(), b.w.sent[n], parcels[n], reminders[n])
		}
		if b.w.now[n] > 1 || done[n] && b.w.now[n] > 0 {
			b.t.Errorf("order %d at %s: %d letters are sent again, though its end is recorded (%v)", n, e.Position(), b.w.now[n], done[n])
		}
	}
	if orders == 0 {
		b.t.Error("there is no order")
	}
	for _, problem := range b.w.bad {
		b.t.Error(problem)
	}
}

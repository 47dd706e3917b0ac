package projection_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// flood appends n deposits without waiting for each.
func (b *bank) flood(t testing.TB, n int) (last eventlog.Position) {
	t.Helper()
	ps := make([]*eventlog.Pending, n)
	for i := range ps {
		ps[i] = must(b.accounts.AppendAsync(t.Context(), eventlog.Draft{Key: "k", Events: []any{deposited{1}}}))(t)
	}
	for _, p := range ps {
		last = must(p.Wait(t.Context()))(t)
	}
	return last
}

// spin keeps a core busy for so long, as a slow handler does.
func spin(d time.Duration) {
	for begun := time.Now(); time.Since(begun) < d; {
	}
}

// busyTable takes its time for each deposit, and tells how often it has.
func (b *bank) busyTable(name string, takes func(), took func(n int64), opts ...projection.TableOption) *projection.Table[string, int64] {
	t := projection.NewTable[string, int64](name, opts...)
	n := int64(0)
	projection.On(t, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		takes()
		n++
		took(n)
		tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
		return nil
	})
	return t
}

// R2.31: while an important projection has a backlog, one that can't keep up
// gets little, doesn't stand still, and is visible; then it gets all. In fake
// time, of which each of them has all that it takes.
func TestPriority(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		ctx := logtest.Context(t)
		b := openBank(t, eventlog.Options{App: "app", Memory: true})
		const events = 3000
		at := b.flood(t, events)
		var low, meanwhile atomic.Int64 // what the lesser one has done, and had when the first ended
		first := b.busyTable("first", func() { bubble.Pass(100 * time.Microsecond) }, func(n int64) {
			if n == events {
				meanwhile.Store(low.Load())
			}
		}, projection.Priority(1))
		lesser := b.busyTable("lesser", func() { bubble.Pass(200 * time.Microsecond) }, low.Store)
		rt := b.start(t, projection.Config{NoSnapshots: true, Background: true}, lesser, first)
		if err := waitFor(ctx, rt, "first", events); err != nil {
			t.Fatal(err)
		}
		// Without priorities both would have had the same time: events/2 of the
		// lesser one, which takes twice as long for each.
		if n := meanwhile.Load(); n > events/10 || n == 0 {
			t.Errorf("the lesser one did %d while the important one did %d", n, events)
		}
		s := status(t, rt, "lesser")
		if s.State != projection.CatchingUp || s.Lag["accounts"] == 0 || s.LagTime <= 0 || s.Priority != 0 {
			t.Errorf("the one that can't keep up: %+v", s)
		}
		if s := status(t, rt, "first"); s.Lag["accounts"] != 0 || s.Priority != 1 {
			t.Errorf("the important one: %+v", s)
		}
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		equal(t, "the lesser one", lesser, map[string]int64{"k": events})
	})
}

// await is for handlers: it waits for a channel, or the end of the test's time.
func await(ctx context.Context, c <-chan struct{}) {
	select {
	case <-c:
	case <-ctx.Done():
	}
}

// waitFor waits until a projection has applied so many events.
func waitFor(ctx context.Context, rt *projection.Runtime, name string, events uint64) error {
	for {
		for _, s := range rt.Metrics() {
			if s.Projection == name && s.Applied >= events {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

// R2.31: slow handlers get short runs: positions move, and readers get in,
// many times in a batch. Behind each fiftieth event the handler waits until
// another reader has come, so that it doesn't matter how busy the machine is.
func TestSlowHandlersGetShortRuns(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	at := b.flood(t, 400)
	reading, values := make(chan struct{}), make(chan int64)
	slow := b.busyTable("slow", func() { spin(500 * time.Microsecond) }, func(n int64) {
		if n%50 == 0 && n < 400 {
			await(ctx, reading)
		}
	})
	rt := b.start(t, projection.Config{NoSnapshots: true, Background: true}, slow)
	const readers = 400/50 - 1
	for range readers {
		go func() {
			v, _ := slow.Get("k") // waits for the end of a run
			values <- v
		}()
		reading <- struct{}{}
	}
	if err := rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	for range readers {
		seen[<-values] = true
	}
	if len(seen) < 5 {
		t.Errorf("saw only %v", seen)
	}
}

// R2.31: a projection whose handler is stuck is visible: a status doesn't wait
// for it.
func TestStuckHandlerIsVisible(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	stuck, begun := make(chan struct{}), make(chan struct{}, 1)
	slow := projection.NewTable[string, int]("slow", projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	projection.On(slow, b.audits, func(tx *projection.Tx[string, int], e eventlog.Event, _ audited) error {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-stuck
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	rt := b.start(t, projection.Config{NoSnapshots: true}, slow)
	b.audit(t, "k", "first")
	<-begun
	const events = 3000 // more than a batch
	var last *eventlog.Pending
	for range events {
		last = must(b.audits.AppendAsync(ctx, eventlog.Draft{Key: "k", Events: []any{audited{"more"}}}))(t)
	}
	at := must(last.Wait(ctx))(t)
	if s := must(rt.Status(ctx))(t)[0]; s.Lag["audits"] < events || s.LagTime <= 0 {
		t.Errorf("%+v", s)
	}
	close(stuck)
	if err := rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
}

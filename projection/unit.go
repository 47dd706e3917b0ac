package projection

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// unit runs the projections that share a cut: one goroutine reads the feeds
// that any of them reads, applies each commit to all of them, and decides
// when to save.
//
// saved <= applied <= delivered holds for each feed: a projection's position
// moves when the commit is applied, and a cut is taken between two batches.
type unit struct {
	rt    *Runtime
	name  string
	nodes []*node // sorted: what is read comes before who reads it
	feeds map[string]*eventlog.Feed
	twin  twin
	naps  *naps // nil: it never sleeps
	// sleepers are the nodes that sleep while the unit runs, sorted as nodes are.
	sleepers []*node
	wakes    chan struct{} // a Lazy node may be needed; has room for one
	turns    *turns        // nil: all units are as important
	// priority is the highest of the nodes'.
	priority int
	// groups are the nodes by what is connected; aliases the names of the
	// units that this one was joined from.
	groups  []*group
	stepped []*group // of those, by the batch at hand
	aliases []string
	upTo    map[string]uint64 // snapshots beyond it are passed over; nil: none are

	// Owned by the unit's goroutine.
	cursor  map[string]uint64                // what reading has reached
	lineage map[string]timeframe.Lineage     // up to the last cut or restore
	prints  map[string]timeframe.Fingerprint // of the commit at cursor
	saver   saver
	pace    pace
	barrier map[string]uint64 // where a graph that was partly restored is whole again
	unbuilt bool              // at the barrier, tables are to be built
	asked   int               // waits of the store that have been used; storeagain.go
	encoded chan struct{}     // closed when the capture that was taken last is encoded

	asks  chan digestAsk
	calls chan func()   // to be run by the unit's goroutine, where all tables are whole
	ended chan struct{} // closed when the unit's goroutine takes no more of them
	over  chan struct{} // closed when the unit's goroutine has returned

	mu         sync.Mutex // guards what the nodes say of their positions, and:
	target     map[string]uint64
	done       map[string]uint64 // where catching up began
	begun      time.Time
	waiters    chan struct{} // closed and replaced at each advance, where somebody waits
	waiting    int
	isCaught   bool
	isWhole    bool          // what whole said last: the tables of a graph agree
	caught     chan struct{} // closed when all has been applied that was there at the start
	caughtOnce sync.Once     // the log may lose its tail and be caught up with again
	closed     bool
	closeErr   error

	held    []waiting            // for commits that their writers had seen; guarded by mu
	stalled map[string]bool      // feeds in which one has waited for long; guarded by mu
	oldest  map[string]time.Time // of the commits at hand, the first's; guarded by mu

	own []snapshot.ID // the newest snapshots that this process saved; guarded by mu

	told time.Time // of progress

	runner atomic.Uint64        // number of the unit's goroutine
	awaits atomic.Pointer[unit] // that an insider of this one waits for; nil: none
	work   atWork
}

func newUnit(rt *Runtime, c *component) *unit {
	u := &unit{
		rt: rt, name: c.name, aliases: c.aliases, nodes: c.nodes,
		feeds:   make(map[string]*eventlog.Feed),
		waiters: make(chan struct{}), caught: make(chan struct{}),
		encoded: make(chan struct{}), wakes: make(chan struct{}, 1), asks: make(chan digestAsk), calls: make(chan func()), ended: make(chan struct{}), over: make(chan struct{}),
		oldest: make(map[string]time.Time), priority: c.nodes[0].priority,
	}
	for _, nodes := range c.groups {
		u.groups = append(u.groups, newGroup(nodes))
	}
	close(u.encoded)
	for _, n := range c.nodes {
		maps.Copy(u.feeds, n.feeds)
		u.priority = max(u.priority, n.priority)
		n.mu.Lock()
		n.unit, n.uncut = u, u.rt.cfg.NoSnapshots
		n.mu.Unlock()
	}
	u.saver = newSaver(u)
	u.lazily()
	return u
}

// run follows the log until ctx ends. A log that lost its tail is restored
// again: what was derived from the lost events must go.
func (u *unit) run(ctx context.Context) {
	defer close(u.over)
	defer u.enter()()
	u.runner.Store(goroutineID())
	if u.naps != nil {
		u.runLazy(ctx)
	} else {
		if len(u.sleepers) > 0 {
			u.rt.wg.Go(func() { u.tend(ctx) })
		}
		u.runLive(ctx)
	}
	close(u.ended)
	u.saver.reply(ErrClosed)
	u.mu.Lock()
	u.closed = true
	close(u.waiters)
	u.waiters = make(chan struct{})
	u.mu.Unlock()
	u.notify()
}

// runLive follows the log until ctx ends, and saves.
func (u *unit) runLive(ctx context.Context) {
	u.saver.owner.run()
	defer u.saver.owner.end()
	for {
		err := u.follow(ctx)
		u.saver.settle()
		<-u.encoded
		if err == nil {
			break
		}
		if !errors.Is(err, eventlog.ErrLostTail) || !u.again(ctx, err) {
			break
		}
	}
	u.saver.last()
}

// again restores a unit whose log lost its tail under it.
func (u *unit) again(ctx context.Context, cause error) bool {
	u.rt.cfg.Logger.Error().Err(cause).Str("unit", u.name).Msg("projection: the log lost its tail: restoring again")
	u.mu.Lock()
	u.isCaught, u.isWhole = false, false // rows and position don't belong together until they are restored
	u.mu.Unlock()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := u.restore(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if !errors.Is(err, eventlog.ErrUnavailable) {
			u.stopAll("", err)
			return false
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
}

// follow reads and applies until ctx ends (nil) or the log lost its tail.
func (u *unit) follow(ctx context.Context) error {
	if !u.aligned() {
		if err := u.read(ctx, true); err != nil || ctx.Err() != nil {
			return err
		}
	}
	u.build()
	return u.read(ctx, false)
}

// read reads all feeds: to the barrier, where nothing may go beyond that
// until all are there, and where nothing is saved; or for ever.
func (u *unit) read(ctx context.Context, toBarrier bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	over := make(chan struct{})
	defer close(over)
	defer cancel()
	arrivals := make(chan arrival)
	for name, f := range u.feeds {
		after := u.cursor[name]
		until := uint64(math.MaxUint64)
		if toBarrier {
			if until = u.barrier[name]; until <= after {
				continue
			}
		}
		from := u.readFrom(name, after)
		wg.Go(func() { u.pump(ctx, over, f, after, from, until, arrivals) })
	}
	asks, calls := u.asks, u.calls
	held := newHolding(u, nil)
	if toBarrier {
		asks, calls = nil, nil // what a table will be built from isn't its state
		held.upTo = u.barrier
	}
	defer held.timer.Stop()
	u.checkCaught()
	for {
		select {
		case a := <-arrivals:
			if a.err != nil {
				err, again := u.endOf(ctx, a.feed, a.err)
				if again {
					return err
				}
				u.stopAll(a.feed, err)
				delete(u.barrier, a.feed) // nothing that is left waits for this feed
				if held.resume(ctx); toBarrier && u.aligned() {
					return nil
				}
				continue
			}
			held.take(ctx, a)
			if !toBarrier {
				u.saver.consider()
			} else if u.aligned() {
				return nil
			}
		case <-held.timer.C:
			held.note()
		case fn := <-calls:
			fn()
		case q := <-asks:
			u.answer(q)
		case r := <-u.saver.results:
			u.saver.finish(r)
			u.saver.consider()
		case ask := <-u.saver.want:
			u.saver.force(ask)
		case <-u.saver.owner.kick:
			u.saver.consider()
		case <-u.saver.timer.C:
			u.saver.consider()
		case <-ctx.Done():
			return nil
		}
	}
}

// endOf says what a reader's error means for the unit: again that the feed's
// log is the same one with another end, of which its state can be derived anew.
// It can't where messages are gone that the log surely had: what the rest would
// give isn't the state, and an operator decides. The reader need not know that
// yet: it may have looked while the stream wasn't there.
func (u *unit) endOf(ctx context.Context, feed string, err error) (cause error, again bool) {
	if _, lost := errors.AsType[*eventlog.LossError](err); lost || !errors.Is(err, eventlog.ErrLostTail) {
		return err, false
	}
	f := u.feeds[feed]
	st, failed := f.State(ctx)
	if failed != nil || st.Incarnation != f.Incarnation() {
		return err, false
	}
	_ = f.Check(ctx) // what else is wrong with the feed doesn't matter here
	if loss := f.Lost(); loss != nil {
		return loss, false
	}
	return err, true
}

// stopAll stops the nodes that read a feed ("": all) which can't be read.
func (u *unit) stopAll(feed string, err error) {
	var told []*StoppedError
	u.mu.Lock()
	for _, n := range u.nodes {
		if n.stopped != nil || n.dormant || (feed != "" && n.feeds[feed] == nil) {
			continue
		}
		n.stopped = &StoppedError{Projection: n.name, Position: eventlog.Position{Feed: feed, Seq: n.pos[feed]}, Err: err}
		told = append(told, n.stopped)
	}
	u.wakeLocked()
	u.mu.Unlock()
	u.notify()
	for _, s := range told {
		u.tell(s)
	}
	u.checkCaught()
}

func (u *unit) tell(s *StoppedError) {
	u.rt.cfg.Logger.Error().Err(s).Str("unit", u.name).Str("projection", s.Projection).Str("position", s.Position.String()).Msg("projection: stopped")
	if f := u.rt.cfg.Stopped; f != nil {
		u.hook("Stopped", func() { f(s) })
	}
}

// wakeLocked wakes who waits for an advance; u.mu is held.
func (u *unit) wakeLocked() {
	if u.waiting > 0 {
		close(u.waiters)
		u.waiters = make(chan struct{})
		u.waiting = 0
	}
}

// checkCaught closes caught once every projection has applied, or will never
// apply, what the log held when the unit was restored.
func (u *unit) checkCaught() {
	u.mu.Lock()
	u.isWhole = u.whole()
	if u.isCaught {
		u.mu.Unlock()
		return
	}
	p := Progress{Unit: u.name, Elapsed: time.Since(u.begun)}
	behind := !u.isWhole
	for feed, target := range u.target {
		alive := slices.ContainsFunc(u.nodes, func(n *node) bool { return n.stopped == nil && !n.dormant && n.feeds[feed] != nil })
		behind = behind || (alive && u.cursor[feed] < target && !u.stalled[feed])
		p.Total += target - min(target, u.done[feed])
		p.Done += u.cursor[feed] - min(u.cursor[feed], u.done[feed])
	}
	p.Done = min(p.Done, p.Total)
	u.isCaught = !behind
	end := u.isCaught
	if end {
		u.wakeLocked()
		for _, n := range u.nodes {
			n.recovery.Replayed, n.recovery.Took = n.applied, p.Elapsed
		}
	}
	u.mu.Unlock()
	u.report(p, end)
	if end {
		u.caughtOnce.Do(func() { close(u.caught) })
	}
}

// report tells the progress hook, not too often.
func (u *unit) report(p Progress, end bool) {
	f := u.rt.cfg.Progress
	if f == nil || p.Total == 0 || (!end && time.Since(u.told) < 100*time.Millisecond) {
		return
	}
	u.told = time.Now()
	u.rt.progress.Lock()
	defer u.rt.progress.Unlock()
	u.hook("Progress", func() { f(p) })
}

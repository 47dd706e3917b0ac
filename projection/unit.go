package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
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
	// groups are the nodes by what is connected; aliases the names of the
	// units that this one was joined from.
	groups  []*group
	aliases []string
	upTo    map[string]uint64 // snapshots beyond it are passed over; nil: none are

	// Owned by the unit's goroutine.
	cursor  map[string]uint64                // what reading has reached
	lineage map[string]timeframe.Lineage     // up to the last cut or restore
	prints  map[string]timeframe.Fingerprint // of the commit at cursor
	saver   saver
	barrier map[string]uint64 // where a graph that was partly restored is whole again
	unbuilt bool              // at the barrier, tables are to be built
	encoded chan struct{}     // closed when the capture that was taken last is encoded

	asks  chan digestAsk
	calls chan func()   // to be run by the unit's goroutine, where all tables are whole
	ended chan struct{} // closed when the unit's goroutine takes no more of them

	mu         sync.Mutex // guards what the nodes say of their positions, and:
	target     map[string]uint64
	done       map[string]uint64 // where catching up began
	begun      time.Time
	waiters    chan struct{} // closed and replaced at each advance, where somebody waits
	waiting    int
	isCaught   bool
	caught     chan struct{} // closed when all has been applied that was there at the start
	caughtOnce sync.Once     // the log may lose its tail and be caught up with again
	closed     bool
	closeErr   error

	told time.Time // of progress
}

func newUnit(rt *Runtime, c *component) *unit {
	u := &unit{
		rt: rt, name: c.name, aliases: c.aliases, nodes: c.nodes,
		feeds:   make(map[string]*eventlog.Feed),
		waiters: make(chan struct{}), caught: make(chan struct{}),
		encoded: make(chan struct{}), asks: make(chan digestAsk), calls: make(chan func()), ended: make(chan struct{}),
	}
	for _, nodes := range c.groups {
		u.groups = append(u.groups, &group{nodes: nodes})
	}
	close(u.encoded)
	for _, n := range c.nodes {
		maps.Copy(u.feeds, n.feeds)
		n.mu.Lock()
		n.unit = u
		n.mu.Unlock()
	}
	u.saver = newSaver(u)
	return u
}

// run follows the log until ctx ends. A log that lost its tail is restored
// again: what was derived from the lost events must go.
func (u *unit) run(ctx context.Context) {
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
	close(u.ended)
	u.saver.last()
	u.saver.reply(ErrClosed)
	u.mu.Lock()
	u.closed = true
	close(u.waiters)
	u.waiters = make(chan struct{})
	u.mu.Unlock()
	u.notify()
}

// again restores a unit whose log lost its tail under it.
func (u *unit) again(ctx context.Context, cause error) bool {
	u.rt.cfg.Logger.Error().Err(cause).Str("unit", u.name).Msg("projection: the log lost its tail: restoring again")
	u.mu.Lock()
	u.isCaught = false // rows and position don't belong together until they are restored
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

// arrival is what a feed's reader hands to the unit, which answers on taken
// when it doesn't need the batch any more.
type arrival struct {
	feed  string
	batch []eventlog.Commit     // may be empty: markers of tags aren't commits
	at    uint64                // how far the feed was read with it
	print timeframe.Fingerprint // of the message there
	err   error
	taken chan struct{}
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
		wg.Go(func() { u.pump(ctx, f, after, until, arrivals) })
	}
	asks, calls := u.asks, u.calls
	if toBarrier {
		asks, calls = nil, nil // what a table will be built from isn't its state
	}
	u.checkCaught()
	for {
		select {
		case a := <-arrivals:
			if a.err != nil {
				if errors.Is(a.err, eventlog.ErrLostTail) && u.sameIncarnation(ctx, a.feed) {
					return a.err
				}
				u.stopAll(a.feed, a.err)
				if delete(u.barrier, a.feed); toBarrier && u.aligned() {
					return nil // nothing that is left waits for this feed
				}
				continue
			}
			u.apply(a)
			a.taken <- struct{}{}
			if !toBarrier {
				u.saver.consider()
			} else if u.aligned() {
				return nil
			}
		case fn := <-calls:
			fn()
		case q := <-asks:
			u.answer(q)
		case r := <-u.saver.results:
			u.saver.finish(r)
			u.saver.consider()
		case reply := <-u.saver.want:
			u.saver.force(reply)
		case <-u.saver.owner.kick:
			u.saver.consider()
		case <-u.saver.timer.C:
			u.saver.consider()
		case <-ctx.Done():
			return nil
		}
	}
}

func (u *unit) sameIncarnation(ctx context.Context, feed string) bool {
	f := u.feeds[feed]
	st, err := f.State(ctx)
	return err == nil && st.Incarnation == f.Incarnation()
}

// pump reads a feed and hands its batches over. A server that is away is
// waited for, with exponential backoff; nothing is skipped.
func (u *unit) pump(ctx context.Context, f *eventlog.Feed, after, until uint64, out chan<- arrival) {
	const first, longest = 50 * time.Millisecond, 5 * time.Second
	taken := make(chan struct{})
	wait := first
	for ctx.Err() == nil {
		err := func() error {
			r, err := f.NewReader(ctx, eventlog.After(after), eventlog.Until(until), eventlog.Progress(), following(until))
			if err != nil {
				return err
			}
			defer r.Close()
			for {
				batch, err := r.Next(ctx)
				if err != nil {
					return err
				}
				if batch == nil {
					if after < until {
						return fmt.Errorf("projection: feed %q ends at %d, and %d was there: %w", f.Name(), after, until, eventlog.ErrLostTail)
					}
					return nil
				}
				at, print, _ := r.At() // a follower has read what it is at
				select {
				case out <- arrival{feed: f.Name(), batch: batch, at: at, print: print, taken: taken}:
				case <-ctx.Done():
					return ctx.Err()
				}
				after = at
				<-taken
				wait = first
			}
		}()
		switch {
		case ctx.Err() != nil || err == nil:
			return
		case errors.Is(err, eventlog.ErrUnavailable):
			u.rt.cfg.Logger.Warn().Err(err).Str("unit", u.name).Str("feed", f.Name()).Msg("projection: reading failed, trying again")
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, longest)
		default:
			select {
			case out <- arrival{feed: f.Name(), err: err}:
			case <-ctx.Done():
			}
			return
		}
	}
}

// following makes a reader follow where it has no end.
func following(until uint64) eventlog.ReadOption {
	if until == math.MaxUint64 {
		return eventlog.Follow()
	}
	return eventlog.Until(until)
}

// stopAll stops the nodes that read a feed ("": all) which can't be read.
func (u *unit) stopAll(feed string, err error) {
	var told []*StoppedError
	u.mu.Lock()
	for _, n := range u.nodes {
		if n.stopped != nil || (feed != "" && n.feeds[feed] == nil) {
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
		func() {
			var err error
			defer contain(&err)
			f(s)
		}()
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
	if u.isCaught {
		u.mu.Unlock()
		return
	}
	p := Progress{Unit: u.name, Elapsed: time.Since(u.begun)}
	behind := !u.whole()
	for feed, target := range u.target {
		alive := slices.ContainsFunc(u.nodes, func(n *node) bool { return n.stopped == nil && n.feeds[feed] != nil })
		behind = behind || (alive && u.cursor[feed] < target)
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
	var err error
	defer contain(&err)
	f(p)
}

package projection

import (
	"github.com/tidemark-es/tidemark/eventlog"
)

// apply applies a batch to every node that reads the feed. Positions move to
// where it was read, which may be a marker behind the last commit: the unit
// has to reach the head of a log that ends in one.
func (u *unit) apply(a arrival) {
	feed, batch := a.feed, a.batch
	var events, bytes uint64
	for i := range batch {
		events += uint64(batch[i].Len())
		bytes += uint64(batch[i].Size())
	}
	var stopped []*StoppedError
	for _, n := range u.nodes {
		if n.stopped != nil || n.handlers[feed] == nil {
			continue
		}
		pos, applied, stop := n.apply(u.feeds[feed], n.pos[feed], batch)
		if stop != nil {
			stopped = append(stopped, stop)
		} else {
			pos = max(pos, a.at)
		}
		u.mu.Lock()
		n.applied += applied
		n.stopped = stop
		n.pos[feed] = pos
		u.mu.Unlock()
	}
	u.cursor[feed], u.prints[feed] = a.at, a.print
	u.saver.events += events
	u.saver.bytes += bytes
	u.mu.Lock()
	u.wakeLocked()
	u.mu.Unlock()
	for _, s := range stopped {
		u.tell(s)
	}
	u.checkCaught()
}

// lockRun is how many commits are applied under one lock: enough to make its
// cost vanish, few enough for readers not to wait.
const lockRun = 256

// apply applies those commits of a batch that are behind pos, one after
// another, each whole or not at all.
func (n *node) apply(f *eventlog.Feed, pos uint64, batch []eventlog.Commit) (_ uint64, applied uint64, stop *StoppedError) {
	handlers := n.handlers[f.Name()]
	for len(batch) > 0 && stop == nil {
		run := batch[:min(lockRun, len(batch))]
		batch = batch[len(run):]
		var a uint64
		pos, a, stop = n.applyRun(f, handlers, pos, run)
		applied += a
	}
	return pos, applied, stop
}

func (n *node) applyRun(f *eventlog.Feed, handlers map[string]handler, pos uint64, run []eventlog.Commit) (_ uint64, applied uint64, stop *StoppedError) {
	n.state.lock()
	defer n.state.unlock()
	var e eventlog.Event
	var stack string
	err := func() (err error) {
		defer containStack(&err, &stack)
		for i := range run {
			c := &run[i]
			if c.Seq <= pos {
				continue
			}
			for j := range c.Len() {
				e = c.Event(j)
				h := handlers[e.Type]
				if h == nil {
					if f.Knows(e.Type) {
						continue
					}
					if err := e.Problem(); err != nil {
						return err
					}
					if h = handlers[eventlog.AnyUnknown]; h == nil {
						continue // it is kept for those who want it
					}
				}
				if err := h(e); err != nil {
					return err
				}
			}
			if err := n.state.misused(); err != nil {
				return err
			}
			n.state.commit()
			applied += uint64(c.Len())
			pos = c.Seq
		}
		return nil
	}()
	if err != nil {
		n.state.rollback()
		stop = &StoppedError{Projection: n.name, Position: e.Position(), Type: e.Type, Err: err, Stack: stack}
	}
	return pos, applied, stop
}

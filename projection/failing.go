package projection

import (
	"errors"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// failed decides what becomes of the commit that the walk failed at.
func (g *group) failed(u *unit, c *eventlog.Commit, err error) {
	n := g.nodes[g.next]
	fp := n.failures.of(u.isCaught)
	if g.tries == nil {
		g.tries = make(map[*node]int)
	}
	g.tries[n]++
	if tries := g.tries[n]; tries <= fp.Retries && g.again(u, c, fp.wait(tries)) {
		return
	}
	if fp.Then != Stop {
		r := parkedRow{Err: err.Error(), Stack: g.stack, Attempts: g.tries[n], Skipped: fp.Then == Skip, Ordered: fp.Then == ParkKey && c.Key != ""}
		if g.up != nil {
			r.Upstream = g.up.name
		} else {
			r.Type, r.Index = g.event.Type, g.event.Index
		}
		n.undo()
		if torn := n.torn(); torn != nil {
			err = errors.Join(err, torn)
		} else if full := n.park.add(c, r); full == nil {
			g.stack = ""
			g.next++
			return
		} else {
			err = errors.Join(err, full)
		}
	}
	g.fail(c, err)
	g.next++
}

// again undoes what the group has done of a commit, lets the tables be read
// for a while, and begins with the commit anew. A runtime that is closed
// meanwhile leaves the group before it: the next start tries it again. It does
// nothing more, and says so, where the node that failed can't be undone: that is
// a model, whose group nobody else takes part in.
func (g *group) again(u *unit, c *eventlog.Commit, wait time.Duration) bool {
	for _, n := range g.par {
		n.par.backTo(g.commit)
	}
	for _, n := range g.nodes {
		if !n.step.off && c.Seq > n.step.at {
			n.undo()
		}
	}
	if g.nodes[g.next].torn() != nil {
		return false
	}
	g.stack, g.next = "", 0
	if u.pause(c.Feed, wait) {
		return true
	}
	for _, n := range g.nodes {
		if !n.step.off {
			n.step.off = true
			n.step.stop = &StoppedError{Projection: n.name, Position: c.Position(), Err: ErrClosed}
		}
	}
	return true
}

// undo takes back what a node has done of a commit.
func (n *node) undo() {
	n.state.rollback()
	n.step.moved = false
	if n.out != nil {
		n.out.forget()
	}
	if n.of != nil {
		n.of.park.told = n.of.park.told[:n.of.park.kept]
	}
}

// pause lets the tables be read at whole commits for a while; false says that
// the runtime was closed meanwhile.
func (u *unit) pause(feed string, wait time.Duration) bool {
	u.moved(feed, 0)
	u.unlockAll()
	defer u.lockAll()
	u.turns.end(u, false) // others may go on meanwhile
	defer u.turns.begin(u)
	u.mu.Lock()
	u.wakeLocked()
	u.mu.Unlock()
	u.notify()
	select {
	case <-time.After(wait):
		return true
	case <-u.rt.done:
		return false
	}
}

// hold parks a commit behind earlier ones of its key, and says whether it did.
func (g *group) hold(u *unit, n *node, c *eventlog.Commit) (bool, error) {
	if n.step.on == nil || !n.park.holds(c) || !handles(n.step.on, c) {
		return false, nil
	}
	g.up, g.event = nil, c.Event(0)
	return true, n.park.add(c, parkedRow{Waiting: true, Ordered: true})
}

// tellParked tells of what was set aside in the last batch, and makes a save
// due: a crash shouldn't cost the same failures again (T2.10).
func (u *unit) tellParked() {
	for _, n := range u.nodes {
		if n.park == nil || len(n.park.told) == 0 {
			continue
		}
		for _, p := range n.park.told {
			u.tellOf(p)
		}
		n.park.told, n.park.kept = nil, 0
		u.saver.events += u.rt.cfg.Snapshots.Events
	}
}

func (u *unit) tellOf(p Parked) {
	if !p.Waiting {
		what := "parked"
		if p.Skipped {
			what = "skipped"
		}
		u.rt.cfg.Logger.Error().Str("unit", u.name).Str("projection", p.Projection).Stringer("position", p.Position).
			Str("type", p.Type).Int("attempts", p.Attempts).Str("error", p.Err).Msg("projection: " + what)
	}
	if f := u.rt.cfg.Parked; f != nil {
		u.hook("Parked", func() { f(p) })
	}
}

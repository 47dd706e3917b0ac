package projection

import (
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
)

// stepping is where a node stands while a batch is applied; it is the unit's
// goroutine's alone.
type stepping struct {
	on      map[string]handler // of the feed at hand
	at      uint64             // last applied sequence of it
	off     bool               // the node doesn't take part: it stopped, or doesn't read the feed
	applied uint64             // events, in this batch
	moved   bool               // the present step changed it
	commit  *eventlog.Commit   // that the node handles; nil between two
	stop    *StoppedError
}

// group is a set of connected nodes that are stepped together: each commit
// goes through all of them, in topological order, before the next one comes.
// So a node runs once for a commit, behind everything that it reads, however
// many ways lead there (T2.5), and a failure finds every other node at the
// same commit.
//
// A step has two halves: the nodes change their tables and keep what undoes
// that; when all have run, it is kept for good.
type group struct {
	nodes []*node
	par   []*node // of those, the ones that are handled ahead

	// Where the walk is, so that it goes on behind a node that failed.
	commit, next int
	event        eventlog.Event
	cause        Cause // of the commit at hand
	up           *node // whose changes are being handled
	stack        string
	tap          *Outcome      // where changes are collected; nil: nowhere
	tries        map[*node]int // of the commit that the walk is at; nil: none failed
}

// newGroup makes a group of connected nodes, which are sorted.
func newGroup(nodes []*node) *group {
	g := &group{nodes: nodes}
	for _, n := range nodes {
		if n.par != nil {
			g.par = append(g.par, n)
		}
	}
	return g
}

// begin prepares the nodes for a feed, and says whether any takes part.
func (g *group) begin(feed string) bool {
	any := false
	for _, n := range g.nodes {
		n.step = stepping{on: n.handlers[feed], at: n.pos[feed], off: n.stopped != nil || n.dormant || n.feeds[feed] == nil}
		any = any || !n.step.off
	}
	return any
}

// runLength is how many commits the group takes at a time at most.
func (g *group) runLength() int {
	if len(g.par) > 0 {
		return parallelRun
	}
	return lockRun
}

// run applies commits to the group. Its states are locked.
func (g *group) run(u *unit, f *eventlog.Feed, run []eventlog.Commit) {
	g.commit, g.next = 0, 0
	for _, n := range g.par {
		n.par.beginRun()
	}
	for g.commit < len(run) {
		if len(g.par) > 0 && len(g.nodes) == 1 && g.tap == nil && g.next == 0 {
			g.leap(f, run)
		}
		if err := g.walk(u, f, run); err != nil {
			g.failed(u, &run[g.commit], err)
		}
	}
	for _, n := range g.par {
		n.par.endRun()
	}
}

// leap passes commits that were handled ahead of the walk, where nothing reads
// what they changed.
func (g *group) leap(f *eventlog.Feed, run []eventlog.Commit) {
	n := g.nodes[0]
	if n.step.off {
		return
	}
	n.par.handle(f, run, g.commit, false)
	for ; g.commit < n.par.reach(); g.commit++ {
		if c := &run[g.commit]; c.Seq > n.step.at {
			n.step.at = c.Seq
			n.step.applied += uint64(c.Len())
		}
	}
}

// walk goes on until all is applied, or a node fails.
func (g *group) walk(u *unit, f *eventlog.Feed, run []eventlog.Commit) (err error) {
	defer containStack(&err, &g.stack)
	for ; g.commit < len(run); g.commit++ {
		c := &run[g.commit]
		g.cause = causeOf(c)
		for ; g.next < len(g.nodes); g.next++ {
			n := g.nodes[g.next]
			if n.step.off || c.Seq <= n.step.at {
				continue
			}
			if n.park != nil {
				if held, err := g.hold(u, n, c); held || err != nil {
					if err != nil {
						return err
					}
					continue
				}
			}
			if n.par != nil {
				if err := g.pass(f, n, run); err != nil {
					return err
				}
			} else if err := g.apply(f, n, c); err != nil {
				return err
			}
			n.step.moved = n.observed(g.tap != nil) && n.out.net(&g.cause)
			if g.tap != nil && n.step.moved {
				g.tap.add(n)
			}
		}
		g.settle(c)
		g.next, g.tries = 0, nil
	}
	return nil
}

// pass takes what a commit did to a node that is handled ahead.
func (g *group) pass(f *eventlog.Feed, n *node, run []eventlog.Commit) error {
	n.par.handle(f, run, g.commit, n.observed(g.tap != nil))
	if e := n.par.result(g.commit); e != nil {
		g.up, g.event, g.stack = nil, e.event, e.stack
		return e.err
	}
	n.par.pass(g.commit)
	return nil
}

// apply lets one node handle a commit and what it changed in front of it.
func (g *group) apply(f *eventlog.Feed, n *node, c *eventlog.Commit) error {
	g.up = nil
	n.step.commit = c
	if err := n.events(f, c, &g.event); err != nil {
		return err
	}
	for _, e := range n.ups {
		if e.kind == readsDeltas && e.from.step.moved {
			g.up = e.from
			if err := e.deltas(); err != nil {
				return err
			}
		}
	}
	n.step.commit = nil
	return n.state.misused()
}

// events lets a node handle a commit's events; at is the one at hand.
func (n *node) events(f *eventlog.Feed, c *eventlog.Commit, at *eventlog.Event) error {
	if n.step.on == nil {
		return nil
	}
	if c.Problem() != nil {
		return n.unreadable(f, c, at)
	}
	for j := range c.Len() {
		*at = c.Event(j)
		h := n.step.on[at.Type]
		if h == nil {
			if f.Knows(at.Type) {
				continue
			}
			if err := at.Problem(); n.pass(err) {
				continue
			} else if err != nil {
				return err
			}
			if h = n.step.on[eventlog.AnyUnknown]; h == nil {
				continue // it is kept for those who want it
			}
		}
		if err := h(*at); err != nil {
			return err
		}
	}
	return nil
}

// observed says whether anybody wants to know what a step changed.
func (n *node) observed(tapped bool) bool {
	downs := len(n.downs) - n.dozing
	if n.park != nil {
		downs-- // which is told of what fails alone
	}
	return n.out != nil && (downs > 0 || tapped || n.watched.Load())
}

// settle ends a commit's step: what it changed is kept.
func (g *group) settle(c *eventlog.Commit) {
	for _, n := range g.nodes {
		s := &n.step
		if s.off || c.Seq <= s.at {
			continue
		}
		if n.par == nil { // else when the run ends
			n.state.commit()
		}
		if n.park != nil {
			n.park.kept = len(n.park.told)
		}
		s.at = c.Seq
		s.applied += uint64(c.Len())
		if s.moved {
			s.moved = false
			if n.watched.Load() {
				n.out.publish(g.cause)
			}
			n.out.forget()
		}
	}
}

// fail stops the node that the walk is at, and all that read it: they would
// go on without what it should have told them. What it reads, and what has
// nothing to do with it, goes on.
func (g *group) fail(c *eventlog.Commit, err error) {
	n := g.nodes[g.next]
	n.undo()
	stop := &StoppedError{Projection: n.name, Position: c.Position(), Err: err, Stack: g.stack}
	if g.up != nil {
		stop.Upstream = g.up.name
	} else {
		stop.Position, stop.Type = g.event.Position(), g.event.Type
	}
	g.stack = ""
	n.halt(stop)
}

// halt takes a node and what reads it out of the steps.
func (n *node) halt(stop *StoppedError) {
	n.step.off, n.step.moved, n.step.stop = true, false, stop
	n.below(func(d *node) {
		if !d.step.off && !d.dormant {
			d.step.off, d.step.moved = true, false
			d.step.stop = &StoppedError{Projection: d.name, Position: stop.Position, Upstream: n.name, Err: fmt.Errorf("%w: %w", ErrUpstream, stop)}
		}
	})
}

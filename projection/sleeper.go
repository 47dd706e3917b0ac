package projection

import (
	"context"
	"fmt"
	"github.com/tidemark-es/tidemark/internal/problem"
	"slices"
	"time"
)

// A sleeper is a Lazy table in a unit that runs anyway, because it reads tables
// that aren't Lazy. It is Derived, so it needs neither the log nor a snapshot:
// it is filled from the rows that it reads, at the commit where these are, when
// somebody needs it, and let go when nobody does. While it sleeps it takes part
// in no step, and what it reads doesn't find out what changed for its sake.
//
// Its position goes on with what it reads: being a function of those rows, it
// is a state at that place whether or not it is computed. So planning a
// restore, waiting and saving need to know nothing of sleepers.

// sleepers finds the Lazy tables that no table needs which isn't, beside such
// tables, and refuses those that can't be filled from rows.
func (c *component) sleepers(p *problem.List) (out []*node) {
	var eager *node
	needed := make(map[*node]bool)
	for _, n := range slices.Backward(c.nodes) { // who reads comes first
		if n.of != nil {
			continue
		}
		if n.lazy == nil {
			eager = n
		}
		for _, e := range n.ups {
			needed[e.from] = needed[e.from] || n.lazy == nil || needed[n]
		}
	}
	if eager == nil {
		return nil // the unit sleeps as one
	}
	for _, n := range c.nodes {
		switch {
		case n.lazy == nil || n.of != nil || needed[n]:
		case n.derived:
			n.unsaved = true
			out = append(out, n)
		case len(n.ups) == 0:
			p.Add("%q is Lazy, and in one unit with %q, which isn't, and which doesn't need it: give it to Start by itself, and not in a NewUnit or to a table that isn't Lazy", n.name, eager.name)
		default:
			p.Add("%q is Lazy, and not Derived, and in one unit with %q, which isn't Lazy: while it slept, it would miss what it can't find out from rows; where it is a function of the rows that it reads, make it Derived, else make all tables that it reads Lazy", n.name, eager.name)
		}
	}
	return out
}

// bedded lets the unit's sleepers sleep at first.
func (u *unit) bedded(sleepers []*node) {
	u.sleepers = sleepers
	for _, n := range sleepers {
		n.dormant = true
		n.lazy.unit.Store(u)
		for _, e := range n.ups {
			e.from.dozing++
		}
	}
}

// tend has the unit's goroutine look after the sleepers whenever one is needed,
// and while one is awake, until ctx ends.
func (u *unit) tend(ctx context.Context) {
	const never = 1<<63 - 1
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		select {
		case <-u.wakes:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		again := time.Duration(never)
		err := u.call(ctx, func() error {
			again = u.attend(time.Now())
			return nil
		})
		if err != nil {
			return // it has ended
		}
		timer.Reset(max(again, time.Millisecond))
	}
}

// attend fills the sleepers that are needed and lets go those that haven't been
// for their idle time; it runs on the unit's goroutine. It returns how long it
// needn't be called again, unless somebody comes.
func (u *unit) attend(now time.Time) (again time.Duration) {
	wanted := make(map[*node]bool)
	for _, n := range slices.Backward(u.sleepers) { // who reads comes first
		if n.lazy.used() || wanted[n] {
			wanted[n], n.lazy.last = true, now
			for _, e := range n.ups {
				wanted[e.from] = true
			}
		}
	}
	for _, n := range u.sleepers {
		if wanted[n] && n.dormant && n.stopped == nil {
			u.fill(n)
		}
	}
	again = 1<<63 - 1
	for _, n := range slices.Backward(u.sleepers) {
		switch idle := n.lazy.idle; {
		case n.dormant || idle == 0 || n.dozing < len(n.downs):
			// It sleeps, stays awake, or is read by one that is awake.
		case now.Sub(n.lazy.last) >= idle && u.letGo(n):
		default:
			again = min(again, idle/8)
		}
	}
	u.notify()
	u.tellStopped()
	return again
}

// fill computes a sleeper from the rows that it reads, which are awake. It is
// locked alone: those others aren't changed meanwhile, since who would do it is
// busy here, and may be read.
func (u *unit) fill(n *node) {
	n.state.lock()
	defer n.state.unlock()
	begun := time.Now()
	n.plan.how, n.step = built, stepping{}
	if up := n.stoppedUp(); up != nil {
		n.step.stop = &StoppedError{Projection: n.name, Position: up.stopped.Position, Upstream: up.name, Err: fmt.Errorf("%w: %w", ErrUpstream, up.stopped)}
	} else {
		u.buildNode(n)
		n.state.commit()
		n.unbuild()
		n.out.forget()
	}
	n.out.replaced()
	n.out.rebase(n.pos)
	u.stir(n)
	u.mu.Lock()
	defer u.mu.Unlock()
	n.dormant, n.stopped = false, n.step.stop
	n.recovery = Recovery{Source: FromRows, Took: time.Since(begun)}
	u.wakeLocked()
}

// stoppedUp is a table that the node reads and that has stopped; nil: none has.
func (n *node) stoppedUp() *node {
	for _, e := range n.ups {
		if e.from.stopped != nil {
			return e.from
		}
	}
	return nil
}

// stir lets what a sleeper reads know that it takes part.
func (u *unit) stir(n *node) {
	for _, e := range n.ups {
		e.from.dozing--
	}
}

// letGo empties a sleeper, and says whether it did: not where somebody has come
// to need it just now. Who comes says so before he looks whether it sleeps, and
// here it is looked whether anybody came after it was said that it does: so one
// of the two knows of the other.
func (u *unit) letGo(n *node) bool {
	u.sleeps(n, true)
	if n.lazy.used() {
		n.lazy.last = time.Now()
		u.sleeps(n, false)
		return false
	}
	for _, e := range n.ups {
		e.from.dozing++
	}
	n.state.clear()
	u.mu.Lock()
	defer u.mu.Unlock()
	n.stopped = nil // it may succeed the next time
	n.recovery, n.applied = Recovery{}, 0
	n.follow()
	return true
}

func (u *unit) sleeps(n *node, yes bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n.dormant = yes
	u.wakeLocked()
}

// follow puts a sleeper to where what it reads is; the unit's lock is held.
func (n *node) follow() {
	for _, e := range n.ups {
		for f, seq := range e.from.pos {
			n.pos[f] = max(n.pos[f], seq)
		}
	}
}

// asleepLocked says whether a node has no rows because nobody needs it; the
// unit's lock is held.
func (u *unit) asleepLocked(n *node) bool {
	return n.dormant || u.naps != nil && u.naps.asleep
}

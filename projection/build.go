package projection

import "github.com/tidemark-es/tidemark/eventlog"

// build makes the Derived tables without a snapshot from the rows that they
// read, and tells those that were restored how the tables that they were built
// from differ from what these are now. It is one step through the graph, of no
// commit, taken where all nodes stand at the barrier.
func (u *unit) build() {
	if !u.unbuilt {
		return
	}
	u.unbuilt = false
	u.lockAll()
	for _, g := range u.groups {
		for _, n := range g.nodes {
			n.step = stepping{off: n.stopped != nil || n.dormant}
		}
		if len(g.nodes) == 1 {
			continue
		}
		for _, n := range g.nodes {
			u.buildNode(n)
		}
		for _, n := range g.nodes {
			n.state.commit()
			n.unbuild()
			if n.out == nil {
				continue
			}
			if n.out.forget(); n.plan.how == built || n.step.moved {
				n.out.replaced()
				n.out.rebase(n.pos)
			}
		}
	}
	u.mu.Lock()
	for _, n := range u.nodes {
		if n.step.stop != nil && n.stopped == nil {
			n.stopped = n.step.stop
			if n.derived {
				n.pos = make(map[string]uint64) // of what was cleared
			}
		}
	}
	u.mu.Unlock()
	u.unlockAll()
	u.notify()
	u.tellStopped()
}

func (u *unit) buildNode(n *node) {
	if n.step.off {
		return
	}
	var up, stack string
	err := func() (err error) {
		defer containStack(&err, &stack)
		for _, e := range n.ups {
			up = e.from.name
			switch {
			case e.kind != readsDeltas:
			case n.plan.how == built:
				// Undoing it piece by piece isn't wanted: where it fails, the
				// node is empty.
				err = e.rows(n.state.commit)
			case n.plan.how == restored && e.from.step.moved:
				err = e.deltas()
			}
			if err != nil {
				return err
			}
		}
		if err := n.state.misused(); err != nil {
			return err
		}
		n.compareRows()
		return nil
	}()
	if err != nil {
		n.state.rollback()
		if n.out != nil {
			n.out.forget()
		}
		n.halt(&StoppedError{Projection: n.name, Position: eventlog.Position{}, Upstream: up, Err: err, Stack: stack})
		return
	}
}

// unbuild clears a Derived table that could not be made what it should be: no
// commit tells its rows from those that it should have, so whoever found them
// in a snapshot would take them for these.
func (n *node) unbuild() {
	if n.step.stop == nil || !n.derived {
		return
	}
	n.reset = true
	n.state.unlock()
	n.state.clear()
	n.state.lock()
}

// compareRows finds out what the nodes behind are told: how a node's rows differ
// from those that these were built from.
func (n *node) compareRows() {
	switch {
	case n.plan.prior != nil:
		n.plan.prior = nil
		n.step.moved = n.out.netPrior()
	case n.plan.how == restored && n.out != nil:
		n.step.moved = n.out.net(&Cause{})
	}
}

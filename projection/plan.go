package projection

import (
	"context"
	"fmt"
	"slices"
)

// What connected nodes need to be restored:
//
// A node's rows agree with those of the tables that it reads only where both
// were saved at one cut. So it takes a snapshot only with them: all from one
// candidate, at one place. (A node that had stopped stands behind what it
// reads, so it is built anew.)
//
// A node without a snapshot is built from the rows that it reads where it is
// Derived, and else by replaying: then all that it reads is replayed too, to
// tell it the changes.
//
// Replaying ends at the barrier: the place of the nodes that were restored.
// There, and nowhere before, all stand at one place again, the Derived ones
// are built (build.go), and the unit goes on as one.

// planned is how a node of a graph gets its state when its unit is restored.
type planned struct {
	how  origin
	from *candidate // where restored
	// prior is the candidate that has this node's rows in another version:
	// restored nodes were built from those, and are told the difference.
	prior *candidate
}

type origin int

const (
	replayed origin = iota // from nothing, by events
	restored               // from a snapshot
	built                  // from the rows of what it reads, at the barrier
)

// fresh is how a node without a snapshot gets its state.
func fresh(n *node) origin {
	if n.derived {
		return built
	}
	return replayed
}

// restoreNodes brings every node to the newest state that can be trusted.
func (u *unit) restoreNodes(ctx context.Context, cands []candidate, problems []string) (map[*candidate]bool, error) {
	for _, n := range u.nodes { // what is read comes first
		n.plan = planned{how: fresh(n)}
		c, err := u.restoreNode(ctx, n, cands, problems)
		if err != nil {
			return nil, err
		}
		if c != nil {
			n.plan = planned{how: restored, from: c}
			n.standsOn(c)
		}
	}
	u.plan()
	if err := u.loadPriors(ctx); err != nil {
		return nil, err
	}
	used := make(map[*candidate]bool)
	for _, n := range u.nodes {
		if n.plan.how == restored {
			used[n.plan.from] = true
		}
		if n.out != nil {
			n.out.rebase(n.pos)
		}
	}
	return used, nil
}

// plan drops what was restored and doesn't fit the rest, until all fits, and
// sets the barrier.
func (u *unit) plan() {
	var nodes []*node
	for _, g := range u.groups {
		if len(g.nodes) > 1 {
			nodes = append(nodes, g.nodes...)
		}
	}
	for u.misfits(nodes) {
	}
	u.barrier = reached(nodes)
	u.unbuilt = false
	for _, n := range nodes {
		if n.plan.how == built {
			u.place(n)
		}
		u.unbuilt = u.unbuilt || n.plan.how == built || n.plan.prior != nil
	}
}

// misfits drops what doesn't fit, and says whether anything was.
func (u *unit) misfits(nodes []*node) (some bool) {
	for _, n := range nodes {
		if n.plan.how != replayed {
			continue
		}
		for _, e := range n.ups {
			if e.from.plan.how != replayed {
				u.discard(e.from, replayed, fmt.Sprintf("projection %q reads it and has no snapshot: it is told all changes again", n.name))
				some = true
			}
		}
	}
	barrier := reached(nodes)
	for _, n := range nodes {
		if n.plan.how == restored && len(n.ups) > 0 && !sameOn(n, n.pos, barrier) {
			u.discard(n, fresh(n), "others are further, and it reads tables")
			some = true
		}
	}
	return some
}

// reached is how far the nodes that were restored are, by feed.
func reached(nodes []*node) map[string]uint64 {
	m := make(map[string]uint64)
	for _, n := range nodes {
		if n.plan.how == restored {
			for f, seq := range n.pos {
				m[f] = max(m[f], seq)
			}
		}
	}
	return m
}

// sameOn compares two places on the feeds behind a node.
func sameOn(n *node, a, b map[string]uint64) bool {
	for f := range n.feeds {
		if a[f] != b[f] {
			return false
		}
	}
	return true
}

// discard drops what a node was restored to, or how it was to be built.
func (u *unit) discard(n *node, how origin, why string) {
	rec := Recovery{Source: FromReplay, Skipped: n.recovery.Skipped}
	if n.plan.how == restored {
		rec.Skipped = append(rec.Skipped, fmt.Sprintf("snapshot %s at %s: %s", short(n.plan.from.ID), n.plan.from.Tag.At, why))
		n.state.clear()
		if n.corrected() {
			n.plan.prior = n.plan.from // for those that it would have told
		}
	}
	n.plan.how, n.plan.from = how, nil
	u.restored(n, make(map[string]uint64), rec, true)
}

// place puts a node that will be built at the barrier to the barrier.
func (u *unit) place(n *node) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n.recovery.Source = FromRows
	n.pos = make(map[string]uint64)
	for f := range n.feeds {
		if seq, ok := u.barrier[f]; ok {
			n.pos[f] = seq
		}
	}
}

// disagrees says why a node can't be restored from a candidate beside the
// tables that it reads, about which is decided already; "" where it can.
func (u *unit) disagrees(n *node, c *candidate) string {
	mine, _ := c.Member(n.name)
	at := mine.At.Map()
	if n.of != nil && n.of.plan.how == restored && n.of.plan.from == c && sameOn(n, n.of.pos, at) {
		return "" // a migration makes others of the rows, and leaves the same commits out
	}
	for _, e := range n.ups {
		if why := e.from.agreesAt(c, at, n.derived); why != "" {
			return why
		}
	}
	return ""
}

// agreesAt says why a table, as it is restored, isn't what a reader of it that
// stood there was built from.
func (n *node) agreesAt(c *candidate, at map[string]uint64, readerDerived bool) string {
	if n.unsaved {
		// It is built from what it reads, and comes out as it was.
		for _, e := range n.ups {
			if why := e.from.agreesAt(c, at, false); why != "" {
				return why
			}
		}
		return "" // and nothing behind it is corrected, which it couldn't pass on
	}
	theirs, ok := c.Member(n.name)
	switch {
	case !ok || !sameOn(n, theirs.At.Map(), at):
		return fmt.Sprintf("table %q, which it reads, isn't at the same place in it", n.name)
	case n.plan.how == restored && n.plan.from == c && !n.recovery.Migrated && (readerDerived || !n.corrected()):
		return ""
	case n.plan.how == restored || !readerDerived || n.out == nil,
		theirs.Codec != n.codec.Name(), theirs.Meaning != n.meaningIn(c), theirs.Version == n.version:
		return fmt.Sprintf("table %q, which it reads, isn't restored from it", n.name)
	case n.plan.prior != nil && n.plan.prior != c:
		return fmt.Sprintf("another table that reads %q is restored from snapshot %s", n.name, short(n.plan.prior.ID))
	}
	// Another version, of the same types: the reader can be told how it
	// differs.
	return ""
}

// standsOn notes that the node was restored from a candidate, and so built
// from the rows that the tables which it reads have there.
func (n *node) standsOn(c *candidate) {
	for _, e := range n.ups {
		if up := e.from; !up.unsaved && up.plan.how != restored {
			up.plan.prior = c
		}
	}
}

// corrected says whether the node will be told how a table behind it differs
// from what it was built from.
func (n *node) corrected() bool {
	return slices.ContainsFunc(n.ups, func(e *edge) bool { return e.from.plan.prior != nil || e.from.corrected() })
}

// loadPriors loads the rows that restored nodes were built from, and that are
// no more.
func (u *unit) loadPriors(ctx context.Context) error {
	for _, n := range u.nodes {
		c := n.plan.prior
		if c == nil {
			continue
		}
		err := u.load(ctx, c.Manifest, n.name, n.out.loadPrior)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			continue
		}
		// Without them, what was built from them is built again.
		n.plan.prior = nil
		n.below(func(d *node) {
			if d.plan.how == restored {
				u.discard(d, fresh(d), fmt.Sprintf("the rows of %q that it was built from can't be read: %v", n.name, err))
			}
		})
		u.plan()
	}
	return nil
}

// aligned says whether reading has reached the barrier.
func (u *unit) aligned() bool {
	for f, seq := range u.barrier {
		if u.cursor[f] < seq {
			return false
		}
	}
	return true
}

// whole says whether all nodes agree with each other: what is saved has to.
func (u *unit) whole() bool { return !u.unbuilt && u.aligned() }

// savedNodes are those that snapshots hold.
func (u *unit) savedNodes() []*node {
	nodes := make([]*node, 0, len(u.nodes))
	for _, n := range u.nodes {
		if !n.unsaved {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// joined adds the snapshots of the units that this one was joined from, for
// projections that no snapshot of its own holds yet.
func (u *unit) joined(ctx context.Context, cands []candidate) []candidate {
	for _, alias := range u.aliases {
		found, err := u.rt.cfg.Store.Candidates(ctx, alias)
		if err != nil {
			u.rt.cfg.Logger.Warn().Err(err).Str("unit", alias).Msg("projection: the snapshots of a unit that was joined can't be read")
		}
		for _, f := range found {
			if f.Problem == nil {
				cands = append(cands, candidate{Manifest: f.Manifest, findings: make(map[string]finding), other: true})
			}
		}
	}
	return cands
}

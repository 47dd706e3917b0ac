package projection

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// twin is what a unit of one projection knows of the place where another
// version of it has its snapshots.
type twin struct {
	name string // the other place; "" for none
	// fixed: this unit's place is its own, and it only reads the other. Else
	// it goes on where snapshots of its version are.
	fixed  bool
	failed bool        // it couldn't be restored, and isn't run
	beside atomic.Bool // the other one serves
}

func (u *unit) beside() bool { return u.twin.beside.Load() }

// withTwin adds the snapshots of the other place, where this one has none of
// the projection's version; or goes there.
func (u *unit) withTwin(ctx context.Context, cands []candidate, newest snapshot.ID) ([]candidate, snapshot.ID, error) {
	n := u.nodes[0]
	if holds(cands, n) {
		return cands, newest, nil
	}
	more, _, theirs, err := u.candidatesOf(ctx, u.twin.name)
	if err != nil {
		return nil, newest, err
	}
	if !u.twin.fixed && holds(more, n) {
		u.name, u.twin.name = u.twin.name, u.name
		cands, more, newest = more, cands, theirs
	}
	for _, c := range more {
		c.other = true
		cands = append(cands, c)
	}
	return cands, newest, nil
}

// holds says whether any of the snapshots has the node's version.
func holds(cands []candidate, n *node) bool {
	return slices.ContainsFunc(cands, func(c candidate) bool {
		m, ok := c.Member(n.name)
		return ok && m.Version == n.version
	})
}

// orBeside passes an error of restoring on; for a version beside the one that
// serves it stops that version alone.
func (u *unit) orBeside(err error) error {
	if err == nil || !u.beside() || errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	u.twin.failed = true
	u.stopAll("", err)
	return nil
}

// paired says whether the node is green's of a pair of versions, which have one
// name.
func (rt *Runtime) paired(n *node) bool {
	return slices.ContainsFunc(rt.pairs, func(s *switching) bool { return slices.Contains(s.parts[greenSide], n) })
}

// apart makes two parts of a pair of versions.
func (rt *Runtime) apart(pt part, names map[string]bool, p *problem.List) []part {
	at := slices.IndexFunc(pt.nodes, rt.paired)
	if at < 1 {
		return []part{pt}
	}
	green := pt.nodes[at]
	name := besideName(pt.name, green.version)
	if names[name] {
		p.Add("two units are called %q", name)
	}
	names[name] = true
	for _, name := range []string{name, servingUnit(pt.name)} {
		if err := timeframe.ValidName(name); err != nil {
			p.Add("the name of a BlueGreen gets an addition: %v", err)
		}
	}
	return []part{{name: pt.name, nodes: pt.nodes[:at]}, {name: name, nodes: pt.nodes[at:]}}
}

// checkPairs refuses versions that read tables, or are read: those would have
// to be there twice too.
func (rt *Runtime) checkPairs(parts []part, p *problem.List) {
	for _, s := range rt.pairs {
		if s.nodes[blueSide].lazy != nil || s.nodes[greenSide].lazy != nil {
			p.Add("%q: a version of a BlueGreen can't be Lazy", s.name)
		}
		for _, pt := range parts {
			for _, n := range pt.nodes {
				mine := slices.Contains(s.nodes[:], n)
				for _, e := range n.ups {
					if n.of == e.from {
						continue // what it has set aside
					}
					if from := slices.Contains(s.nodes[:], e.from); from || mine {
						p.Add("%q reads %q: a BlueGreen is of projections that read feeds, and that no other reads; raise the version of the table alone, and its readers are told what that changed", n.name, e.from.name)
					}
				}
			}
		}
	}
}

// pairUnits tells units of one projection where other versions' snapshots are,
// and pairs their units.
func (rt *Runtime) pairUnits(units []*unit) {
	of := make(map[*node]*unit)
	for _, u := range units {
		if !single(u.nodes) || u.nodes[0].name != u.name && !rt.paired(u.nodes[0]) {
			continue
		}
		n := u.nodes[0]
		of[n] = u
		u.twin.name, u.twin.fixed = besideName(n.name, n.version), rt.paired(n)
		if u.twin.fixed {
			u.twin.name = n.name
		}
		if timeframe.ValidName(u.twin.name) != nil {
			u.twin.name = ""
		}
	}
	for _, s := range rt.pairs {
		s.begin(rt, [2]*unit{of[s.nodes[blueSide]], of[s.nodes[greenSide]]})
	}
}

// recall makes those versions serve that are stored.
func (rt *Runtime) recall(ctx context.Context) {
	for _, s := range rt.pairs {
		s.recall(ctx)
	}
}

package projection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
)

// RetryParked handles parked commits again (none named: all), in the order of
// their positions, with those before them of their keys where a key is parked.
// What they change goes through the tables that read theirs, with the commit
// as its cause; watchers get it as a Reset. It returns how many are applied.
// It goes on behind one that fails again, but not with its key.
//
// When it returns nil, all were applied and the result is saved, so that it
// lasts. It is a decision of this process, which isn't in the log: other
// processes that follow the log get it when they restore next. So it is
// refused in those that don't save the unit (ErrNotOwner).
//
// Errors: the handlers' own, joined (the commit stays parked, with one attempt
// more); ErrInvalid for a record of a skipped commit, or what isn't parked;
// ErrNotOwner; *StoppedError; ErrClosed; of the save (all is applied, and will
// be saved later); and the context's.
func (rt *Runtime) RetryParked(ctx context.Context, parked ...Parked) (applied int, err error) {
	if len(parked) == 0 {
		parked = slices.DeleteFunc(rt.Parked(), func(p Parked) bool { return p.Skipped })
	}
	var all atomic.Int64 // one that has begun may go on when ctx has ended
	err = rt.resolve(ctx, "retry", parked, func(u *unit, n *node, rows []parkedRow) error {
		done, err := u.retry(n, rows)
		all.Add(int64(done))
		return err
	})
	return int(all.Load()), err
}

// DropParked gives parked commits, or records of skipped ones, up: they are
// never applied. The same rules hold as for RetryParked. Later commits of a
// parked key stay parked.
func (rt *Runtime) DropParked(ctx context.Context, parked ...Parked) error {
	return rt.resolve(ctx, "drop", parked, func(u *unit, n *node, rows []parkedRow) error {
		u.lockAll()
		defer u.unlockAll()
		for _, r := range rows {
			n.park.remove(parkedKey(r.Feed, r.Seq))
		}
		n.park.t.commit()
		return nil
	})
}

// resolve does something to parked commits on the goroutine of their unit,
// and saves.
func (rt *Runtime) resolve(ctx context.Context, what string, parked []Parked, do func(*unit, *node, []parkedRow) error) error {
	byNode := make(map[*node][]string)
	var nodes []*node
	var errs []error
	for _, p := range parked {
		n := rt.parkingOf(p)
		if n == nil {
			errs = append(errs, fmt.Errorf("%w: nothing of %q can be parked", ErrInvalid, p.Projection))
			continue
		}
		if byNode[n] == nil {
			nodes = append(nodes, n)
		}
		byNode[n] = append(byNode[n], parkedKey(p.Position.Feed, p.Position.Seq))
	}
	for _, n := range nodes {
		u := n.unitOf()
		if !rt.cfg.NoSnapshots && rt.cfg.Leases != nil && u.saver.owner.await(ctx) == nil {
			errs = append(errs, ErrNotOwner)
			continue
		}
		err := u.do(ctx, func() error {
			rows, err := n.park.rows(byNode[n], what == "retry")
			if len(rows) == 0 {
				return err
			}
			err = errors.Join(err, do(u, n, rows))
			u.saver.events++ // there is something to save
			u.notify()
			return err
		})
		if errs = append(errs, err); !rt.cfg.NoSnapshots && !errors.Is(err, ErrClosed) {
			errs = append(errs, u.save(ctx))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("projection: %s: %w", what, err)
	}
	return nil
}

// parkingOf is the node that has set a commit aside. Where there are two
// versions of it, that one's; else its version isn't asked for.
func (rt *Runtime) parkingOf(p Parked) *node {
	for _, u := range rt.units {
		for _, n := range u.nodes {
			two := slices.ContainsFunc(rt.pairs, func(s *switching) bool { return slices.Contains(s.nodes[:], n) })
			if n.name == p.Projection && n.park != nil && (!two || n.version == p.Version) {
				return n
			}
		}
	}
	return nil
}

// rows are the parked commits of these keys, by position; to be retried also
// those that have to come before them.
func (p *parking) rows(keys []string, retry bool) (out []parkedRow, err error) {
	wanted := make(map[string]bool)
	upTo := make(map[entity]uint64)
	for _, k := range keys {
		r := p.t.rows[k]
		switch {
		case r == nil:
			err = errors.Join(err, fmt.Errorf("%w: %s isn't parked", ErrInvalid, k))
			continue
		case retry && r.value.Skipped:
			err = errors.Join(err, fmt.Errorf("%w: %s was skipped: there is only a record of it", ErrInvalid, k))
			continue
		}
		wanted[k] = true
		if e := r.value.entity(); retry && r.value.Ordered {
			upTo[e] = max(upTo[e], r.value.Seq)
		}
	}
	for k, r := range p.t.rows {
		v := r.value
		if wanted[k] || v.Ordered && v.Seq <= upTo[v.entity()] {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b parkedRow) int {
		return cmp.Or(cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.Seq, b.Seq))
	})
	return out, err
}

// retry handles commits again; it runs on the unit's goroutine.
func (u *unit) retry(n *node, rows []parkedRow) (applied int, err error) {
	if n.stopped != nil {
		return 0, n.stopped
	}
	i := slices.IndexFunc(u.groups, func(g *group) bool { return slices.Contains(g.nodes, n) })
	failed := make(map[entity]bool)
	for _, r := range rows {
		e := r.entity()
		if r.Ordered && failed[e] {
			continue
		}
		f := u.feeds[r.Feed]
		c, again := f.DecodeStored(r.Commit)
		if again == nil {
			again = u.groups[i].redo(u, f, n, &c, r)
		}
		if again != nil {
			failed[e] = true
			err = errors.Join(err, fmt.Errorf("%s: %w", eventlog.Position{Feed: r.Feed, Seq: r.Seq}, again))
			if n.torn() != nil {
				u.halted(n)
				return applied, errors.Join(err, n.stopped)
			}
			continue
		}
		applied++
	}
	return applied, err
}

// redo takes a parked commit through its table and through those that read the
// table's changes: the others have handled it.
func (g *group) redo(u *unit, f *eventlog.Feed, n *node, c *eventlog.Commit, r parkedRow) error {
	u.lockAll()
	defer u.unlockAll()
	part := map[*node]bool{n: true}
	n.below(func(d *node) { part[d] = true })
	for _, m := range g.nodes {
		m.step = stepping{off: m.stopped != nil || m.dormant || !part[m]}
	}
	n.step.on = n.handlers[f.Name()]
	at, err := g.redoNodes(f, c)
	if err != nil {
		for _, m := range g.nodes {
			if !m.step.off {
				m.undo()
			}
		}
		r.Attempts++
		r.Waiting, r.Err, r.Stack = false, err.Error(), g.stack
		r.Type, r.Index, r.Upstream = g.event.Type, g.event.Index, ""
		if g.up != nil {
			r.Type, r.Index, r.Upstream = "", 0, g.up.name
		}
		n.park.put(r)
		n.park.t.commit()
		if torn := n.torn(); torn != nil {
			n.halt(&StoppedError{Projection: n.name, Position: c.Position(), Type: r.Type, Err: errors.Join(err, torn), Stack: g.stack})
		}
		g.stack = ""
		if at != n {
			return fmt.Errorf("table %q, behind it: %w", at.name, err)
		}
		return err
	}
	n.park.remove(parkedKey(r.Feed, r.Seq))
	for _, m := range g.nodes {
		if m.step.off {
			continue
		}
		m.state.commit()
		if m.out != nil && m.step.moved {
			m.out.forget()
			m.out.replaced()
			m.out.rebase(m.pos)
		}
		m.step.moved = false
	}
	return nil
}

// redoNodes calls the handlers of those that take part.
func (g *group) redoNodes(f *eventlog.Feed, c *eventlog.Commit) (at *node, err error) {
	defer containStack(&err, &g.stack)
	cause := causeOf(c)
	for _, at = range g.nodes {
		if at.step.off {
			continue
		}
		if err := g.apply(f, at, c); err != nil {
			return at, err
		}
		at.step.moved = at.out != nil && at.out.net(&cause)
	}
	return nil, nil
}

// do runs a function on the unit's goroutine, between two batches.
func (u *unit) do(ctx context.Context, fn func() error) error {
	if u.naps != nil { // it is served while the unit is awake
		for _, n := range u.nodes {
			n.lazy.touch()
		}
	}
	return u.call(ctx, fn)
}

// call is do, without waking a unit that sleeps. Where ctx ends, the function
// may still run, or be run later: what it writes is its own then.
func (u *unit) call(ctx context.Context, fn func() error) error {
	defer u.awaited("a call that is run between two batches (Preview, RetryParked, DropParked)", u.name)()
	done := make(chan error, 1)
	select {
	case u.calls <- func() { done <- fn() }:
	case <-u.ended:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select { // what has begun is soon over, unless a handler doesn't return
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

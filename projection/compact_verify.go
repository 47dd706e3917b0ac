package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// compactedUnit is a unit's stored state, as far as it holds the log.
type compactedUnit struct {
	name     string
	needs    map[string]uint64 // by feed: the least of all retained snapshots
	verified bool
}

// verifyAll reads back what is stored of every unit: those that are registered,
// and those that merely have snapshots.
func (c *compaction) verifyAll(ctx context.Context, notes map[string]string) error {
	names, err := c.names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		u, r, err := c.verify(ctx, name)
		if err != nil {
			return err
		}
		if note := notes[name]; note != "" && r.Note == "" {
			r.Note = note
		}
		c.units = append(c.units, u)
		c.report.Units = append(c.report.Units, r)
		if !u.verified && r.Snapshot != "" { // one that has none needs all, and that is all right
			c.errs = append(c.errs, fmt.Errorf("unit %q: %w: %s", name, ErrUnverified, r.Note))
		}
	}
	return nil
}

func (c *compaction) names(ctx context.Context) ([]string, error) {
	var names []string
	for _, u := range c.rt.units {
		names = append(names, u.name)
	}
	if l, ok := c.rt.cfg.Store.(unitLister); ok {
		stored, err := l.Units(ctx)
		if err != nil {
			return nil, err
		}
		names = append(names, stored...)
	}
	ds, err := c.rt.cfg.Dependants.List(ctx)
	if err != nil {
		return nil, err
	}
	expired := make(map[string]bool)
	for _, d := range ds {
		if d.Unit != "" {
			names = append(names, d.Unit)
			expired[d.Unit] = d.Expired
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return expired[n] }), nil
}

// verify reads the newest snapshot of a unit to its end, and asks the leaders
// whether its anchors are in the log. The older ones hold the log as well, so
// that each stays a fallback.
func (c *compaction) verify(ctx context.Context, unit string) (compactedUnit, CompactUnit, error) {
	u := compactedUnit{name: unit, needs: make(map[string]uint64)}
	r := CompactUnit{Unit: unit}
	found, err := c.rt.cfg.Store.Candidates(ctx, unit)
	if err != nil {
		return u, r, err
	}
	var newest *snapshot.Manifest
	for _, f := range found {
		if f.Problem != nil {
			continue // nobody can restore it
		}
		if newest == nil {
			newest = f.Manifest
		}
		u.hold(f.Manifest)
	}
	r.Needs, _ = timeframe.FromMap(u.needs)
	r.Snapshot = idOf(newest)
	if newest == nil {
		r.Note = "it has no usable snapshot"
		return u, r, nil
	}
	r.At = newest.Tag.At
	err = c.readUnit(ctx, unit, newest, found, &r)
	if err == nil {
		err = c.belongs(ctx, newest)
	}
	switch {
	case ctx.Err() != nil:
		return u, r, context.Cause(ctx)
	case errors.Is(err, eventlog.ErrUnavailable):
		return u, r, err
	case err != nil:
		r.Note = err.Error()
		if errors.Is(err, ErrLossy) {
			c.errs = append(c.errs, err)
		}
		return u, r, nil
	}
	u.verified, r.Verified = true, true
	return u, r, nil
}

// hold lowers what the unit needs to what a snapshot leaves open. The message
// at a position is the anchor of its lineage, and stays with what follows it.
func (u *compactedUnit) hold(m *snapshot.Manifest) {
	lower := func(tf timeframe.Timeframe) {
		for feed, seq := range tf.All() {
			if had, ok := u.needs[feed]; !ok || seq < had {
				u.needs[feed] = seq
			}
		}
	}
	lower(m.Tag.At)
	for _, member := range m.Members {
		lower(member.At)
	}
}

// readUnit reads back the snapshot that this call has saved, and compares it,
// and the newest one where that is another by now.
func (c *compaction) readUnit(ctx context.Context, name string, newest *snapshot.Manifest, found []snapshot.Candidate, r *CompactUnit) (err error) {
	var u *unit
	for _, ours := range c.rt.units {
		if ours.name == name {
			u = ours
		}
	}
	if u != nil {
		if err := u.lossKnown(); err != nil {
			return err
		}
	}
	for _, f := range found {
		if s, ok := c.saved[name]; ok && s.id != (snapshot.ID{}) && f.Problem == nil && f.ID == s.id {
			if r.Keys, err = c.readBack(ctx, u, f.Manifest); err != nil {
				return err
			}
			if r.Compared = true; f.Manifest.ID == newest.ID {
				return nil
			}
		}
	}
	if s, ok := c.saved[name]; ok {
		s.compare.end() // it wouldn't be with this one
	}
	r.Keys, err = c.readBack(ctx, u, newest)
	return err
}

// readBack reads a snapshot to its end. What projections of u have in it is
// decoded, and compared where they are ready for that.
func (c *compaction) readBack(ctx context.Context, u *unit, m *snapshot.Manifest) (keys uint64, err error) {
	for _, member := range m.Members {
		entries := withDigests(c.rt.cfg.Store.Load(ctx, m, member.Name), member)
		if n := u.nodeOf(member); n != nil {
			if by, ok := n.state.(comparer); ok {
				count, err := by.compare(ctx, entries)
				if keys += count; err != nil {
					if lost, ok := errors.AsType[*LossError](err); ok {
						u.lossFound(n, lost)
					}
					return keys, err
				}
				continue
			}
		}
		for _, err := range entries {
			if err != nil {
				return keys, err
			}
			keys++
		}
	}
	return keys, nil
}

// nodeOf is the unit's projection that has saved a member of a snapshot; nil
// where none has, in this version.
func (u *unit) nodeOf(m snapshot.MemberState) *node {
	if u == nil {
		return nil
	}
	for _, n := range u.savedNodes() {
		if n.name == m.Name && n.version == m.Version && n.meaning() == m.Meaning && n.codec.Name() == m.Codec {
			return n
		}
	}
	return nil
}

// lossKnown is what is known of rows of the unit that don't come back.
func (u *unit) lossKnown() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range u.nodes {
		if n.lost != nil {
			return n.lost
		}
	}
	return nil
}

// belongs asks the leaders of the feeds that may be trimmed. Feeds that this
// process hasn't opened aren't, so they needn't be asked.
func (c *compaction) belongs(ctx context.Context, m *snapshot.Manifest) error {
	for feed, seq := range m.Tag.At.All() {
		f, err := c.rt.log.Opened(feed)
		if err != nil {
			continue
		}
		obs, err := f.Observe(ctx, seq)
		if err != nil {
			return err
		}
		if found := m.Tag.Lineages[feed].Check(seq, obs); found.Verdict != timeframe.Verified {
			return fmt.Errorf("feed %q: it is %s: %s", feed, found.Verdict, found.Reason)
		}
	}
	return nil
}

// position is what a dependant needs by itself. A unit that isn't known here
// has registered meanwhile, and needs all.
func (c *compaction) position(d dependants.Dependant) timeframe.Timeframe {
	if d.Unit == "" {
		return d.Needs
	}
	needs := d.Needs.Map() // all its feeds at 0
	for _, u := range c.units {
		if u.name == d.Unit && u.verified {
			maps.Copy(needs, u.needs)
		}
	}
	tf, _ := timeframe.FromMap(needs) // names of feeds
	return tf
}

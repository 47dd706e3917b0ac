package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrDiverged: two processes came to different states from the same events.
var ErrDiverged = errors.New("state diverged")

// DivergedError is an ErrDiverged: this process and the one that wrote a
// snapshot had different states at one timeframe of one log. Which of them is
// right, if any, can't be known from that: a replay tells (Config.NoSnapshots)
// where the handlers are deterministic, and where they aren't, no two replays
// agree. Config.Replay repairs a state from the log.
type DivergedError struct {
	Projection string
	At         timeframe.Timeframe
	Ours       snapshot.Digest
	Theirs     snapshot.Digest
	Snapshot   snapshot.ID // that has theirs
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("projection %q: %v at %s: digest %s here, %s in snapshot %s, by the same version from the same events; is a handler not deterministic?",
		e.Projection, ErrDiverged, e.At, e.Ours, e.Theirs, short(e.Snapshot))
}

func (e *DivergedError) Unwrap() error { return ErrDiverged }

// seenDigest is a digest that this process computed.
type seenDigest struct {
	tag    timeframe.Tag
	at     timeframe.Timeframe // of the projection; tag covers it
	digest snapshot.Digest
}

// maxSeen is how many digests of a projection are remembered.
const maxSeen = 256

func (u *unit) remember(n *node, tag timeframe.Tag, at timeframe.Timeframe, d snapshot.Digest) {
	if n.of != nil {
		return // what is parked has times and stacks, which differ between processes
	}
	tag.Lineages = maps.Clone(tag.Lineages) // a save may add to them
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(n.seen) >= maxSeen {
		n.seen = append(n.seen[:0], n.seen[maxSeen/2:]...)
	}
	n.seen = append(n.seen, seenDigest{tag, at, d})
}

// CompareSnapshots compares the digests that this process has computed, when
// it saved, was asked by Digest, and now, with those of the stored snapshots,
// whoever wrote them, where both are of one timeframe. What differs is
// reported as Config.Diverged says, and returned.
//
// A process compares by itself, every Config.CompareEvery and when it comes to
// save after another one. It has a digest at each of its own cuts, which follow
// its policy; so does the other: where events rest for a while, they meet.
//
// Errors: *DivergedError, joined where there are several; those of the store;
// of Digest.
func (rt *Runtime) CompareSnapshots(ctx context.Context) error {
	if rt.cfg.NoSnapshots {
		return nil
	}
	var errs []error
	for _, u := range rt.units {
		if u.asleep() || u.twin.failed {
			continue
		}
		for _, n := range u.savedNodes() {
			if _, err := u.askDigest(ctx, n); err != nil {
				return fmt.Errorf("projection: digest of %q: %w", n.name, err)
			}
		}
		found, err := rt.cfg.Store.Candidates(ctx, u.name)
		if err != nil {
			return fmt.Errorf("projection: unit %q: %w", u.name, err)
		}
		for _, d := range u.compare(found) {
			errs = append(errs, d)
		}
	}
	return errors.Join(errs...)
}

// compareOthers compares, now and then, where another process saves.
func (rt *Runtime) compareOthers(ctx context.Context) {
	if rt.cfg.NoSnapshots || rt.cfg.CompareEvery < 0 {
		return
	}
	tick := time.NewTicker(rt.cfg.CompareEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, u := range rt.units {
			if held, known := u.saver.owner.held(); held != nil || !known {
				continue
			}
			// What can't be read now is compared the next time.
			if found, err := rt.cfg.Store.Candidates(ctx, u.name); err == nil {
				u.compare(found)
			}
		}
	}
}

// compare looks for snapshots of a timeframe that this process has a digest
// of, and reports those that differ.
func (u *unit) compare(found []snapshot.Candidate) (diverged []*DivergedError) {
	u.mu.Lock()
	var fresh []*DivergedError
	for _, n := range u.nodes {
		all, news := n.compareAll(found)
		diverged, fresh = append(diverged, all...), append(fresh, news...)
	}
	u.mu.Unlock()
	for _, d := range fresh {
		u.tellDiverged(d)
	}
	return diverged
}

// divergence is what a DivergedError is told from others by.
type divergence struct {
	snapshot snapshot.ID
	ours     snapshot.Digest
}

// compareAll compares the node with snapshots, newest first. The newest of
// another process of which both digests are known decides whether the two differ
// now: where the other one was repaired, older ones still say how they differed.
func (n *node) compareAll(found []snapshot.Candidate) (all, fresh []*DivergedError) {
	told, decided := make(map[divergence]bool), false
	for i, c := range found {
		if c.Manifest == nil {
			continue
		}
		d, known := n.compare(c.Manifest, found[:i])
		if known && !decided && !slices.Contains(n.unit.own, c.ID) {
			decided, n.diverged = true, d
		}
		if d == nil {
			continue
		}
		all = append(all, d)
		which := divergence{d.Snapshot, d.Ours}
		if told[which] = true; !n.told[which] {
			fresh = append(fresh, d)
		}
	}
	n.told = told
	return all, fresh
}

// compare returns how a snapshot's state differs from the node's at that
// timeframe, nil where it doesn't; known is false where nothing says so.
//
// Retrying and dropping parked commits changes a state at its place. So this
// process may have had several there, and of the snapshots of one place the
// newest counts.
func (n *node) compare(m *snapshot.Manifest, newer []snapshot.Candidate) (d *DivergedError, known bool) {
	member, ok := m.Member(n.name)
	theirs, stored := snapshot.DigestFrom(member.Digest)
	if !ok || !stored || member.Version != n.version || member.Codec != n.codec.Name() || member.Meaning != n.meaning() {
		return nil, false
	}
	resolved := n.parks()
	for _, c := range newer {
		if c.Manifest == nil || !resolved {
			continue
		}
		if later, ok := c.Manifest.Member(n.name); ok && later.At.Equal(member.At) {
			return nil, false
		}
	}
	for _, s := range n.seen {
		switch {
		case !s.at.Equal(member.At) || !sameHistory(s.at, s.tag, m.Tag):
		case s.digest == theirs && resolved:
			return nil, true
		case s.digest == theirs:
			known = true
		case d == nil:
			d, known = &DivergedError{Projection: n.name, At: s.at, Ours: s.digest, Theirs: theirs, Snapshot: m.ID}, true
		}
	}
	return d, known
}

// parks says whether the node, or what it reads, may set commits aside.
func (n *node) parks() bool {
	return n.park != nil || slices.ContainsFunc(n.ups, func(e *edge) bool { return e.from.parks() })
}

// sameHistory reports whether both tags name the same messages at a timeframe:
// a log that lost its tail uses the numbers again.
func sameHistory(at timeframe.Timeframe, a, b timeframe.Tag) bool {
	for feed, seq := range at.All() {
		la, lb := a.Lineages[feed], b.Lineages[feed]
		if la.Incarnation != lb.Incarnation {
			return false
		}
		pa, oka := printAt(la, seq)
		pb, okb := printAt(lb, seq)
		if oka && okb && pa != pb {
			return false
		}
	}
	return true
}

func printAt(l timeframe.Lineage, seq uint64) (timeframe.Fingerprint, bool) {
	for _, a := range l.Anchors {
		if a.Seq == seq {
			return a.Print, true
		}
	}
	return timeframe.Fingerprint{}, false
}

func (u *unit) tellDiverged(d *DivergedError) {
	u.rt.cfg.Logger.Error().Err(d).Str("unit", u.name).Str("projection", d.Projection).Msg("projection: diverged")
	if f := u.rt.cfg.Diverged; f != nil {
		u.hook("Diverged", func() { f(d) })
	}
}

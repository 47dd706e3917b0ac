package projection

import (
	"context"
	"errors"

	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// save encodes and writes; it runs beside the unit's goroutine.
func (j *saveJob) save(ctx context.Context, u *unit) (*snapshot.Manifest, error) {
	if err := j.encode(u); err != nil {
		return nil, err
	}
	if err := u.confirm(ctx, j.cut.Tag); err != nil {
		return nil, err
	}
	if j.refresh {
		found, err := u.rt.cfg.Store.Candidates(ctx, u.name)
		if err != nil {
			return nil, err
		}
		u.compare(found)
		j.base, j.cut.Replaces = nil, snapshot.ID{}
		for i, c := range found {
			if i == 0 {
				j.cut.Replaces = c.ID
			}
			if c.Manifest != nil {
				j.base = c.Manifest
				break
			}
		}
	}
	j.dropLeft()
	j.keepUnknown()
	m, err := u.rt.cfg.Store.Save(ctx, u.name, j.base, j.cut)
	if moved(err) {
		// Somebody else has saved, perhaps at the very timeframe of this cut.
		if found, err := u.rt.cfg.Store.Candidates(ctx, u.name); err == nil {
			u.compare(found)
		}
	}
	return m, err
}

// confirm makes sure that what a cut was derived from is what the feeds' leaders
// have. A snapshot proves itself by the message at its position; of what is
// inside, only this does (eventlog.Feed.Confirm).
func (u *unit) confirm(ctx context.Context, tag timeframe.Tag) error {
	for feed, at := range tag.At.All() {
		f := u.feeds[feed]
		if f == nil {
			continue
		}
		anchors := tag.Lineages[feed].Anchors
		if len(anchors) == 0 || anchors[0].Seq != at || anchors[0].Print == (timeframe.Fingerprint{}) {
			anchors = nil
		}
		if err := f.Confirm(ctx, anchors[:min(1, len(anchors))]...); err != nil {
			return err
		}
	}
	return nil
}

// encode encodes the captures when it is their turn.
func (j *saveJob) encode(u *unit) error {
	defer close(j.turn.done)
	<-j.turn.before
	for i, part := range j.parts {
		changes, digest, err := part.encode()
		if err != nil {
			if err = j.leaveOut(j.nodes[i], err); err != nil {
				return err
			}
			continue
		}
		if lost := u.lossOf(j.nodes[i], part); lost != nil && !j.discards {
			if err = j.leaveOut(j.nodes[i], lost); err != nil {
				return err
			}
			continue
		}
		m := &j.cut.Members[i]
		m.Changes, m.Digest = changes, digest.Bytes()
		m.Reset = m.Reset || areAll(changes, digest)
		u.remember(j.nodes[i], j.cut.Tag, m.At, digest)
	}
	return nil
}

// areAll says that the changes are all that there is: together they have the
// digest of the state. What was stored before is then left behind, so that it
// is neither merged nor read again: a small table that changes all the time is
// one segment. (The digest is known to be that of the state; so this is as safe
// as comparing states by their digests. A model's changes have none of their
// own.)
func areAll(changes []snapshot.Change, state snapshot.Digest) bool {
	var sum snapshot.Digest
	for i := range changes {
		sum = sum.Plus(changes[i].Digest)
	}
	return sum == state && sum != snapshot.Digest{}
}

// release gives the memory of the captures back that aren't counted as
// unsaved again.
func (j *saveJob) release() {
	j.eachNode(func(_ *node, part capture, left error) {
		if r, ok := part.(releaser); ok && left == nil {
			r.release()
		}
	})
}

// moved reports whether an error says that somebody else has moved the head, or
// that what the save was to stand on is gone.
func moved(err error) bool {
	return errors.Is(err, snapshot.ErrStaleBase) || errors.Is(err, snapshot.ErrConflict) || errors.Is(err, snapshot.ErrFenced) ||
		errors.Is(err, snapshot.ErrCorrupt)
}

// keepUnknown carries projections forward that the base has and this process
// doesn't know: another version of the program may.
func (j *saveJob) keepUnknown() {
	if j.base == nil {
		return
	}
	mine := make(map[string]bool, len(j.nodes))
	for _, n := range j.nodes {
		mine[n.name] = j.left[n] == nil
	}
	lineages := j.cut.Tag.Lineages
	for _, m := range j.base.Members {
		if mine[m.Name] {
			continue
		}
		j.cut.Members = append(j.cut.Members, snapshot.Member{Name: m.Name, Kept: true})
		for feed, seq := range m.At.All() {
			if cur, ok := j.cut.Tag.At.Get(feed); ok && cur >= seq {
				continue
			}
			tagged, _ := j.base.Tag.At.Get(feed)
			if at, err := j.cut.Tag.At.With(feed, tagged); err == nil {
				j.cut.Tag.At = at
				lineages[feed] = j.base.Tag.Lineages[feed]
			}
		}
	}
}

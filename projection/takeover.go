package projection

import (
	"context"
	"maps"

	"github.com/tidemark-es/tidemark/snapshot"
)

// A process that takes a unit's snapshots over has let its changes go while
// another one saved, so it doesn't know how its state differs from what is
// stored. Two things are done about that beside the handlers, before it saves:
// where the newest snapshot is of the very place at which this process stands,
// with the same digests, it is gone on from; else all rows are gathered, so
// that the cut that saves them is as short as any other.

// takeOver begins that, and reports whether it did: not where it was done
// already.
func (s *saver) takeOver() bool {
	if !s.stale || s.prepared {
		return false
	}
	u := s.u
	job := &saveJob{takeover: true, events: s.events, bytes: s.bytes, turn: u.turn()}
	job.cut.Tag = u.tag()
	job.lineage = maps.Clone(job.cut.Tag.Lineages)
	nodes := u.savedNodes()
	var runs []func()
	adopts := !s.damaged
	for _, n := range nodes {
		_, ok := n.state.(gatherer)
		adopts = adopts && ok
	}
	if adopts { // a model's changes are known by what was saved before
		for _, n := range nodes {
			job.add(n)
		}
		s.events, s.bytes = 0, 0
	}
	for _, n := range nodes {
		if g, ok := n.state.(gatherer); ok {
			runs = append(runs, g.gather())
		}
	}
	s.inFlight = job
	u.rt.wg.Go(func() {
		r := saveResult{job: job}
		err := job.encode(u)
		if adopts && err == nil && len(job.left) == 0 {
			r.manifest = job.adopt(u)
		}
		if r.manifest == nil {
			for _, run := range runs {
				run()
			}
		}
		job.release()
		s.results <- r
	})
	return true
}

// adopt returns the newest snapshot where it is of this job's state.
func (j *saveJob) adopt(u *unit) *snapshot.Manifest {
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	found, err := u.rt.cfg.Store.Candidates(ctx, u.name)
	if err != nil || len(found) == 0 || found[0].Manifest == nil {
		return nil // what is wrong with the store is reported by the save
	}
	u.compare(found)
	if !j.stored(found[0].Manifest) {
		return nil
	}
	return found[0].Manifest
}

// stored reports whether a snapshot holds just what the job has captured: of
// the same places of the same logs, by the same code, with the same digests.
func (j *saveJob) stored(m *snapshot.Manifest) bool {
	for _, ours := range j.cut.Members {
		theirs, ok := m.Member(ours.Name)
		if !ok || theirs.Version != ours.Version || theirs.Meaning != ours.Meaning || theirs.Codec != ours.Codec || !theirs.At.Equal(ours.At) {
			return false
		}
		want, known := snapshot.DigestFrom(theirs.Digest)
		if got, ok := snapshot.DigestFrom(ours.Digest); !ok || !known || got != want {
			return false
		}
		for feed, seq := range ours.At.All() {
			a, b := j.cut.Tag.Lineages[feed], m.Tag.Lineages[feed]
			pa, oka := printAt(a, seq)
			pb, okb := printAt(b, seq)
			if a.Incarnation != b.Incarnation || (seq > 0 && (!oka || !okb || pa != pb)) {
				return false
			}
		}
	}
	return true
}

// tookOver takes the outcome in.
func (s *saver) tookOver(r saveResult) {
	u := s.u
	r.job.eachNode(func(n *node, part capture, left error) {
		if left != nil {
			n.state.requeue(part) // its digest is still that of before
		}
	})
	if s.prepared = r.manifest == nil; s.prepared {
		return
	}
	s.stale = false
	s.base, s.newest = r.manifest, snapshot.ID{}
	for _, n := range r.job.nodes {
		n.reset = false
	}
	maps.Copy(u.lineage, r.job.lineage)
	u.mu.Lock()
	defer u.mu.Unlock()
	s.status.At, s.status.ID = r.manifest.Tag.At, r.manifest.ID.String()
	s.status.LastError = ""
	u.rt.cfg.Logger.Info().Str("unit", u.name).Str("snapshot", r.manifest.ID.String()).Msg("projection: goes on from the snapshot of another process, which is of the same state")
}

package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// saver saves a unit. The cut is taken by the unit's goroutine between two
// batches and takes as long as there are changes since the last one;
// encoding and writing happen beside, one save at a time. A save that fails
// puts its changes back, and the next one takes them again.
type saver struct {
	u       *unit
	timer   *time.Timer
	results chan saveResult

	// Owned by the unit's goroutine.
	base     *snapshot.Manifest // what the changes are relative to
	newest   snapshot.ID        // what Candidates found first
	events   uint64             // since the last cut
	bytes    uint64
	inFlight *saveJob
	lastCut  time.Time
	notYet   time.Time // no save before this, after a failure
	failures int
	failure  error // of the last save; nil where it succeeded
	// stale: the head was moved by another process, or changes were dropped
	// while it saved: the next save reads the head again and holds everything.
	stale    bool
	prepared bool // what takeOver does is done
	damaged  bool // what a save was to stand on is gone, or isn't whole
	owner    *owner
	want     chan saveAsk // saves that somebody asks for
	asked    []saveAsk    // and that haven't begun

	status            SnapshotStatus // guarded by u.mu
	noLease, notSaved *UnsavedError  // guarded by u.mu; nil: none is known
}

// SnapshotStatus is how a unit's snapshots are doing.
type SnapshotStatus struct {
	At        timeframe.Timeframe // of the newest one that this process saved or restored
	ID        string
	SavedAt   time.Time     // zero where this process saved none
	Saves     uint64        // by this process
	Failures  uint64        // of saves, since the start
	LastError string        // of the last save; "" when it succeeded
	Pause     time.Duration // that the last cut took, during which nothing was applied
	MaxPause  time.Duration

	Owner  bool   // this process holds the unit's lease, and saves
	Epoch  uint64 // of the lease; 0 where it isn't held
	Holder string // who holds it instead, or why nobody can say; "" where this process does

	// Unsaved is why the unit isn't saved, by any process as far as this one
	// knows; nil where it is. Healthy tells it, too.
	Unsaved *UnsavedError
}

type saveJob struct {
	base    *snapshot.Manifest
	cut     snapshot.Cut
	nodes   []*node
	parts   []capture // of nodes
	events  uint64
	bytes   uint64
	pause   time.Duration
	turn    turn
	refresh bool // the head was moved: read it again
	lease   *lease.Lease
	asked   []saveAsk // who waits for it
	lineage map[string]timeframe.Lineage
	left    map[*node]error // not saved, and why; what the base has of them stays
	// takeover: nothing is saved by it; see takeOver.
	takeover bool
	discards bool // nothing is: another process saves the unit
}

type saveResult struct {
	job      *saveJob
	manifest *snapshot.Manifest
	err      error
}

const (
	saveTimeout = time.Minute
	// longestWait after failures, until the next try.
	longestWait = time.Minute
	// maxOwn is how many saved snapshots a unit knows as its own; more than a
	// store retains.
	maxOwn = 1024
)

func newSaver(u *unit) saver {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return saver{u: u, timer: t, results: make(chan saveResult, 1), lastCut: time.Now(), owner: newOwner(u), want: make(chan saveAsk)}
}

// rebase says what the next save is relative to.
func (s *saver) rebase(base *snapshot.Manifest, newest snapshot.ID) {
	s.base, s.newest = base, newest
	s.events, s.bytes = 0, 0
	s.u.mu.Lock()
	defer s.u.mu.Unlock()
	s.status.At, s.status.ID = timeframe.Timeframe{}, ""
	if base != nil {
		s.status.At, s.status.ID = base.Tag.At, base.ID.String()
	}
}

// consider starts a save when the policy says so.
func (s *saver) consider() {
	s.serve()
	cfg := &s.u.rt.cfg
	if cfg.NoSnapshots || s.inFlight != nil || s.allTorn() || !s.u.whole() {
		return
	}
	held, known := s.owner.held()
	due := s.events >= cfg.Snapshots.Events || s.bytes >= cfg.Snapshots.Bytes
	switch {
	case !known: // it will be in a moment
		return
	case !due && (held == nil || !s.stale):
		return
	}
	next := s.lastCut.Add(cfg.Snapshots.MinInterval)
	if s.notYet.After(next) {
		next = s.notYet
	}
	if wait := time.Until(next); wait > 0 {
		s.timer.Reset(wait)
		return
	}
	if held == nil {
		s.discard()
		return
	}
	s.start(held)
}

// discard lets the changes go that another process saves, but for the digest
// of tables: it is what that one's snapshots are compared with.
func (s *saver) discard() {
	u := s.u
	s.prepared = false
	job := &saveJob{discards: true, events: s.events, bytes: s.bytes, turn: u.turn()}
	job.cut.Tag = u.tag()
	for _, n := range u.savedNodes() {
		if m, ok := n.state.(interface{ discard() }); ok {
			m.discard() // without asking the user's code for what isn't kept
			continue
		}
		job.add(n)
	}
	s.events, s.bytes = 0, 0
	s.lastCut = time.Now()
	s.stale = true
	s.inFlight = job
	u.rt.wg.Go(func() {
		err := job.encode(u)
		for _, left := range job.left {
			err = left
		}
		if err == nil {
			job.release()
		}
		s.results <- saveResult{job: job, err: err}
	})
}

// add captures a node.
func (j *saveJob) add(n *node) {
	j.nodes = append(j.nodes, n)
	j.parts = append(j.parts, n.state.cut())
	j.cut.Members = append(j.cut.Members, snapshot.Member{
		Name: n.name, Version: n.version, Meaning: n.meaning(), Codec: n.codec.Name(),
		At: n.at(), Reset: n.reset,
	})
}

// start saves, or first prepares that.
func (s *saver) start(l *lease.Lease) {
	if !s.takeOver() {
		s.save(l)
	}
}

func (s *saver) save(l *lease.Lease) {
	job := s.cut()
	job.lease, job.cut.Epoch = l, l.Epoch()
	job.asked, s.asked = s.asked, nil
	compareFor(job.asked, job.nodes)
	s.inFlight = job
	s.u.rt.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
		defer cancel()
		m, err := job.save(ctx, s.u)
		fenced(ctx, l, err)
		if err == nil {
			job.release()
		}
		s.results <- saveResult{job: job, manifest: m, err: err}
	})
}

// cut captures the unit at this moment: the only part of a save that keeps
// events waiting.
func (s *saver) cut() *saveJob {
	begun := time.Now()
	u := s.u
	if s.prepared = false; s.stale {
		for _, n := range u.nodes {
			n.reset = true
			n.state.touchAll()
		}
	}
	job := &saveJob{base: s.base, events: s.events, bytes: s.bytes, refresh: s.stale}
	job.cut.Replaces = s.newest
	job.turn = u.turn()
	job.cut.Tag = u.tag()
	job.lineage = maps.Clone(job.cut.Tag.Lineages) // the tag's are to get those of what is carried forward
	for _, n := range u.savedNodes() {
		job.add(n)
	}
	s.events, s.bytes = 0, 0
	s.lastCut = time.Now()
	job.pause = time.Since(begun)
	return job
}

// finish takes a save's outcome in.
func (s *saver) finish(r saveResult) {
	s.inFlight = nil
	if r.job.takeover {
		s.tookOver(r)
		return
	}
	defer r.job.answer(r)
	u := s.u
	if r.job.lease == nil && r.err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.unsaved(&s.notSaved, nil) // another process saves
		return
	}
	s.failure = r.err
	if r.err == nil {
		s.failures, s.stale, s.damaged = 0, false, false
		s.base, s.newest = r.manifest, snapshot.ID{}
		r.job.eachNode(func(n *node, part capture, left error) {
			if left != nil {
				n.state.requeue(part)
				return
			}
			n.reset = false
		})
		maps.Copy(u.lineage, r.job.lineage)
	} else {
		s.putBack(r)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	st := &s.status
	st.Pause = r.job.pause
	st.MaxPause = max(st.MaxPause, r.job.pause)
	s.saveTold(r)
	if r.err != nil {
		st.Failures++
		st.LastError = r.err.Error()
		return
	}
	st.Saves++
	if u.own = append(u.own, r.manifest.ID); len(u.own) > maxOwn {
		u.own = append(u.own[:0], u.own[maxOwn/2:]...)
	}
	st.LastError = listed(r.job.leftOut())
	st.At, st.ID, st.SavedAt = r.manifest.Tag.At, r.manifest.ID.String(), time.Now()
}

// putBack counts a failed save's changes as unsaved again.
func (s *saver) putBack(r saveResult) {
	s.events += r.job.events
	s.bytes += r.job.bytes
	for i, n := range r.job.nodes {
		if e, ok := r.job.parts[i].(interface{ encodedWhole() bool }); ok && s.stale && e.encodedWhole() {
			continue // all rows are gathered again, and their digests are known
		}
		n.state.requeue(r.job.parts[i])
	}
	s.failures++
	wait := min(s.u.rt.cfg.Snapshots.MinInterval<<min(s.failures, 6), longestWait)
	// Somebody else has moved the head: the next save holds the whole state.
	s.stale = s.stale || moved(r.err)
	s.damaged = s.damaged || errors.Is(r.err, snapshot.ErrCorrupt) || errors.Is(r.err, snapshot.ErrStaleBase)
	s.notYet = time.Now().Add(wait)
	s.timer.Reset(wait)
	s.u.rt.cfg.Logger.Warn().Err(r.err).Str("unit", s.u.name).Dur("again_in", wait).Msg("projection: snapshot not saved")
}

// settle waits for the save in flight.
func (s *saver) settle() {
	if s.inFlight != nil {
		s.finish(<-s.results)
	}
}

// last saves once more when the unit ends.
func (s *saver) last() {
	s.timer.Stop()
	cfg := &s.u.rt.cfg
	if cfg.NoSnapshots || cfg.Snapshots.NotOnClose || (s.events == 0 && !s.stale) || s.allTorn() || !s.u.whole() {
		return
	}
	held := s.owner.await(context.Background())
	if held == nil {
		return // another process saves this unit
	}
	s.save(held)
	s.settle()
	s.u.mu.Lock()
	defer s.u.mu.Unlock()
	const lost = "(nothing is lost: the next start replays more)"
	if s.failure != nil {
		s.u.closeErr = fmt.Errorf("projection: unit %q: last snapshot: %w %s", s.u.name, s.failure, lost)
	} else if e := s.status.LastError; e != "" {
		s.u.closeErr = fmt.Errorf("projection: unit %q: last snapshot: %s %s", s.u.name, e, lost)
	}
}

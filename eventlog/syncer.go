package eventlog

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// syncer makes acknowledged commits of one feed Synced: a group commit. While
// one fsync runs, the commits that are acknowledged meanwhile gather for the
// next one. A stream without replicas in the default persist mode has written
// a commit to its block file, with write(2), before it acknowledges, so that
// an fsync which begins behind the acknowledgement covers it.
//
// The alternatives were measured and lost: SyncAlways is one fsync a commit,
// an atomic batch is several, and 10 ms (docs/durability.md).
type syncer struct {
	f      *Feed
	by     syncedBy
	reason string        // of byNobody
	slots  chan struct{} // one for each Synced append without an outcome
	wake   chan struct{} // holds a token when waiting isn't empty
	full   chan struct{} // takes a token when as many wait as are gathered for
	fsync  func(*os.File) error

	begin sync.Once // starts run with the first Synced append
	ended chan struct{}

	seen   atomic.Uint64 // how far the log went when Sync asked last
	groups atomic.Uint64 // how often commits were brought to the disk together

	mu      sync.Mutex
	waiting []acked
	enough  int // how many waiting end the gathering; 0: nobody gathers
	closed  bool
	poison  error  // the disk's first error: nothing is Synced behind it
	synced  uint64 // all up to it is on the disk
}

// acked is a commit that is in the log, and waits for the disk.
type acked struct {
	p    *Pending // nil: Feed.Sync waits
	pos  Position
	done chan error // of Feed.Sync; has room for one
}

func newSyncer(f *Feed) *syncer {
	return &syncer{
		f:     f,
		slots: make(chan struct{}, f.log.opts.MaxInFlight),
		wake:  make(chan struct{}, 1),
		full:  make(chan struct{}, 1),
		ended: make(chan struct{}),
		fsync: syncFile,
	}
}

// admit lets a Synced append begin, after waiting for a slot; an error means
// that it can't, and nothing was done. release ends what admit began.
func (s *syncer) admit(ctx context.Context, p *Pending) error {
	key := p.pr.draft.Key
	switch s.by {
	case byServer:
		return nil
	case byNobody:
		return &SyncError{Feed: s.f.name, Key: key, Reason: s.reason}
	}
	if err := s.failure(); err != nil {
		return &SyncError{Feed: s.f.name, Key: key, Err: err, Reason: poisoned}
	}
	select {
	case s.slots <- struct{}{}:
	default:
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("eventlog: append to %s/%.200q: not sent, %d wait for the disk: %w", s.f.name, key, cap(s.slots), context.Cause(ctx))
		case <-s.f.closing:
			return fmt.Errorf("eventlog: append to %s/%.200q: %w", s.f.name, key, ErrClosed)
		}
	}
	p.syncs = true
	s.begin.Do(func() { go s.run() })
	return nil
}

func (s *syncer) release(p *Pending) {
	if p.syncs {
		p.syncs = false
		<-s.slots
	}
}

const poisoned = "its files could not be synced, and what the disk lost can't be told: nothing is Synced any more until the log is opened again; check the disk first"

func (s *syncer) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poison
}

// finish takes the outcome of a Synced append from the writer. It doesn't
// block, since the writer holds its lock.
func (s *syncer) finish(p *Pending, pos Position, err error) {
	if err != nil {
		s.release(p)
		p.complete(pos, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.release(p)
		p.complete(Position{}, s.notSynced(acked{p: p, pos: pos}, ErrClosed, "the log was closed meanwhile"))
		return
	}
	s.wait(acked{p: p, pos: pos})
}

// wait puts a commit into the next group; s.mu is held.
func (s *syncer) wait(a acked) {
	s.waiting = append(s.waiting, a)
	if len(s.waiting) == 1 {
		s.wake <- struct{}{}
	}
	if len(s.waiting) == s.enough {
		s.full <- struct{}{}
	}
}

func (s *syncer) notSynced(a acked, err error, reason string) error {
	return &SyncError{Feed: s.f.name, Key: a.p.pr.draft.Key, Pos: a.pos, Err: err, Reason: reason}
}

// take returns the commits that wait.
func (s *syncer) take(spare []acked) []acked {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := s.waiting
	s.waiting = spare[:0]
	return group
}

// run brings one group after another to the disk, until close.
func (s *syncer) run() {
	defer close(s.ended)
	files := &blockFiles{dir: s.f.log.embedded.streamDir(s.f.stream), root: s.f.log.opts.Dir, fsync: s.fsync}
	defer files.close()
	var spare []acked
	var lately gathering
	for range s.wake {
		s.gather(&lately)
		group := s.take(spare)
		lately.begin(len(s.slots))
		s.settle(group, s.bring(files))
		lately.end()
		clear(group)
		spare = group
	}
}

// gathering decides how long a group waits for more. Callers that append one
// commit after another fall into two halves, of which one appends while the
// other's fsync runs. Where the disk is the slower one, it is better to wait
// for the rest, and to have one fsync for all: so a group waits until it is
// as large as what was under way lately, and no longer than an fsync takes,
// which at most doubles what a caller waits.
type gathering struct {
	peak  int           // Synced appends under way, lately
	took  time.Duration // the last fsync
	begun time.Time
}

func (g *gathering) begin(underWay int) {
	g.begun, g.peak = time.Now(), max(underWay, g.peak*7/8)
}

func (g *gathering) end() { g.took = time.Since(g.begun) }

// gather waits as lately says.
func (s *syncer) gather(lately *gathering) {
	s.mu.Lock()
	if len(s.waiting) >= lately.peak || s.closed || s.poison != nil {
		s.mu.Unlock()
		return
	}
	s.enough = lately.peak
	s.mu.Unlock()
	late := time.NewTimer(min(lately.took, maxGather))
	defer late.Stop()
	select {
	case <-s.full:
	case <-late.C:
	case <-s.f.closing:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enough = 0
	select {
	case <-s.full: // came at the same moment
	default:
	}
}

// maxGather bounds the waiting on a disk that hangs.
const maxGather = 5 * time.Millisecond

// bring syncs the files. The first error is final: the kernel reports a page
// that it couldn't write once, and takes it for written from then on, so that
// a later fsync that succeeds would prove nothing.
func (s *syncer) bring(files *blockFiles) error {
	if err := s.failure(); err != nil {
		return err
	}
	err := files.sync()
	if err == nil {
		s.groups.Add(1)
		return nil
	}
	s.f.log.opts.Logger.Error().Err(err).Str("feed", s.f.name).Msg("eventlog: the log can't be synced")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poison = err
	return err
}

func (s *syncer) settle(group []acked, err error) {
	if err == nil {
		s.mu.Lock()
		for _, a := range group {
			s.synced = max(s.synced, a.pos.Seq)
		}
		s.mu.Unlock()
	}
	for _, a := range group {
		switch {
		case a.p == nil:
			a.done <- err
			continue
		case err != nil:
			s.release(a.p)
			a.p.complete(Position{}, s.notSynced(a, err, poisoned))
		default:
			s.release(a.p)
			a.p.complete(a.pos, nil)
		}
	}
}

// close waits until what was acknowledged is on the disk. The writer must be
// closed before.
func (s *syncer) close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.mu.Unlock()
	s.begin.Do(func() { close(s.ended) })
	close(s.wake)
	<-s.ended
}

package projection

import (
	"context"
	"time"
)

const (
	// lockRun is how many commits are applied under one lock at most: enough
	// to make its cost vanish, few enough for readers not to wait.
	lockRun = 256
	// parallelRun is the same where rows are handled in parallel: all
	// partitions wait for the fullest at the end of a run, so a longer one
	// wastes less.
	parallelRun = 1024
	// runTime is how long a run should take at most: slow handlers get
	// shorter ones.
	runTime = 5 * time.Millisecond
)

// pace is how long a unit's commits take, of which the length of runs follows.
type pace struct {
	each  time.Duration // a commit, of late
	spent time.Duration // in the last run
}

// run is how many commits to apply under one lock, of at most so many.
func (p *pace) run(most int) int {
	if p.each <= 0 {
		return min(most, 16) // the first ones tell
	}
	return max(1, min(most, int(runTime/p.each)))
}

func (p *pace) took(n int, d time.Duration) { p.each, p.spent = d/time.Duration(n), d }

// apply applies a batch to every node that reads the feed. Positions move to
// where it was read, which may be a marker behind the last commit: the unit
// has to reach the head of a log that ends in one.
func (u *unit) apply(ctx context.Context, a arrival) {
	feed, batch := a.feed, a.batch
	for i := range batch {
		u.saver.events += uint64(batch[i].Len())
		u.saver.bytes += uint64(batch[i].Size())
	}
	groups := u.stepped[:0]
	most := lockRun
	for _, g := range u.groups {
		if g.begin(feed) {
			groups = append(groups, g)
			most = max(most, g.runLength())
		}
	}
	u.stepped = groups
	for rest := batch; len(rest) > 0; {
		run := rest[:min(u.pace.run(most), len(rest))]
		rest = rest[len(run):]
		u.turns.await(ctx, u)
		begun := time.Now()
		u.work.begin(u.feeds[feed], run, begun)
		u.lockAll()
		for _, g := range groups {
			g.run(u, u.feeds[feed], run)
		}
		u.atHand(feed, rest) // before who waits is woken
		u.moved(feed, 0)
		u.unlockAll()
		u.work.end()
		u.pace.took(len(run), time.Since(begun))
		u.notify()
	}
	u.moved(feed, a.at)
	u.cursor[feed], u.prints[feed] = a.at, a.print
	u.notify()
	u.tellStopped()
	u.tellParked()
	u.checkCaught()
}

// lockAll locks the tables of the unit, in their order, so that whoever reads
// several of them sees one moment.
func (u *unit) lockAll() {
	for _, n := range u.nodes {
		n.state.lock()
	}
}

func (u *unit) unlockAll() {
	for _, n := range u.nodes {
		n.state.unlock()
	}
}

// moved makes known where the nodes stand, which went on to at least seq.
func (u *unit) moved(feed string, seq uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wakeLocked()
	for _, n := range u.nodes {
		s := &n.step
		if s.stop != nil && n.stopped == nil {
			n.stopped = s.stop
		}
		n.applied += s.applied
		s.applied = 0
		if n.feeds[feed] == nil || (s.off && s.stop == nil) {
			if n.dormant {
				n.follow()
			}
			continue
		}
		n.pos[feed] = s.at
		if !s.off {
			n.pos[feed] = max(s.at, seq)
		}
	}
}

// tellStopped tells of the nodes that have stopped since the last batch.
func (u *unit) tellStopped() {
	for _, n := range u.nodes {
		if s := n.step.stop; s != nil {
			n.step.stop = nil
			if s.Err == ErrClosed { // it waited for a retry; see group.again
				continue
			}
			u.tell(s)
		}
	}
}

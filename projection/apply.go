package projection

// lockRun is how many commits are applied under one lock: enough to make its
// cost vanish, few enough for readers not to wait.
const lockRun = 256

// apply applies a batch to every node that reads the feed. Positions move to
// where it was read, which may be a marker behind the last commit: the unit
// has to reach the head of a log that ends in one.
func (u *unit) apply(a arrival) {
	feed, batch := a.feed, a.batch
	for i := range batch {
		u.saver.events += uint64(batch[i].Len())
		u.saver.bytes += uint64(batch[i].Size())
	}
	var groups []*group
	for _, g := range u.groups {
		if g.begin(feed) {
			groups = append(groups, g)
		}
	}
	for rest := batch; len(rest) > 0; {
		run := rest[:min(lockRun, len(rest))]
		rest = rest[len(run):]
		u.lockAll()
		for _, g := range groups {
			g.run(u, u.feeds[feed], run)
		}
		u.moved(feed, 0)
		u.unlockAll()
	}
	u.moved(feed, a.at)
	u.cursor[feed], u.prints[feed] = a.at, a.print
	u.mu.Lock()
	u.wakeLocked()
	u.mu.Unlock()
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
	for _, n := range u.nodes {
		s := &n.step
		if s.stop != nil && n.stopped == nil {
			n.stopped = s.stop
		}
		n.applied += s.applied
		s.applied = 0
		if n.feeds[feed] == nil || (s.off && s.stop == nil) {
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

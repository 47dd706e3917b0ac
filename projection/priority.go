package projection

import (
	"context"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Priority says how important it is that a table keeps up (default 0; more is
// more important). While a projection with a higher priority has a backlog,
// those with a lower one get a twentieth of the time, so that they don't stand
// still; where nothing more important waits, all have the same. Tables that
// share a unit go together, by the highest of their priorities.
func Priority(p int) TableOption { return tableOption(func(n *node) { n.priority = p }) }

const (
	// lesserShare: a lesser unit waits this many times as long as it then runs.
	lesserShare = 19
	// longestTurn bounds that wait.
	longestTurn = time.Second
	// backlogBatch is the length of a batch from which on more is expected to
	// follow; backlogRest, how long it is waited for.
	backlogBatch = 128
	backlogRest  = 20 * time.Millisecond
)

// turns lets the more important units go first. A unit never waits for one
// that is as important or less so, nor for ever for one that is more so:
// whatever holds that one up, a View or a handler, holds up no other.
type turns struct {
	mu   sync.Mutex
	busy map[*unit]time.Time // until when it counts as such
	wake chan struct{}       // closed and replaced when one isn't busy any more
}

// newTurns is nil where all units have the same priority.
func newTurns(units []*unit) *turns {
	for _, u := range units {
		if u.priority != units[0].priority {
			return &turns{busy: make(map[*unit]time.Time), wake: make(chan struct{})}
		}
	}
	return nil
}

// begin says that a unit has something to do.
func (t *turns) begin(u *unit) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy[u] = time.Now().Add(time.Hour)
}

// end says that it is done; with backlog, that more follows in a moment.
func (t *turns) end(u *unit, backlog bool) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if backlog {
		t.busy[u] = time.Now().Add(backlogRest)
		return
	}
	delete(t.busy, u)
	close(t.wake)
	t.wake = make(chan struct{})
}

// await waits until it is the unit's turn.
func (t *turns) await(ctx context.Context, u *unit) {
	if t == nil {
		return
	}
	latest := time.Now().Add(min(longestTurn, lesserShare*max(u.pace.spent, time.Millisecond)))
	for {
		until, wake := t.before(u)
		wait := min(time.Until(until), time.Until(latest))
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// before is until when units that are more important are busy, as far as that
// is known, and what tells when one ends sooner.
func (t *turns) before(u *unit) (until time.Time, wake <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for v, at := range t.busy {
		if v.priority > u.priority && at.After(until) {
			until = at
		}
	}
	return until, t.wake
}

// atHand notes what of a feed was read and isn't applied.
func (u *unit) atHand(feed string, rest []eventlog.Commit) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(rest) == 0 {
		delete(u.oldest, feed)
		return
	}
	u.oldest[feed] = rest[0].Time
}

// lagTime is the age of the oldest commit at hand; u.mu is held.
func (u *unit) lagTime(n *node) (lag time.Duration) {
	for feed, at := range u.oldest {
		if n.feeds[feed] != nil {
			lag = max(lag, time.Since(at))
		}
	}
	return lag
}

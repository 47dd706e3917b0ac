package projection

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/causal"
	"github.com/tidemark-es/tidemark/timeframe"
)

// holding keeps back what may not be applied yet: a commit whose writer had
// seen more (Draft.Seen) than the unit has applied, and what follows it in its
// feed. What is held stays in the batch that its reader lends, so it costs no
// memory; the other feeds go on.
//
// A unit of one feed has no gate: there everything is in order by itself.
type holding struct {
	u     *unit
	gate  *causal.Gate
	hands map[string]*hand // by feed; at most one batch of each
	timer *time.Timer      // of the next stall to be told of
	// upTo: reading ends there, so what commits name beyond counts as seen.
	// nil: it goes on.
	upTo map[string]uint64
}

// hand is a batch that isn't applied to its end.
type hand struct {
	arrival
	next int // commit of the batch that comes next

	seen  timeframe.Timeframe // of that one, where it waits
	since time.Time           // it waits; zero where it doesn't
	told  bool                // of the stall
}

// waiting is a held commit, as a status shows it.
type waiting struct {
	eventlog.Stall
	since time.Time
}

func newHolding(u *unit, upTo map[string]uint64) *holding {
	h := &holding{u: u, hands: make(map[string]*hand), timer: time.NewTimer(time.Hour), upTo: upTo}
	h.timer.Stop()
	if len(u.feeds) > 1 {
		h.gate = causal.New(u.cursor) // which has all feeds
	}
	u.mu.Lock()
	u.held, u.stalled = nil, make(map[string]bool)
	u.mu.Unlock()
	return h
}

// take applies what it can of an arrival, and of what that releases.
func (h *holding) take(ctx context.Context, a arrival) {
	u := h.u
	h.hands[a.feed] = &hand{arrival: a}
	u.atHand(a.feed, a.batch)
	u.turns.begin(u)
	h.resume(ctx)
	u.turns.end(u, len(a.batch) >= backlogBatch)
}

// resume applies what may be applied by now.
func (h *holding) resume(ctx context.Context) {
	for again := true; again && ctx.Err() == nil; {
		again = false
		before := h.moves()
		for _, feed := range slices.Sorted(maps.Keys(h.hands)) {
			again = h.step(ctx, h.hands[feed]) || again
		}
		// A feed that can't go on itself may have come to what another, that
		// was asked before it, waits for: the markers before its next commit.
		again = again || h.moves() != before || h.cut()
	}
	h.note()
}

// moves changes when what is held may be admitted.
func (h *holding) moves() uint64 {
	if h.gate == nil {
		return 0
	}
	return h.gate.Moves()
}

// cut lets go what waits in a circle where reading has an end: what a snapshot
// includes was applied once before.
func (h *holding) cut() bool {
	if h.gate == nil || h.upTo == nil {
		return false
	}
	for _, w := range h.gate.Held() {
		if hd := h.hands[w.Feed]; w.Cycle && hd != nil {
			hd.seen = timeframe.Timeframe{}
			return true
		}
	}
	return false
}

// step applies the next commits of a feed that may be applied, and says
// whether it came further.
func (h *holding) step(ctx context.Context, hd *hand) bool {
	end, err := h.admitted(hd)
	part := hd.arrival
	if end < len(hd.batch) {
		if end == hd.next && err == nil {
			return false
		}
		part.at, part.print = h.u.cursor[hd.feed], h.u.prints[hd.feed]
		if end > hd.next {
			c := &hd.batch[end-1]
			part.at, part.print = c.Seq, c.Fingerprint()
		}
	}
	part.batch = hd.batch[hd.next:end]
	h.u.apply(ctx, part)
	if err != nil { // what the commit waits for can't be read
		h.u.stopAll(hd.feed, err)
		end, part.at, part.print = len(hd.batch), hd.at, hd.print
		h.u.cursor[hd.feed], h.u.prints[hd.feed] = part.at, part.print
	}
	if h.gate != nil {
		h.gate.Advance(hd.feed, part.at)
	}
	h.u.atHand(hd.feed, hd.batch[end:])
	if hd.next = end; end == len(hd.batch) {
		delete(h.hands, hd.feed)
		hd.taken <- struct{}{} // it has room for it
	}
	return true
}

// admitted is the end of what may be applied of a batch now.
func (h *holding) admitted(hd *hand) (end int, err error) {
	if h.gate == nil {
		return len(hd.batch), nil
	}
	for end = hd.next; end < len(hd.batch); end++ {
		c := &hd.batch[end]
		fresh := hd.since.IsZero() || end > hd.next
		if fresh {
			if hd.seen, err = c.Seen(); err != nil {
				return end, err
			}
		}
		if !h.gate.Admit(hd.feed, c.Seq, h.reachable(hd.seen)) {
			if fresh {
				hd.since, hd.told = time.Now(), false
			}
			return end, nil
		}
	}
	hd.since = time.Time{}
	return end, nil
}

// reachable is what of a timeframe will be read.
func (h *holding) reachable(seen timeframe.Timeframe) timeframe.Timeframe {
	if h.upTo == nil || seen.IsEmpty() {
		return seen
	}
	m := make(map[string]uint64)
	for feed, seq := range seen.All() {
		m[feed] = min(seq, h.upTo[feed])
	}
	return timeframeOf(m)
}

// note makes known what waits, tells of what has waited for long enough, and
// sets the timer for the rest.
func (h *holding) note() {
	if h.gate == nil {
		return
	}
	h.timer.Stop()
	var held []waiting
	var tell []eventlog.Stall
	var next time.Duration
	after := h.u.rt.cfg.StallAfter
	stalled := make(map[string]bool)
	for _, w := range h.gate.Held() {
		hd := h.hands[w.Feed]
		if hd == nil || hd.since.IsZero() {
			continue
		}
		s := eventlog.Stall{Position: eventlog.Position{Feed: w.Feed, Seq: w.Seq}, Missing: w.Missing, Cycle: w.Cycle, For: time.Since(hd.since)}
		held = append(held, waiting{s, hd.since})
		switch {
		case hd.told:
		case s.Cycle || s.For >= after:
			hd.told = true
			tell = append(tell, s)
		case next == 0 || after-s.For < next:
			next = after - s.For
		}
		stalled[w.Feed] = hd.told
	}
	if next > 0 {
		h.timer.Reset(next)
	}
	h.u.mu.Lock()
	h.u.held, h.u.stalled = held, stalled
	h.u.mu.Unlock()
	for _, s := range tell {
		h.u.tellStall(s)
	}
	if len(tell) > 0 {
		h.u.checkCaught()
	}
}

// tellStall tells of a commit that has waited for long.
func (u *unit) tellStall(s eventlog.Stall) {
	u.rt.cfg.Logger.Warn().Str("unit", u.name).Str("position", s.Position.String()).Msg("projection: causal order stalled: " + s.String())
	if f := u.rt.cfg.Stalled; f != nil {
		u.hook("Stalled", func() { f(s) })
	}
}

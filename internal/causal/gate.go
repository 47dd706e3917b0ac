// Package causal decides, for one reader of several feeds, which event has to
// wait for which other: an event that names the timeframe that its writer had
// seen is held until the reader's own covers it. Only the feed that it stands
// in waits; the others go on.
//
// It is a state machine without clock, lock or goroutine. Merging readers and
// projections share it.
package causal

import (
	"maps"
	"slices"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Gate is the state of one reader: where it is in each feed, and which feeds
// it holds at what event. At most one event per feed is held, the next one of
// that feed, so its size follows the number of feeds.
type Gate struct {
	at    map[string]uint64
	held  map[string]hold
	moves uint64
}

// hold is the next event of a feed, which waits.
type hold struct {
	seq  uint64
	need timeframe.Timeframe
}

// New makes the gate of a reader of these feeds, which has read each up to and
// with the sequence.
func New(at map[string]uint64) *Gate {
	return &Gate{at: maps.Clone(at), held: make(map[string]hold)}
}

// At is how far a feed was read.
func (g *Gate) At(feed string) uint64 { return g.at[feed] }

// Moves counts how often the reader came further in a feed. What was held
// before the last move may be admitted now: whoever offers the feeds' next
// events in turn goes round again while this changes, Admit's own moves
// included.
func (g *Gate) Moves() uint64 { return g.moves }

func (g *Gate) move(feed string, upto uint64) {
	if g.at[feed] < upto {
		g.at[feed] = upto
		g.moves++
	}
}

// Foreign lists the feeds in a timeframe that the reader doesn't read: it will
// never cover it.
func (g *Gate) Foreign(seen timeframe.Timeframe) (feeds []string) {
	for feed := range seen.All() {
		if _, ok := g.at[feed]; !ok {
			feeds = append(feeds, feed)
		}
	}
	return feeds
}

// Admit says whether the event at seq, the next one of the feed, may be read
// now, given what its writer had seen. If not, the feed is held at it until
// Admit is asked again and agrees, which it can only after an Advance. Feeds
// that aren't the reader's count as covered.
//
// That the event is the next one says that all before it was read, even where
// the last of that were markers. An event that names itself, or a later one of
// its feed, waits for ever.
func (g *Gate) Admit(feed string, seq uint64, seen timeframe.Timeframe) bool {
	g.move(feed, seq-1)
	if seen.IsEmpty() || g.missing(seen).IsEmpty() {
		delete(g.held, feed)
		return true
	}
	g.held[feed] = hold{seq, seen}
	return false
}

// Advance notes that a feed was read up to and with the sequence. What was
// held before it there isn't any more.
func (g *Gate) Advance(feed string, seq uint64) {
	g.move(feed, seq)
	if h, ok := g.held[feed]; ok && h.seq <= g.at[feed] {
		delete(g.held, feed)
	}
}

// missing is what of a timeframe isn't read yet.
func (g *Gate) missing(seen timeframe.Timeframe) timeframe.Timeframe {
	var entries []timeframe.Entry
	for feed, n := range seen.All() {
		if at, ok := g.at[feed]; ok && at < n {
			entries = append(entries, timeframe.Entry{Feed: feed, Seq: n})
		}
	}
	missing, _ := timeframe.Of(entries...) // of one timeframe, so valid and distinct
	return missing
}

// Held is an event that waits.
type Held struct {
	Feed    string
	Seq     uint64
	Missing timeframe.Timeframe // what it waits for; never empty
	// Cycle: it waits for itself, or for events behind held ones which wait
	// for it in turn. No event that is still to come releases it.
	Cycle bool
}

// Held lists what waits, by feed. Events whose last missing one has been read
// since they were offered aren't in it.
func (g *Gate) Held() (list []Held) {
	for _, feed := range slices.Sorted(maps.Keys(g.held)) {
		h := g.held[feed]
		if m := g.missing(h.need); !m.IsEmpty() {
			list = append(list, Held{Feed: feed, Seq: h.seq, Missing: m, Cycle: g.waitsForItself(feed)})
		}
	}
	return list
}

// waitsForItself follows what a held feed waits for, from held feed to held
// feed, and says whether that leads back. It waits for another held feed where
// what it misses there is the held event or behind it, which is always so,
// since all before it was read.
func (g *Gate) waitsForItself(start string) bool {
	seen := make(map[string]bool)
	var leads func(feed string) bool
	leads = func(feed string) bool {
		h, ok := g.held[feed]
		if !ok || seen[feed] {
			return false
		}
		seen[feed] = true
		for next := range g.missing(h.need).All() {
			if next == start || leads(next) {
				return true
			}
		}
		return false
	}
	return leads(start)
}

package timeframe

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// Timeframe is an immutable vector: feed -> last included sequence (inclusive).
//
// The zero value is the empty timeframe, which holds no feed. A feed that is
// absent is below one that stands at 0: {a=0} says that feed a is known and
// nothing of it is included, and is strictly above the empty timeframe.
//
// A Timeframe is a small value (one slice header): pass and copy it freely. No
// method changes what a copy holds, so any number of goroutines may use it,
// with one exception: the Unmarshal methods assign to their receiver.
//
// Timeframes are compared with [Timeframe.Equal], never with ==.
type Timeframe struct {
	// entries is sorted by feed without duplicates, every name is valid, and it
	// is nil where empty. It is shared between copies and never written to
	// after construction. A slice beats a map here: applications have a handful
	// of feeds, and a copy is one allocation of a few cache lines.
	entries []Entry
}

// Entry is one feed's place in a timeframe.
type Entry struct {
	Feed string // as ValidName allows
	Seq  uint64 // last included sequence; 0 where nothing of the feed is included
}

// DuplicateError says that a feed was given more than once.
type DuplicateError struct {
	Feed string
}

// Error names the feed.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("feed %q is given more than once", e.Feed)
}

// Of returns the timeframe of the entries, which may come in any order and are
// copied. The error is a *[NameError] or a *[DuplicateError]; it comes with the
// empty timeframe.
func Of(entries ...Entry) (Timeframe, error) {
	if len(entries) == 0 {
		return Timeframe{}, nil
	}
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, byFeed)
	for i, e := range sorted {
		if err := ValidName(e.Feed); err != nil {
			return Timeframe{}, err
		}
		if i > 0 && sorted[i-1].Feed == e.Feed {
			return Timeframe{}, &DuplicateError{Feed: e.Feed}
		}
	}
	return Timeframe{entries: sorted}, nil
}

// FromMap returns the timeframe with the entries of m, which it doesn't keep.
// The error is a *[NameError].
func FromMap(m map[string]uint64) (Timeframe, error) {
	entries := make([]Entry, 0, len(m))
	for feed, seq := range m {
		entries = append(entries, Entry{Feed: feed, Seq: seq})
	}
	return Of(entries...)
}

// Get returns the last included sequence of the feed. ok is false, and seq 0,
// where the feed is absent.
func (t Timeframe) Get(feed string) (seq uint64, ok bool) {
	i, ok := t.find(feed)
	if !ok {
		return 0, false
	}
	return t.entries[i].Seq, true
}

// Len returns the number of feeds.
func (t Timeframe) Len() int { return len(t.entries) }

// IsEmpty reports whether t holds no feed. {a=0} isn't empty.
func (t Timeframe) IsEmpty() bool { return len(t.entries) == 0 }

// All yields every feed and its last included sequence, in the feeds' order.
func (t Timeframe) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for _, e := range t.entries {
			if !yield(e.Feed, e.Seq) {
				return
			}
		}
	}
}

// Map returns a new map with t's entries; it is empty, not nil, where t is.
func (t Timeframe) Map() map[string]uint64 {
	m := make(map[string]uint64, len(t.entries))
	for _, e := range t.entries {
		m[e.Feed] = e.Seq
	}
	return m
}

// find returns where the feed stands in entries, or would be inserted.
func (t Timeframe) find(feed string) (int, bool) {
	return slices.BinarySearchFunc(t.entries, feed, func(e Entry, feed string) int {
		return cmp.Compare(e.Feed, feed)
	})
}

func byFeed(a, b Entry) int { return cmp.Compare(a.Feed, b.Feed) }

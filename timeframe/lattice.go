package timeframe

import "slices"

// Ordering is how two timeframes relate. The first three values are those of
// [cmp.Compare]; the fourth exists because the order is partial.
type Ordering int8

// What [Timeframe.Compare] answers about t and o.
const (
	Equal      Ordering = 0  // t and o hold the same
	Before     Ordering = -1 // o covers t, and holds more
	After      Ordering = 1  // t covers o, and holds more
	Concurrent Ordering = 2  // each holds something that the other doesn't
)

// String returns the name of the constant in lower case.
func (o Ordering) String() string {
	switch o {
	case Equal:
		return "equal"
	case Before:
		return "before"
	case After:
		return "after"
	case Concurrent:
		return "concurrent"
	}
	return "unknown"
}

// Covers reports whether t includes all that o includes: every feed of o is in
// t, at the same sequence or beyond it. Every timeframe covers the empty one.
// It allocates nothing: waiters ask it for each advance.
func (t Timeframe) Covers(o Timeframe) bool {
	if len(o.entries) > len(t.entries) {
		return false
	}
	i := 0
	for _, need := range o.entries {
		for i < len(t.entries) && t.entries[i].Feed < need.Feed {
			i++
		}
		if i == len(t.entries) || t.entries[i].Feed != need.Feed || t.entries[i].Seq < need.Seq {
			return false
		}
		i++
	}
	return true
}

// Equal reports whether t and o hold the same feeds at the same sequences.
func (t Timeframe) Equal(o Timeframe) bool { return slices.Equal(t.entries, o.entries) }

// Compare says how t relates to o. It is a partial order: [Concurrent] is
// neither before nor after.
func (t Timeframe) Compare(o Timeframe) Ordering {
	switch above, below := t.Covers(o), o.Covers(t); {
	case above && below:
		return Equal
	case above:
		return After
	case below:
		return Before
	}
	return Concurrent
}

// Merge returns the least timeframe that covers both: the feeds of either, each
// at the greater sequence.
func Merge(a, b Timeframe) Timeframe {
	if a.Covers(b) { // the common case when one follows the other: nothing to build
		return a
	}
	if b.Covers(a) {
		return b
	}
	x, y := a.entries, b.entries
	merged := make([]Entry, 0, max(len(x), len(y))+1)
	for len(x) > 0 && len(y) > 0 {
		switch c := byFeed(x[0], y[0]); {
		case c < 0:
			merged, x = append(merged, x[0]), x[1:]
		case c > 0:
			merged, y = append(merged, y[0]), y[1:]
		default:
			merged = append(merged, Entry{Feed: x[0].Feed, Seq: max(x[0].Seq, y[0].Seq)})
			x, y = x[1:], y[1:]
		}
	}
	merged = append(append(merged, x...), y...)
	return Timeframe{entries: merged}
}

// Meet returns the greatest timeframe that both cover: the feeds that both
// hold, each at the lesser sequence. It is how far a trim may go that several
// dependents have to allow.
func Meet(a, b Timeframe) Timeframe {
	if a.Covers(b) {
		return b
	}
	if b.Covers(a) {
		return a
	}
	var met []Entry
	for x, y := a.entries, b.entries; len(x) > 0 && len(y) > 0; {
		switch c := byFeed(x[0], y[0]); {
		case c < 0:
			x = x[1:]
		case c > 0:
			y = y[1:]
		default:
			met = append(met, Entry{Feed: x[0].Feed, Seq: min(x[0].Seq, y[0].Seq)})
			x, y = x[1:], y[1:]
		}
	}
	return Timeframe{entries: met}
}

// Missing returns the entries of need that t doesn't cover, at need's
// sequences: what has to arrive before t covers need. It is empty exactly when
// t.Covers(need).
func (t Timeframe) Missing(need Timeframe) Timeframe {
	var missing []Entry
	for _, n := range need.entries {
		if seq, ok := t.Get(n.Feed); !ok || seq < n.Seq {
			missing = append(missing, n)
		}
	}
	return Timeframe{entries: missing}
}

package timeframe

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Tag is what a snapshot is tagged with: what it includes, and of which logs.
// It is a plain value; treat its map as immutable once the tag is passed on.
type Tag struct {
	// At is what the state includes: last included sequences. A feed that is
	// absent is read from its beginning.
	At Timeframe
	// Lineages holds, per feed of At, the log that it came from. A feed at 0
	// may go without.
	Lineages map[string]Lineage
}

// Validate reports, joined, everything that keeps the tag from proving where
// its state belongs: a feed of At beyond 0 whose newest anchor isn't at exactly
// that sequence, anchors that don't descend or lie at 0, anchors of a feed at 0,
// an incarnation of more than [MaxIncarnation] bytes, and lineages of feeds that
// aren't in At. A feed at 0 includes no message, so it needs no lineage.
func (t Tag) Validate() error {
	var problems []error
	for feed, seq := range t.At.All() {
		if err := t.Lineages[feed].validate(seq); err != nil {
			problems = append(problems, fmt.Errorf("feed %q at %d: %w", feed, seq, err))
		}
	}
	for _, feed := range slices.Sorted(maps.Keys(t.Lineages)) {
		if _, ok := t.At.Get(feed); !ok {
			problems = append(problems, fmt.Errorf("feed %q has a lineage and isn't in the timeframe", feed))
		}
	}
	return errors.Join(problems...)
}

// validate checks the lineage of a feed of which the state includes seq.
func (l Lineage) validate(seq uint64) error {
	if len(l.Incarnation) > MaxIncarnation {
		return fmt.Errorf("the incarnation has %d bytes, and %d are allowed", len(l.Incarnation), MaxIncarnation)
	}
	if len(l.Anchors) == 0 {
		if seq > 0 {
			return errors.New("no anchor says which log this is")
		}
		return nil
	}
	if newest := l.Anchors[0].Seq; newest != seq {
		return fmt.Errorf("the newest anchor is at %d", newest)
	}
	for i, a := range l.Anchors {
		if a.Seq == 0 {
			return errors.New("an anchor is at 0, where no message is")
		}
		if i > 0 && a.Seq >= l.Anchors[i-1].Seq {
			return fmt.Errorf("anchor %d doesn't lie before anchor %d", a.Seq, l.Anchors[i-1].Seq)
		}
	}
	return nil
}

// Equal reports whether both say the same. A nil map or slice equals an empty one.
func (t Tag) Equal(o Tag) bool {
	return t.At.Equal(o.At) && maps.EqualFunc(t.Lineages, o.Lineages, Lineage.Equal)
}

// Equal reports whether both say the same.
func (l Lineage) Equal(o Lineage) bool {
	return l.Incarnation == o.Incarnation && slices.Equal(l.Anchors, o.Anchors)
}

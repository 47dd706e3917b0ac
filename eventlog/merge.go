package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrStalled: an event waits for others that don't come.
var ErrStalled = errors.New("causal order stalled")

// Stall is an event that waits because its writer had seen more (Draft.Seen)
// than its reader has read.
type Stall struct {
	Position Position            // of the event's commit
	Missing  timeframe.Timeframe // what it waits for, of the feeds that are read
	// Foreign are feeds that it names and that aren't read.
	Foreign []string
	// Cycle: what it waits for waits for it in turn, so nothing that is still
	// to come releases it.
	Cycle bool
	For   time.Duration // how long it has been waiting
}

// String says who waits for what.
func (s Stall) String() string {
	switch {
	case len(s.Foreign) > 0:
		return fmt.Sprintf("%s was written by somebody who had seen feed %s, which isn't read here", s.Position, strings.Join(s.Foreign, ", "))
	case s.Cycle:
		return fmt.Sprintf("%s waits for %s, which waits for it in turn", s.Position, s.Missing)
	}
	return fmt.Sprintf("%s waits for %s since %v", s.Position, s.Missing, s.For.Round(time.Millisecond))
}

// StallError is an ErrStalled, with all that waits.
type StallError struct{ Stalls []Stall }

func (e *StallError) Error() string {
	says := make([]string, len(e.Stalls))
	for i, s := range e.Stalls {
		says[i] = s.String()
	}
	return fmt.Sprintf("eventlog: %v: %s", ErrStalled, strings.Join(says, "; "))
}

func (e *StallError) Unwrap() error { return ErrStalled }

// MergeOptions say how feeds are merged; the zero value reads what is there
// now, from the start.
type MergeOptions struct {
	// After is where reading starts in each feed, behind that sequence; a feed
	// that is absent is read from its start.
	After timeframe.Timeframe
	// Follow goes on with what is appended later, until the context ends.
	// Without it the merge ends behind what the feeds hold when it begins, and
	// what those events name.
	Follow bool
	// AllowTrimmed is that of reading.
	AllowTrimmed bool
	// StallAfter is how long an event waits before it is reported (default
	// 10 s).
	StallAfter time.Duration
	// Stalled is told of an event that has waited for StallAfter, and at once
	// of a Cycle or of a Foreign feed; once for each event. It is called by the
	// goroutine that iterates. The merge then goes on: the event waits, or with
	// Foreign alone is read as if it didn't name these. Without Stalled the
	// merge ends with a StallError instead.
	Stalled func(Stall)
}

// Merge yields the events of several feeds to one reader. An event whose
// writer has said what it had seen (Draft.Seen) comes when all of that has
// come; its feed waits for it, and the others go on. Beyond that each feed
// keeps its own order, and nothing is promised across feeds: which one goes
// first is chance.
//
// A held feed costs no more memory than one that is read slowly. An error is
// the last step, as for Feed.Read; an event is valid until the next step.
//
// Errors: those of Feed.Read, ErrStalled, and ErrInvalid (no feed, or one
// twice).
func Merge(ctx context.Context, opts MergeOptions, feeds ...*Feed) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for c, err := range MergeCommits(ctx, opts, feeds...) {
			if err != nil {
				yield(Event{}, err)
				return
			}
			for i := range c.Len() {
				if !yield(c.Event(i), nil) {
					return
				}
			}
		}
	}
}

// MergeCommits is Merge by whole commits.
func MergeCommits(ctx context.Context, opts MergeOptions, feeds ...*Feed) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		m, err := newMerger(ctx, opts, feeds)
		if err != nil {
			yield(nil, err)
			return
		}
		defer m.close()
		for {
			c, err := m.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if c == nil || !yield(c, nil) {
				return
			}
			if mangling {
				c.mangle()
			}
		}
	}
}

// Seen is the timeframe that the commit's writer had seen; see Event.Seen.
func (c *Commit) Seen() (timeframe.Timeframe, error) {
	return Event{commit: c, Feed: c.Feed, Seq: c.Seq}.Seen()
}

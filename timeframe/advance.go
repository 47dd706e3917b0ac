package timeframe

import (
	"fmt"
	"slices"
)

// NotAdvancing says that a sequence doesn't lie beyond the one that is already
// included. The event there is a duplicate, or the log was cut back.
type NotAdvancing struct {
	Feed    string
	Current uint64 // what the timeframe includes
	Offered uint64 // what it should have advanced to; <= Current
}

// Error names the feed and both sequences.
func (e *NotAdvancing) Error() string {
	return fmt.Sprintf("feed %q stands at %d and can't advance to %d", e.Feed, e.Current, e.Offered)
}

// Advance returns t with the feed at seq, which must lie strictly beyond what t
// has: the error is a *[NotAdvancing] otherwise. An absent feed may advance to
// any sequence, 0 included. For a feed that t doesn't hold yet the error may
// also be a *[NameError]. With an error, the result is t.
func (t Timeframe) Advance(feed string, seq uint64) (Timeframe, error) {
	i, ok := t.find(feed)
	if ok && seq <= t.entries[i].Seq {
		return t, &NotAdvancing{Feed: feed, Current: t.entries[i].Seq, Offered: seq}
	}
	return t.put(i, ok, feed, seq)
}

// With returns t with the feed at seq, whether that is forward, back or new.
// Where t holds the feed, it never fails; for a new one the error is a
// *[NameError], and the result is t. Names are looked at only when they enter,
// so the call costs one allocation of Len entries.
func (t Timeframe) With(feed string, seq uint64) (Timeframe, error) {
	i, ok := t.find(feed)
	if ok && t.entries[i].Seq == seq {
		return t, nil
	}
	return t.put(i, ok, feed, seq)
}

// Without returns t with the feed absent.
func (t Timeframe) Without(feed string) Timeframe {
	i, ok := t.find(feed)
	if !ok {
		return t
	}
	if len(t.entries) == 1 {
		return Timeframe{}
	}
	return Timeframe{entries: slices.Concat(t.entries[:i], t.entries[i+1:])}
}

// put writes an entry into a copy: at i where the feed is present, before i
// where it is new.
func (t Timeframe) put(i int, present bool, feed string, seq uint64) (Timeframe, error) {
	if present {
		entries := slices.Clone(t.entries)
		entries[i].Seq = seq
		return Timeframe{entries: entries}, nil
	}
	if err := ValidName(feed); err != nil {
		return t, err
	}
	entries := make([]Entry, 0, len(t.entries)+1)
	entries = append(entries, t.entries[:i]...)
	entries = append(entries, Entry{Feed: feed, Seq: seq})
	entries = append(entries, t.entries[i:]...)
	return Timeframe{entries: entries}, nil
}

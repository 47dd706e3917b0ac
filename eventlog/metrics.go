package eventlog

import (
	"errors"
	"sync/atomic"
)

// feedStats counts what a feed's handle did since it was opened.
type feedStats struct {
	commits, events, bytes        atomic.Uint64
	conflicts, ambiguous, refused atomic.Uint64
	retries, read, restarts, bulk atomic.Uint64
	files, short, badMarks        atomic.Uint64
}

// outcome counts what became of a commit.
func (s *feedStats) outcome(pr *prepared, err error) {
	switch {
	case err == nil:
		s.commits.Add(1)
		s.events.Add(uint64(pr.events))
		s.bytes.Add(uint64(len(pr.msg.data)))
	case errors.Is(err, ErrConflict):
		s.conflicts.Add(1)
	case errors.Is(err, ErrAmbiguous):
		s.ambiguous.Add(1)
	default:
		s.refused.Add(1)
	}
}

// Metrics is a snapshot of a feed's counters since it was opened, for an
// exporter to read.
type Metrics struct {
	Feed      string
	Commits   uint64 // appended and acknowledged; one that was sent again is one
	Events    uint64 // in them
	Bytes     uint64 // of their payloads
	Conflicts uint64 // appends refused by their expectation
	Ambiguous uint64 // appends whose outcome stayed unknown
	Refused   uint64 // appends refused for other reasons
	Retries   uint64 // commits sent again
	InFlight  int    // commits and transactions on their way now
	Read      uint64 // commits read, by all readers
	Bulk      uint64 // messages that readers took from backups of the stream, markers too
	Files     uint64 // messages that followers took from the embedded server's block files, for all of this process together; markers too
	Restarts  uint64 // how often a reader had to start its consumer again
	// Marked is how far the log surely goes: what survives is said for it in
	// docs/durability.md. 0 where nothing is known, as of an adopted feed.
	Marked uint64
	// Short is how many messages were missing when the feed was opened: what was
	// acknowledged last before an unclean end and hadn't reached the disk, and
	// what was given up by AcceptLoss.
	Short uint64
	// BadMarks is how often the mark was damaged.
	BadMarks uint64
	// Of an adopted feed, by all readers: messages that no layout is for, and
	// sequences that were gone when reading came to them, before the first one
	// that the stream has, and behind it.
	Foreign, Trimmed, Deleted uint64
	Unknown                   uint64 // events that were left out since their type isn't registered (SkipUnknown), by all readers
}

// Metrics returns the feed's counters.
func (f *Feed) Metrics() Metrics {
	if f.log.nc == nil {
		return Metrics{} // an Offline feed
	}
	s := &f.stats
	m := Metrics{
		Feed: f.name, Commits: s.commits.Load(), Events: s.events.Load(), Bytes: s.bytes.Load(),
		Conflicts: s.conflicts.Load(), Ambiguous: s.ambiguous.Load(), Refused: s.refused.Load(),
		Retries: s.retries.Load(), Read: s.read.Load(), Bulk: s.bulk.Load(), Files: s.files.Load(), Restarts: s.restarts.Load(),
		Marked: f.water.seq.Load(), Short: s.short.Load(), BadMarks: s.badMarks.Load(),
	}
	if f.writer != nil {
		m.InFlight = len(f.writer.slots) + len(f.batches.slots)
	}
	if ev := f.reg.evolution; ev != nil {
		m.Unknown = ev.skipped.Load()
	}
	if a := f.adopted; a != nil {
		m.Foreign, m.Trimmed, m.Deleted = a.foreign.Load(), a.trimmed.Load(), a.deleted.Load()
	}
	return m
}

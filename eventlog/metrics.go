package eventlog

import "sync/atomic"

// feedStats counts what a feed's handle did since it was opened.
type feedStats struct {
	commits, events, bytes        atomic.Uint64
	conflicts, ambiguous, refused atomic.Uint64
	retries, read, restarts       atomic.Uint64
}

// Metrics is a snapshot of a feed's counters since it was opened, for an
// exporter to read.
type Metrics struct {
	Feed      string
	Commits   uint64 // appended and acknowledged
	Events    uint64 // in them
	Bytes     uint64 // of their payloads
	Conflicts uint64 // appends refused by their expectation
	Ambiguous uint64 // appends whose outcome stayed unknown
	Refused   uint64 // appends refused for other reasons
	Retries   uint64 // commits sent again
	InFlight  int    // commits on their way now
	Read      uint64 // commits read, by all readers
	Restarts  uint64 // how often a reader had to start its consumer again
}

// Metrics returns the feed's counters.
func (f *Feed) Metrics() Metrics {
	s := &f.stats
	return Metrics{
		Feed: f.name, Commits: s.commits.Load(), Events: s.events.Load(), Bytes: s.bytes.Load(),
		Conflicts: s.conflicts.Load(), Ambiguous: s.ambiguous.Load(), Refused: s.refused.Load(),
		Retries: s.retries.Load(), InFlight: len(f.writer.slots), Read: s.read.Load(), Restarts: s.restarts.Load(),
	}
}

package snapshot

import (
	"sync"
	"time"
)

// Hooks are told what happens. Each may be nil. They run on the goroutine of
// the call that they report, so a slow one slows that call; they may call the
// store again.
type Hooks struct {
	Saved         func(SaveInfo)
	SaveFailed    func(unit string, err error)
	Compacted     func(CompactInfo)
	CompactFailed func(unit string, err error) // the save before it counts all the same
	Loaded        func(LoadInfo)               // a member was read to its end
	Unusable      func(unit string, c Candidate)
	Swept         func(SweepInfo)
}

// SaveInfo is one successful save, without the compaction that may follow.
type SaveInfo struct {
	Unit     string
	Manifest ID
	Entries  int    // changes written
	Bytes    uint64 // compressed bytes of the new segments
	Took     time.Duration
}

// CompactInfo is one successful compaction of a unit.
type CompactInfo struct {
	Unit     string
	Manifest ID
	Segments int    // how many were merged
	Bytes    uint64 // compressed bytes of the merged segments
	Took     time.Duration
}

// LoadInfo is one member's state, read to its end.
type LoadInfo struct {
	Unit     string
	Member   string
	Manifest ID
	Segments int
	Keys     uint64 // live keys yielded
	Bytes    uint64 // of their keys and values
	Took     time.Duration
}

// withDefaults fills in no-ops once, so that no caller has to ask.
func (h Hooks) withDefaults() Hooks {
	orNothing(&h.Saved)
	orNothing(&h.Compacted)
	orNothing(&h.Loaded)
	orNothing(&h.Swept)
	if h.SaveFailed == nil {
		h.SaveFailed = func(string, error) {}
	}
	if h.CompactFailed == nil {
		h.CompactFailed = func(string, error) {}
	}
	if h.Unusable == nil {
		h.Unusable = func(string, Candidate) {}
	}
	return h
}

func orNothing[T any](f *func(T)) {
	if *f == nil {
		*f = func(T) {}
	}
}

// Stats counts since Open. Durations are sums of wall time.
type Stats struct {
	Saves, SaveErrors          uint64
	EntriesWritten             uint64
	ChunksWritten              uint64
	ChunksSkipped              uint64 // a failed attempt had just written them
	BytesWritten               uint64 // chunks, manifests and heads
	Loads, LoadErrors          uint64 // members read to their end, and not; breaking off counts as neither
	KeysLoaded, BytesLoaded    uint64
	Compactions, CompactErrors uint64
	Sweeps, KeysSwept          uint64

	SaveTime, LoadTime, CompactTime time.Duration
}

// counters is a Stats behind a lock; nothing on a hot path touches it.
type counters struct {
	mu sync.Mutex
	s  Stats
}

func (c *counters) add(f func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

// Stats returns the counters as they are now. It is safe for concurrent use.
func (s *Store) Stats() Stats {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.s
}

package projection

import (
	"maps"
	"slices"
	"sync"
)

// hub keeps a table's latest deltas for its watchers. There is one copy of
// them, however many watch; each watcher is a place in it. What is too old is
// dropped, read or not: so a watcher can neither hold anything up nor make
// memory grow, and one that was overtaken sees that its place is gone.
type hub[K comparable, V any] struct {
	mu      sync.Mutex
	limit   int // changes kept
	kept    int // changes in deltas; <= limit
	deltas  []stepDelta[K, V]
	first   uint64            // number of deltas[0]
	base    map[string]uint64 // where the table stood before deltas[0]; nil: not known
	epoch   uint64            // rises when the rows were replaced as a whole
	watched int               // watchers
	wake    chan struct{}     // closed at news; nil where nobody waits
}

// stepDelta is what one step changed.
type stepDelta[K comparable, V any] struct {
	cause   Cause
	changes []Change[K, V]
}

// defaultHistory is how many changes are kept for who watches.
const defaultHistory = 4096

func (h *hub[K, V]) end() uint64 { return h.first + uint64(len(h.deltas)) }

func (h *hub[K, V]) add(cause Cause, changes []Change[K, V]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deltas = append(h.deltas, stepDelta[K, V]{cause, slices.Clone(changes)})
	h.kept += len(changes)
	for h.kept > h.limit {
		d := &h.deltas[0]
		h.kept -= len(d.changes)
		if h.base != nil {
			h.base[d.cause.Feed] = d.cause.Seq
		}
		*d = stepDelta[K, V]{}
		h.deltas = h.deltas[1:]
		h.first++
	}
}

// forget drops all, where the deltas don't lead to the present rows any more
// or nobody wants them. at is where the table stands.
func (h *hub[K, V]) forget(at map[string]uint64) {
	h.first = h.end()
	h.deltas, h.kept = nil, 0
	h.base = maps.Clone(at)
}

// covers says whether the deltas that are kept lead on from a place to where
// the table stands now.
func (h *hub[K, V]) covers(at, now map[string]uint64) bool {
	if h.base == nil {
		return false
	}
	for f, seq := range at {
		if now[f] < seq {
			return false // of another log, or of a table that was further
		}
	}
	for f, seq := range h.base {
		if at[f] < seq {
			return false
		}
	}
	return true
}

// news returns a channel that is closed when there is something new; h.mu is
// held.
func (h *hub[K, V]) news() <-chan struct{} {
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return h.wake
}

func (h *hub[K, V]) notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

package eventlog

import (
	"container/list"
	"sync"
)

const (
	keyCacheBytes = 32 << 20 // of the histories that a feed keeps in memory
	keyCacheEntry = 4 << 20  // of one key's at most
)

// keyCache keeps the histories of the keys that were read last. A history is
// used only where the leader confirms it: its stream is the one that was
// opened and misses nothing inside, and the key's head is the message that the
// history ends with, or the history's end is still in the log, and what
// follows on it is read. So what the log has lost, or trimmed, or that somebody
// has appended elsewhere, shows as if everything were read anew.
type keyCache struct {
	mu    sync.Mutex
	max   int
	size  int
	byKey map[string]*list.Element // of *keyHistory
	order *list.List               // the one that was used last in front
}

// keyHistory is all of a key's messages up to head.seq, from the log's first one
// on when it was read: the leader has confirmed their number. It never changes.
type keyHistory struct {
	subject string
	head    mark
	first   uint64    // sequence of the key's first message
	n       int       // messages
	holes   holes     // of the stream then: where they are others, messages may be erased
	msgs    []message // nil where they are too many to keep
	size    int
}

func newKeyCache(limit int) *keyCache {
	return &keyCache{max: limit, byKey: make(map[string]*list.Element), order: list.New()}
}

func (c *keyCache) get(subject string) *keyHistory {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[subject]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*keyHistory)
}

func (c *keyCache) put(h *keyHistory) {
	h.size = 256
	for i := range h.msgs {
		h.size += h.msgs[i].size()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(h.subject)
	c.byKey[h.subject] = c.order.PushFront(h)
	c.size += h.size
	for c.size > c.max {
		c.dropLocked(c.order.Back().Value.(*keyHistory).subject)
	}
}

func (c *keyCache) drop(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(subject)
}

func (c *keyCache) dropLocked(subject string) {
	if e := c.byKey[subject]; e != nil {
		c.size -= c.order.Remove(e).(*keyHistory).size
		delete(c.byKey, subject)
	}
}

// cloneMessages copies messages into one piece of memory, where they last.
func cloneMessages(msgs []message) []message {
	n := 0
	for i := range msgs {
		n += len(msgs[i].subject) + len(msgs[i].header) + len(msgs[i].data)
	}
	arena := make([]byte, 0, n)
	keep := func(b []byte) []byte {
		at := len(arena)
		arena = append(arena, b...)
		return arena[at:len(arena):len(arena)]
	}
	text := func(s string) string {
		at := len(arena)
		arena = append(arena, s...)
		return lentString(arena[at:])
	}
	out := make([]message, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		out[i] = message{seq: m.seq, nanos: m.nanos, subject: text(m.subject), header: keep(m.header), data: keep(m.data)}
	}
	return out
}

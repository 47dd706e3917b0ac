package eventlog

import (
	"container/list"
	"context"
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

// keyHistory is all of a key's messages in (from, head.seq]. It never changes.
type keyHistory struct {
	subject string
	from    uint64
	head    mark
	msgs    []message
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
	if h.size > keyCacheEntry {
		c.drop(h.subject)
		return
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

// openKey reads one key's history up to its head, which the leader has just
// told, as the stream's state.
func (f *Feed) openKey(ctx context.Context, after uint64, head message, end uint64, st State) (source, error) {
	// Where something is missing inside, nobody can say what is still there.
	whole := st.Messages == st.Last+1-st.First
	k := &keyReader{f: f, subject: head.subject, after: after, from: after, head: markOf(&head)}
	if have := f.keys.get(k.subject); have != nil && whole && have.from <= after && have.head.seq <= head.seq {
		var err error
		if have.head.seq < head.seq {
			err = f.recognise(ctx, have.head, st)
		} else if have.head != k.head {
			err = errMissed
		}
		if err == nil {
			k.from, k.cached = have.from, have.msgs
			k.got = append(k.got, have.msgs...)
			for len(k.cached) > 0 && k.cached[0].seq <= after {
				k.cached = k.cached[1:]
			}
			after = have.head.seq
		} else {
			f.keys.drop(k.subject)
		}
	}
	// All of it, and nothing of it known.
	if whole && end == head.seq && after < st.First && k.got == nil {
		if msgs := f.keyFromBlocks(ctx, &head, st); msgs != nil {
			k.cached = msgs
			f.keys.put(&keyHistory{subject: k.subject, from: k.from, head: k.head, msgs: msgs})
			after = head.seq
		}
	}
	k.keep = whole && end == head.seq && after < head.seq
	k.rest = f.openStored(after, mark{}, end, k.subject, true)
	return k, nil
}

// keyReader is a source: what is known, and then the rest, which it keeps.
type keyReader struct {
	f       *Feed
	subject string
	after   uint64 // the reader wants what comes behind
	from    uint64
	head    mark
	cached  []message // not yet returned
	rest    source
	keep    bool      // the history is to be kept when it is complete
	got     []message // of it
	size    int
}

func (k *keyReader) next(ctx context.Context) ([]message, error) {
	if msgs := k.cached; len(msgs) > 0 {
		k.cached = nil
		return cloneMessages(msgs), nil
	}
	for {
		msgs, err := k.rest.next(ctx)
		if err != nil || len(msgs) == 0 {
			return nil, err
		}
		if k.keep {
			k.note(msgs)
		}
		for len(msgs) > 0 && msgs[0].seq <= k.after {
			msgs = msgs[1:]
		}
		if len(msgs) > 0 {
			return msgs, nil
		}
	}
}

// note collects the history, and keeps it when it is complete.
func (k *keyReader) note(msgs []message) {
	for _, m := range cloneMessages(msgs) {
		if m.seq <= k.head.seq {
			k.size += m.size()
			k.got = append(k.got, m)
		}
	}
	n := len(k.got)
	if n == 0 || (k.size <= keyCacheEntry && k.got[n-1].seq < k.head.seq) {
		return
	}
	if k.size <= keyCacheEntry && markOf(&k.got[n-1]) == k.head {
		k.f.keys.put(&keyHistory{subject: k.subject, from: k.from, head: k.head, msgs: k.got})
	}
	k.keep, k.got = false, nil
}

func (k *keyReader) close() { k.rest.close() }

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

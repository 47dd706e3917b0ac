package eventlog

import (
	"context"
	"crypto/sha256"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

const (
	maxIdentityKeys = 16 << 10 // keys that the cache remembers
	maxIdentityIDs  = 64 << 10 // IDs of one key; a longer history is read again each time
)

// identityCache remembers which IDs a key's history holds, up to a sequence,
// so that a run of identified appends to one key reads its history once. It
// is a cache of facts that don't change: commits are never altered.
type identityCache struct {
	mu   sync.Mutex
	keys map[string]*keyIDs
}

type keyIDs struct {
	from uint64 // exclusive: what the caller vouched for
	upto uint64 // inclusive: everything in (from, upto] is in ids
	ids  map[[16]byte]uint64
}

func newIdentityCache() *identityCache {
	return &identityCache{keys: make(map[string]*keyIDs)}
}

func idHash(id string) [16]byte {
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:16])
}

func (c *identityCache) find(key, id string) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil {
		return 0, false
	}
	seq, ok := k.ids[idHash(id)]
	return seq, ok
}

// known returns up to where the key's history is known, given that nothing
// up to after matters.
func (c *identityCache) known(key string, after uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil || k.from > after {
		return after
	}
	return max(k.upto, after)
}

// add records a commit that follows directly on the key's commit prev.
func (c *identityCache) add(key, id string, seq, prev uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil || k.upto < prev || seq <= k.upto {
		return
	}
	k.ids[idHash(id)] = seq
	k.upto = seq
	if len(k.ids) > maxIdentityIDs {
		delete(c.keys, key)
	}
}

// extend records what reading (after, upto] of a key's history found.
func (c *identityCache) extend(key string, after, upto uint64, found map[[16]byte]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil || after > k.upto || after < k.from {
		if len(c.keys) >= maxIdentityKeys {
			for old := range c.keys {
				delete(c.keys, old)
				break
			}
		}
		k = &keyIDs{from: after, upto: after, ids: make(map[[16]byte]uint64, len(found))}
		c.keys[key] = k
	}
	for id, seq := range found {
		k.ids[id] = seq
	}
	k.upto = max(k.upto, upto)
}

// refreshIDs brings the cache up to the key's head, as the leader has it,
// and returns the head's sequence (0: no commit).
func (f *Feed) refreshIDs(ctx context.Context, key string, after uint64) (head uint64, err error) {
	subject, err := f.Subject(key)
	if err != nil {
		return 0, err
	}
	m, ok, err := f.get(ctx, getRequest{LastFor: subject})
	if err != nil || !ok {
		if err == nil {
			f.ids.extend(key, after, after, nil)
		}
		return 0, err
	}
	known := f.ids.known(key, after)
	if m.seq <= known {
		if known == after {
			f.ids.extend(key, after, after, nil)
		}
		return m.seq, nil
	}
	found := map[[16]byte]uint64{idHash(m.get(headerID)): m.seq}
	for c, err := range f.Commits(ctx, After(known), OfKey(key), Until(m.seq-1), AllowTrimmed()) {
		if err != nil {
			return 0, err
		}
		found[idHash(c.ID)] = c.Seq
	}
	f.ids.extend(key, known, m.seq, found)
	return m.seq, nil
}

// cloneHeader copies a header and sets the expectation.
func cloneHeader(h nats.Header, expect uint64) nats.Header {
	c := make(nats.Header, len(h)+1)
	for k, v := range h {
		c[k] = v
	}
	c[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(expect, 10)}
	return c
}

package eventlog

import (
	"context"
	"crypto/sha256"
	"sync"
)

// maxIdentityIDs bounds the IDs that the cache holds, of all keys together:
// about 16 MB. One key's history may be longer, while it is in use.
const maxIdentityIDs = 256 << 10

// identityCache remembers which IDs a key's history holds, up to a sequence,
// so that a run of identified appends to one key reads its history once. It
// is a cache of facts that don't change: commits are never altered, and a key
// whose commits are erased is forgotten.
type identityCache struct {
	mu   sync.Mutex
	keys map[string]*keyIDs
	size int // IDs in keys, and one for each key
	max  int
}

type keyIDs struct {
	from uint64 // exclusive: what the caller vouched for
	upto uint64 // inclusive: everything in (from, upto] is in ids
	ids  map[[16]byte]uint64
}

func newIdentityCache() *identityCache {
	return &identityCache{keys: make(map[string]*keyIDs), max: maxIdentityIDs}
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

// look returns up to where the key's history is known, given that nothing up
// to after matters, and where in that history the ID is. It is one step: the
// key may be forgotten right behind it.
func (c *identityCache) look(key, id string, after uint64) (known, seq uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil || k.from > after {
		return after, 0, false
	}
	seq, ok = k.ids[idHash(id)]
	return max(k.upto, after), seq, ok
}

// add records a commit that follows directly on the key's commit prev.
func (c *identityCache) add(key, id string, seq, prev uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil || k.upto < prev || seq <= k.upto {
		return
	}
	c.learn(k, idHash(id), seq)
	k.upto = seq
	c.evict(key)
}

func (c *identityCache) learn(k *keyIDs, id [16]byte, seq uint64) {
	if _, ok := k.ids[id]; !ok {
		c.size++
	}
	k.ids[id] = seq
}

// extend records what reading (after, upto] of a key's history found.
func (c *identityCache) extend(key string, after, upto uint64, found map[[16]byte]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil || after > k.upto || after < k.from {
		c.forget(key)
		k = &keyIDs{from: after, upto: after, ids: make(map[[16]byte]uint64, len(found))}
		c.keys[key] = k
		c.size++
	}
	for id, seq := range found {
		c.learn(k, id, seq)
	}
	k.upto = max(k.upto, upto)
	c.evict(key)
}

// drop forgets a key: commits of it are gone.
func (c *identityCache) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(key)
}

func (c *identityCache) forget(key string) {
	if k := c.keys[key]; k != nil {
		c.size -= len(k.ids) + 1
		delete(c.keys, key)
	}
}

// evict makes room by forgetting any keys but the given one, as long as that
// helps.
func (c *identityCache) evict(keep string) {
	for key := range c.keys {
		if c.size <= c.max {
			return
		}
		if key != keep {
			c.forget(key)
		}
	}
	// What is used right now stays until another key comes, whatever its size.
}

// findID looks for an ID in a key's history behind after, up to the key's
// head as the leader has it. It returns the head's sequence (0: no commit).
func (f *Feed) findID(ctx context.Context, key, id string, after uint64) (head, seq uint64, ok bool, err error) {
	subject, err := f.Subject(key)
	if err != nil {
		return 0, 0, false, err
	}
	if err := f.intact(); err != nil {
		return 0, 0, false, err
	}
	m, any, err := f.headOf(ctx, subject)
	if err != nil {
		return 0, 0, false, err
	}
	if any {
		head = m.seq
	}
	known, seq, ok := f.ids.look(key, id, after)
	if ok {
		return head, seq, true, nil
	}
	found := make(map[[16]byte]uint64)
	if head > known {
		learn := func(m *message) {
			m.eachID(func(id []byte, _, _ int) bool {
				found[idHash(string(id))] = m.seq
				return true
			})
		}
		learn(&m)
		for c, err := range f.Commits(ctx, After(known), OfKey(key), Until(head-1), AllowTrimmed(), Unreadable()) {
			if err != nil {
				return 0, 0, false, err
			}
			learn(&c.msg)
		}
	}
	f.ids.extend(key, known, max(head, known), found)
	seq, ok = found[idHash(id)]
	return head, seq, ok, nil
}

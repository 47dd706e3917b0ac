package command

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
)

const (
	keyShards = 64
	// headsPerShard bounds how many heads a shard remembers, twice: the keys
	// of the present generation, and those of the one before. A head that was
	// forgotten costs one question to the leader.
	headsPerShard = 4096
)

// keys queues the commands of each key, in the order of their arrival, and
// remembers the last sequence of the keys that were used lately. A key that is
// idle costs nothing but that memory.
type keys struct {
	seed   maphash.Seed
	shards [keyShards]keyShard
}

type keyShard struct {
	mu            sync.Mutex
	busy          map[string]*turn
	recent, older map[string]uint64
}

// turn is a key while a command is at work on it. head belongs to who has
// the turn.
type turn struct {
	key     string
	head    uint64 // last sequence of the key that is known; where known
	known   bool
	waiting []chan struct{} // each is closed when it is its owner's turn
}

func newKeys() *keys {
	k := &keys{seed: maphash.MakeSeed()}
	for i := range k.shards {
		s := &k.shards[i]
		s.busy, s.recent = make(map[string]*turn), make(map[string]uint64)
	}
	return k
}

func (k *keys) shard(key string) *keyShard {
	return &k.shards[maphash.String(k.seed, key)%keyShards]
}

// take waits for the key's turn, or until ctx ends.
func (k *keys) take(ctx context.Context, key string) (*turn, error) {
	s := k.shard(key)
	s.mu.Lock()
	t := s.busy[key]
	if t == nil {
		t = &turn{key: key}
		t.head, t.known = s.head(key)
		s.busy[key] = t
		s.mu.Unlock()
		return t, nil
	}
	mine := make(chan struct{})
	t.waiting = append(t.waiting, mine)
	s.mu.Unlock()
	select {
	case <-mine:
		return t, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(t.waiting, mine)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // it was handed over at the same moment
		k.give(t)
	}
	return nil, context.Cause(ctx)
}

// give hands the key to the next one.
func (k *keys) give(t *turn) {
	s := k.shard(t.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(t.waiting) > 0 {
		next := t.waiting[0]
		t.waiting = t.waiting[1:]
		close(next)
		return
	}
	delete(s.busy, t.key)
	if !t.known {
		delete(s.recent, t.key)
		delete(s.older, t.key)
		return
	}
	if len(s.recent) >= headsPerShard {
		s.recent, s.older = make(map[string]uint64), s.recent
	}
	s.recent[t.key] = t.head
}

func (s *keyShard) head(key string) (uint64, bool) {
	if h, ok := s.recent[key]; ok {
		return h, true
	}
	h, ok := s.older[key]
	return h, ok
}

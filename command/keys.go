package command

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
)

const (
	keyShards = 64
	// headsPerShard bounds how many idle keys a shard remembers, twice: those
	// of the present generation, and those of the one before. A head that was
	// forgotten costs one question to the leader.
	headsPerShard = 4096
)

// keys queues the commands of each key, in the order of their arrival, and
// remembers the last sequence of the keys that were used lately. A key that is
// idle costs nothing but that memory.
type keys struct {
	seed   maphash.Seed
	heads  int // that a shard remembers
	shards [keyShards]keyShard
}

type keyShard struct {
	mu sync.Mutex
	// A key that is at work is in one of both, whatever their size.
	recent, older map[string]*turn
}

// turn is a key, while a command is at work on it and for some time after.
// head and known belong to who has the turn; the rest is the shard's.
type turn struct {
	key     string
	head    uint64 // last sequence of the key that is known; where known
	known   bool
	busy    bool
	waiting []chan struct{} // each is closed when it is its owner's turn
}

func newKeys(heads int) *keys {
	k := &keys{seed: maphash.MakeSeed(), heads: heads}
	for i := range k.shards {
		k.shards[i].recent = make(map[string]*turn)
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
	t := s.turn(key, k.heads)
	if !t.busy {
		t.busy = true
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
	t.busy, t.waiting = false, nil
	if !t.known {
		delete(s.recent, t.key)
		delete(s.older, t.key)
	}
}

// turn finds a key's turn, or makes one, in the present generation, which is
// bounded; s.mu is held.
func (s *keyShard) turn(key string, most int) *turn {
	if t := s.recent[key]; t != nil {
		return t
	}
	t := s.older[key]
	if t == nil {
		t = &turn{key: key}
	}
	if len(s.recent) >= most {
		s.nextGeneration()
	}
	s.recent[key] = t
	return t
}

// nextGeneration forgets the idle keys that weren't used in this one.
func (s *keyShard) nextGeneration() {
	forgotten := s.older
	s.recent, s.older = make(map[string]*turn), s.recent
	for key, t := range forgotten {
		if t.busy && s.older[key] == nil {
			s.recent[key] = t
		}
	}
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// What a peer says isn't believed: a manifest of some hundred bytes can name
// one chunk many times, and a chunk of some thousand can hold 256 MB of zeros;
// what it says of sizes may be a lie. So an import looks three times, and
// decompresses nothing before:
//
//  1. at what a manifest claims (Limits.claims), before anything is fetched;
//  2. at what comes (asking), so that a lie costs MaxTransfer at most;
//  3. at what came (Limits.holds): chunks that have the claimed sizes, each
//     counted once, bound what the claimed raw sizes may be.
//
// Reading then holds to the claimed raw sizes (cursor), so memory is bounded by
// them. Peers of any kind are asked through here, those of users too.

// sized is a peer that reads no more of an answer than it is told to.
type sized interface {
	get(ctx context.Context, name string, most int) ([]byte, error)
}

// asking is what an import has had of its peer. It is safe for concurrent use.
type asking struct {
	peer   Peer
	limits Limits

	mu    sync.Mutex
	taken uint64 // <= limits.MaxTransfer, and the answers that passed it
	sizes map[ID]int
}

// get asks the peer. It returns with ctx though a peer doesn't.
func (a *asking) get(ctx context.Context, name string, most int) ([]byte, error) {
	if err := a.take(0); err != nil {
		return nil, err
	}
	answer := make(chan fetched, 1)
	go func() {
		var f fetched
		if p, ok := a.peer.(sized); ok {
			f.data, f.err = p.get(ctx, name, most)
		} else {
			f.data, f.err = a.peer.Get(ctx, name)
		}
		answer <- f
	}()
	select {
	case f := <-answer:
		if err := a.take(max(leastAnswer, len(f.data))); err != nil {
			return nil, err
		}
		if f.err == nil && len(f.data) > most {
			return nil, tooLarge(name, most)
		}
		return f.data, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// take counts an answer.
func (a *asking) take(size int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.taken += uint64(size); a.taken > a.limits.MaxTransfer {
		return &LimitError{Limit: "MaxTransfer", Most: strconv.FormatUint(a.limits.MaxTransfer, 10)}
	}
	return nil
}

func (a *asking) note(id ID, size int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sizes[id] = size
}

// tooLarge is an answer that the importing server couldn't store.
func tooLarge(name string, most int) error {
	return &InvalidError{What: "answer of the peer", Problems: []error{
		fmt.Errorf("%s has more than the %d bytes that this server takes: the peer needs a smaller ChunkSize", name, most),
	}}
}

// fetch asks the peer for what is named by its hash.
func (im *importing) fetch(ctx context.Context, key string, id ID) ([]byte, error) {
	data, err := im.asking.get(ctx, nameOf(key), im.s.limit)
	switch {
	case errors.Is(err, ErrNotFound):
		missing := corrupt("the peer has no %.200q", key)
		missing.Err = err
		return nil, missing
	case err != nil:
		return nil, fmt.Errorf("ask the peer for %.200q: %w", key, err)
	case idOf(data) != id:
		return nil, corrupt("the peer's %.200q holds other bytes than its name says", key)
	}
	return data, nil
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// content reads what is named by its hash, and checks it. Any replica may
// answer first; where it has nothing, or something else, the leader is asked,
// so that one damaged replica isn't the end. The error is a *CorruptError where
// the leader has nothing whole either.
func (s *Store) content(ctx context.Context, key string, id ID) ([]byte, error) {
	if data, err := s.bucket.get(ctx, key); err == nil && idOf(data) == id {
		return data, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e, err := s.bucket.leader(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		missing := corrupt("%.200q is missing", key)
		missing.Err = err
		return nil, missing
	case err != nil:
		return nil, fmt.Errorf("snapshot: %.200q: %w", key, err)
	case idOf(e.data) != id:
		return nil, corrupt("%.200q holds other bytes than its name says", key)
	}
	return e.data, nil
}

// readAhead is how many chunks of a segment are held or under way at a time.
const readAhead = 4

type fetched struct {
	data []byte
	err  error
}

// chunks returns a function that yields the chunks one after another, checked,
// and nil at the end. Some are fetched ahead: at most readAhead are held or
// under way. The goroutines end with ctx or the last chunk; wg waits for them.
func (s *Store) chunks(ctx context.Context, wg *sync.WaitGroup, ids []ID) func() ([]byte, error) {
	queue := make(chan chan fetched, readAhead-1)
	wg.Go(func() {
		defer close(queue)
		for _, id := range ids {
			result := make(chan fetched, 1)
			select {
			case <-ctx.Done():
				return
			case queue <- result:
			}
			wg.Go(func() {
				data, err := s.content(ctx, chunkKey(id), id)
				result <- fetched{data, err}
			})
		}
	})
	left := len(ids)
	return func() ([]byte, error) {
		result, ok := <-queue
		if !ok {
			if left > 0 {
				return nil, ctx.Err()
			}
			return nil, nil
		}
		left--
		f := <-result
		return f.data, f.err
	}
}

// cursors opens the segments. Fetching begins for all of them at once.
func (s *Store) cursors(ctx context.Context, wg *sync.WaitGroup, segments []Segment) []*cursor {
	open := make([]*cursor, len(segments))
	for i, segment := range segments {
		open[i] = &cursor{next: s.chunks(ctx, wg, segment.Chunks), expect: segment, age: i}
	}
	return open
}

package snapshot

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"
)

// uploads is how many chunks of one save are in flight.
const uploads = 4

// uploader writes the chunks of one save or compaction.
//
// A save puts every chunk that it names, also where the same content exists:
// that makes the chunk new again, so a sweep that saw the old one as garbage
// finds another revision when it comes to remove it. The exceptions are chunks
// of segments that are carried over (the head that the compare-and-set guards
// refers to them) and those that this store has put less than half the grace
// ago in an attempt that failed. A probe for what exists would save nothing: it
// costs about as much as the write.
type uploader struct {
	s       *Store
	ctx     context.Context
	cancel  context.CancelCauseFunc
	slots   chan struct{}
	wg      sync.WaitGroup
	started time.Time
	ids     []ID // all chunks so far, in order
	carried int  // chunks that the manifest names besides
	bytes   uint64
	entries uint64
}

func (s *Store) newUploader(ctx context.Context) *uploader {
	ctx, cancel := context.WithCancelCause(ctx)
	return &uploader{s: s, ctx: ctx, cancel: cancel, slots: make(chan struct{}, uploads), started: time.Now()}
}

// segment writes the changes as one segment; entries is 0 where there are none.
func (u *uploader) segment(changes iter.Seq2[Change, error]) (Segment, error) {
	first := len(u.ids)
	w, err := writeSegment(changes, u.s.opts.ChunkSize, u.put)
	if err != nil {
		return Segment{}, err
	}
	u.bytes += w.bytes
	u.entries += w.entries
	return Segment{Entries: w.entries, Bytes: w.bytes, Raw: w.rawBytes, Chunks: slices.Clone(u.ids[first:])}, nil
}

// put starts to write a chunk, which it takes over. It waits while too many are
// in flight, and returns the first failure of any.
func (u *uploader) put(chunk []byte) error {
	id := idOf(chunk)
	u.ids = append(u.ids, id)
	// A manifest that won't fit is told now, not after all chunks are written,
	// with each try.
	if least := (u.carried + len(u.ids)) * len(ID{}); least > u.s.limit {
		return u.s.manifestTooLarge(least)
	}
	if u.s.recent.has(id, u.s.opts.Grace/2) {
		u.s.stats.add(func(s *Stats) { s.ChunksSkipped++ })
		return nil
	}
	return u.start(func(ctx context.Context) error { return u.write(ctx, id, chunk) })
}

// start runs a step of the upload beside. It waits while too many are in
// flight, and returns the first failure of any.
func (u *uploader) start(step func(ctx context.Context) error) error {
	select {
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	case u.slots <- struct{}{}:
	}
	u.wg.Go(func() {
		defer func() { <-u.slots }()
		if err := step(u.ctx); err != nil {
			u.cancel(err)
		}
	})
	return nil
}

func (u *uploader) write(ctx context.Context, id ID, chunk []byte) error {
	begun := time.Now() // the entry isn't older than that
	if err := u.s.bucket.put(ctx, chunkKey(id), chunk); err != nil {
		return err
	}
	u.s.recent.note(id, begun)
	u.s.stats.add(func(s *Stats) { s.ChunksWritten++; s.BytesWritten += uint64(len(chunk)) })
	return nil
}

// wait returns once all chunks are stored, or with the first failure.
func (u *uploader) wait() error {
	u.wg.Wait()
	return context.Cause(u.ctx)
}

// refresh writes chunks again that have been waiting for so long that a sweep
// might soon take them for garbage.
func (u *uploader) refresh(ctx context.Context) error {
	half := u.s.opts.Grace / 2
	if time.Since(u.started) <= half {
		return nil
	}
	for _, id := range u.ids {
		if u.s.recent.has(id, half) {
			continue
		}
		if err := u.rewrite(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// rewrite makes a chunk new that the bucket holds.
func (u *uploader) rewrite(ctx context.Context, id ID) error {
	chunk, err := u.s.content(ctx, chunkKey(id), id)
	if err != nil {
		return err
	}
	return u.write(ctx, id, chunk)
}

// adopt writes base again, and those of its chunks that next carries over: no
// head refers to them, so a sweep may be about to take them for garbage.
func (u *uploader) adopt(ctx context.Context, base, next *Manifest) error {
	data, err := u.s.content(ctx, manifestKey(base.Unit, base.ID), base.ID)
	if err != nil {
		return err
	}
	if err := u.s.bucket.put(ctx, manifestKey(base.Unit, base.ID), data); err != nil {
		return err
	}
	for _, id := range next.chunks() {
		if slices.Contains(u.ids, id) {
			continue
		}
		if err := u.rewrite(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// close ends what is still in flight.
func (u *uploader) close() {
	u.cancel(context.Canceled)
	u.wg.Wait()
}

// recent remembers which chunks were put when, until the save succeeds.
type recent struct {
	mu sync.Mutex
	at map[ID]time.Time
}

// maxRecent bounds the memory: beyond it a retry writes again.
const maxRecent = 1 << 16

func (r *recent) note(id ID, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.at) >= maxRecent {
		clear(r.at)
	}
	r.at[id] = at
}

func (r *recent) has(id ID, within time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.at[id]
	return ok && time.Since(at) < within
}

func (r *recent) forget(ids []ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		delete(r.at, id)
	}
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemark-es/tidemark/internal/grace"
)

// commit makes m the newest manifest: it waits for the chunks, writes the
// manifest, and moves the head from h. Both are returned as they are stored.
func (s *Store) commit(ctx context.Context, up *uploader, m *Manifest, h headState) (*Manifest, headState, error) {
	data, err := m.encode()
	if err == nil {
		m, err = decodeManifest(data) // nothing is written that couldn't be read
	}
	if err != nil {
		return nil, h, err
	}
	if len(data) > s.limit {
		return nil, h, s.manifestTooLarge(len(data))
	}
	if err := up.wait(); err != nil {
		return nil, h, err
	}
	if err := up.refresh(ctx); err != nil {
		return nil, h, err
	}
	if err := s.bucket.put(ctx, manifestKey(m.Unit, m.ID), data); err != nil {
		return nil, h, err
	}
	h.ids = s.older(ctx, m, h.ids)
	if h, err = s.moveHead(ctx, h, m.ID); err != nil {
		return nil, h, err
	}
	s.recent.forget(up.ids)
	s.stats.add(func(s *Stats) { s.BytesWritten += uint64(len(data)) })
	return m, h, nil
}

// manifestTooLarge says what to do about a manifest of that many bytes at least.
// It names each chunk in 32 bytes and has to fit into one message, so what a unit
// can hold grows with the square of the server's maximum payload.
func (s *Store) manifestTooLarge(least int) error {
	return &InvalidError{What: "manifest", Problems: []error{fmt.Errorf(
		"it has %d bytes or more for chunks of %d bytes, and the server takes %d: raise the server's max_payload (%d now; twice as much holds four times the state), raise Options.ChunkSize, or put projections into several units",
		least, s.opts.ChunkSize, s.limit, s.opts.Conn.MaxPayload())}}
}

// moveHead puts id before what h retains, if the head is still at h's revision.
func (s *Store) moveHead(ctx context.Context, h headState, id ID) (headState, error) {
	// The same manifest again (the clock stood still) must not be named twice.
	older := slices.DeleteFunc(slices.Clone(h.ids), func(other ID) bool { return other == id })
	next := head{unit: h.unit, epoch: h.writer, ids: append([]ID{id}, older...)}
	next.ids = next.ids[:min(len(next.ids), s.opts.most())]
	data := next.encode()
	revision, err := s.bucket.swap(ctx, headKey(h.unit), data, h.revision)
	if err != nil {
		return s.resolve(ctx, h, id, err)
	}
	s.maybe.set(h.unit, ID{})
	s.stats.add(func(s *Stats) { s.BytesWritten += uint64(len(data)) })
	return headState{writer: h.writer, head: next, present: true, revision: revision}, nil
}

// resolve finds out how a failed move of the head ended, also where the caller
// has given up meanwhile: the answer may be lost and the write not.
func (s *Store) resolve(ctx context.Context, before headState, id ID, cause error) (headState, error) {
	ctx, cancel := grace.After(ctx, s.opts.Timeout)
	defer cancel()
	now, err := s.readHead(ctx, before.unit)
	switch {
	case err != nil:
		s.maybe.set(before.unit, id)
		return before, fmt.Errorf("the head may or may not have moved: %w", errors.Join(cause, err))
	case slices.Contains(now.ids, id):
		s.maybe.set(before.unit, ID{})
		now.writer = before.writer
		return now, nil
	case now.revision != before.revision:
		return before, &ConflictError{Unit: before.unit, Expected: before.revision, Actual: now.revision}
	}
	// It hasn't moved, but the write may still be on its way.
	s.maybe.set(before.unit, id)
	return before, cause
}

// maybe remembers per unit the one manifest of ours that might become the
// newest without our knowing. It only ever lets a save pass that would be
// refused as stale otherwise; it stops none.
type maybe struct {
	mu  sync.Mutex
	ids map[string]ID
}

func (m *maybe) get(unit string) ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids[unit]
}

func (m *maybe) set(unit string, id ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id.IsZero() {
		delete(m.ids, unit)
		return
	}
	m.ids[unit] = id
}

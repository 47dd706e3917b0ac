package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"
)

// Load yields a member's state as of the manifest: every live key once, in
// ascending order, none Deleted, each with its Digest. Segments are read from
// the store, merged and hashed beside the caller's loop; at most
// readAhead chunks of each are held.
//
// Key and Value are lent: they are valid until the next step, so clone what you
// keep. What was yielded counts only if the sequence ends without an error,
// which is its last step: *CorruptError with the place where a chunk is missing
// or damaged, or where the whole doesn't have the digest that the manifest says;
// *FormatError, *NotFoundError where the manifest has no such member, or one of
// the connection. The sequence may be ranged over again. Break and panic
// release what was opened.
func (s *Store) Load(ctx context.Context, m *Manifest, member string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		state, ok := m.Member(member)
		if !ok {
			yield(Change{}, &NotFoundError{Kind: "member", Name: member})
			return
		}
		started := time.Now()
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		info := LoadInfo{Unit: m.Unit, Member: member, Manifest: m.ID, Segments: len(state.Segments)}
		var sum Digest
		for c, err := range beside(ctx, &wg, merge(s.cursors(ctx, &wg, state.Segments), false)) {
			if err != nil {
				s.failed(m, member, err, yield)
				return
			}
			info.Keys++
			info.Bytes += uint64(len(c.Key) + len(c.Value))
			sum = sum.Plus(c.Digest)
			if !yield(c, nil) {
				return
			}
		}
		if err := checkDigest(state.Digest, sum); err != nil {
			s.failed(m, member, err, yield)
			return
		}
		info.Took = time.Since(started)
		s.loaded(info)
	}
}

func (s *Store) failed(m *Manifest, member string, err error, yield func(Change, error) bool) {
	s.stats.add(func(s *Stats) { s.LoadErrors++ })
	yield(Change{}, locate(err, m, member))
}

func (s *Store) loaded(info LoadInfo) {
	s.stats.add(func(s *Stats) {
		s.Loads++
		s.KeysLoaded += info.Keys
		s.BytesLoaded += info.Bytes
		s.LoadTime += info.Took
	})
	s.opts.Logger.Debug().Str("unit", info.Unit).Str("member", info.Member).Stringer("manifest", info.Manifest).
		Uint64("keys", info.Keys).Dur("took", info.Took).Msg("snapshot loaded")
	s.opts.Hooks.Loaded(info)
}

// locate says where in which manifest it went wrong.
func locate(err error, m *Manifest, member string) error {
	if e, ok := errors.AsType[*CorruptError](err); ok {
		e.Unit, e.Manifest, e.Member = m.Unit, m.ID, member
		return err
	}
	return fmt.Errorf("snapshot: unit %q, member %q: %w", m.Unit, member, err)
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Save stores the cut as the unit's newest manifest, which it returns.
//
// The changes are relative to base, nil where there is none: a manifest that
// Save returned, or that Candidates offered. It has to be the newest of the
// unit; where it isn't, because a newer one can't be used, say so by
// Cut.Replaces. The chunks of the new segments are written first, then the
// manifest, then the head is moved. After that, segments that are many and
// small are merged, which may yield a further manifest; where that fails, the
// save counts all the same (Hooks.CompactFailed).
//
// Errors: *InvalidError; *StaleBaseError; *ConflictError where the head moved
// meanwhile; *FencedError; *FormatError where a newer release wrote the head;
// or one of the connection. After any of them what was stored before is as
// loadable as it was, and a save may be tried again at once. If the answer to
// the last write was lost, the head is read back to learn how it ended; where
// that fails too, a retry with the same base succeeds either way.
func (s *Store) Save(ctx context.Context, unit string, base *Manifest, cut Cut) (*Manifest, error) {
	started := time.Now()
	m, h, err := s.save(ctx, unit, base, cut, started)
	if err != nil {
		s.stats.add(func(s *Stats) { s.SaveErrors++ })
		s.opts.Hooks.SaveFailed(unit, err)
		return nil, err
	}
	return s.compact(ctx, m, h), nil
}

func (s *Store) save(ctx context.Context, unit string, base *Manifest, cut Cut, started time.Time) (*Manifest, headState, error) {
	if err := validate(unit, base, cut); err != nil {
		return nil, headState{}, err
	}
	h, err := s.readHead(ctx, unit)
	h.writer = max(s.opts.Epoch, cut.Epoch)
	guarded := h.ids
	if err == nil {
		h, err = s.follow(ctx, h, base, cut.Replaces)
	}
	if err != nil {
		return nil, h, wrap("save", unit, err)
	}
	up := s.newUploader(ctx)
	defer up.close()
	m, err := s.build(up, h, base, cut)
	if err == nil && base != nil && !slices.Contains(guarded, base.ID) {
		err = up.adopt(ctx, base, m)
	}
	if err == nil {
		m, h, err = s.commit(ctx, up, m, h)
	}
	if err != nil {
		return nil, h, wrap("save", unit, err)
	}
	s.saved(m, up, time.Since(started))
	return m, h, nil
}

func validate(unit string, base *Manifest, cut Cut) error {
	if err := validUnit(unit); err != nil {
		return err
	}
	if base != nil && base.Unit != unit {
		return &InvalidError{What: "base", Problems: []error{fmt.Errorf("it is of unit %q, not of %q", base.Unit, unit)}}
	}
	return cut.validate(base)
}

// wrap adds the unit to errors that don't name it.
func wrap(what, unit string, err error) error {
	for _, class := range []error{ErrConflict, ErrStaleBase, ErrFenced, ErrInvalid, ErrCorrupt} {
		if errors.Is(err, class) {
			return err
		}
	}
	return fmt.Errorf("snapshot: %s %q: %w", what, unit, err)
}

// follow decides whether a save may follow the head, and returns the head with
// the manifests that stay behind the new one.
func (s *Store) follow(ctx context.Context, h headState, base *Manifest, replaces ID) (headState, error) {
	if errors.Is(h.problem, ErrUnknownFormat) {
		return h, h.problem // a newer release owns this unit
	}
	if h.problem != nil || !h.present && base != nil { // nobody who has a base has begun without a head
		return s.followBroken(ctx, h, base)
	}
	if h.epoch > h.writer {
		return h, &FencedError{Unit: h.unit, Epoch: h.writer, Head: h.epoch}
	}
	ids, err := follow(h.head, base, replaces, s.maybe.get(h.unit))
	h.ids = ids
	return h, err
}

// follow is the rule for a head that can be read, or that is absent. maybe is
// the manifest of an attempt of our own whose outcome is unknown: if it became
// the newest after all, that is no reason to refuse the retry.
func follow(h head, base *Manifest, replaces, maybe ID) ([]ID, error) {
	var from, newest ID
	if base != nil {
		from = base.ID
	}
	if len(h.ids) > 0 {
		newest = h.ids[0]
	}
	expected := from
	if !replaces.IsZero() {
		expected = replaces
	}
	late := !maybe.IsZero() && newest == maybe
	if newest != expected && !late {
		return nil, &StaleBaseError{Unit: h.unit, Base: from, Head: newest}
	}
	if base == nil {
		if late {
			return h.ids[1:], nil
		}
		return h.ids, nil
	}
	// Its chunks must be guarded by the head; what is newer was rejected.
	if i := slices.Index(h.ids, from); i >= 0 {
		return h.ids[i:], nil
	}
	if newest.IsZero() || newest != replaces {
		return nil, &StaleBaseError{Unit: h.unit, Base: from, Head: newest}
	}
	// Nothing that the head names could be used, so the caller took one that
	// was found beside it. See uploader.adopt.
	return []ID{from}, nil
}

// followBroken replaces a damaged or lost head: what the bucket still holds takes the
// place of what it named. Epochs are then known from the manifests only.
func (s *Store) followBroken(ctx context.Context, h headState, base *Manifest) (headState, error) {
	listed, err := s.listed(ctx, h)
	if err != nil {
		return h, err
	}
	h.problem = nil
	for _, c := range listed {
		if !c.usable() {
			continue
		}
		if c.Manifest.Epoch > h.writer {
			return h, &FencedError{Unit: h.unit, Epoch: h.writer, Head: c.Manifest.Epoch}
		}
		h.ids = append(h.ids, c.ID)
	}
	if base == nil {
		return h, nil
	}
	i := slices.Index(h.ids, base.ID)
	if i < 0 {
		return h, &StaleBaseError{Unit: h.unit, Base: base.ID}
	}
	h.ids = h.ids[i:]
	return h, nil
}

// build writes the new segments and returns the manifest that names them.
func (s *Store) build(up *uploader, h headState, base *Manifest, cut Cut) (*Manifest, error) {
	m := &Manifest{Unit: h.unit, Created: s.clock(), Epoch: h.writer, Tag: cut.Tag}
	if base != nil {
		m.Prev = base.ID
	}
	members := slices.SortedFunc(slices.Values(cut.Members), func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	for i := range members {
		state, err := buildMember(up, &members[i], base)
		if err != nil {
			return nil, err
		}
		m.Members = append(m.Members, state)
	}
	return m, nil
}

func buildMember(up *uploader, c *Member, base *Manifest) (MemberState, error) {
	old, _ := base.Member(c.Name)
	if c.Kept {
		for _, s := range old.Segments {
			up.carried += len(s.Chunks)
		}
		return old, nil
	}
	state := MemberState{Name: c.Name, Version: c.Version, Meaning: c.Meaning, Codec: c.Codec, At: c.At, Digest: c.Digest}
	if !c.Reset {
		state.Segments = old.Segments
		for _, s := range old.Segments {
			up.carried += len(s.Chunks)
		}
	}
	segment, err := up.segment(changes(c.Changes, len(state.Segments) > 0))
	if err != nil || segment.Entries == 0 {
		return state, err
	}
	segment.To, segment.After = c.At, c.Digest
	state.Segments = append(slices.Clip(state.Segments), segment)
	return state, nil
}

// changes yields the list; tombstones only where there is something below them.
func changes(list []Change, tombstones bool) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for _, c := range list {
			if (tombstones || !c.Deleted) && !yield(c, nil) {
				return
			}
		}
	}
}

func (s *Store) saved(m *Manifest, up *uploader, took time.Duration) {
	s.stats.add(func(s *Stats) {
		s.Saves++
		s.EntriesWritten += up.entries
		s.SaveTime += took
	})
	s.opts.Logger.Debug().Str("unit", m.Unit).Stringer("manifest", m.ID).Uint64("entries", up.entries).
		Uint64("bytes", up.bytes).Dur("took", took).Msg("snapshot saved")
	s.opts.Hooks.Saved(SaveInfo{Unit: m.Unit, Manifest: m.ID, Entries: int(up.entries), Bytes: up.bytes, Took: took})
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Candidate is a manifest that might be restored, or why it can't be.
type Candidate struct {
	ID       ID        // of the manifest; zero where the head itself is the problem
	Manifest *Manifest // whole and checked; nil where there is a Problem
	// Problem is why this one can't be used: *CorruptError (damaged, missing)
	// or *FormatError (a newer release wrote it). Nil where Manifest is set.
	Problem error
}

// Candidates returns what could be restored for the unit, newest first: the
// manifests that its head retains. Where the head is damaged or gone, or none
// of those can be used, the other manifests in the bucket follow. A unit that
// was never saved has none. The caller compares each one's Tag with the log and
// version, meaning and codec with its code; a damaged chunk shows in Load only.
//
// The error is one of the connection.
func (s *Store) Candidates(ctx context.Context, unit string) ([]Candidate, error) {
	if err := validUnit(unit); err != nil {
		return nil, err
	}
	h, err := s.readHead(ctx, unit)
	if err != nil {
		return nil, fmt.Errorf("snapshot: candidates of %q: %w", unit, err)
	}
	found, err := s.retained(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("snapshot: candidates of %q: %w", unit, err)
	}
	if !slices.ContainsFunc(found, Candidate.usable) {
		if found, err = s.withListed(ctx, h, found); err != nil {
			return nil, fmt.Errorf("snapshot: candidates of %q: %w", unit, err)
		}
	}
	for _, c := range found {
		if !c.usable() {
			s.opts.Hooks.Unusable(unit, c)
		}
	}
	return found, nil
}

func (c Candidate) usable() bool { return c.Manifest != nil }

// retained reads what the head names.
func (s *Store) retained(ctx context.Context, h headState) ([]Candidate, error) {
	var found []Candidate
	for _, id := range h.ids {
		c, err := s.candidate(ctx, h.unit, id)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

// withListed appends the manifests that the head doesn't name, and says first
// what is wrong with the head.
func (s *Store) withListed(ctx context.Context, h headState, found []Candidate) ([]Candidate, error) {
	listed, err := s.listed(ctx, h)
	if err != nil {
		return nil, err
	}
	switch {
	case h.problem != nil:
		found = append([]Candidate{{Problem: h.problem}}, found...)
	case !h.present && len(listed) > 0:
		missing := corrupt("the head is missing")
		missing.Unit, missing.Err = h.unit, &NotFoundError{Kind: "head", Name: h.unit}
		found = append(found, Candidate{Problem: missing})
	}
	return append(found, listed...), nil
}

// listed reads the unit's manifests that the head doesn't name, newest first
// and unusable ones last. Some may be of saves that never reached their head:
// they are whole all the same, since chunks are written before them.
func (s *Store) listed(ctx context.Context, h headState) ([]Candidate, error) {
	items, err := s.bucket.list(ctx, manifestPrefix+h.unit+".*")
	if err != nil {
		return nil, err
	}
	var found []Candidate
	for _, item := range items {
		_, id, ok := manifestOf(item.Key)
		if !ok || slices.Contains(h.ids, id) {
			continue
		}
		c, err := s.candidate(ctx, h.unit, id)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	slices.SortStableFunc(found, func(a, b Candidate) int {
		switch {
		case a.usable() && b.usable():
			return b.Manifest.Created.Compare(a.Manifest.Created)
		case a.usable():
			return -1
		case b.usable():
			return 1
		}
		return 0
	})
	return found, nil
}

func (s *Store) candidate(ctx context.Context, unit string, id ID) (Candidate, error) {
	m, err := s.readManifest(ctx, unit, id)
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnknownFormat) {
		return Candidate{ID: id, Problem: err}, nil
	}
	return Candidate{ID: id, Manifest: m}, err
}

// readManifest reads, checks and decodes one manifest.
func (s *Store) readManifest(ctx context.Context, unit string, id ID) (*Manifest, error) {
	data, err := s.content(ctx, manifestKey(unit, id), id)
	if err == nil {
		var m *Manifest
		if m, err = decodeManifest(data); err == nil {
			if m.Unit == unit {
				return m, nil
			}
			err = corrupt("the manifest is of unit %q", m.Unit)
		}
	}
	if e, ok := errors.AsType[*CorruptError](err); ok {
		e.Unit, e.Manifest = unit, id
	}
	return nil, err
}

// headState is what the leader holds as a unit's head.
type headState struct {
	writer   uint64 // epoch of who is about to move it
	head            // zero where absent or broken, but for the unit
	present  bool   // there is one, whole or not
	revision uint64 // of it, or of the marker that it left; 0 where never written
	problem  error  // why it can't be read: *CorruptError or *FormatError
}

// readHead asks the leader: a follower might still have the head before.
func (s *Store) readHead(ctx context.Context, unit string) (headState, error) {
	e, err := s.bucket.leader(ctx, headKey(unit))
	h := headState{head: head{unit: unit}, revision: e.revision}
	if errors.Is(err, ErrNotFound) {
		return h, nil
	}
	if e, ok := errors.AsType[*CorruptError](err); ok {
		e.Unit, h.present, h.problem = unit, true, e
		return h, nil
	}
	if err != nil {
		return h, err
	}
	h.present = true
	got, err := decodeHead(e.data)
	if err == nil && got.unit != unit {
		err = corrupt("the head is of unit %q", got.unit)
	}
	if err != nil {
		if e, ok := errors.AsType[*CorruptError](err); ok {
			e.Unit = unit
		}
		h.problem = err
		return h, nil
	}
	h.head = got
	return h, nil
}

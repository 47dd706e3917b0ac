package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ExportReport is what an export did.
type ExportReport struct {
	Unit      string
	Manifests []ID      // newest first
	Newest    *Manifest // the first of them
	Chunks    int       // written
	Shared    int       // that the target had already
	Bytes     uint64    // of the written chunks
	Skipped   []string  // manifests that aren't whole, and why
}

// Export copies what the unit's head retains to a target, as [Dir] is one:
// chunks first, each checked against its name, then manifests, then a head that
// names them. Until that is written the target's former content is as it was,
// and an export that was interrupted goes on where it ended: what the target
// holds whole isn't written again. Nothing is removed from the target. Sizes
// of the segments follow what was saved, and are not changed.
//
// A manifest that isn't whole is left out, with the reason. Errors: ErrNotFound
// where the unit was never saved; ErrCorrupt where no manifest is whole; one
// of the connection or of the target.
func (s *Store) Export(ctx context.Context, unit string, to Target) (ExportReport, error) {
	r := ExportReport{Unit: unit}
	found, err := s.Candidates(ctx, unit)
	if err != nil {
		return r, err
	}
	if len(found) == 0 {
		return r, &NotFoundError{Kind: "head", Name: unit}
	}
	whole := make(map[ID]bool)
	var last error
	for _, c := range found {
		err := c.Problem
		if err == nil {
			err = s.exportManifest(ctx, c.Manifest, to, whole, &r)
		}
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnknownFormat) {
			r.Skipped = append(r.Skipped, fmt.Sprintf("snapshot %s: %v", c.ID.short(), err))
			last = err
			continue
		}
		if err != nil {
			return r, fmt.Errorf("snapshot: export %q: %w", unit, err)
		}
		if r.Manifests = append(r.Manifests, c.ID); r.Newest == nil {
			r.Newest = c.Manifest
		}
	}
	if len(r.Manifests) == 0 {
		return r, fmt.Errorf("snapshot: export %q: no snapshot is whole: %w", unit, last)
	}
	ids := r.Manifests[:min(len(r.Manifests), maxKeep)]
	h := head{unit: unit, ids: slices.Clone(ids)} // epochs are of this store's leases
	if err := to.Put(ctx, nameOf(headKey(unit)), h.encode()); err != nil {
		return r, fmt.Errorf("snapshot: export %q: %w", unit, err)
	}
	s.opts.Logger.Debug().Str("unit", unit).Int("manifests", len(ids)).Int("chunks", r.Chunks).Msg("snapshots exported")
	return r, nil
}

// exportManifest copies one manifest and the chunks that it needs.
func (s *Store) exportManifest(ctx context.Context, m *Manifest, to Target, whole map[ID]bool, r *ExportReport) error {
	for _, id := range m.chunks() {
		if whole[id] {
			continue
		}
		name := nameOf(chunkKey(id))
		if data, err := to.Get(ctx, name); err == nil && idOf(data) == id {
			r.Shared++
			whole[id] = true
			continue
		}
		data, err := s.content(ctx, chunkKey(id), id)
		if err != nil {
			return err
		}
		if err := to.Put(ctx, name, data); err != nil {
			return err
		}
		r.Chunks++
		r.Bytes += uint64(len(data))
		whole[id] = true
	}
	data, err := s.content(ctx, manifestKey(m.Unit, m.ID), m.ID)
	if err != nil {
		return err
	}
	return to.Put(ctx, nameOf(manifestKey(m.Unit, m.ID)), data)
}

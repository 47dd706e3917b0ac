package snapshot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// store brings together what a joined state needs, reads it back, and moves the
// head to it.
func (im *importing) store(ctx context.Context, source *Manifest, j joined) error {
	m := &Manifest{
		Unit: source.Unit, Prev: source.ID, Created: source.Created, Epoch: im.head.writer, Tag: j.tag, Members: slices.Clone(j.members),
	}
	slices.SortFunc(m.Members, func(a, b MemberState) int { return strings.Compare(a.Name, b.Name) })
	r := &im.report
	r.Applied, r.Base, r.Chunks, r.Bytes = j.applied, j.kept, 0, 0
	if err := im.o.Limits.claims(m, j.bytes); err != nil {
		return err
	}
	if im.o.CheckOnly {
		r.Bytes = j.bytes
		im.took(m, source, j)
		return nil
	}
	up := im.s.newUploader(ctx)
	defer up.close()
	if err := im.gather(up, m); err != nil {
		return err
	}
	if err := im.o.Limits.holds(m, im.asking.sizes); err != nil {
		return err
	}
	data, err := m.encode()
	if err != nil {
		return err
	}
	if m, err = decodeManifest(data); err != nil {
		return err
	}
	if err := im.readBack(ctx, m); err != nil {
		return err
	}
	if m, im.head, err = im.s.commit(ctx, up, m, im.head); err != nil {
		return err
	}
	r.Manifest = m.ID
	im.took(m, source, j)
	return nil
}

func (im *importing) took(m, source *Manifest, j joined) {
	r := &im.report
	r.Source, r.Members = source.ID, nil
	for i, s := range j.members {
		if j.taken[i] {
			r.Members = append(r.Members, s.Name)
		}
	}
	if r.To = m.Tag.At; len(im.o.Members) > 0 {
		r.To = narrow(m, im.o.Members).Tag.At
	}
}

// gather puts every chunk of m into the bucket. What is there already is put
// again, since a sweep may be about to take it for garbage.
func (im *importing) gather(up *uploader, m *Manifest) error {
	var mu sync.Mutex // guards the report
	half := im.s.opts.Grace / 2
	seen := make(map[ID]bool)
	for _, id := range m.chunks() {
		if seen[id] {
			continue
		}
		seen[id] = true
		up.ids = append(up.ids, id)
		err := up.start(func(ctx context.Context) error {
			data, err := im.s.stored(ctx, id)
			if err == nil && data == nil {
				if data, err = im.fetch(ctx, chunkKey(id), id); err == nil {
					mu.Lock()
					im.report.Chunks++
					im.report.Bytes += uint64(len(data))
					mu.Unlock()
				}
			}
			if err != nil {
				return err
			}
			im.asking.note(id, len(data))
			if up.s.recent.has(id, half) {
				return nil
			}
			return up.write(ctx, id, data)
		})
		if err != nil {
			return err
		}
	}
	return up.wait()
}

// stored is what the bucket has of a chunk, nil where that isn't whole.
func (s *Store) stored(ctx context.Context, id ID) ([]byte, error) {
	data, err := s.content(ctx, chunkKey(id), id)
	if errors.Is(err, ErrCorrupt) {
		return nil, nil
	}
	return data, err
}

// readBack reads every member to its end, which compares the digests.
func (im *importing) readBack(ctx context.Context, m *Manifest) error {
	for _, member := range m.Members {
		for _, err := range im.s.Load(ctx, m, member.Name) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

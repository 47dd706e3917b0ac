package snapshot

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// maxRun is how many of the newest segments may be of similar size before
	// they are merged.
	maxRun = 8
	// sizeRatio is how much larger than all newer ones together a segment has
	// to be to be left alone.
	sizeRatio = 4
)

// plan returns where the segments to merge begin; they reach to the newest. It
// returns len(sizes) where there is nothing to do.
//
// Size-tiered: from the newest back, a segment joins the run if it is less than
// four times as large as what has been gathered so far, and a run is merged
// once it is longer than eight. So what is left alone grows by a factor of four
// per step back, which makes O(log n) + 8 segments to read, and a byte is
// rewritten once per step. Merging any two of similar size at once was
// rejected: nearly every save would rewrite its predecessor, for a handful of
// segments fewer.
func plan(sizes []uint64) int {
	start := len(sizes)
	var sum uint64
	for start > 0 && (start == len(sizes) || sizes[start-1]/sizeRatio < sum) {
		start--
		sum += sizes[start]
	}
	if len(sizes)-start <= maxRun {
		return len(sizes)
	}
	return start
}

// compact merges what plan picks, and makes the result the newest manifest.
// Where nothing is to be done, or something fails, m stays the newest. It stays
// in the head in any case: as a second copy of the same state in other chunks,
// and for the retry of a caller who holds m because the answer was lost.
func (s *Store) compact(ctx context.Context, m *Manifest, h headState) *Manifest {
	if len(h.ids) == 0 || h.ids[0] != m.ID { // somebody has built on m already
		return m
	}
	started := time.Now()
	up := s.newUploader(ctx)
	defer up.close()
	next, merged, err := s.merged(ctx, up, m, h.writer)
	if err == nil && merged == 0 {
		return m
	}
	if err == nil {
		next, _, err = s.commit(ctx, up, next, h)
	}
	if err != nil {
		s.stats.add(func(s *Stats) { s.CompactErrors++ })
		s.opts.Logger.Warn().Err(err).Str("unit", m.Unit).Msg("snapshot saved, but not compacted")
		s.opts.Hooks.CompactFailed(m.Unit, err)
		return m
	}
	s.compacted(CompactInfo{Unit: m.Unit, Manifest: next.ID, Segments: merged, Bytes: up.bytes, Took: time.Since(started)})
	return next
}

func (s *Store) compacted(info CompactInfo) {
	s.stats.add(func(s *Stats) {
		s.Compactions++
		s.CompactTime += info.Took
	})
	s.opts.Logger.Debug().Str("unit", info.Unit).Stringer("manifest", info.Manifest).Int("segments", info.Segments).
		Uint64("bytes", info.Bytes).Dur("took", info.Took).Msg("snapshot compacted")
	s.opts.Hooks.Compacted(info)
}

// merged returns a manifest of the same state as m, and how many segments were
// merged for it.
func (s *Store) merged(ctx context.Context, up *uploader, m *Manifest, epoch uint64) (*Manifest, int, error) {
	next := m.derived(s.clock(), epoch)
	count := 0
	for i := range next.Members {
		state := &next.Members[i]
		start := plan(sizesOf(state.Segments))
		run := state.Segments[start:]
		if len(run) == 0 {
			continue
		}
		segment, err := s.mergeSegments(ctx, up, run, start > 0)
		if err != nil {
			return nil, 0, locate(err, m, state.Name)
		}
		state.Segments = slices.Clone(state.Segments[:start])
		if segment.Entries > 0 {
			state.Segments = append(state.Segments, segment)
		}
		count += len(run)
	}
	return next, count, nil
}

func sizesOf(segments []Segment) []uint64 {
	sizes := make([]uint64, len(segments))
	for i, s := range segments {
		sizes[i] = s.Raw
	}
	return sizes
}

// mergeSegments streams the run from the store into one segment. Tombstones
// are needed only where older segments remain below.
func (s *Store) mergeSegments(ctx context.Context, up *uploader, run []Segment, tombstones bool) (Segment, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	segment, err := up.segment(merge(s.cursors(ctx, &wg, run), tombstones))
	last := run[len(run)-1]
	segment.To, segment.After = last.To, last.After
	return segment, err
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/internal/kv"
)

// SweepInfo is what a sweep did.
type SweepInfo struct {
	Chunks    int // removed
	Manifests int // removed
	Kept      int // chunks and manifests that are referred to, or too young
	Took      time.Duration
}

// Sweep removes chunks and manifests that no head of any unit in the bucket
// refers to and that are older than grace by the server's clock. Grace 0 means
// Options.Grace; a shorter one is ErrInvalid, since saves count on that.
//
// A unit whose head is damaged or missing keeps all of its manifests: they may
// be all that is left of it. Where a head or a manifest has an unknown format,
// nothing at all is removed (*FormatError): what it refers to can't be known.
//
// Any process may sweep at any time. The keys are listed first and the heads
// read after, from the leader, so what a save puts in between is either marked
// or too young; and a key is removed only at the revision that was listed, so
// one that a save has put again stays.
func (s *Store) Sweep(ctx context.Context, grace time.Duration) (SweepInfo, error) {
	started := time.Now()
	if grace == 0 {
		grace = s.opts.Grace
	}
	if grace < s.opts.Grace {
		return SweepInfo{}, &InvalidError{What: "grace", Problems: []error{
			fmt.Errorf("%s is shorter than the %s that saves count on", grace, s.opts.Grace),
		}}
	}
	info, err := s.sweep(ctx, grace)
	if err != nil {
		return info, fmt.Errorf("snapshot: sweep: %w", err)
	}
	info.Took = time.Since(started)
	s.stats.add(func(s *Stats) {
		s.Sweeps++
		s.KeysSwept += uint64(info.Chunks + info.Manifests)
	})
	s.opts.Logger.Debug().Int("chunks", info.Chunks).Int("manifests", info.Manifests).Int("kept", info.Kept).
		Dur("took", info.Took).Msg("snapshots swept")
	s.opts.Hooks.Swept(info)
	return info, nil
}

func (s *Store) sweep(ctx context.Context, grace time.Duration) (info SweepInfo, err error) {
	now, err := s.bucket.now(ctx)
	if err != nil {
		return info, err
	}
	lists := make([][]kv.Item, 3)
	for i, filter := range []string{chunkPrefix + "*", manifestPrefix + "*.*", headPrefix + "*"} {
		if lists[i], err = s.bucket.list(ctx, filter); err != nil {
			return info, err
		}
	}
	chunks, manifests, heads := lists[0], lists[1], lists[2]
	used, err := s.mark(ctx, heads, manifests)
	if err != nil {
		return info, err
	}
	for _, item := range slices.Concat(manifests, chunks) { // so that no manifest outlives its chunks
		isChunk := strings.HasPrefix(item.Key, chunkPrefix)
		if used[item.Key] || !ours(item.Key) || now.Sub(item.Created) <= grace {
			info.Kept++
			continue
		}
		if err := s.bucket.drop(ctx, item.Key, item.Revision); err != nil {
			return info, err
		}
		if isChunk {
			info.Chunks++
		} else {
			info.Manifests++
		}
	}
	return info, nil
}

// ours reports whether this release could have written the key; what it
// doesn't know it leaves alone.
func ours(key string) bool {
	_, chunk := chunkOf(key)
	_, _, manifest := manifestOf(key)
	return chunk || manifest
}

// mark returns the keys that heads refer to, directly or not.
func (s *Store) mark(ctx context.Context, heads, manifests []kv.Item) (map[string]bool, error) {
	used := make(map[string]bool)
	for _, unit := range unitsOf(heads, manifests) {
		roots, err := s.roots(ctx, unit, manifests)
		if err != nil {
			return nil, err
		}
		for _, id := range roots {
			used[manifestKey(unit, id)] = true
			m, err := s.readManifest(ctx, unit, id)
			if errors.Is(err, ErrCorrupt) {
				continue // what it referred to can't be restored by anybody
			}
			if err != nil {
				return nil, err
			}
			for _, chunk := range m.chunks() {
				used[chunkKey(chunk)] = true
			}
		}
	}
	return used, nil
}

// roots returns the manifests of the unit that have to stay.
func (s *Store) roots(ctx context.Context, unit string, manifests []kv.Item) ([]ID, error) {
	h, err := s.readHead(ctx, unit)
	if err != nil {
		return nil, err
	}
	if errors.Is(h.problem, ErrUnknownFormat) {
		return nil, h.problem
	}
	if h.present && h.problem == nil {
		return h.ids, nil
	}
	var all []ID
	for _, item := range manifests {
		if of, id, ok := manifestOf(item.Key); ok && of == unit {
			all = append(all, id)
		}
	}
	return all, nil
}

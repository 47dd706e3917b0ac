package snapshot

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// perAge is how many manifests retention by age keeps at most, about evenly
// spaced: a start reads all that the head names.
const perAge = 100

// retained is what retention has to know of a manifest.
type retained struct {
	id      ID
	created time.Time
	content map[ID]uint64 // bytes of its segments, by their first chunk
}

func retainedOf(m *Manifest) retained {
	r := retained{id: m.ID, created: m.Created, content: make(map[ID]uint64)}
	for _, member := range m.Members {
		for _, s := range member.Segments {
			r.content[s.Chunks[0]] = max(r.content[s.Chunks[0]], s.Bytes)
		}
	}
	return r
}

// retain decides which manifests a head keeps, of all, newest first: the
// newest Keep in any case; of the others those younger than KeepFor, spaced by
// at least a hundredth of it, as long as all that are kept together hold no
// more than KeepBytes.
//
// Spacing goes from the oldest on, so what was kept once stays kept until it is
// too old: the thinned ones aren't thinned again.
func (o Options) retain(all []retained, now time.Time) []ID {
	certain := min(o.Keep, len(all))
	keep := slices.Clone(all[:certain])
	if o.KeepFor > 0 {
		var aged []retained // oldest first
		for _, r := range slices.Backward(all[certain:]) {
			spaced := len(aged) == 0 || r.created.Sub(aged[len(aged)-1].created) >= o.KeepFor/perAge
			if now.Sub(r.created) < o.KeepFor && spaced {
				aged = append(aged, r)
			}
		}
		slices.Reverse(aged)
		keep = append(keep, aged[:min(len(aged), perAge+1)]...)
	}
	ids := make([]ID, 0, len(keep))
	held := make(map[ID]bool)
	var sum uint64
	for i, r := range keep {
		for id, n := range r.content {
			if !held[id] {
				held[id] = true
				sum += n
			}
		}
		if i >= certain && o.KeepBytes > 0 && sum > o.KeepBytes {
			break
		}
		ids = append(ids, r.id)
	}
	return ids
}

// older returns which of the manifests that a head retains stay in it behind m.
// One that can't be read counts by its number alone; where the store doesn't
// answer, nothing is let go for now.
func (s *Store) older(ctx context.Context, m *Manifest, ids []ID) []ID {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id ID) bool { return id == m.ID })
	if s.opts.KeepFor == 0 {
		return ids[:min(len(ids), s.opts.Keep-1)]
	}
	all := []retained{retainedOf(m)}
	for i, id := range ids {
		r, ok := s.known.get(id)
		if !ok {
			old, err := s.readManifest(ctx, m.Unit, id)
			switch {
			case err == nil:
				r = retainedOf(old)
				s.known.put(r)
			case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownFormat):
				return ids[:min(len(ids), maxKeep-1)]
			case i+1 < s.opts.Keep:
				r = retained{id: id}
			default:
				continue
			}
		}
		all = append(all, r)
	}
	keep := s.opts.retain(all, m.Created)
	s.known.put(all[0])
	return keep[1:] // Keep is at least 2, so m is there
}

// known remembers what retention knows of manifests, which never change.
type known struct {
	mu sync.Mutex
	by map[ID]retained
}

func (k *known) get(id ID) (retained, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.by[id]
	return r, ok
}

func (k *known) put(r retained) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil || len(k.by) > 8*maxKeep { // of many units: begin anew
		k.by = make(map[ID]retained)
	}
	k.by[r.id] = r
}

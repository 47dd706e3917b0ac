package eventlog

import "hash/maphash"

// importIDs are the IDs of the feed and of the input: a hash table with open
// addressing, since a lookup for each draft is a good part of what an import
// costs itself. IDs are known by 128 bits of keyed hash.
type importIDs struct {
	scanned bool // the feed's are in
	seeds   [2]maphash.Seed
	slots   []idSlot // a power of two
	used    int      // < 3/4 of the slots
}

// idSlot is an ID and where it is. The zero value is a free slot.
type idSlot struct {
	id  [2]uint64
	seq uint64 // of its commit; 0: this import has it, and where isn't known
	key uint64 // hash; never 0 in a used slot
}

func newImportIDs() importIDs {
	return importIDs{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, slots: make([]idSlot, 1024)}
}

// slot finds the ID's slot, or the free one where it belongs.
func (s *importIDs) slot(id [2]uint64) *idSlot {
	mask := uint64(len(s.slots) - 1)
	for i := id[0] & mask; ; i = (i + 1) & mask {
		if at := &s.slots[i]; at.key == 0 || at.id == id {
			return at
		}
	}
}

func (s *importIDs) hash(id string) [2]uint64 {
	return [2]uint64{maphash.String(s.seeds[0], id), maphash.String(s.seeds[1], id)}
}

func (s *importIDs) keyHash(key string) uint64 { return maphash.String(s.seeds[0], key) | 1 }

// take fills a free slot.
func (s *importIDs) take(at *idSlot, v idSlot) {
	*at = v
	if s.used++; s.used < len(s.slots)/4*3 {
		return
	}
	old := s.slots
	s.slots = make([]idSlot, 2*len(old))
	for i := range old {
		if old[i].key != 0 {
			*s.slot(old[i].id) = old[i]
		}
	}
}

// claim takes an ID for this import, unless it is known; same is false where
// it is known under another key.
func (s *importIDs) claim(id, key string) (seq uint64, known, same bool) {
	h, k := s.hash(id), s.keyHash(key)
	at := s.slot(h)
	if at.key != 0 {
		return at.seq, true, at.key == k
	}
	s.take(at, idSlot{id: h, key: k})
	return 0, false, true
}

// met records an ID that is in the log.
func (s *importIDs) met(id, key string, seq uint64) {
	v := idSlot{id: s.hash(id), seq: seq, key: s.keyHash(key)}
	switch at := s.slot(v.id); {
	case at.key == 0:
		s.take(at, v)
	case at.seq == 0:
		*at = v
	}
}

// where says where in the log an ID is; 0: it isn't known to be there.
func (s *importIDs) where(id string) uint64 { return s.slot(s.hash(id)).seq }

package snapshot

import (
	"fmt"
	"math"
	"sync"
)

// What a peer says isn't believed: a manifest of some hundred bytes can name
// one chunk many times, and a chunk of some thousand can hold 256 MB of zeros.
// So a state may be as large, uncompressed, as its chunks make plausible, or as
// ImportOptions.MaxBytes says. The sizes that a manifest claims are bounds that
// reading holds to (cursor), so they are what is compared.

const (
	// plausible is how many bytes a compressed byte may stand for: rows of
	// real programs stay far below. Any state may have plausibleFloor, in all.
	plausible      = 256
	plausibleFloor = 64 << 20
)

// sizes are those of the chunks that an import has seen. It is safe for
// concurrent use.
type sizes struct {
	mu sync.Mutex
	of map[ID]int
}

func (s *sizes) note(id ID, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[ID]int)
	}
	s.of[id] = size
}

// raw is the size of a manifest's members before compression, as it says.
func (m *Manifest) raw() (sum uint64) {
	for _, s := range m.Members {
		for _, g := range s.Segments {
			if sum += g.Raw; sum > math.MaxInt64 { // each is at most that
				return math.MaxInt64
			}
		}
	}
	return sum
}

// claimed refuses a manifest whose state is larger than the caller allows,
// before anything of it is fetched.
func (im *importing) claimed(m *Manifest) error {
	if most := im.o.MaxBytes; most > 0 && m.raw() > most {
		return fmt.Errorf("%w: its state has %d bytes, and ImportOptions.MaxBytes allows %d", ErrNoMatch, m.raw(), most)
	}
	return nil
}

// plausible refuses a manifest whose chunks can't be expected to hold what it
// says, before any of them is decompressed.
func (im *importing) plausible(m *Manifest) error {
	if im.o.MaxBytes > 0 {
		return nil // claimed has compared it
	}
	most := uint64(plausibleFloor)
	for _, id := range m.chunks() {
		size, ok := im.sizes.of[id]
		if !ok {
			size = im.s.limit // it was written a moment ago, by an import that failed
		}
		most += plausible * uint64(size)
	}
	if m.raw() > most {
		return fmt.Errorf("%w: its state has %d bytes, and what its chunks hold makes %d plausible: set ImportOptions.MaxBytes where it is to be trusted", ErrNoMatch, m.raw(), most)
	}
	return nil
}

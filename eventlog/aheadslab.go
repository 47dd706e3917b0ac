package eventlog

// values makes values of an event type.
type values interface {
	slab() slab
	// value is what p, of a slab, points to.
	value(p any) any
}

// slab is memory for values of one type, used again from batch to batch. It
// is for one goroutine at a time.
type slab interface {
	// decode returns a pointer to the decoded value, valid until reset. Who
	// copies the value owns what it points to.
	decode(c Codec, data []byte) (any, error)
	reset()
}

type valuesOf[T any] struct{}

func (valuesOf[T]) slab() slab      { return new(slabOf[T]) }
func (valuesOf[T]) value(p any) any { return *p.(*T) }

// slabOf keeps its values in pieces, so that none ever moves.
type slabOf[T any] struct {
	pieces [][]T
	n      int
}

const slabPiece = 64

func (s *slabOf[T]) reset() { s.n = 0 }

func (s *slabOf[T]) decode(c Codec, data []byte) (v any, err error) {
	defer guard("decoding", &err)
	if s.n == len(s.pieces)*slabPiece {
		s.pieces = append(s.pieces, make([]T, slabPiece))
	}
	p := &s.pieces[s.n/slabPiece][s.n%slabPiece]
	s.n++
	// What was here before is somebody else's: a codec would fill its maps and
	// slices.
	var zero T
	*p = zero
	return p, c.Decode(data, p)
}

package storable

import (
	"fmt"
	"math"
)

// DefaultMemory is how many bytes decoding one value may take, unless it is said
// otherwise: 256 MiB.
const DefaultMemory = 256 << 20

// DataError is stored data that a decoder must not be given, or would take for
// something else.
type DataError struct {
	Type   string // that it was to be decoded into
	Path   string // of the field
	Reason string
}

func (e *DataError) Error() string { return join(e.Type, e.Path) + ": " + e.Reason }

// Bytes looks at a value in msgpack before it is decoded into the type: is all
// there that its lengths say, are its parts nested no deeper than MaxDepth, do
// its integers fit into the fields that they are for, and does decoding it take
// no more than so many bytes (0: DefaultMemory)? A decoder believes lengths,
// follows any nesting and wraps integers. The error is a *DataError.
//
// An array or a map is counted with the size in memory of all the elements that
// it says it has, a pointer with what it points to. Strings and bytes aren't:
// they take what they take here.
func (t *Type) Bytes(data []byte, memory int64) error {
	if t.broken {
		return &DataError{Type: nameOf(t.typ), Reason: t.Problems[0].Reason}
	}
	s := scan{data: data, memory: limit(memory)}
	// Each element has a byte of its own, at least. So small data needs no count.
	if s.counts = int64(len(data))*t.unit > s.memory; !s.counts && t.plain {
		s.at = s.skip(0, 1, 0)
	} else {
		s.at = s.value(t.data, 0, 0)
	}
	switch {
	case s.at < 0:
		return &DataError{Type: nameOf(t.typ), Path: s.path, Reason: s.reason}
	case s.at < len(data):
		return &DataError{Type: nameOf(t.typ), Reason: fmt.Sprintf("%d bytes left over after the value", len(data)-s.at)}
	}
	return nil
}

// Encoded says whether what was encoded can be decoded again: it may be nested
// too deep, or be too large for the limit. It costs nothing for small values.
func (t *Type) Encoded(data []byte, memory int64) error {
	if t == nil || len(data) <= MaxDepth && int64(len(data))*t.unit <= limit(memory) {
		return nil
	}
	return t.Bytes(data, memory)
}

func limit(memory int64) int64 {
	if memory <= 0 {
		return DefaultMemory
	}
	return memory
}

// scan is one way through encoded data. Its functions take the place at which a
// value begins and return the one behind it, or failed. Where one fails, the
// path is put together on the way back.
type scan struct {
	data   []byte
	at     int
	memory int64 // that is left
	counts bool  // memory is counted
	path   string
	reason string
}

const failed = -1

func (s *scan) fail(format string, a ...any) int {
	s.reason = fmt.Sprintf(format, a...)
	return failed
}

func (s *scan) in(step string) int {
	if len(s.path) < 256 {
		s.path = join(step, s.path)
	}
	return failed
}

func (s *scan) short() int { return s.fail("%d bytes of data end within a value", len(s.data)) }

func (s *scan) tooDeep() int { return s.fail("nested more than %d levels deep", MaxDepth) }

// take counts memory that elements will be given before they are looked at.
func (s *scan) take(n int, size int64) bool {
	if !s.counts {
		return true
	}
	if size > 0 && int64(n) > s.memory/size {
		s.fail("decoding it would take more memory than is allowed, with %d elements of %d bytes at once: raise Options.MaxDecoded if the data is right", n, size)
		return false
	}
	s.memory -= int64(n) * size
	return true
}

// head is what the first byte of a value says. Source: the MessagePack
// specification, "Formats".
type head struct {
	form  headForm
	size  uint8 // bytes of the value, its first one included, before what is counted
	count uint8 // of items in a short array or map
}

type headForm uint8

const (
	whole   headForm = iota // size is all
	array                   // of count items
	object                  // of count pairs
	sized                   // the length of bytes follows the first byte
	arrayN                  // the number of items follows the first byte
	objectN                 // the number of pairs follows the first byte
	unknown
)

var heads = func() (h [256]head) {
	for c := range 256 {
		switch {
		case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3:
			h[c] = head{whole, 1, 0}
		case c <= 0x8f:
			h[c] = head{object, 1, uint8(c & 0x0f)}
		case c <= 0x9f:
			h[c] = head{array, 1, uint8(c & 0x0f)}
		case c <= 0xbf:
			h[c] = head{whole, uint8(1 + c&0x1f), 0}
		case c == 0xc1:
			h[c] = head{unknown, 1, 0}
		}
	}
	for i := range 3 {
		h[0xc4+i] = head{sized, 1 + 1<<i, 0} // bytes
		h[0xc7+i] = head{sized, 2 + 1<<i, 0} // an extension, with its type
		h[0xd9+i] = head{sized, 1 + 1<<i, 0} // a string
	}
	for i := range 4 {
		h[0xcc+i] = head{whole, 1 + 1<<i, 0} // unsigned
		h[0xd0+i] = head{whole, 1 + 1<<i, 0} // signed
	}
	for i := range 5 {
		h[0xd4+i] = head{whole, 2 + 1<<i, 0} // an extension, with its type
	}
	h[0xca], h[0xcb] = head{whole, 5, 0}, head{whole, 9, 0}
	for i := range 2 {
		h[0xdc+i] = head{arrayN, 3 + 2*uint8(i), 0}
		h[0xde+i] = head{objectN, 3 + 2*uint8(i), 0}
	}
	return h
}()

// sizes are those of the values whose first byte says all, else 0.
var sizes = func() (sizes [256]uint8) {
	for c, h := range heads {
		if h.form == whole {
			sizes[c] = h.size
		}
	}
	return sizes
}()

// number reads the big-endian number in the bytes from a place on.
func (s *scan) number(from, to int) (n uint64) {
	for _, b := range s.data[from:to] {
		n = n<<8 | uint64(b)
	}
	return n
}

// open reads the head of a value: its form, where its content begins, and how
// many bytes, items or pairs that has. The place is failed where the data ends
// before the head does, or has fewer bytes than it says there are items.
func (s *scan) open(at int) (form headForm, begin, count int) {
	if at >= len(s.data) {
		return whole, s.short(), 0
	}
	h := heads[s.data[at]]
	begin = at + int(h.size)
	if begin > len(s.data) {
		return whole, s.short(), 0
	}
	switch h.form {
	case whole:
		return whole, begin, 0
	case array, object:
		count = int(h.count)
	case arrayN, objectN:
		count = int(min(s.number(at+1, begin), math.MaxInt32))
	case sized:
		width := int(h.size) - 1
		if c := s.data[at]; c >= 0xc7 && c <= 0xc9 {
			width-- // the type of an extension
		}
		count = int(min(s.number(at+1, at+1+width), math.MaxInt32))
	default:
		return whole, s.fail("byte %#x begins no value", s.data[at]), 0
	}
	form = h.form
	need := count
	switch form {
	case arrayN:
		form = array
	case objectN:
		form = object
	}
	if form == object {
		need *= 2
	}
	if need > len(s.data)-begin {
		return form, s.fail("a length says %d where %d bytes are left", count, len(s.data)-begin), 0
	}
	return form, begin, count
}

// skip passes over n values, whatever they are.
func (s *scan) skip(at, n, depth int) int {
	if len(s.data) > MaxDepth {
		for range n {
			if at = s.counted(0, at, depth); at < 0 {
				return at
			}
		}
		return at
	}
	// Data that is this short can't be nested too deep, so nothing keeps track.
	for data := s.data; n > 0; n-- {
		if at >= len(data) {
			return s.short()
		}
		if size := sizes[data[at]]; size > 0 {
			at += int(size)
			continue
		}
		if data[at] == 0xd9 && at+1 < len(data) { // a string of up to 255 bytes
			at += 2 + int(data[at+1])
			continue
		}
		form, begin, count := s.open(at)
		switch at = begin; {
		case begin < 0:
			return failed
		case form == array:
			n += count
		case form == object:
			n += 2 * count
		default:
			at += count
		}
	}
	if at > len(s.data) {
		return s.short()
	}
	return at
}

package storable

import (
	"fmt"
	"math"
)

// integer looks whether a number fits.
func (s *scan) integer(n *node, at int) int {
	if at >= len(s.data) {
		return s.short()
	}
	c := s.data[at]
	if c <= 0x7f {
		return at + 1
	}
	if c >= 0xcc && c <= 0xcf && (n.kind == unsigned || c < 0xcf) && 8<<(c-0xcc) < n.bits || c == 0xcf && n.kind == unsigned && n.bits == 64 {
		if at += int(sizes[c]); at > len(s.data) {
			return s.short()
		}
		return at // an unsigned number of fewer bits, or of as many
	}
	if c < 0xe0 && (c < 0xcc || c > 0xd3) {
		return s.skip(at, 1, 0) // nil is 0, and the decoder refuses all else
	}
	end := at + int(heads[c].size)
	if end > len(s.data) {
		return s.short()
	}
	negative, value := s.integerAt(at, end)
	switch {
	case n.kind == signed && !negative && value > math.MaxInt64>>(64-n.bits),
		n.kind == signed && negative && int64(value) < math.MinInt64>>(64-n.bits),
		n.kind == unsigned && (negative || value > math.MaxUint64>>(64-n.bits)):
		return s.fail("%s doesn't fit into %s: give the field a type that what was stored fits into, or read it by its old type (eventlog.Upcast, projection.Migrate)", number(negative, value), nameOf(n.typ))
	}
	return end
}

// integerAt reads an integer: its bits, and whether they are those of a negative
// one.
func (s *scan) integerAt(at, end int) (negative bool, value uint64) {
	c := s.data[at]
	switch {
	case c <= 0x7f:
		return false, uint64(c)
	case c >= 0xe0:
		return true, uint64(int64(int8(c)))
	}
	value = s.number(at+1, end)
	if c >= 0xd0 {
		shift := 64 - 8*(end-at-1)
		value = uint64(int64(value<<shift) >> shift)
		return int64(value) < 0, value
	}
	return false, value
}

func number(negative bool, value uint64) string {
	if negative {
		return fmt.Sprint(int64(value))
	}
	return fmt.Sprint(value)
}

// float looks whether an integer that stands for a floating-point number is one.
func (s *scan) float(n *node, at int) int {
	if at >= len(s.data) {
		return s.short()
	}
	c := s.data[at]
	if c <= 0x7f || c >= 0xe0 || c < 0xcc || c > 0xd3 {
		return s.skip(at, 1, 0)
	}
	end := at + int(heads[c].size)
	if end > len(s.data) {
		return s.short()
	}
	negative, value := s.integerAt(at, end)
	exact := value <= math.MaxInt64 || negative
	if exact {
		i := int64(value)
		f := float64(i)
		if n.bits == 32 {
			f = float64(float32(i))
		}
		exact = f < math.MaxInt64 && int64(f) == i
	}
	if !exact {
		return s.fail("%s is not a number of %s: read it by its old type (eventlog.Upcast, projection.Migrate)", number(negative, value), nameOf(n.typ))
	}
	return end
}

package timeframe

import "encoding/binary"

// appendName appends a string of at most 127 bytes after its length in one
// byte, which is then also the uvarint of the length.
func appendName(b []byte, s string) []byte {
	return append(append(b, byte(len(s))), s...)
}

// reader takes canonical fields off the front of a binary form. It keeps the
// first error, and after that every field is zero: callers check err where they
// would loop or allocate, and at the end.
type reader struct {
	form string
	all  []byte
	off  int // 0 <= off <= len(all)
	err  error
}

// version takes the first byte, which must be want.
func (r *reader) version(want byte) {
	if got := r.byte(); r.err == nil && got != want {
		r.err = &VersionError{Form: r.form, Got: got, Want: want}
	}
}

func (r *reader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

// take returns the next n bytes, which alias the input, or nil.
func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n > r.left() {
		r.fail("the data ends too early")
		return nil
	}
	b := r.all[r.off : r.off+n]
	r.off += n
	return b
}

// uvarint takes a number in its shortest form.
func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.all[r.off:])
	switch {
	case n == 0:
		r.fail("the data ends within a number")
		return 0
	case n < 0:
		r.fail("a number has more than 64 bits")
		return 0
	case n > 1 && r.all[r.off+n-1] == 0:
		r.fail("a number isn't in its shortest form")
		return 0
	}
	r.off += n
	return v
}

// count takes the number of items that follow. Each takes at least size bytes,
// so a count that can't be true is refused before anything is allocated for it.
func (r *reader) count(size int) int {
	at := r.off
	n := r.uvarint()
	if r.err == nil && n > uint64(r.left()/size) {
		r.off = at
		r.fail("the count is greater than the data can hold")
		return 0
	}
	return int(n)
}

// text takes a string of at most limit bytes after its length.
func (r *reader) text(limit int) string {
	at := r.off
	n := int(r.byte())
	if r.err == nil && n > limit {
		r.off = at
		r.fail("a string is too long")
	}
	return string(r.take(n))
}

// feed takes a feed's name, which must be valid and above the one before.
func (r *reader) feed(before string) string {
	at := r.off
	name := r.text(MaxName)
	if r.err != nil {
		return ""
	}
	if err := ValidName(name); err != nil {
		r.err = formatError(r.form, at, err.Error(), err)
		return ""
	}
	if name <= before {
		r.off = at
		r.fail("feeds must ascend without repeats")
		return ""
	}
	return name
}

// end checks that nothing is left, and returns the first error.
func (r *reader) end() error {
	if r.err == nil && r.left() > 0 {
		r.fail("there is data after the end")
	}
	return r.err
}

func (r *reader) left() int { return len(r.all) - r.off }

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = formatError(r.form, r.off, reason, nil)
	}
}

package gaps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
	"unicode/utf8"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Version is the first byte of the stored form.
const Version = 1

// ErrCorrupt: the bytes are no register.
var ErrCorrupt = errors.New("corrupt register of gaps")

// VersionError is the form of another release.
type VersionError struct{ Got byte }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the register of gaps has version %d, this release reads %d: use a newer one", e.Got, Version)
}

const (
	flagPending  = 1
	checksumSize = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the stored form.
func (r Register) Append(b []byte) []byte {
	from := len(b)
	b = append(b, Version)
	b = appendText(b, r.Incarnation)
	b = binary.AppendUvarint(b, uint64(len(r.Entries)))
	for _, e := range r.Entries {
		flags := byte(0)
		if e.Pending {
			flags = flagPending
		}
		b = append(b, byte(e.Kind), flags)
		b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixNano()))
		b = appendText(appendText(b, e.Reason), e.By)
		b = binary.AppendUvarint(b, uint64(len(e.Ranges)))
		before := uint64(0)
		for _, g := range e.Ranges {
			b = binary.AppendUvarint(b, g.First-before-1)
			b = binary.AppendUvarint(b, g.Last-g.First)
			before = g.Last
		}
		b = binary.AppendUvarint(b, uint64(len(e.Prints)))
		for _, p := range e.Prints {
			b = append(b, p[:]...)
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Decode is the inverse of Append, and accepts nothing else. Errors: an
// ErrCorrupt; a *VersionError.
func Decode(b []byte) (Register, error) {
	d := reader{rest: b}
	if v := d.byte(); d.err == nil && v != Version {
		return Register{}, &VersionError{Got: v}
	}
	switch n := len(b) - checksumSize; {
	case len(b) > MaxBytes || n < 1:
		return Register{}, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	case crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]):
		return Register{}, fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	default:
		d.rest = b[1:n]
	}
	r := Register{Incarnation: d.text(timeframe.MaxIncarnation)}
	for range d.count(MaxEntries, 14) {
		r.Entries = append(r.Entries, d.entry())
	}
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes after the end", len(d.rest))
	}
	if d.err != nil {
		return Register{}, d.err
	}
	return r, nil
}

// reader takes fields off the front, and keeps the first error; after it every
// field is zero.
type reader struct {
	rest []byte
	err  error
}

func (d *reader) entry() (e Entry) {
	e.Kind = Kind(d.byte())
	flags := d.byte()
	e.Pending = flags&flagPending != 0
	if d.err == nil && (e.Kind < Accepted || e.Kind > Erased || flags > flagPending || e.Pending && e.Kind != Erased) {
		d.fail("an entry of kind %d with flags %d", e.Kind, flags)
	}
	if at := d.take(8); at != nil {
		e.At = time.Unix(0, int64(binary.BigEndian.Uint64(at))).UTC()
	}
	e.Reason, e.By = d.text(MaxReason), d.text(MaxBy)
	before := uint64(0)
	for i := range d.count(math.MaxInt, 2) {
		skip, more := d.uvarint(), d.uvarint()
		if d.err == nil && (skip >= math.MaxUint64-before || more > math.MaxUint64-1-before-skip || i > 0 && skip == 0) {
			d.fail("a bad range after %d", before)
		}
		if d.err != nil {
			return e
		}
		g := Range{First: before + skip + 1}
		g.Last = g.First + more
		e.Ranges, before = append(e.Ranges, g), g.Last
	}
	for range d.count(math.MaxInt, len(timeframe.Fingerprint{})) {
		if p := d.take(len(timeframe.Fingerprint{})); p != nil {
			e.Prints = append(e.Prints, timeframe.Fingerprint(p))
		}
	}
	switch n := uint64(len(e.Prints)); {
	case d.err != nil:
	case len(e.Ranges) == 0:
		d.fail("an entry without positions")
	case e.Kind == Passed && n != e.Ranges.Len(), e.Kind == Accepted && n != 0, e.Kind == Erased && n > 1 && n != e.Ranges.Len():
		d.fail("%d fingerprints of %d positions", n, e.Ranges.Len())
	}
	return e
}

func (d *reader) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, a...))
	}
}

func (d *reader) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.rest) {
		d.fail("it ends too early")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *reader) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint takes a number in its shortest form.
func (d *reader) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		d.fail("a bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count takes the number of items that follow, each of at least size bytes.
func (d *reader) count(most, size int) int {
	n := d.uvarint()
	if d.err == nil && (n > uint64(most) || n > uint64(len(d.rest)/size)) {
		d.fail("a count of %d", n)
		return 0
	}
	return int(n)
}

func (d *reader) text(most int) string {
	b := d.take(d.count(most, 1))
	if d.err == nil && !utf8.Valid(b) {
		d.fail("a text that isn't UTF-8")
	}
	return string(b)
}

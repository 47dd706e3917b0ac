package snapshot

import (
	"encoding/binary"
)

// The formats share one shape: three letters, a version byte, then fields;
// numbers are uvarints, strings and byte fields follow their length.
const (
	formatVersion = 1
	magicSize     = 4

	chunkMagic    = "TMC"
	manifestMagic = "TMM"
	headMagic     = "TMH"
)

func appendMagic(b []byte, magic string) []byte {
	return append(append(b, magic...), formatVersion)
}

// checkMagic returns what follows the magic and the version byte.
func checkMagic(data []byte, magic, what string) ([]byte, error) {
	if len(data) < magicSize || string(data[:len(magic)]) != magic {
		return nil, corrupt("%s: no %q at its start", what, magic)
	}
	if v := data[len(magic)]; v != formatVersion {
		return nil, &FormatError{What: what, Got: v, Want: formatVersion}
	}
	return data[magicSize:], nil
}

func appendBytes(b, field []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

func appendString(b []byte, field string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

// fields takes a form apart. After the first problem all methods return zero
// values, so callers check err once per loop and at the end. It never
// allocates more than what is left of the input.
type fields struct {
	what string
	rest []byte
	err  error
}

func (f *fields) fail(reason string, args ...any) {
	if f.err == nil {
		f.err = corrupt(f.what+": "+reason, args...)
	}
	f.rest = nil
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.fail("a number is cut short or too large")
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// count reads how many items follow, each of which takes at least size bytes.
func (f *fields) count(size int) int {
	n := f.uvarint()
	if n > uint64(len(f.rest)/size) {
		f.fail("%d items are more than fit", n)
		return 0
	}
	return int(n)
}

// take returns the next n bytes of the input itself.
func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		f.fail("cut short")
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) bytes() []byte { return f.take(f.count(1)) }

func (f *fields) string() string { return string(f.bytes()) }

func (f *fields) id() (id ID) {
	copy(id[:], f.take(len(id)))
	return id
}

// end reports the first problem, which may be that bytes are left over.
func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		f.fail("%d bytes too many", len(f.rest))
	}
	return f.err
}

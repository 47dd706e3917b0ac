package eventlog

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// storedVersion is the first byte of a commit that is kept outside its log
// (docs/format-commit.md).
const storedVersion = 1

// AppendStored appends the commit, whole as the log has it, to dst: for who
// keeps commits outside the log. Feed.DecodeStored is its inverse.
func (c *Commit) AppendStored(dst []byte) []byte {
	m := &c.msg
	dst = append(dst, storedVersion)
	dst = binary.AppendUvarint(dst, m.seq)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.nanos))
	dst = appendSized(dst, m.subject)
	fields := m.fields()
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	for _, f := range fields {
		dst = appendSized(appendSized(dst, f[0]), f[1])
	}
	return append(dst, m.data...)
}

// AppendStored is Commit.AppendStored of the event's commit.
func (e Event) AppendStored(dst []byte) ([]byte, error) {
	if e.commit == nil {
		return dst, fmt.Errorf("%w: the zero Event", ErrInvalid)
	}
	return e.commit.AppendStored(dst), nil
}

// DecodeStored returns the commit of this feed that AppendStored has encoded:
// its events, headers, identity and fingerprint are as they were. It keeps
// data. The error is an ErrCorrupt.
func (f *Feed) DecodeStored(data []byte) (c Commit, err error) {
	m, err := decodeStored(data)
	if err != nil {
		return c, fmt.Errorf("eventlog: feed %q: %w: stored commit: %w", f.name, ErrCorrupt, err)
	}
	if err := f.decode(&c, m); err != nil {
		return Commit{}, err
	}
	return c, nil
}

func decodeStored(data []byte) (m message, err error) {
	if len(data) == 0 || data[0] != storedVersion {
		return m, fmt.Errorf("not of version %d", storedVersion)
	}
	d := storedReader{rest: data[1:]}
	m.seq = d.uvarint()
	m.nanos = int64(d.uint64())
	m.subject = d.string()
	n := d.uvarint()
	if n > uint64(len(d.rest)) { // each takes two bytes at least
		return m, fmt.Errorf("cut short: %d headers", n)
	}
	fields := make([][2]string, 0, n)
	for range n {
		fields = append(fields, [2]string{d.string(), d.string()})
	}
	if d.short {
		return m, fmt.Errorf("cut short at %d bytes", len(data))
	}
	m.data = d.rest
	return m, m.setFields(fields)
}

// storedReader takes fields off the front; what it returns once it is short
// means nothing.
type storedReader struct {
	rest  []byte
	short bool
}

func (d *storedReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.short, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *storedReader) uint64() uint64 {
	if len(d.rest) < 8 {
		d.short, d.rest = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(d.rest)
	d.rest = d.rest[8:]
	return v
}

func (d *storedReader) string() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// fields are the message's headers, by name; the values of one name in their
// order.
func (m *message) fields() (fields [][2]string) {
	for name, value := range m.header.fields() {
		fields = append(fields, [2]string{string(name), string(value)})
	}
	slices.SortStableFunc(fields, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return fields
}

// setFields is the inverse of fields. What couldn't have been a header is
// refused, since the bytes may come from anybody.
func (m *message) setFields(fields [][2]string) error {
	h := make(nats.Header)
	for i, f := range fields {
		if f[0] == "" || strings.ContainsAny(f[0], ":\r\n") || strings.ContainsAny(f[1], "\r\n") {
			return fmt.Errorf("header %d is malformed", i)
		}
		h[f[0]] = append(h[f[0]], f[1])
	}
	m.header = headersOf(h)
	return nil
}

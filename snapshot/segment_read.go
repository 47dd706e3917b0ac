package snapshot

import (
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/s2"
)

// cursor walks over the entries of one segment. Key and value are lent: they
// are valid until the next step.
type cursor struct {
	next   func() ([]byte, error) // the next chunk, checked against its name; nil at the end
	expect Segment                // what the manifest says
	age    int                    // index of the segment: greater is newer, and decides between equal keys

	key     []byte
	value   []byte
	deleted bool

	frames []byte // rest of the current chunk
	buf    []byte // decoded entry bytes
	pos    int    // in buf: where the next entry begins

	entries, raw uint64
	chunks       int // fetched so far
}

// step moves to the next entry. It is false at the end, once the counts have
// been compared with what the manifest says. Errors of decoding are
// *CorruptError with segment and chunk, or *FormatError.
func (c *cursor) step() (bool, error) {
	for {
		ok, err := c.parse()
		if err == nil && !ok {
			if ok, err = c.refill(); ok {
				continue
			}
		}
		return ok, c.locate(err)
	}
}

func (c *cursor) locate(err error) error {
	if e, ok := errors.AsType[*CorruptError](err); ok {
		e.Segment, e.Chunk = c.age, c.chunks-1
	}
	return err
}

// parse takes one entry from the buffer; false where it isn't whole.
func (c *cursor) parse() (bool, error) {
	b := c.buf[c.pos:]
	shared, n1 := uvarint(b)
	if n1 <= 0 {
		return false, badNumber(n1)
	}
	rest, n2 := uvarint(b[n1:])
	if n2 <= 0 {
		return false, badNumber(n2)
	}
	meta, n3 := uvarint(b[n1+n2:])
	if n3 <= 0 {
		return false, badNumber(n3)
	}
	size := meta >> 1
	if shared > uint64(len(c.key)) || rest > MaxKey || shared+rest > MaxKey || size > MaxValue || meta&1 == 1 && size > 0 {
		return false, corrupt("the lengths of an entry are out of range")
	}
	at := n1 + n2 + n3
	end := at + int(rest) + int(size)
	if end > len(b) {
		return false, nil
	}
	suffix := b[at : at+int(rest)]
	if !ascends(c.key, int(shared), suffix) && c.entries > 0 {
		return false, corrupt("keys don't ascend strictly, or share more than is said")
	}
	c.key = append(c.key[:shared], suffix...)
	c.value = b[at+int(rest) : end : end]
	c.deleted = meta&1 == 1
	c.entries++
	c.raw += uint64(end)
	c.pos += end
	return true, nil
}

// ascends reports whether prev[:shared]+suffix is greater than prev and shared
// is all that they share: then the first byte that differs decides.
func ascends(prev []byte, shared int, suffix []byte) bool {
	if len(suffix) == 0 {
		return false
	}
	return shared == len(prev) || suffix[0] > prev[shared]
}

// uvarint is binary.Uvarint with the one-byte case inlined: nearly all lengths
// are below 128.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// badNumber tells a number that isn't whole yet (no error) from one that is
// too large.
func badNumber(n int) error {
	if n == 0 {
		return nil
	}
	return corrupt("a length is too large")
}

// refill decodes the next block behind what is left of the buffer.
func (c *cursor) refill() (bool, error) {
	for len(c.frames) == 0 {
		chunk, err := c.next()
		c.chunks++
		if err != nil {
			return false, err
		}
		if chunk == nil {
			c.chunks-- // the last one is where the damage is
			return false, c.finish()
		}
		if c.frames, err = checkMagic(chunk, chunkMagic, "chunk"); err != nil {
			return false, err
		}
	}
	raw, body, stored, err := c.frame()
	if err != nil {
		return false, err
	}
	left := len(c.buf) - c.pos
	if c.pos > 0 { // else a value of many blocks would be moved with each of them
		copy(c.buf, c.buf[c.pos:])
	}
	c.buf, c.pos = grow(c.buf[:left], raw), 0
	if c.raw+uint64(len(c.buf)) > c.expect.Raw {
		return false, corrupt("more than the %d bytes that the manifest says", c.expect.Raw)
	}
	if stored {
		copy(c.buf[left:], body)
		return true, nil
	}
	if _, err := s2.Decode(c.buf[left:], body); err != nil {
		return false, corrupt("a block can't be decompressed: %v", err)
	}
	return true, nil
}

// frame takes the next block apart: its raw size, and its bytes.
func (c *cursor) frame() (raw int, body []byte, stored bool, err error) {
	f := fields{what: "chunk", rest: c.frames}
	size, packed := f.uvarint(), f.uvarint()
	if f.err == nil && (size == 0 || size > maxBlock || packed>>1 > maxBlock) {
		f.fail("a block's size is out of range")
	}
	if f.err != nil {
		return 0, nil, false, f.err
	}
	raw, stored = int(size), packed&1 == 1
	body = f.take(int(packed >> 1))
	if f.err != nil {
		return 0, nil, false, f.err
	}
	if got := len(body); !stored {
		if got, err = s2.DecodedLen(body); err != nil || got != raw {
			return 0, nil, false, corrupt("a block isn't of the size that is said")
		}
	} else if got != raw {
		return 0, nil, false, corrupt("a stored block isn't of the size that is said")
	}
	c.frames = f.rest
	return raw, body, stored, nil
}

// finish compares what was read with what the manifest says.
func (c *cursor) finish() error {
	if c.pos != len(c.buf) {
		return corrupt("the last entry is cut short")
	}
	if c.entries != c.expect.Entries || c.raw != c.expect.Raw {
		return corrupt("%d entries of %d bytes, the manifest says %d of %d", c.entries, c.raw, c.expect.Entries, c.expect.Raw)
	}
	return nil
}

// grow returns b with n more bytes of any content.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}

package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
)

// The server's backup of a stream is an archive (server/archive) in the frames
// of an S2 stream (github.com/google/snappy framing_format.txt): eight magic
// bytes, an entry with the stream's state, one for each message in order, and
// an empty one as the end. Both are taken apart here, in place and in whole
// blocks, since an io.Reader between them costs more than all the rest.

const (
	archiveMagic = "NATSARC1"
	archiveState = "state.json"
	archiveEnd   = 5 // bytes of the last entry: all its numbers are 0

	// archiveEntry bounds an entry, in bytes: the server's greatest maximum
	// payload is 64 MiB. A page, which has room for one, is below 2 GiB.
	archiveEntry = 65 << 20

	frameCompressed = 0x00
	framePlain      = 0x01
	frameSkippable  = 0x80 // and above
	frameIdentifier = 0xff
	frameHeader     = 4
	frameChecksum   = 4
	frameBlock      = 4 << 20 // of a frame, decompressed
)

var (
	errArchive = errors.New("not an archive of a stream")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// frame is the first frame of b: how many bytes it has, 0 where they aren't
// all there yet, and its data, nil where it has none.
func frame(b []byte) (size int, kind byte, data []byte, err error) {
	if len(b) < frameHeader {
		return 0, 0, nil, nil
	}
	kind = b[0]
	size = frameHeader + int(b[1]) + int(b[2])<<8 + int(b[3])<<16
	switch {
	case kind != frameCompressed && kind != framePlain && kind < frameSkippable:
		return 0, 0, nil, fmt.Errorf("%w: a frame of kind %#x", errArchive, kind)
	case len(b) < size:
		return 0, 0, nil, nil
	case kind >= frameSkippable:
		return size, kind, nil, nil
	case size < frameHeader+frameChecksum:
		return 0, 0, nil, fmt.Errorf("%w: a short frame", errArchive)
	}
	return size, kind, b[frameHeader:size], nil
}

// frameLen is how many bytes a frame's data has when it is unpacked.
func frameLen(kind byte, data []byte) (n int, err error) {
	n = len(data) - frameChecksum
	if kind == frameCompressed {
		if n, err = s2.DecodedLen(data[frameChecksum:]); err != nil {
			return 0, fmt.Errorf("%w: %w", errArchive, err)
		}
	}
	if n > frameBlock {
		return 0, fmt.Errorf("%w: a block of %d bytes", errArchive, n)
	}
	return n, nil
}

// unpack unpacks a frame's data into dst, which has its length.
func unpack(dst []byte, kind byte, data []byte) error {
	sum := binary.LittleEndian.Uint32(data)
	data = data[frameChecksum:]
	if kind == framePlain {
		copy(dst, data)
	} else if _, err := s2.Decode(dst, data); err != nil {
		return fmt.Errorf("%w: %w", errArchive, err)
	}
	c := crc32.Checksum(dst, castagnoli)
	if c = (c>>15 | c<<17) + 0xa282ead8; c != sum {
		return fmt.Errorf("%w: a block's checksum is wrong", errArchive)
	}
	return nil
}

// archive is how far an archive was read.
type archive struct {
	begun bool   // magic bytes and state were there
	ended bool   // the last entry was there: the archive is whole
	seq   uint64 // of the last message
}

// slot is a message in an archive, by where it stands: pages full of them cost
// the garbage collector nothing.
type slot struct {
	seq                      uint64
	nanos                    int64
	at, subject, header, end int32 // where it begins, two lengths, and where it ends
}

// message is the slot's, lent from the memory that it stands in.
func (s *slot) message(b []byte) message {
	head := s.at + s.subject
	data := head + s.header
	return message{
		seq: s.seq, nanos: s.nanos, subject: lentString(b[s.at:head]),
		header: b[head:data:data], data: b[data:s.end:s.end],
	}
}

// parse takes the whole entries behind from in b and appends the slots of
// their messages. used is how far it came, and need is how many bytes the next
// entry has, where that is known.
func (a *archive) parse(b []byte, from int, to []slot) (slots []slot, used, need int, err error) {
	used = from
	if !a.begun {
		n, need, err := a.begin(b[from:])
		if used += n; err != nil || n == 0 {
			return to, used, need, err
		}
	}
	for !a.ended {
		e, body, size := entryOf(b[used:])
		switch {
		case size < 0, e.seq == 0 && size > 0 && (size > archiveEnd || e.nanos != 0), e.seq != 0 && e.seq <= a.seq:
			return to, used, 0, fmt.Errorf("%w: a bad entry behind sequence %d", errArchive, a.seq)
		case size == 0:
			return to, used, 0, nil
		case size > len(b)-used:
			return to, used, size, nil
		case e.seq == 0:
			a.ended = true
			used += size
			continue
		}
		to = append(to, slot{
			seq: e.seq, nanos: e.nanos,
			at: int32(used + body), subject: int32(e.name), header: int32(e.header), end: int32(used + size),
		})
		a.seq, used = e.seq, used+size
	}
	if used < len(b) {
		err = fmt.Errorf("%w: %d bytes behind its end", errArchive, len(b)-used)
	}
	return to, used, 0, err
}

// begin reads the magic bytes and the entry of the state.
func (a *archive) begin(b []byte) (used, need int, err error) {
	if n := min(len(b), len(archiveMagic)); string(b[:n]) != archiveMagic[:n] {
		return 0, 0, fmt.Errorf("%w: it begins with %q", errArchive, b[:n])
	}
	if len(b) < len(archiveMagic) {
		return 0, 0, nil
	}
	used = len(archiveMagic)
	e, body, size := entryOf(b[used:])
	switch {
	case size < 0 || e.seq != 0:
		return 0, 0, fmt.Errorf("%w: it doesn't begin with the stream's state", errArchive)
	case size == 0:
		return 0, 0, nil
	case size > len(b)-used:
		return 0, used + size, nil
	case string(b[used+body:][:e.name]) != archiveState:
		return 0, 0, fmt.Errorf("%w: its first entry is %q", errArchive, b[used+body:][:e.name])
	}
	a.begun = true
	return used + size, 0, nil
}

// entry is what stands in front of an entry's name, header and payload.
type entry struct {
	name, header int // lengths
	nanos        int64
	seq          uint64
}

// entryOf reads the front of an entry: where its name begins, and its whole
// size; 0 where b is too short to tell, and less where it is no entry.
func entryOf(b []byte) (e entry, body, size int) {
	name, i := binary.Uvarint(b)
	nanos, j := binary.Varint(b[max(i, 0):])
	if i <= 0 || j <= 0 {
		return e, 0, min(i, j, 0)
	}
	body = i + j
	var n [3]uint64 // sequence, header, payload
	for k := range n {
		if n[k], i = binary.Uvarint(b[body:]); i <= 0 {
			return e, 0, i
		}
		body += i
	}
	if name > archiveEntry || n[1] > archiveEntry || n[2] > archiveEntry || name+n[1]+n[2] > archiveEntry {
		return e, 0, -1
	}
	return entry{name: int(name), header: int(n[1]), nanos: nanos, seq: n[0]}, body, body + int(name+n[1]+n[2])
}

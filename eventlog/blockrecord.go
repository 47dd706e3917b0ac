package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"

	"github.com/minio/highwayhash"
)

// A block file is records one after another, all numbers little-endian:
//
//	length(4) sequence(8) time(8) subject length(2) subject [header length(4) header] data hash(8)
//
// The length is the whole record's, with its highest bit set where there is a
// header. Two bits of the sequence mark tombstones and erased messages. The
// hash is HighwayHash-64 of sequence, time, subject, header and data, under
// the SHA-256 of "<stream>-<block>".
const (
	recordHead    = 22
	recordHash    = 8
	recordLongest = 32 << 20
	recordHeader  = 1 << 31 // of the length
	recordErased  = 1 << 63 // of the sequence
	recordTomb    = 1 << 62
)

// errBlockForm says that a file isn't what the server that this was written
// for stores in plain form: encrypted, compressed, damaged, of another version.
var errBlockForm = errors.New("not a block file as it is known")

// blockScan finds one subject's messages in block files.
type blockScan struct {
	stream  string
	subject []byte
	first   uint64 // what is below was trimmed
}

// block returns the subject's messages in a block, ascending. In the newest
// one the last record may be there in part: it ends there. buf is memory for
// what is read.
func (s *blockScan) block(index uint64, newest bool, r io.ReaderAt, buf []byte) (found []message, err error) {
	var off int64
	var last uint64
	sum, err := newBlockHash(s.stream, index)
	if err != nil {
		return nil, err
	}
	for {
		n, err := r.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		at := 0
		for at+recordHead <= n {
			b := buf[at:n]
			length := binary.LittleEndian.Uint32(b)
			size := int(length &^ recordHeader)
			subject := int(binary.LittleEndian.Uint16(b[20:]))
			seq := binary.LittleEndian.Uint64(b[4:])
			if size > recordLongest || size < recordHead+subject+recordHash {
				return nil, fmt.Errorf("%w: block %d, offset %d", errBlockForm, index, off+int64(at))
			}
			if recordHead+subject > len(b) {
				break
			}
			if seq&recordTomb == 0 && subject == len(s.subject) && bytes.Equal(b[recordHead:recordHead+subject], s.subject) {
				if size > len(b) && n == len(buf) && at > 0 {
					break // the rest of it is behind the buffer
				}
				m, err := s.record(sum, off+int64(at), r, b, size)
				if errors.Is(err, io.ErrUnexpectedEOF) {
					return found, endsInside(index, newest)
				}
				if err != nil {
					return nil, err
				}
				if m.seq <= last {
					return nil, fmt.Errorf("%w: block %d has %d behind %d", errBlockForm, index, m.seq, last)
				}
				last = m.seq
				if m.seq >= s.first {
					found = append(found, m)
				}
			}
			at += size
		}
		off += int64(at)
		if n < len(buf) {
			// A record that was passed over may reach beyond the file's end, too.
			if at != n {
				return found, endsInside(index, newest)
			}
			return found, nil
		}
		if at == 0 {
			return nil, fmt.Errorf("%w: block %d, offset %d", errBlockForm, index, off)
		}
	}
}

// endsInside is about a block that ends inside a record: the server may be
// writing that, where it is the newest block.
func endsInside(index uint64, newest bool) error {
	if newest {
		return nil
	}
	return fmt.Errorf("%w: block %d ends inside a record", errBlockForm, index)
}

// record checks and copies the message at an offset, of which b has the
// beginning.
func (s *blockScan) record(sum *blockHash, off int64, r io.ReaderAt, b []byte, size int) (message, error) {
	if size > len(b) && !reaches(r, off+int64(size)) {
		return message{}, io.ErrUnexpectedEOF
	}
	own := make([]byte, size)
	if n := copy(own, b); n < size {
		if _, err := r.ReadAt(own[n:], off+int64(n)); errors.Is(err, io.EOF) {
			return message{}, io.ErrUnexpectedEOF
		} else if err != nil {
			return message{}, err
		}
	}
	return decodeRecord(own, sum)
}

// reaches says whether a file is at least that long: no memory is made for a
// record whose damaged length goes beyond the file.
func reaches(r io.ReaderAt, end int64) bool {
	var last [1]byte
	n, _ := r.ReadAt(last[:], end-1)
	return n == 1
}

// blockHash is the hash of one block's records. It is for one goroutine at a
// time.
type blockHash struct {
	hash.Hash
	index uint64
	sum   [recordHash]byte
}

func newBlockHash(stream string, index uint64) (*blockHash, error) {
	key := sha256.Sum256([]byte(stream + "-" + strconv.FormatUint(index, 10)))
	h, err := highwayhash.New64(key[:])
	return &blockHash{Hash: h, index: index}, err
}

// of is the hash of what the parts are together; it is valid until the next
// call.
func (h *blockHash) of(parts ...[]byte) []byte {
	h.Reset()
	for _, p := range parts {
		_, _ = h.Write(p) // it never fails
	}
	return h.Sum(h.sum[:0])
}

// decodeRecord makes of a record the message, which shares its memory.
func decodeRecord(b []byte, sum *blockHash) (m message, err error) {
	bad := func() (message, error) {
		return message{}, fmt.Errorf("%w: a record of block %d", errBlockForm, sum.index)
	}
	if len(b) < recordHead+recordHash {
		return bad()
	}
	length := binary.LittleEndian.Uint32(b)
	subject := int(binary.LittleEndian.Uint16(b[20:]))
	body := recordHead + subject
	end := len(b) - recordHash
	if int(length&^recordHeader) != len(b) || body > end {
		return bad()
	}
	m.subject = lentString(b[recordHead:body])
	header := 0
	if length&recordHeader != 0 {
		if body += 4; body > end {
			return bad()
		}
		n := binary.LittleEndian.Uint32(b[body-4:])
		if n == 0 || uint64(n) > uint64(end-body) { // the checksum doesn't cover it
			return bad()
		}
		header = int(n)
	}
	if !bytes.Equal(sum.of(b[4:20], b[recordHead:recordHead+subject], b[body:end]), b[end:]) {
		return bad()
	}
	m.seq = binary.LittleEndian.Uint64(b[4:])
	if m.seq&(recordErased|recordTomb) != 0 {
		return bad()
	}
	m.nanos = int64(binary.LittleEndian.Uint64(b[12:]))
	if header > 0 {
		// The hash doesn't cover where it ends.
		if h := b[body : body+header]; !bytes.HasPrefix(h, []byte(headerVersion)) || !bytes.HasSuffix(h, []byte("\r\n\r\n")) {
			return bad()
		}
		m.header = headers(b[body : body+header : body+header])
	}
	m.data = b[body+header : end : end]
	return m, nil
}

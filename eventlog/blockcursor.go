package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// blockCursor reads a stream's newest block files, while the server appends to
// them, from behind a sequence on and without a gap. It must be told how far
// the server has stored: what is there up to then is whole, and what comes
// behind may be in the middle of being written.
//
// It follows from one block to the next one, and gives up at anything else
// that isn't an appended record (a trim puts a shorter file in the place of
// the newest one): who uses it has another way to go on, and may seek later.
// It is for one goroutine at a time.
type blockCursor struct {
	stream string
	files  blockFiles
	file   *os.File // nil until seek
	sum    *blockHash
	off    int64  // in file: what is before it isn't of interest
	at     uint64 // all up to it was read

	buf  []byte
	msgs []message
}

const (
	cursorBatch  = 1024 // messages at a time, at most
	cursorBuffer = 256 << 10
	cursorBlocks = 2 // that are looked at by seek; the newest one may be empty yet
)

// errNotInBlocks says that the files don't have what the server has stored, at
// the place where it would be appended.
var errNotInBlocks = errors.New("not in the newest block files")

// seek goes behind a sequence that is in one of the newest blocks, or the last
// one before them.
func (c *blockCursor) seek(after uint64) error {
	blocks, err := c.files.list(0)
	if err != nil {
		return err
	}
	for i := len(blocks) - 1; i >= 0 && i >= len(blocks)-cursorBlocks; i-- {
		if c.file != nil && c.sum.index == blocks[i] && c.at <= after && c.inPlace() {
			c.at = after
			return nil
		}
		err := c.open(blocks[i])
		if err != nil {
			return err
		}
		first, err := c.first()
		if err != nil {
			return err
		}
		if first != 0 && first <= after+1 {
			c.at = after
			return nil
		}
	}
	return fmt.Errorf("%w: what follows on %d", errNotInBlocks, after)
}

// inPlace says whether the file is the one that the server appends to.
func (c *blockCursor) inPlace() bool {
	here, err := c.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(c.files.path(c.sum.index))
	return err == nil && os.SameFile(here, there)
}

func (c *blockCursor) open(index uint64) error {
	file, err := os.Open(c.files.path(index))
	if err != nil {
		return err
	}
	sum, err := newBlockHash(c.stream, index)
	if err != nil {
		_ = file.Close()
		return err
	}
	c.close()
	c.file, c.sum, c.off = file, sum, 0
	return nil
}

// first is the sequence of the file's first message; 0 where it has none.
func (c *blockCursor) first() (uint64, error) {
	var head [recordHead]byte
	for off := int64(0); ; {
		if _, err := c.file.ReadAt(head[:], off); errors.Is(err, io.EOF) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		size, seq, err := c.record(head[:])
		if err != nil || seq&recordTomb == 0 {
			return seq &^ recordErased, err
		}
		off += int64(size)
	}
}

// record reads the length and the sequence, with its marks, of a record's head.
func (c *blockCursor) record(b []byte) (size int, seq uint64, err error) {
	size = int(binary.LittleEndian.Uint32(b) &^ recordHeader)
	if size > recordLongest || size < recordHead+recordHash {
		return 0, 0, fmt.Errorf("%w: block %d, a record of %d bytes", errBlockForm, c.sum.index, size)
	}
	return size, binary.LittleEndian.Uint64(b[4:]), nil
}

// read returns messages that follow, up to one that the server has stored, at
// least one where c.at is below that. They are lent until the next call.
func (c *blockCursor) read(upto uint64) ([]message, error) {
	if c.buf == nil {
		c.buf = make([]byte, cursorBuffer)
	}
	clear(c.msgs)
	c.msgs = c.msgs[:0]
	for c.at < upto {
		n, err := c.file.ReadAt(c.buf, c.off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		used, want, err := c.parse(c.buf[:n], upto)
		c.off += int64(used)
		switch {
		case len(c.msgs) > 0:
			return c.msgs, nil // what is wrong behind them shows the next time
		case err != nil:
			return nil, err
		case used > 0:
		case want > len(c.buf) && reaches(c.file, c.off+int64(want)):
			c.buf = make([]byte, want)
		default:
			if err := c.advance(); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// parse takes the whole records of b up to a sequence. want is the length of
// the one that doesn't fit, 0 where there is none.
func (c *blockCursor) parse(b []byte, upto uint64) (used, want int, err error) {
	for used+recordHead <= len(b) && len(c.msgs) < cursorBatch {
		size, seq, err := c.record(b[used:])
		if err != nil {
			return used, 0, err
		}
		tomb := seq&recordTomb != 0
		seq &^= recordErased | recordTomb
		switch {
		case !tomb && seq > upto:
			return used, 0, nil
		case used+size > len(b):
			return used, size, nil
		case !tomb && seq > c.at:
			m, err := decodeRecord(b[used:used+size:used+size], c.sum)
			if err != nil {
				return used, 0, err
			}
			if m.seq != c.at+1 {
				return used, 0, fmt.Errorf("%w: %d is followed by %d", errNotInBlocks, c.at, m.seq)
			}
			c.msgs = append(c.msgs, m)
			c.at = m.seq
		}
		used += size
	}
	return used, 0, nil
}

// advance goes on with the next block.
func (c *blockCursor) advance() error {
	err := c.open(c.sum.index + 1)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: what follows on %d, at the end of block %d", errNotInBlocks, c.at, c.sum.index)
	}
	return err
}

// rest gives the memory back that reading took, and keeps the place.
func (c *blockCursor) rest() { c.buf, c.msgs = nil, nil }

func (c *blockCursor) close() {
	if c.file != nil {
		_ = c.file.Close() // it was only read
		c.file = nil
	}
}

package snapshot

import (
	"encoding/binary"
	"iter"

	"github.com/klauspost/compress/s2"
)

// maxBlock is the greatest number of entry bytes that are compressed together:
// small enough to stay in cache while they are decoded.
const maxBlock = 64 << 10

// frameRoom is the most that the two lengths before a block take.
const frameRoom = 2 * binary.MaxVarintLen32

// segmentWriter turns sorted changes into chunks. What it holds is bounded by a
// block, a chunk and the largest entry.
//
// Entries are one run of bytes, cut into blocks wherever a block is full, so an
// entry may span blocks, and chunks too. A chunk holds whole blocks: once its
// hash is checked it is decoded where it lies.
type segmentWriter struct {
	emit      func(chunk []byte) error // takes the chunk over
	chunkSize int
	blockSize int

	prev   []byte // key of the entry before
	raw    []byte // entry bytes not yet in a block
	chunk  []byte // frames so far; empty where none has begun
	packed []byte // scratch for one compressed block

	entries, rawBytes, bytes uint64
}

func newSegmentWriter(chunkSize int, emit func([]byte) error) *segmentWriter {
	// A block that doesn't compress is stored as it is, so this is its limit.
	block := min(maxBlock, chunkSize-magicSize-frameRoom)
	return &segmentWriter{emit: emit, chunkSize: chunkSize, blockSize: block}
}

// writeSegment drains changes, which ascend strictly by key.
func writeSegment(changes iter.Seq2[Change, error], chunkSize int, emit func([]byte) error) (*segmentWriter, error) {
	w := newSegmentWriter(chunkSize, emit)
	for c, err := range changes {
		if err != nil {
			return w, err
		}
		if err := w.add(c); err != nil {
			return w, err
		}
	}
	return w, w.close()
}

// add appends one entry: how many bytes of the key it shares with the one
// before, how many follow, the value's length with the tombstone's bit, then
// the rest of the key, and the value.
func (w *segmentWriter) add(c Change) error {
	shared := commonPrefix(w.prev, c.Key)
	value := c.Value
	meta := uint64(len(value)) << 1
	if c.Deleted {
		value, meta = nil, 1
	}
	size := len(w.raw)
	w.raw = binary.AppendUvarint(w.raw, uint64(shared))
	w.raw = binary.AppendUvarint(w.raw, uint64(len(c.Key)-shared))
	w.raw = binary.AppendUvarint(w.raw, meta)
	w.raw = append(w.raw, c.Key[shared:]...)
	w.raw = append(w.raw, value...)
	w.prev = append(w.prev[:shared], c.Key[shared:]...)
	w.entries++
	w.rawBytes += uint64(len(w.raw) - size)
	return w.flush(w.blockSize)
}

// flush writes blocks while at least least bytes are there.
func (w *segmentWriter) flush(least int) error {
	done := 0
	for len(w.raw)-done >= least && done < len(w.raw) {
		block := w.raw[done:min(done+w.blockSize, len(w.raw))]
		if err := w.block(block); err != nil {
			return err
		}
		done += len(block)
	}
	if done > 0 { // for nearly every entry nothing is due, and there is nothing to move
		w.raw = append(w.raw[:0], w.raw[done:]...)
	}
	return nil
}

// block compresses one block and adds it to the chunk, or to a new one.
func (w *segmentWriter) block(raw []byte) error {
	w.packed = s2.Encode(w.packed[:cap(w.packed)], raw)
	body, stored := w.packed, uint64(0)
	if len(body) >= len(raw) {
		body, stored = raw, 1
	}
	if len(w.chunk)+frameRoom+len(body) > w.chunkSize {
		if err := w.flushChunk(); err != nil {
			return err
		}
	}
	if len(w.chunk) == 0 {
		w.chunk = appendMagic(w.chunk, chunkMagic)
	}
	w.chunk = binary.AppendUvarint(w.chunk, uint64(len(raw)))
	w.chunk = binary.AppendUvarint(w.chunk, uint64(len(body))<<1|stored)
	w.chunk = append(w.chunk, body...)
	return nil
}

func (w *segmentWriter) flushChunk() error {
	if len(w.chunk) == 0 {
		return nil
	}
	chunk := w.chunk
	w.chunk = nil // handed over; the next one may be small, so let it grow
	w.bytes += uint64(len(chunk))
	return w.emit(chunk)
}

// close writes what is left.
func (w *segmentWriter) close() error {
	if err := w.flush(1); err != nil {
		return err
	}
	return w.flushChunk()
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

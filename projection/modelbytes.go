package projection

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

// modelBytes saves a model by its own Snapshot: the bytes in pieces, of which
// those are written that differ from what was saved before. A format that
// appends, or changes in place, is so saved in proportion to what changed.
type modelBytes[T any] struct {
	// saved are the digests of the last save's pieces; a zero one is to be written
	// again. It is touched by the unit's goroutine, and by the save that is
	// in flight, of which there is one.
	saved  []snapshot.Digest
	high   int  // pieces that the store may have; >= len(saved)
	failed bool // the last save
}

// pieceSize is small enough to spare what hasn't changed, and large enough to
// compress well.
const pieceSize = 64 << 10

func (s *modelBytes[T]) consumed(eventlog.Event) error { return nil }

// bytesCut has either what was written, or what writes it.
type bytesCut[T any] struct {
	s     *modelBytes[T]
	data  []byte
	write func(io.Writer) error
	err   error
}

func (s *modelBytes[T]) capture(model T) capture {
	if !s.failed {
		s.high = len(s.saved)
	}
	s.failed = false
	return s.peek(model)
}

func (s *modelBytes[T]) discard() {}

func (s *modelBytes[T]) peek(model T) capture {
	c := &bytesCut[T]{s: s}
	defer contain(&c.err)
	if k, ok := any(model).(Capturer); ok {
		c.write, c.err = k.Capture()
		return c
	}
	var b bytes.Buffer
	c.err = any(model).(Snapshotter).Snapshot(&b)
	c.data = b.Bytes()
	return c
}

func (c *bytesCut[T]) len() int { return 1 + len(c.data)/pieceSize }

func (c *bytesCut[T]) encode() (out []snapshot.Change, digest snapshot.Digest, err error) {
	pieces, err := c.pieces()
	if err != nil {
		return nil, digest, err
	}
	n := len(pieces)
	saved := make([]snapshot.Digest, n)
	for i := range max(n, c.s.high) {
		key := binary.BigEndian.AppendUint32(nil, uint32(i))
		if i >= n {
			out = append(out, snapshot.Change{Key: key, Deleted: true})
			continue
		}
		saved[i] = snapshot.DigestOf(key, pieces[i])
		digest = digest.Plus(saved[i])
		if i >= len(c.s.saved) || c.s.saved[i] != saved[i] {
			out = append(out, snapshot.Change{Key: key, Value: pieces[i], Digest: saved[i]})
		}
	}
	c.s.saved, c.s.high = saved, max(c.s.high, n)
	return out, digest, nil
}

func (c *bytesCut[T]) digest() (digest snapshot.Digest, err error) {
	pieces, err := c.pieces()
	for i, piece := range pieces {
		digest = digest.Plus(snapshot.DigestOf(binary.BigEndian.AppendUint32(nil, uint32(i)), piece))
	}
	return digest, err
}

// pieces writes the model. An empty snapshot is one piece too: it isn't the
// same as none.
func (c *bytesCut[T]) pieces() (pieces [][]byte, err error) {
	defer contain(&err)
	if c.write != nil && c.err == nil {
		var b bytes.Buffer
		c.err = c.write(&b)
		c.data, c.write = b.Bytes(), nil
	}
	if c.err != nil {
		return nil, fmt.Errorf("snapshot of the model: %w", c.err)
	}
	for at := 0; at < len(c.data) || at == 0; at += pieceSize {
		pieces = append(pieces, c.data[at:min(len(c.data), at+pieceSize)])
	}
	return pieces, nil
}

func (s *modelBytes[T]) requeue(capture) {
	s.failed = true
	s.touchAll()
}

func (s *modelBytes[T]) touchAll() { clear(s.saved) }

func (s *modelBytes[T]) clear() { s.saved, s.high, s.failed = nil, 0, false }

func (s *modelBytes[T]) load(model T, e entries, m migration, clean bool) (done func(), err error) {
	var data []byte
	var saved []snapshot.Digest
	for c, err := range e {
		if err != nil {
			return nil, err
		}
		if len(c.Key) != 4 || binary.BigEndian.Uint32(c.Key) != uint32(len(saved)) {
			return nil, fmt.Errorf("%w: piece %d of the model has key %x", snapshot.ErrCorrupt, len(saved), c.Key)
		}
		data = append(data, c.Value...)
		saved = append(saved, snapshot.DigestOf(c.Key, c.Value))
	}
	if len(saved) > 0 {
		if fn, _ := m.(migrateBytes); fn != nil {
			var b bytes.Buffer
			if err := fn(bytes.NewReader(data), &b); err != nil {
				return nil, fmt.Errorf("migrating the model: %w", err)
			}
			data = b.Bytes()
		}
		if err := any(model).(Snapshotter).Restore(bytes.NewReader(data)); err != nil {
			return nil, fmt.Errorf("restoring the model: %w", err)
		}
	}
	return func() {
		s.saved, s.high, s.failed = saved, len(saved), false
		if !clean {
			s.touchAll()
		}
	}, nil
}

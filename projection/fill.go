package projection

import (
	"fmt"
	"sync"

	"github.com/tidemark-es/tidemark/snapshot"
)

const (
	// rowBlock is how many rows, and keys, are allocated at once. A block
	// lives as long as one of its rows.
	rowBlock = 256
	// fillAhead is how many blocks wait for the map: enough for neither side
	// to wake the other often.
	fillAhead = 16
)

// filler puts rows into a new map on a goroutine of its own, while its caller
// decodes what follows. Filling a large map is one cache miss after another;
// in a loop that does nothing else the processor overlaps some of them.
type filler[K comparable, V any] struct {
	t     *Table[K, V]
	clean bool // what is loaded needn't be saved

	now    *block[K, V] // that is decoded into
	full   chan *block[K, V]
	empty  chan *block[K, V]
	wg     sync.WaitGroup
	digest snapshot.Digest
	number uint32 // of the next row

	// The goroutine's, until it has ended.
	rows  map[K]*row[V]
	dirty []touched[K, V]
}

// block is some rows and their keys, of which there are as many.
type block[K comparable, V any] struct {
	rows []row[V] // allocated for each block: the map keeps them
	n    int      // of rows that are used
	keys []K
	raw  []byte // the keys as they are stored, one after another
	ends []int  // of each key in raw
}

// newFiller starts one; finish or stop must follow.
func newFiller[K comparable, V any](t *Table[K, V], clean bool) *filler[K, V] {
	f := &filler[K, V]{
		t: t, clean: clean, rows: make(map[K]*row[V], t.expected),
		full: make(chan *block[K, V], fillAhead), empty: make(chan *block[K, V], fillAhead),
	}
	for range fillAhead {
		f.empty <- &block[K, V]{}
	}
	full := f.full // stop forgets it
	f.wg.Go(func() { f.run(full) })
	return f
}

func (f *filler[K, V]) run(full <-chan *block[K, V]) {
	for b := range full {
		for i, k := range b.keys {
			f.rows[k] = &b.rows[i]
		}
		if !f.clean {
			for i, k := range b.keys {
				r := &b.rows[i]
				r.slot = uint32(len(f.dirty))
				f.dirty = append(f.dirty, touched[K, V]{key: k, row: r, value: r.value})
			}
		}
		clear(b.keys)
		*b = block[K, V]{keys: b.keys[:0], raw: b.raw[:0], ends: b.ends[:0]}
		f.empty <- b // has room for all there are
	}
}

// add decodes an entry, which is lent.
func (f *filler[K, V]) add(e snapshot.Change, migrate migrateRow[K, V]) (err error) {
	if f.now == nil {
		f.now = <-f.empty
		f.now.rows = make([]row[V], rowBlock)
	}
	b := f.now
	r := &b.rows[b.n]
	if !f.clean {
		r.cut = f.t.epoch
	}
	keep := true
	if migrate != nil { // what it adds to the digest is found out when it is saved
		var key K
		if key, err = f.t.keys.decode(e.Key); err != nil {
			return badKey(e.Key, err)
		}
		if r.value, keep, err = migrate(f.t.n.codec, key, e.Value); f.t.utc != nil {
			r.value = f.t.settled(r.value)
		}
	} else {
		r.digest = e.Digest
		f.digest = f.digest.Plus(e.Digest)
		err = f.t.values.decode(e.Value, &r.value)
	}
	if err != nil {
		return fmt.Errorf("%w: value of key %x: %w", snapshot.ErrCorrupt, e.Key, err)
	}
	if !keep {
		*r = row[V]{}
		return nil
	}
	b.raw = append(b.raw, e.Key...)
	b.ends = append(b.ends, len(b.raw))
	r.number = f.number
	f.number++
	if b.n++; b.n == rowBlock {
		return f.flush()
	}
	return nil
}

// flush hands the block over.
func (f *filler[K, V]) flush() (err error) {
	b := f.now
	if b == nil {
		return nil
	}
	if b.keys, err = f.t.keys.decodeAll(b.keys, b.raw, b.ends); err != nil {
		return err
	}
	f.now = nil
	f.full <- b // has room for all there are
	return nil
}

// finish waits until all rows are in the map.
func (f *filler[K, V]) finish() error {
	err := f.flush()
	f.stop()
	return err
}

// stop ends the goroutine. It may be called again.
func (f *filler[K, V]) stop() {
	if f.full != nil {
		close(f.full)
		f.full = nil
	}
	f.wg.Wait()
}

func badKey(key []byte, err error) error {
	return fmt.Errorf("%w: key %x: %w", snapshot.ErrCorrupt, key, err)
}

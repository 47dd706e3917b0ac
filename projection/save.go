package projection

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

// tableCut is the capture of a table: the changed keys and what they had at
// the cut. Values are never changed in place, so it can be encoded beside
// the reducers.
type tableCut[K comparable, V any] struct {
	codec  eventlog.Codec
	keys   keyCodec[K]
	values []captured[K, V]
}

type captured[K comparable, V any] struct {
	key   K
	value V
	there bool
}

func (t *Table[K, V]) cut() capture {
	c := &tableCut[K, V]{codec: t.n.codec, keys: t.keys, values: make([]captured[K, V], len(t.dirty))}
	for i, key := range t.dirty {
		c.values[i].key = key
		if r := t.rows[key]; r != nil {
			c.values[i].value, c.values[i].there = r.value, true
		}
	}
	t.epoch++
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	if cap(t.dirty) > 4096 && cap(t.dirty) > 8*len(c.values) {
		t.dirty = nil // after the first cut, which holds everything
	}
	return c
}

func (t *Table[K, V]) requeue(c capture) {
	for _, v := range c.(*tableCut[K, V]).values {
		if r := t.rows[v.key]; r != nil {
			t.touch(v.key, r)
		} else {
			t.dirty = append(t.dirty, v.key)
		}
	}
}

func (t *Table[K, V]) touchAll() {
	for k, r := range t.rows {
		t.touch(k, r)
	}
}

func (c *tableCut[K, V]) len() int { return len(c.values) }

func (c *tableCut[K, V]) encode() (out []snapshot.Change, err error) {
	defer contain(&err)
	out = make([]snapshot.Change, 0, len(c.values))
	var buf []byte // one allocation for many small entries
	take := func(from int) []byte { return buf[from:len(buf):len(buf)] }
	for i := range c.values {
		v := &c.values[i]
		if cap(buf)-len(buf) < 512 {
			buf = make([]byte, 0, 64<<10)
		}
		from := len(buf)
		if buf, err = c.keys.append(buf, v.key); err != nil {
			return nil, fmt.Errorf("key %v: %w", v.key, err)
		}
		ch := snapshot.Change{Key: take(from), Deleted: !v.there}
		if v.there {
			from = len(buf)
			if buf, err = c.codec.Append(buf, &v.value); err != nil {
				return nil, fmt.Errorf("value of key %v: %w", v.key, err)
			}
			ch.Value = take(from)
		}
		out = append(out, ch)
	}
	slices.SortFunc(out, func(a, b snapshot.Change) int { return bytes.Compare(a.Key, b.Key) })
	// A key that was deleted and put again within the cut is in it twice,
	// with the same value.
	return slices.CompactFunc(out, func(a, b snapshot.Change) bool { return bytes.Equal(a.Key, b.Key) }), nil
}

func (t *Table[K, V]) load(entries iter.Seq2[snapshot.Change, error], m migration, clean bool) (err error) {
	defer contain(&err)
	rows := make(map[K]*row[V])
	var dirty []K
	var block []row[V] // rows are allocated many at a time
	cut := t.epoch
	if clean {
		cut = 0
	}
	migrate, _ := m.(migrateRow[K, V])
	for e, err := range entries {
		if err != nil {
			return err
		}
		key, err := t.keys.decode(e.Key)
		if err != nil {
			return fmt.Errorf("%w: key %x: %w", snapshot.ErrCorrupt, e.Key, err)
		}
		if len(block) == 0 {
			block = make([]row[V], 128)
		}
		r := &block[0]
		r.cut = cut
		keep := true
		if migrate != nil {
			r.value, keep, err = migrate(t.n.codec, key, e.Value)
		} else {
			err = t.n.codec.Decode(e.Value, &r.value)
		}
		if err != nil {
			return fmt.Errorf("%w: value of key %v: %w", snapshot.ErrCorrupt, key, err)
		}
		if !keep {
			continue
		}
		block = block[1:]
		rows[key] = r
		if !clean {
			dirty = append(dirty, key)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.dirty, t.undo = rows, dirty, nil
	t.replaced()
	return nil
}

func (t *Table[K, V]) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.dirty, t.undo = make(map[K]*row[V]), nil, nil
	t.replaced()
}

package projection

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tidemark-es/tidemark/snapshot"
)

// tableCut is the capture of a table: the changed rows and what they had at
// the cut. Values are never changed in place, so it can be encoded beside
// the reducers.
type tableCut[K comparable, V any] struct {
	t     *Table[K, V]
	rows  []captured[K, V]
	whole bool // these are all rows
}

type captured[K comparable, V any] struct {
	touched[K, V]
	value V
	there bool
}

func (t *Table[K, V]) cut() capture {
	c := t.captured()
	t.epoch++
	t.whole = false
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	if cap(t.dirty) > 4096 && cap(t.dirty) > 8*len(c.rows) {
		t.dirty = nil // after the first cut, which holds everything
	}
	return c
}

func (t *Table[K, V]) peek() capture { return t.captured() }

// captured copies what the changed rows hold. It looks nothing up in the map:
// what was touched lately is in the processor's cache, a map of millions of
// keys isn't.
func (t *Table[K, V]) captured() *tableCut[K, V] {
	c := &tableCut[K, V]{t: t, whole: t.whole, rows: make([]captured[K, V], len(t.dirty))}
	for i, d := range t.dirty {
		c.rows[i].touched = d
		if !d.row.gone {
			c.rows[i].value, c.rows[i].there = d.row.value, true
		}
	}
	return c
}

func (t *Table[K, V]) requeue(c capture) {
	failed := c.(*tableCut[K, V])
	t.whole = t.whole || failed.whole
	for _, v := range failed.rows {
		t.touch(v.key, v.row) // also where it is gone: it isn't stored yet that it is
	}
}

func (t *Table[K, V]) touchAll() {
	t.dirty = slices.Grow(t.dirty, max(len(t.rows)-len(t.dirty), 0))
	for k, r := range t.rows {
		t.touch(k, r)
	}
	t.whole = true
}

func (c *tableCut[K, V]) len() int { return len(c.rows) }

func (c *tableCut[K, V]) encode() ([]snapshot.Change, snapshot.Digest, error) {
	changes, digest, err := c.encoded()
	if err != nil {
		return nil, digest, err
	}
	for i := range changes { // before they are sorted, they are in the order of rows
		c.rows[i].row.digest = changes[i].Digest
	}
	c.t.digest = digest
	return sorted(changes), digest, nil
}

func (c *tableCut[K, V]) digest() (snapshot.Digest, error) {
	_, digest, err := c.encoded()
	return digest, err
}

// encoded returns a change for each row, in their order, with the digest of
// its entry, and the table's digest with all of them.
func (c *tableCut[K, V]) encoded() (out []snapshot.Change, digest snapshot.Digest, err error) {
	defer contain(&err)
	if !c.whole {
		digest = c.t.digest
	}
	out = make([]snapshot.Change, 0, len(c.rows))
	var buf []byte // one allocation for many small entries
	take := func(from int) []byte { return buf[from:len(buf):len(buf)] }
	for i := range c.rows {
		v := &c.rows[i]
		if cap(buf)-len(buf) < 512 {
			buf = make([]byte, 0, 64<<10)
		}
		from := len(buf)
		if buf, err = c.t.keys.append(buf, v.key); err != nil {
			return nil, digest, fmt.Errorf("key %v: %w", v.key, err)
		}
		ch := snapshot.Change{Key: take(from), Deleted: !v.there}
		if v.there {
			from = len(buf)
			if buf, err = c.t.values.append(buf, &v.value); err != nil {
				return nil, digest, fmt.Errorf("value of key %v: %w", v.key, err)
			}
			ch.Value = take(from)
			ch.Digest = snapshot.DigestOf(ch.Key, ch.Value)
		}
		if !c.whole {
			digest = digest.Minus(v.row.digest)
		}
		digest = digest.Plus(ch.Digest)
		out = append(out, ch)
	}
	return out, digest, nil
}

// sorted sorts changes by key and leaves one of each: of a key that was
// deleted and put again within the cut, the row that is there.
func sorted(changes []snapshot.Change) []snapshot.Change {
	slices.SortFunc(changes, func(a, b snapshot.Change) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		switch {
		case a.Deleted == b.Deleted:
			return 0
		case b.Deleted:
			return -1
		}
		return 1
	})
	return slices.CompactFunc(changes, func(a, b snapshot.Change) bool { return bytes.Equal(a.Key, b.Key) })
}

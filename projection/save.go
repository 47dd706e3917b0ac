package projection

import (
	"fmt"
	"slices"

	"github.com/tidemark-es/tidemark/snapshot"
)

// tableCut is the capture of a table: the changed rows with what they held at
// the cut. Values are never changed in place, so it can be encoded beside the
// reducers.
//
// A cut hands the list over that grew with the changes and allocates next to
// nothing, so it takes as long for a million changes as for one: rows of a
// large table are out of the processor's cache by then, and a goroutine that
// allocates while the collector marks a large heap has to help it. The slice
// serves again once the save is over.
type tableCut[K comparable, V any] struct {
	t     *Table[K, V]
	rows  []touched[K, V]
	whole bool // these are all rows

	gathered *gathering[K, V] // all rows but those that changed of late, until join adds them
	done     bool             // it is encoded
	lost     *LossError       // of one of its rows, as far as they were tried
}

func (t *Table[K, V]) cut() capture {
	c := t.spare.Swap(nil)
	if c == nil {
		c = &tableCut[K, V]{t: t}
	}
	c.rows, t.dirty = t.dirty, c.rows
	c.whole, t.whole = t.whole, false
	c.gathered, t.joined, t.gathered, c.done, c.lost = t.joined, nil, nil, false, nil
	if t.epoch++; t.epoch == 0 { // after 2^32 cuts
		for _, r := range t.rows {
			r.cut = 0
		}
		t.epoch = 1
	}
	c.fill()
	return c
}

func (t *Table[K, V]) peek() capture {
	c := &tableCut[K, V]{t: t, whole: t.whole, rows: slices.Clone(t.dirty)}
	c.fill()
	return c
}

// fill takes what the rows hold where the changes didn't bring it (touch).
func (c *tableCut[K, V]) fill() {
	if !c.t.n.uncut {
		return
	}
	for i := range c.rows {
		d := &c.rows[i]
		d.value, d.gone = d.row.value, d.row.mark.gone()
	}
}

// release gives the slice back for another cut, emptied here, beside the
// reducers. Nobody may use the capture any more. One that was far larger than
// what changes now, and that of a whole table, aren't kept.
func (c *tableCut[K, V]) release() {
	if n := cap(c.rows); c.whole || (n > 4096 && n > 8*len(c.rows)) {
		return
	}
	clear(c.rows)
	c.rows = c.rows[:0]
	c.t.spare.Store(c)
}

func (t *Table[K, V]) requeue(c capture) {
	failed := c.(*tableCut[K, V])
	t.whole = t.whole || failed.whole
	failed.join()
	for i := range failed.rows {
		v := &failed.rows[i]
		t.touch(v.key, v.row) // also where it is gone: it isn't stored yet that it is
	}
}

func (t *Table[K, V]) touchAll() {
	if g := t.takeGathered(); g != nil {
		t.joined, t.whole = g, true
		return
	}
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
	c.try(func(i int) []byte { return changes[i].Value })
	for i := range changes { // before they are sorted, they are in the order of rows
		c.rows[i].row.digest = changes[i].Digest
	}
	c.t.digest, c.done = digest, true
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
	c.join()
	if !c.whole {
		digest = c.t.digest
	}
	out = make([]snapshot.Change, 0, len(c.rows))
	var buf []byte // one allocation for many small entries
	take := func(from int) []byte { return buf[from:len(buf):len(buf)] }
	for i := range c.rows {
		row := &c.rows[i]
		if cap(buf)-len(buf) < 512 {
			buf = make([]byte, 0, 64<<10)
		}
		from := len(buf)
		if buf, err = c.t.keys.append(buf, row.key); err != nil {
			return nil, digest, fmt.Errorf("key %.200q: %w", fmt.Sprint(row.key), err)
		}
		if size := len(buf) - from; size > snapshot.MaxKey { // the store would refuse the whole unit
			return nil, digest, fmt.Errorf("the key that begins with %.40q has %d bytes, and %d can be stored", buf[from:], size, snapshot.MaxKey)
		}
		ch := snapshot.Change{Key: take(from), Deleted: row.gone}
		if !row.gone {
			from = len(buf)
			if buf, err = c.t.values.append(buf, &row.value); err != nil {
				return nil, digest, fmt.Errorf("value of key %.200q: %w", fmt.Sprint(row.key), err)
			}
			ch.Value = take(from)
			ch.Digest = snapshot.DigestOf(ch.Key, ch.Value)
		}
		if !c.whole {
			digest = digest.Minus(row.row.digest)
		}
		digest = digest.Plus(ch.Digest)
		out = append(out, ch)
	}
	return out, digest, nil
}

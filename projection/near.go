package projection

// A row that was looked up is used again by the next access to its key: a
// handler that reads a row and puts it looks it up once. And where a table
// handles the changes of another one under the same keys (Map, Filter), it
// remembers where the row is that goes with each of that one's rows. A map of
// many keys is out of the processor's caches, so looking up was most of what
// such a table cost.

// lookup is the row of a key, nil for none. For handlers alone.
func (t *Table[K, V]) lookup(key K) *row[V] {
	if t.near != nil && t.nearKey == key {
		return t.near
	}
	r := t.rows[key]
	if r != nil && t.tx.live {
		t.nearKey, t.near = key, r
	}
	return r
}

// numbers are those of the rows of step; fewer where they aren't known.
func (t *Table[K, V]) numbers() (of []uint32, rows int) { return t.numbered, len(t.rows) }

// numbering is a Relation whose rows have numbers.
type numbering interface {
	numbers() (of []uint32, rows int)
}

// follower is a table with keys of the same type as one that it reads. find
// brings the row that goes with a row of that one to hand, before the handler
// is called; keep remembers the one that the handler used.
type follower[K comparable] interface {
	find(number uint32)
	keep(number uint32, key K, rows int)
}

// followerOf is how dst goes by the numbers of src's rows; nil where it can't.
func followerOf[SK comparable, SV any](dst any, src Relation[SK, SV]) (f follower[SK], of numbering) {
	of, numbered := src.(numbering)
	d, same := dst.(interface{ following() follower[SK] })
	if !numbered || !same {
		return nil, nil
	}
	return d.following(), of
}

func (t *Table[K, V]) following() follower[K] {
	c := &rowCache[K, V]{t: t}
	t.caches = append(t.caches, c)
	return c
}

// swapped drops what is known of rows that aren't the table's any more.
func (t *Table[K, V]) swapped(next uint32) {
	t.near, t.next = nil, next
	for _, c := range t.caches {
		c.places = nil
	}
}

// maxCached bounds what a rowCache remembers; beyond it, rows take the places
// of others.
const maxCached = 1 << 16

// rowCache is where the rows are that go with another table's: a direct-mapped
// cache by that one's numbers. What it says holds whatever has become of those:
// the row of a place is the one of the key beside it, as long as it is in the
// table.
type rowCache[K comparable, V any] struct {
	t      *Table[K, V]
	places []cachedRow[K, V]
}

type cachedRow[K comparable, V any] struct {
	key K
	row *row[V]
}

func (f *rowCache[K, V]) at(number uint32) *cachedRow[K, V] {
	return &f.places[int(number)&(len(f.places)-1)]
}

func (f *rowCache[K, V]) find(number uint32) {
	if len(f.places) == 0 {
		return
	}
	if p := f.at(number); p.row != nil && !p.row.mark.gone() {
		f.t.nearKey, f.t.near = p.key, p.row
	}
}

func (f *rowCache[K, V]) keep(number uint32, key K, rows int) {
	t := f.t
	if t.near == nil || t.nearKey != key { // it was deleted, or the handler went on to another key
		if len(f.places) > 0 {
			if p := f.at(number); p.row != nil && p.row.mark.gone() {
				*p = cachedRow[K, V]{}
			}
		}
		return
	}
	if want := max(1, min(rows, maxCached)); len(f.places) < want { // a row may outlive the last one of those
		size := 1
		for size < want {
			size *= 2
		}
		f.places = make([]cachedRow[K, V], size) // what was in it is learned again
	}
	if p := f.at(number); p.row != t.near {
		*p = cachedRow[K, V]{key, t.near}
	}
}

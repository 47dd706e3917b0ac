package projection

import (
	"cmp"
	"iter"
	"reflect"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/storable"
	"github.com/tidemark-es/tidemark/internal/utc"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Table is a projection's state: a map that handlers change event by event,
// and that anybody may read at any time. Readers never see half of a commit.
//
// Values are replaced, never changed in place: what Get returned stays as it
// is, also while it is saved. So a value that holds a map, a slice or a
// pointer must be copied before it is changed and Put.
type Table[K comparable, V any] struct {
	n      *node
	keys   keyCodec[K]
	values valueCodec[V]

	mu   rowsLock
	rows map[K]*row[V]

	tx    Tx[K, V]
	undo  []undo[K, V] // of the commit that is being applied; of a partition, of a run of commits
	begun int          // where in undo the present commit's begin
	most  int          // entries of undo and delta that were used since they were cleared
	epoch uint32       // of the present cut, > 0

	nearKey K       // whose row near is
	near    *row[V] // the row that was looked up last, which is in rows; nil: none
	next    uint32  // number of the next row
	caches  []*rowCache[K, V]

	dirty []touched[K, V]
	whole bool                           // all rows are in dirty
	spare atomic.Pointer[tableCut[K, V]] // of an earlier cut, empty

	gathered *gathering[K, V] // all rows, as far as it has come; nil: there is none
	joined   *gathering[K, V] // that the next cut takes

	expected int          // rows, by the next load
	sized    atomic.Int64 // rows, when a status last saw them
	wrong    atomic.Pointer[string]

	// digest of the state at the last cut that was encoded: the sum of the
	// digests of all rows. It belongs to who encodes, one at a time.
	digest snapshot.Digest

	utc      *utc.Times // of values; nil where they hold no times
	equal    func(a, b *V) bool
	delta    []Change[K, V] // of the step, where anybody reads it
	numbered []uint32       // the numbers of the rows in delta; see numbers
	prior    map[K]V        // while the unit is restored; see loadPrior
	// onReset is called when the rows were changed by other ways than the
	// handlers: what an operator keeps beside them doesn't hold any more.
	onReset func()
	// observer is told before handlers change a row: the comparison or the watch;
	// nil: nobody is.
	observer  observer[K, V]
	comparing atomic.Pointer[comparison[K, V]] // with what rows held at a cut; nil: none
	watch     *rowWatch[K, V]                  // in a Rehearsal, where there is anything to find out
	tried     int                              // rows that were decoded as soon as they were encoded; belongs to the encoder
	hub       hub[K, V]
}

// row is a key's value. cut says in which cut it was last changed, so that a
// row enters dirty once, without a second map, and slot where in dirty it is
// then. number counts the rows, so
// that those that came one after another are near each other in a rowCache.
// digest is what it adds to the table's digest, zero for nothing, and belongs
// to who encodes.
type row[V any] struct {
	value  V
	cut    uint32
	slot   uint32
	number uint32
	mark   rowMark
	digest snapshot.Digest
}

// rowMark says in its highest bit that a row isn't in the table any more, and in
// the others where the undo list may have it: a place is believed where that row
// is in it. One field, since rows are many.
type rowMark uint32

const goneBit = 1 << 31

func (m rowMark) gone() bool { return m&goneBit != 0 }

func (m *rowMark) setGone(gone bool) {
	*m &^= goneBit
	if gone {
		*m |= goneBit
	}
}

func (m rowMark) place() int { return int(m &^ goneBit) }

func (m *rowMark) setPlace(i int) { *m = *m&goneBit | rowMark(i)&^goneBit }

// touched is a row that changed since the last cut, and what it holds: each
// change is written to both, so that a cut has nothing left to copy. A key that
// was deleted and put again has two: one that is gone, and one that isn't.
type touched[K comparable, V any] struct {
	key   K
	row   *row[V]
	value V // zero where it is gone
	gone  bool
}

// undo is what a key had before a commit changed it: one entry a row, however
// often the commit changes it. A row that a commit deletes comes back as the same
// row, so that dirty stays right.
type undo[K comparable, V any] struct {
	key K
	row *row[V]
	old V
	had bool
}

// TableOption configures a table.
type TableOption interface{ applyTable(*node) }

type tableOption func(*node)

func (o tableOption) applyTable(n *node) { o(n) }

// Version is the version of a projection's meaning: raise it whenever the
// handlers come to a different state from the same events. Snapshots of
// another version aren't used, unless Migrate says how. Default 0.
func Version(v uint64) TableOption {
	return tableOption(func(n *node) { n.version = v })
}

// Codec sets how values are stored in snapshots (default eventlog.MsgPack). It
// should encode equal values to equal bytes, as MsgPack and JSON do here: else
// two processes with the same state have different digests. The same holds for
// types that encode themselves; the order of the entries of a msgpack map that
// they write doesn't count, and may change.
func Codec(c eventlog.Codec) TableOption {
	return tableOption(func(n *node) {
		if c == nil {
			n.problems.Add("a nil codec")
			return
		}
		n.codec = c
	})
}

// NewTable makes an empty table. The name is the projection's, as stored in
// snapshots: lower-case letters, digits and '-', at most 64. Keys and values
// have to come back from a snapshot as they were: which types do is on the page
// docs/types.md. What is wrong with them, the name, the options or the handlers
// is reported by Start.
func NewTable[K comparable, V any](name string, opts ...TableOption) *Table[K, V] {
	t := &Table[K, V]{rows: make(map[K]*row[V]), epoch: 1}
	t.tx.t = t
	t.n = &node{
		name:     name,
		codec:    eventlog.MsgPack,
		state:    t,
		out:      t,
		handlers: make(map[string]map[string]handler),
		feeds:    make(map[string]*eventlog.Feed),
		shape:    shapeOf(reflect.TypeFor[K]()) + " -> " + shapeOf(reflect.TypeFor[V]()),
		reset:    true,
	}
	if err := timeframe.ValidName(name); err != nil {
		t.n.problems.Add("name: %v", err)
	}
	for _, p := range storable.CheckKey(reflect.TypeFor[K]()).Problems {
		t.n.problems.Add("keys: %s", p)
	}
	t.keys = newKeyCodec[K]()
	for _, o := range opts {
		if o != nil {
			o.applyTable(t.n)
		}
	}
	if !t.n.unsaved {
		for _, p := range storable.Check(reflect.TypeFor[V](), storable.RulesOf(t.n.codec)).Problems {
			t.n.problems.Add("values: %s", p)
		}
	}
	if t.n.failures.validate(&t.n.problems); t.n.failures.keeps() {
		t.n.park = newParking(t.n)
	}
	t.values = newValueCodec[V](t.n.codec)
	compileMigrations[K, V](t.n)
	t.hub.limit = cmp.Or(t.n.history, defaultHistory)
	t.hub.base = make(map[string]uint64)
	t.n.watched.Store(t.n.history > 0)
	t.utc = utc.Of(reflect.TypeFor[V]())
	var err error
	if t.equal, err = equalOf(t.n.equal, t.values); err != nil {
		t.n.problems.Add("%v", err)
	}
	return t
}

// On lets a table handle one type of event of a feed: fn is called for each
// such event, in the feed's order, and changes the table through tx. It must
// depend on nothing but the table and the event (no clock, no I/O, no
// randomness), and keep neither tx nor event. Its error or panic stops the
// table at the last whole commit, unless OnFailure says otherwise. Between
// events of several feeds there is no order.
func On[K comparable, V, D any](t *Table[K, V], feed *eventlog.Feed, fn func(tx *Tx[K, V], e eventlog.Event, d D) error) {
	if t == nil {
		return // Start says so
	}
	addHandler(t.n, feed, fn == nil, func(e eventlog.Event, d D) error { return fn(&t.tx, e, d) })
}

func (t *Table[K, V]) boundedBy(c eventlog.Codec) { t.values.codec = c }

func (t *Table[K, V]) reset() {
	if t.onReset != nil {
		t.onReset()
	}
}

func (t *Table[K, V]) projections() (string, []*node) {
	if t == nil {
		return "", nil
	}
	return t.n.name, t.n.withParking()
}

// Name is the projection's name.
func (t *Table[K, V]) Name() string { return t.n.name }

// Get returns a key's value, and whether there is one.
func (t *Table[K, V]) Get(key K) (V, bool) {
	t.n.lazy.touch()
	t.mu.read(t.n, "Table.Get")
	defer t.mu.RUnlock()
	return t.get(key)
}

// get is Get for callers that hold the lock.
func (t *Table[K, V]) get(key K) (V, bool) {
	if r := t.rows[key]; r != nil {
		return r.value, true
	}
	var zero V
	return zero, false
}

// Len is the number of keys.
func (t *Table[K, V]) Len() int {
	t.n.lazy.touch()
	t.mu.read(t.n, "Table.Len")
	defer t.mu.RUnlock()
	return len(t.rows)
}

// All yields every key and value of one moment, in no particular order. It
// copies them first, so the loop's body may take its time.
func (t *Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t.n.lazy.touch()
		t.mu.read(t.n, "Table.All")
		keys := make([]K, 0, len(t.rows))
		values := make([]V, 0, len(t.rows))
		for k, r := range t.rows {
			keys = append(keys, k)
			values = append(values, r.value)
		}
		t.mu.RUnlock()
		for i, k := range keys {
			if !yield(k, values[i]) {
				return
			}
		}
	}
}

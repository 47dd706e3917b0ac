package projection

import (
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Change is what one step did to one key of a table: the difference between
// what it had before the source's commit and what it has behind it. A key that
// ends as it began is no change.
type Change[K comparable, V any] struct {
	Key K
	// Old is the value before, where Had; New the one behind, where Has. At
	// least one of them is there.
	Old, New V
	Had, Has bool
	// Cause is the commit that the change derives from.
	Cause Cause
}

// Cause is the commit that a change derives from, through however many
// tables.
type Cause struct {
	Feed string // "" where a table was built or mended from another's rows
	Seq  uint64
	Key  string
	ID   string // eventlog.Commit.ID
	Time time.Time
}

// Position is the commit's.
func (c Cause) Position() eventlog.Position { return eventlog.Position{Feed: c.Feed, Seq: c.Seq} }

// Rebuild says that no commit caused the change: a table is being built from
// the present rows of another one, or is told how they differ from what it was
// built from.
func (c Cause) Rebuild() bool { return c.Feed == "" }

// edge is what one table reads of another. Its functions are called by the
// unit's goroutine, with both tables locked.
type edge struct {
	from *node
	kind edgeKind
	// deltas hands the changes that from made in this step to the handler.
	deltas func() error
	// rows hands every row of from to the handler, as a change from nothing.
	rows func(done func()) error
}

type edgeKind int

const (
	readsDeltas edgeKind = iota
	readsState           // Reads: no changes are handed over
)

func (k edgeKind) String() string {
	if k == readsState {
		return "state"
	}
	return "changes"
}

// OnChange lets a table handle the changes of another one: fn is called for
// each key whose value differs behind a commit, in the commit's own step, so
// that both tables show it at the same moment. A table may handle changes of
// several tables, and events beside; what a commit did to all of them is
// handled in one step, the events first, then the tables in the order of the
// OnChange calls. The changes of one step come in no particular order.
//
// Both tables must be given to the same Start, which makes one unit of them,
// and there may be no cycle. For fn, the duties of a handler hold. Its error
// or panic stops dst and what reads it at the last whole commit; src goes on.
//
// How dst is built when it has no snapshot that fits: by a replay of the
// events behind src, or where it is Derived from src's rows.
func OnChange[K comparable, V any, SK comparable, SV any](dst *Table[K, V], src Relation[SK, SV], fn func(tx *Tx[K, V], c Change[SK, SV]) error) {
	if dst == nil {
		return
	}
	if sourceNode(src) != nil && fn == nil {
		dst.n.problem("handler of the changes of %q: nil function", src.Name())
		return
	}
	near, numbering := followerOf(dst, src)
	connect(dst.n, sourceNode(src), &edge{
		kind: readsDeltas,
		deltas: func() error {
			step := src.step()
			var numbers []uint32
			var rows int
			if near != nil {
				numbers, rows = numbering.numbers()
			}
			for i := range step {
				known := i < len(numbers)
				if known {
					near.find(numbers[i])
				}
				if err := fn(&dst.tx, step[i]); err != nil {
					return err
				}
				if known {
					near.keep(numbers[i], step[i].Key, rows)
				}
			}
			return nil
		},
		rows: func(done func()) error {
			return src.each(func(k SK, v SV) error {
				if err := fn(&dst.tx, Change[SK, SV]{Key: k, New: v, Has: true}); err != nil {
					return err
				}
				done()
				return nil
			})
		},
	})
}

// Reads declares that the handlers of dst read src, and returns how: what they
// see of it is its state behind the commit that they handle, whatever order
// things are in elsewhere. Changes of src alone don't call any handler. A
// table that reads another one's state depends on the history of both, so it
// can't be Derived.
func Reads[K comparable, V any, SK comparable, SV any](dst *Table[K, V], src *Table[SK, SV]) *Lookup[SK, SV] {
	if dst == nil {
		return &Lookup[SK, SV]{}
	}
	connect(dst.n, src.node(), &edge{kind: readsState})
	return &Lookup[SK, SV]{src: src, live: &dst.tx.live, misuse: dst.misuse}
}

// Lookup is a table as seen from another one's handlers; see Reads. It holds
// while a handler of that table runs.
type Lookup[K comparable, V any] struct {
	src    *Table[K, V]
	live   *bool
	misuse func(string)
}

// Get returns a key's value, and whether there is one.
func (l *Lookup[K, V]) Get(key K) (v V, ok bool) {
	if l.src == nil {
		return v, false
	}
	if !*l.live {
		l.misuse("a Lookup was used after the handler had returned")
		return v, false
	}
	if r := l.src.rows[key]; r != nil {
		return r.value, true
	}
	return v, false
}

// Value returns a key's value, the zero value where there is none.
func (l *Lookup[K, V]) Value(key K) V {
	v, _ := l.Get(key)
	return v
}

func connect(n, src *node, e *edge) {
	if src == nil {
		n.problem("it reads the %s of a nil table", e.kind)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started {
		n.problemLocked("it was told to read the %s of %q after the start, and doesn't", e.kind, src.name)
		return
	}
	for _, old := range n.ups {
		if old.from == src && old.kind == e.kind {
			n.problemLocked("it reads the %s of %q twice", e.kind, src.name)
			return
		}
	}
	e.from = src
	n.ups = append(n.ups, e)
}

// Derived says that a table is a function of the present rows of the tables
// that it reads: of what they are, not of how they came to be it, nor in which
// order. It must take back what it made of a change's Old. In return it is
// built from those rows where it has no snapshot, in place of a replay of the
// log, and when a table that it reads was built anew (another version), it is
// told just the rows that came out differently. It handles no events.
func Derived() TableOption { return tableOption(func(n *node) { n.derived = true }) }

// Unsaved leaves a Derived table out of the snapshots: each start builds it
// from what it reads. Worth it where that is quicker than loading, and for a
// table that changes much more than what it reads.
func Unsaved() TableOption { return tableOption(func(n *node) { n.unsaved = true }) }

// Equal sets how values are compared to tell whether a step changed one.
// Default: they are the same when what is stored of them is
// (docs/projections.md, "When values are the same"). equal is called while the
// table is locked.
//
// Readers and watchers of the table must not depend on what equal ignores: they
// aren't told when that changes, so what they made of it would not be what a
// rebuild makes.
func Equal[V any](equal func(a, b V) bool) TableOption {
	return tableOption(func(n *node) {
		if equal == nil {
			n.problems.Add("a nil function for Equal")
			return
		}
		n.equal = equal
	})
}

package projection

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/equal"
	"github.com/tidemark-es/tidemark/internal/storable"
)

// ErrInPlace: a handler changed a value in place that a table holds, or the
// bytes of an event.
var ErrInPlace = errors.New("changed in place")

// InPlaceError is an ErrInPlace, found by a Rehearsal. Values are replaced, never
// changed: readers look at them without a lock, snapshots encode them later, a
// change is the difference between the old and the new one, and a failed commit
// is undone by putting the old one back.
type InPlaceError struct {
	Projection string // "" where it is the event
	Key        string // of the row, as text
	Commit     eventlog.Position
	Types      []string // of the commit's events
	Path       string   // into the row's value; "" for the value as a whole
	Was, Is    string   // what was there, and is, shortened
}

func (e *InPlaceError) Error() string {
	at := fmt.Sprintf("while %s (%s) was handled", e.Commit, strings.Join(e.Types, ", "))
	if e.Projection == "" {
		return fmt.Sprintf("projection: an event's bytes were %v %s: Event.Data is lent, copy it", ErrInPlace, at)
	}
	return fmt.Sprintf("projection %q: row %q was %v %s: %s %s is %s now: copy what a value refers to before you change it, and Put the copy",
		e.Projection, e.Key, ErrInPlace, at, e.Path, e.Was, e.Is)
}

func (e *InPlaceError) Unwrap() error { return ErrInPlace }

// verifier is a state of which a Rehearsal finds out whether its values are
// changed in place, and come back from a snapshot.
type verifier interface {
	// watchRows says whether there is anything to find out.
	watchRows() bool
	// verify looks at the rows that were put since the last time, and at some
	// of the others, or all.
	verify(all bool) []error
	// unwatch forgets the rows.
	unwatch()
}

// alwaysWatched is how many rows are looked at after each commit that it didn't
// put: those of a small table all, of a large one others each time.
const alwaysWatched = 64

// rowWatch has the rows of a table as they were put.
type rowWatch[K comparable, V any] struct {
	trip  bool // the type doesn't tell whether its values come back
	alias bool // they refer to memory that others may change
	t     *Table[K, V]
	puts  map[K]seen[V]
	found []error // since the last verify
}

// seen is a value that was put, and what was stored of it then.
type seen[V any] struct {
	value   V
	encoded []byte
}

func (t *Table[K, V]) watchRows() bool {
	facts := storable.Check(reflect.TypeFor[V](), storable.RulesOf(t.n.codec)).Facts
	w := &rowWatch[K, V]{t: t, trip: !facts.ByType(), alias: facts.Indirect || facts.Custom || facts.Dynamic}
	if !w.trip && !w.alias {
		return false
	}
	t.watch, t.observer = w, w
	t.unwatch()
	return true
}

func (t *Table[K, V]) unwatch() {
	t.watch.puts, t.watch.found = make(map[K]seen[V]), nil
}

// put looks at the value that is replaced, and keeps what is stored of the new
// one: those who are told of the change may not change it either.
func (w *rowWatch[K, V]) put(key K, old V, had bool, v V) {
	if had {
		w.delete(key, old)
	}
	if w.alias {
		if encoded, err := w.t.encodedRow(&v); err == nil {
			w.puts[key] = seen[V]{v, encoded}
		}
	}
}

func (w *rowWatch[K, V]) delete(key K, _ V) {
	if err := w.t.unchanged(key); err != nil {
		w.found = append(w.found, err)
	}
}

func (t *Table[K, V]) verify(all bool) []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.watch
	found := w.found
	w.found = nil
	report := func(err error) {
		if err != nil {
			found = append(found, err)
		}
	}
	for _, d := range t.dirty {
		report(t.unchanged(d.key))
		report(t.taken(d.key))
	}
	left := alwaysWatched
	if w.alias {
		for k := range w.puts {
			if left--; left < 0 && !all {
				break
			}
			report(t.unchanged(k))
		}
	}
	if t.n.unsaved { // nothing notes what is put
		for k := range t.rows {
			report(t.taken(k))
		}
	}
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	t.epoch++
	slices.SortFunc(found, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return found
}

// unchanged says how the value that was last seen under a key differs from what
// it was then: nobody may have changed it, whether or not it is there still.
func (t *Table[K, V]) unchanged(key K) error {
	p, ok := t.watch.puts[key]
	if !ok || !t.watch.alias {
		return nil
	}
	now, err := t.encodedRow(&p.value)
	if err == nil && bytes.Equal(now, p.encoded) {
		return nil
	}
	d := &equal.Difference{A: fmt.Sprintf("stored as %x", shortBytes(p.encoded)), B: shown(p.value)}
	var was V
	if t.values.decode(p.encoded, &was) == nil {
		if found := t.values.difference(&was, &p.value); found != nil {
			d = found
		}
	}
	p.encoded = now // it is told once
	t.watch.puts[key] = p
	return &InPlaceError{Projection: t.n.name, Key: keyText(key), Path: d.Path, Was: d.A, Is: d.B}
}

// taken notes what a row holds now, and tries whether it comes back.
func (t *Table[K, V]) taken(key K) error {
	r := t.rows[key]
	if r == nil {
		delete(t.watch.puts, key)
		return nil
	}
	encoded, err := t.encodedRow(&r.value)
	if err != nil {
		return t.error(key, &equal.Difference{A: shown(r.value), B: "nothing, since it can't be encoded: " + err.Error()})
	}
	if t.watch.alias {
		t.watch.puts[key] = seen[V]{r.value, encoded}
	}
	if !t.watch.trip {
		return nil
	}
	return t.error(key, t.values.loss(&r.value, encoded))
}

// error is lossOf as an error.
func (t *Table[K, V]) error(key K, d *equal.Difference) error {
	if lost := t.lossOf(key, d); lost != nil {
		return lost
	}
	return nil
}

func (t *Table[K, V]) encodedRow(v *V) (b []byte, err error) {
	defer contain(&err)
	return t.values.append(nil, v)
}

func (p *Partitioned[V]) watchRows() (any bool) {
	p.parted(func(t *Table[string, V]) { any = t.watchRows() })
	return any
}

func (p *Partitioned[V]) unwatch() { p.parted(func(t *Table[string, V]) { t.unwatch() }) }

func (p *Partitioned[V]) verify(all bool) (found []error) {
	p.parted(func(t *Table[string, V]) { found = append(found, t.verify(all)...) })
	return found
}

// A model that saves itself has to come back from what it saves.
func (m *Model[T]) watchRows() bool {
	_, saves := m.store.(*modelBytes[T])
	return saves
}

func (m *Model[T]) unwatch() {}

func (m *Model[T]) verify(all bool) []error {
	if !all || m.torn.Load() {
		return nil
	}
	m.begin()
	defer m.end()
	c, ok := m.peek().(*bytesCut[T])
	if !ok {
		return nil
	}
	pieces, err := c.pieces()
	if unequal := m.unequal.Load(); err == nil && unequal != nil {
		err = *unequal
	}
	if err == nil {
		err = m.savesAgain(bytes.Join(pieces, nil))
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

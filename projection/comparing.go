package projection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/snapshot"
)

// Before a log is trimmed, the rows of the snapshot that is to stand for it are
// decoded and compared with those that the table had at the snapshot's cut. The
// handlers go on meanwhile: from the cut on a table keeps the values that it
// replaces, one a row at most, until the comparison is over.

// comparer is a state that can be compared with what is stored of it.
type comparer interface {
	// begin is called by the unit's goroutine at the cut.
	begin()
	// compare is called beside it. It compares the entries, and says how many
	// there were. Without a begin it says only whether they can be decoded.
	compare(ctx context.Context, entries entries) (uint64, error)
	// end may be called at any time, again too, and waits for nobody.
	end()
}

// errReplaced: there is nothing left to compare with.
var errReplaced = errors.New("the rows were replaced while they were compared with the snapshot, by a restore or a start of the unit: compact again")

// comparison is a table's, from the cut on.
type comparison[K comparable, V any] struct {
	rows int     // at the cut
	kept map[K]V // what rows held at the cut that were changed or deleted since
	gone bool    // the rows are others altogether
	over atomic.Bool
	t    *Table[K, V]
}

// observer is told what handlers do to the rows of a table, before it is done.
type observer[K comparable, V any] interface {
	put(key K, old V, had bool, v V)
	delete(key K, old V)
}

// put notes what a row holds before it is changed.
func (c *comparison[K, V]) put(key K, old V, had bool, _ V) {
	if had {
		c.delete(key, old)
	}
}

func (c *comparison[K, V]) delete(key K, old V) {
	if c.over.Load() {
		c.t.observer = nil
		return
	}
	if _, ok := c.kept[key]; !ok && !c.gone {
		c.kept[key] = old
	}
}

func (t *Table[K, V]) begin() {
	c := &comparison[K, V]{rows: len(t.rows), kept: make(map[K]V), t: t}
	t.comparing.Store(c)
	t.observer = c
}

func (t *Table[K, V]) end() {
	if c := t.comparing.Swap(nil); c != nil {
		c.over.Store(true) // the next handler forgets it
	}
}

// uncompare says that the rows aren't those of the cut any more.
func (t *Table[K, V]) uncompare() {
	if c := t.comparing.Load(); c != nil {
		c.gone, c.kept = true, nil
	}
}

// comparedAtOnce is how many rows are looked up under one lock.
const comparedAtOnce = 256

// storedRow is an entry of a snapshot, decoded, and what the table had there.
type storedRow[K comparable, V any] struct {
	key         K
	value, live V
	had         bool
}

func (t *Table[K, V]) compare(ctx context.Context, entries entries) (n uint64, err error) {
	if n, err = t.compareAll(ctx, entries); err == nil {
		err = t.allThere(ctx, n)
	}
	return n, err
}

// allThere says whether a snapshot that has n rows, all of which were there, has
// all of them.
func (t *Table[K, V]) allThere(ctx context.Context, n uint64) error {
	c := t.comparing.Load()
	if c == nil || uint64(c.rows) == n {
		return nil
	}
	if err := t.mu.readUntil(ctx); err != nil {
		return err
	}
	defer t.mu.RUnlock()
	if c.gone {
		return errReplaced
	}
	return t.missing(c.rows, n)
}

func (t *Table[K, V]) compareAll(ctx context.Context, entries entries) (n uint64, err error) {
	defer contain(&err)
	batch := make([]storedRow[K, V], 0, comparedAtOnce)
	for e, err := range entries {
		if err != nil {
			return n, err
		}
		s, err := t.decoded(e)
		if err != nil {
			return n, err
		}
		if batch = append(batch, s); len(batch) == comparedAtOnce {
			if err := t.compareBatch(ctx, batch); err != nil {
				return n, err
			}
			batch = batch[:0]
		}
		n++
	}
	return n, t.compareBatch(ctx, batch)
}

// decoded decodes an entry. The key's bytes must be those that it has now. The
// value's needn't be: what was stored by a release before may be encoded
// otherwise today.
func (t *Table[K, V]) decoded(e snapshot.Change) (s storedRow[K, V], err error) {
	if s.key, err = t.keys.decode(e.Key); err != nil {
		return s, badKey(e.Key, err)
	}
	again, err := t.keys.append(nil, s.key)
	if err != nil || !bytes.Equal(again, e.Key) {
		return s, &LossError{Projection: t.n.name, Key: keyText(s.key), Stored: fmt.Sprintf("stored under %x", shortBytes(e.Key)), Back: fmt.Sprintf("a key that is stored as %x", shortBytes(again))}
	}
	if err = t.values.decode(e.Value, &s.value); err != nil {
		return s, fmt.Errorf("%w: value of key %x: %w", snapshot.ErrCorrupt, e.Key, err)
	}
	return s, nil
}

func (t *Table[K, V]) compareBatch(ctx context.Context, batch []storedRow[K, V]) error {
	if ok, err := t.lookUp(ctx, batch); !ok || err != nil {
		return err
	}
	for i := range batch {
		s := &batch[i]
		if !s.had {
			return &LossError{Projection: t.n.name, Key: keyText(s.key), Stored: "not there", Back: "a row: " + shown(s.value)}
		}
		if lost := t.lossOf(s.key, t.values.difference(&s.live, &s.value)); lost != nil {
			return lost
		}
	}
	return nil
}

// lookUp finds what the table had; false where that isn't known.
func (t *Table[K, V]) lookUp(ctx context.Context, batch []storedRow[K, V]) (bool, error) {
	c := t.comparing.Load()
	if c == nil {
		return false, nil
	}
	if err := t.mu.readUntil(ctx); err != nil {
		return false, err
	}
	defer t.mu.RUnlock()
	if c.gone {
		return false, errReplaced
	}
	for i := range batch {
		s := &batch[i]
		if s.live, s.had = c.kept[s.key]; !s.had {
			if r := t.rows[s.key]; r != nil {
				s.live, s.had = r.value, true
			}
		}
	}
	return true, nil
}

// missing names a row that isn't in the snapshot: all that are were there.
func (t *Table[K, V]) missing(rows int, n uint64) error {
	for k := range t.rows {
		b, err := t.keys.append(nil, k)
		back, bad := k, err
		if err == nil {
			back, bad = t.keys.decode(b)
		}
		if bad != nil || back != k {
			return &LossError{Projection: t.n.name, Key: keyText(k), Stored: "a row of its own", Back: "the row of key " + keyText(back)}
		}
	}
	return fmt.Errorf("projection %q: %w: it had %d rows, and the snapshot has %d", t.n.name, ErrLossy, rows, n)
}

func (p *Partitioned[V]) begin() { p.parted(func(t *Table[string, V]) { t.begin() }) }
func (p *Partitioned[V]) end()   { p.parted(func(t *Table[string, V]) { t.end() }) }

// compare deals the entries out.
func (p *Partitioned[V]) compare(ctx context.Context, entries entries) (n uint64, err error) {
	counts := make([]uint64, len(p.parts))
	batches := make([][]storedRow[string, V], len(p.parts))
	flush := func(i int) error {
		err := p.parts[i].compareBatch(ctx, batches[i])
		batches[i] = batches[i][:0]
		return err
	}
	defer contain(&err)
	for e, err := range entries {
		if err != nil {
			return n, err
		}
		i := p.partOf(string(e.Key)) // a string's stored form is itself
		s, err := p.parts[i].decoded(e)
		if err != nil {
			return n, err
		}
		n, counts[i] = n+1, counts[i]+1
		if batches[i] = append(batches[i], s); len(batches[i]) == comparedAtOnce {
			if err := flush(i); err != nil {
				return n, err
			}
		}
	}
	for i, t := range p.parts {
		if err := flush(i); err != nil {
			return n, err
		}
		if err := t.allThere(ctx, counts[i]); err != nil {
			return n, err
		}
	}
	return n, nil
}

package projection

import (
	"errors"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Tx is how a handler reads and changes its table. It sees what earlier
// events of the same commit changed. All of a commit's changes become
// visible at once, or none when a handler fails. It is valid while the
// handler runs.
type Tx[K comparable, V any] struct {
	t    *Table[K, V]
	live bool
}

// Get returns a key's value, and whether there is one.
func (x *Tx[K, V]) Get(key K) (V, bool) {
	if r := x.t.lookup(key); r != nil {
		return r.value, true
	}
	var zero V
	return zero, false
}

// Value returns a key's value, the zero value where there is none.
func (x *Tx[K, V]) Value(key K) V {
	v, _ := x.Get(key)
	return v
}

// Len is the number of keys.
func (x *Tx[K, V]) Len() int { return len(x.t.rows) }

// Commit is the commit that the handler's event, or change, is of. Like an
// event's Data it is lent: valid while the handler runs. It is nil where the
// table is built from another one's rows (Cause.Rebuild), and for a handler of
// a Partitioned table's events, which has the event.
func (x *Tx[K, V]) Commit() *eventlog.Commit {
	if !x.live {
		return nil
	}
	return x.t.n.step.commit
}

// Put sets a key's value. The table keeps v: don't change what it points to.
// Times in it are put in UTC, as they come back from a snapshot.
func (x *Tx[K, V]) Put(key K, v V) {
	t := x.t
	if !x.live {
		t.misuse("Put was called after the handler had returned")
		return
	}
	if t.utc != nil {
		v = t.settled(v)
	}
	r := t.lookup(key)
	if r == nil {
		r = &row[V]{value: v, number: t.next}
		t.next++
		t.keepUndo(undo[K, V]{key: key, row: r})
		t.rows[key] = r
		t.nearKey, t.near = key, r
		t.touch(key, r)
		if t.observer != nil {
			t.observer.put(key, v, false, v)
		}
		return
	}
	if t.observer != nil {
		t.observer.put(key, r.value, true, v)
	}
	if t.undoOf(r) == nil {
		t.keepUndo(undo[K, V]{key: key, row: r, old: r.value, had: true})
	}
	r.value = v
	t.touch(key, r)
}

// Delete removes a key; a key that isn't there is left alone.
func (x *Tx[K, V]) Delete(key K) {
	t := x.t
	if !x.live {
		t.misuse("Delete was called after the handler had returned")
		return
	}
	r := t.lookup(key)
	if r == nil {
		return
	}
	if t.observer != nil {
		t.observer.delete(key, r.value)
	}
	t.near = nil
	switch u := t.undoOf(r); {
	case u == nil:
		t.keepUndo(undo[K, V]{key: key, row: r, old: r.value, had: true})
	case !u.had: // it is of this commit, and nobody will want it back
		var zero V
		r.value = zero
		if last := len(t.undo) - 1; r.mark.place() == last {
			t.undo[last] = undo[K, V]{}
			t.undo = t.undo[:last]
		}
	}
	r.mark.setGone(true)
	t.touch(key, r)
	delete(t.rows, key)
}

// undoOf is what the present commit has kept of a row, nil for nothing.
func (t *Table[K, V]) undoOf(r *row[V]) *undo[K, V] {
	if i := r.mark.place(); i >= t.begun && i < len(t.undo) && t.undo[i].row == r {
		return &t.undo[i]
	}
	return nil
}

func (t *Table[K, V]) keepUndo(u undo[K, V]) {
	u.row.mark.setPlace(len(t.undo))
	t.undo = append(t.undo, u)
}

// touch notes what a row holds for the next cut. Where there won't be one, it
// notes the row alone, for a digest: the list is out of the processor's cache.
func (t *Table[K, V]) touch(key K, r *row[V]) {
	if t.n.unsaved {
		return
	}
	if r.cut != t.epoch {
		r.cut, r.slot = t.epoch, uint32(len(t.dirty))
		t.dirty = append(t.dirty, touched[K, V]{key: key, row: r})
	} else if t.n.uncut {
		return
	}
	d := &t.dirty[r.slot]
	if d.gone = r.mark.gone(); d.gone {
		var zero V
		d.value = zero
		return
	}
	d.value = r.value
}

func (t *Table[K, V]) misuse(what string) { t.wrong.CompareAndSwap(nil, &what) }

func (t *Table[K, V]) misused() error {
	if s := t.wrong.Load(); s != nil {
		return errors.New(*s)
	}
	return nil
}

func (t *Table[K, V]) lock() {
	t.mu.Lock()
	t.tx.live = true
}

func (t *Table[K, V]) unlock() {
	t.tx.live = false
	if t.most > 0 { // old values may be large
		clear(t.undo[:min(t.most, cap(t.undo))])
		clear(t.delta[:min(t.most, cap(t.delta))])
		t.most = 0
	}
	t.mu.Unlock()
}

func (t *Table[K, V]) rlock(call string) { t.mu.read(t.n, call) }

func (t *Table[K, V]) runlock() { t.mu.RUnlock() }

// size doesn't wait for a handler that is stuck: what asks for it is to show
// just that.
func (t *Table[K, V]) size() int {
	if t.mu.TryRLock() {
		t.sized.Store(int64(len(t.rows)))
		t.mu.RUnlock()
	}
	return int(t.sized.Load())
}

// commit leaves it to unlock to clear what isn't needed any more.
func (t *Table[K, V]) commit() {
	t.most = max(t.most, len(t.undo))
	t.undo, t.begun = t.undo[:0], 0
}

// rollback puts back what the commit found, last change first. The rows stay
// in dirty: saving an unchanged one is harmless.
func (t *Table[K, V]) rollback() {
	t.rollbackTo(0)
	t.reset()
	t.commit()
}

// rollbackTo puts back what was there when the undo list had this length.
func (t *Table[K, V]) rollbackTo(length int) {
	t.near = nil
	for i := len(t.undo) - 1; i >= length; i-- {
		u := &t.undo[i]
		if u.row.mark.setGone(!u.had); u.had {
			u.row.value = u.old
			t.rows[u.key] = u.row
		} else {
			delete(t.rows, u.key)
		}
		t.touch(u.key, u.row)
	}
}

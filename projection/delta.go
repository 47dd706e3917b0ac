package projection

import (
	"iter"

	"github.com/tidemark-es/tidemark/snapshot"
)

// upstream is a state whose changes others read: a table. Called by the unit's
// goroutine with the table locked.
type upstream interface {
	// net finds out what the present step changed, and whether it did.
	net(*Cause) bool
	// changes is a copy of them: a []Change[K, V].
	changes() any
	// publish hands the changes of the step to watchers.
	publish(Cause)
	// forget drops the changes of the step.
	forget()
	// notify wakes the watchers.
	notify()
	// replaced tells them that the rows have become others at once.
	replaced()
	// rebase says where the rows stand by then.
	rebase(at map[string]uint64)
	// rlock and runlock let a reader read the rows of one moment. call is what
	// it called.
	rlock(call string)
	runlock()

	// loadPrior keeps the rows of an older state, which the tables that read
	// this one were built from.
	loadPrior(entries iter.Seq2[snapshot.Change, error]) error
	// netPrior is net, against that older state, which it drops.
	netPrior() bool
}

// manyChanges is from when on a set finds the keys that a step changed twice.
const manyChanges = 16

// net collapses what the step did, which is its undo list, to one change a
// key, and leaves out what ended as it began.
func (t *Table[K, V]) net(cause *Cause) bool {
	switch {
	case len(t.undo) == 1:
		u := &t.undo[0]
		t.changed(cause, u, u.row)
	case len(t.undo) > manyChanges:
		seen := make(map[K]struct{}, len(t.undo))
		for i := range t.undo {
			u := &t.undo[i]
			if _, ok := seen[u.key]; !ok {
				seen[u.key] = struct{}{}
				t.changed(cause, u, t.rows[u.key])
			}
		}
	default:
		for i := range t.undo {
			u := &t.undo[i]
			if !t.undoneBefore(i) {
				t.changed(cause, u, t.rows[u.key])
			}
		}
	}
	return len(t.delta) > 0
}

func (t *Table[K, V]) undoneBefore(i int) bool {
	for j := range i {
		if t.undo[j].key == t.undo[i].key {
			return true
		}
	}
	return false
}

// changed notes a key's change, by the first that was undone of it and its
// row now.
func (t *Table[K, V]) changed(cause *Cause, u *undo[K, V], now *row[V]) {
	has := now != nil && !now.mark.gone()
	switch {
	case !u.had && !has:
		return
	case u.had && has && t.equal(&u.old, &now.value):
		return
	}
	if !has {
		now = u.row
	}
	t.delta = append(t.delta, Change[K, V]{Key: u.key, Old: u.old, Had: u.had, Has: has, Cause: *cause})
	t.numbered = append(t.numbered, now.number)
	if has {
		t.delta[len(t.delta)-1].New = now.value
	}
}

func (t *Table[K, V]) forget() {
	t.most = max(t.most, len(t.delta))
	t.delta, t.numbered = t.delta[:0], t.numbered[:0]
}

func (t *Table[K, V]) loadPrior(entries iter.Seq2[snapshot.Change, error]) error {
	prior := make(map[K]V)
	for e, err := range entries {
		if err != nil {
			return err
		}
		key, err := t.keys.decode(e.Key)
		if err != nil {
			return err
		}
		var v V
		if err := t.values.decode(e.Value, &v); err != nil {
			return err
		}
		prior[key] = v
	}
	t.prior = prior
	return nil
}

// netPrior is what R2.13 calls the corrective difference.
func (t *Table[K, V]) netPrior() bool {
	for k, r := range t.rows {
		old, had := t.prior[k]
		delete(t.prior, k)
		if !had || !t.equal(&old, &r.value) {
			t.delta = append(t.delta, Change[K, V]{Key: k, Old: old, New: r.value, Had: had, Has: true})
		}
	}
	for k, old := range t.prior {
		t.delta = append(t.delta, Change[K, V]{Key: k, Old: old, Had: true})
	}
	t.prior = nil
	return len(t.delta) > 0
}

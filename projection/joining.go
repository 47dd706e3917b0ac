package projection

// Join makes a table of the keys that both left and right have, with what fn
// makes of their values.
func Join[K comparable, L, R, V any](name string, left *Table[K, L], right *Table[K, R], fn func(key K, l L, r R) V, opts ...TableOption) *Table[K, V] {
	t := derive[K, V](name, opts)
	if fn == nil {
		t.n.problem("nil function for Join")
		return t
	}
	joinKeys(t, left, right, func(key K, l L, r R, both bool) (v V, ok bool) {
		if !both {
			return v, false
		}
		return fn(key, l, r), true
	})
	return t
}

// LeftJoin makes a table of the keys of left, with what fn makes of their
// values and of those that right has under the same keys; ok says whether it
// has one.
func LeftJoin[K comparable, L, R, V any](name string, left *Table[K, L], right *Table[K, R], fn func(key K, l L, r R, ok bool) V, opts ...TableOption) *Table[K, V] {
	t := derive[K, V](name, opts)
	if fn == nil {
		t.n.problem("nil function for LeftJoin")
		return t
	}
	joinKeys(t, left, right, func(key K, l L, r R, both bool) (V, bool) { return fn(key, l, r, both), true })
	return t
}

// joinKeys computes a key's row anew when either side changed: both sides are
// behind the step by then, so the order doesn't matter, and doing it twice
// does no harm.
func joinKeys[K comparable, L, R, V any](t *Table[K, V], left *Table[K, L], right *Table[K, R], fn func(key K, l L, r R, both bool) (V, bool)) {
	if left == nil || right == nil {
		t.n.problem("it joins a nil table")
		return
	}
	if joinsItself(t.n, left.n, right.n) {
		return
	}
	compute := func(tx *Tx[K, V], key K) error {
		l := left.rows[key]
		if l == nil {
			tx.Delete(key)
			return nil
		}
		r := right.rows[key]
		var rv R
		if r != nil {
			rv = r.value
		}
		if v, ok := fn(key, l.value, rv, r != nil); ok {
			tx.Put(key, v)
		} else {
			tx.Delete(key)
		}
		return nil
	}
	OnChange(t, left, func(tx *Tx[K, V], c Change[K, L]) error { return compute(tx, c.Key) })
	OnChange(t, right, func(tx *Tx[K, V], c Change[K, R]) error { return compute(tx, c.Key) })
}

// JoinBy joins each row of left with the row of right that it names: on says
// under which key, or that it names none. The table has the keys of those rows
// of left that find one. It keeps an index of left in memory, which is built
// when it is first needed.
func JoinBy[K comparable, L any, RK comparable, R, V any](
	name string, left *Table[K, L], right *Table[RK, R],
	on func(key K, l L) (RK, bool),
	fn func(key K, l L, r R) V,
	opts ...TableOption,
) *Table[K, V] {
	t := derive[K, V](name, opts)
	if on == nil || fn == nil {
		t.n.problem("nil function for JoinBy")
		return t
	}
	if left == nil || right == nil {
		t.n.problem("it joins a nil table")
		return t
	}
	if joinsItself(t.n, left.n, right.n) {
		return t
	}
	j := &joinIndex[K, RK]{}
	t.onReset = func() { j.keys = nil }
	build := func() {
		if j.keys != nil {
			return
		}
		j.keys = make(map[RK]map[K]struct{})
		for k, r := range left.rows {
			if rk, ok := on(k, r.value); ok {
				j.add(rk, k)
			}
		}
	}
	compute := func(tx *Tx[K, V], key K) {
		if l := left.rows[key]; l != nil {
			if rk, ok := on(key, l.value); ok {
				if r := right.rows[rk]; r != nil {
					tx.Put(key, fn(key, l.value, r.value))
					return
				}
			}
		}
		tx.Delete(key)
	}
	OnChange(t, left, func(tx *Tx[K, V], c Change[K, L]) error {
		build()
		if c.Had {
			if rk, ok := on(c.Key, c.Old); ok {
				j.remove(rk, c.Key)
			}
		}
		if c.Has {
			if rk, ok := on(c.Key, c.New); ok {
				j.add(rk, c.Key)
			}
		}
		compute(tx, c.Key)
		return nil
	})
	OnChange(t, right, func(tx *Tx[K, V], c Change[RK, R]) error {
		build()
		for k := range j.keys[c.Key] {
			compute(tx, k)
		}
		return nil
	})
	return t
}

// joinIndex says which keys of the left side name a key of the right one.
// Without keys it has to be built.
type joinIndex[K, RK comparable] struct{ keys map[RK]map[K]struct{} }

func (j *joinIndex[K, RK]) add(rk RK, k K) {
	m := j.keys[rk]
	if m == nil {
		m = make(map[K]struct{})
		j.keys[rk] = m
	}
	m[k] = struct{}{}
}

func (j *joinIndex[K, RK]) remove(rk RK, k K) {
	m := j.keys[rk]
	delete(m, k)
	if len(m) == 0 {
		delete(j.keys, rk)
	}
}

// joinsItself says whether both sides of a join are one table, which is told
// the step of each side once.
func joinsItself(n, left, right *node) bool {
	if left != right {
		return false
	}
	n.problem("it joins %q with itself: make a second table of it first (Map), and join that", left.name)
	return true
}

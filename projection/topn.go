package projection

// Ranked is a row of a table with its key, as TopN and TopNBy rank it.
type Ranked[K comparable, V any] struct {
	Key   K
	Value V
}

// TopN makes a table of the first n rows of src, under their ranks from 1. less
// says whether a value comes before another one; of values where neither does,
// the one with the lesser key in its stored form comes first. It keeps all of
// src in order in memory, so that a row that leaves makes room for the next;
// the order is built when it is first needed.
func TopN[K comparable, V any](name string, src *Table[K, V], n int, less func(a, b V) bool, opts ...TableOption) *Table[int, Ranked[K, V]] {
	t := derive[int, Ranked[K, V]](name, opts)
	switch {
	case n < 1:
		t.n.problem("TopN of %d rows", n)
		return t
	case less == nil:
		t.n.problem("nil function for TopN")
		return t
	case src == nil:
		t.n.problem("it reads the changes of a nil table")
		return t
	}
	r := &overall[K, V]{ranking: ranking[K, V]{src, less}}
	t.onReset = func() { r.valid, r.rows = false, order[K, V]{} }
	ranks(t, src, &r.valid, func() error {
		if err := r.update(); err != nil {
			return err
		}
		place := 0
		for e := range r.rows.all() {
			if place == n {
				break
			}
			place++
			want := Ranked[K, V]{e.key, e.value}
			if old := t.rows[place]; old == nil || !t.equal(&old.value, &want) {
				t.tx.Put(place, want)
			}
		}
		for place++; t.rows[place] != nil; place++ {
			t.tx.Delete(place)
		}
		return nil
	})
	return t
}

// ranks lets t take a step whenever src did; valid says whether what it keeps
// of src's rows is up to the last step.
func ranks[K comparable, V any, SK comparable, SV any](t *Table[K, V], src *Table[SK, SV], valid *bool, step func() error) {
	connect(t.n, src.n, &edge{
		deltas: step,
		rows: func(done func()) error {
			*valid = false
			err := step()
			done()
			return err
		},
	})
}

// overall is all rows of a table in one order.
type overall[K comparable, V any] struct {
	ranking[K, V]
	rows  order[K, V]
	valid bool // up to the last step
}

// update takes the changes of the step in, or all rows. less may panic in the
// middle: then the order isn't valid.
func (r *overall[K, V]) update() error {
	valid := r.valid
	r.valid = false
	if !valid {
		all := make([]ranked[K, V], 0, len(r.src.rows))
		for k, row := range r.src.rows {
			e, err := r.entry(k, row.value)
			if err != nil {
				return err
			}
			all = append(all, e)
		}
		r.rows = r.sorted(all)
	} else {
		for i := range r.src.delta {
			c := &r.src.delta[i]
			if c.Had {
				if err := r.remove(&r.rows, c.Key, c.Old); err != nil {
					return err
				}
			}
			if c.Has {
				if err := r.insert(&r.rows, c.Key, c.New); err != nil {
					return err
				}
			}
		}
	}
	r.valid = true
	return nil
}

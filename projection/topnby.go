package projection

// TopNBy makes a table of the first n rows of each group of src: a row for each
// group that any of them is in, with the first ones, the very first in front.
// group says which group a row is in, or that it is in none; less and the order
// among equals are TopN's. So the three best bids of each auction are
//
//	best := projection.TopNBy("best", bids, 3,
//		func(_ string, b Bid) (string, bool) { return b.Auction, true },
//		func(a, b Bid) bool { return a.Cents > b.Cents })
//	first, _ := best.Get("auction-7") // []projection.Ranked[string, Bid]
//
// The slice that Get returns belongs to the table: don't change it. All of
// src's rows that are in a group are kept in order in memory, as by TopN. A
// step costs the groups that it changed a look at their first n. Both functions
// must depend on their arguments alone; where a row isn't found again because
// one of them doesn't, the table stops with ErrNotDerived.
func TopNBy[K comparable, V any, G comparable](
	name string, src *Table[K, V], n int,
	group func(key K, v V) (G, bool),
	less func(a, b V) bool,
	opts ...TableOption,
) *Table[G, []Ranked[K, V]] {
	t := derive[G, []Ranked[K, V]](name, opts)
	switch {
	case n < 1:
		t.n.problem("TopNBy of %d rows", n)
		return t
	case group == nil || less == nil:
		t.n.problem("nil function for TopNBy")
		return t
	case src == nil:
		t.n.problem("it reads the changes of a nil table")
		return t
	}
	r := &grouping[K, V, G]{ranking: ranking[K, V]{src, less}, group: group}
	t.onReset = func() { r.valid, r.groups = false, nil }
	ranks(t, src, &r.valid, func() error {
		all, err := r.update()
		if err != nil {
			return err
		}
		if !all {
			for g := range r.changed {
				r.put(t, g, n)
			}
			return nil
		}
		for g := range r.groups {
			r.put(t, g, n)
		}
		for g := range t.rows {
			if r.groups[g] == nil {
				t.tx.Delete(g)
			}
		}
		return nil
	})
	return t
}

// grouping is the rows of a table in an order for each group.
type grouping[K comparable, V any, G comparable] struct {
	ranking[K, V]
	group   func(key K, v V) (G, bool)
	groups  map[G]*order[K, V] // none is empty
	changed map[G]struct{}     // groups, by the last step
	valid   bool               // up to the last step
}

// put makes a group's row what its first n rows are.
func (r *grouping[K, V, G]) put(t *Table[G, []Ranked[K, V]], g G, n int) {
	o := r.groups[g]
	if o == nil {
		t.tx.Delete(g)
		return
	}
	first := make([]Ranked[K, V], 0, min(n, len(o.blocks[0])))
	for e := range o.all() {
		if len(first) == n {
			break
		}
		first = append(first, Ranked[K, V]{e.key, e.value})
	}
	if old := t.rows[g]; old == nil || !t.equal(&old.value, &first) {
		t.tx.Put(g, first)
	}
}

// update takes the changes of the step in, or all rows, and says which. A
// function may panic in the middle: then the groups aren't valid.
func (r *grouping[K, V, G]) update() (all bool, err error) {
	valid := r.valid
	r.valid = false
	clear(r.changed)
	if valid {
		err = r.take()
	} else {
		err = r.build()
	}
	r.valid = err == nil
	return !valid, err
}

func (r *grouping[K, V, G]) build() error {
	rows := make(map[G][]ranked[K, V])
	for k, row := range r.src.rows {
		if g, ok := r.group(k, row.value); ok {
			e, err := r.entry(k, row.value)
			if err != nil {
				return err
			}
			rows[g] = append(rows[g], e)
		}
	}
	r.groups, r.changed = make(map[G]*order[K, V], len(rows)), make(map[G]struct{})
	for g, all := range rows {
		o := r.sorted(all)
		r.groups[g] = &o
	}
	return nil
}

func (r *grouping[K, V, G]) take() error {
	for i := range r.src.delta {
		c := &r.src.delta[i]
		if c.Had {
			if g, ok := r.group(c.Key, c.Old); ok {
				r.changed[g] = struct{}{}
				o := r.groups[g]
				if o == nil {
					o = new(order[K, V])
				}
				if err := r.remove(o, c.Key, c.Old); err != nil {
					return err
				}
				if len(o.blocks) == 0 {
					delete(r.groups, g)
				}
			}
		}
		if c.Has {
			if g, ok := r.group(c.Key, c.New); ok {
				r.changed[g] = struct{}{}
				o := r.groups[g]
				if o == nil {
					o = new(order[K, V])
					r.groups[g] = o
				}
				if err := r.insert(o, c.Key, c.New); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

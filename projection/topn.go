package projection

import (
	"bytes"
	"slices"
)

// Ranked is a row of TopN.
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
	r := &ranking[K, V]{src: src, less: less}
	t.onReset = func() { r.valid = false }
	step := func() error {
		if err := r.update(); err != nil {
			return err
		}
		place := 0
		for e := range r.first(n) {
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
	}
	connect(t.n, src.n, &edge{
		deltas: step,
		rows: func(done func()) error {
			r.valid = false
			err := step()
			done()
			return err
		},
	})
	return t
}

// ranking is all rows of a table in order: a list of sorted blocks, of which a
// change touches one. (A tree would touch fewer rows, and more memory.)
type ranking[K comparable, V any] struct {
	src    *Table[K, V]
	less   func(a, b V) bool
	blocks [][]ranked[K, V] // none is empty
	valid  bool             // up to the last step
}

type ranked[K comparable, V any] struct {
	key   K
	bytes []byte // of key
	value V
}

const rankingBlock = 512

func (r *ranking[K, V]) compare(a, b ranked[K, V]) int {
	switch {
	case r.less(a.value, b.value):
		return -1
	case r.less(b.value, a.value):
		return 1
	}
	return bytes.Compare(a.bytes, b.bytes)
}

// update takes the changes of the step in, or all rows. less may panic in the
// middle: then the ranking isn't valid.
func (r *ranking[K, V]) update() error {
	valid := r.valid
	r.valid = false
	if !valid {
		if err := r.build(); err != nil {
			return err
		}
	} else {
		for i := range r.src.delta {
			if err := r.change(&r.src.delta[i]); err != nil {
				return err
			}
		}
	}
	r.valid = true
	return nil
}

func (r *ranking[K, V]) entry(key K, v V) (ranked[K, V], error) {
	b, err := r.src.keys.append(nil, key)
	return ranked[K, V]{key, b, v}, err
}

func (r *ranking[K, V]) build() error {
	all := make([]ranked[K, V], 0, len(r.src.rows))
	for k, row := range r.src.rows {
		e, err := r.entry(k, row.value)
		if err != nil {
			return err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, r.compare)
	r.blocks = nil
	for b := range slices.Chunk(all, rankingBlock/2) {
		r.blocks = append(r.blocks, slices.Clone(b))
	}
	return nil
}

func (r *ranking[K, V]) change(c *Change[K, V]) error {
	if c.Had {
		e, err := r.entry(c.Key, c.Old)
		if err != nil {
			return err
		}
		r.remove(e)
	}
	if c.Has {
		e, err := r.entry(c.Key, c.New)
		if err != nil {
			return err
		}
		r.insert(e)
	}
	return nil
}

// block is where an entry belongs.
func (r *ranking[K, V]) block(e ranked[K, V]) int {
	i, _ := slices.BinarySearchFunc(r.blocks, e, func(b []ranked[K, V], e ranked[K, V]) int { return r.compare(b[len(b)-1], e) })
	return i
}

func (r *ranking[K, V]) insert(e ranked[K, V]) {
	if len(r.blocks) == 0 {
		r.blocks = [][]ranked[K, V]{{e}}
		return
	}
	i := min(r.block(e), len(r.blocks)-1)
	at, _ := slices.BinarySearchFunc(r.blocks[i], e, r.compare)
	b := slices.Insert(r.blocks[i], at, e)
	r.blocks[i] = b
	if len(b) > rankingBlock {
		half := slices.Clone(b[len(b)/2:])
		r.blocks[i] = slices.Clip(b[:len(b)/2])
		r.blocks = slices.Insert(r.blocks, i+1, half)
	}
}

func (r *ranking[K, V]) remove(e ranked[K, V]) {
	i := r.block(e)
	if i == len(r.blocks) {
		return
	}
	at, ok := slices.BinarySearchFunc(r.blocks[i], e, r.compare)
	if !ok {
		return
	}
	if r.blocks[i] = slices.Delete(r.blocks[i], at, at+1); len(r.blocks[i]) == 0 {
		r.blocks = slices.Delete(r.blocks, i, i+1)
	}
}

// first yields the first n entries.
func (r *ranking[K, V]) first(n int) func(yield func(ranked[K, V]) bool) {
	return func(yield func(ranked[K, V]) bool) {
		for _, b := range r.blocks {
			for _, e := range b {
				if n == 0 || !yield(e) {
					return
				}
				n--
			}
		}
	}
}

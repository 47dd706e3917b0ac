package projection

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
)

// order is rows of a table in order: a list of sorted blocks, of which a
// change touches one. (A tree would touch fewer rows, and more memory.) Of
// values where neither comes first, the lesser key in its stored form does, so
// that there is one order.
type order[K comparable, V any] struct {
	blocks [][]ranked[K, V] // none is empty
}

type ranked[K comparable, V any] struct {
	key   K
	bytes []byte // of key
	value V
}

const orderBlock = 512

// ranking is how the rows of a table are ordered.
type ranking[K comparable, V any] struct {
	src  *Table[K, V]
	less func(a, b V) bool
}

func (r ranking[K, V]) compare(a, b ranked[K, V]) int {
	switch {
	case r.less(a.value, b.value):
		return -1
	case r.less(b.value, a.value):
		return 1
	}
	return bytes.Compare(a.bytes, b.bytes)
}

func (r ranking[K, V]) entry(key K, v V) (ranked[K, V], error) {
	b, err := r.src.keys.append(nil, key)
	return ranked[K, V]{key, b, v}, err
}

// sorted makes an order of rows that are in none; all is used up.
func (r ranking[K, V]) sorted(all []ranked[K, V]) (o order[K, V]) {
	slices.SortFunc(all, r.compare)
	for b := range slices.Chunk(all, orderBlock/2) {
		o.blocks = append(o.blocks, slices.Clone(b))
	}
	return o
}

// block is where an entry belongs.
func (r ranking[K, V]) block(o *order[K, V], e ranked[K, V]) int {
	i, _ := slices.BinarySearchFunc(o.blocks, e, func(b []ranked[K, V], e ranked[K, V]) int { return r.compare(b[len(b)-1], e) })
	return i
}

func (r ranking[K, V]) insert(o *order[K, V], key K, v V) error {
	e, err := r.entry(key, v)
	if err != nil {
		return err
	}
	if len(o.blocks) == 0 {
		o.blocks = [][]ranked[K, V]{{e}}
		return nil
	}
	i := min(r.block(o, e), len(o.blocks)-1)
	at, _ := slices.BinarySearchFunc(o.blocks[i], e, r.compare)
	b := slices.Insert(o.blocks[i], at, e)
	o.blocks[i] = b
	if len(b) > orderBlock {
		half := slices.Clone(b[len(b)/2:])
		o.blocks[i] = slices.Clip(b[:len(b)/2])
		o.blocks = slices.Insert(o.blocks, i+1, half)
	}
	return nil
}

func (r ranking[K, V]) remove(o *order[K, V], key K, v V) error {
	e, err := r.entry(key, v)
	if err != nil {
		return err
	}
	if i := r.block(o, e); i < len(o.blocks) {
		if at, ok := slices.BinarySearchFunc(o.blocks[i], e, r.compare); ok {
			if o.blocks[i] = slices.Delete(o.blocks[i], at, at+1); len(o.blocks[i]) == 0 {
				o.blocks = slices.Delete(o.blocks, i, i+1)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: the row of key %.200q isn't found where it was put: less, and what says which group, must depend on their arguments alone, and less must be an order (a NaN has no place in one)", ErrNotDerived, fmt.Sprint(key))
}

// all yields the entries, the first one first.
func (o *order[K, V]) all() iter.Seq[ranked[K, V]] {
	return func(yield func(ranked[K, V]) bool) {
		for _, b := range o.blocks {
			for i := range b {
				if !yield(b[i]) {
					return
				}
			}
		}
	}
}

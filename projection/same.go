package projection

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/tidemark-es/tidemark/internal/equal"
)

// equalOf is the default of Equal, or what the option gave. The default is
// decided by the type, once: == where that says it all, else a comparison that
// was compiled for it (internal/equal). Values are encoded only where they are
// equal and may be stored in different bytes, such as -0 and 0: a row that goes
// from one to the other has changed, as its digest has, and is told as such by
// every process, whether it has replayed the row or restored it.
func equalOf[V any](given any, values valueCodec[V]) (func(a, b *V) bool, error) {
	if given != nil {
		f, ok := given.(func(a, b V) bool)
		if !ok {
			return nil, fmt.Errorf("Equal compares another type than %s", reflect.TypeFor[V]())
		}
		return func(a, b *V) bool { return f(*a, *b) }, nil
	}
	t := values.equality()
	slow := func(a, b *V) bool {
		switch t.Compare(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()) {
		case equal.Different:
			return false
		case equal.Identical:
			return true
		}
		return values.same(a, b)
	}
	switch {
	case t.Plain():
		return func(a, b *V) bool { return any(*a) == any(*b) }, nil
	case t.Comparable():
		return func(a, b *V) bool {
			if any(*a) != any(*b) && any(*a) == any(*a) && any(*b) == any(*b) { // without a NaN
				return false
			}
			return slow(a, b)
		}, nil
	}
	return slow, nil
}

// same says whether the encodings of two values are equal. What can't be
// encoded is the same as nothing.
func (c valueCodec[V]) same(a, b *V) bool {
	x, err := c.append(nil, a)
	if err != nil {
		return false
	}
	y, err := c.append(nil, b)
	return err == nil && bytes.Equal(x, y)
}

// settled is a value with its times in the form in which they come back from a
// snapshot.
func (t *Table[K, V]) settled(v V) V {
	t.utc.Own(&v)
	return v
}

// Package equal says when two values are the same: the one relation that rows,
// changes, digests and round trips stand on.
//
// # The relation
//
// Two values are alike when they are equal by value: fields, elements and
// pointees are alike, every NaN is like every NaN, -0 like 0, a nil slice or
// map like an empty one, and times that are the same instant are alike,
// wherever their clocks stand. Fields that are tagged not to be stored ("-")
// don't count. A type that encodes itself is compared by its own method
// Equal(T) bool where it has one, else with its unexported fields.
//
// A value that comes back from where it was stored must be like the one that
// was stored: a codec may forget what is beyond the relation, and nothing else.
//
// Values that are alike may still be stored in different bytes: -0 and 0, nil
// and empty where the codec tells them apart. A row that goes from one to the
// other has changed, as its digest says. So rows are the same when they are
// alike and their encodings are equal; Compare tells the cases apart in which
// that needn't be looked at.
//
// Both together make live, restored and replayed state agree: if v' is what
// came back of v, v' is like v and has v's encoding, then v' and v are the same
// as the same other values.
package equal

import (
	"reflect"
	"sync"
)

// Verdict is the outcome of a comparison.
type Verdict uint8

// The verdicts.
const (
	// Different values aren't alike.
	Different Verdict = iota
	// Alike values are equal, and may be stored in different bytes.
	Alike
	// Identical values are alike, and are stored in the same bytes.
	Identical
)

// Type compares the values of one Go type as one codec stores them. It is safe
// for concurrent use.
type Type struct {
	plain      bool
	comparable bool
	cmp        compare
}

type typeKey struct {
	t   reflect.Type
	tag string
}

var types sync.Map // typeKey to *Type

// Of returns the comparison of a type. tag is the key of the struct tags that
// say what isn't stored: the codec's name.
func Of(t reflect.Type, tag string) *Type {
	key := typeKey{t, tag}
	if known, ok := types.Load(key); ok {
		return known.(*Type)
	}
	c := compiler{tag: tag, made: make(map[reflect.Type]*compare)}
	made, _ := types.LoadOrStore(key, &Type{plain: c.plain(t), comparable: c.comparable(t), cmp: c.of(t)})
	return made.(*Type)
}

// Plain says that == decides: it is false for values that aren't alike, and
// true for identical ones.
func (t *Type) Plain() bool { return t.plain }

// Comparable says that the type is Plain but for floats and complex numbers:
// values that are == are alike, and others that are == to themselves differ.
func (t *Type) Comparable() bool { return t.comparable }

// Compare compares two values of the type, which must be addressable.
func (t *Type) Compare(a, b reflect.Value) Verdict {
	var s state
	return t.cmp(a, b, &s)
}

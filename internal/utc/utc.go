// Package utc puts the times in a value into the one form in which they come
// back from where they are stored: in UTC, without a reading of the monotonic
// clock. A decoder puts them in the zone of its process, or keeps an offset; so
// a day, an hour or a text that a handler takes of a time would be another one
// after a restore, and on another machine.
//
// Times in exported fields are found, through pointers, slices, maps and
// interfaces, also where msgp has generated the methods that encode a type. The
// fields of other types that encode themselves are theirs.
package utc

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/internal/equal"
)

// Times knows where a type holds times.
type Times struct {
	in     settler
	inline bool // none is behind a pointer, in a slice, a map or an interface
}

// settler looks for times in a value of a type.
type settler interface {
	// settled says whether all of them are as they should be.
	settled(v reflect.Value, w *walk) bool
	// settle puts them right. v can be set; where w.shared, what it refers to
	// is replaced and not changed.
	settle(v reflect.Value, w *walk)
}

// walk is one way through a value.
type walk struct {
	shared bool
	depth  int
	met    map[place]bool
}

type place struct {
	at uintptr
	t  reflect.Type
}

const (
	// shallow is how deep values are followed before it is noted what was met:
	// values that contain themselves would take for ever.
	shallow = 8
	// deepest is how deep values are followed that may not be changed: an
	// encoder refuses what is deeper.
	deepest = 1000
)

// enter goes a reference deeper; false where it was met.
func (w *walk) enter(v reflect.Value) bool {
	if w.depth++; w.depth <= shallow {
		return true
	}
	p := place{v.Pointer(), v.Type()}
	if w.met[p] || w.depth > deepest {
		w.depth--
		return false
	}
	if w.met == nil {
		w.met = make(map[place]bool)
	}
	w.met[p] = true
	return true
}

func (w *walk) leave() { w.depth-- }

var known sync.Map // reflect.Type to *Times, nil for types without times

// Of returns what is known of a type, nil where its values hold no times.
func Of(t reflect.Type) *Times {
	if x, ok := known.Load(t); ok {
		return x.(*Times)
	}
	var x *Times
	if may(t, nil) {
		c := compiler{made: make(map[reflect.Type]*later)}
		x = &Times{in: c.of(t), inline: inline(t)}
	}
	made, _ := known.LoadOrStore(t, x)
	return made.(*Times)
}

// Settle puts the times in what p points to right. Nobody else may use what it
// refers to: it is for what was just decoded. What p is else is left alone.
func Settle(p any) {
	t := reflect.TypeOf(p)
	if t == nil || t.Kind() != reflect.Pointer {
		return
	}
	if x := Of(t.Elem()); x != nil {
		x.in.settle(reflect.ValueOf(p).Elem(), x.walk(false))
	}
}

// Own puts the times in what p points to right, a value of the type. What it
// refers to may be used by others: where times in it aren't right, it is copied.
func (x *Times) Own(p any) {
	v := reflect.ValueOf(p).Elem()
	if x.inline || !x.in.settled(v, x.walk(false)) {
		x.in.settle(v, x.walk(true))
	}
}

// walk is nil where it isn't needed.
func (x *Times) walk(shared bool) *walk {
	if x.inline {
		return nil
	}
	return &walk{shared: shared}
}

// inline says that the times of a type are in its own memory.
func inline(t reflect.Type) bool {
	switch {
	case t == timeType || !may(t, nil):
		return true
	case t.Kind() == reflect.Array:
		return inline(t.Elem())
	case t.Kind() != reflect.Struct:
		return false
	}
	for f := range t.Fields() {
		if reachable(f) && !inline(f.Type) {
			return false
		}
	}
	return true
}

var timeType = reflect.TypeFor[time.Time]()

// opaque says that a type's fields are its own affair.
func opaque(t reflect.Type) bool {
	return t != timeType && t.Kind() != reflect.Pointer && equal.EncodesItself(t) && !generated(t)
}

// generated says that msgp has made the methods that encode a type.
func generated(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[interface{ MarshalMsg([]byte) ([]byte, error) }]()) &&
		p.Implements(reflect.TypeFor[interface{ UnmarshalMsg([]byte) ([]byte, error) }]())
}

// may says whether a value of the type may hold a time.
func may(t reflect.Type, outer []reflect.Type) bool {
	switch {
	case t == timeType:
		return true
	case slices.Contains(outer, t) || opaque(t):
		return false
	}
	outer = append(outer, t)
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return may(t.Elem(), outer)
	case reflect.Struct:
		for f := range t.Fields() {
			if reachable(f) && may(f.Type, outer) {
				return true
			}
		}
	}
	return false
}

// reachable says that a field, or those of an embedded struct, can be set.
func reachable(f reflect.StructField) bool {
	return f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct
}

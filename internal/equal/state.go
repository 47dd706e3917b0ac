package equal

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// shallow is how deep values are followed before it is noted which pairs were
// met: values that share or contain themselves would take for ever.
const shallow = 8

// state is that of one comparison.
type state struct {
	depth int
	met   map[pair]bool

	trace bool     // note where values differ
	path  []string // to there, the innermost first
	a, b  string   // what is there
}

type pair struct {
	a, b uintptr
	t    reflect.Type
}

// enter goes a reference deeper. It says false where this pair was met on the
// way: it is alike if all else is.
func (s *state) enter(a, b uintptr, t reflect.Type) bool {
	if s.depth++; s.depth <= shallow {
		return true
	}
	p := pair{a, b, t}
	if s.met[p] {
		s.depth--
		return false
	}
	if s.met == nil {
		s.met = make(map[pair]bool)
	}
	s.met[p] = true
	return true
}

func (s *state) leave() { s.depth-- }

// differ is the verdict at a place where two values differ.
func (s *state) differ(a, b reflect.Value) Verdict {
	if s.trace {
		s.a, s.b = short(a), short(b)
	}
	return Different
}

// differAs is differ with what is to be shown of the values.
func (s *state) differAs(what func() (a, b string)) Verdict {
	if s.trace {
		s.a, s.b = what()
	}
	return Different
}

// within passes a verdict on from a part of a value.
func (s *state) within(v Verdict, part func() string) Verdict {
	if v == Different && s.trace {
		s.path = append(s.path, part())
	}
	return v
}

func (s *state) found() *Difference {
	slices.Reverse(s.path)
	return &Difference{Path: strings.Join(s.path, ""), A: s.a, B: s.b}
}

// longest is how much is shown of a value.
const longest = 80

func short(v reflect.Value) string {
	var text string
	switch v.Kind() {
	case reflect.String:
		text = fmt.Sprintf("%.*q", longest, v.String())
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Array, reflect.Pointer, reflect.Interface:
		text = fmt.Sprintf("%+v", v)
	default:
		text = fmt.Sprintf("%v", v)
	}
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return text
}

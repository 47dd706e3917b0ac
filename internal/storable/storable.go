package storable

import (
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Type is what the walk found out about a type under some rules. It doesn't
// change, and is safe for concurrent use.
type Type struct {
	Facts
	// Problems are all the reasons why values don't come back; none: they do, as
	// far as the type can tell.
	Problems []Problem

	typ    reflect.Type
	rules  Rules
	root   *node
	broken bool // the codec must not even be asked

	// For Bytes, of types that are stored by MsgPack:
	data  *node // the plan
	unit  int64 // the most memory that a byte of data can ask for
	plain bool  // nothing in it has to be looked at, beside lengths and nesting
}

// Problem is one reason why values of a type don't come back.
type Problem struct {
	Path   string // of the field, from the type on: "shop.Order.Lines[].price"
	Reason string // what happens to it, and what to do
}

func (p Problem) String() string { return p.Path + " " + p.Reason }

// List is problems in one line.
func List(ps []Problem) string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}

// Facts are what users of the walk need to know about a type.
type Facts struct {
	// Times: it holds instants. They lose their location, and their monotonic
	// reading.
	Times bool
	// Floats: it holds floating-point numbers, among which NaN isn't equal to
	// itself, and -0, which is stored as another value, is equal to 0.
	Floats bool
	// Excluded: fields are left out on purpose, by a tag.
	Excluded bool
	// Omits: what is nil comes back as what is empty does, because of omitempty.
	Omits bool
	// Custom: types in it encode themselves, or say what is zero (IsZero), or all
	// of it is encoded by a codec of which nothing is known.
	Custom bool
	// Dynamic: it holds an `any`, which may hold whatever comes back from one.
	Dynamic bool
	// Recursive: it may hold itself. A value that does is refused before it is
	// encoded.
	Recursive bool
	// Text: it holds strings that come back only where they are valid UTF-8.
	Text bool
	// Indirect: it holds pointers, slices or maps.
	Indirect bool
}

// ByType says whether the type alone tells that what is encoded comes back.
// Else a value has to be tried: decode(encode(v)).
func (f Facts) ByType() bool { return !f.Custom && !f.Dynamic && !f.Text }

// Equality is a way to find out whether what is stored of two values is equal.
type Equality int

// The ways, from the quickest.
const (
	// ByOperator: a == b says just that.
	ByOperator Equality = iota
	// ByDeepEqual: reflect.DeepEqual(a, b) says just that.
	ByDeepEqual
	// ByContent: neither does; see Facts.
	ByContent
)

// Equality returns the quickest way to compare two values that is exact.
func (f Facts) Equality() Equality {
	switch {
	case f.Times || f.Floats || f.Excluded || f.Omits || f.Custom || f.Dynamic:
		return ByContent
	case f.Indirect:
		return ByDeepEqual
	}
	return ByOperator
}

type typeKey struct {
	typ   reflect.Type
	rules Rules
}

var types sync.Map // typeKey to *Type

// recent has the types that were asked for last, by what is given to a codec,
// for each of the rules. A codec asks with each value, so a place is found by
// the address of its type, and nothing is hashed.
var recent [Bytes + 1][64]atomic.Pointer[asked]

type asked struct {
	by    uintptr // the address of the type that was given; types are never moved
	known *Type
}

// Of returns what the walk says about a value that a codec is given: a pointer
// to what is stored, or that itself. It is nil for nil.
func Of(v any, rules Rules) *Type {
	by := *(*uintptr)(unsafe.Pointer(&v)) // the first word of an interface is its type
	place := &recent[rules][(by>>5^by>>11)%64]
	if a := place.Load(); a != nil && a.by == by {
		return a.known
	}
	t := reflect.TypeOf(v)
	if t == nil {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	known := Check(t, rules)
	place.Store(&asked{by, known})
	return known
}

// Check walks a type that values are stored of. Values are given to the codec
// by a pointer to them.
func Check(t reflect.Type, rules Rules) *Type {
	key := typeKey{t, rules}
	if known, ok := types.Load(key); ok {
		return known.(*Type)
	}
	known, _ := types.LoadOrStore(key, walkType(t, rules))
	return known.(*Type)
}

func walkType(t reflect.Type, rules Rules) *Type {
	w := &walk{rules: rules, nodes: make(map[nodeKey]*node)}
	switch {
	case unstorable(t):
		w.problem(nameOf(t), "can't be stored: use a struct with exported fields")
		if t.Kind() == reflect.Interface && t.NumMethod() == 0 && rules != Bytes {
			w.root = w.node(t, nameOf(t), true) // a codec may be asked all the same
		}
	case rules == Custom:
		w.facts.Custom = true
	case rules == Bytes:
		w.facts.Indirect = true
		if t.Kind() != reflect.Slice || t.Elem().Kind() != reflect.Uint8 {
			w.problem(nameOf(t), "can't be stored by the codec bytes, which takes slices of bytes alone")
		}
	case rules == MsgPack && w.generated(t):
	default:
		w.root = w.node(t, nameOf(t), true)
	}
	w.spread()
	known := &Type{Facts: w.facts, Problems: w.problems, typ: t, rules: rules, root: w.root, broken: w.broken}
	if rules == MsgPack {
		known.plan(w.nodes)
	}
	return known
}

// unstorable says whether a type means nothing outside of this process,
// whichever codec is asked.
func unstorable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr:
		return true
	}
	return false
}

// generated says whether eventlog.MsgPack calls methods that tinylib/msgp
// generates, or would where both were there.
func (w *walk) generated(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	enc, dec := p.Implements(generatedMarshaler), p.Implements(generatedUnmarshaler)
	if !enc && !dec {
		return false
	}
	w.facts.Custom = true
	w.root = &node{typ: t, kind: own, size: int64(t.Size())}
	w.oneSided(t, nameOf(t), way{method: either(enc, "MarshalMsg")}, way{method: either(dec, "UnmarshalMsg")})
	w.covers(t, nameOf(t), "MarshalMsg", "UnmarshalMsg")
	return true
}

// nameOf is a type's name without the paths of packages, which those of type
// arguments have.
func nameOf(t reflect.Type) string { return packagePath.ReplaceAllString(t.String(), "") }

var packagePath = regexp.MustCompile(`[\w.~-]+/`)

func either(ok bool, s string) string {
	if ok {
		return s
	}
	return ""
}

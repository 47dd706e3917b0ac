package storable

import (
	"fmt"
	"reflect"
	"time"
)

var timeType = reflect.TypeFor[time.Time]()

// kind is what a node's type is to a codec.
type kind uint8

const (
	opaque   kind = iota // a boolean, a string, bytes, a time: nothing to look into
	signed               // an integer
	unsigned             // an integer
	float                // a floating-point number
	own                  // encodes itself
	dynamic              // any
	pointer              // or nil
	list                 // a slice or an array
	mapping              // a map
	record               // a struct
)

// node is a type inside a stored type.
type node struct {
	typ   reflect.Type
	kind  kind
	bits  int   // of a number
	size  int64 // bytes that one of it takes in memory, without what it points to
	elem  *node // of a pointer, list or mapping
	key   *node // of a mapping
	lay   layout
	open  bool // it is being walked
	dull  bool // its data is passed over, whatever it is
	check bool // values have to be looked at before they are encoded
}

// nodeKey tells nodes apart. A type is another one where its values have no
// address, since methods with pointer receivers aren't found then.
type nodeKey struct {
	typ  reflect.Type
	addr bool
}

// walk goes through a type once, and collects what it finds.
type walk struct {
	rules    Rules
	nodes    map[nodeKey]*node
	facts    Facts
	problems []Problem
	broken   bool
	root     *node
}

func (w *walk) problem(path, format string, a ...any) {
	w.problems = append(w.problems, Problem{Path: path, Reason: fmt.Sprintf(format, a...)})
}

// node walks a type that stands at a path. addr says whether its values have an
// address when they are encoded; those in maps have none.
func (w *walk) node(t reflect.Type, path string, addr bool) *node {
	key := nodeKey{t, addr}
	if n := w.nodes[key]; n != nil {
		if n.open {
			w.facts.Recursive, n.check = true, true
		}
		return n
	}
	n := &node{typ: t, size: int64(t.Size()), open: true}
	w.nodes[key] = n
	w.fill(n, path, addr)
	n.open = false
	return n
}

func (w *walk) fill(n *node, path string, addr bool) {
	t := n.typ
	if t == timeType {
		w.facts.Times = true
		return
	}
	if w.encodesItself(n, path, addr) {
		return
	}
	switch t.Kind() {
	case reflect.Bool:
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n.kind, n.bits = signed, t.Bits()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n.kind, n.bits = unsigned, t.Bits()
	case reflect.Float32, reflect.Float64:
		n.kind, n.bits, w.facts.Floats = float, t.Bits(), true
	case reflect.String:
		w.facts.Text = w.facts.Text || w.rules == JSON
	case reflect.Slice, reflect.Array:
		w.list(n, path, addr)
	case reflect.Map:
		w.mapping(n, path)
	case reflect.Pointer:
		w.pointer(n, path)
	case reflect.Struct:
		w.record(n, path, addr)
	case reflect.Interface:
		w.dynamic(n, path)
	default:
		w.problem(path, "is of type %s, which can't be stored: leave it out by the tag `%s:\"-\"`, or use another type", nameOf(t), w.rules.tag())
	}
}

func (w *walk) list(n *node, path string, addr bool) {
	t, slice := n.typ, n.typ.Kind() == reflect.Slice
	w.facts.Indirect = w.facts.Indirect || slice
	if t.Elem().Kind() == reflect.Uint8 && w.storesBytes(t, slice) {
		if w.rules == MsgPack && !slice && !addr && t.Elem() != reflect.TypeFor[byte]() {
			w.problem(path, "is an array of %s in a map, which the codec panics at: use an array of bytes, or a slice", nameOf(t.Elem()))
		}
		return
	}
	n.kind = list
	n.elem = w.node(t.Elem(), path+"[]", slice || addr)
}

// storesBytes says whether a slice or array of a kind of bytes is stored as a
// string of bytes.
func (w *walk) storesBytes(t reflect.Type, slice bool) bool {
	if w.rules == MsgPack {
		return true
	}
	p := reflect.PointerTo(t.Elem())
	return slice && !p.Implements(jsonEncoders[0].typ) && !p.Implements(textMarshaler)
}

func (w *walk) pointer(n *node, path string) {
	w.facts.Indirect = true
	n.kind = pointer
	switch k := n.typ.Elem().Kind(); k {
	case reflect.Pointer, reflect.Interface:
		w.problem(path, "is a pointer to a %s: a pointer to nil comes back as nil: use the %s itself", k, nameOf(n.typ.Elem()))
		return
	case reflect.Slice, reflect.Map:
		n.check = true // a pointer to nil comes back as nil
	}
	n.elem = w.node(n.typ.Elem(), path, true)
}

func (w *walk) dynamic(n *node, path string) {
	if n.typ.NumMethod() > 0 {
		w.problem(path, "is of type %s, an interface with methods: what it holds isn't known when it is decoded: use a type for each case, or a struct with a field for each", nameOf(n.typ))
		return
	}
	n.kind, n.check, w.facts.Dynamic = dynamic, true, true
}

func (w *walk) record(n *node, path string, addr bool) {
	n.kind = record
	n.lay = w.rules.layoutOf(n.typ)
	w.facts.Excluded = w.facts.Excluded || n.lay.excluded
	w.broken = w.broken || n.lay.endless
	for _, p := range n.lay.lost {
		w.problem(join(path, p.Path), "%s", p.Reason)
	}
	for i := range n.lay.fields {
		f := &n.lay.fields[i]
		at := join(path, f.path)
		if f.byPtr {
			w.facts.Indirect = true
			n.check = n.check || w.rules == MsgPack // a nil one comes back as one of zeros
		}
		f.node = w.node(f.typ, at, addr || f.byPtr)
		if f.omits {
			w.omission(f, at)
		}
	}
}

// omission looks at a field that is left out where it is empty: does the codec
// know when it is?
func (w *walk) omission(f *field, path string) {
	switch t := f.typ; {
	case t == timeType:
	case t.Implements(zeroer), w.rules == JSON && reflect.PointerTo(t).Implements(zeroer):
		w.facts.Custom = true // its method decides
	case w.rules == JSON:
	case t.Kind() == reflect.Interface:
		w.problem(path, "is tagged omitempty: 0, false and \"\" in an interface come back as nil: leave omitempty out")
	case f.node.kind == own && t.Kind() == reflect.Struct && looksEmpty(t):
		w.problem(path, "is tagged omitempty, and %s encodes itself: the codec takes it for empty whatever it holds: leave omitempty out, or give it a method IsZero() bool", nameOf(t))
	}
	switch f.typ.Kind() {
	case reflect.Slice, reflect.Map:
		w.facts.Omits = true
	}
}

// looksEmpty says whether msgpack may take a struct for empty, by the fields
// that it would store if the type didn't encode itself.
func looksEmpty(t reflect.Type) bool {
	for _, f := range msgpackLayout(t, nil).fields {
		if !f.omits {
			return false
		}
	}
	return true
}

// spread marks the types that hold one whose values have to be looked at.
func (w *walk) spread() {
	for again := true; again; {
		again = false
		for _, n := range w.nodes {
			if !n.check && n.holdsChecked() {
				n.check, again = true, true
			}
		}
	}
}

func (n *node) holdsChecked() bool {
	if n.elem != nil && n.elem.check || n.key != nil && n.key.check {
		return true
	}
	for _, f := range n.lay.fields {
		if f.node.check {
			return true
		}
	}
	return false
}

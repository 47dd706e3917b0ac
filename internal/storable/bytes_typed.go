package storable

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
)

// dynamicSize is what a value in an interface, or an element of what a type
// decodes itself, is counted with at least.
const dynamicSize = 64

// entrySize is what a map takes for an entry beside its key and value.
const entrySize = 16

// plan finds out what Bytes needs: the most that a byte of data can take in
// memory, and whether there is anything in the type that has to be looked at.
func (t *Type) plan(nodes map[nodeKey]*node) {
	t.unit, t.plain = 1, true
	if t.data = t.root; t.data == nil || len(t.Problems) > 0 { // fields aren't where they seem to be
		t.data, nodes = &node{typ: t.typ, kind: own, size: int64(t.typ.Size())}, nil
	}
	t.unit = max(t.data.whole(), t.data.cost())
	for _, n := range nodes {
		n.dull = n.kind == opaque
		for i := range n.lay.fields {
			if f := &n.lay.fields[i]; len(f.name) < 32 {
				f.head = append([]byte{0xa0 | byte(len(f.name))}, f.name...)
			}
		}
		t.plain = t.plain && (n.dull || n.kind == own)
		t.unit = max(t.unit, n.cost())
	}
}

// whole is what a value takes with what it points to, which is stored in the
// same bytes.
func (n *node) whole() int64 {
	size := n.size
	for _, f := range n.lay.fields {
		if f.byPtr {
			size += int64(f.typ.Size())
		}
	}
	if n.kind == pointer && n.elem != nil {
		size += n.elem.whole()
	}
	return size
}

// cost is the most memory that one byte within the value can ask for.
func (n *node) cost() int64 {
	switch n.kind {
	case list, pointer:
		if n.elem == nil {
			return dynamicSize
		}
		return n.elem.whole()
	case mapping:
		return n.key.whole() + n.elem.whole() + entrySize
	case own:
		return max(dynamicSize, largest(n.typ, nil))
	case dynamic:
		return dynamicSize
	}
	return 1
}

// largest is the size of the largest element of a slice or a map, or of what a
// pointer points to, in a type that decodes itself: it may make any of them.
func largest(t reflect.Type, outer []reflect.Type) (size int64) {
	if slices.Contains(outer, t) {
		return 0
	}
	if len(outer) > 32 {
		return 0
	}
	outer = append(outer, t)
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		return max(int64(t.Elem().Size()), largest(t.Elem(), outer))
	case reflect.Array:
		return largest(t.Elem(), outer)
	case reflect.Map:
		return max(int64(t.Key().Size()+t.Elem().Size())+entrySize, largest(t.Elem(), outer))
	case reflect.Struct:
		for f := range t.Fields() {
			size = max(size, largest(f.Type, outer))
		}
	}
	return size
}

// value looks at a value of a type.
func (s *scan) value(n *node, at, depth int) int {
	switch n.kind {
	case signed, unsigned:
		return s.integer(n, at)
	case float:
		return s.float(n, at)
	case record:
		return s.record(n, at, depth)
	case list:
		return s.list(n, at, depth)
	case mapping:
		return s.mapping(n, at, depth)
	case pointer:
		if at < len(s.data) && s.data[at] == 0xc0 {
			return at + 1
		}
		if !s.take(1, n.elem.size) {
			return failed
		}
		return s.value(n.elem, at, depth)
	case own, dynamic:
		if s.counts {
			return s.counted(n.cost(), at, depth)
		}
	}
	return s.skip(at, 1, depth)
}

// counted passes over a value, of large data, whose elements take so much memory
// each; or 0.
func (s *scan) counted(size int64, at, depth int) int {
	form, at, count := s.open(at)
	switch {
	case at < 0 || form == whole:
		return at
	case form == sized:
		return at + count
	case depth >= MaxDepth:
		return s.tooDeep()
	case !s.take(count, size):
		return failed
	case form == object:
		count *= 2
	}
	for range count {
		if at = s.counted(size, at, depth+1); at < 0 {
			return at
		}
	}
	return at
}

func (s *scan) list(n *node, at, depth int) int {
	form, begin, count := s.open(at)
	switch {
	case begin < 0:
		return failed
	case form != array: // nil, or what the decoder refuses
		return s.skip(at, 1, depth)
	case depth >= MaxDepth:
		return s.tooDeep()
	case n.typ.Kind() == reflect.Slice && !s.take(count, n.elem.size):
		return failed
	case n.elem.dull:
		return s.skip(begin, count, depth+1)
	}
	at = begin
	for i := range count {
		if at = s.value(n.elem, at, depth+1); at < 0 {
			return s.in(fmt.Sprintf("[%d]", i))
		}
	}
	return at
}

func (s *scan) mapping(n *node, at, depth int) int {
	form, begin, count := s.open(at)
	switch {
	case begin < 0:
		return failed
	case form != object:
		if c := s.data[at]; c >= 0xc7 && c <= 0xc9 || c >= 0xd4 && c <= 0xd8 {
			return s.fail("an extension where a map should be") // the decoder would look for one inside
		}
		return s.skip(at, 1, depth)
	case depth >= MaxDepth:
		return s.tooDeep()
	case !s.take(count, n.key.size+n.elem.size+entrySize):
		return failed
	case n.key.dull && n.elem.dull:
		return s.skip(begin, 2*count, depth+1)
	}
	at = begin
	for range count {
		key := at
		if at = s.value(n.key, at, depth+1); at < 0 {
			return s.in("[key]")
		}
		if at = s.value(n.elem, at, depth+1); at < 0 {
			return s.in("[" + s.text(key) + "]")
		}
	}
	return at
}

// text is a key of a map for an error.
func (s *scan) text(at int) string {
	if name, _, ok := s.name(at); ok && len(name) <= 64 {
		return string(name)
	}
	return ""
}

// name reads a string or bytes, as the decoder reads the name of a field.
func (s *scan) name(at int) (name []byte, behind int, ok bool) {
	if at < len(s.data) {
		if c := s.data[at]; c >= 0xa0 && c <= 0xbf {
			if behind = at + 1 + int(c&0x1f); behind <= len(s.data) {
				return s.data[at+1 : behind], behind, true
			}
			return nil, s.short(), false
		}
	}
	form, begin, count := s.open(at)
	switch {
	case begin < 0:
		return nil, failed, false
	case form == sized && s.data[at] != 0xc7 && s.data[at] != 0xc8 && s.data[at] != 0xc9:
		return s.data[begin : begin+count], begin + count, true
	}
	return nil, s.skip(at, 1, 0), false
}

func (s *scan) record(n *node, at, depth int) int {
	form, begin, count := s.open(at)
	switch {
	case begin < 0:
		return failed
	case form != object && form != array:
		return s.skip(at, 1, depth)
	case depth >= MaxDepth:
		return s.tooDeep()
	case form == array && count != len(n.lay.fields): // the decoder refuses it
		return s.skip(begin, count, depth+1)
	}
	at = begin
	for i := range count {
		f := (*field)(nil)
		if form == array {
			f = &n.lay.fields[i]
		} else if i < len(n.lay.fields) && n.lay.fields[i].head != nil && bytes.HasPrefix(s.data[at:], n.lay.fields[i].head) { // as it was encoded
			f = &n.lay.fields[i]
			at += len(f.head)
		} else {
			name, behind, ok := s.name(at)
			if at = behind; at < 0 {
				return failed
			}
			if ok {
				var embedded bool
				if f, embedded = n.lay.named(name, i); embedded {
					if at = s.counted(max(dynamicSize, largest(n.typ, nil)), at, depth+1); at < 0 {
						return s.in(string(name))
					}
					continue
				}
			}
		}
		switch {
		case f == nil || f.node.dull: // what the type doesn't have is passed over
			if at < len(s.data) && sizes[s.data[at]] > 0 {
				if at += int(sizes[s.data[at]]); at <= len(s.data) {
					continue
				}
				at = s.short()
			} else {
				at = s.skip(at, 1, depth+1)
			}
		default:
			at = s.value(f.node, at, depth+1)
		}
		if at < 0 {
			if f != nil {
				s.in(f.path)
			}
			return failed
		}
	}
	return at
}

// named finds a field; guess is where it stands if it is stored in order.
// embedded says that the name is one of an embedded struct.
func (l *layout) named(name []byte, guess int) (f *field, embedded bool) {
	if guess < len(l.fields) && l.fields[guess].name == string(name) {
		return &l.fields[guess], false
	}
	i, ok := l.byName[string(name)]
	switch {
	case !ok:
		return nil, false
	case i < 0:
		return nil, true
	}
	return &l.fields[i], false
}

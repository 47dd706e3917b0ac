package storable

import (
	"reflect"
	"strings"
)

// layout is what a codec stores of a struct: the fields, embedded ones
// included, under their stored names, and what it leaves out.
type layout struct {
	fields   []field
	byName   map[string]int // of fields, for decoding; -1: not one of them
	array    bool           // stored in order, without names
	lost     []Problem      // paths are relative to the struct
	excluded bool           // fields are left out on purpose
	endless  bool           // it embeds itself: the codec doesn't come back
}

// field is one stored field of a struct.
type field struct {
	name  string // as it is stored
	head  []byte // the name in msgpack; nil for a long one
	path  string // in Go, below the struct
	index []int  // for reflect's FieldByIndex
	typ   reflect.Type
	omits bool // the codec leaves it out where it is empty (omitempty, omitzero)
	byPtr bool // it is in a struct that is embedded by a pointer
	node  *node
}

// layoutOf lays a struct out by the rules of a codec.
func (r Rules) layoutOf(t reflect.Type) layout {
	if r == JSON {
		return jsonLayout(t)
	}
	return msgpackLayout(t, nil)
}

// lose notes a field that is not stored, unless nothing is lost with it.
func (l *layout) lose(t reflect.Type, path, reason string) {
	if t.Size() > 0 {
		l.lost = append(l.lost, Problem{Path: path, Reason: reason})
	}
}

// leavesOut says whether a field needn't be stored: because its tag says so, or
// since it has no name. Of an unexported field the tag of any codec tells the
// purpose.
func (r Rules) leavesOut(f reflect.StructField) (out, onPurpose bool) {
	if f.Name == "_" || f.Name == "_msgpack" {
		return true, false
	}
	tags := []string{r.tag()}
	if !f.IsExported() {
		tags = []string{"msgpack", "json"}
	}
	for _, key := range tags {
		tag := f.Tag.Get(key)
		name, _, _ := strings.Cut(tag, ",")
		if tag == "-" || name == "-" && (key == "msgpack" || !f.IsExported()) {
			return true, f.Type.Size() > 0
		}
	}
	return false, false
}

func unexported(r Rules, t reflect.Type) string {
	methods := "MarshalMsgpack and UnmarshalMsgpack"
	if r == JSON {
		methods = "MarshalJSON and UnmarshalJSON"
	}
	return "is not exported, so it is not stored and comes back as zero: export it, tag it `" + r.tag() + `:"-"` +
		"` if it may be lost, or give " + nameOf(t) + " methods that encode it (" + methods + ")"
}

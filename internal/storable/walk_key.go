package storable

import (
	"reflect"
	"sync"
)

// mapping walks a map. Its keys have to be what they were, or entries get lost.
func (w *walk) mapping(n *node, path string) {
	w.facts.Indirect = true
	n.kind = mapping
	k := n.typ.Key()
	at := path + "[key]"
	if reason := identity(k, false); reason != "" {
		w.problem(at, "is of type %s, %s: use a string, an integer, or a struct of those", nameOf(k), reason)
	} else if w.rules == JSON {
		w.jsonKey(k, at)
	}
	if w.rules == JSON {
		n.key = &node{typ: k, size: int64(k.Size())}
	} else {
		n.key = w.node(k, at, false)
	}
	n.elem = w.node(n.typ.Elem(), path+"[]", false)
}

// jsonKey says whether encoding/json stores a type as the name in an object.
func (w *walk) jsonKey(k reflect.Type, path string) {
	decodes := reflect.PointerTo(k).Implements(textUnmarshaler)
	if k.Kind() == reflect.String {
		w.facts.Text, w.facts.Custom = true, w.facts.Custom || decodes
		return
	}
	switch encodes := k.Implements(textMarshaler); {
	case encodes && decodes:
		w.facts.Custom = true
		w.covers(k, path, "MarshalText", "UnmarshalText")
	case encodes || decodes:
		w.problem(path, "is of type %s, which needs both methods MarshalText and UnmarshalText to be a key, the first one with a value receiver", nameOf(k))
	case k.Kind() < reflect.Int || k.Kind() > reflect.Uint64:
		w.problem(path, "is of type %s, which can't be a key in JSON: use a string or an integer, or give it the methods MarshalText and UnmarshalText", nameOf(k))
	}
}

// identity says why a value of the type isn't the same key after it was stored,
// or "". A table's keys (strict) are compared with == by everything that works
// with them, so their types must not even have parts that mean something else.
func identity(t reflect.Type, strict bool) string {
	if t == timeType {
		return "whose == compares locations too, which are not stored"
	}
	switch t.Kind() {
	case reflect.Interface:
		return "whose keys come back as other types"
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer, reflect.Uintptr:
		return "which means nothing to another process"
	case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		if strict {
			return "of which NaN isn't equal to itself"
		}
	case reflect.Array:
		return identity(t.Elem(), strict)
	case reflect.Struct:
		enc, _, _ := MsgPack.own(t, false)
		if _, promoted := promotedFrom(t, enc.method); enc.method != "" && !strict && !promoted {
			return "" // its methods decide
		}
		for f := range t.Fields() {
			if _, onPurpose := MsgPack.leavesOut(f); onPurpose && enc.method == "" {
				return "with a field " + f.Name + " that is tagged not to be stored, so that keys which differ in it would be one"
			}
			if reason := identity(f.Type, strict); reason != "" && f.Name != "_" {
				return "with a field " + f.Name + " of type " + nameOf(f.Type) + ", " + reason
			}
		}
	}
	return ""
}

var keys sync.Map // reflect.Type to *Type

// CheckKey walks a type that keys of tables are of. Strings and integers, named
// ones too, are stored as they are, whatever methods they have; all others by
// msgpack. Two keys that differ must be stored differently, so no field may be
// left out.
func CheckKey(t reflect.Type) *Type {
	if known, ok := keys.Load(t); ok {
		return known.(*Type)
	}
	known, _ := keys.LoadOrStore(t, walkKey(t))
	return known.(*Type)
}

func walkKey(t reflect.Type) *Type {
	if k := t.Kind(); k == reflect.String || k >= reflect.Int && k <= reflect.Uint64 {
		return &Type{typ: t, rules: MsgPack}
	}
	if reason := identity(t, true); reason != "" {
		return &Type{typ: t, rules: MsgPack, Problems: []Problem{{nameOf(t), "can't be a key: it is of a type " + reason + ": use strings, integers, or structs and arrays of those"}}}
	}
	return Check(t, MsgPack)
}

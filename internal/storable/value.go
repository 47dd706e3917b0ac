package storable

import (
	"fmt"
	"math"
	"reflect"
	"time"
)

// MaxDepth is how deep stored values may be nested: maps, structs, slices and
// arrays in each other. It is what encoding/json decodes.
const MaxDepth = 10_000

// ValueError is a value that doesn't come back as it is, although its type may
// be stored. Nothing was encoded.
type ValueError struct {
	Type   string // of what was to be stored
	Path   string // in it
	Reason string // what is wrong, and what to do
}

func (e *ValueError) Error() string { return join(e.Type, e.Path) + " " + e.Reason }

// Value looks at a value before it is encoded, where its type says that it has
// to: for cycles, for what an `any` holds, for pointers to nil. p is what the
// codec is given, as in Of. The error is a *ValueError.
func (t *Type) Value(p any) error {
	if t == nil || t.root == nil || !t.root.check && !t.broken {
		return nil
	}
	if t.broken {
		return &ValueError{Type: nameOf(t.typ), Reason: t.Problems[0].Reason}
	}
	v := reflect.ValueOf(p)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	c := valueCheck{rules: t.rules}
	if c.value(t.root, v, 0) {
		return nil
	}
	return &ValueError{Type: nameOf(t.typ), Path: c.path, Reason: c.reason}
}

// valueCheck is one look at a value. Where it fails, the path is put together on
// the way back.
type valueCheck struct {
	rules  Rules
	path   string
	reason string
	deep   bool // no path is of use
}

func (c *valueCheck) fail(format string, a ...any) bool {
	c.reason = fmt.Sprintf(format, a...)
	return false
}

func (c *valueCheck) at(step string) bool {
	if !c.deep {
		c.path = join(step, c.path)
	}
	return false
}

func (c *valueCheck) tooDeep(depth int) bool {
	if depth <= MaxDepth {
		return false
	}
	c.deep = true
	return !c.fail("is nested more than %d levels deep, or contains itself: a value that is inside itself can't be stored: keep a key in place of the pointer", MaxDepth)
}

func (c *valueCheck) value(n *node, v reflect.Value, depth int) bool {
	if !n.check {
		return true
	}
	switch n.kind {
	case dynamic:
		return c.any(v.Interface(), depth)
	case pointer:
		if v.IsNil() {
			return true
		}
		if k := n.elem.typ.Kind(); (k == reflect.Slice || k == reflect.Map) && n.elem.kind != own && v.Elem().IsNil() {
			return c.fail("is a pointer to a nil %s, which comes back as a nil pointer: let it point to an empty one", k)
		}
		return c.value(n.elem, v.Elem(), depth)
	case list:
		for i := range v.Len() {
			if c.tooDeep(depth+1) || !c.value(n.elem, v.Index(i), depth+1) {
				return c.at(fmt.Sprintf("[%d]", i))
			}
		}
	case mapping:
		for it := v.MapRange(); it.Next(); {
			if c.tooDeep(depth+1) || !c.value(n.elem, it.Value(), depth+1) {
				return c.at(fmt.Sprintf("[%v]", it.Key()))
			}
		}
	case record:
		return c.record(n, v, depth+1)
	}
	return true
}

func (c *valueCheck) record(n *node, v reflect.Value, depth int) bool {
	if c.tooDeep(depth) {
		return false
	}
	for i := range n.lay.fields {
		f := &n.lay.fields[i]
		if !f.node.check && !f.byPtr {
			continue
		}
		fv, err := v.FieldByIndexErr(f.index)
		switch {
		case err == nil:
			if !c.value(f.node, fv, depth) {
				return c.at(f.path)
			}
		case c.rules == MsgPack && !n.lay.omitsNil():
			c.fail("is in a struct that is embedded by a nil pointer, which comes back as a struct of zeros: embed the struct itself, or give the field a name")
			return c.at(f.path)
		}
	}
	return true
}

// any looks at what an interface holds: does it come back as the same type?
func (c *valueCheck) any(v any, depth int) bool {
	switch v := v.(type) {
	case nil, bool, string, float64:
		return true
	case []any:
		for i, e := range v {
			if c.tooDeep(depth+1) || !c.any(e, depth+1) {
				return c.at(fmt.Sprintf("[%d]", i))
			}
		}
		return true
	case map[string]any:
		for k, e := range v {
			if c.tooDeep(depth+1) || !c.any(e, depth+1) {
				return c.at("[" + k + "]")
			}
		}
		return true
	case float32, []byte, time.Time:
		if c.rules == MsgPack {
			return true
		}
	}
	back := "another type"
	r := reflect.ValueOf(v)
	switch {
	case c.rules == JSON && (r.CanInt() || r.CanUint() || r.CanFloat()):
		back = "float64"
	case c.rules == MsgPack && (r.CanInt() || r.CanUint()):
		if back = smallest(r); back == r.Type().String() {
			return true // as all numbers that were decoded once
		}
	case r.Kind() == reflect.Struct || r.Kind() == reflect.Map || r.Kind() == reflect.Pointer:
		back = "map[string]any, if at all"
	}
	return c.fail("holds %T in an interface, which comes back as %s: give the field a type, or store a string, a float64, []any or map[string]any of those", v, back)
}

// smallest is the type that an integer in an interface comes back as.
func smallest(r reflect.Value) string {
	if r.CanInt() && r.Int() < 0 {
		switch i := r.Int(); {
		case i >= math.MinInt8:
			return "int8"
		case i >= math.MinInt16:
			return "int16"
		case i >= math.MinInt32:
			return "int32"
		}
		return "int64"
	}
	var u uint64
	if r.CanInt() {
		u = uint64(r.Int())
	} else {
		u = r.Uint()
	}
	switch {
	case u <= math.MaxInt8:
		return "int8"
	case u <= math.MaxUint8:
		return "uint8"
	case u <= math.MaxUint16:
		return "uint16"
	case u <= math.MaxUint32:
		return "uint32"
	}
	return "uint64"
}

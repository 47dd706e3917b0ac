package equal

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// compare compares two addressable values of one type.
type compare func(a, b reflect.Value, s *state) Verdict

type compiler struct {
	tag  string
	made map[reflect.Type]*compare // also those that are being made
}

var timeType = reflect.TypeFor[time.Time]()

// of compiles the comparison of a type.
func (c *compiler) of(t reflect.Type) compare {
	if known, ok := c.made[t]; ok {
		if *known != nil {
			return *known
		}
		return func(a, b reflect.Value, s *state) Verdict { return (*known)(a, b, s) } // a type inside itself
	}
	made := new(compare)
	c.made[t] = made
	*made = c.compile(t)
	return *made
}

func (c *compiler) compile(t reflect.Type) compare {
	switch {
	case t == timeType:
		return compareTimes
	case EncodesItself(t) && hasEqual(t):
		return byItsEqual
	}
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		return compareFloats
	case reflect.Complex64, reflect.Complex128:
		return compareComplex
	case reflect.Pointer:
		return c.pointer(t)
	case reflect.Interface:
		return c.dynamic()
	case reflect.Slice:
		return c.slice(t)
	case reflect.Array:
		return c.array(t)
	case reflect.Map:
		return c.mapping(t)
	case reflect.Struct:
		return c.structure(t)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return compareReferences
	}
	return compareScalars
}

// field is one that is compared.
type field struct {
	index    int
	name     string
	exported bool
	cmp      compare
}

func (c *compiler) structure(t reflect.Type) compare {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" || f.Type.Size() == 0 && f.Type.Kind() == reflect.Struct || c.excluded(f) {
			continue
		}
		fields = append(fields, field{i, f.Name, f.IsExported(), c.of(f.Type)})
	}
	return func(a, b reflect.Value, s *state) Verdict {
		worst := Identical
		for i := range fields {
			f := &fields[i]
			v := f.cmp(f.of(a), f.of(b), s)
			if v == Different {
				return s.within(v, func() string { return "." + f.name })
			}
			worst = min(worst, v)
		}
		return worst
	}
}

// of is a struct's field, also an unexported one.
func (f *field) of(v reflect.Value) reflect.Value {
	v = v.Field(f.index)
	if f.exported {
		return v
	}
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}

// addressable is the value, or a copy that is.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	at := reflect.New(v.Type()).Elem()
	at.Set(v)
	return at
}

// excluded says that a field is left out on purpose. Of an unexported one, which
// no codec looks at, the tag of any says so.
func (c *compiler) excluded(f reflect.StructField) bool {
	tags := []string{c.tag}
	if !f.IsExported() {
		tags = append(tags, "msgpack", "json")
	}
	return slices.ContainsFunc(tags, func(key string) bool {
		name, _, _ := strings.Cut(f.Tag.Get(key), ",")
		return name == "-"
	})
}

// comparable says that a type has nothing but plain parts and numbers.
func (c *compiler) comparable(t reflect.Type) bool {
	return c.all(t, func(k reflect.Kind) bool { return k <= reflect.Complex128 || k == reflect.String })
}

func (c *compiler) plain(t reflect.Type) bool {
	return c.all(t, func(k reflect.Kind) bool { return k < reflect.Float32 || k == reflect.String })
}

// all says that a type has nothing but parts of some kinds, all of which count.
func (c *compiler) all(t reflect.Type, plain func(reflect.Kind) bool) bool {
	switch t.Kind() {
	case reflect.Array:
		return c.all(t.Elem(), plain)
	case reflect.Struct:
		for f := range t.Fields() {
			if c.excluded(f) || !c.all(f.Type, plain) {
				return false
			}
		}
		return !hasEqual(t) || !EncodesItself(t)
	}
	return plain(t.Kind())
}

// The methods by which the codecs let a type encode itself.
var encoders = []reflect.Type{
	reflect.TypeFor[interface{ MarshalMsg([]byte) ([]byte, error) }](),
	reflect.TypeFor[msgpack.CustomEncoder](),
	reflect.TypeFor[msgpack.Marshaler](),
	reflect.TypeFor[encoding.BinaryMarshaler](),
	reflect.TypeFor[encoding.TextMarshaler](),
	reflect.TypeFor[interface{ MarshalJSON() ([]byte, error) }](),
}

// EncodesItself says whether a type, or a pointer to it, has methods by which it
// encodes itself: what they store can't be told from its fields.
func EncodesItself(t reflect.Type) bool {
	return slices.ContainsFunc(encoders, func(m reflect.Type) bool {
		return t.Implements(m) || reflect.PointerTo(t).Implements(m)
	})
}

// hasEqual says whether a type has a method Equal(T) bool.
func hasEqual(t reflect.Type) bool {
	m, ok := t.MethodByName("Equal")
	return ok && t.Kind() != reflect.Interface && m.Type.NumIn() == 2 && m.Type.In(1) == t &&
		m.Type.NumOut() == 1 && m.Type.Out(0) == reflect.TypeFor[bool]()
}

func byItsEqual(a, b reflect.Value, s *state) Verdict {
	if a.Kind() == reflect.Pointer && (a.IsNil() || b.IsNil()) {
		if a.IsNil() && b.IsNil() {
			return Identical
		}
		return s.differ(a, b)
	}
	if a.MethodByName("Equal").Call([]reflect.Value{b})[0].Bool() {
		return Alike
	}
	return s.differ(a, b)
}

// dynamic compares what interfaces hold.
func (c *compiler) dynamic() compare {
	tag := c.tag
	return func(a, b reflect.Value, s *state) Verdict {
		a, b = a.Elem(), b.Elem()
		switch {
		case !a.IsValid() && !b.IsValid():
			return Identical
		case !a.IsValid() || !b.IsValid() || a.Type() != b.Type():
			return s.differAs(func() (string, string) { return kindText(a), kindText(b) })
		}
		return Of(a.Type(), tag).cmp(addressable(a), addressable(b), s)
	}
}

func kindText(v reflect.Value) string {
	if !v.IsValid() {
		return "nil"
	}
	return fmt.Sprintf("%s %s", v.Type(), short(v))
}

package projection

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/equal"
	"github.com/tidemark-es/tidemark/internal/utc"
	"pgregory.net/rapid"
)

// anyType draws a type that both codecs store.
func anyType(t *rapid.T, depth int) reflect.Type {
	leaves := []reflect.Type{
		reflect.TypeFor[int64](), reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[float64](),
		reflect.TypeFor[float32](), reflect.TypeFor[time.Time](), reflect.TypeFor[[]byte](), reflect.TypeFor[uint8](),
	}
	kinds := len(leaves) + 5
	if depth == 0 {
		kinds = len(leaves)
	}
	switch n := rapid.IntRange(0, kinds-1).Draw(t, "kind") - len(leaves); n {
	case 0:
		return reflect.SliceOf(anyType(t, depth-1))
	case 1:
		return reflect.MapOf(reflect.TypeFor[string](), anyType(t, depth-1))
	case 2:
		return reflect.PointerTo(rapid.SampledFrom(leaves[:5]).Draw(t, "pointee")) // nil in nil, and a zero time where empty is omitted, come back as nil
	case 3:
		return reflect.ArrayOf(2, anyType(t, depth-1))
	case 4:
		var fields []reflect.StructField
		for i := range rapid.IntRange(0, 4).Draw(t, "fields") {
			tag := rapid.SampledFrom([]reflect.StructTag{"", `msgpack:",omitempty" json:",omitempty"`}).Draw(t, "tag")
			fields = append(fields, reflect.StructField{Name: fmt.Sprint("F", i), Type: anyType(t, depth-1), Tag: tag})
		}
		return reflect.StructOf(fields)
	default:
		return leaves[n+len(leaves)]
	}
}

// drawInto fills a value, of few: many are the same, or look different and are.
func drawInto(t *rapid.T, v reflect.Value) {
	n := rapid.IntRange(0, 5).Draw(t, "value")
	if v.Type() == reflect.TypeFor[time.Time]() {
		at := time.Unix(int64(n%2), 0)
		v.Set(reflect.ValueOf([]time.Time{at, at.UTC(), at.In(time.FixedZone("x", 3600)), at.Add(1), at, {}}[n]))
		return
	}
	switch v.Kind() {
	case reflect.Int64:
		v.SetInt(int64(n % 2))
	case reflect.Uint8:
		v.SetUint(uint64(n % 2))
	case reflect.String:
		v.SetString([]string{"", "a", "b"}[n%3])
	case reflect.Bool:
		v.SetBool(n%2 == 0)
	case reflect.Float64, reflect.Float32:
		v.SetFloat([]float64{0, math.Copysign(0, -1), 1, math.NaN(), -math.NaN(), math.Inf(1)}[n])
	case reflect.Pointer:
		if n > 1 {
			v.Set(reflect.New(v.Type().Elem()))
			drawInto(t, v.Elem())
		}
	case reflect.Slice:
		if n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n/2, n/2))
		}
		for i := range v.Len() {
			drawInto(t, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			drawInto(t, v.Index(i))
		}
	case reflect.Map:
		if n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
		}
		for i := range n / 2 {
			e := reflect.New(v.Type().Elem()).Elem()
			drawInto(t, e)
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint("k", i)), e)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			drawInto(t, field)
		}
	}
}

// textOf is the oracle: values are alike when their texts are equal.
func textOf(v reflect.Value) string {
	if at, ok := v.Interface().(time.Time); ok {
		return fmt.Sprint(at.UnixNano(), at.IsZero())
	}
	switch v.Kind() {
	case reflect.Float64, reflect.Float32:
		return fmt.Sprint(v.Float() + 0) // -0 + 0 is 0
	case reflect.Pointer:
		if v.IsNil() {
			return "nil"
		}
		return "&" + textOf(v.Elem())
	case reflect.Slice, reflect.Array:
		var all []string
		for i := range v.Len() {
			all = append(all, textOf(v.Index(i)))
		}
		return "[" + strings.Join(all, ",") + "]"
	case reflect.Map:
		all := make(map[string]string)
		for _, k := range v.MapKeys() {
			all[k.String()] = textOf(v.MapIndex(k))
		}
		var s strings.Builder
		for _, k := range slices.Sorted(maps.Keys(all)) {
			s.WriteString(k + ":" + all[k] + ",")
		}
		return "{" + s.String() + "}"
	case reflect.Struct:
		var all []string
		for _, field := range v.Fields() {
			all = append(all, textOf(field))
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	return fmt.Sprintf("%#v", v.Interface())
}

// unencodable says that JSON has no such number: NaN, infinity.
func unencodable(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unsupported value")
}

// Over generated types and values: the relation is the oracle's; rows that are
// the same have equal bytes; and what comes back of a value is like it, has its
// bytes, and is the same as the same other values.
func TestRelationOverTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := anyType(t, 3)
		codec := rapid.SampledFrom([]eventlog.Codec{eventlog.MsgPack, eventlog.JSON}).Draw(t, "codec")
		rel := equal.Of(typ, codec.Name())
		times := utc.Of(typ)
		encoded := func(p reflect.Value) []byte {
			b, err := codec.Append(nil, p.Interface())
			if unencodable(err) {
				t.Skip("JSON has no such number")
			}
			if err != nil {
				t.Fatal(err)
			}
			if codec == eventlog.MsgPack {
				tidy(b, 0)
			}
			return b
		}
		put := func(label string) (p reflect.Value) {
			p = reflect.New(typ)
			drawInto(t, p.Elem())
			if times != nil {
				times.Own(p.Interface()) // as Tx.Put does
			}
			return p
		}
		same := func(a, b reflect.Value) bool { // as Table.equal
			switch rel.Compare(a.Elem(), b.Elem()) {
			case equal.Identical:
				return true
			case equal.Different:
				return false
			}
			return bytes.Equal(encoded(a), encoded(b))
		}
		restored := func(p reflect.Value) reflect.Value {
			back := reflect.New(typ)
			if err := codec.Decode(encoded(p), back.Interface()); err != nil {
				t.Fatal(err)
			}
			return back
		}
		v, w := put("v"), put("w")
		alike := textOf(v.Elem()) == textOf(w.Elem())
		if got := rel.Compare(v.Elem(), w.Elem()); (got != equal.Different) != alike {
			t.Fatalf("%v: alike %v, verdict %d:\n%+v\n%+v\n%s", typ, alike, got, v, w, rel.Difference(v.Elem(), w.Elem()))
		}
		if rel.Plain() && alike != (v.Elem().Interface() == w.Elem().Interface()) {
			t.Fatalf("%v is said to be plain: %+v, %+v", typ, v, w)
		}
		if same(v, w) && !bytes.Equal(encoded(v), encoded(w)) {
			t.Fatalf("%v: the same, and stored in other bytes: %+v, %+v", typ, v, w)
		}
		back := restored(v)
		if d := rel.Difference(v.Elem(), back.Elem()); d != nil || !bytes.Equal(encoded(v), encoded(back)) {
			t.Fatalf("%v doesn't come back: %s\n%+v\n%+v", typ, d, v, back)
		}
		if same(v, w) != same(back, w) || same(w, v) != same(w, back) {
			t.Fatalf("%v: live %v, restored %v:\n%+v\n%+v\n%+v", typ, same(v, w), same(back, w), v, back, w)
		}
	})
}

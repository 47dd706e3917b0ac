package storable_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/tidemark-es/tidemark/internal/storable"
	"pgregory.net/rapid"
)

// leaves are the types that generated ones are put together of, some of which
// lose something.
var leaves = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint16](), reflect.TypeFor[float32](),
	reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[word](), reflect.TypeFor[[]byte](), reflect.TypeFor[[3]byte](),
	reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[any](), reflect.TypeFor[point](), reflect.TypeFor[Base](),
	reflect.TypeFor[uuid](), reflect.TypeFor[money](), reflect.TypeFor[pointed](), reflect.TypeFor[hidden](), reflect.TypeFor[excluded](),
	reflect.TypeFor[tree](), reflect.TypeFor[oneWay](), reflect.TypeFor[otherWay](), reflect.TypeFor[error](),
	reflect.TypeFor[embedsTime](), reflect.TypeFor[array](), reflect.TypeFor[shadowed](), reflect.TypeFor[shadowing](), reflect.TypeFor[complex64](),
	reflect.TypeFor[zeroMoney](), reflect.TypeFor[octet](), reflect.TypeFor[[2]octet](), reflect.TypeFor[map[string]any](), reflect.TypeFor[[]string](),
}

// embeddable are the structs that generated ones embed. Their names are
// exported, since reflect makes no others.
var embeddable = []reflect.Type{
	reflect.TypeFor[Point](), reflect.TypeFor[Base](), reflect.TypeFor[*Base](), reflect.TypeFor[Shadowing](), reflect.TypeFor[Array](), reflect.TypeFor[Excluded](),
}

type (
	Point     point
	Shadowing shadowing
	Array     array
	Excluded  excluded
)

var tags = []reflect.StructTag{
	"", "", "", `msgpack:",omitempty" json:",omitempty"`, `msgpack:"ID" json:"ID"`, `msgpack:"a" json:"a"`,
	`msgpack:"A,omitempty" json:"A"`, `json:",omitzero"`, `msgpack:",noinline"`, `msgpack:",inline"`, `msgpack:"new,alias:A"`,
}

func genType(t *rapid.T, depth int) reflect.Type {
	shape := rapid.IntRange(0, 9).Draw(t, "shape")
	if depth == 0 || shape < 3 {
		return rapid.SampledFrom(leaves).Draw(t, "leaf")
	}
	switch shape {
	case 3:
		return reflect.SliceOf(genType(t, depth-1))
	case 4:
		return reflect.ArrayOf(rapid.IntRange(1, 3).Draw(t, "len"), genType(t, depth-1))
	case 5:
		return reflect.PointerTo(genType(t, depth-1))
	case 6:
		key := genType(t, depth-1)
		if !key.Comparable() {
			key = reflect.TypeFor[string]()
		}
		return reflect.MapOf(key, genType(t, depth-1))
	}
	return genStruct(t, depth-1)
}

func genStruct(t *rapid.T, depth int) reflect.Type {
	var fields []reflect.StructField
	for i := range rapid.IntRange(1, 4).Draw(t, "fields") {
		f := reflect.StructField{Name: string(rune('A' + i)), Tag: rapid.SampledFrom(tags).Draw(t, "tag")}
		switch rapid.IntRange(0, 9).Draw(t, "how") {
		case 0:
			f.Type = rapid.SampledFrom(embeddable).Draw(t, "embedded")
			if e := f.Type; !slices.ContainsFunc(fields, func(f reflect.StructField) bool { return f.Type == e }) {
				f.Anonymous, f.Name = true, e.Name()
				if e.Kind() == reflect.Pointer {
					f.Name = e.Elem().Name()
				}
				if slices.ContainsFunc(fields, func(g reflect.StructField) bool { return f.Name == g.Name }) {
					continue
				}
			}
		case 1:
			f.Type, f.Name, f.PkgPath = genType(t, 0), string(rune('a'+i)), "github.com/tidemark-es/tidemark/internal/storable_test"
		default:
			f.Type = genType(t, depth)
		}
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}

var elsewhere = time.FixedZone("elsewhere", 3600)

// fill makes a value that is zero nowhere, unexported fields included. n makes
// it another one.
func fill(v reflect.Value, n, depth int) {
	if !v.CanSet() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(n), 5).In(elsewhere)))
		return
	case error:
		return
	}
	switch k := v.Kind(); {
	case k == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(n%100) + 1)
	case v.CanUint():
		v.SetUint(uint64(n%100) + 1)
	case v.CanFloat():
		v.SetFloat(float64(n) + 1.5)
	case v.CanComplex():
		v.SetComplex(complex(float64(n+1), 1))
	case k == reflect.String:
		v.SetString(fmt.Sprint("s", n))
	case k == reflect.Interface:
		if v.NumMethod() == 0 {
			if depth > 0 {
				v.Set(reflect.ValueOf("s"[:min(depth-1, 1)])) // empty, too
			}
		} else {
			v.Set(reflect.ValueOf(fmt.Errorf("e%d: %w", n, errors.ErrUnsupported)))
		}
	case k == reflect.Slice:
		if depth == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n+1, depth-1)
		fill(v.Index(1), n+2, depth-1)
	case k == reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n+i, depth)
		}
	case k == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n+i+1, depth)
		}
	case k == reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), n+1, depth-1)
		}
	case k == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n+i, max(depth-1, 0))
			numbers(key, n+i)
			fill(value, n+i+1, max(depth-1, 0))
			v.SetMapIndex(key, value)
		}
	}
}

// numbers lets the interfaces in a key hold an integer.
func numbers(key reflect.Value, n int) {
	switch key.Kind() {
	case reflect.Interface:
		if key.NumMethod() == 0 && key.CanSet() {
			key.Set(reflect.ValueOf(n))
		}
	case reflect.Array:
		for i := range key.Len() {
			numbers(key.Index(i), n)
		}
	case reflect.Struct:
		for _, field := range key.Fields() {
			numbers(field, n)
		}
	}
}

// For generated types: what the walk lets pass comes back, zero or filled; and
// of what it refuses there is a value that doesn't.
func TestWalkIsRight(t *testing.T) {
	seen := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		typ := genStruct(t, 3)
		rules := rapid.SampledFrom([]storable.Rules{storable.MsgPack, storable.JSON}).Draw(t, "rules")
		found := storable.Check(typ, rules)
		var lost []error
		for depth := range 7 { // 0 is nil wherever it can be
			v := reflect.New(typ)
			fill(v.Elem(), 10*depth, depth)
			err := reality(rules, v.Interface())
			if valueErr := found.Value(v.Interface()); valueErr != nil && len(found.Problems) == 0 {
				if err == nil {
					t.Fatalf("%s of %s: %+v: %v, and it comes back", typ, rules, v.Elem(), valueErr)
				}
				continue
			}
			lost = append(lost, err)
		}
		if v := reflect.New(typ); found.Value(v.Interface()) == nil {
			lost = append(lost, reality(rules, v.Interface()))
		}
		seen[len(found.Problems) == 0]++
		switch err := errors.Join(lost...); {
		case len(found.Problems) == 0 && err != nil:
			t.Fatalf("%s of %s passes: %v", typ, rules, err)
		case len(found.Problems) > 0 && err == nil:
			t.Fatalf("%s of %s is refused (%q), and comes back", typ, rules, found.Problems)
		}
	})
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("passed and refused: %v", seen)
	}
}

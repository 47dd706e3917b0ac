package storable_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/storable"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

type (
	wide struct {
		I8  int8
		I16 int16
		I32 int32
		I64 int64
		U8  uint8
		U16 uint16
		U32 uint32
		U64 uint64
		F32 float32
		F64 float64
		D   time.Duration
	}
	bulky struct{ Space [1024]int64 }

	holder struct {
		Bigs   []bulky
		Ptrs   []*bulky
		ByName map[string]bulky
		Any    any
		Texts  map[string]string
		Deep   *holder
	}
)

func encode(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func check[T any](data []byte, memory int64) error {
	return storable.Check(reflect.TypeFor[T](), storable.MsgPack).Bytes(data, memory)
}

func wantData(t *testing.T, err error, words string) {
	t.Helper()
	if _, ok := errors.AsType[*storable.DataError](err); !ok || !strings.Contains(err.Error(), words) {
		t.Errorf("%v doesn't say %q", err, words)
	}
}

// Every integer goes into the fields that it fits into, and into no other one.
func TestIntegersFit(t *testing.T) {
	ranges := map[string][2]float64{
		"I8": {math.MinInt8, math.MaxInt8}, "I16": {math.MinInt16, math.MaxInt16}, "I32": {math.MinInt32, math.MaxInt32},
		"U8": {0, math.MaxUint8}, "U16": {0, math.MaxUint16}, "U32": {0, math.MaxUint32},
	}
	numbers := []any{uint64(math.MaxUint64), uint64(math.MaxInt64) + 1}
	for _, at := range []int64{0, -32, math.MinInt8, math.MaxInt8, math.MaxUint8, math.MinInt16, math.MaxInt16, math.MaxUint16, math.MinInt32, math.MaxInt32, math.MaxUint32, math.MinInt64, math.MaxInt64} {
		for d := int64(-1); d <= 1; d++ {
			if (at != math.MaxInt64 || d < 1) && (at != math.MinInt64 || d > -1) {
				numbers = append(numbers, at+d)
			}
		}
	}
	for _, n := range numbers {
		for field := range reflect.TypeFor[wide]().Fields() {
			data := encode(t, map[string]any{field.Name: n})
			i, negative := n.(int64)
			fits := true
			switch r, small := ranges[field.Name]; {
			case small:
				fits = negative && float64(i) >= r[0] && float64(i) <= r[1]
			case field.Name == "U64":
				fits = !negative || i >= 0
			case field.Name[0] == 'F':
				if fits = negative && float64(i) < math.MaxInt64; field.Name == "F32" {
					fits = fits && float64(float32(i)) < math.MaxInt64 && int64(float32(i)) == i
				}
				fits = fits && int64(float64(i)) == i
			default:
				fits = negative
			}
			err := check[wide](data, 0)
			if (err == nil) != fits {
				t.Errorf("%v into %s: %v", n, field.Name, err)
			}
			if err != nil {
				wantData(t, err, "wide."+field.Name+": ")
			}
		}
	}
	for _, c := range []struct {
		err  error
		path string
	}{
		{check[int32](encode(t, int64(5e9)), 0), "int32: 5000000000"},
		{check[[]uint8](encode(t, []int{1}), 0), ""},
		{check[generic[[]int8]](encode(t, map[string]any{"Value": []int{1, 200}}), 0), "Value[1]: 200 doesn't fit into int8"},
		{check[generic[map[string]*int8]](encode(t, map[string]any{"Value": map[string]int{"a": 200}}), 0), "Value[a]: 200"},
		{check[generic[map[int8]string]](encode(t, map[string]any{"Value": map[int]string{200: ""}}), 0), "Value[key]: 200"},
		{check[array]([]byte{0x92, 0x01, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0), "array.B: "},
		{check[aliased](encode(t, map[string]any{"old": uint64(math.MaxUint64)}), 0), "aliased.New: "},
		{check[embedsPointer](encode(t, map[string]any{"ID": "a", "Name": "b"}), 0), ""},
	} {
		if c.path == "" {
			if c.err != nil {
				t.Error(c.err)
			}
			continue
		}
		wantData(t, c.err, c.path)
	}
}

// A length is compared with what is there, wherever it stands, also in a field
// that the type doesn't have.
func TestLengthsAreNotBelieved(t *testing.T) {
	long := [][]byte{
		{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdc, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff}, {0xde, 0xff, 0xff}, {0x9f}, {0x8f}, {0x81, 0x01},
		{0xc6, 0xff, 0xff, 0xff, 0xff}, {0xdb, 0xff, 0xff, 0xff, 0xff}, {0xc9, 0xff, 0xff, 0xff, 0xff, 0x01}, {0xd9, 0x05}, {0xbf}, {0xd8, 0x01}, {0xcf}, {0xc1}, {},
		{0x92, 0x01, 0xdd, 0xff, 0xff, 0xff, 0xff}, {0x81, 0xa1, 'a', 0xdf, 0xff, 0xff, 0xff, 0xff},
	}
	for _, tail := range long {
		for _, name := range []string{"Bigs", "Ptrs", "ByName", "Any", "Texts", "Deep", "Unknown"} {
			data := append(append([]byte{0x81, 0xa0 | byte(len(name))}, name...), tail...)
			if err := check[holder](data, 0); err == nil {
				t.Errorf("%s: % x passes", name, data)
			}
		}
		for _, err := range []error{check[generated](tail, 0), check[pointed](tail, 0), check[map[string]any](tail, 0), check[twice](tail, 0), check[string](tail, 0)} {
			if err == nil {
				t.Errorf("% x passes", tail)
			}
		}
	}
	// What looks like an extension, and hides a map from all but the decoder.
	wantData(t, check[generic[map[string]bulky]]([]byte{0x81, 0xa5, 'V', 'a', 'l', 'u', 'e', 0xd6, 0xdf, 0xff, 0xff, 0xff, 0xff}, 0), "an extension where a map should be")
	wantData(t, check[int](append(encode(t, 1), 2), 0), "left over")
}

type generated struct{ Bigs []bulky }

func (g *generated) MarshalMsg(b []byte) ([]byte, error)   { return append(b, 0x80), nil }
func (g *generated) UnmarshalMsg(b []byte) ([]byte, error) { return nil, nil }

// Nesting ends, wherever it is.
func TestDepth(t *testing.T) {
	nested := func(depth int) []byte { return append(bytes.Repeat([]byte{0x91}, depth), 0xc0) }
	for _, name := range []string{"Any", "Unknown"} {
		field := append([]byte{0x81, 0xa0 | byte(len(name))}, name...)
		if err := check[holder](append(field, nested(storable.MaxDepth-1)...), 0); err != nil {
			t.Error(name, err)
		}
		wantData(t, check[holder](append(field, nested(storable.MaxDepth)...), 0), "levels deep")
	}
	if err := check[generated](nested(storable.MaxDepth), 0); err != nil {
		t.Error(err)
	}
	wantData(t, check[generated](nested(storable.MaxDepth+1), 0), "levels deep")
	wantData(t, check[pointed](nested(1<<20), 0), "levels deep")
	deep := bytes.Repeat([]byte{0x81, 0xa4, 'D', 'e', 'e', 'p'}, storable.MaxDepth+1)
	wantData(t, check[holder](append(deep, 0xc0), 0), "levels deep")
	type lists []lists
	if err := check[lists](nested(storable.MaxDepth)[:storable.MaxDepth], 0); err == nil {
		t.Error("an end is missing")
	}
	wantData(t, check[lists](nested(storable.MaxDepth+1), 0), "levels deep")
}

// Memory is counted by what elements take, not by what is stored of them.
func TestMemoryIsBounded(t *testing.T) {
	const n, limit = 1000, 4 << 20 // of 8 KiB each
	nils := append([]byte{0xdc, n >> 8, n & 0xff}, bytes.Repeat([]byte{0x80}, n)...)
	pairs := []byte{0xde, n >> 8, n & 0xff}
	for range n {
		pairs = append(pairs, 0xa0, 0x80)
	}
	for name, value := range map[string][]byte{"Bigs": nils, "Ptrs": nils, "ByName": pairs} {
		data := append(append([]byte{0x81, 0xa0 | byte(len(name))}, name...), value...)
		wantData(t, check[holder](data, limit), "raise Options.MaxDecoded")
		if err := check[holder](data, 0); err != nil {
			t.Errorf("%s within the default: %v", name, err)
		}
	}
	wantData(t, check[generated](nils, limit), "MaxDecoded")
	null := append([]byte{0x81, 0xa4, 'P', 't', 'r', 's', 0xdc, n >> 8, n & 0xff}, bytes.Repeat([]byte{0xc0}, n)...)
	if err := check[holder](null, limit); err != nil {
		t.Errorf("pointers to nothing: %v", err)
	}
	wantData(t, check[map[string]any](append([]byte{0x81, 0xa1, 'a', 0xdd, 0, 1, 0, 0}, make([]byte, 1<<16)...), 1<<20), "MaxDecoded")
}

// What is encoded passes, whatever it is.
func TestEncodedPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := genStruct(t, 3)
		found := storable.Check(typ, storable.MsgPack)
		if len(found.Problems) > 0 {
			return
		}
		for depth := range 6 {
			v := reflect.New(typ)
			fill(v.Elem(), rapid.Int().Draw(t, "n")%1000, depth)
			if found.Value(v.Interface()) != nil {
				continue
			}
			var b bytes.Buffer
			enc := msgpack.NewEncoder(&b)
			enc.UseCompactInts(rapid.Bool().Draw(t, "compact"))
			if err := enc.Encode(v.Interface()); err != nil {
				t.Fatal(err)
			}
			for _, memory := range []int64{0, 64 << 10} { // uncounted, and counted
				if err := found.Bytes(b.Bytes(), memory); err != nil {
					t.Fatalf("%s: %v (% x)", typ, err, b.Bytes())
				}
			}
		}
	})
}

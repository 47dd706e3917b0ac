package projection

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
)

type inner struct {
	Counts map[int]string
	Any    any
}

type nested struct {
	Name  string
	Deep  map[string]inner
	Flags map[[2]int8]bool
	List  []map[uint16][]byte
	Next  *nested
}

func nestedOf(n int) nested {
	v := nested{Name: "x", Deep: map[string]inner{}, Flags: map[[2]int8]bool{}, List: []map[uint16][]byte{{}, nil}}
	for i := range n {
		v.Deep[fmt.Sprint("k", i)] = inner{Counts: map[int]string{i: "a", -i * 1000: "b", i << 20: "c"}, Any: map[string]any{"z": int8(i), "a": nil, "f": 1.5}}
		v.Flags[[2]int8{int8(i), int8(-i)}] = i%2 == 0
		v.List[0][uint16(i)] = bytes.Repeat([]byte{byte(i)}, i*40)
	}
	return v
}

// Equal values have equal encodings, whatever order their maps come in, and
// what was sorted still decodes to the value.
func TestEncodingIsCanonical(t *testing.T) {
	c := newValueCodec[nested](eventlog.MsgPack)
	for n := range 40 {
		v := nestedOf(n)
		v.Next = new(nestedOf(n / 2))
		first, err := c.append([]byte("before"), &v)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			w := nestedOf(n)
			w.Next = new(nestedOf(n / 2))
			w.Deep = maps.Clone(w.Deep)
			again, err := c.append([]byte("before"), &w)
			if err != nil || !bytes.Equal(first, again) {
				t.Fatalf("%d entries: other bytes for an equal value, %v", n, err)
			}
		}
		var back, plain nested
		raw, err := eventlog.MsgPack.Append(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		if err := eventlog.MsgPack.Decode(raw, &plain); err != nil {
			t.Fatal(err)
		}
		if err := eventlog.MsgPack.Decode(first[len("before"):], &back); err != nil || !reflect.DeepEqual(back, plain) {
			t.Fatalf("%d entries: decoded %+v, %v", n, back, err)
		}
	}
}

func TestWhatIsSorted(t *testing.T) {
	type list struct {
		N    int
		Next *list
	}
	if newValueCodec[list](eventlog.MsgPack).tidy || newValueCodec[[]string](eventlog.MsgPack).tidy {
		t.Error("types without maps are sorted")
	}
	if !newValueCodec[*nested](eventlog.MsgPack).tidy || !newValueCodec[[]any](eventlog.MsgPack).tidy {
		t.Error("types that may hold maps are not sorted")
	}
	if newValueCodec[nested](eventlog.JSON).tidy {
		t.Error("JSON is taken for msgpack")
	}
}

// Whatever the bytes are: nothing panics, no length changes, and sorting twice
// is sorting once.
func FuzzSortMaps(f *testing.F) {
	for n := range 4 {
		b, err := eventlog.MsgPack.Append(nil, new(nestedOf(n*5)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(bytes.Repeat([]byte{0x91}, 5000))
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xc9, 0, 0, 0, 2, 7, 1, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		n := tidy(data, 0)
		if n > len(data) {
			t.Fatalf("%d of %d bytes", n, len(data))
		}
		once := bytes.Clone(data)
		if m := tidy(data, 0); m != n || !bytes.Equal(once, data) {
			t.Fatalf("sorted twice: %x, once %x, from %x", data, once, before)
		}
		if count(before) != count(data) && bytes.IndexByte(before, msgpackFloat32) < 0 && bytes.IndexByte(before, msgpackFloat64) < 0 { // floats may be NaNs
			t.Fatalf("other bytes: %x of %x", data, before)
		}
	})
}

func count(b []byte) (n [256]int) {
	for _, c := range b {
		n[c]++
	}
	return n
}

func BenchmarkCanonical(b *testing.B) {
	type row struct {
		Name  string
		Parts map[string]int
	}
	v := row{Name: "a", Parts: map[string]int{}}
	for i := range 10 {
		v.Parts[fmt.Sprint("part", rand.IntN(1000), i)] = i
	}
	for _, sort := range []bool{false, true} {
		b.Run(fmt.Sprintf("sort=%v", sort), func(b *testing.B) {
			c := newValueCodec[row](eventlog.MsgPack)
			c.tidy = sort
			var buf []byte
			var err error
			for b.Loop() {
				if buf, err = c.append(buf[:0], &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package eventlog

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/fastcodec"
	"github.com/vmihailenco/msgpack/v5"
)

// Fields that nothing but a codec looks at.
var (
	_ = fuzzArray{}._msgpack
)

type (
	fuzzBulky struct{ Space [64]int64 }
	fuzzRow   struct {
		Small  int8
		Count  uint16
		Ratio  float32
		At     time.Time
		Text   string
		Data   []byte
		Bulky  []fuzzBulky
		Ptrs   []*fuzzBulky
		ByName map[string]fuzzBulky
		ByNum  map[int16][]string
		Texts  map[string]string
		Any    any
		Open   map[string]any
		Deep   *fuzzRow
		Own    fuzzOwn
		fuzzEmbedded
	}
	fuzzEmbedded struct{ Inner [2]uint8 }
	fuzzArray    struct {
		_msgpack struct{} `msgpack:",as_array"`
		A        int8
		B        []fuzzBulky
	}
	// fuzzOwn decodes itself by what the library offers.
	fuzzOwn struct{ v any }
)

func (o fuzzOwn) EncodeMsgpack(e *msgpack.Encoder) error { return e.Encode(o.v) }
func (o *fuzzOwn) DecodeMsgpack(d *msgpack.Decoder) (err error) {
	o.v, err = d.DecodeInterface()
	return err
}

var fuzzTypes = []reflect.Type{
	reflect.TypeFor[fuzzRow](), reflect.TypeFor[fuzzArray](), reflect.TypeFor[map[string]any](), reflect.TypeFor[any](), reflect.TypeFor[[]fuzzRow](),
	reflect.TypeFor[string](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](), reflect.TypeFor[time.Time](), reflect.TypeFor[fastcodec.Posted](),
	reflect.TypeFor[fuzzOwn](), reflect.TypeFor[[]fuzzBulky](),
}

const (
	fuzzMemory = 1 << 20
	// fuzzSlack is what a decoder may take beyond what is counted: growth by
	// copying, boxes, buckets of maps.
	fuzzSlack = 8
)

// Whatever bytes are stored: decoding them ends in a value or in an error, never
// in a panic, an overflow of the stack or an allocation without a bound; and a
// value that came of it can be stored and read again.
func FuzzMsgPackDecode(f *testing.F) {
	row := fuzzRow{
		Small: -5, Count: 300, Ratio: 1.5, At: time.Unix(5, 7), Text: "text", Data: []byte{1}, Bulky: make([]fuzzBulky, 2), Ptrs: []*fuzzBulky{nil, {}},
		ByName: map[string]fuzzBulky{"a": {}}, ByNum: map[int16][]string{-300: {"b"}}, Texts: map[string]string{"c": "d"}, Any: []any{1.5, "e"},
		Open: map[string]any{"f": nil}, Deep: &fuzzRow{Any: true}, Own: fuzzOwn{"own"},
	}
	for _, v := range []any{&row, &fuzzArray{A: 1, B: make([]fuzzBulky, 1)}, new("text"), new(int8(5)), &fastcodec.Posted{}} {
		data, err := MsgPack.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		for i := range fuzzTypes {
			f.Add(uint8(i), data)
		}
	}
	for i := range fuzzTypes {
		f.Add(uint8(i), []byte{0x81, 0xa5, 'B', 'u', 'l', 'k', 'y', 0xdd, 0xff, 0xff, 0xff, 0xff})
		f.Add(uint8(i), []byte{0x81, 0xa6, 'B', 'y', 'N', 'a', 'm', 'e', 0xd6, 0xdf, 0xff, 0xff, 0xff, 0xff})
		f.Add(uint8(i), append([]byte{0x81, 0xa3, 'A', 'n', 'y'}, append(bytes.Repeat([]byte{0x91}, 20_000), 0xc0)...))
		f.Add(uint8(i), append([]byte{0x81, 0xa5, 'B', 'u', 'l', 'k', 'y', 0xdc, 0x10, 0x00}, bytes.Repeat([]byte{0x80}, 0x1000)...))
	}
	codec := msgpackCodec{memory: fuzzMemory}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		typ := fuzzTypes[int(which)%len(fuzzTypes)]
		v := reflect.New(typ)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := codec.Decode(data, v.Interface())
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, uint64(fuzzSlack*(fuzzMemory+len(data))); took > most {
			t.Fatalf("%s: %d bytes take %d bytes of memory: %v", typ, len(data), took, err)
		}
		if err != nil {
			return
		}
		again, err := codec.Append(nil, v.Interface())
		if errors.Is(err, ErrInvalid) {
			return // what an interface holds, or what is too large
		}
		if err != nil {
			return // a type that encodes itself
		}
		if err := codec.Decode(again, reflect.New(typ).Interface()); err != nil {
			t.Fatalf("%s: what was encoded can't be decoded: %v (% x)", typ, err, again)
		}
	})
}

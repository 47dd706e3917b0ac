package projection

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/equal"
	"github.com/tidemark-es/tidemark/internal/utc"
)

// valueCodec encodes equal values to equal bytes, which digests of state count
// on, as far as that is in its hands. A Go map has no order, and MsgPack sorts
// some types of maps only (methods that `msgp` generates sort none); and a NaN
// that a processor computed has other bits on another one. So in what MsgPack
// made of a type that may hold such, maps are sorted and NaNs are one here. JSON
// sorts by itself. For other codecs, and for types that encode themselves, it is
// on them.
type valueCodec[V any] struct {
	codec eventlog.Codec
	tidy  bool
}

func newValueCodec[V any](c eventlog.Codec) valueCodec[V] {
	return valueCodec[V]{codec: c, tidy: c == eventlog.MsgPack && holdsUntidy(reflect.TypeFor[V](), nil)}
}

func (c valueCodec[V]) append(dst []byte, v *V) ([]byte, error) {
	from := len(dst)
	dst, err := c.codec.Append(dst, v)
	if err == nil && c.tidy {
		tidy(dst[from:], 0)
	}
	return dst, err
}

// decode fills v. MsgPack and JSON put times in UTC themselves.
func (c valueCodec[V]) decode(data []byte, v *V) error {
	err := c.codec.Decode(data, v)
	if c.codec != eventlog.MsgPack && c.codec != eventlog.JSON {
		utc.Settle(v)
	}
	return err
}

// equality is how values are compared that this codec stores.
func (c valueCodec[V]) equality() *equal.Type {
	return equal.Of(reflect.TypeFor[V](), c.codec.Name())
}

// holdsUntidy reports whether a value of the type may hold a map, or a NaN.
func holdsUntidy(t reflect.Type, outer []reflect.Type) bool {
	if slices.Contains(outer, t) {
		return false // a type inside itself: what else it holds decides
	}
	outer = append(outer, t)
	switch t.Kind() {
	case reflect.Map, reflect.Interface, reflect.Float32, reflect.Float64:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holdsUntidy(t.Elem(), outer)
	case reflect.Struct:
		for f := range t.Fields() {
			if holdsUntidy(f.Type, outer) {
				return true
			}
		}
	}
	return false
}

// maxDepth is how deep values are followed.
const maxDepth = 1000

// tidy sorts, in place, the entries of every map in the msgpack value at the
// start of b by the bytes of their keys, and makes every NaN in it the same. It
// returns the value's size, 0 where there is no whole value: then nothing is
// known of b, and what was sorted within it is what it was.
func tidy(b []byte, depth int) int {
	head, items, pairs, size := msgpackHead(b)
	if head == 0 || size > len(b)-head || depth > maxDepth {
		return 0
	}
	at := head + size
	if size > 0 && (b[0] == msgpackFloat32 || b[0] == msgpackFloat64) {
		tidyNaN(b[:at])
	}
	for range items {
		n := tidy(b[at:], depth+1)
		if n == 0 {
			return 0
		}
		at += n
	}
	var entries []mapEntry
	start, inOrder := at, true
	for range pairs {
		key := tidy(b[at:], depth+1)
		if key == 0 {
			return 0
		}
		value := tidy(b[at+key:], depth+1)
		if value == 0 {
			return 0
		}
		e := mapEntry{key: b[at : at+key], whole: b[at : at+key+value]}
		inOrder = inOrder && (len(entries) == 0 || bytes.Compare(entries[len(entries)-1].key, e.key) <= 0)
		entries = append(entries, e)
		at += key + value
	}
	if !inOrder {
		slices.SortStableFunc(entries, func(a, b mapEntry) int { return bytes.Compare(a.key, b.key) })
		sorted := make([]byte, 0, at-start)
		for _, e := range entries {
			sorted = append(sorted, e.whole...)
		}
		copy(b[start:], sorted)
	}
	return at
}

const (
	msgpackFloat32 = 0xca
	msgpackFloat64 = 0xcb
)

// tidyNaN writes math.NaN where a float is any NaN.
func tidyNaN(b []byte) {
	if b[0] == msgpackFloat32 {
		if f := math.Float32frombits(binary.BigEndian.Uint32(b[1:])); f != f {
			binary.BigEndian.PutUint32(b[1:], math.Float32bits(float32(math.NaN())))
		}
		return
	}
	if f := math.Float64frombits(binary.BigEndian.Uint64(b[1:])); f != f {
		binary.BigEndian.PutUint64(b[1:], math.Float64bits(math.NaN()))
	}
}

type mapEntry struct{ key, whole []byte }

// msgpackHead reads the first bytes of a value: how many they are (0: not
// whole), and what follows: so many items, or pairs, or plain bytes.
// Source: the MessagePack specification, "Formats".
func msgpackHead(b []byte) (head, items, pairs, size int) {
	if len(b) == 0 {
		return 0, 0, 0, 0
	}
	c := b[0]
	switch {
	case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3: // small numbers, nil, booleans
		return 1, 0, 0, 0
	case c <= 0x8f:
		return 1, 0, int(c & 0x0f), 0
	case c <= 0x9f:
		return 1, int(c & 0x0f), 0, 0
	case c <= 0xbf:
		return 1, 0, 0, int(c & 0x1f)
	case c >= 0xca && c <= 0xcb: // floats
		return 1, 0, 0, 4 << (c - 0xca)
	case c >= 0xcc && c <= 0xd3: // numbers of 1, 2, 4, 8 bytes
		return 1, 0, 0, 1 << ((c - 0xcc) & 3)
	case c >= 0xd4 && c <= 0xd8: // extensions: a type and 1 to 16 bytes
		return 2, 0, 0, 1 << (c - 0xd4)
	}
	var width, extra int
	switch c {
	case 0xc4, 0xd9:
		width = 1
	case 0xc5, 0xda, 0xdc, 0xde:
		width = 2
	case 0xc6, 0xdb, 0xdd, 0xdf:
		width = 4
	case 0xc7, 0xc8, 0xc9:
		width, extra = 1<<(c-0xc7), 1
	default:
		return 0, 0, 0, 0
	}
	if len(b) < 1+width+extra {
		return 0, 0, 0, 0
	}
	var long [4]byte
	copy(long[4-width:], b[1:1+width])
	n := int(binary.BigEndian.Uint32(long[:]))
	switch c {
	case 0xdc, 0xdd:
		return 1 + width, n, 0, 0
	case 0xde, 0xdf:
		return 1 + width, 0, n, 0
	}
	return 1 + width + extra, 0, 0, n
}

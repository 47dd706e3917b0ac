package projection

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/tidemark-es/tidemark/eventlog"
)

// keyCodec turns keys into bytes: equal keys into equal bytes, and strings
// and integers in their own order.
type keyCodec[K comparable] struct {
	append func(dst []byte, key K) ([]byte, error)
	decode func(data []byte) (K, error)
}

// decodeAll appends the keys that stand in data one after another, each up to
// its end. Strings share one allocation.
func (c keyCodec[K]) decodeAll(dst []K, data []byte, ends []int) ([]K, error) {
	var from int
	if strs, ok := any(&dst).(*[]string); ok {
		all := string(data)
		for _, end := range ends {
			*strs = append(*strs, all[from:end])
			from = end
		}
		return dst, nil
	}
	for _, end := range ends {
		key, err := c.decode(data[from:end])
		if err != nil {
			return dst, badKey(data[from:end], err)
		}
		dst = append(dst, key)
		from = end
	}
	return dst, nil
}

// newKeyCodec is for types that storable.CheckKey lets pass.
func newKeyCodec[K comparable]() keyCodec[K] {
	switch t := reflect.TypeFor[K](); {
	case t.Kind() == reflect.String:
		return keyCodec[K]{append: appendStringKey[K], decode: decodeStringKey[K]}
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return keyCodec[K]{append: appendIntKey[K], decode: decodeIntKey[K]}
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return keyCodec[K]{append: appendUintKey[K], decode: decodeUintKey[K]}
	}
	return keyCodec[K]{
		append: func(dst []byte, key K) ([]byte, error) { return eventlog.MsgPack.Append(dst, &key) },
		decode: func(data []byte) (key K, err error) { err = eventlog.MsgPack.Decode(data, &key); return key, err },
	}
}

func appendStringKey[K comparable](dst []byte, key K) ([]byte, error) {
	if s, ok := any(key).(string); ok {
		return append(dst, s...), nil
	}
	return append(dst, reflect.ValueOf(key).String()...), nil
}

func decodeStringKey[K comparable](data []byte) (key K, err error) {
	if p, ok := any(&key).(*string); ok {
		*p = string(data)
		return key, nil
	}
	reflect.ValueOf(&key).Elem().SetString(string(data))
	return key, nil
}

// Signed integers get their sign bit flipped, so that their bytes sort as
// they do.
func appendIntKey[K comparable](dst []byte, key K) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(reflect.ValueOf(key).Int())^(1<<63)), nil
}

func decodeIntKey[K comparable](data []byte) (key K, err error) {
	if len(data) != 8 {
		return key, fmt.Errorf("%d bytes instead of 8", len(data))
	}
	i := int64(binary.BigEndian.Uint64(data) ^ (1 << 63))
	v := reflect.ValueOf(&key).Elem()
	if v.OverflowInt(i) {
		return key, fmt.Errorf("%d doesn't fit into %s", i, v.Type())
	}
	v.SetInt(i)
	return key, nil
}

func appendUintKey[K comparable](dst []byte, key K) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, reflect.ValueOf(key).Uint()), nil
}

func decodeUintKey[K comparable](data []byte) (key K, err error) {
	if len(data) != 8 {
		return key, fmt.Errorf("%d bytes instead of 8", len(data))
	}
	u := binary.BigEndian.Uint64(data)
	v := reflect.ValueOf(&key).Elem()
	if v.OverflowUint(u) {
		return key, fmt.Errorf("%d doesn't fit into %s", u, v.Type())
	}
	v.SetUint(u)
	return key, nil
}

package projection

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"

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

func newKeyCodec[K comparable]() (keyCodec[K], error) {
	t := reflect.TypeFor[K]()
	if err := storableKey(t); err != nil {
		return keyCodec[K]{}, err
	}
	switch {
	case t.Kind() == reflect.String:
		return keyCodec[K]{append: appendStringKey[K], decode: decodeStringKey[K]}, nil
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return keyCodec[K]{append: appendIntKey[K], decode: decodeIntKey[K]}, nil
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return keyCodec[K]{append: appendUintKey[K], decode: decodeUintKey[K]}, nil
	}
	return keyCodec[K]{
		append: func(dst []byte, key K) ([]byte, error) { return eventlog.MsgPack.Append(dst, &key) },
		decode: func(data []byte) (key K, err error) { err = eventlog.MsgPack.Decode(data, &key); return key, err },
	}, nil
}

// storableKey refuses what has no stable value outside this process.
func storableKey(t reflect.Type) error {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Chan, reflect.UnsafePointer, reflect.Uintptr:
		return fmt.Errorf("%s can't be a key: it means nothing to another process", t)
	case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("%s can't be a key: NaN isn't equal to itself", t)
	case reflect.Array:
		return storableKey(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if !f.IsExported() {
				return fmt.Errorf("%s can't be a key: field %s isn't exported, so it would not be stored", t, f.Name)
			}
			if name, _, _ := strings.Cut(f.Tag.Get("msgpack"), ","); name == "-" {
				return fmt.Errorf("%s can't be a key: field %s is tagged not to be stored, so keys that differ in it would be one", t, f.Name)
			}
			if err := storableKey(f.Type); err != nil {
				return err
			}
		}
	}
	return nil
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

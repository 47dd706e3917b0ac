package storable_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/tidemark-es/tidemark/internal/storable"
	"github.com/vmihailenco/msgpack/v5"
)

// reality is what the codec itself does with the value that p points to:
// whether it comes back.
func reality(rules storable.Rules, p any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	back := reflect.New(reflect.TypeOf(p).Elem())
	var data []byte
	if rules == storable.JSON {
		if data, err = json.Marshal(p); err == nil {
			err = json.Unmarshal(data, back.Interface())
		}
	} else {
		var b bytes.Buffer
		enc := msgpack.NewEncoder(&b)
		enc.UseCompactInts(true)
		enc.SetSortMapKeys(true)
		if err = enc.Encode(p); err == nil {
			data = b.Bytes()
			err = msgpack.NewDecoder(&b).Decode(back.Interface())
		}
	}
	if err != nil {
		return err
	}
	if !same(reflect.ValueOf(p).Elem(), back.Elem()) {
		return fmt.Errorf("%+v came back as %+v (%q)", reflect.ValueOf(p).Elem(), back.Elem(), data)
	}
	return nil
}

// same says whether two values are equal: NaN is equal to NaN, nil to empty, and
// times by instant.
func same(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if ta, ok := instant(a); ok {
		tb, _ := instant(b)
		return ta.Equal(tb)
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case reflect.Pointer, reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || same(a.Elem(), b.Elem()))
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).Tag.Get("msgpack") == "-" {
				continue
			}
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if !same(it.Value(), b.MapIndex(it.Key())) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}

func instant(v reflect.Value) (time.Time, bool) {
	if v.Type() != reflect.TypeFor[time.Time]() || !v.CanInterface() {
		return time.Time{}, false
	}
	return v.Interface().(time.Time), true
}

package eventlog

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/tidemark-es/tidemark/internal/storable"
)

// Bytes is the codec that leaves payloads as they are: for event types that
// are slices of bytes.
var Bytes Codec = bytesCodec{}

type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

// StorageRules says by which rules types are stored (internal/storable).
func (bytesCodec) StorageRules() storable.Rules { return storable.Bytes }

func (bytesCodec) Append(dst []byte, v any) ([]byte, error) {
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Pointer || r.Elem().Kind() != reflect.Slice || r.Elem().Type().Elem().Kind() != reflect.Uint8 {
		return dst, fmt.Errorf("%T isn't a slice of bytes", v)
	}
	return append(dst, r.Elem().Bytes()...), nil
}

func (bytesCodec) Decode(data []byte, v any) error {
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Pointer || r.Elem().Kind() != reflect.Slice || r.Elem().Type().Elem().Kind() != reflect.Uint8 {
		return fmt.Errorf("%T isn't a pointer to a slice of bytes", v)
	}
	r.Elem().SetBytes(slices.Clone(data))
	return nil
}

package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/tidemark-es/tidemark/internal/panics"
	"github.com/tidemark-es/tidemark/internal/storable"
	"github.com/tidemark-es/tidemark/internal/utc"
	"github.com/vmihailenco/msgpack/v5"
)

// Codec turns values into bytes and back. A codec is safe for concurrent
// use, and Decode must not keep data. Its name is stored beside every commit
// and every snapshot, so it must never change its meaning.
type Codec interface {
	// Name is stored: lower-case letters, digits and '-'.
	Name() string
	// Append appends the encoding of v to dst. For an event, v is a pointer
	// to it.
	Append(dst []byte, v any) ([]byte, error)
	// Decode fills v, a non-nil pointer, and fails when data holds more or
	// less than one value.
	Decode(data []byte, v any) error
}

// The codecs that every log knows. MsgPack is the default: compact, and
// fields can be added or left out as in JSON. A type that has the methods
// which `msgp` generates (MarshalMsg, UnmarshalMsg) is encoded by them, at
// several times the speed of reflection. JSON is for logs that people or
// other languages read. Times that were encoded in any zone are decoded to UTC,
// so that they are the same in every process.
var (
	MsgPack Codec = msgpackCodec{}
	JSON    Codec = jsonCodec{}
)

// msgMarshaler and msgUnmarshaler are the methods that tinylib/msgp
// generates; naming them here keeps that module out of the dependencies.
type (
	msgMarshaler   interface{ MarshalMsg([]byte) ([]byte, error) }
	msgUnmarshaler interface{ UnmarshalMsg([]byte) ([]byte, error) }
)

var errTrailing = errors.New("bytes left over after the value")

// msgpackCodec looks at what it is given before a decoder does. memory is the
// most bytes that a value may take, 0 for the default.
type msgpackCodec struct{ memory int }

func (msgpackCodec) Name() string { return "msgpack" }

// StorageRules says by which rules types are stored (internal/storable).
func (msgpackCodec) StorageRules() storable.Rules { return storable.MsgPack }

// maxPooledBuffer keeps one large event from being paid for for ever.
const maxPooledBuffer = 1 << 20

type msgpackEncoder struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
}

var msgpackEncoders = sync.Pool{New: func() any {
	e := &msgpackEncoder{}
	e.enc = msgpack.NewEncoder(&e.buf)
	return e
}}

func (c msgpackCodec) Append(dst []byte, v any) ([]byte, error) {
	t := storable.Of(v, storable.MsgPack)
	from := len(dst)
	out, err := c.append(t, dst, v)
	if err == nil {
		if err = t.Encoded(out[from:], int64(c.memory)); err != nil {
			err = fmt.Errorf("eventlog: %w: it could not be decoded again: %w", ErrInvalid, err)
		}
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (msgpackCodec) append(t *storable.Type, dst []byte, v any) ([]byte, error) {
	if m, ok := v.(msgMarshaler); ok {
		return m.MarshalMsg(dst)
	}
	if err := t.Value(v); err != nil {
		return dst, fmt.Errorf("eventlog: %w: %w", ErrInvalid, err)
	}
	e := msgpackEncoders.Get().(*msgpackEncoder)
	defer func() {
		if e.buf.Cap() <= maxPooledBuffer {
			msgpackEncoders.Put(e)
		}
	}()
	e.buf.Reset()
	e.enc.Reset(&e.buf)
	// Compact integers and sorted map keys make the encoding of equal values
	// equal, which digests of state rely on.
	e.enc.UseCompactInts(true)
	e.enc.SetSortMapKeys(true)
	if err := e.enc.Encode(v); err != nil {
		return dst, err
	}
	return append(dst, e.buf.Bytes()...), nil
}

type msgpackDecoder struct {
	r   bytes.Reader
	dec *msgpack.Decoder
}

var msgpackDecoders = sync.Pool{New: func() any {
	d := &msgpackDecoder{}
	d.dec = msgpack.NewDecoder(&d.r)
	return d
}}

func (c msgpackCodec) Decode(data []byte, v any) (err error) {
	if p, ok := v.(*any); ok && p != nil && *p != nil && reflect.TypeOf(*p).Kind() == reflect.Pointer {
		return c.Decode(data, *p) // which is what is filled
	}
	defer guard("decoding", &err)
	t := storable.Of(v, storable.MsgPack)
	if t == nil {
		return fmt.Errorf("eventlog: %w: decoding into nil", ErrInvalid)
	}
	if err := t.Bytes(data, int64(c.memory)); err != nil {
		return err
	}
	if m, ok := v.(msgUnmarshaler); ok {
		rest, err := m.UnmarshalMsg(data)
		if err == nil && len(rest) > 0 {
			err = errTrailing
		}
		utc.Settle(v)
		return err
	}
	d := msgpackDecoders.Get().(*msgpackDecoder)
	defer msgpackDecoders.Put(d)
	d.r.Reset(data)
	d.dec.Reset(&d.r)
	if err := d.dec.Decode(v); err != nil {
		return err
	}
	utc.Settle(v)
	return nil
}

// jsonCodec decodes no more than memory bytes (0: the default), and, since
// encoding/json does, nothing that is nested more than 10,000 levels deep.
type jsonCodec struct{ memory int }

func (jsonCodec) Name() string { return "json" }

// StorageRules says by which rules types are stored (internal/storable).
func (jsonCodec) StorageRules() storable.Rules { return storable.JSON }

func (jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	if err := storable.Of(v, storable.JSON).Value(v); err != nil {
		return dst, fmt.Errorf("eventlog: %w: %w", ErrInvalid, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

func (c jsonCodec) Decode(data []byte, v any) error {
	if err := tooLarge(data, c.memory); err != nil {
		return err
	}
	err := json.Unmarshal(data, v)
	utc.Settle(v)
	return err
}

// decodeBy decodes by any codec, and puts times in UTC. MsgPack and JSON do so
// themselves.
func decodeBy(c Codec, data []byte, v any) error {
	err := c.Decode(data, v)
	if c != MsgPack && c != JSON {
		utc.Settle(v)
	}
	return err
}

// guard turns a panic of a user's codec or marshalling method into an error.
func guard(what string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s panicked at %s: %v", what, panics.Place(), r)
	}
}

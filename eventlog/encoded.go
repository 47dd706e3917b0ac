package eventlog

import "fmt"

// Encoded is an event that is kept outside a log until it is appended.
type Encoded struct {
	Type  string // its registered name
	Codec string
	Data  []byte
}

// EncodeEvent encodes an event of a registered type as an append would.
//
// Errors: ErrInvalidType.
func (f *Feed) EncodeEvent(v any) (Encoded, error) {
	data, name, err := encodeEvent(f.name, f.reg, nil, v)
	if err != nil {
		return Encoded{}, err
	}
	return Encoded{Type: name, Codec: f.reg.codec.Name(), Data: data}, nil
}

// DecodeEvent is the value that EncodeEvent was given, to be appended.
//
// Errors: ErrUnknownType, where its type isn't registered any more;
// ErrCorrupt.
func (f *Feed) DecodeEvent(e Encoded) (v any, err error) {
	t, ok := f.reg.byName[e.Type]
	if !ok {
		return nil, fmt.Errorf("eventlog: feed %q: encoded event %q: %w", f.name, e.Type, ErrUnknownType)
	}
	codec, ok := f.reg.codecs[e.Codec]
	if !ok {
		return nil, fmt.Errorf("eventlog: feed %q: encoded event %q: %w: codec %q isn't known: open the feed with ReadCodecs", f.name, e.Type, ErrCorrupt, e.Codec)
	}
	defer guard("decoding", &err)
	if v, err = t.decode(codec, e.Data); err != nil {
		return nil, fmt.Errorf("eventlog: feed %q: encoded event %q: %w: %w", f.name, e.Type, ErrCorrupt, err)
	}
	return v, nil
}

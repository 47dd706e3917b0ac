package eventlog

import (
	"fmt"

	"github.com/tidemark-es/tidemark/internal/storable"
)

// Bounded returns a codec that decodes with the log's limit
// (Options.MaxDecoded), for values that are stored beside the log: tables use
// it for their rows. It has the same name, and what one encodes the other
// decodes.
func (l *Log) Bounded(c Codec) Codec { return bounded(c, l.opts.MaxDecoded) }

// bounded is c with a limit; the default one needs nothing else than what the
// codecs of this package do by themselves.
func bounded(c Codec, memory int) Codec {
	if memory == storable.DefaultMemory {
		memory = 0
	}
	switch c.(type) {
	case nil, bytesCodec, limitedCodec:
		return c
	case msgpackCodec:
		return msgpackCodec{memory: memory}
	case jsonCodec:
		return jsonCodec{memory: memory}
	}
	return limitedCodec{c, memory}
}

// limitedCodec bounds the input of a codec of the user's own: what it makes of
// that is on it.
type limitedCodec struct {
	Codec
	memory int
}

func (c limitedCodec) Decode(data []byte, v any) error {
	if err := tooLarge(data, c.memory); err != nil {
		return err
	}
	return c.Codec.Decode(data, v)
}

// tooLarge is the limit of codecs whose data isn't looked into.
func tooLarge(data []byte, memory int) error {
	if memory <= 0 {
		memory = storable.DefaultMemory
	}
	if len(data) > memory {
		return fmt.Errorf("%d bytes to decode, where %d are allowed: raise Options.MaxDecoded if the data is right", len(data), memory)
	}
	return nil
}

// bound gives the registry's codecs the log's limit.
func (r *registry) bound(memory int) {
	r.codec = bounded(r.codec, memory)
	for name, c := range r.codecs {
		r.codecs[name] = bounded(c, memory)
	}
	r.msgpack, r.memory = bounded(MsgPack, memory), memory
}

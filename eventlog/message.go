package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/timeframe"
)

// message is a stored message, as every source delivers it.
type message struct {
	seq     uint64
	time    time.Time
	subject string
	header  nats.Header
	data    []byte
}

func (m *message) get(name string) string {
	if v := m.header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// size is about what the message takes in memory, in bytes.
func (m *message) size() int {
	n := 128 + len(m.subject) + len(m.data)
	for name, values := range m.header {
		n += 64 + len(name)
		for _, v := range values {
			n += len(v)
		}
	}
	return n
}

// fingerprint is SHA-256, cut to 128 bits, of what the stream stores of the
// message: sequence, time, subject, headers in the order of their names, and
// payload. Each part has its length in front, so that no two messages share
// an input.
func (m *message) fingerprint() timeframe.Fingerprint {
	b := make([]byte, 0, 256)
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.time.UnixNano()))
	b = appendSized(b, m.subject)
	names := make([]string, 0, len(m.header))
	for name := range m.header {
		names = append(names, name)
	}
	slices.Sort(names)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendSized(b, name)
		b = binary.AppendUvarint(b, uint64(len(m.header[name])))
		for _, v := range m.header[name] {
			b = appendSized(b, v)
		}
	}
	h := sha256.New()
	h.Write(b)
	h.Write(m.data)
	return timeframe.Fingerprint(h.Sum(b[:0])[:16])
}

func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decode turns a message into a commit; c's memory is used again. The key is
// the rest of the subject behind the feed's prefix.
func (f *Feed) decode(c *Commit, m message) error {
	enc, ok := strings.CutPrefix(m.subject, f.prefix)
	if !ok {
		return fmt.Errorf("eventlog: %s@%d: %w: subject %q is not the feed's", f.name, m.seq, ErrCorrupt, m.subject)
	}
	key, err := decodeKey(enc)
	if err != nil {
		return fmt.Errorf("eventlog: %s@%d: %w: %w", f.name, m.seq, ErrCorrupt, err)
	}
	codec := MsgPack
	if name := m.get(headerCodec); name != "" {
		if codec, ok = f.reg.codecs[name]; !ok {
			return fmt.Errorf("eventlog: %s@%d: %w: codec %q isn't known: open the feed with eventlog.ReadCodecs", f.name, m.seq, ErrCorrupt, name)
		}
	}
	parts, err := decodePayload(m.get(headerType), m.get(headerEvents), m.data, c.parts[:0])
	if err != nil {
		return fmt.Errorf("eventlog: %s@%d: %w", f.name, m.seq, err)
	}
	if ids := m.get(headerIDs); ids != "" {
		if err := eachPacked(ids, len(parts), func([]byte, int, int) bool { return true }); err != nil {
			return fmt.Errorf("eventlog: %s@%d: %w", f.name, m.seq, err)
		}
	}
	id := m.get(headerID)
	if id == "" {
		id = fmt.Sprintf("%s@%d", f.name, m.seq)
	}
	*c = Commit{Feed: f.name, Seq: m.seq, Time: m.time, Key: key, ID: id, msg: m, reg: f.reg, codec: codec, parts: parts}
	return nil
}

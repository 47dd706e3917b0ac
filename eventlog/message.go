package eventlog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// message is a stored message, as every source delivers it. What it points to
// is lent: it is valid for as long as the batch that it came in, and clone
// makes one that lasts. The subject too may stand in memory that is used
// again, so whoever keeps a part of it copies that (strings.Clone).
type message struct {
	seq     uint64
	nanos   int64 // when the server stored it, since 1970
	subject string
	header  headers
	data    []byte
}

// time is when the server stored the message.
func (m *message) time() time.Time { return time.Unix(0, m.nanos).UTC() }

// get is the first value of a header, or "". It is a copy.
func (m *message) get(name string) string {
	v, _ := m.header.find(name)
	return string(v)
}

// id is the identity of the commit that the message is, or "". It is a copy.
func (m *message) id() string { return cmp.Or(m.get(headerID), m.get(headerPlainID)) }

// clone is the message in memory of its own.
func (m *message) clone() message {
	b := make([]byte, 0, len(m.header)+len(m.data))
	b = append(append(b, m.header...), m.data...)
	n := len(m.header)
	return message{seq: m.seq, nanos: m.nanos, subject: string([]byte(m.subject)), header: headers(b[:n:n]), data: b[n:]}
}

// size is about what the message takes in memory, in bytes.
func (m *message) size() int {
	return 96 + len(m.subject) + len(m.header) + len(m.data)
}

// fingerprint is SHA-256, cut to 128 bits, of what the stream stores of the
// message: sequence, time, subject, headers in the order of their names, and
// payload. Each part has its length in front, so that no two messages share
// an input.
func (m *message) fingerprint() timeframe.Fingerprint {
	b := make([]byte, 0, 512)
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.nanos))
	b = appendSized(b, m.subject)
	type field struct{ name, value []byte }
	var few [8]field
	fields := few[:0]
	err := m.header.each(func(name, value []byte) bool {
		fields = append(fields, field{name, value})
		return true
	})
	if err != nil { // some sources deliver such a message without headers
		fields = fields[:0]
	}
	// Stable, since the order of one name's values counts.
	slices.SortStableFunc(fields, func(a, b field) int { return bytes.Compare(a.name, b.name) })
	names := 0
	for i := range fields {
		if i == 0 || !bytes.Equal(fields[i].name, fields[i-1].name) {
			names++
		}
	}
	b = binary.AppendUvarint(b, uint64(names))
	for i := 0; i < len(fields); {
		j := i + 1
		for j < len(fields) && bytes.Equal(fields[i].name, fields[j].name) {
			j++
		}
		b = appendSized(b, fields[i].name)
		b = binary.AppendUvarint(b, uint64(j-i))
		for ; i < j; i++ {
			b = appendSized(b, fields[i].value)
		}
	}
	h := sha256.New()
	h.Write(b)
	h.Write(m.data)
	return timeframe.Fingerprint(h.Sum(b[:0])[:16])
}

func appendSized[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

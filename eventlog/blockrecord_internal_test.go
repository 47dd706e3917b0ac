package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/minio/highwayhash"
)

// recordOf writes a record as the server does.
func recordOf(seq uint64, nanos int64, subject, header, data, stream string, index int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(nanos))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(subject)))
	b = append(b, subject...)
	from := len(b)
	length := uint32(0)
	if header != "" {
		length = recordHeader
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
		from = len(b)
		b = append(b, header...)
	}
	b = append(b, data...)
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err)
	}
	h.Write(b[4:20])
	h.Write([]byte(subject))
	h.Write(b[from:])
	b = h.Sum(b)
	binary.LittleEndian.PutUint32(b, length|uint32(len(b)))
	return b
}

func TestBlockRecord(t *testing.T) {
	const header = "NATS/1.0\r\nA: b\r\n\r\n"
	good := recordOf(7, -5, "a.b", header, "data", "s", 3)
	m, err := decodeRecord(good, hashOf(t, "s", 3))
	if err != nil || m.seq != 7 || m.nanos != -5 || m.subject != "a.b" || string(m.header) != header || string(m.data) != "data" {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := decodeRecord(good, hashOf(t, "s", 4)); err == nil {
		t.Error("a record of another block was taken")
	}
	if _, err := decodeRecord(good, hashOf(t, "other", 3)); err == nil {
		t.Error("a record of another stream was taken")
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := decodeRecord(bad, hashOf(t, "s", 3)); err == nil {
			t.Errorf("byte %d may be another one", i)
		}
	}
	for n := range good {
		if _, err := decodeRecord(good[:n], hashOf(t, "s", 3)); err == nil {
			t.Errorf("%d of %d bytes are enough", n, len(good))
		}
	}
}

func hashOf(t *testing.T, stream string, index uint64) *blockHash {
	t.Helper()
	h, err := newBlockHash(stream, index)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

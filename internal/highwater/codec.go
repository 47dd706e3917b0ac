package highwater

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/timeframe"
)

// The stored form (docs/format-mark.md): magic, version, Acked, the tag of the
// feed, and SHA-256 of all that.
const (
	magic   = "TMHW"
	version = 1

	// MaxSize bounds a record, in bytes: MaxAnchors anchors of 26 bytes, and two
	// names.
	MaxSize = 1024
)

var (
	// ErrDamaged: the bytes aren't a mark.
	ErrDamaged = errors.New("damaged mark")
	// ErrVersion: the mark was written by a later release.
	ErrVersion = errors.New("mark of an unknown version")
)

// Encode is the stored form. The error says which part can't be stored.
func (m Mark) Encode() ([]byte, error) {
	at, err := timeframe.Of(timeframe.Entry{Feed: m.Feed, Seq: m.Seq()})
	if err != nil {
		return nil, err
	}
	b := append(append(make([]byte, 0, 256), magic...), version)
	b = binary.AppendUvarint(b, m.Acked)
	tag := timeframe.Tag{At: at, Lineages: map[string]timeframe.Lineage{m.Feed: m.Lineage}}
	if b, err = tag.AppendBinary(b); err != nil {
		return nil, err
	}
	return sealed(b), nil
}

// sealed is a body with its checksum behind it.
func sealed(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append(body[:len(body):len(body)], sum[:]...)
}

// Decode is the inverse of Encode. Errors: ErrDamaged, ErrVersion.
func Decode(b []byte) (m Mark, err error) {
	if len(b) > MaxSize {
		return m, fmt.Errorf("%w: %d bytes, and %d are the most", ErrDamaged, len(b), MaxSize)
	}
	body := len(b) - sha256.Size
	if body < len(magic)+1 {
		return m, fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	if sum := sha256.Sum256(b[:body]); !bytes.Equal(sum[:], b[body:]) {
		return m, fmt.Errorf("%w: the checksum doesn't match", ErrDamaged)
	}
	if string(b[:len(magic)]) != magic {
		return m, fmt.Errorf("%w: it begins with %q", ErrDamaged, b[:len(magic)])
	}
	if v := b[len(magic)]; v != version {
		return m, fmt.Errorf("%w: %d, and this program knows %d", ErrVersion, v, version)
	}
	rest := b[len(magic)+1 : body]
	acked, n := binary.Uvarint(rest)
	if n <= 0 || !bytes.Equal(binary.AppendUvarint(nil, acked), rest[:n]) {
		return m, fmt.Errorf("%w: the acknowledged sequence", ErrDamaged)
	}
	var tag timeframe.Tag
	if err := tag.UnmarshalBinary(rest[n:]); err != nil {
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if tag.At.Len() != 1 || len(tag.Lineages) != 1 {
		return m, fmt.Errorf("%w: of %d feeds, with %d lineages", ErrDamaged, tag.At.Len(), len(tag.Lineages))
	}
	seq := uint64(0)
	for feed, at := range tag.At.All() {
		m, seq = Mark{Feed: feed, Lineage: tag.Lineages[feed], Acked: acked}, at
	}
	if seq != m.Seq() {
		return Mark{}, fmt.Errorf("%w: at %d, and its newest anchor is at %d", ErrDamaged, seq, m.Seq())
	}
	if m.Acked < m.Seq() {
		return Mark{}, fmt.Errorf("%w: at %d, and %d was acknowledged", ErrDamaged, m.Seq(), m.Acked)
	}
	return m, nil
}

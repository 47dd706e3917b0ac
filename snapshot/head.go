package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/tidemark-es/tidemark/timeframe"
)

// head names the retained manifests of a unit.
type head struct {
	unit  string
	epoch uint64
	ids   []ID // newest first, without doubles; 1 to maxKeep
}

// encode returns the head's bytes. In every version they end in the SHA-256 of
// what is before it, since a head has no name that would vouch for its content.
func (h head) encode() []byte {
	b := appendMagic(nil, headMagic)
	b = appendString(b, h.unit)
	b = binary.AppendUvarint(b, h.epoch)
	b = binary.AppendUvarint(b, uint64(len(h.ids)))
	for _, id := range h.ids {
		b = append(b, id[:]...)
	}
	return seal(b)
}

func seal(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decodeHead is the exact inverse of encode. The checksum comes before the
// version: a damaged version byte mustn't pass for a newer release, whose heads
// nobody dares to replace.
func decodeHead(data []byte) (head, error) {
	end := len(data) - sha256.Size
	if end < magicSize {
		return head{}, corrupt("head: cut short")
	}
	if sum := sha256.Sum256(data[:end]); !bytes.Equal(sum[:], data[end:]) {
		return head{}, corrupt("head: the checksum doesn't match")
	}
	body, err := checkMagic(data[:end], headMagic, "head")
	if err != nil {
		return head{}, err
	}
	return decodeHeadBody(data, body)
}

// decodeHeadBody is what follows once the checksum has been seen to match.
func decodeHeadBody(data, body []byte) (head, error) {
	f := fields{what: "head", rest: body}
	h := head{unit: f.string(), epoch: f.uvarint()}
	n := f.count(len(ID{}))
	if f.err == nil && (n == 0 || n > maxKeep || timeframe.ValidName(h.unit) != nil) {
		f.fail("%d manifests of unit %q", n, h.unit)
	}
	if f.err != nil {
		return head{}, f.err
	}
	seen := make(map[ID]bool, n)
	for range n {
		id := f.id()
		if seen[id] {
			f.fail("a manifest is named twice")
		}
		seen[id] = true
		h.ids = append(h.ids, id)
	}
	if err := f.end(); err != nil {
		return head{}, err
	}
	if !bytes.Equal(h.encode(), data) {
		return head{}, corrupt("head: not in canonical form")
	}
	return h, nil
}

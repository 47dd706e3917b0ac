package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// DigestSize is the size in bytes of the digests that this release computes.
// A digest of another size is one of an algorithm that it doesn't know: it is
// carried along, and not compared.
const DigestSize = 32

// Digest tells states apart: the sum, modulo 2^256, of the SHA-256 of each of
// its entries. The order of the entries doesn't matter, and one that changes
// costs one subtraction and one addition, so the digest is kept up in a time
// that follows the change and not the state. The zero value is that of the
// empty state. Digests are comparable with ==, and always whole.
//
// This is AdHash, the additive multiset hash of Bellare and Micciancio ("A New
// Paradigm for Collision-Free Hashing", 1997), with the whole 256 bits of each
// hash in the sum. It finds what goes wrong by itself: a reducer that isn't
// deterministic, a lost or doubled change, a damaged value. It is no proof
// against somebody who chooses keys and values in order to deceive: by Wagner's
// generalised birthday attack ("A Generalized Birthday Problem", 2002) a set
// of the same sum takes about 2^32 steps and as many entries, where sums of
// 2 KiB as in LtHash (Lewi and others, 2019) would resist at ten times the
// cost. What vouches for stored bytes is the SHA-256 that names each chunk.
type Digest [4]uint64 // least significant first

// DigestOf returns the digest of a state of one entry.
func DigestOf(key, value []byte) Digest {
	var room [512]byte // on the stack, for all but large entries
	var sum [sha256.Size]byte
	if binary.MaxVarintLen64+len(key)+len(value) <= len(room) {
		b := binary.AppendUvarint(room[:0], uint64(len(key)))
		b = append(append(b, key...), value...)
		sum = sha256.Sum256(b)
	} else {
		h := sha256.New()
		h.Write(binary.AppendUvarint(room[:0], uint64(len(key))))
		h.Write(key)
		h.Write(value)
		h.Sum(sum[:0])
	}
	return sumOf(sum)
}

// sumOf takes a hash as a number.
func sumOf(sum [sha256.Size]byte) Digest {
	return Digest{
		binary.LittleEndian.Uint64(sum[0:]), binary.LittleEndian.Uint64(sum[8:]),
		binary.LittleEndian.Uint64(sum[16:]), binary.LittleEndian.Uint64(sum[24:]),
	}
}

// Plus returns the digest of both states together: entries twice count twice.
func (d Digest) Plus(e Digest) Digest {
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], e[i], carry)
	}
	return d
}

// Minus is the inverse of Plus.
func (d Digest) Minus(e Digest) Digest {
	var borrow uint64
	for i := range d {
		d[i], borrow = bits.Sub64(d[i], e[i], borrow)
	}
	return d
}

// Bytes returns the 32 bytes that Member.Digest holds.
func (d Digest) Bytes() []byte {
	b := make([]byte, 0, DigestSize)
	for _, limb := range d {
		b = binary.LittleEndian.AppendUint64(b, limb)
	}
	return b
}

// String returns 64 hexadecimal digits in lower case.
func (d Digest) String() string { return hex.EncodeToString(d.Bytes()) }

// DigestFrom is the inverse of [Digest.Bytes]. It is false where b isn't of
// DigestSize: the digest is unknown, or of an algorithm that this release
// doesn't know.
func DigestFrom(b []byte) (d Digest, ok bool) {
	if len(b) != DigestSize {
		return d, false
	}
	for i := range d {
		d[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return d, true
}

// checkDigest compares what was loaded with what the manifest says.
func checkDigest(want []byte, got Digest) error {
	if d, ok := DigestFrom(want); ok && d != got {
		return fmt.Errorf("%w", corrupt("the state has digest %s, the manifest says %s", got, d))
	}
	return nil
}

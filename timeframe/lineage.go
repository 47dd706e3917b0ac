package timeframe

import (
	"encoding/hex"
	"slices"
)

// Fingerprint is the identity of one message in a log: SHA-256, cut to its
// first 128 bits, of what makes the message (sequence, server time, subject,
// headers, payload). Two of them are compared whole, with ==.
type Fingerprint [16]byte

const fingerprintForm = "fingerprint text"

// String returns the 32 hexadecimal digits in lower case.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// MarshalText returns the text form. The error is always nil.
func (f Fingerprint) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, f[:]), nil
}

// UnmarshalText is the exact inverse of MarshalText: 32 hexadecimal digits in
// lower case. The error is a *[FormatError], and f is unchanged then.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(f)) {
		return formatError(fingerprintForm, 0, "want 32 hexadecimal digits", nil)
	}
	var got Fingerprint
	for i, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return formatError(fingerprintForm, i, "want hexadecimal digits in lower case", nil)
		}
	}
	if _, err := hex.Decode(got[:], text); err != nil {
		return formatError(fingerprintForm, 0, err.Error(), err)
	}
	*f = got
	return nil
}

// ParseFingerprint is the exact inverse of [Fingerprint.String]. The error is a
// *[FormatError].
func ParseFingerprint(text string) (Fingerprint, error) {
	var f Fingerprint
	err := f.UnmarshalText([]byte(text))
	return f, err
}

// Anchor ties a sequence to the message that it named when it was looked at.
type Anchor struct {
	Seq   uint64 // >= 1
	Print Fingerprint
}

// Lineage says which history of one feed a state was derived from: the log's
// incarnation, and the fingerprints of a few messages of it. The zero value
// says nothing.
type Lineage struct {
	// Incarnation is the random id that the log was created with, at most
	// MaxIncarnation bytes; empty where it isn't known.
	Incarnation string
	// Anchors is newest first: sequences descend strictly. Push keeps it short.
	Anchors []Anchor
}

// MaxAnchors is how many anchors [Lineage.Push] keeps.
const MaxAnchors = 12

// MaxIncarnation is the greatest length of an incarnation, in bytes.
const MaxIncarnation = 127

// Push returns l with a as its newest anchor. Anchors at a.Seq or beyond it are
// dropped first: the log was cut back, or the message there is another now. An
// anchor at 0 names no message, so it only drops the others.
//
// At most [MaxAnchors] stay: the newest and the oldest always, and between them
// the spacing grows with age. So stepping back from a divergence goes back a
// little further than needed, in proportion to how far back it is, however long
// the log. l and its Anchors are left as they are.
func (l Lineage) Push(a Anchor) Lineage {
	older := l.Anchors
	for len(older) > 0 && older[0].Seq >= a.Seq {
		older = older[1:]
	}
	var anchors []Anchor
	if a.Seq > 0 {
		anchors = slices.Concat([]Anchor{a}, older)
	}
	for len(anchors) > MaxAnchors {
		anchors = dropDensest(anchors)
	}
	return Lineage{Incarnation: l.Incarnation, Anchors: anchors}
}

// dropDensest removes, in place, the anchor that is missed least: the one whose
// removal leaves the smallest hole in proportion to the hole's age. Repeated
// with each push, it keeps ages about geometric whatever the distances of the
// pushes are. (Fixed levels of powers of two would need to know the distance
// beforehand.) len(anchors) >= 3.
func dropDensest(anchors []Anchor) []Anchor {
	newest, drop, least := anchors[0].Seq, 1, 2.0
	for i := 1; i < len(anchors)-1; i++ {
		hole := float64(anchors[i-1].Seq - anchors[i+1].Seq)
		age := float64(newest - anchors[i+1].Seq)
		// On ties the older one goes, so that the recent past stays dense.
		if share := hole / age; share <= least {
			drop, least = i, share
		}
	}
	return slices.Delete(anchors, drop, drop+1)
}

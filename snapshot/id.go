package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// ID names content by its SHA-256, whole. The zero value names nothing.
type ID [sha256.Size]byte

// idOf returns the name of data.
func idOf(data []byte) ID { return sha256.Sum256(data) }

// String returns the 64 hexadecimal digits in lower case.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// short is for messages to people; comparisons are always whole.
func (id ID) short() string {
	if id.IsZero() {
		return "none"
	}
	return id.String()[:12]
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID is the exact inverse of [ID.String]. The error is an *[InvalidError].
func ParseID(text string) (ID, error) {
	var id ID
	b, err := hex.DecodeString(text)
	if err == nil && len(b) == len(id) {
		copy(id[:], b)
		if id.String() == text {
			return id, nil
		}
	}
	return ID{}, &InvalidError{What: "id", Problems: []error{
		fmt.Errorf("%.80q isn't 64 hexadecimal digits in lower case", text),
	}}
}

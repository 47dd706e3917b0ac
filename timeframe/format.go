package timeframe

import "fmt"

// FormatError says where and why a text or binary form couldn't be decoded.
type FormatError struct {
	Form   string // "timeframe text", "timeframe binary", "tag binary" or "fingerprint text"
	Offset int    // byte offset of the problem
	Reason string
	Err    error // the cause, such as a *NameError; may be nil
}

// Error states form, offset and reason.
func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: byte %d: %s", e.Form, e.Offset, e.Reason)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// VersionError says that a binary form has a version that this code doesn't
// know. The bytes may be whole and from a newer release, so it isn't a
// [FormatError].
type VersionError struct {
	Form string // "timeframe binary" or "tag binary"
	Got  byte   // the first byte
	Want byte   // the only version that this code reads
}

// Error states form and versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: unknown version %d, this code reads version %d", e.Form, e.Got, e.Want)
}

package snapshot

import (
	"errors"
	"fmt"
	"github.com/tidemark-es/tidemark/internal/problem"
	"strings"
)

// The classes of failure. Match them with [errors.Is]; the pointer type named
// at each carries the details.
var (
	ErrConflict      = errors.New("snapshot: the head was moved by somebody else")  // *ConflictError
	ErrStaleBase     = errors.New("snapshot: the base isn't the newest manifest")   // *StaleBaseError
	ErrFenced        = errors.New("snapshot: a newer epoch owns the unit")          // *FencedError
	ErrCorrupt       = errors.New("snapshot: stored data is damaged or missing")    // *CorruptError
	ErrUnknownFormat = errors.New("snapshot: unknown format version")               // *FormatError
	ErrNotFound      = errors.New("snapshot: not found")                            // *NotFoundError
	ErrNoMatch       = errors.New("snapshot: nothing of the peer's fits")           // *NoMatchError
	ErrLimit         = errors.New("snapshot: an import was given up at a limit")    // *LimitError
	ErrInvalid       = errors.New("snapshot: invalid argument, option or settings") // *InvalidError
)

// ConflictError says that the head moved between being read and being written.
type ConflictError struct {
	Unit     string
	Expected uint64 // revision that the save had read; 0 where there was no head
	Actual   uint64 // revision that the leader has now; 0 where there is none
}

// Error names the unit and both revisions.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: unit %q: expected revision %d, is %d", ErrConflict, e.Unit, e.Expected, e.Actual)
}

// Unwrap returns [ErrConflict].
func (e *ConflictError) Unwrap() error { return ErrConflict }

// StaleBaseError says that the changes are relative to a manifest that isn't
// the newest one of the unit any more.
type StaleBaseError struct {
	Unit string
	Base ID // what the save was relative to; zero where nothing
	Head ID // the newest manifest; zero where the unit has no readable head
}

// Error names the unit and both manifests.
func (e *StaleBaseError) Error() string {
	return fmt.Sprintf("%v: unit %q: base %s, newest %s", ErrStaleBase, e.Unit, e.Base.short(), e.Head.short())
}

// Unwrap returns [ErrStaleBase].
func (e *StaleBaseError) Unwrap() error { return ErrStaleBase }

// FencedError says that a writer with a higher epoch has taken the unit over.
type FencedError struct {
	Unit  string
	Epoch uint64 // this store's
	Head  uint64 // the head's; > Epoch
}

// Error names the unit and both epochs.
func (e *FencedError) Error() string {
	return fmt.Sprintf("%v: unit %q: epoch %d, the head has %d", ErrFenced, e.Unit, e.Epoch, e.Head)
}

// Unwrap returns [ErrFenced].
func (e *FencedError) Unwrap() error { return ErrFenced }

// CorruptError says what is damaged or missing, and where.
type CorruptError struct {
	Unit     string // empty where it isn't known
	Manifest ID     // zero where the damage isn't within one
	Member   string // empty where the damage isn't within one
	Segment  int    // index in the member's segments, oldest first; -1 where none
	Chunk    int    // index in the segment's chunks; -1 where none
	Reason   string
	Err      error // the cause; may be nil, and is ErrNotFound where something is missing
}

// Error states place and reason.
func (e *CorruptError) Error() string {
	var b strings.Builder
	b.WriteString(ErrCorrupt.Error())
	if e.Unit != "" {
		fmt.Fprintf(&b, ": unit %q", e.Unit)
	}
	if e.Manifest != (ID{}) {
		fmt.Fprintf(&b, ", manifest %s", e.Manifest.short())
	}
	if e.Member != "" {
		fmt.Fprintf(&b, ", member %q", e.Member)
	}
	if e.Segment >= 0 {
		fmt.Fprintf(&b, ", segment %d", e.Segment)
	}
	if e.Chunk >= 0 {
		fmt.Fprintf(&b, ", chunk %d", e.Chunk)
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	return b.String()
}

// Unwrap returns [ErrCorrupt] and the cause.
func (e *CorruptError) Unwrap() []error { return causes(ErrCorrupt, e.Err) }

// corrupt returns an error that says no more than what and why; callers add
// the place as they know it.
func corrupt(reason string, args ...any) *CorruptError {
	return &CorruptError{Segment: -1, Chunk: -1, Reason: fmt.Sprintf(reason, args...)}
}

// FormatError says that bytes have a format version that this code can't read.
// They may be whole, and written by a newer release.
type FormatError struct {
	What string // "chunk", "manifest" or "head"
	Got  byte
	Want byte  // the only version that this code reads
	Err  error // the cause, where it is a value inside that is newer; may be nil
}

// Error names the format and both versions.
func (e *FormatError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %s: %v", ErrUnknownFormat, e.What, e.Err)
	}
	return fmt.Sprintf("%v: %s has %d, this code reads %d", ErrUnknownFormat, e.What, e.Got, e.Want)
}

// Unwrap returns [ErrUnknownFormat] and the cause.
func (e *FormatError) Unwrap() []error { return causes(ErrUnknownFormat, e.Err) }

// NotFoundError says what doesn't exist.
type NotFoundError struct {
	Kind string // "member", "chunk", "manifest" or "head"
	Name string
}

// Error names it.
func (e *NotFoundError) Error() string { return fmt.Sprintf("%v: %s %q", ErrNotFound, e.Kind, e.Name) }

// Unwrap returns [ErrNotFound].
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// InvalidError holds everything that is wrong with an argument.
type InvalidError struct {
	What     string  // such as "options", "cut" or "bucket"
	Problems []error // at least one
}

// Error lists all problems.
func (e *InvalidError) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.Error()
	}
	return fmt.Sprintf("%v: %s: %s", ErrInvalid, e.What, strings.Join(texts, "; "))
}

// Unwrap returns [ErrInvalid] and the problems.
func (e *InvalidError) Unwrap() []error { return append([]error{ErrInvalid}, e.Problems...) }

// causes leaves nil out.
func causes(class, cause error) []error {
	if cause == nil {
		return []error{class}
	}
	return []error{class, cause}
}

// invalid is nil where there are no problems, else an *InvalidError.
func invalid(what string, p problem.List) error {
	if len(p) == 0 {
		return nil
	}
	return &InvalidError{What: what, Problems: p}
}

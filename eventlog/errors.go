package eventlog

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/internal/storable"
)

// The classes of errors. Test for them with errors.Is; the pointer types
// below carry the details and are found with errors.AsType.
var (
	// ErrInvalid: bad options, names, or arguments. Nothing was done.
	ErrInvalid = errors.New("invalid argument")
	// ErrInvalidKey: the key can't be used. Nothing was done.
	ErrInvalidKey = errors.New("invalid key")
	// ErrInvalidType: a value's type isn't registered on the feed, or can't
	// be an event type. Nothing was done.
	ErrInvalidType = errors.New("invalid event type")
	// ErrUnknownType: the log holds an event whose type isn't registered.
	ErrUnknownType = errors.New("unknown event type")
	// ErrUpcast: an old event can't be turned into what the program knows.
	ErrUpcast = errors.New("upcast failed")
	// ErrUnknownFeed: no such feed has been opened.
	ErrUnknownFeed = errors.New("unknown feed")
	// ErrTooLarge: the commit is larger than the server takes. Nothing was
	// done.
	ErrTooLarge = errors.New("commit too large")
	// ErrConflict: the key is not where the caller expected it. Nothing was
	// appended.
	ErrConflict = errors.New("conflict")
	// ErrAmbiguous: nobody can say yet whether the commit was appended. Send
	// it again with the same ID to find out.
	ErrAmbiguous = errors.New("outcome unknown")
	// ErrIdentity: the ID already names a commit of another key of the feed.
	// Nothing was appended.
	ErrIdentity = errors.New("identity used by another key")
	// ErrRefused: the server refused the request. Nothing was done.
	ErrRefused = errors.New("refused by the server")
	// ErrUnavailable: the server can't be reached, or doesn't answer. It may
	// pass, so trying again makes sense; what can't pass by itself is one of the
	// next five.
	ErrUnavailable = kv.ErrUnavailable
	// ErrNoJetStream: the server answers, and has no JetStream for this log: it
	// isn't enabled there or for the account, or there is no such Domain.
	ErrNoJetStream = errors.New("no JetStream")
	// ErrCredentials: CredentialsFile or NKeySeedFile can't be read, or isn't
	// one. Nothing was sent.
	ErrCredentials = errors.New("credentials can't be read")
	// ErrUnauthorized: the server doesn't accept the credentials, or wants some.
	ErrUnauthorized = errors.New("not authorized")
	// ErrTLS: server and client don't agree on TLS: a certificate isn't
	// trusted, or one of them wants TLS and the other has none.
	ErrTLS = errors.New("no TLS connection")
	// ErrListen: the embedded server can't listen at Options.Listen; the port
	// is in use.
	ErrListen = errors.New("can't listen at")
	// ErrStuck: Close, or the start of an embedded server, was given up. What
	// it has waited for goes on, and can't be ended.
	ErrStuck = errors.New("stuck")
	// ErrNotSynced: the commit can't be Synced, or may not be on the disk;
	// the SyncError says which.
	ErrNotSynced = errors.New("not synced")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("log closed")
	// ErrInUse: another process, or another Log of this one, has the
	// directory open.
	ErrInUse = errors.New("directory in use")
	// ErrTrimmed: the log no longer holds what follows the position.
	ErrTrimmed = errors.New("log trimmed past the position")
	// ErrLostTail: the log ends before a position that it once had reached.
	ErrLostTail = errors.New("log lost its tail")
	// ErrGap: messages are missing inside the log.
	ErrGap = errors.New("gap in the log")
	// ErrCorrupt: a stored commit can't be decoded.
	ErrCorrupt = errors.New("corrupt commit")
)

// ValueError is an ErrInvalid of an encoder: a value that would not come back
// as it is, although its type may be stored. It contains itself, or an interface
// in it holds what comes back as another type. Nothing was encoded.
type ValueError = storable.ValueError

// KeyError is the ErrInvalidKey with the key and what is wrong with it.
type KeyError struct {
	Key    string
	Reason string
}

func (e *KeyError) Error() string {
	k := e.Key
	if len(k) > 64 {
		k = k[:61] + "..."
	}
	return fmt.Sprintf("eventlog: invalid key %q: %s", k, e.Reason)
}

func (e *KeyError) Unwrap() error { return ErrInvalidKey }

// TypeError is an ErrInvalidType or ErrUnknownType.
type TypeError struct {
	Feed   string
	Type   string // the Go type, or the event type's name
	Reason string
	class  error
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("eventlog: feed %q: type %.200q: %s", e.Feed, e.Type, e.Reason)
}

func (e *TypeError) Unwrap() error { return e.class }

// ConflictError is an ErrConflict. Actual is the sequence of the key's last
// commit, 0 where the key has none.
type ConflictError struct {
	Feed     string
	Key      string
	Expected Expectation
	Actual   uint64
}

func (e *ConflictError) Error() string {
	is := "has no commits"
	if e.Actual > 0 {
		is = fmt.Sprintf("is at %d", e.Actual)
	}
	return fmt.Sprintf("eventlog: conflict on %s/%.200q: expected %s, but it %s: read it again and decide anew", e.Feed, e.Key, e.Expected, is)
}

func (e *ConflictError) Unwrap() error { return ErrConflict }

// AmbiguousError is an ErrAmbiguous. The same commit sent again with this ID
// is appended at most once; where it had neither an ID nor an expectation,
// that holds unless a copy of it was held up on its way for longer than
// Options.DuplicateWindow.
type AmbiguousError struct {
	Feed string
	Key  string
	ID   string
	Err  error // why it isn't known
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("eventlog: append to %s/%.200q: outcome unknown (%v): send it again with ID %q", e.Feed, e.Key, e.Err, e.ID)
}

func (e *AmbiguousError) Unwrap() []error { return []error{ErrAmbiguous, e.Err} }

// TooLargeError is an ErrTooLarge; sizes in bytes, headers included.
type TooLargeError struct {
	Feed string
	Key  string
	Size int
	Max  int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("eventlog: commit to %s/%.200q has %d bytes, the server takes %d: split it, or keep the large part elsewhere and append a reference", e.Feed, e.Key, e.Size, e.Max)
}

func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

// RangeError is an ErrTrimmed, ErrLostTail or ErrGap: reading after Position
// Want can't go on. First and Last are what the stream holds.
type RangeError struct {
	Feed  string
	Want  uint64 // the next sequence that was wanted
	First uint64
	Last  uint64
	class error

	recreated bool // the stream isn't the one that was opened, or is gone
	reused    bool // another message is where the last one was that was read
	unread    bool // the log should have it, and its leader can't return it
}

func (e *RangeError) Error() string {
	ends := "it is empty"
	if e.Last > 0 {
		ends = fmt.Sprintf("the last one is %d", e.Last)
	}
	switch {
	case e.unread:
		return fmt.Sprintf("eventlog: feed %q: %v: message %d can't be read: the log reaches %d, and its leader returns nothing from there on: its storage is damaged: restore it from a backup", e.Feed, e.class, e.Want, e.Last)
	case e.recreated:
		return fmt.Sprintf("eventlog: feed %q: %v: its stream was deleted, or deleted and created again, since the feed was opened: wanted %d, %s: what was derived from it must be rebuilt", e.Feed, e.class, e.Want, ends)
	case e.reused:
		return fmt.Sprintf("eventlog: feed %q lost its tail, and used sequence numbers again: message %d isn't the one that was read, %s: what was derived from the lost events must be rebuilt", e.Feed, e.Want-1, ends)
	case e.class == ErrTrimmed:
		return fmt.Sprintf("eventlog: feed %q was trimmed: wanted %d, the first one left is %d: restore a snapshot that reaches at least %d", e.Feed, e.Want, e.First, e.First-1)
	case e.class == ErrLostTail:
		return fmt.Sprintf("eventlog: feed %q lost its tail: wanted %d, %s: what was derived from the lost events must be rebuilt", e.Feed, e.Want, ends)
	default:
		return fmt.Sprintf("eventlog: feed %q has a gap: wanted %d, got %d although nothing may be deleted here: check the server's storage; Feed.AcceptGap registers what is lost for good", e.Feed, e.Want, e.First)
	}
}

func (e *RangeError) Unwrap() error { return e.class }

// ServerError is an ErrRefused with the server's own words. Where it says that
// there is no room it is an ErrFull, too, and an ErrTooLarge where its store
// takes no message of that size (32 MiB, whatever the maximum payload).
type ServerError struct {
	Feed        string
	Op          string
	Code        int // the server's error code, such as 10077
	Description string
}

func (e *ServerError) Error() string {
	if e.Code == codeMaxBytesRequired {
		return fmt.Sprintf("eventlog: %s on feed %q: %v (server code %d)", e.Op, e.Feed, ErrMaxBytesRequired, e.Code)
	}
	advice := ""
	if strings.Contains(e.Description, "duplicates window") {
		advice = ": set Options.DuplicateWindow to at most that, or raise the server's duplicate_window"
	}
	return fmt.Sprintf("eventlog: %s on feed %q: %s (server code %d)%s", e.Op, e.Feed, e.Description, e.Code, advice)
}

func (e *ServerError) Unwrap() []error {
	switch {
	case e.full():
		return []error{ErrRefused, ErrFull}
	case e.Code == codeMaxBytesRequired:
		return []error{ErrRefused, ErrMaxBytesRequired}
	case e.Code == codeStoreFailed && strings.Contains(e.Description, "too large"):
		return []error{ErrRefused, ErrTooLarge}
	}
	return []error{ErrRefused}
}

// full knows the server's ways to say that there is no room. Only one of the
// codes has further meanings: "store failed" comes with the reason.
func (e *ServerError) full() bool {
	switch e.Code {
	case codeAccountFull, codeServerFull, codeMemoryFull, codeStorageFull:
		return true
	case codeStoreFailed:
		return strings.Contains(e.Description, "maximum") || strings.Contains(e.Description, "no space left")
	}
	return false
}

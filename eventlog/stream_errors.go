package eventlog

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Classes of what can be wrong with a feed's stream; see errors.go.
var (
	// ErrForeign: the stream exists and isn't this feed's.
	ErrForeign = errors.New("stream of somebody else")
	// ErrUnsafe: the stream has settings that lose events.
	ErrUnsafe = errors.New("unsafe stream settings")
	// ErrMissing: the feed was here before, and its stream is gone.
	ErrMissing = errors.New("stream is missing")
	// ErrRecreated: the stream isn't the one that the feed had: somebody
	// deleted it and created it again.
	ErrRecreated = errors.New("stream was created again")
	// ErrFull: the disk, or a limit of the stream, the account or the server,
	// has no room. Nothing was done. It is an ErrRefused too.
	ErrFull = errors.New("no room left")
	// ErrDenied: the server doesn't give this user a permission that is
	// needed. Nothing was done.
	ErrDenied = errors.New("permission denied")
)

// StreamError says why a stream can't be used for a feed, all reasons at
// once. It is an ErrForeign, an ErrUnsafe, or both.
type StreamError struct {
	Feed   string
	Stream string
	Drift  []Drift // those that are Refused
}

func (e *StreamError) Error() string {
	reasons := make([]string, len(e.Drift))
	for i, d := range e.Drift {
		reasons[i] = d.String()
	}
	classes := make([]string, 0, 2)
	for _, c := range e.Unwrap() {
		classes = append(classes, c.Error())
	}
	return fmt.Sprintf("eventlog: feed %q: stream %s: %s: %s", e.Feed, e.Stream, strings.Join(classes, ", "), strings.Join(reasons, "; "))
}

func (e *StreamError) Unwrap() (classes []error) {
	var alien, risky bool
	for _, d := range e.Drift {
		alien, risky = alien || d.foreign, risky || !d.foreign
	}
	if alien {
		classes = append(classes, ErrForeign)
	}
	if risky {
		classes = append(classes, ErrUnsafe)
	}
	return classes
}

// MissingError is an ErrMissing. Incarnation and Since are what the
// application's register of feeds has; both are zero where the register is
// missing as well, and Since where the feed is open.
type MissingError struct {
	Feed        string
	Stream      string
	Incarnation string
	Since       time.Time
}

func (e *MissingError) Error() string {
	known := fmt.Sprintf("the feed is registered since %s with incarnation %.200q", e.Since.UTC().Format(time.RFC3339), e.Incarnation)
	switch {
	case e.Since.IsZero() && e.Incarnation != "":
		return fmt.Sprintf("eventlog: feed %q: %v: %s was deleted since the feed was opened, with incarnation %.200q: restore the stream from a backup, or begin anew without its events by Log.Forget or the option Recreate when the feed is opened", e.Feed, ErrMissing, e.Stream, e.Incarnation)
	case e.Incarnation == "":
		known = "the register of feeds is gone too, and the application's snapshots are there"
	}
	return fmt.Sprintf("eventlog: feed %q: %v: %s (%s): restore the stream from a backup, or begin anew without its events by Log.Forget or the option Recreate", e.Feed, ErrMissing, e.Stream, known)
}

func (e *MissingError) Unwrap() error { return ErrMissing }

// RecreatedError is an ErrRecreated.
type RecreatedError struct {
	Feed   string
	Stream string
	Known  string // the incarnation that the feed had
	Found  string // the stream's
}

func (e *RecreatedError) Error() string {
	return fmt.Sprintf("eventlog: feed %q: %v: %s has incarnation %s, and the feed's was %s: restore the stream from a backup, or accept this one by the option Recreate when the feed is opened: what was derived from the other is rebuilt", e.Feed, ErrRecreated, e.Stream, e.Found, e.Known)
}

func (e *RecreatedError) Unwrap() error { return ErrRecreated }

// PermissionError is an ErrDenied: the permission that is missing.
// docs/operations.md lists what a user needs.
type PermissionError struct {
	Op      string // "publish" or "subscribe"
	Subject string // that the server refused
	Limit   bool   // not for a permission: the account, or the user, has as many subscriptions as it may
}

func (e *PermissionError) Error() string {
	if e.Limit {
		return fmt.Sprintf("eventlog: %v: the server takes no further subscription, so answers don't arrive: raise max_subscriptions of the account or the user (docs/operations.md says how many are needed)", ErrDenied)
	}
	return fmt.Sprintf("eventlog: %v: the server doesn't let this user %s to %q: docs/operations.md lists the permissions that are needed", ErrDenied, e.Op, e.Subject)
}

func (e *PermissionError) Unwrap() error { return ErrDenied }

// StorageError: the embedded server could not write a stream's file, and takes
// nothing more for it until it is started anew. It is an ErrUnavailable, and
// an ErrFull where the disk is full. An append that was on its way is an
// ErrAmbiguous that wraps it; later ones are refused.
type StorageError struct {
	Feed   string
	Stream string
	Reason string // the operating system's words
}

func (e *StorageError) Error() string {
	return fmt.Sprintf("eventlog: feed %q: the server can't write stream %s: %s: make room or repair the disk, then close the log and open it again", e.Feed, e.Stream, e.Reason)
}

func (e *StorageError) Unwrap() []error {
	if strings.Contains(e.Reason, "no space left") {
		return []error{ErrUnavailable, ErrFull}
	}
	return []error{ErrUnavailable}
}

// DomainError is an ErrForeign: a commit was acknowledged by the stream of
// another JetStream domain. It, and others before it, may be in both.
type DomainError struct {
	Feed, Stream string
	Domain       string // the log's; "" for none
	Found        string // the one that acknowledged
}

func (e *DomainError) Error() string {
	return fmt.Sprintf("eventlog: feed %q: %v: a commit was acknowledged by a stream %s of JetStream domain %q, and this log is of domain %q: a leaf node connects two servers that both take the feed's subjects, so commits are stored in both streams: let one of them alone have it, and mirror it to the other (docs/operations.md)", e.Feed, ErrForeign, e.Stream, e.Found, e.Domain)
}

func (e *DomainError) Unwrap() error { return ErrForeign }

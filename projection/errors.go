package projection

import (
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
)

// The classes of errors; the pointer types carry the details.
var (
	// ErrInvalid: the projections, their handlers or the configuration are
	// wrong. Nothing was started.
	ErrInvalid = errors.New("invalid projection")
	// ErrStopped: the projection doesn't go on.
	ErrStopped = errors.New("projection stopped")
	// ErrClosed: the runtime was closed.
	ErrClosed = errors.New("runtime closed")
	// ErrNotRead: nothing that was started reads the feed of a position.
	ErrNotRead = errors.New("feed not read")
	// ErrUpstream: a table that the projection reads has stopped, so it doesn't
	// go on either.
	ErrUpstream = errors.New("upstream stopped")
	// ErrNotDerived: a Derived table doesn't follow from the rows that it
	// reads: its functions gave another result than before.
	ErrNotDerived = errors.New("not derived from its rows")
	// ErrNotReady: a projection isn't restored and caught up.
	ErrNotReady = errors.New("not ready")
)

// StoppedError is an ErrStopped: where a projection stopped, and why. Its
// state is that of the last whole commit before the position.
type StoppedError struct {
	Projection string
	Position   eventlog.Position // of the event; only the feed where its reading failed
	Type       string            // of the event, "" where its reading failed, or a change was handled
	Upstream   string            // the table whose change was handled, or which has stopped; "" for an event
	Err        error
	Stack      string // of a panic
}

func (e *StoppedError) Error() string {
	if e.Upstream != "" {
		return fmt.Sprintf("projection %q stopped at %s, behind %q: %v", e.Projection, e.Position, e.Upstream, e.Err)
	}
	if e.Type == "" {
		return fmt.Sprintf("projection %q stopped: feed %q: %v", e.Projection, e.Position.Feed, e.Err)
	}
	return fmt.Sprintf("projection %q stopped at %s, event %q: %v", e.Projection, e.Position, e.Type, e.Err)
}

func (e *StoppedError) Unwrap() []error { return []error{ErrStopped, e.Err} }

// PanicError is a reducer's panic.
type PanicError struct {
	Value any
	At    string // file and line of the user's code that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("reducer panicked at %s: %v", e.At, e.Value) }

func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

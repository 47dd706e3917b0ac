package command

import (
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
)

// The classes of errors; eventlog's and projection's pass through.
var (
	// ErrInvalid: the decider or an option is wrong. Nothing was done.
	ErrInvalid = errors.New("invalid command")
	// ErrRejected: the decision was no. Nothing was appended.
	ErrRejected = errors.New("command rejected")
	// ErrConflict: others were faster at each attempt. Nothing was appended.
	// It is an eventlog.ErrConflict too.
	ErrConflict = errors.New("command conflict")
)

// RejectedError is an ErrRejected: what decide returned, which errors.Is and
// errors.As find in it.
type RejectedError struct {
	Feed string
	Key  string
	// At is the sequence up to which the state included the feed.
	At  uint64
	Err error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("command: %s/%.200q: rejected: %v", e.Feed, e.Key, e.Err)
}

func (e *RejectedError) Unwrap() []error { return []error{ErrRejected, e.Err} }

// ConflictError is an ErrConflict.
type ConflictError struct {
	Feed     string
	Key      string
	Attempts int
	Err      error // of the last attempt
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("command: %s/%.200q: others were faster in %d attempts: try again later, or let one process handle the key: %v", e.Feed, e.Key, e.Attempts, e.Err)
}

func (e *ConflictError) Unwrap() []error {
	return []error{ErrConflict, eventlog.ErrConflict, e.Err}
}

// PanicError is a panic of decide, or of a function given to With. Nothing was
// appended.
type PanicError struct {
	Value any
	At    string // file and line of the user's code that panicked
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("command: panic at %s: %v", e.At, e.Value) }

func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

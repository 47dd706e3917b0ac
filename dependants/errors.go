package dependants

import (
	"errors"
	"fmt"
	"strings"
)

// The classes of errors.
var (
	// ErrInvalid: a name or an option is wrong. Nothing was done.
	ErrInvalid = errors.New("invalid dependant")
	// ErrUnknown: no such dependant is registered; *UnknownError.
	ErrUnknown = errors.New("not registered")
	// ErrTooLate: the log was trimmed beyond what is needed; *TooLateError.
	ErrTooLate = errors.New("the log was trimmed beyond the position")
	// ErrNeeded: others depend on it; *NeededError.
	ErrNeeded = errors.New("others depend on it")
	// ErrCorrupt: the stored register can't be read.
	ErrCorrupt = errors.New("corrupt register of dependants")
)

// UnknownError is an ErrUnknown.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("dependants: %q: %v: it was deregistered, or its expiry has passed: register it again", e.Name, ErrUnknown)
}

// Unwrap returns [ErrUnknown].
func (e *UnknownError) Unwrap() error { return ErrUnknown }

// TooLateError is an ErrTooLate.
type TooLateError struct {
	Name  string
	Feed  string
	Needs uint64 // it reads on behind this sequence
	From  uint64 // the log may begin here
}

func (e *TooLateError) Error() string {
	return fmt.Sprintf("dependants: %q needs what follows %d of feed %q: %v: it begins at %d: start from a state that includes %d at least", e.Name, e.Needs, e.Feed, ErrTooLate, e.From, e.From-1)
}

// Unwrap returns [ErrTooLate].
func (e *TooLateError) Unwrap() error { return ErrTooLate }

// NeededError is an ErrNeeded.
type NeededError struct {
	Name string
	By   []string
}

func (e *NeededError) Error() string {
	return fmt.Sprintf("dependants: %q: %v: deregister first: %s", e.Name, ErrNeeded, strings.Join(e.By, ", "))
}

// Unwrap returns [ErrNeeded].
func (e *NeededError) Unwrap() error { return ErrNeeded }

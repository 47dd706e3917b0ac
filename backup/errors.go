package backup

import (
	"errors"
	"fmt"
)

// The classes of failure. Match them with [errors.Is].
var (
	ErrInvalid  = errors.New("backup: invalid argument")
	ErrExists   = errors.New("backup: the directory holds a backup already, or other files")
	ErrNone     = errors.New("backup: the directory holds no whole backup")
	ErrDamaged  = errors.New("backup: damaged")
	ErrNotEmpty = errors.New("backup: the application isn't empty")           // *NotEmptyError
	ErrRefused  = errors.New("backup: what it holds isn't the application's") // *RefusedError
	ErrMoving   = errors.New("backup: the application changed again and again meanwhile")
)

// NotEmptyError says what is in the way of a restore.
type NotEmptyError struct {
	App     string
	Streams []string
	Reason  string // more about it; may be empty
}

// Error names the streams.
func (e *NotEmptyError) Error() string {
	s := fmt.Sprintf("%v: %q has %.200q", ErrNotEmpty, e.App, e.Streams)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s + "; restore into a fresh server, or delete these streams"
}

// Unwrap returns [ErrNotEmpty].
func (e *NotEmptyError) Unwrap() error { return ErrNotEmpty }

package lease

import (
	"errors"
	"fmt"
	"time"
)

// The classes of errors.
var (
	// ErrHeld: somebody else holds the name; *HeldError says who.
	ErrHeld = errors.New("lease held by another")
	// ErrLost: the lease isn't held any more, though it wasn't released.
	ErrLost = errors.New("lease lost")
	// ErrReleased: the lease was released by its holder.
	ErrReleased = errors.New("lease released")
	// ErrInvalid: a name or an option is wrong. Nothing was done.
	ErrInvalid = errors.New("invalid lease")
	// ErrCorrupt: the stored record can't be read.
	ErrCorrupt = errors.New("corrupt lease record")
)

// HeldError is an ErrHeld.
type HeldError struct {
	Name  string
	Owner string // as its Options.Owner says
	Epoch uint64
	// Wait is after how long the name is free, by what this process has seen,
	// if the holder gives no sign of life until then.
	Wait time.Duration
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("lease %q: %v: %.200q, epoch %d: free in %s unless it is renewed", e.Name, ErrHeld, e.Owner, e.Epoch, e.Wait.Round(time.Millisecond))
}

// Unwrap returns [ErrHeld].
func (e *HeldError) Unwrap() error { return ErrHeld }

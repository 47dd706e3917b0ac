//go:build !unix

package natstest

import (
	"errors"
	"os"
)

// terminate can't ask where there are no signals.
func terminate(p *os.Process) error { return p.Kill() }

// suspend has no counterpart here.
func suspend(*os.Process) error { return errors.ErrUnsupported }

func resume(*os.Process) error { return errors.ErrUnsupported }

//go:build !unix

package natstest

import "os"

// terminate can't ask where there are no signals.
func terminate(p *os.Process) error { return p.Kill() }

//go:build !linux

package natstest

import "os/exec"

// dieWithParent has no counterpart here: only a test that is killed leaves
// its children behind.
func dieWithParent(*exec.Cmd) {}

//go:build integration

package integration

import "syscall"

// limitMemory bounds this process's address space.
func limitMemory(bytes uint64) {
	_ = syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: bytes, Max: bytes})
}

//go:build integration && !linux

package integration

// limitMemory does nothing where a process's address space can't be bounded.
func limitMemory(uint64) {}

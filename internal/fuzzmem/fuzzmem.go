// Package fuzzmem bounds what a decoder may allocate in a fuzz test: hostile
// bytes must not cost memory out of proportion to what there is of them.
package fuzzmem

import (
	"runtime/metrics"
	"testing"
)

const allocated = "/gc/heap/allocs:bytes"

// Check runs decode, and fails where it allocates more than perByte bytes for
// each of size bytes of input, and slack on top. slack covers what doesn't
// depend on the input, and what the runtime counts in blocks (64 KiB at least).
// Other goroutines of the test must be idle meanwhile.
func Check(t testing.TB, size, perByte, slack int, decode func()) {
	t.Helper()
	before := now()
	decode()
	got, most := now()-before, uint64(size)*uint64(perByte)+uint64(slack)
	if got > most {
		t.Fatalf("%d bytes of input cost %d bytes of memory, more than %d", size, got, most)
	}
}

func now() uint64 {
	s := []metrics.Sample{{Name: allocated}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

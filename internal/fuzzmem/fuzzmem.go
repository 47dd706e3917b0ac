// Package fuzzmem bounds what a decoder may allocate in a fuzz test: hostile
// bytes must not cost memory out of proportion to what there is of them.
package fuzzmem

import (
	"runtime/metrics"
	"testing"
)

const allocated = "/gc/heap/allocs:bytes"

// tries is how often what seems too much is measured.
const tries = 3

// Check runs decode, and fails where it allocates more than perByte bytes for
// each of size bytes of input, and slack on top. slack covers what doesn't
// depend on the input, and what the runtime counts in blocks (64 KiB at least).
// The runtime also counts what other goroutines allocated before, at a moment of
// its own: so what seems too much is decoded again, and counts if it is too much
// each time. decode can be repeated, therefore.
func Check(t testing.TB, size, perByte, slack int, decode func()) {
	t.Helper()
	got, most := uint64(0), uint64(size)*uint64(perByte)+uint64(slack)
	for range tries {
		before := now()
		decode()
		if got = now() - before; got <= most {
			return
		}
	}
	t.Fatalf("%d bytes of input cost %d bytes of memory, more than %d", size, got, most)
}

func now() uint64 {
	s := []metrics.Sample{{Name: allocated}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

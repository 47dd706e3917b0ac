package fuzzmem_test

import (
	"testing"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper()               {}
func (f *failing) Fatalf(string, ...any) { f.failed = true }

var sink []byte

func TestCheck(t *testing.T) {
	for size, want := range map[int]bool{1 << 10: false, 10 << 20: true} {
		f := &failing{TB: t}
		fuzzmem.Check(f, 100, 10, 1<<20, func() { sink = make([]byte, size) })
		if f.failed != want {
			t.Errorf("%d bytes: failed %v, want %v", size, f.failed, want)
		}
	}
}

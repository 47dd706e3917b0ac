package lease

import (
	"testing"

	"github.com/tidemark-es/tidemark/internal/kv"
)

// Store is what leases need of a bucket.
type Store = store

// NewForTest is New with something between the manager and its bucket.
func NewForTest(t *testing.T, o Options, wrap func(Store) Store) *Manager {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	m.bucket = wrap(m.bucket)
	return m
}

// Entry is what a bucket holds under a key.
type Entry = kv.Entry

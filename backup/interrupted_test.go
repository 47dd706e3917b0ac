package backup_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tidemark-es/tidemark/backup"
)

// stopping is a context that ends when it was asked for the k-th time.
type stopping struct {
	context.Context
	mu   sync.Mutex
	left int
	end  func()
}

func stopAfter(ctx context.Context, k int) *stopping {
	ctx, cancel := context.WithCancel(ctx)
	return &stopping{Context: ctx, left: k, end: cancel}
}

func (s *stopping) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		s.end()
	}
}

func (s *stopping) Done() <-chan struct{} { s.count(); return s.Context.Done() }
func (s *stopping) Err() error            { s.count(); return s.Context.Err() }
func (s *stopping) reached() bool         { s.mu.Lock(); defer s.mu.Unlock(); return s.left <= 0 }

// T3.9, R3.11: Save ends at any point: there is no backup, and the next one
// into the same directory is whole.
func TestInterruptedSave(t *testing.T) {
	b := filled(t, 30)
	dir := t.TempDir()
	step := 1
	if testing.Short() {
		step = 7
	}
	for k := 1; ; k += step + k/4 {
		ctx := stopAfter(t.Context(), k)
		_, err := backup.Save(ctx, b.log, dir)
		if err == nil {
			if k == 1 || ctx.reached() && k < 10 {
				t.Fatalf("it wasn't interrupted at %d", k)
			}
			break
		}
		if _, opened := backup.Open(dir); !errors.Is(opened, backup.ErrNone) {
			t.Fatalf("interrupted at %d (%v), and there is a backup: %v", k, err, opened)
		}
	}
	log := fresh(t, b.log.App())
	m := must(backup.Restore(t.Context(), log, dir))(t)
	started(t, b, log, m)
}

// Restore ends at any point: an application that is started then has nothing,
// or finds its feeds missing; the same restore completes it.
func TestInterruptedRestore(t *testing.T) {
	b := filled(t, 30)
	dir := t.TempDir()
	m := must(backup.Save(t.Context(), b.log, dir))(t)
	log := fresh(t, b.log.App())
	step := 1
	if testing.Short() {
		step = 9
	}
	for k := 1; ; k += step + k/4 {
		ctx := stopAfter(t.Context(), k)
		_, err := backup.Restore(ctx, log, dir)
		if err == nil {
			break
		}
		if pending, asked := backup.Pending(t.Context(), log); asked != nil || !pending && k > 200 || k > 1e4 {
			t.Fatalf("interrupted at %d: %v, %v", k, err, asked)
		}
	}
	if pending, err := backup.Pending(t.Context(), log); pending || err != nil {
		t.Fatalf("after the end: %v, %v", pending, err)
	}
	started(t, b, log, m)
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// Two writers of one unit: exactly one of each pair of saves wins.
func TestTwoWriters(t *testing.T) {
	one := opened(t, connect(t))
	two := again(t, one)
	var base *Manifest
	for round := range uint64(20) {
		var wg sync.WaitGroup
		results := make([]*Manifest, 2)
		errs := make([]error, 2)
		for i, s := range []*Store{one, two} {
			wg.Go(func() {
				results[i], errs[i] = s.Save(t.Context(), "u", base, cut(round+1, member("a", put("k", fmt.Sprint(i, round)))))
			})
		}
		wg.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil || errs[1-winner] == nil {
			t.Fatalf("round %d: %v", round, errs)
		}
		if err := errs[1-winner]; !errors.Is(err, ErrConflict) && !errors.Is(err, ErrStaleBase) {
			t.Fatalf("round %d: %v", round, err)
		}
		base = results[winner]
		wantState(t, one, base, "a", map[string]string{"k": fmt.Sprint(winner, round)})
	}
}

// between runs something right before the head is moved.
type between struct {
	bucket
	run func()
}

func (b *between) swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	if b.run != nil {
		run := b.run
		b.run = nil
		run()
	}
	return b.bucket.swap(ctx, key, data, revision)
}

func TestConflictNamesBothRevisions(t *testing.T) {
	s := opened(t, connect(t))
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	h, _, err := headOf(t, s, "u")
	if err != nil {
		t.Fatal(err)
	}
	slow := newStore(s.opts, &between{bucket: s.bucket, run: func() {
		saved(t, s, "u", m, cut(2, member("a", put("k", "w"))))
	}})
	_, err = slow.Save(t.Context(), "u", m, cut(2, member("a", put("k", "x"))))
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || !errors.Is(err, ErrConflict) || conflict.Expected != h.revision || conflict.Actual <= h.revision {
		t.Fatalf("got %v", err)
	}
	_, err = slow.Save(t.Context(), "u", m, cut(2, member("a", put("k", "x"))))
	stale, ok := errors.AsType[*StaleBaseError](err)
	if !ok || stale.Base != m.ID || stale.Head.IsZero() {
		t.Fatalf("got %v", err)
	}
	_, err = slow.Save(t.Context(), "u", nil, cut(2, member("a")))
	if !errors.Is(err, ErrStaleBase) {
		t.Fatalf("a fresh start over somebody's head: %v", err)
	}
	c := cut(3, member("a", put("z", "z")))
	c.Replaces = stale.Head
	fresh := saved(t, slow, "u", nil, c)
	wantState(t, s, fresh, "a", map[string]string{"z": "z"})
}

func TestFencing(t *testing.T) {
	old := opened(t, connect(t), func(o *Options) { o.Epoch = 4 })
	m := saved(t, old, "u", nil, cut(1, member("a", put("k", "v"))))
	owner := again(t, old, func(o *Options) { o.Epoch = 5 })
	m2 := saved(t, owner, "u", m, cut(2, member("a", put("k", "w"))))
	_, err := old.Save(t.Context(), "u", m2, cut(3, member("a", put("k", "x"))))
	fenced, ok := errors.AsType[*FencedError](err)
	if !ok || !errors.Is(err, ErrFenced) || fenced.Epoch != 4 || fenced.Head != 5 {
		t.Fatalf("got %v", err)
	}
	damage(t, old, headKey("u"), flip) // the manifests still say who owns the unit
	if _, err = old.Save(t.Context(), "u", m2, cut(3, member("a"))); !errors.Is(err, ErrFenced) {
		t.Fatalf("over a damaged head: %v", err)
	}
	saved(t, owner, "u", m2, cut(3, member("a")))
}

func TestCancelledSaveAndLoad(t *testing.T) {
	s := opened(t, connect(t), func(o *Options) { o.ChunkSize = minChunkSize })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Save(ctx, "u", nil, cut(1, member("a", many(2000, "k", "v")...))); !errors.Is(err, context.Canceled) {
		t.Fatalf("save: %v", err)
	}
	m := saved(t, s, "u", nil, cut(1, member("a", many(2000, "k", "v")...)))
	if _, err := load(ctx, s, m, "a"); !errors.Is(err, context.Canceled) {
		t.Fatalf("load: %v", err)
	}
	for range s.Load(t.Context(), m, "a") {
		break // releases its goroutines, or the test's context would be waited for
	}
	// The caller gives up while the head is being moved: it has moved.
	ctx, cancel = context.WithCancel(t.Context())
	slow := newStore(s.opts, &late{bucket: s.bucket, cancel: cancel})
	m2, err := slow.Save(ctx, "u", m, cut(2, member("a", put("z", "z"))))
	if err != nil {
		t.Fatalf("the outcome wasn't looked up: %v", err)
	}
	saved(t, s, "u", m2, cut(3, member("a")))
}

// late moves the head and loses the answer to a caller who gave up.
type late struct {
	bucket
	cancel context.CancelFunc
}

func (l *late) swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	if _, err := l.bucket.swap(ctx, key, data, revision); err != nil {
		return 0, err
	}
	l.cancel()
	return 0, context.Canceled
}

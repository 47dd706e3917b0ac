package snapshot

import (
	"errors"
	"testing"
)

// T2.14: an owner that was paused is refused from the moment on in which the
// next one has claimed the unit, though that one hasn't saved yet; and nothing
// of what is stored changes by it.
func TestClaimFences(t *testing.T) {
	s := opened(t, connect(t))
	if err := s.Claim(t.Context(), "u", 3); err != nil {
		t.Fatalf("without a head: %v", err)
	}
	c := cut(1, member("a", put("k", "v")))
	c.Epoch = 4
	m := saved(t, s, "u", nil, c)
	for range 2 {
		if err := s.Claim(t.Context(), "u", 5); err != nil {
			t.Fatal(err)
		}
	}
	c = cut(2, member("a", put("k", "w")))
	c.Epoch = 4
	_, err := s.Save(t.Context(), "u", m, c)
	if fenced, ok := errors.AsType[*FencedError](err); !ok || fenced.Epoch != 4 || fenced.Head != 5 {
		t.Fatalf("the old owner: %v", err)
	}
	if err := s.Claim(t.Context(), "u", 4); !errors.Is(err, ErrFenced) {
		t.Fatalf("a late claim: %v", err)
	}
	if found, _ := newest(t, s, "u"); found.ID != m.ID {
		t.Fatalf("newest is %s", found.ID)
	}
	wantState(t, s, m, "a", map[string]string{"k": "v"})
	c.Epoch = 5
	if m = saved(t, s, "u", m, c); m.Epoch != 5 {
		t.Fatalf("epoch %d", m.Epoch)
	}
	wantState(t, s, m, "a", map[string]string{"k": "w"})
}

// The claim's write is lost, or its answer: claiming again completes it.
func TestClaimFailure(t *testing.T) {
	s := opened(t, connect(t))
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	for epoch, after := range []bool{false, true} {
		f := &faulty{bucket: s.bucket, fail: 1, after: after}
		broken := newStore(s.opts, f)
		if err := broken.Claim(t.Context(), "u", uint64(epoch+1)); !errors.Is(err, errInjected) {
			t.Fatalf("got %v", err)
		}
		if err := broken.Claim(t.Context(), "u", uint64(epoch+1)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Save(t.Context(), "u", m, cut(2, member("a"))); !errors.Is(err, ErrFenced) {
			t.Fatalf("got %v", err)
		}
	}
}

package effect

import (
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	q := quota{most: 2}
	at := time.Unix(1000, 0)
	for i, want := range []struct {
		after time.Duration
		ok    bool
		left  int
	}{{0, true, 0}, {time.Second, true, 0}, {0, false, 0}, {50 * time.Second, false, 0}, {9 * time.Second, true, 2}, {0, true, 0}, {0, false, 0}, {time.Hour, true, 1}} {
		at = at.Add(want.after)
		if ok, left := q.take(at); ok != want.ok || left != want.left {
			t.Errorf("%d: %v, %d left out, want %+v", i, ok, left, want)
		}
	}
}

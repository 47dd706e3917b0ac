package snapshot

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// manifestsEvery makes what retention knows of n manifests, newest first, the
// newest made now; each has one segment of its own, of 10 bytes, and one of
// 1,000 that all share.
func manifestsEvery(n int, d time.Duration, now time.Time) []retained {
	all := make([]retained, n)
	for i := range all {
		var id ID
		binary.BigEndian.PutUint64(id[:], uint64(i+1))
		all[i] = retained{id: id, created: now.Add(-time.Duration(i) * d), content: map[ID]uint64{id: 10, {31: 1}: 1000}}
	}
	return all
}

func TestRetain(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		opts Options
		n    int
		each time.Duration
		want int
	}{
		"count alone":               {Options{Keep: 3}, 10, time.Second, 3},
		"fewer than the count":      {Options{Keep: 3}, 2, time.Second, 2},
		"age beyond the count":      {Options{Keep: 3, KeepFor: time.Hour}, 10, time.Minute, 10},
		"too old":                   {Options{Keep: 3, KeepFor: 5 * time.Minute}, 10, time.Minute, 5},
		"all too old but the count": {Options{Keep: 3, KeepFor: time.Second}, 10, time.Minute, 3},
		"thinned to one a minute":   {Options{Keep: 2, KeepFor: 100 * time.Minute}, 600, time.Second, 2 + 10},
		"bytes":                     {Options{Keep: 2, KeepFor: time.Hour, KeepBytes: 1050}, 10, time.Minute, 5},
		"never below the count":     {Options{Keep: 4, KeepFor: time.Hour, KeepBytes: 1}, 10, time.Minute, 4},
	} {
		t.Run(name, func(t *testing.T) {
			all := manifestsEvery(c.n, c.each, now)
			got := c.opts.retain(all, now)
			if len(got) != c.want {
				t.Fatalf("%d are kept, want %d", len(got), c.want)
			}
			for i := range min(c.opts.Keep, c.n) {
				if got[i] != all[i].id {
					t.Errorf("number %d isn't kept", i)
				}
			}
		})
	}
}

// Save after save, for any rhythm: the newest are kept; of each moment in the
// span there is one at most two spacings and one pause older; none is older
// than the span; and their number is bounded.
func TestRetainOverTime(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		span := time.Hour
		o := Options{Keep: rapid.IntRange(2, 5).Draw(r, "keep"), KeepFor: span}
		now, start := time.Unix(1e9, 0), time.Unix(1e9, 0)
		var all []retained
		var longest time.Duration
		for i := range rapid.IntRange(1, 300).Draw(r, "saves") {
			pause := time.Duration(rapid.IntRange(1, 90).Draw(r, "pause")) * time.Second
			longest = max(longest, pause)
			now = now.Add(pause)
			var id ID
			binary.BigEndian.PutUint64(id[:], uint64(i+1))
			all = append([]retained{{id: id, created: now}}, all...)
			ids := o.retain(all, now)
			all = slices.DeleteFunc(all, func(x retained) bool { return !slices.Contains(ids, x.id) })
		}
		if len(all) > o.Keep+perAge+1 {
			r.Fatalf("%d are kept", len(all))
		}
		for i, x := range all {
			if i >= o.Keep && now.Sub(x.created) >= span {
				r.Fatalf("one is %s old", now.Sub(x.created))
			}
			if i > 0 && all[i-1].created.Sub(x.created) > 2*span/perAge+time.Duration(o.Keep)*longest {
				r.Fatalf("nothing is kept between %s and %s", x.created, all[i-1].created)
			}
		}
		if oldest := all[len(all)-1].created; now.Sub(start) < span && oldest.Sub(start) > 90*time.Second {
			r.Fatalf("the oldest was let go: %s is left", oldest.Sub(start))
		}
	})
}

// R3: manifests are retained by age and bytes beside their number, by another
// process too, and a sweep leaves what they hold.
func TestKeepFor(t *testing.T) {
	nc := connect(t)
	s := opened(t, nc, func(o *Options) { o.Keep, o.KeepFor = 2, time.Hour })
	now := time.Now()
	s.clock = func() time.Time { return now }
	var m *Manifest
	for i := range 8 {
		now = now.Add(10 * time.Minute)
		m = saved(t, s, "u", m, cut(uint64(i+1), member("x", put("k", string(rune('a'+i))))))
		if i == 3 { // another process goes on, and knows nothing yet
			s = opened(t, nc, func(o *Options) { *o = s.opts })
			s.clock = func() time.Time { return now }
		}
	}
	found, err := s.Candidates(t.Context(), "u")
	if err != nil || len(found) != 6 { // of 0 to 50 minutes
		t.Fatalf("%d retained, %v", len(found), err)
	}
	for i, c := range found {
		wantState(t, s, c.Manifest, "x", map[string]string{"k": string(rune('a' + 7 - i))})
	}
	few := opened(t, nc, func(o *Options) { *o = s.opts; o.KeepBytes = 1 })
	m = saved(t, few, "u", m, cut(9, member("x", put("k", "z"))))
	if found, err = few.Candidates(t.Context(), "u"); err != nil || len(found) != 2 || found[0].ID != m.ID {
		t.Fatalf("%d retained, %v", len(found), err)
	}
	if _, err := Open(t.Context(), Options{App: "a", Conn: nc, KeepBytes: 1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("KeepBytes alone: %v", err)
	}
}

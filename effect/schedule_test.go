package effect

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The schedule against one that looks at everything each time: each effect is
// attempted once in each of its states, none before it is due.
func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type wanted struct {
			last, tried uint64
			due         time.Time
			was         bool
		}
		base := time.Unix(1000, 0)
		now := base
		s, plain := newSchedule(), map[string]*wanted{}
		var flying []*job
		id := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		t.Repeat(map[string]func(*rapid.T){
			"want": func(t *rapid.T) {
				k := id.Draw(t, "id")
				w := plain[k]
				if w == nil {
					w = &wanted{}
					plain[k] = w
				}
				if !w.was || rapid.Bool().Draw(t, "later") {
					w.last++
				}
				due := now.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "due")) * time.Second)
				if !w.was || w.last > w.tried {
					w.due, w.was = due, w.was && w.tried >= w.last
				}
				s.want(k, w.last, 1, due)
			},
			"drop": func(t *rapid.T) {
				k := id.Draw(t, "id")
				delete(plain, k)
				s.drop(k)
			},
			"next": func(t *rapid.T) {
				j, at := s.next(now)
				var first time.Time
				any := false
				for _, w := range plain {
					if !w.was {
						if !w.due.After(now) {
							any = true
						}
						if first.IsZero() || w.due.Before(first) {
							first = w.due
						}
					}
				}
				switch {
				case (j != nil) != any:
					t.Fatalf("got %v, want any: %v", j, any)
				case j == nil && !at.Equal(first):
					t.Fatalf("the next is due at %v, want %v", at, first)
				case j != nil:
					w := plain[j.id]
					if w == nil || w.was || !w.due.Equal(j.due) || w.last != j.last || !j.due.Equal(first) {
						t.Fatalf("got %+v, want %+v at %v", j, w, first)
					}
					w.was, w.tried = true, w.last
					flying = append(flying, j)
				}
			},
			"again": func(*rapid.T) {
				if len(flying) == 0 {
					return // no attempt is under way
				}
				j := flying[0]
				flying = flying[1:]
				due := now.Add(time.Second)
				if w := plain[j.id]; w != nil && w.was && w.tried == j.last {
					w.was, w.due, w.last = false, due, j.last
				}
				s.again(j, due)
			},
			"time": func(t *rapid.T) { now = now.Add(time.Second) },
		})
	})
}

package eventlog

import (
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/internal/causal"
	"github.com/tidemark-es/tidemark/internal/panics"
)

// due is when the next event has waited for long enough to be reported.
func (m *merger) due() (first time.Time, ok bool) {
	for _, s := range m.feeds {
		if s.since.IsZero() || s.told {
			continue
		}
		if at := s.since.Add(m.opts.StallAfter); !ok || at.Before(first) {
			first, ok = at, true
		}
	}
	return first, ok
}

// stalls reports held events: those of a cycle at once, others when they have
// waited for long enough.
func (m *merger) stalls(which func(causal.Held) bool) error {
	var list []Stall
	for _, h := range m.gate.Held() {
		for _, s := range m.feeds {
			waited := time.Since(s.since)
			if s.f.name != h.Feed || s.told || !which(h) || (!h.Cycle && waited < m.opts.StallAfter) {
				continue
			}
			s.told = true
			list = append(list, Stall{Position: Position{Feed: h.Feed, Seq: h.Seq}, Missing: h.Missing, Cycle: h.Cycle, For: waited})
		}
	}
	return m.tell(list)
}

// tell reports stalls, to who asked for them, or as the end of the merge. What
// never ends by itself ends a merge that isn't a follower.
func (m *merger) tell(list []Stall) error {
	if len(list) == 0 {
		return nil
	}
	if m.opts.Stalled == nil {
		return &StallError{Stalls: list}
	}
	for _, s := range list {
		if err := callStalled(m.opts.Stalled, s); err != nil {
			return err
		}
		if s.Cycle && !m.opts.Follow {
			return &StallError{Stalls: list}
		}
	}
	return nil
}

func callStalled(f func(Stall), s Stall) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("eventlog: merge: Stalled panicked at %s: %v", panics.Place(), r)
		}
	}()
	f(s)
	return nil
}

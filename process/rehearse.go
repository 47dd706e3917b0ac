package process

import (
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Offline makes a process manager without a log and without a server, over
// eventlog.Offline feeds, for handlers that are tried: by package
// projectiontest, or a projection.Rehearsal. It can't be started, and Run fails
// with eventlog.ErrOffline.
//
// Errors: ErrInvalid.
func Offline[S any](name string, version uint64, feeds ...*eventlog.Feed) (*Manager[S], error) {
	if err := comesBack[S](name); err != nil {
		return nil, err
	}
	outbox, err := effect.Offline[action](name+"-reactions", version)
	if err != nil {
		return nil, fmt.Errorf("process %q: %w: %w", name, ErrInvalid, err)
	}
	timers, err := eventlog.Offline(name+"-timers", timerTypes()...)
	if err != nil {
		return nil, fmt.Errorf("process %q: timers: %w: %w", name, ErrInvalid, err)
	}
	m := newManager[S](outbox, timers, name, version)
	for _, f := range feeds {
		if f == nil {
			return nil, fmt.Errorf("process %q: %w: nil feed", name, ErrInvalid)
		}
		m.feeds[f.Name()] = f
	}
	return m, nil
}

// Reaction is a commit that a process manager wants to be appended.
type Reaction struct {
	ID     string // of the effect, and of the commit
	Feed   *eventlog.Feed
	Key    string
	Events []any
	Cause  eventlog.Position // the commit that it is a reaction to
	// Seen is what the process had handled until then, the cause included, and
	// what the writers of that had seen; see eventlog.Draft.Seen.
	Seen timeframe.Timeframe
}

// Due lists what Run would append at a time, timers that fire included, in the
// order of the commits that it is a reaction to.
//
// Errors: ErrInvalid for a feed that New wasn't given; those of
// eventlog.Feed.DecodeEvent.
func (m *Manager[S]) Due(at time.Time) ([]Reaction, error) {
	effects, err := m.outbox.Due(at, effect.Options{})
	if err != nil {
		return nil, err
	}
	out := make([]Reaction, len(effects))
	for i := range effects {
		if out[i], err = m.reaction(&effects[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Outcomes is the feed in which is recorded what became of the reactions; see
// effect.Outbox.Outcomes.
func (m *Manager[S]) Outcomes() *eventlog.Feed { return m.outbox.Outcomes() }

// reaction is what an effect of the outbox stands for.
func (m *Manager[S]) reaction(e *effect.Effect[action]) (Reaction, error) {
	r := Reaction{ID: e.ID, Feed: m.feeds[e.Intent.Feed], Key: e.Intent.Key, Cause: e.Cause, Seen: e.Intent.Seen}
	if r.Feed == nil {
		return r, fmt.Errorf("process %q: %w: New wasn't given feed %q", m.name, ErrInvalid, e.Intent.Feed)
	}
	for _, enc := range e.Intent.Events {
		v, err := r.Feed.DecodeEvent(enc)
		if err != nil {
			return r, err
		}
		r.Events = append(r.Events, v)
	}
	return r, nil
}

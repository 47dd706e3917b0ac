package process

import (
	"context"
	"time"

	"github.com/tidemark-es/tidemark/effect"
)

// Parked is a reaction that was given up: it can't be appended, or couldn't in
// so many attempts. The dead letter.
type Parked struct {
	Reaction // without Feed and Events where those can't be read any more
	Error    string
	Since    time.Time
}

// Pending is how many reactions are wanted, timers that aren't due included,
// and neither carried out nor given up.
func (m *Manager[S]) Pending() int { return m.outbox.Pending() }

// Parked lists the reactions that were given up, in the order of what they
// react to. Each waits until somebody calls Retry or Drop.
func (m *Manager[S]) Parked() []Parked {
	given := m.outbox.Parked()
	out := make([]Parked, len(given))
	for i := range given {
		r, err := m.reaction(&given[i].Effect)
		out[i] = Parked{Reaction: r, Error: given[i].Error, Since: given[i].Since}
		if err != nil {
			out[i].Error += " (" + err.Error() + ")"
		}
	}
	return out
}

// Orphans lists the reactions, timers that fired included, that were appended
// or given up and whose cause isn't in the log; see effect.Outbox.Orphans.
func (m *Manager[S]) Orphans(ctx context.Context) ([]effect.Orphan, error) {
	return m.outbox.Orphans(ctx)
}

// Retry lets a reaction that was given up be attempted again; see
// effect.Outbox.Retry.
func (m *Manager[S]) Retry(ctx context.Context, id, by string) error {
	return m.outbox.Retry(ctx, id, by)
}

// Drop forgets a reaction that was given up; see effect.Outbox.Drop.
func (m *Manager[S]) Drop(ctx context.Context, id, by string) error {
	return m.outbox.Drop(ctx, id, by)
}

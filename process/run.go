package process

import (
	"context"
	"errors"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
)

// Run carries the reactions out until ctx ends; see effect.Outbox.Run for its
// errors, options, and what several processes mean.
func (m *Manager[S]) Run(ctx context.Context, opts effect.Options) error {
	return m.outbox.Run(ctx, m.act, opts)
}

// act appends what a step wanted. The commit's identity is the reaction's,
// which is made of the source's position: an attempt that is repeated, by
// whoever, finds it.
func (m *Manager[S]) act(ctx context.Context, e effect.Effect[action]) error {
	r, err := m.reaction(&e)
	if err != nil {
		return effect.Permanent(err)
	}
	_, err = r.Feed.AppendDraft(ctx, eventlog.Draft{Key: r.Key, ID: r.ID, Causation: r.Cause.String(), Seen: r.Seen, Events: r.Events})
	for _, never := range []error{eventlog.ErrInvalid, eventlog.ErrInvalidKey, eventlog.ErrTooLarge, eventlog.ErrIdentity} {
		if errors.Is(err, never) {
			return effect.Permanent(err)
		}
	}
	return err
}

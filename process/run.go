package process

import (
	"context"
	"errors"
	"fmt"

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
	feed := m.feeds[e.Intent.Feed]
	if feed == nil {
		return effect.Permanent(fmt.Errorf("process %q: %w: New wasn't given feed %q", m.name, ErrInvalid, e.Intent.Feed))
	}
	d := eventlog.Draft{Key: e.Intent.Key, ID: e.ID, Causation: e.Cause.String()}
	for _, enc := range e.Intent.Events {
		v, err := feed.DecodeEvent(enc)
		if err != nil {
			return effect.Permanent(err)
		}
		d.Events = append(d.Events, v)
	}
	_, err := feed.AppendDraft(ctx, d)
	for _, never := range []error{eventlog.ErrInvalid, eventlog.ErrInvalidKey, eventlog.ErrTooLarge, eventlog.ErrIdentity} {
		if errors.Is(err, never) {
			return effect.Permanent(err)
		}
	}
	return err
}

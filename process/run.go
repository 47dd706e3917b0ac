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
// which is made of the source's: an attempt that is repeated, by any process,
// finds it.
func (m *Manager[S]) act(ctx context.Context, e effect.Effect[action]) error {
	r, err := m.reaction(&e)
	if err != nil {
		return effect.Permanent(err)
	}
	causation, err := m.identity(ctx, r.Cause)
	if err != nil {
		return err
	}
	_, err = r.Feed.AppendDraft(ctx, eventlog.Draft{Key: r.Key, ID: r.ID, Causation: causation, Seen: r.Seen, Events: r.Events})
	for _, never := range []error{eventlog.ErrInvalid, eventlog.ErrInvalidKey, eventlog.ErrTooLarge, eventlog.ErrIdentity} {
		if errors.Is(err, never) {
			return effect.Permanent(err)
		}
	}
	return err
}

// identity is what the commit at a position is named by in other feeds
// (eventlog.Commit.Identity), or the position where it isn't there any more.
func (m *Manager[S]) identity(ctx context.Context, at eventlog.Position) (string, error) {
	feed, err := m.timers.Log().Opened(at.Feed)
	if err != nil {
		return "", err
	}
	c, ok, err := feed.Lookup(ctx, at.Seq)
	if err != nil {
		return "", err
	}
	if !ok {
		return at.String(), nil
	}
	return c.Identity(), nil
}

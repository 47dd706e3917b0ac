package main

import (
	"context"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/tidemark-es/tidemark/eventlog"
)

// syncedCase compares appends that are on the disk when they return: ours
// share an fsync, the baseline's server does one for each.
func syncedCase() *benchCase {
	const name = "append/64-synced"
	l := appendLoad{callers: 64, total: func(e *env) int { return e.many }, durability: eventlog.Synced}
	base := func(ctx context.Context, e *env, c *clock, how publisher) (sample, error) {
		return rawAppends(ctx, e, c, l, how, func(o *server.Options) { o.SyncAlways = true })
	}
	var how publisher
	return &benchCase{
		name: name, about: "64 callers: Feed.AppendDraft (ExpectAny, Synced) against js.Publish from 64 goroutines on a server with SyncAlways",
		unit: unitCommits,
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = fastest(ctx, e, name, waiting(), func(ctx context.Context, e *env, how publisher) (float64, error) {
				s, err := base(ctx, e, &clock{}, how)
				return s.rate(), err
			})
			return err
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourAppends(ctx, e, c, l) },
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return base(ctx, e, c, how) },
		note: func() string { return how.String() },
	}
}

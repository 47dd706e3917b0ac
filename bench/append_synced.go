package main

import (
	"context"

	"github.com/tidemark-es/tidemark/eventlog"
)

// syncedCase compares appends that are on the disk when they return: ours
// share an fsync, the baseline's server does one for each.
func syncedCase() *benchCase {
	const name = "append/64-synced"
	l := appendLoad{callers: 64, total: func(e *env) int { return e.many }}
	var how publisher
	return &benchCase{
		name: name, about: "64 callers: Feed.AppendDraft (ExpectAny, Synced) against js.Publish from 64 goroutines on a server with SyncAlways",
		unit: unitCommits,
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = fastest(ctx, e, name, waiting(), func(ctx context.Context, e *env, how publisher) (float64, error) {
				s, err := rawSynced(ctx, e, &clock{}, l, how)
				return s.rate(), err
			})
			return err
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourSynced(ctx, e, c, l) },
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawSynced(ctx, e, c, l, how) },
		note: func() string { return how.String() },
	}
}

func ourSynced(ctx context.Context, e *env, c *clock, l appendLoad) (s sample, err error) {
	dir, remove, err := e.fresh("ours")
	if err != nil {
		return s, err
	}
	defer remove()
	o, err := openOurs(ctx, dir)
	if err != nil {
		return s, err
	}
	defer o.close()
	l.durability = eventlog.Synced
	return o.appends(ctx, e, c, l)
}

func rawSynced(ctx context.Context, e *env, c *clock, l appendLoad, how publisher) (s sample, err error) {
	dir, remove, err := e.fresh("raw")
	if err != nil {
		return s, err
	}
	defer remove()
	opts := rawOptions(dir, how.by)
	opts.SyncAlways = true
	r, err := startRaw(ctx, opts, how.by, e.stream)
	if err != nil {
		return s, err
	}
	defer r.close()
	if err := r.create(ctx); err != nil {
		return s, err
	}
	return r.appends(ctx, e, c, l, how.async)
}

package main

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/stephook"
	"github.com/tidemark-es/tidemark/projection"
)

const (
	preloaded    = 2048 // commits in memory, which are handled again and again
	reducerSteps = 4000 // of a generator of pseudo-random numbers, about 5 us
)

// graphPartitions is what partitions gain where handling an event is what
// takes time: nothing is read meanwhile.
func graphPartitions() *benchCase {
	var commits []eventlog.Commit
	var o *ours
	side := func(partitions int) side {
		return func(_ context.Context, e *env, c *clock) (sample, error) {
			return stepPartitions(o.feed, commits, partitions, e.events/5, c)
		}
	}
	return &benchCase{
		name: "graph/partitions2", about: "two partitions, a reducer of some 5 us, commits in memory, against one partition",
		unit: unitEvents, floor: 1.7,
		setup: func(ctx context.Context, e *env) (err error) {
			// The log stays open for the run: commits are of its feed.
			if o, err = openOursAt(ctx, eventlog.Options{App: appName, Memory: true}); err != nil {
				return err
			}
			commits, err = preload(ctx, o.feed, e.keys)
			return err
		},
		ours: side(2),
		base: side(1),
		note: func() string { return "one partition" },
	}
}

// preload appends commits and keeps them, outside of what a reader lends.
func preload(ctx context.Context, f *eventlog.Feed, keys int) ([]eventlog.Commit, error) {
	commits := make([]eventlog.Commit, preloaded)
	for i := range commits {
		at, err := f.Append(ctx, keyOf(i, keys), eventlog.ExpectAny, eventOf(i, keys))
		if err != nil {
			return nil, err
		}
		c, ok, err := f.Lookup(ctx, at.Seq)
		if err != nil || !ok {
			return nil, fmt.Errorf("commit %s: %t, %w", at, ok, err)
		}
		commits[i] = c
	}
	return commits, nil
}

// stepPartitions handles so many events and counts what the rows say was.
func stepPartitions(f *eventlog.Feed, commits []eventlog.Commit, partitions, events int, c *clock) (s sample, err error) {
	type busy struct{ Count, X uint64 }
	p := projection.NewPartitioned[busy]("busy", partitions)
	projection.OnRow(p, f, func(r projection.Row[busy], _ eventlog.Event, d posted) error {
		v := r.Value()
		v.X += d.Cents
		for range reducerSteps {
			v.X = v.X*6364136223846793005 + 1442695040888963407
		}
		v.Count++
		r.Put(v)
		return nil
	})
	if err := c.start(); err != nil {
		return s, err
	}
	for left := events; left > 0; left -= len(commits) {
		if err := stephook.Apply(p, f, commits[:min(left, len(commits))]); err != nil {
			return s, err
		}
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	for _, v := range p.All() {
		s.count += v.Count
	}
	if s.count != uint64(events) {
		return s, fmt.Errorf("%d events were handled, not %d", s.count, events)
	}
	s.values = []float64{c.rate(events)}
	return s, nil
}

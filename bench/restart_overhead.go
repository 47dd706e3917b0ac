package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidemark-es/tidemark/projection"
)

// overheadCases ask what a restart costs beside what it can't do without.
func overheadCases() []*benchCase {
	return []*benchCase{restartOverhead(), restartLongLog()}
}

// startsPerRound makes a figure of milliseconds steady.
const startsPerRound = 5

// restartOverhead starts on a log with a tail behind its snapshot.
func restartOverhead() *benchCase {
	const allowance = 10 // milliseconds
	var with, without string
	return &benchCase{
		name: "restart/overhead", about: "projection.Start with a snapshot of 100,000 keys and a tail of 1,000 of 1,000,000 events, against the restore of the same keys, with no tail, plus 10 ms",
		unit: unitMillis, ceiling: 1.3,
		setup: func(ctx context.Context, e *env) error {
			dir, err := os.MkdirTemp(e.dir, "restart-")
			if err != nil {
				return err
			}
			with, without = filepath.Join(dir, "with"), filepath.Join(dir, "without")
			if err := snapshotAndTail(ctx, without, e.events, 0, e.keys*10); err != nil {
				return err
			}
			if err := os.Mkdir(with, 0o755); err != nil {
				return err
			}
			if err := copyTree(with, without); err != nil {
				return err
			}
			o, err := openOurs(ctx, with)
			if err != nil {
				return err
			}
			defer o.close()
			return fill(ctx, o.feed, e.events, e.tail, e.keys*10)
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) {
			s, err := starts(ctx, with, c, e.tail)
			s.count -= uint64(e.tail)
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) {
			s, err := starts(ctx, without, c, 0)
			if err == nil {
				s.values[0] += allowance
			}
			return s, err
		},
		note: func() string { return "restore + 10 ms" },
	}
}

// restartLongLog starts on logs of which one is ten times as long.
func restartLongLog() *benchCase {
	var long, short string
	return &benchCase{
		name: "restart/long-log", about: "projection.Start with a snapshot of 10,000 keys and a tail of 1,000 events on a log of 2,000,000, against the same on a log of a tenth",
		unit: unitMillis, ceiling: 1.3,
		setup: func(ctx context.Context, e *env) error {
			dir, err := os.MkdirTemp(e.dir, "long-")
			if err != nil {
				return err
			}
			long, short = filepath.Join(dir, "long"), filepath.Join(dir, "short")
			if err := snapshotAndTail(ctx, short, e.events/5, e.tail, e.keys); err != nil {
				return err
			}
			return snapshotAndTail(ctx, long, e.events*2, e.tail, e.keys)
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) {
			s, err := starts(ctx, long, c, e.tail)
			s.count -= min(s.count, uint64(e.events*2-e.events/5))
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return starts(ctx, short, c, e.tail) },
		note: func() string { return "a log of a tenth" },
	}
}

// snapshotAndTail makes a log of so many events with a snapshot of them all,
// and a tail behind it.
func snapshotAndTail(ctx context.Context, dir string, events, tail, keys int) error {
	o, err := openOurs(ctx, dir)
	if err != nil {
		return err
	}
	defer o.close()
	if err := fill(ctx, o.feed, 0, events, keys); err != nil {
		return err
	}
	rt, err := projection.Start(ctx, o.log, newAccounts(o.feed))
	if err != nil {
		return err
	}
	if err := rt.Close(); err != nil { // saves
		return err
	}
	if tail == 0 {
		return nil
	}
	return fill(ctx, o.feed, events, tail, keys)
}

// starts is the median of several starts, each on a log that was just opened.
func starts(ctx context.Context, dir string, c *clock, tail int) (s sample, err error) {
	var took []float64
	for range startsPerRound {
		s, err = start(ctx, dir, c, projection.Config{Snapshots: quiet}, uint64(max(tail, 1)))
		if err != nil {
			return s, fmt.Errorf("start on %s: %w", filepath.Base(dir), err)
		}
		took = append(took, s.values[0])
	}
	s.values[0], s.bytes = spreadOf(took).median, 0
	return s, nil
}

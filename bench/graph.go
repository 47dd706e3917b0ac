package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// chainLength is how many tables graph/chain5 has behind the first one.
const chainLength = 5

func graphCases() []*benchCase { return []*benchCase{graphTable(), graphChain(), graphPartitions()} }

// graphTable is what a projection costs beyond reading and decoding.
func graphTable() *benchCase {
	var above []time.Duration
	var ours time.Duration
	return &benchCase{
		name: "graph/table", about: "one table over the whole log, a row changed by each event, against replay/typed: the same log read and decoded",
		unit: unitEvents, floor: 0.7,
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			s, err = chain(ctx, e, c, 0)
			ours = c.elapsed
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			s, err = ourReplay(ctx, e, c, func(ev eventlog.Event) (uint64, error) {
				p, err := eventlog.Decode[posted](ev)
				return p.Cents, err
			}, eventlog.Type[posted](eventName))
			s.bytes = 0 // ours checks the sums, not the payloads
			above = append(above, perEvent(ours-c.elapsed, e.events))
			return s, err
		},
		note: func() string { return fmt.Sprintf("replay/typed; ours is %v an event above it", middle(above)) },
	}
}

// graphChain is what a table costs that passes another one's changes on.
func graphChain() *benchCase {
	var above []time.Duration
	var ours time.Duration
	return &benchCase{
		name: "graph/chain5", about: "one table and five more behind it in a row, each with a row changed by each event, against the one table alone",
		unit: unitEvents,
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			s, err = chain(ctx, e, c, chainLength)
			ours = c.elapsed
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			s, err = chain(ctx, e, c, 0)
			above = append(above, perEvent(ours-c.elapsed, chainLength*e.events))
			return s, err
		},
		note: func() string { return fmt.Sprintf("the first table alone; %v an event and node", middle(above)) },
	}
}

func perEvent(d time.Duration, events int) time.Duration { return d / time.Duration(events) }

// middle is the median.
func middle(ds []time.Duration) time.Duration {
	all := make([]float64, len(ds))
	for i, d := range ds {
		all[i] = float64(d)
	}
	return time.Duration(spreadOf(all).median)
}

// chain replays the log into a table of accounts with so many tables behind
// it, each a copy of the one before, and checks the last one.
func chain(ctx context.Context, e *env, c *clock, behind int) (s sample, err error) {
	o, err := e.openLog(ctx)
	if err != nil {
		return s, err
	}
	defer o.close()
	last := newAccounts(o.feed)
	all := []projection.Projection{last}
	for i := range behind {
		last = projection.Map(fmt.Sprintf("copy-%d", i), last, func(_ string, a account) account { return a })
		all = append(all, last)
	}
	if err := c.start(); err != nil {
		return s, err
	}
	rt, err := projection.Config{NoSnapshots: true}.Start(ctx, o.log, all...)
	if err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		_ = rt.Close()
		return s, err
	}
	if err := rt.Close(); err != nil {
		return s, err
	}
	if err := last.Err(); err != nil {
		return s, err
	}
	var cents uint64
	for _, a := range last.All() {
		s.count += a.Count
		cents += a.Cents
	}
	if want := centsOf(e.events); cents != want {
		return s, fmt.Errorf("the amounts add up to %d, not %d", cents, want)
	}
	s.values = []float64{c.rate(int(s.count))}
	return s, nil
}

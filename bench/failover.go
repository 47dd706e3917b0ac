package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// failoverCases kill the server that leads a stream while events are appended
// and followed. Both sides are ours, and of the same kill: how long the
// follower had nothing, against how long the writer got nothing through.
func failoverCases() []*benchCase {
	var last gaps
	side := func(of func(*gaps) *time.Duration) side {
		return func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			if *of(&last) == 0 {
				if err := c.start(); err != nil {
					return s, err
				}
				if last, err = failover(ctx, e); err != nil {
					return s, err
				}
				if err := c.stop(); err != nil {
					return s, err
				}
			}
			took := of(&last)
			s = sample{values: []float64{millis(*took)}, count: last.events}
			*took = 0 // the next round's
			return s, nil
		}
	}
	return []*benchCase{{
		name: "follow/failover", about: "three-node cluster of processes on loopback, the stream's leader killed (SIGKILL) under one caller of Feed.Append: the longest time between two commits at a Reader with Follow, against that between two acknowledgements",
		unit: unitMillis, ceiling: 1.3,
		ours: side(func(g *gaps) *time.Duration { return &g.reader }),
		base: side(func(g *gaps) *time.Duration { return &g.writer }),
		note: func() string { return "the writer, in the same kill" },
	}}
}

// gaps are the longest waits of a failover.
type gaps struct {
	writer, reader time.Duration
	events         uint64
}

// failover kills the leader of a new cluster's stream. Behind its return both
// writer and reader have got over it.
func failover(ctx context.Context, e *env) (g gaps, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // an election takes 4 to 7 s
	defer cancel()
	dir, remove, err := e.fresh("failover")
	if err != nil {
		return g, err
	}
	defer remove()
	cl, err := startServers(ctx, dir)
	if err != nil {
		return g, err
	}
	defer cl.kill()
	o, err := openOursAt(ctx, eventlog.Options{App: appName, URL: cl.urls, Replicas: replicas})
	if err != nil {
		return g, err
	}
	defer o.close()
	r, err := o.feed.NewReader(ctx, eventlog.Follow())
	if err != nil {
		return g, err
	}
	defer r.Close()

	before := 200
	var acked []time.Time
	var writeErr error
	killed := make(chan time.Time, 1)
	recovered := make(chan uint64, 1)
	var writing sync.WaitGroup
	writing.Go(func() {
		acked, writeErr = appendThrough(ctx, e, o.feed, before, func() error {
			killed <- time.Now()
			return cl.killLeader(ctx, o)
		})
		recovered <- uint64(len(acked))
	})
	seen, err := readThrough(ctx, r, recovered)
	writing.Wait()
	if err := errors.Join(err, writeErr); err != nil {
		return g, err
	}
	from := <-killed
	g = gaps{writer: longest(acked, from), reader: longest(seen, from), events: uint64(len(acked))}
	if len(seen) != len(acked) {
		return g, fmt.Errorf("the follower saw %d of %d commits", len(seen), len(acked))
	}
	return g, nil
}

// appendThrough appends one event after another: some, then as many again
// when the leader was killed.
func appendThrough(ctx context.Context, e *env, feed *eventlog.Feed, n int, kill func() error) (acked []time.Time, err error) {
	for i := range 2 * n {
		if i == n {
			if err := kill(); err != nil {
				return acked, err
			}
		}
		for {
			_, err := feed.AppendDraft(ctx, eventlog.Draft{Key: keyOf(i, e.keys), ID: fmt.Sprint("f-", i), Events: []any{eventOf(i, e.keys)}})
			if err == nil {
				break
			}
			if ctx.Err() != nil || !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, eventlog.ErrAmbiguous) {
				return acked, err
			}
		}
		acked = append(acked, time.Now())
	}
	return acked, nil
}

// readThrough reads until it has as many as were appended in the end.
func readThrough(ctx context.Context, r *eventlog.Reader, appended <-chan uint64) (seen []time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ended := uint64(0)
	for ended == 0 || uint64(len(seen)) < ended {
		batch, err := r.Next(ctx)
		if err != nil {
			return seen, err
		}
		now := time.Now()
		for range batch {
			seen = append(seen, now)
		}
		if uint64(len(seen)) >= 400 {
			ended = <-appended
		}
	}
	return seen, nil
}

// longest is the longest time between two moments, of which the later one is
// behind from.
func longest(at []time.Time, from time.Time) (gap time.Duration) {
	first := slices.IndexFunc(at, func(t time.Time) bool { return t.After(from) })
	for i := max(first, 1); first >= 0 && i < len(at); i++ {
		gap = max(gap, at[i].Sub(at[i-1]))
	}
	return gap
}

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/metrics"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// packed is how many events share a commit in replay/packed20.
const packed = 20

// packedCase replays as many events, in a log of their own.
func packedCase() *benchCase {
	var how reader
	var dir string
	return &benchCase{
		name: "replay/packed20", about: "20 events a commit, decoded by methods, through Feed.Commits, against an ordered consumer at its best that decodes nothing, one event a message",
		unit: unitEvents,
		setup: func(ctx context.Context, e *env) (err error) {
			if how, err = e.bestReader(ctx); err != nil {
				return err
			}
			if _, err = e.log(ctx); err != nil {
				return err
			}
			dir = filepath.Join(e.dir, "packed")
			return fillPacked(ctx, dir, e.events, e.keys)
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) {
			s, err := replayDir(ctx, dir, c, decodePosted)
			s.bytes = 0 // an envelope around them: not comparable
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawReplay(ctx, e, c, how) },
		note: func() string { return how.String() },
	}
}

// fillPacked makes a log of n events, 20 of one key in each commit.
func fillPacked(ctx context.Context, dir string, n, keys int) error {
	o, err := openOurs(ctx, dir)
	if err != nil {
		return err
	}
	defer o.close()
	var last *eventlog.Pending
	for i := 0; i < n; i += packed {
		d := eventlog.Draft{Key: keyOf(i/packed, keys)}
		for j := i; j < i+packed; j++ {
			d.Events = append(d.Events, eventOf(j, keys))
		}
		if last, err = o.feed.AppendAsync(ctx, d); err != nil {
			return err
		}
	}
	_, err = last.Wait(ctx)
	return err
}

// clusterReplayCase replays a log that three servers keep.
func clusterReplayCase() *benchCase {
	how := reader{by: tcp, pull: 20_000}
	return &benchCase{
		name: "replay/r3", about: "three-node cluster on loopback: the whole log through Feed.Commits, against an ordered consumer there (Consume, 20,000 ahead)",
		unit: unitEvents,
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			err = withFilledCluster(ctx, e, func(_ string, o *ours) error {
				s, err = o.replay(ctx, c, nil)
				return err
			})
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			err = withFilledCluster(ctx, e, func(urls string, _ *ours) error {
				r, err := rawAt(urls, e.stream)
				if err != nil {
					return err
				}
				defer r.close()
				s, err = r.count(ctx, c, how, clusterEvents(e))
				return err
			})
			return s, err
		},
		note: how.String,
	}
}

// clusterEvents is how long the cluster's log is: filling it takes long.
func clusterEvents(e *env) int { return 3 * e.many }

func withFilledCluster(ctx context.Context, e *env, f func(urls string, o *ours) error) error {
	return withCluster(ctx, e, func(urls string) error {
		o, err := openOursAt(ctx, eventlog.Options{App: appName, URL: urls, Replicas: replicas})
		if err != nil {
			return err
		}
		defer o.close()
		if err := fill(ctx, o.feed, 0, clusterEvents(e), e.keys); err != nil {
			return err
		}
		return f(urls, o)
	})
}

// memoryLimit is what a replay may need above what is there before, in MB.
const memoryLimit = 100

// memoryCase measures how much the heap grows while the log is replayed, the
// server in the same process included.
func memoryCase() *benchCase {
	how := reader{by: tcp, pull: 20_000}
	grown := func(s sample, peak func() float64, err error) (sample, error) {
		mb := peak()
		s.values = []float64{mb}
		if err == nil && mb > memoryLimit {
			err = fmt.Errorf("the heap grew by %.0f MB: at most %d", mb, memoryLimit)
		}
		return s, err
	}
	return &benchCase{
		name: "replay/memory", about: "by how much the heap in use grows at most while the whole log is replayed through Feed.Commits, against an ordered consumer (Consume, 20,000 ahead)",
		unit: "MB",
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) {
			dir, err := e.log(ctx)
			if err != nil {
				return sample{}, err
			}
			peak := watchHeap()
			s, err := replayDir(ctx, dir, c, decodePosted)
			return grown(s, peak, err)
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) {
			if _, err := e.log(ctx); err != nil {
				return sample{}, err
			}
			peak := watchHeap()
			s, err := rawReplay(ctx, e, c, how)
			s.values = []float64{peak()}
			return s, err
		},
		note: how.String,
	}
}

// watchHeap looks at how much of the heap the garbage collector finds in use,
// from now on; what it returns says in MB by how much that grew at most. How
// much garbage there is beside it is the collector's choice (GOGC).
func watchHeap() (peak func() float64) {
	size := func() float64 {
		s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(s)
		return float64(s[0].Value.Uint64())
	}
	before := size()
	stop, result := make(chan struct{}), make(chan float64)
	go func() {
		most := before
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, size())
			case <-stop:
				result <- max(0.1, (most-before)/1e6) // a short replay may see no collection
				return
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-result
	}
}

package main

import (
	"context"
	"sync"

	"github.com/tidemark-es/tidemark/eventlog"
)

// appendLoad is one shape of appending, which both sides carry out.
type appendLoad struct {
	callers int
	exact   bool             // each append expects its key's last sequence
	total   func(e *env) int // appends, of all callers
	// durability is what ours waits for.
	durability eventlog.Durability
}

// An appender stores event i, of the given key, and returns its sequence. The
// last sequence of the key is the one that its caller knows.
type appender func(ctx context.Context, i, key int, last uint64) (seq uint64, err error)

func appendCases() []*benchCase {
	one := func(e *env) int { return e.one }
	many := func(e *env) int { return e.many }
	return []*benchCase{
		appendCase("append/sync", "1 caller: Feed.Append (ExpectAny) against js.Publish with Nats-Msg-Id",
			appendLoad{callers: 1, total: one}, waiting),
		appendCase("append/64", "64 callers: Feed.Append (ExpectAny) against js.Publish from 64 goroutines",
			appendLoad{callers: 64, total: many}, waiting),
		appendCase("append/64-async", "64 callers: Feed.Append (ExpectAny) against PublishMsgAsync and its future from 64 goroutines, the fastest way that nats.go has",
			appendLoad{callers: 64, total: many}, futures),
		appendCase("append/64-occ", "64 callers with keys of their own: Feed.Append (ExpectSeq) against js.Publish with Nats-Expected-Last-Subject-Sequence",
			appendLoad{callers: 64, exact: true, total: many}, waiting),
		batchCase(),
		syncedCase(),
		remoteCase(),
		clusterCase(),
	}
}

func appendCase(name, about string, l appendLoad, ways func() []publisher) *benchCase {
	var how publisher
	return &benchCase{
		name: name, about: about, unit: unitCommits,
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = fastest(ctx, e, name, ways(), func(ctx context.Context, e *env, how publisher) (float64, error) {
				s, err := rawAppends(ctx, e, &clock{}, l, how)
				return s.rate(), err
			})
			return err
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourAppends(ctx, e, c, l) },
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawAppends(ctx, e, c, l, how) },
		note: func() string { return how.String() },
	}
}

// run appends: a tenth untimed, to warm up, then all of them timed. It
// returns how many appends there were, those of the warm-up too.
func (l appendLoad) run(ctx context.Context, e *env, c *clock, do appender) (stored uint64, err error) {
	each := l.total(e) / l.callers
	warm := max(1, each/10)
	// heads[key] belongs to the caller whose key it is.
	heads := make([]uint64, e.keys)
	if err := l.appendAll(ctx, e, heads, 0, warm, do); err != nil {
		return 0, err
	}
	if err := c.start(); err != nil {
		return 0, err
	}
	if err := l.appendAll(ctx, e, heads, warm, each, do); err != nil {
		return 0, err
	}
	return uint64((warm + each) * l.callers), c.stop()
}

// appendAll lets each caller do n appends, over its own keys in turn: caller
// k has the keys k, k+callers, k+2*callers and so on.
func (l appendLoad) appendAll(ctx context.Context, e *env, heads []uint64, from, n int, do appender) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for k := range l.callers {
		wg.Go(func() {
			own := (e.keys - k + l.callers - 1) / l.callers
			for j := from; j < from+n; j++ {
				key := k + l.callers*(j%own)
				seq, err := do(ctx, j*l.callers+k, key, heads[key])
				if err != nil {
					cancel(err)
					return
				}
				heads[key] = seq
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// timed is how many of them were timed.
func (l appendLoad) timed(e *env) int { return l.total(e) / l.callers * l.callers }

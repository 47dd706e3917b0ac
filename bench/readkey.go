package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
)

// keyCases read one key's events, all over the log, on a server that was
// just started: the first time, and again.
func keyCases() []*benchCase {
	const name = "read/key"
	return []*benchCase{{
		name: name, about: "one key's events among all others, on a server that was just started, and the same again (median of 20): Feed.Commits with OfKey, against an ordered consumer with a filter",
		figures: []figure{{name: name, unit: unitMillis, ratio: baselineByOurs}, {name: name + "-again", unit: unitMillis, ratio: baselineByOurs}},
		ours:    ourKey,
		base:    rawKey,
		note:    func() string { return "ordered Messages, " + string(pipe) },
	}}
}

const keyAgain = 20

// readKeys reads a key once, and again.
func readKeys(e *env, c *clock, read func(n int) (size uint64, err error)) (s sample, err error) {
	n := e.events / e.keys
	if err := c.start(); err != nil {
		return s, err
	}
	var again []float64
	for i := range 1 + keyAgain {
		begun := time.Now()
		size, err := read(n)
		if err != nil {
			return s, err
		}
		took := millis(time.Since(begun))
		if i == 0 {
			s.values = append(s.values, took)
		} else {
			again = append(again, took)
		}
		s.count += uint64(n)
		s.bytes += size
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	s.values = append(s.values, quantile(again, 0.5))
	return s, nil
}

func ourKey(ctx context.Context, e *env, c *clock) (s sample, err error) {
	o, err := e.openLog(ctx)
	if err != nil {
		return s, err
	}
	defer o.close()
	key := keyOf(e.keys/2, e.keys)
	return readKeys(e, c, func(n int) (size uint64, err error) {
		got := 0
		for cm, err := range o.feed.Commits(ctx, eventlog.OfKey(key)) {
			if err != nil {
				return size, err
			}
			got++
			size += uint64(cm.Size())
		}
		if got != n {
			err = fmt.Errorf("read %d events of %s, not %d", got, key, n)
		}
		return size, err
	})
}

func rawKey(ctx context.Context, e *env, c *clock) (s sample, err error) {
	r, err := e.openRawLog(ctx, pipe)
	if err != nil {
		return s, err
	}
	defer r.close()
	subject := r.prefix() + keyOf(e.keys/2, e.keys)
	return readKeys(e, c, func(n int) (size uint64, err error) {
		cons, err := r.js.OrderedConsumer(ctx, r.config.Name, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
		if err != nil {
			return 0, err
		}
		defer func() { _ = r.js.DeleteConsumer(ctx, r.config.Name, cons.CachedInfo().Name) }()
		err = readMessages(ctx, cons, n, n, func(m jetstream.Msg) error {
			size += uint64(len(m.Data()))
			return nil
		})
		return size, err
	})
}

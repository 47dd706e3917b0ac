package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
)

// follower is a way to follow a stream with nats.go.
type follower struct {
	by  transport
	way string
}

const (
	byConsume  = "ordered Consume"
	byMessages = "ordered Messages"
	byPush     = "push consumer"
)

func (f follower) String() string { return f.way + ", " + string(f.by) }

func followers() (all []follower) {
	for _, by := range []transport{pipe, tcp} {
		for _, way := range []string{byConsume, byMessages, byPush} {
			all = append(all, follower{by, way})
		}
	}
	return all
}

func followCases() []*benchCase {
	const name = "follow/latency"
	var how follower
	return []*benchCase{{
		name: name, about: "from the call of append to the follower having the event, one event at a time, p50 and p99: Feed.Append and Reader with Follow, against js.PublishMsg and the fastest consumer",
		figures: []figure{{name: name, unit: unitMillis}, {name: name + "-p99", unit: unitMillis}},
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = fastest(ctx, e, name, followers(), func(ctx context.Context, e *env, f follower) (float64, error) {
				s, err := rawFollow(ctx, e, &clock{}, f)
				return 1000 / s.rate(), err // a second by the latency
			})
			return err
		},
		ours: ourFollow,
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawFollow(ctx, e, c, how) },
		note: func() string { return how.String() },
	}}
}

// latencies appends one event after another, each when the one before was
// seen, and measures from the call to when the follower had it. The first
// tenth is to warm up.
func latencies(ctx context.Context, e *env, c *clock, do func(i int) error, seen <-chan time.Time) (s sample, err error) {
	warm := e.follow / 10
	took := make([]float64, 0, e.follow)
	for i := range warm + e.follow {
		if i == warm {
			if err := c.start(); err != nil {
				return s, err
			}
		}
		begun := time.Now()
		if err := do(i); err != nil {
			return s, err
		}
		select {
		case at, ok := <-seen:
			if !ok {
				return s, fmt.Errorf("the follower ended before event %d", i)
			}
			if i >= warm {
				took = append(took, millis(at.Sub(begun)))
			}
			s.count++
		case <-ctx.Done():
			return s, context.Cause(ctx)
		}
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	s.values = []float64{quantile(took, 0.5), quantile(took, 0.99)}
	return s, nil
}

func ourFollow(ctx context.Context, e *env, c *clock) (s sample, err error) {
	o, done, err := freshOurs(ctx, e)
	if err != nil {
		return s, err
	}
	defer done()
	r, err := o.feed.NewReader(ctx, eventlog.Follow())
	if err != nil {
		return s, err
	}
	reading, cancel := context.WithCancel(ctx)
	seen, ended := make(chan time.Time, 1), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(seen)
		defer r.Close()
		for {
			batch, err := r.Next(reading)
			if err != nil {
				return
			}
			for range batch {
				seen <- time.Now()
			}
		}
	}()
	defer func() {
		cancel()
		<-ended
	}()
	keys, events := madeBefore(e)
	return latencies(ctx, e, c, func(i int) error {
		_, err := o.feed.Append(ctx, keys[i%len(keys)], eventlog.ExpectAny, events[i%len(events)])
		return err
	}, seen)
}

func rawFollow(ctx context.Context, e *env, c *clock, how follower) (s sample, err error) {
	r, done, err := freshRaw(ctx, e, how.by)
	if err != nil {
		return s, err
	}
	defer done()
	seen := make(chan time.Time, 1)
	stop, err := r.follow(ctx, how.way, seen)
	if err != nil {
		return s, err
	}
	defer stop()
	subjects, payloads, err := encodedBefore(e, r)
	if err != nil {
		return s, err
	}
	return latencies(ctx, e, c, func(i int) error {
		_, err := r.js.PublishMsg(ctx, rawMsg(subjects[i%len(subjects)], payloads[i%len(payloads)]))
		return err
	}, seen)
}

// follow says on seen when each message comes.
func (r *raw) follow(ctx context.Context, way string, seen chan<- time.Time) (stop func(), err error) {
	took := func(jetstream.Msg) { seen <- time.Now() }
	if way == byPush {
		cons, err := r.js.CreatePushConsumer(ctx, r.config.Name, jetstream.ConsumerConfig{
			DeliverSubject: r.nc.NewInbox(), AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
		})
		if err != nil {
			return nil, err
		}
		cc, err := cons.Consume(took)
		if err != nil {
			return nil, err
		}
		return cc.Stop, nil
	}
	cons, err := r.js.OrderedConsumer(ctx, r.config.Name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	if way == byConsume {
		cc, err := cons.Consume(took)
		if err != nil {
			return nil, err
		}
		return cc.Stop, nil
	}
	it, err := cons.Messages()
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := it.Next()
			if err != nil {
				return
			}
			took(m)
		}
	}()
	return func() {
		it.Stop()
		<-ended
	}, nil
}

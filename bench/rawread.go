package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// reader is a way to read a whole stream with nats.go's ordered consumer.
type reader struct {
	by       transport
	messages bool // Messages and Next, instead of Consume
	pull     int  // PullMaxMessages
}

func (r reader) String() string {
	way := "Consume"
	if r.messages {
		way = "Messages"
	}
	return fmt.Sprintf("ordered %s, %d ahead, %s", way, r.pull, r.by)
}

// readers are all the ways, the usual winner first.
func readers() (all []reader) {
	for _, by := range []transport{tcp, pipe} {
		for _, messages := range []bool{false, true} {
			for _, pull := range []int{20_000, 5_000, 500} {
				all = append(all, reader{by, messages, pull})
			}
		}
	}
	return all
}

// bestReader finds out which way is the fastest on this machine, once a run.
func (e *env) bestReader(ctx context.Context) (reader, error) {
	if e.reader != nil {
		return *e.reader, nil
	}
	if _, err := e.log(ctx); err != nil {
		return reader{}, err
	}
	best, err := fastest(ctx, e, "replay", readers(), func(ctx context.Context, e *env, how reader) (float64, error) {
		s, err := rawReplay(ctx, e, &clock{}, how)
		return s.rate(), err
	})
	if err == nil {
		e.reader = &best
	}
	return best, err
}

// read hands the first n messages of the stream to take, in order.
func (r *raw) read(ctx context.Context, how reader, n int, take func(jetstream.Msg) error) error {
	cons, err := r.js.OrderedConsumer(ctx, r.config.Name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	if how.messages {
		return readMessages(ctx, cons, how.pull, n, take)
	}
	return readConsume(ctx, cons, how.pull, n, take)
}

func readConsume(ctx context.Context, cons jetstream.Consumer, pull, n int, take func(jetstream.Msg) error) error {
	done := make(chan error, 1)
	end := func(err error) {
		select {
		case done <- err:
		default:
		}
	}
	got := 0
	cc, err := cons.Consume(func(m jetstream.Msg) {
		if got++; got > n {
			return
		}
		if err := take(m); err != nil {
			end(err)
		}
		if got == n {
			end(nil)
		}
	}, jetstream.PullMaxMessages(pull), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { end(err) }))
	if err != nil {
		return err
	}
	defer cc.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func readMessages(ctx context.Context, cons jetstream.Consumer, pull, n int, take func(jetstream.Msg) error) error {
	it, err := cons.Messages(jetstream.PullMaxMessages(pull))
	if err != nil {
		return err
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for range n {
		m, err := it.Next()
		if ctx.Err() != nil && errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if err := take(m); err != nil {
			return err
		}
	}
	return nil
}

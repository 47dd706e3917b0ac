package main

import (
	"context"
	"fmt"
	"os"
)

// openCases time the opening of the log alone, without any projection.
func openCases() []*benchCase {
	var clean, killed string
	return []*benchCase{
		{
			name: "restart/open-clean", about: "eventlog.Open of the log after an orderly stop, against starting nats-server on it and connecting",
			unit: unitMillis,
			setup: func(ctx context.Context, e *env) (err error) {
				clean, err = e.log(ctx)
				return err
			},
			ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourOpening(ctx, clean, c) },
			base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawOpening(ctx, e, clean, c) },
		},
		{
			name: "restart/open-kill", about: "eventlog.Open of the log after its writer got SIGKILL, against starting nats-server on it and connecting",
			unit: unitMillis,
			setup: func(ctx context.Context, e *env) (err error) {
				if killed, err = os.MkdirTemp(e.dir, "killed-"); err != nil {
					return err
				}
				return fillAndKill(ctx, killed, e.events, e.keys)
			},
			ours: func(ctx context.Context, e *env, c *clock) (sample, error) {
				return onCopy(e, killed, func(dir string) (sample, error) { return ourOpening(ctx, dir, c) })
			},
			base: func(ctx context.Context, e *env, c *clock) (sample, error) {
				return onCopy(e, killed, func(dir string) (sample, error) { return rawOpening(ctx, e, dir, c) })
			},
		},
	}
}

// onCopy works on a copy of a directory: opening a log mends it.
func onCopy(e *env, of string, work func(dir string) (sample, error)) (s sample, err error) {
	dir, remove, err := e.fresh("copy")
	if err != nil {
		return s, err
	}
	defer remove()
	if err := copyTree(dir, of); err != nil {
		return s, err
	}
	return work(dir)
}

func ourOpening(ctx context.Context, dir string, c *clock) (s sample, err error) {
	if err := c.start(); err != nil {
		return s, err
	}
	o, err := openOurs(ctx, dir)
	if err != nil {
		return s, err
	}
	defer o.close()
	st, err := o.feed.State(ctx)
	if err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	return sample{values: []float64{c.millis()}, count: st.Messages, bytes: st.Bytes}, nil
}

func rawOpening(ctx context.Context, e *env, dir string, c *clock) (s sample, err error) {
	if err := c.start(); err != nil {
		return s, err
	}
	r, err := openRaw(ctx, dir, pipe, e.stream)
	if err != nil {
		return s, err
	}
	defer r.close()
	st, err := r.state(ctx)
	if err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	if st.LastSeq != st.Msgs {
		return s, fmt.Errorf("%d messages, the last has number %d", st.Msgs, st.LastSeq)
	}
	return sample{values: []float64{c.millis()}, count: st.Msgs, bytes: st.Bytes}, nil
}

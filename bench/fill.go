package main

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
)

// fill appends n events from event number from on, as fast as the writer
// takes them, and returns when all are acknowledged.
func fill(ctx context.Context, feed *eventlog.Feed, from, n, keys int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	flying := make(chan *eventlog.Pending, 8192)
	settled := make(chan error, 1)
	go func() {
		var first error
		for p := range flying {
			if _, err := p.Wait(ctx); err != nil && first == nil {
				first = err
				cancel(err)
			}
		}
		settled <- first
	}()
	err := submit(ctx, feed, from, n, keys, flying)
	close(flying)
	if lost := <-settled; lost != nil {
		return lost
	}
	if err != nil {
		return err
	}
	st, err := feed.State(ctx)
	if err == nil && st.Last != uint64(from+n) {
		err = fmt.Errorf("the log has %d events, not %d", st.Last, from+n)
	}
	return err
}

func submit(ctx context.Context, feed *eventlog.Feed, from, n, keys int, flying chan<- *eventlog.Pending) error {
	for i := from; i < from+n; i++ {
		p, err := feed.AppendAsync(ctx, eventlog.Draft{Key: keyOf(i, keys), Events: []any{eventOf(i, keys)}})
		if err != nil {
			return err
		}
		flying <- p
	}
	return nil
}

package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/internal/grace"
	"github.com/tidemark-es/tidemark/internal/panics"
)

const releaseTimeout = 2 * time.Second

// Hold runs f while the name is held, and again after each loss, until f
// returns by itself; its error is returned, and a panic as one. f's context
// ends when the lease is lost, with the reason as its cause: f must return
// then. Another process may begin at that moment, so guard what f writes by
// the lease's epoch. The lease is released before Hold returns.
func (m *Manager) Hold(ctx context.Context, name string, f func(ctx context.Context, l *Lease) error) error {
	for {
		l, err := m.Acquire(ctx, name)
		if err != nil {
			return err
		}
		err = l.run(ctx, f)
		lost := errors.Is(l.Err(), ErrLost)
		rctx, done := grace.After(ctx, releaseTimeout)
		if err := l.Release(rctx); err != nil {
			m.opts.Logger.Warn().Err(err).Str("lease", name).Msg("lease not released: the others wait until it expires")
		}
		done()
		if lost && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("lease %q: %w", name, err)
		}
		return nil
	}
}

// run runs f once, with a context that ends with the lease.
func (l *Lease) run(ctx context.Context, f func(ctx context.Context, l *Lease) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-l.done:
			cancel(l.Err())
		case <-ctx.Done():
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic at %s: %v", panics.Place(), p)
		}
		cancel(nil)
		<-watched
	}()
	return f(ctx, l)
}

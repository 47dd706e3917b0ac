package projection

import (
	"context"
	"fmt"
)

// Need wakes Lazy tables, waits until they have applied what the log held
// then, and keeps them awake until release is called, which may be done more
// than once. Tables that aren't Lazy are waited for as well, when they are
// still catching up.
//
// Errors: a *StoppedError where one has stopped; those of a start where one
// can't be restored; ErrInvalid where one isn't of this runtime; ErrClosed; and
// the context's. Then nothing is held.
func (rt *Runtime) Need(ctx context.Context, ps ...Projection) (release func(), err error) {
	var held []func()
	all := func() {
		for _, r := range held {
			r()
		}
	}
	defer func() {
		if err != nil {
			all()
		}
	}()
	var nodes []*node
	for _, p := range ps {
		if p == nil {
			continue
		}
		_, ns := p.projections()
		for _, n := range ns {
			u := n.unitOf()
			if u == nil || u.rt != rt {
				return nil, fmt.Errorf("projection: need of %q: %w: it isn't of this runtime", n.name, ErrInvalid)
			}
			tries := u.tries()
			if n.lazy != nil {
				held = append(held, n.lazy.hold())
			}
			if err := u.awaitAwake(ctx, n, tries); err != nil {
				return nil, fmt.Errorf("projection: need of %q: %w", n.name, err)
			}
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("projection: need: %w: no projection", ErrInvalid)
	}
	return all, nil
}

func (u *unit) tries() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.naps == nil {
		return 0
	}
	return u.naps.tries
}

// awaitAwake waits until a unit is awake and has caught up. tries are those
// from before it was needed.
func (u *unit) awaitAwake(ctx context.Context, n *node, tries int) error {
	for {
		u.mu.Lock()
		stopped, closed := n.stopped, u.closed
		asleep := u.asleepLocked(n)
		done := !asleep && u.isCaught && (u.naps == nil || !u.naps.ending)
		var failed error
		if asleep && u.naps != nil && u.naps.tries > tries {
			failed = u.naps.err
		}
		woken := u.waiters
		u.waiting++
		u.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case stopped != nil:
			return stopped
		case failed != nil:
			return failed
		case done:
			return nil
		}
		if err := u.untilWoken(ctx, n, woken); err != nil {
			return err
		}
	}
}

func (u *unit) untilWoken(ctx context.Context, n *node, woken <-chan struct{}) error {
	defer u.awaited("Runtime.Need", n.name)()
	select {
	case <-woken:
		return nil
	case <-u.rt.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

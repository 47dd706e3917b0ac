package projection

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Wait returns when every projection that reads the position's feed has
// applied the commit there: what is read from their tables then includes it
// (read your own write). Lazy ones that nobody needs aren't waited for.
//
// Errors: a *StoppedError where one of them has stopped before; ErrNotRead
// where none reads the feed; ErrClosed; and the context's.
func (rt *Runtime) Wait(ctx context.Context, at eventlog.Position) error {
	read := false
	for _, u := range rt.units {
		if u.beside() {
			continue
		}
		for _, n := range u.nodes {
			if n.feeds[at.Feed] == nil {
				continue
			}
			read = true // where it sleeps, nobody needs it
			if err := u.wait(ctx, n, at); err != nil {
				return err
			}
		}
	}
	if !read {
		return fmt.Errorf("projection: wait for %s: %w by anything that was started", at, ErrNotRead)
	}
	return nil
}

// wait waits for one node.
func (u *unit) wait(ctx context.Context, n *node, at eventlog.Position) error {
	for {
		u.mu.Lock()
		pos, stopped, closed := n.pos[at.Feed], n.stopped, u.closed
		if u.naps != nil && u.naps.asleep && !closed {
			u.mu.Unlock()
			return nil
		}
		if pos < at.Seq && stopped == nil && !closed {
			u.waiting++
		}
		woken := u.waiters
		u.mu.Unlock()
		switch {
		case pos >= at.Seq:
			return nil
		case stopped != nil:
			return stopped
		case closed:
			return fmt.Errorf("projection: wait for %s: %w", at, ErrClosed)
		}
		over := u.awaited("Wait", n.name)
		select {
		case <-woken:
			over()
		case <-ctx.Done():
			over()
			return fmt.Errorf("projection: %q is at %d and waits for %s: %w", n.name, pos, at, context.Cause(ctx))
		}
	}
}

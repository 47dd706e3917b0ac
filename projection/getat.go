package projection

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// GetAt is Get together with what the value includes: the feed's commits up to
// seq and no other, of one moment. A decision on it can therefore be appended
// on the condition that its key's last commit is not beyond seq (package
// command does). While the table is restored or catches up after its start,
// it includes nothing: no value, at 0.
//
// What the table has skipped by its FailurePolicy counts as included; where
// commits of the key, as text, are parked, the value lacks them, and that is
// an ErrParked.
//
// Errors: a *StoppedError; ErrParked; ErrNotRead where the table doesn't derive
// from the feed; ErrInvalid where it isn't started; ErrClosed.
func (t *Table[K, V]) GetAt(key K, feed string) (v V, ok bool, seq uint64, err error) {
	t.n.lazy.touch()
	// Looked for before and behind, since a parked commit is handled again at
	// any time; the rows' lock can't be held meanwhile (lockAll has an order).
	if err := t.n.parkedAt(feed, key); err != nil {
		return v, false, 0, err
	}
	v, ok, seq, err = t.getAt(key, feed)
	if err == nil {
		err = t.n.parkedAt(feed, key)
	}
	if err != nil {
		var none V
		return none, false, 0, err
	}
	return v, ok, seq, nil
}

func (t *Table[K, V]) getAt(key K, feed string) (v V, ok bool, seq uint64, err error) {
	t.mu.read(t.n, "Table.GetAt")
	defer t.mu.RUnlock()
	seq, whole, err := t.n.includes(feed)
	if err != nil || !whole {
		return v, false, 0, err
	}
	if r := t.rows[key]; r != nil {
		v, ok = r.value, true
	}
	return v, ok, seq, nil
}

// parkedAt is an ErrParked where commits of a key are set aside, here or by a
// table that is read. There are few, so they are looked through.
func (n *node) parkedAt(feed string, key any) error {
	for _, e := range n.ups {
		if err := e.from.parkedAt(feed, key); err != nil {
			return err
		}
	}
	if n.park == nil {
		return nil
	}
	aside := n.park.t
	aside.mu.read(aside.n, "Table.GetAt")
	defer aside.mu.RUnlock()
	if len(aside.rows) == 0 {
		return nil
	}
	name := fmt.Sprint(key)
	for _, r := range aside.rows {
		if v := &r.value; !v.Skipped && v.Feed == feed && v.Key == name {
			return fmt.Errorf("projection: %q: %s of %s@%d: %w: see Runtime.Parked", n.name, name, feed, v.Seq, ErrParked)
		}
	}
	return nil
}

// WaitFor returns when the table has applied the commit at a position: GetAt
// then includes it.
//
// Errors: those of GetAt, and the context's.
func (t *Table[K, V]) WaitFor(ctx context.Context, at eventlog.Position) error {
	return t.n.waitFor(ctx, at)
}

// GetAt is Table.GetAt.
func (p *Partitioned[V]) GetAt(key, feed string) (v V, ok bool, seq uint64, err error) {
	return p.part(key).GetAt(key, feed)
}

// WaitFor is Table.WaitFor.
func (p *Partitioned[V]) WaitFor(ctx context.Context, at eventlog.Position) error {
	return p.n.waitFor(ctx, at)
}

// At is the timeframe of what the table includes; empty before its start.
func (t *Table[K, V]) At() timeframe.Timeframe { return timeframeOf(t.n.position()) }

// includes is the last sequence of a feed that the rows include, where they
// are whole: caught up with what was there at the start. Who wants both has
// locked the rows.
func (n *node) includes(feed string) (seq uint64, whole bool, err error) {
	u := n.unitOf()
	if u == nil {
		return 0, false, fmt.Errorf("projection: %q: %w: it isn't started: give it to projection.Start", n.name, ErrInvalid)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case n.feeds[feed] == nil:
		return 0, false, fmt.Errorf("projection: %q: feed %q: %w by it", n.name, feed, ErrNotRead)
	case n.stopped != nil:
		return 0, false, n.stopped
	case u.closed:
		return 0, false, fmt.Errorf("projection: %q: %w", n.name, ErrClosed)
	}
	return n.pos[feed], u.isCaught && !n.dormant, nil
}

func (n *node) waitFor(ctx context.Context, at eventlog.Position) error {
	if n.lazy != nil {
		defer n.lazy.hold()()
	}
	for {
		seq, whole, err := n.includes(at.Feed)
		if err != nil || (whole && seq >= at.Seq) {
			return err
		}
		if err := n.unitOf().wait(ctx, n, at); err != nil {
			return err
		}
		over := n.unitOf().awaited("WaitFor", n.name)
		select {
		case <-n.settled():
			over()
		case <-ctx.Done():
			over()
			return fmt.Errorf("projection: %q waits for %s: %w", n.name, at, context.Cause(ctx))
		}
	}
}

// settled returns a channel that is closed when the node has caught up, or its
// unit goes on.
func (n *node) settled() <-chan struct{} {
	u := n.unitOf()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.isCaught && !n.dormant || u.closed {
		return closedChan
	}
	u.waiting++
	return u.waiters
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

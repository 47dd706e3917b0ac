//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// crew is several writers that go on through outages, until told to end.
type crew struct {
	book    *eventlog.Feed
	stop    context.CancelFunc
	wg      sync.WaitGroup
	acked   atomic.Int64
	open    atomic.Int64 // appends that haven't returned
	retried atomic.Int64 // appends whose outcome was ambiguous
	refused atomic.Int64 // appends of which nothing was stored, or that conflicted

	mu     sync.Mutex
	claims []claim
	err    error
}

// member is what one writer does: its n-th append to a key that was last seen
// at prev.
type member func(ctx context.Context, c *crew, writer string, n int) (claim, error)

// hire starts a writer for each member.
func hire(ctx context.Context, book *eventlog.Feed, members ...member) *crew {
	return hireAs(ctx, "w", book, members...)
}

// hireAs is hire with the beginning of the writers' names.
func hireAs(ctx context.Context, name string, book *eventlog.Feed, members ...member) *crew {
	// Ended between two appends, never within one: an outcome that nobody
	// waited for would be neither a claim nor absent.
	ending, stop := context.WithCancel(ctx)
	c := &crew{book: book, stop: stop}
	for i, m := range members {
		c.wg.Go(func() {
			writer := fmt.Sprintf("%s%d", name, i)
			for n := 1; ending.Err() == nil; n++ {
				done, err := m(ctx, c, writer, n)
				c.mu.Lock()
				if err != nil {
					c.err = errors.Join(c.err, fmt.Errorf("append %d of %s: %w", n, writer, err))
					c.mu.Unlock()
					return
				}
				c.claims = append(c.claims, done)
				c.mu.Unlock()
				c.acked.Add(1)
			}
		})
	}
	return c
}

// awaitMore waits until n more appends were acknowledged.
func (c *crew) awaitMore(ctx context.Context, t testing.TB, n int64) {
	t.Helper()
	from := c.acked.Load()
	await(ctx, t, fmt.Sprintf("%d more appends", n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil {
			t.Fatal(c.err)
		}
		return c.acked.Load() >= from+n
	})
}

// sofar is what the writers have been told until now.
func (c *crew) sofar() []claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.claims)
}

// awaitTrouble waits until writers notice that the server is away.
func (c *crew) awaitTrouble(ctx context.Context, t testing.TB, n int64) {
	t.Helper()
	from := c.refused.Load() + c.retried.Load()
	await(ctx, t, "the writers notice", func() bool { return c.refused.Load()+c.retried.Load() >= from+n })
}

// awaitOpen waits until appends are under way that no server answers: n of
// them are open, and nothing is acknowledged for a while.
func (c *crew) awaitOpen(ctx context.Context, t testing.TB, n int64) {
	t.Helper()
	last, since := int64(-1), time.Now()
	await(ctx, t, "the writers wait", func() bool {
		if acked := c.acked.Load(); acked != last || c.open.Load() < n {
			last, since = acked, time.Now()
		}
		return time.Since(since) > 50*time.Millisecond
	})
}

// end lets the writers finish and returns what they were told.
func (c *crew) end(t testing.TB) []claim {
	t.Helper()
	c.stop()
	c.wg.Wait()
	if c.err != nil {
		t.Error(c.err)
	}
	t.Logf("%d appends acknowledged, %d of them were ambiguous first; %d tries came to nothing", len(c.claims), c.retried.Load(), c.refused.Load())
	return c.claims
}

// settle appends until it is known what became of it. What is ambiguous is
// sent again with the same ID; what was not stored, as if for the first time.
func (c *crew) settle(ctx context.Context, d eventlog.Draft) (eventlog.Position, error) {
	for {
		c.open.Add(1)
		pos, err := c.book.AppendDraft(ctx, d)
		c.open.Add(-1)
		ambiguous, ok := errors.AsType[*eventlog.AmbiguousError](err)
		switch {
		case ok && ctx.Err() == nil:
			c.retried.Add(1)
			d.ID = ambiguous.ID
		case errors.Is(err, eventlog.ErrUnavailable) && ctx.Err() == nil:
			c.refused.Add(1)
			breathe(ctx)
		default:
			return pos, err
		}
	}
}

// breathe lets some time pass between two tries, as any caller would.
func breathe(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

// plain appends whatever the key's state is, with an ID made for it.
func plain(ctx context.Context, c *crew, writer string, n int) (claim, error) {
	d := draft(writer, n, 1+n%3, 20)
	pos, err := c.settle(ctx, d)
	return claim{writer, n, d.Key, pos.Seq}, err
}

// actor appends with an ID of its own.
func actor(ctx context.Context, c *crew, writer string, n int) (claim, error) {
	writer = identifiedPrefix + writer
	d := identified(writer, n)
	pos, err := c.settle(ctx, d)
	return claim{writer, n, d.Key, pos.Seq}, err
}

// careful appends to one of a few keys on the condition that the key is where
// it was read, and reads again where it was not.
func careful(keys int) member {
	return func(ctx context.Context, c *crew, writer string, n int) (claim, error) {
		key := fmt.Sprintf("few%d", n%keys)
		for try := 0; ; try++ {
			head, ok, err := c.book.Head(ctx, key)
			if err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
				return claim{}, err
			}
			if err != nil {
				c.refused.Add(1)
				breathe(ctx)
				continue
			}
			var prev uint64
			if ok {
				prev = head.Seq
			}
			pos, err := c.settle(ctx, eventlog.Draft{
				Key: key, Expect: eventlog.ExpectSeq(prev),
				// What is sent again is looked for in what came since: reading
				// all of a few keys' histories takes longer than a short
				// ResolveTimeout on a slow machine, each time anew.
				After:  prev,
				Events: []any{added{Writer: writer, N: n, Prev: prev, Part: 1, Of: 1}},
			})
			if errors.Is(err, eventlog.ErrConflict) && ctx.Err() == nil {
				c.refused.Add(1)
				continue
			}
			return claim{writer, n, key, pos.Seq}, err
		}
	}
}

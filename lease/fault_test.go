package lease_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/lease"
)

var errCut = errors.New("cut off")

// cut is a bucket that can be cut off, or whose answers can be lost.
type cut struct {
	lease.Store
	mu   sync.Mutex
	off  bool
	lose int // answers of the next writes
}

func (c *cut) wrap(s lease.Store) lease.Store { c.Store = s; return c }

func (c *cut) set(off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
}

func (c *cut) Get(ctx context.Context, key string) (lease.Entry, error) {
	c.mu.Lock()
	off := c.off
	c.mu.Unlock()
	if off {
		return lease.Entry{}, errCut
	}
	return c.Store.Get(ctx, key)
}

func (c *cut) Swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	c.mu.Lock()
	off, lose := c.off, c.lose > 0
	if lose {
		c.lose--
	}
	c.mu.Unlock()
	if off {
		return 0, errCut
	}
	now, err := c.Store.Swap(ctx, key, data, revision)
	if lose && err == nil {
		return 0, errCut
	}
	return now, err
}

// An answer that is lost, of any write, costs nothing but an epoch: the next
// try recognises its own record, and nobody else is let in by it.
func TestLostAnswers(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		c := &cut{lose: 1}
		a := lease.NewForTest(t, lease.Options{App: "app", JetStream: log.JetStream(), TTL: 10 * time.Second}, c.wrap)
		if _, err := a.TryAcquire(t.Context(), "sums"); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		held(t, manager(t, log), "sums")
		l := take(t, a, "sums")
		for range 5 { // of renewals
			c.mu.Lock()
			c.lose = 1
			c.mu.Unlock()
			bubble.Pass(5 * time.Second)
			if !l.Valid() {
				t.Fatal(l.Err())
			}
		}
		c.mu.Lock()
		c.lose = 1
		c.mu.Unlock()
		if err := l.Release(t.Context()); !errors.Is(err, errCut) {
			t.Errorf("release: %v", err)
		}
		next := take(t, manager(t, log), "sums")
		_ = next.Release(t.Context())
	})
}

// A server that is away for less than the TTL costs nothing; for longer, the
// lease is lost before anybody else could have it, and taken again at once
// where nobody did.
func TestAway(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		c := &cut{}
		a := lease.NewForTest(t, lease.Options{App: "app", JetStream: log.JetStream(), TTL: 10 * time.Second}, c.wrap)
		l := take(t, a, "sums")
		c.set(true)
		bubble.Pass(6 * time.Second)
		c.set(false)
		bubble.Pass(time.Minute)
		if !l.Valid() {
			t.Fatal(l.Err())
		}
		c.set(true)
		<-l.Done()
		if !errors.Is(l.Err(), lease.ErrLost) {
			t.Error(l.Err())
		}
		c.set(false)
		again := take(t, a, "sums")
		if again.Epoch() != 2 {
			t.Errorf("epoch %d", again.Epoch())
		}
		_ = again.Release(t.Context())
	})
}

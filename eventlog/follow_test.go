package eventlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// A reader that follows to a sequence ends there, also where the key that it
// reads has nothing at the end.
func TestFollowUntil(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "a", 1)
	type result struct {
		got []uint64
		err error
	}
	results := make(chan result, 2)
	for _, opts := range [][]eventlog.ReadOption{{eventlog.OfKey("a")}, {}} {
		go func() {
			got, err := seqs(ctx, f, append(opts, eventlog.Follow(), eventlog.Until(4))...)
			results <- result{got, err}
		}()
	}
	put(t, f, "b", 2)
	put(t, f, "b", 1)
	for range 2 {
		if r := <-results; r.err != nil || (len(r.got) != 1 && len(r.got) != 4) {
			t.Errorf("read %v, %v", r.got, r.err)
		}
	}
}

// T0.5: events are purged below the cursor while a follower waits: it gets
// exactly the rest.
func TestPurgeBelowFollower(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 10)
	next, stop := follow(ctx, t, f)
	defer stop()
	for want := range uint64(10) {
		next(want + 1)
	}
	purge(t, f, 8)
	put(t, f, "k", 3)
	for want := uint64(11); want <= 13; want++ {
		next(want)
	}
	purge(t, f, 14)
	put(t, f, "k", 1)
	next(14)
}

// follow pulls commits one at a time and checks their sequence.
func follow(ctx context.Context, t testing.TB, f *eventlog.Feed, opts ...eventlog.ReadOption) (next func(uint64), stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	commits := make(chan uint64)
	failed := make(chan error, 1)
	go func() {
		for c, err := range f.Commits(ctx, append(opts, eventlog.Follow())...) {
			if err != nil {
				failed <- err
				return
			}
			select {
			case commits <- c.Seq:
			case <-ctx.Done():
			}
		}
	}()
	return func(want uint64) {
		t.Helper()
		select {
		case got := <-commits:
			if got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
		case err := <-failed:
			t.Fatalf("waiting for %d: %v", want, err)
		}
	}, cancel
}

// T1.13: each later event once, in order, then live; a cancelled watch gets
// nothing more.
func TestFollow(t *testing.T) {
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 30)
	ctx, cancel := context.WithCancelCause(logtest.Context(t))
	defer cancel(nil)
	why := errors.New("enough")
	want := uint64(11)
	for e, err := range f.Read(ctx, eventlog.After(10), eventlog.Follow()) {
		if err != nil {
			if !errors.Is(err, why) || want != 41 {
				t.Errorf("ended with %v before %d", err, want)
			}
			break
		}
		if e.Seq != want {
			t.Fatalf("got %d, want %d", e.Seq, want)
		}
		if want == 30 {
			put(t, f, "k", 100) // live
		}
		if want == 40 {
			cancel(why)
		}
		want++
	}
}

// Nothing comes, so that it is the context alone that ends it.
func TestFollowEndsWithItsContext(t *testing.T) {
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range f.Commits(ctx, eventlog.Follow()) {
		if err == nil {
			time.AfterFunc(10*time.Millisecond, cancel)
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

package lease_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/lease"
)

// The server's clock of access times must belong to no bubble of fake time.
func TestMain(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}

// faked runs f in fake time, with a real server inside.
func faked(t *testing.T, f func(t *testing.T, log *eventlog.Log)) {
	t.Helper()
	dir := t.TempDir()
	bubble.Run(t, func(t *testing.T) {
		log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		f(t, log)
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
}

func manager(t *testing.T, log *eventlog.Log, change ...func(*lease.Options)) *lease.Manager {
	t.Helper()
	o := lease.Options{App: log.App(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), TTL: 10 * time.Second}
	for _, c := range change {
		c(&o)
	}
	m, err := lease.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func take(t *testing.T, m *lease.Manager, name string) *lease.Lease {
	t.Helper()
	l, err := m.TryAcquire(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func held(t *testing.T, m *lease.Manager, name string) *lease.HeldError {
	t.Helper()
	l, err := m.TryAcquire(t.Context(), name)
	e, ok := errors.AsType[*lease.HeldError](err)
	if l != nil || !ok || !errors.Is(err, lease.ErrHeld) {
		t.Fatalf("got %v, %v, want a HeldError", l, err)
	}
	return e
}

// R2.8: one holder; it stays one for long, since it renews; the next one
// comes at once after a release, with a greater epoch. Names don't meet.
func TestOneHolder(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		a, b := manager(t, log), manager(t, log)
		l := take(t, a, "sums")
		other := take(t, b, "other")
		for range 3 {
			bubble.Pass(2 * time.Minute) // of the bubble
			if e := held(t, b, "sums"); e.Epoch != 1 || e.Wait <= 0 {
				t.Errorf("%+v", e)
			}
			held(t, a, "sums") // not twice by one manager either
			if !l.Valid() || l.Err() != nil {
				t.Fatalf("lost: %v", l.Err())
			}
		}
		if owner, epoch, ok, err := b.Holder(t.Context(), "sums"); owner == "" || epoch != 1 || !ok || err != nil {
			t.Errorf("holder %q, %d, %v, %v", owner, epoch, ok, err)
		}
		for range 2 {
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		<-l.Done()
		if l.Valid() || !errors.Is(l.Err(), lease.ErrReleased) || !errors.Is(l.Confirm(t.Context()), lease.ErrReleased) {
			t.Errorf("after release: %v", l.Err())
		}
		if _, _, ok, err := b.Holder(t.Context(), "sums"); ok || err != nil {
			t.Errorf("holder after release: %v, %v", ok, err)
		}
		next := take(t, b, "sums")
		if next.Epoch() != 2 || other.Epoch() != 1 {
			t.Errorf("epochs %d and %d", next.Epoch(), other.Epoch())
		}
		_ = next.Release(t.Context())
		_ = other.Release(t.Context())
	})
}

// A holder that is gone without a word is replaced, not before its TTL and
// not much later; it isn't its wall clock that counts. The old one, which
// was only away, learns that it has lost.
func TestStealAfterExpiry(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		away := &cut{}
		a := lease.NewForTest(t, lease.Options{App: "app", JetStream: log.JetStream(), TTL: 10 * time.Second}, away.wrap)
		b := manager(t, log)
		l := take(t, a, "sums")
		held(t, b, "sums")
		away.set(true)
		begun := time.Now()
		next, err := b.Acquire(t.Context(), "sums")
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("taken over after %s", took)
		}
		// The old one stopped being sure of itself before that.
		if l.Valid() {
			t.Error("two valid holders")
		}
		away.set(false)
		<-l.Done()
		if !errors.Is(l.Err(), lease.ErrLost) || l.Epoch() >= next.Epoch() {
			t.Errorf("%v, epoch %d, next %d", l.Err(), l.Epoch(), next.Epoch())
		}
		held(t, a, "sums")
		_ = next.Release(t.Context())
	})
}

// What this process has seen counts: a fresh candidate waits its full time,
// however long the record has been silent.
func TestExpiryIsObserved(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		away := &cut{}
		a := lease.NewForTest(t, lease.Options{App: "app", JetStream: log.JetStream(), TTL: 10 * time.Second}, away.wrap)
		take(t, a, "sums")
		away.set(true)
		bubble.Pass(5 * time.Minute)
		b := manager(t, log)
		if e := held(t, b, "sums"); e.Wait != 12500*time.Millisecond {
			t.Errorf("wait %s", e.Wait)
		}
		bubble.Pass(12499 * time.Millisecond)
		held(t, b, "sums")
		bubble.Pass(time.Millisecond)
		_ = take(t, b, "sums").Release(t.Context())
	})
}

// A process that had the server to itself is known to be gone when another
// has it.
func TestSession(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		away := &cut{}
		a := lease.NewForTest(t, lease.Options{App: "app", JetStream: log.JetStream(), Session: "first"}, away.wrap)
		take(t, a, "sums")
		away.set(true)
		held(t, manager(t, log), "sums")
		held(t, manager(t, log, func(o *lease.Options) { o.Session = "first" }), "sums")
		l := take(t, manager(t, log, func(o *lease.Options) { o.Session = "second" }), "sums")
		if l.Epoch() != 2 {
			t.Errorf("epoch %d", l.Epoch())
		}
		_ = l.Release(t.Context())
		bubble.Pass(time.Minute) // the first one's goroutine gives up
	})
}

// Hold runs its function in one place at a time, again after a loss, and
// gives a panic back as an error.
func TestHold(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		away := &cut{}
		a := lease.NewForTest(t, lease.Options{App: "app", JetStream: log.JetStream(), TTL: 10 * time.Second}, away.wrap)
		b := manager(t, log)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var epochs []uint64
		work := func(ctx context.Context, l *lease.Lease) error {
			mu.Lock()
			epochs = append(epochs, l.Epoch())
			n := len(epochs)
			mu.Unlock()
			if n == 1 {
				away.set(true)
				<-ctx.Done()
				away.set(false)
				if !errors.Is(context.Cause(ctx), lease.ErrLost) {
					t.Errorf("cause %v", context.Cause(ctx))
				}
				return ctx.Err()
			}
			bubble.Pass(time.Minute)
			if !l.Valid() {
				t.Error("not valid while it runs")
			}
			return nil
		}
		wg.Go(func() {
			if err := a.Hold(t.Context(), "effects", work); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := b.Hold(t.Context(), "effects", work); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if len(epochs) != 3 || epochs[0] >= epochs[1] || epochs[1] >= epochs[2] {
			t.Errorf("epochs %v", epochs)
		}
		err := b.Hold(t.Context(), "effects", func(context.Context, *lease.Lease) error { panic("no") })
		if err == nil || !strings.HasPrefix(err.Error(), `lease "effects": panic at `) || !strings.Contains(err.Error(), "lease_test.go:") {
			t.Errorf("panic: %v", err)
		}
	})
}

// The bucket is lost: epochs begin anew, and Raise lifts them above what the
// guarded store has seen. The old holder has lost.
func TestBucketLost(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		a, b := manager(t, log), manager(t, log)
		l := take(t, a, "sums")
		if err := log.JetStream().DeleteKeyValue(t.Context(), "app_leases"); err != nil {
			t.Fatal(err)
		}
		next := take(t, b, "sums")
		if err := next.Raise(t.Context(), 7); err != nil || next.Epoch() != 8 {
			t.Fatalf("%v, epoch %d", err, next.Epoch())
		}
		bubble.Pass(20 * time.Second)
		if !errors.Is(l.Err(), lease.ErrLost) || next.Err() != nil {
			t.Errorf("old %v, new %v", l.Err(), next.Err())
		}
		if err := next.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		l = take(t, a, "sums")
		if l.Epoch() != 9 {
			t.Errorf("epoch %d", l.Epoch())
		}
		_ = l.Release(t.Context())
	})
}

// Many managers race for one name, again and again: one wins each time, and
// epochs only grow.
func TestRace(t *testing.T) {
	faked(t, func(t *testing.T, log *eventlog.Log) {
		var last uint64
		var ms []*lease.Manager
		for range 8 {
			ms = append(ms, manager(t, log))
		}
		for range 10 {
			won := make(chan *lease.Lease, len(ms))
			var wg sync.WaitGroup
			for _, m := range ms {
				wg.Go(func() {
					if l, err := m.TryAcquire(t.Context(), "sums"); err == nil {
						won <- l
					} else if !errors.Is(err, lease.ErrHeld) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if len(won) != 1 {
				t.Fatalf("%d winners", len(won))
			}
			l := <-won
			if l.Epoch() != last+1 {
				t.Errorf("epoch %d after %d", l.Epoch(), last)
			}
			last = l.Epoch()
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestInvalid(t *testing.T) {
	if _, err := lease.New(lease.Options{App: "No", TTL: 1}); !errors.Is(err, lease.ErrInvalid) {
		t.Error(err)
	}
	faked(t, func(t *testing.T, log *eventlog.Log) {
		if _, err := manager(t, log).TryAcquire(t.Context(), "No"); !errors.Is(err, lease.ErrInvalid) {
			t.Error(err)
		}
		l := take(t, manager(t, log), "sums")
		_ = l.Release(t.Context())
		kv, err := log.JetStream().KeyValue(t.Context(), "app_leases")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.PutString(t.Context(), "sums", "{"); err != nil {
			t.Fatal(err)
		}
		if _, err := manager(t, log).Acquire(t.Context(), "sums"); !errors.Is(err, lease.ErrCorrupt) {
			t.Error(err)
		}
	})
}

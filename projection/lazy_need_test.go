package projection_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// R2.32: who needs a lazy table that can't be restored is told why; so is who
// needs a table of another runtime, or gives a table an idle time that is none.
func TestLazyThatCantBeRestored(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{5})
	at := b.append(t, "a", deposited{5})
	b.append(t, "b", deposited{5})
	lazy, notes := b.balances(projection.Lazy(0)), b.notes(projection.Lazy(0))
	rt, other := b.start(t, projection.Config{}, lazy), b.start(t, projection.Config{}, notes)
	if _, err := b.accounts.Trim(ctx, at.Seq); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Need(ctx, lazy); !errors.Is(err, eventlog.ErrTrimmed) || !strings.Contains(err.Error(), `need of "balances"`) {
		t.Errorf("needed: %v", err)
	}
	if _, err := rt.Need(ctx, notes); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("need of another runtime's: %v", err)
	}
	if s := status(t, other, "notes"); s.State != projection.Dormant {
		t.Errorf("it was woken all the same: %+v", s)
	}
	if _, err := projection.Start(ctx, b.log, b.balances(projection.Lazy(-1))); !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), "idle time") {
		t.Errorf("an idle time of less than nothing: %v", err)
	}
}

// Lazy(0) stays from the first need on.
func TestLazyThatStays(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{1})
	src := b.balances()
	lazy := projection.Map("double", src, func(_ string, v int64) int64 { return 2 * v }, projection.Lazy(0))
	whole := b.notes(projection.Lazy(0))
	rt := b.start(t, projection.Config{}, src, lazy, whole)
	must(rt.Need(ctx, nil, lazy, whole))(t)()
	for range 10 {
		if err := rt.Wait(ctx, b.append(t, "a", deposited{1})); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"double", "notes"} {
		if s := status(t, rt, name); s.State != projection.Live {
			t.Errorf("%+v", s)
		}
	}
}

// A sleeper that fails is told of like any table. When it is let go it stands
// where what it reads does, so nobody waits for it.
func TestSleeperLetGoWhileStopped(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{5})
	src := b.balances()
	low := projection.Map("low", src, func(_ string, v int64) int64 {
		if v == 7 {
			panic("seven")
		}
		return -v
	}, projection.Lazy(5*time.Millisecond))
	told := make(chan string, 9)
	cfg := projection.Config{Stopped: func(s *projection.StoppedError) { told <- s.Projection }}
	rt := b.start(t, cfg, src, low)
	release := must(rt.Need(ctx, low))(t)
	w := low.Watch(projection.WithRows())
	for d, err := range w.Deltas(ctx) {
		if err != nil || !d.Reset || len(d.Changes) != 1 || d.At.String() != "accounts=1" {
			t.Errorf("watched %+v, %v", d, err)
		}
		break
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	seven := b.append(t, "a", deposited{2})
	if err := rt.Wait(ctx, seven); !errors.Is(err, projection.ErrStopped) || <-told != "low" {
		t.Errorf("it goes on: %v", err)
	}
	if err := src.WaitFor(ctx, b.append(t, "b", deposited{1})); err != nil {
		t.Fatal(err)
	}
	release()
	awaitState(ctx, t, rt, "low", projection.Dormant)
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := rt.Wait(soon, eventlog.Position{Feed: "accounts", Seq: 3}); err != nil {
		t.Errorf("it sleeps: %v", err)
	}
	if _, err := rt.Need(ctx, low); !errors.Is(err, projection.ErrStopped) || <-told != "low" {
		t.Errorf("filled: %v", err)
	}
}

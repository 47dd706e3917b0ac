package projection_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

func eventually(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for tick := time.NewTicker(time.Millisecond); !ok(); <-tick.C {
		if ctx.Err() != nil {
			t.Fatal("never: ", what)
		}
	}
}

// stuckBank has a table whose handler does something at the event of the key
// "stuck".
func stuckBank(t *testing.T, do func(tab *projection.Table[string, int])) (*bank, *projection.Table[string, int]) {
	b := openBank(t, logtest.Options(t))
	tab := projection.NewTable[string, int]("tab")
	projection.On(tab, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
		if e.Key == "stuck" {
			do(tab)
		}
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	return b, tab
}

// A goroutine that a handler starts and waits for can't be told from others
// that wait; that nothing goes on is told by Healthy, Status, and a warning
// with the handler's stack.
func TestHandlerWaitsForItsGoroutine(t *testing.T) {
	ctx := logtest.Context(t)
	release := make(chan struct{})
	b, tab := stuckBank(t, func(tab *projection.Table[string, int]) {
		read := make(chan struct{})
		go func() {
			tab.Get("x")
			close(read)
		}()
		select {
		case <-read:
		case <-release:
		}
	})
	out := new(logtest.Lines)
	logger := zerolog.New(out)
	rt := b.start(t, projection.Config{StuckAfter: 50 * time.Millisecond, Logger: &logger}, tab)
	at := b.append(t, "stuck", deposited{1})
	eventually(t, ctx, "unhealthy", func() bool { return errors.Is(rt.Healthy(ctx), projection.ErrStuck) })
	if s := rt.Metrics()[0]; s.Busy < 50*time.Millisecond {
		t.Errorf("busy for %s", s.Busy)
	}
	eventually(t, ctx, "a warning", func() bool { return out.Count("Table.Get of") > 0 && out.Count("TestHandlerWaitsForItsGoroutine") > 0 })
	if out.Count(at.String()) == 0 {
		t.Errorf("it doesn't say where: %s", out.String())
	}
	close(release)
	if err := rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	if err := rt.Healthy(ctx); err != nil {
		t.Error(err)
	}
}

// A View's function that reads its tables by their own methods waits for the
// unit, which waits for it.
func TestViewReadsItsTable(t *testing.T) {
	ctx := logtest.Context(t)
	writing := make(chan struct{})
	b, tab := stuckBank(t, func(*projection.Table[string, int]) {})
	rt := b.start(t, projection.Config{StuckAfter: 50 * time.Millisecond}, tab)
	go func() {
		defer close(writing)
		for range 1000 {
			if _, err := b.accounts.Append(ctx, "x", eventlog.ExpectAny, deposited{1}); err != nil {
				return
			}
		}
	}()
	err := projection.View(func(*projection.Snapshot) error {
		for ctx.Err() == nil {
			tab.Get("x") // free until the unit wants to write
		}
		return nil
	}, tab)
	if e, ok := errors.AsType[*projection.InHandlerError](err); !ok || !strings.Contains(e.Use, "Table.In") {
		t.Fatal(err)
	}
	<-writing
	if err := rt.Healthy(ctx); err != nil {
		t.Error(err)
	}
}

// Start ends with its context although a handler doesn't, and says so.
func TestStartLeavesASlowHandler(t *testing.T) {
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	b, tab := stuckBank(t, func(*projection.Table[string, int]) { cancel(); <-release })
	defer close(release) // before the log is closed
	b.append(t, "stuck", deposited{1})
	_, err := projection.Start(ctx, b.log, tab)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, projection.ErrStuck) {
		t.Fatal(err)
	}
}

// Close gives up on a handler, and says where it is.
func TestCloseLeavesASlowHandler(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	b, tab := stuckBank(t, func(*projection.Table[string, int]) { close(entered); <-release })
	rt, err := projection.Config{CloseTimeout: 50 * time.Millisecond}.Start(t.Context(), b.log, tab)
	if err != nil {
		t.Fatal(err)
	}
	at := b.append(t, "stuck", deposited{1})
	<-entered
	if err := rt.Close(); !errors.Is(err, projection.ErrStuck) || !strings.Contains(err.Error(), at.String()) {
		t.Error(err)
	}
	close(release)
	eventually(t, logtest.Context(t), "closed", func() bool { return rt.Close() == nil })
}

package eventlog_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// The server's store is full: appends are refused for good, at once, the log
// holds exactly what was acknowledged, and new feeds are refused too. Where
// room is made it goes on by itself.
func TestServerFull(t *testing.T) {
	ctx := logtest.Context(t)
	s := startServer(t, func(o *server.Options) { o.JetStreamMaxStore, o.JetStreamMaxMemory = 1<<20, 1<<20 })
	log := s.open(t)
	f := accounts(t, log)
	var acked, refused atomic.Uint64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				d := eventlog.Draft{Key: fmt.Sprint("k", g), Events: []any{opened{strings.Repeat("x", 10<<10)}}}
				if g%2 == 0 {
					d.ID = eventlog.ActorID(d.Key, uint64(i))
				}
				_, err := f.AppendDraft(ctx, d)
				switch {
				case err == nil:
					acked.Add(1)
				case errors.Is(err, eventlog.ErrFull) && errors.Is(err, eventlog.ErrRefused) && !errors.Is(err, eventlog.ErrAmbiguous):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := messages(t, f); n != acked.Load() || n == 0 || refused.Load() == 0 {
		t.Errorf("%d messages, %d acknowledged, %d refused", n, acked.Load(), refused.Load())
	}
	if got, err := seqs(ctx, f); err != nil || uint64(len(got)) != acked.Load() {
		t.Errorf("read %d: %v", len(got), err)
	}
	purge(t, f, 50)
	if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{1}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// The server comes back with a smaller maximum payload: what no longer fits is
// refused as such, the rest goes on.
func TestSmallerPayloadAfterReconnect(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	limit := int32(1 << 20)
	s := startServer(t, func(o *server.Options) { o.MaxPayload = limit })
	f := accounts(t, s.open(t))
	large := opened{strings.Repeat("x", 100<<10)}
	if _, err := f.Append(ctx, "k", eventlog.ExpectAny, large); err != nil {
		t.Fatal(err)
	}
	s.stop()
	limit = 10 << 10
	// Accepted while there is no server, sent to one that doesn't take it.
	early, err := f.AppendAsync(ctx, eventlog.Draft{Key: "k", Events: []any{large}})
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	_, err = early.Wait(ctx)
	wantErr(t, err, eventlog.ErrTooLarge)
	_, err = f.Append(ctx, "k", eventlog.ExpectAny, large)
	te, ok := errors.AsType[*eventlog.TooLargeError](err)
	if !ok || te.Max != 10<<10 {
		t.Errorf("got %v", err)
	}
	put(t, f, "k", 3)
	if n := messages(t, f); n != 4 {
		t.Errorf("%d messages", n)
	}
}

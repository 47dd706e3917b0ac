//go:build integration

package integration

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// slowRoad passes a client's bytes on to a server, and can hold back what the
// client sends: a network, or a server, that stalls without breaking off.
type slowRoad struct {
	t      *testing.T
	target string
	listen net.Listener
	gate   sync.RWMutex // read-locked by who passes something on
}

// close holds back what the client sends; open lets it pass again, and may be
// called more than once.
func (r *slowRoad) close() (open func()) {
	r.gate.Lock()
	return sync.OnceFunc(r.gate.Unlock)
}

func newSlowRoad(t *testing.T, target string) *slowRoad {
	t.Helper()
	r := &slowRoad{t: t, target: target, listen: must(net.Listen("tcp", "127.0.0.1:0"))(t)}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = r.listen.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := r.listen.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.carry(client) })
		}
	})
	return r
}

func (r *slowRoad) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	}()
	_, _ = io.Copy(writerFunc(func(b []byte) (int, error) {
		r.gate.RLock()
		defer r.gate.RUnlock()
		return server.Write(b)
	}), client)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// The first copy of an append is held up on its way for longer than the
// server recognises its ID, and the append is sent again elsewhere meanwhile.
// When the first copy arrives at last, it must not count. (An append with an
// ID is sent on such a condition too. For one with neither an expectation nor
// an ID that holds within the window alone: docs/guarantees.md.)
func TestLateCopy(t *testing.T) {
	server := natstest.Start(t)
	for name, d := range map[string]eventlog.Draft{
		"expected at the head": {Expect: eventlog.ExpectNew},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := limited(t, time.Minute)
			road := newSlowRoad(t, server.Host())
			o := eventlog.Options{App: logtest.App(t), DuplicateWindow: time.Second, ResolveTimeout: 300 * time.Millisecond}
			o.URL = server.URL()
			_, direct := openLog(ctx, t, o)
			o.URL = "nats://" + road.listen.Addr().String()
			_, slow := openLog(ctx, t, o)

			d.Key, d.Events = "k", []any{added{Writer: "late", N: 1, Part: 1, Of: 1}}
			again := sendLate(ctx, t, road, slow, direct, d)
			// What is sent behind the late copy arrives behind it.
			must(slow.Append(ctx, "other", eventlog.ExpectAny, added{Writer: "other", N: 1, Part: 1, Of: 1}))(t)
			copies := 0
			for _, r := range readBook(ctx, t, direct) {
				if r.key == "k" {
					copies++
					t.Logf("%s has ID %q", at(r.seq), r.id)
				}
			}
			if copies != 1 {
				t.Errorf("%d copies; sent again, it was told %s", copies, again)
			}
		})
	}
}

// sendLate leaves a copy of the append on the road until the server has
// forgotten its ID, and returns what the append was told that was sent again.
func sendLate(ctx context.Context, t *testing.T, road *slowRoad, slow, direct *eventlog.Feed, d eventlog.Draft) eventlog.Position {
	t.Helper()
	open := road.close()
	defer open()
	_, err := slow.AppendDraft(ctx, d)
	ambiguous, ok := errors.AsType[*eventlog.AmbiguousError](err)
	if !ok {
		t.Fatalf("an append that never arrived: %v", err)
	}
	d.ID = ambiguous.ID
	pos := must(direct.AppendDraft(ctx, d))(t)
	select {
	case <-time.After(1500 * time.Millisecond): // the window, and some more
	case <-ctx.Done():
	}
	return pos
}

package eventlog_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// others is how many questions the feed may ask meanwhile for its own sake: for
// its settings, and its mark.
const others = 3

// asked counts the questions for a stream's extent; asking one more by hand
// makes sure that those before it were seen.
func asked(t *testing.T, f *eventlog.Feed, nc *nats.Conn, do func()) int {
	t.Helper()
	subject := "$JS.API.STREAM.INFO." + f.Stream()
	sub := must(nc.SubscribeSync(subject))(t)
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	do()
	if err := nc.PublishMsg(&nats.Msg{Subject: subject, Header: nats.Header{"X-Last": {"x"}}}); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		m, err := sub.NextMsgWithContext(logtest.Context(t))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("X-Last") != "" {
			return n
		}
	}
}

// Syncing what another process has appended asks for it once, not once for each
// commit; a log that can't be synced is asked nothing, and so never answers that
// it doesn't go so far yet.
func TestSyncAsksOnce(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()} // syncing needs an embedded server
	log := logtest.Open(t, o)
	put(t, accounts(t, log), "k", 100)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = logtest.Open(t, o)
	f := accounts(t, log)
	n := asked(t, f, log.Conn(), func() {
		for seq := range uint64(100) {
			if err := f.Sync(ctx, seq+1); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n > 1+others {
		t.Errorf("%d questions for 100 commits", n)
	}
	if err := f.Sync(ctx, 101); !errors.Is(err, eventlog.ErrInvalid) {
		t.Errorf("beyond its end: %v", err)
	}

	server := natstest.Start(t)
	elsewhere := logtest.Open(t, eventlog.Options{App: logtest.App(t), URL: server.URL()})
	g := accounts(t, elsewhere)
	put(t, g, "k", 10)
	n = asked(t, g, elsewhere.Conn(), func() {
		var wg sync.WaitGroup
		for seq := range uint64(100) { // also beyond what an answer that lags would say
			wg.Go(func() {
				err := g.Sync(ctx, seq+1)
				if e, ok := errors.AsType[*eventlog.SyncError](err); !ok || e.Err != nil {
					t.Errorf("%d: %v", seq+1, err)
				}
			})
		}
		wg.Wait()
	})
	if n > others {
		t.Errorf("a log that can't be synced was asked %d questions", n)
	}
}

// What isn't at a position isn't told to be at 0.
func TestNoPositionInErrors(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	drafts := func(yield func(eventlog.Draft, error) bool) {
		_ = yield(eventlog.Draft{Key: "a", ID: "x", Events: []any{deposited{}}}, nil) && yield(eventlog.Draft{Key: "b", ID: "x", Events: []any{deposited{}}}, nil)
	}
	_, err := f.Import(ctx, drafts, eventlog.ImportOptions{})
	wantErr(t, err, eventlog.ErrIdentity, "this import has it already")
	lost := f.Commits(ctx, eventlog.After(7))
	for _, err := range lost {
		wantErr(t, err, eventlog.ErrLostTail, "last one is")
	}
	empty := accounts(t, logtest.Fresh(t))
	for _, err := range empty.Commits(ctx, eventlog.After(7)) {
		wantErr(t, err, eventlog.ErrLostTail, "it is empty")
	}
}

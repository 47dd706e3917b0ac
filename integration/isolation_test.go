//go:build integration

package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// example is the server's configuration that the manual shows below a heading.
func example(t *testing.T, heading string) string {
	t.Helper()
	text := string(must(os.ReadFile(filepath.Join("..", "docs", "operations.md")))(t))
	_, rest, found := strings.Cut(text, "\n"+heading+"\n")
	_, rest, begun := strings.Cut(rest, "\n```\n")
	conf, _, ended := strings.Cut(rest, "\n```\n")
	if !found || !begun || !ended {
		t.Fatalf("there is no example below %q", heading)
	}
	return conf
}

// bank is an application with some events.
func bank(ctx context.Context, t *testing.T, url string) *eventlog.Feed {
	t.Helper()
	log := must(eventlog.Open(ctx, eventlog.Options{App: "bank", URL: url, User: "bank", Password: "bank-secret"}))(t)
	t.Cleanup(func() { _ = log.Close() })
	feed := must(log.Feed(ctx, "accounts", eventlog.Type[blob]("blob")))(t)
	for range 5 {
		must(feed.Append(ctx, "k", eventlog.ExpectAny, blob{"secret"}))(t)
	}
	return feed
}

func shop(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc := must(nats.Connect(url, nats.UserInfo("shop", "shop-secret")))(t)
	t.Cleanup(nc.Close)
	return must(jetstream.New(nc))(t)
}

// sourcing makes a stream of the shop's that sources the bank's.
func sourcing(ctx context.Context, t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	return must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "shop_orders", Sources: []*jetstream.StreamSource{{Name: "bank_accounts"}}}))(t)
}

// With an account each, an application can't read another one's events, append
// to its feeds, source its streams, or take its names.
func TestAccountsIsolate(t *testing.T) {
	ctx := limited(t, time.Minute)
	s := natstest.Start(t, example(t, "### An account for each application"))
	feed := bank(ctx, t, s.URL())
	js := shop(t, s.URL())
	if _, err := js.Stream(ctx, "bank_accounts"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the bank's stream: %v", err)
	}
	if _, err := js.Publish(ctx, "bank.accounts.k", []byte("forged"), jetstream.WithRetryAttempts(0)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("publish to the bank's feed: %v", err)
	}
	stream := sourcing(ctx, t, js)
	log := must(eventlog.Open(ctx, eventlog.Options{App: "bank", URL: s.URL(), User: "shop", Password: "shop-secret"}))(t)
	defer func() { _ = log.Close() }()
	mine := must(log.Feed(ctx, "accounts", eventlog.Type[blob]("blob")))(t) // the same names, and nothing to do with the bank's
	must(mine.Append(ctx, "k", eventlog.ExpectNew, blob{"the shop's"}))(t)
	if st := must(feed.State(ctx))(t); st.Last != 5 {
		t.Errorf("the bank's feed ends at %d", st.Last)
	}
	// What the shop sources is its own stream of that name, in its account.
	for {
		info := must(stream.Info(ctx))(t)
		if info.State.Msgs > 1 {
			t.Fatalf("it sourced %+v", info.State)
		}
		if info.State.Msgs == 1 {
			break
		}
		pause(ctx, t)
	}
	if m := must(stream.GetMsg(ctx, 1))(t); strings.Contains(string(m.Data), "secret") {
		t.Errorf("it sourced %q", m.Data)
	}
}

// In one account, permissions on subjects keep an application from another one's
// subjects and API, and not from its events: whoever may create a stream of his
// own may have it source any other.
func TestPermissionsDontIsolate(t *testing.T) {
	ctx := limited(t, time.Minute)
	s := natstest.Start(t, example(t, "### What permissions alone don't give"))
	feed := bank(ctx, t, s.URL())
	js := shop(t, s.URL())
	for what, do := range map[string]func(context.Context) error{
		"its stream":  func(ctx context.Context) error { _, err := js.Stream(ctx, "bank_accounts"); return err },
		"publishing":  func(ctx context.Context) error { _, err := js.Publish(ctx, "bank.accounts.k", nil); return err },
		"deleting it": func(ctx context.Context) error { return js.DeleteStream(ctx, "bank_accounts") },
	} {
		soon, cancel := context.WithTimeout(ctx, time.Second) // the server answers nothing
		if err := do(soon); err == nil {
			t.Errorf("%s is permitted", what)
		}
		cancel()
	}
	stream := sourcing(ctx, t, js)
	for must(stream.Info(ctx))(t).State.Msgs < 5 {
		pause(ctx, t)
	}
	if m := must(stream.GetMsg(ctx, 5))(t); !strings.Contains(string(m.Data), "secret") {
		t.Errorf("it sourced %q", m.Data)
	}
	if st := must(feed.State(ctx))(t); st.Last != 5 {
		t.Errorf("the bank's feed ends at %d", st.Last)
	}
}

func pause(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	case <-time.After(20 * time.Millisecond):
	}
}

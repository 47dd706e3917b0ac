//go:build integration

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// What an operator has limited too far is said by the first call that it
// concerns, at once, with the setting to change.
func TestSmallLimits(t *testing.T) {
	account := func(settings, a string) string {
		return fmt.Sprintf(`accounts {
			A { jetstream: enabled, users: [ {user: a, password: p} ] %s }
			SYS { users: [ { user: sys, password: p } ] }
		}
		system_account: SYS
		%s`, a, settings)
	}
	other := `accounts {
		A { jetstream: enabled, users: [ {user: o, password: p} ], exports: [ { service: "$JS.API.>" } ] }
		B { users: [ {user: a, password: p} ], imports: [ { service: { account: A, subject: "$JS.API.>" }, to: "js.a.>" } ] }
		SYS { users: [ { user: sys, password: p } ] }
	}
	system_account: SYS`
	for name, c := range map[string]struct {
		conf  string
		at    string // the step that fails; none where it is empty
		class error
		says  string
	}{
		"payload":              {"max_payload: 4096", "start", projection.ErrInvalid, "max_payload is 4096 bytes, and snapshots need 5120"},
		"payload enough":       {"max_payload: 5120", "", nil, ""},
		"subscriptions":        {account("", ", limits: { max_subscriptions: 3 }"), "start", eventlog.ErrDenied, "raise max_subscriptions"},
		"one subscription":     {account("", ", limits: { max_subscriptions: 1 }"), "feed", eventlog.ErrDenied, "raise max_subscriptions"},
		"subscriptions enough": {account("", ", limits: { max_subscriptions: 4 }"), "", nil, ""},
		"window":               {account("jetstream { limits { duplicate_window: 200ms } }", ""), "feed", eventlog.ErrRefused, "set Options.DuplicateWindow"},
		"imported JetStream":   {other, "open", eventlog.ErrNoJetStream, "imported from another account"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := limited(t, time.Minute)
			server := natstest.Start(t, c.conf)
			began := time.Now()
			at, err := useAll(t, eventlog.Options{App: "limits", URL: server.URL(), User: "a", Password: "p"})
			if ctx.Err() != nil || time.Since(began) > 10*time.Second {
				t.Errorf("it took %v", time.Since(began))
			}
			if at != c.at || !errors.Is(err, c.class) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v; want %s, %v, %q", at, err, c.at, c.class, c.says)
			}
		})
	}
}

// useAll opens a log, appends to a feed and projects it twice, and names the
// step that failed.
func useAll(t *testing.T, o eventlog.Options) (at string, err error) {
	ctx := limited(t, time.Minute)
	log, err := eventlog.Open(ctx, o)
	if err != nil {
		return "open", err
	}
	defer func() { _ = log.Close() }()
	book, err := openBook(ctx, log)
	if err != nil {
		return "feed", err
	}
	for i := range 50 {
		if _, err := book.Append(ctx, fmt.Sprint("k", i), eventlog.ExpectAny, added{Writer: "w", N: i, Part: 1, Of: 1}); err != nil {
			return "append", err
		}
	}
	for range 2 {
		rt, err := projection.Start(ctx, log, tallyTable(book))
		if err != nil {
			return "start", err
		}
		if err := rt.Healthy(ctx); err != nil {
			return "healthy", err
		}
		if err := rt.Close(); err != nil {
			return "close", err
		}
	}
	return "", nil
}

//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// whoMay is a server with one user who may do anything, and others who
// lack something.
const whoMay = `accounts {
	BOOKS {
		jetstream: enabled
		users: [
			{ user: all, password: p }
			{ user: noapi, password: p, permissions: { publish: { deny: ["$JS.API.>"] } } }
			{ user: nocreate, password: p, permissions: { publish: { deny: ["$JS.API.STREAM.CREATE.>"] } } }
			{ user: noappend, password: p, permissions: { publish: { deny: ["auth.book.>"] } } }
			{ user: noread, password: p, permissions: { publish: { deny: ["$JS.API.CONSUMER.>"] } } }
			{ user: noinbox, password: p, permissions: { subscribe: { deny: ["_INBOX.>"] } } }
		]
	}
	PLAIN { users: [ { user: nojetstream, password: p } ] }
	SYS { users: [ { user: sys, password: p } ] }
}
system_account: SYS`

// definitely fails unless the error says that nothing was done, soon, and
// that permissions are why.
func definitely(t *testing.T, what string, begun time.Time, err error) {
	t.Helper()
	took := time.Since(begun)
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
	case !errors.Is(err, eventlog.ErrDenied) && !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, eventlog.ErrNoJetStream):
		t.Errorf("%s: after %v: %v: is neither denied nor unavailable", what, took, err)
	case took > quickly:
		t.Errorf("%s: it took %v: %v", what, took, err)
	case !strings.Contains(strings.ToLower(err.Error()), "permission") && !strings.Contains(err.Error(), "jetstream not enabled"):
		t.Errorf("%s: %v: doesn't say that a permission is missing", what, err)
	}
}

func TestMissingPermissions(t *testing.T) {
	server := natstest.Start(t, whoMay)
	as := func(user string) eventlog.Options {
		return eventlog.Options{App: "auth", URL: server.URL(), User: user, Password: "p"}
	}
	use(limited(t, time.Minute), t, as("all"))

	for _, user := range []string{"noapi", "noinbox", "nojetstream"} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			log, err := eventlog.Open(limited(t, 2*quickly), as(user))
			if err == nil {
				defer log.Close()
				_, err = openBook(limited(t, 2*quickly), log)
			}
			definitely(t, "open", begun, err)
		})
	}
	t.Run("nocreate", func(t *testing.T) {
		t.Parallel()
		log, _ := openLog(limited(t, time.Minute), t, as("nocreate")) // the feed is there already
		begun := time.Now()
		_, err := log.Feed(limited(t, 2*quickly), "another", eventlog.Type[added]("added"))
		definitely(t, "create a feed", begun, err)
	})
	t.Run("noappend", func(t *testing.T) {
		t.Parallel()
		o := as("noappend")
		o.ResolveTimeout = 2 * quickly // closing waits as long
		_, book := openLog(limited(t, time.Minute), t, o)
		for _, id := range []string{"", "an-id"} {
			d := draft("w", 1, 1, 1)
			d.ID = id
			begun := time.Now()
			_, err := book.AppendDraft(limited(t, 2*quickly), d)
			definitely(t, fmt.Sprintf("append with ID %q", id), begun, err)
		}
	})
	t.Run("noread", func(t *testing.T) {
		t.Parallel()
		_, book := openLog(limited(t, time.Minute), t, as("noread"))
		begun := time.Now()
		definitely(t, "read", begun, firstError(limited(t, 2*quickly), book))
	})
}

func firstError(ctx context.Context, book *eventlog.Feed) error {
	for _, err := range book.Commits(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

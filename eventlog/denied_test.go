package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/permissions"
)

// What docs/operations.md lists, for application "a".
var (
	readerPublishes = permissions.Publish(accountsOfA, "read", "tidy")
	writerPublishes = permissions.Publish(accountsOfA, "append", "tidy")
	makerPublishes  = permissions.Publish(accountsOfA, "create", "append", "tidy")

	accountsOfA = permissions.Scope{App: "a", Feeds: []string{"accounts"}}
)

func without(list []string, subjects ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(subjects, s) })
}

func user(name string, publish, subscribe []string) *server.User {
	return &server.User{Username: name, Password: "x", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
	}}
}

// permitted is a server with these users, and "root", who may do anything and
// has opened the feed once.
func permitted(t *testing.T, made bool, users ...*server.User) *testServer {
	t.Helper()
	s := startServer(t, func(o *server.Options) {
		o.Users = append(users, &server.User{Username: "root", Password: "x"})
	})
	if made {
		log, err := s.as(t, "root", false)
		if err != nil {
			t.Fatal(err)
		}
		put(t, accounts(t, log), "k", 3)
	}
	return s
}

// as opens the log as a user; on a connection of the caller's where own is set.
func (s *testServer) as(t *testing.T, name string, own bool) (*eventlog.Log, error) {
	t.Helper()
	url := fmt.Sprintf("nats://127.0.0.1:%d", s.port)
	o := eventlog.Options{App: "a", URL: url, User: name, Password: "x"}
	if own {
		nc, err := nats.Connect(url, nats.UserInfo(name, "x"), nats.ErrorHandler(nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		o = eventlog.Options{App: "a", Conn: nc}
	}
	log, err := eventlog.Open(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { _ = log.Close() })
	}
	return log, err
}

// use does what a maker, writer or reader does, and returns the first error.
func use(ctx context.Context, log *eventlog.Log, write bool) error {
	f, err := log.Feed(ctx, "accounts", eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited"))
	if err != nil {
		return err
	}
	if write {
		if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{1}); err != nil {
			return err
		}
		if _, err := f.AppendDraft(ctx, identified(1, eventlog.ExpectAny)); err != nil {
			return err
		}
	}
	if _, _, err := f.Head(ctx, "k"); err != nil {
		return err
	}
	_, err = seqs(ctx, f)
	return err
}

var inboxes = []string{"_INBOX.>"}

// The permissions that the manual lists are enough.
func TestLeastPrivileges(t *testing.T) {
	s := permitted(t, false, user("maker", makerPublishes, inboxes), user("writer", writerPublishes, inboxes), user("reader", readerPublishes, inboxes))
	for _, name := range []string{"maker", "writer", "reader"} {
		log, err := s.as(t, name, false)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := use(logtest.Context(t), log, name != "reader"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each permission that is missing is named, and not taken for a server that is
// silent, on our connection and on the caller's.
func TestDenied(t *testing.T) {
	var users []*server.User
	subjects := makerPublishes
	for i, sub := range subjects {
		users = append(users, user(fmt.Sprintf("u%d", i), without(makerPublishes, sub), inboxes))
	}
	users = append(users, user("deaf", makerPublishes, []string{"else"}))
	for i := range len(users) {
		missing := "_INBOX."
		if i < len(subjects) {
			missing = subjects[i]
		}
		for _, own := range []bool{false, true} {
			t.Run(fmt.Sprint(missing, " own=", own), func(t *testing.T) {
				s := permitted(t, false, users...)
				log, err := s.as(t, users[i].Username, own)
				if err == nil {
					err = use(logtest.Context(t), log, true)
				}
				if missing == "$JS.API.CONSUMER.DELETE.a_accounts.*" {
					if err != nil { // consumers go by themselves
						t.Error(err)
					}
					return
				}
				pe, ok := errors.AsType[*eventlog.PermissionError](err)
				if !ok || !errors.Is(err, eventlog.ErrDenied) || !matches(missing, pe.Subject) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

func matches(pattern, subject string) bool {
	n := len(pattern)
	for n > 0 && (pattern[n-1] == '>' || pattern[n-1] == '*') {
		n--
	}
	return len(subject) >= n && subject[:n] == pattern[:n]
}

// Appends that aren't permitted are definite, however many are in flight, and
// those of the same caller that are permitted go on.
func TestDeniedAppends(t *testing.T) {
	ctx := logtest.Context(t)
	s := permitted(t, true, user("half", append(without(writerPublishes, "a.accounts.>"), "a.accounts.mine.>"), inboxes))
	log, err := s.as(t, "half", false)
	if err != nil {
		t.Fatal(err)
	}
	f := accounts(t, log)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			key := []string{"mine.k", `th"ei\rs`, "theirs", fmt.Sprint("theirs-", i)}[i%4]
			_, err := f.Append(ctx, key, eventlog.ExpectAny, deposited{int64(i)})
			if i%4 == 0 && err != nil {
				t.Error(err)
			} else if i%4 > 0 && (!errors.Is(err, eventlog.ErrDenied) || errors.Is(err, eventlog.ErrAmbiguous)) {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	wg.Wait()
	if n := messages(t, f); n != 53 {
		t.Errorf("%d messages, want 53", n)
	}
	if m := f.Metrics(); m.Refused != 150 || m.InFlight != 0 {
		t.Errorf("metrics %+v", m)
	}
}

// A follower without the permission to read says so, wherever it stands, and
// doesn't try again and again.
func TestDeniedFollowers(t *testing.T) {
	ctx := logtest.Context(t)
	s := permitted(t, true, user("blind", without(readerPublishes, "$JS.API.CONSUMER.MSG.NEXT.a_accounts.*"), inboxes))
	root, err := s.as(t, "root", false)
	if err != nil {
		t.Fatal(err)
	}
	made, err := root.Conn().SubscribeSync("$JS.API.CONSUMER.CREATE.a_accounts.>")
	if err != nil || root.Conn().Flush() != nil {
		t.Fatal(err)
	}
	log, err := s.as(t, "blind", false)
	if err != nil {
		t.Fatal(err)
	}
	f := accounts(t, log)
	for name, opts := range map[string][]eventlog.ReadOption{
		"all": {}, "the end": {eventlog.After(3)}, "a key": {eventlog.OfKey("k")}, "a key's end": {eventlog.OfKey("k"), eventlog.After(3)},
	} {
		if _, err := seqs(ctx, f, append(opts, eventlog.Follow())...); !errors.Is(err, eventlog.ErrDenied) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := root.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := made.Pending(); n == 0 || n > 12 || err != nil {
		t.Errorf("%d consumers for 4 followers, %v", n, err)
	}
}

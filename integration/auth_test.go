//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// quickly is how long a refusal may take: no time-out of ours passes first.
const quickly = 3 * time.Second

// use opens a log, appends, reads it back, and runs a projection with
// snapshots: all that an application needs permission for.
func use(ctx context.Context, t *testing.T, o eventlog.Options) {
	t.Helper()
	log, book := openLog(ctx, t, o)
	table := tallyTable(book)
	rt := must(everyFew(1).Start(ctx, log, table))(t)
	pos := must(book.AppendDraft(ctx, draft("w", 1, 2, 1)))(t)
	if err := rt.Wait(ctx, pos); err != nil {
		t.Error(err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	records := readBook(ctx, t, book)
	checkBook(t, records, nil)
	checkRestart(ctx, t, log, book, records)
}

// refusedQuickly fails unless opening fails with one of the classes, and long
// before any time-out.
func refusedQuickly(t *testing.T, o eventlog.Options, classes ...error) {
	t.Helper()
	begun := time.Now()
	log, err := eventlog.Open(limited(t, 2*quickly), o)
	took := time.Since(begun)
	if err == nil {
		_ = log.Close()
		t.Fatal("opened")
	}
	for _, class := range classes {
		if !errors.Is(err, class) {
			t.Errorf("%v is not %q", err, class)
		}
	}
	if took > quickly {
		t.Errorf("it took %v: %v", took, err)
	}
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPassword(t *testing.T) {
	server := natstest.Start(t, `authorization { user: ada, password: "a secret" }`)
	o := eventlog.Options{App: "auth", URL: server.URL(), User: "ada", Password: "a secret"}
	use(limited(t, time.Minute), t, o)
	inURL := eventlog.Options{App: "auth-url", URL: "nats://ada:a%20secret@" + server.Host()}
	use(limited(t, time.Minute), t, inURL)
	o.Password = "wrong"
	refusedQuickly(t, o, eventlog.ErrUnauthorized)
	o.User, o.Password = "", ""
	refusedQuickly(t, o, eventlog.ErrUnauthorized)
}

func TestToken(t *testing.T) {
	server := natstest.Start(t, `authorization { token: "s3cr3t" }`)
	o := eventlog.Options{App: "auth", URL: server.URL(), Token: "s3cr3t"}
	use(limited(t, time.Minute), t, o)
	o.Token = "wrong"
	refusedQuickly(t, o, eventlog.ErrUnauthorized)
}

func TestNKey(t *testing.T) {
	user := must(nkeys.CreateUser())(t)
	other := must(nkeys.CreateUser())(t)
	server := natstest.Start(t, fmt.Sprintf("authorization { users: [ { nkey: %s } ] }", must(user.PublicKey())(t)))
	o := eventlog.Options{App: "auth", URL: server.URL(), NKeySeedFile: writeFile(t, "user.nk", must(user.Seed())(t))}
	use(limited(t, time.Minute), t, o)
	o.NKeySeedFile = writeFile(t, "other.nk", must(other.Seed())(t))
	refusedQuickly(t, o, eventlog.ErrUnauthorized)
	o.NKeySeedFile = writeFile(t, "broken.nk", []byte("SUNONSENSE"))
	refusedQuickly(t, o, eventlog.ErrInvalid)
	o.NKeySeedFile = filepath.Join(t.TempDir(), "missing.nk")
	refusedQuickly(t, o, eventlog.ErrInvalid, os.ErrNotExist)
}

// Package logtest opens real logs for tests: on an embedded server, or on
// the server that the environment variable TIDEMARK_TEST_URL names, so that
// one suite runs against both.
package logtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// URLVariable names the environment variable with an external server's URL.
const URLVariable = "TIDEMARK_TEST_URL"

// External says whether the tests run against an external server. Tests that
// need the server's files or its restart ask for it, and use Embedded.
func External() bool { return os.Getenv(URLVariable) != "" }

// rarely is more than any test takes. A stream's first sync by the server reads
// a field that its creation has written without the lock (nats-server 2.15.2,
// fileStore.setSyncTimer): on a machine so busy that creating a stream stalls
// for half an interval, the race detector would report that.
const rarely = time.Hour

// App is an application name that no other test uses.
func App(t testing.TB) string {
	t.Helper()
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return "test-" + hex.EncodeToString(b[:])
}

// Options are those of a fresh log of its own, embedded with files or
// external.
func Options(t testing.TB) eventlog.Options {
	t.Helper()
	o := eventlog.Options{App: App(t)}
	if url := os.Getenv(URLVariable); url != "" {
		o.URL = url
		t.Cleanup(func() { cleanUp(t, o) })
	} else {
		o.Dir, o.SyncInterval = t.TempDir(), rarely
	}
	return o
}

// Open opens a log and closes it when the test ends. What it stored on an
// external server is deleted.
func Open(t testing.TB, o eventlog.Options) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open log: %v", err)
	}
	t.Cleanup(func() {
		if o.URL != "" {
			deleteStreams(t, log)
		}
		if err := log.Close(); err != nil {
			t.Errorf("close log: %v", err)
		}
	})
	return log
}

// Fresh is Open(t, Options(t)).
func Fresh(t testing.TB) *eventlog.Log {
	t.Helper()
	return Open(t, Options(t))
}

// Embedded opens an embedded log with files, whatever the environment says.
func Embedded(t testing.TB) *eventlog.Log {
	t.Helper()
	return Open(t, eventlog.Options{App: App(t), Dir: t.TempDir(), SyncInterval: rarely})
}

// Context is a test's context with a time limit, so that a wait that never
// ends fails with the place where it waits.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// cleanUp deletes what a test has stored on an external server, whoever has
// opened the log.
func cleanUp(t testing.TB, o eventlog.Options) {
	log, err := eventlog.Open(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Errorf("clean up: %v", err)
		return
	}
	deleteStreams(t, log)
	if err := log.Close(); err != nil {
		t.Errorf("clean up: %v", err)
	}
}

func deleteStreams(t testing.TB, log *eventlog.Log) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if log.Conn().IsClosed() {
		return
	}
	for name := range log.JetStream().StreamNames(ctx).Name() {
		if strings.HasPrefix(name, log.App()+"_") || strings.HasPrefix(name, "KV_"+log.App()+"_") {
			if err := log.JetStream().DeleteStream(ctx, name); err != nil {
				t.Logf("delete stream %s: %v", name, err)
			}
		}
	}
}

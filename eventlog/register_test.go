package eventlog_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

type entry struct {
	Version     int    `json:"version"`
	Incarnation string `json:"incarnation"`
	State       string `json:"state"`
}

func register(t testing.TB, log *eventlog.Log) jetstream.KeyValue {
	t.Helper()
	kv, err := log.JetStream().CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: log.App() + "_feeds", History: 8})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func entryOf(t testing.TB, log *eventlog.Log, feed string) (e entry) {
	t.Helper()
	kve, err := register(t, log).Get(t.Context(), feed)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(kve.Value(), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// A crash after each step of creating a feed leaves one that can be opened,
// with the incarnation that was registered.
func TestCrashWhileCreating(t *testing.T) {
	ctx := logtest.Context(t)
	for name, crash := range map[string]func(t *testing.T, log *eventlog.Log){
		"bucket made":   func(t *testing.T, log *eventlog.Log) { register(t, log) },
		"entry written": func(t *testing.T, log *eventlog.Log) { enter(t, log, entry{1, "x", "creating"}) },
		"stream created": func(t *testing.T, log *eventlog.Log) {
			enter(t, log, entry{1, "x", "creating"})
			settings(t, log, "accounts", func(*jetstream.StreamConfig) {})
		},
		"confirmed": func(t *testing.T, log *eventlog.Log) {
			enter(t, log, entry{1, "x", "open"})
			settings(t, log, "accounts", func(*jetstream.StreamConfig) {})
		},
		"deleted but for the stream": func(t *testing.T, log *eventlog.Log) {
			settings(t, log, "accounts", func(*jetstream.StreamConfig) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := logtest.Fresh(t)
			crash(t, log)
			f, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited"))
			if err != nil {
				t.Fatal(err)
			}
			if name != "bucket made" && f.Incarnation() != "x" {
				t.Errorf("incarnation %s", f.Incarnation())
			}
			if e := entryOf(t, log, "accounts"); e != (entry{1, f.Incarnation(), "open"}) {
				t.Errorf("registered as %+v", e)
			}
			put(t, f, "k", 1)
		})
	}
}

func enter(t testing.TB, log *eventlog.Log, e entry) {
	t.Helper()
	if _, err := register(t, log).Put(t.Context(), "accounts", asJSON(t, e)); err != nil {
		t.Fatal(err)
	}
}

// An entry that can't be read is an error, not a new feed.
func TestDamagedRegister(t *testing.T) {
	ctx := logtest.Context(t)
	for i, bad := range []string{"", "{", `{"version":2,"incarnation":"x","state":"open"}`, `{"version":1,"incarnation":"","state":"open"}`, `{"version":1,"incarnation":"x","state":"?"}`} {
		log := logtest.Fresh(t)
		if _, err := register(t, log).Put(ctx, "accounts", []byte(bad)); err != nil {
			t.Fatal(err)
		}
		_, err := log.Feed(ctx, "accounts")
		wantErr(t, err, eventlog.ErrCorrupt, "entry accounts")
		if t.Failed() {
			t.Fatal(i)
		}
	}
}

// Processes that open a new feed at the same moment agree on one stream.
func TestOpenTogether(t *testing.T) {
	ctx := logtest.Context(t)
	s := startServer(t)
	app := logtest.App(t)
	var logs []*eventlog.Log
	for range 8 {
		log, err := eventlog.Open(ctx, eventlog.Options{App: app, URL: fmt.Sprintf("nats://127.0.0.1:%d", s.port)})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		logs = append(logs, log)
	}
	for round := range 10 {
		name := fmt.Sprintf("f%d", round)
		incs := make([]string, len(logs))
		var wg sync.WaitGroup
		for i, log := range logs {
			wg.Go(func() {
				f, err := log.Feed(ctx, name, eventlog.Type[deposited]("deposited"))
				if err != nil {
					t.Error(err)
					return
				}
				incs[i] = f.Incarnation()
				if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{1}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, inc := range incs {
			if inc != incs[0] || inc == "" {
				t.Fatalf("incarnations %v", incs)
			}
		}
		if f, err := logs[0].Opened(name); err != nil || messages(t, f) != uint64(len(logs)) {
			t.Errorf("messages: %v", err)
		}
	}
}

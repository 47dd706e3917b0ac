package eventlog_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// Somebody deletes a feed's stream through the API, or its directory goes:
// it isn't silently created again, by no later start either.
func TestMissingStream(t *testing.T) {
	ctx := logtest.Context(t)
	for name, lose := range map[string]func(t *testing.T, o eventlog.Options){
		"deleted": func(t *testing.T, o eventlog.Options) {
			log := logtest.Open(t, o)
			defer log.Close()
			if err := log.JetStream().DeleteStream(ctx, o.App+"_accounts"); err != nil {
				t.Fatal(err)
			}
		},
		"directory lost": func(t *testing.T, o eventlog.Options) {
			if err := os.RemoveAll(streamDir(o, o.App+"_accounts")); err != nil {
				t.Fatal(err)
			}
		},
		"metadata damaged": func(t *testing.T, o eventlog.Options) {
			path := filepath.Join(streamDir(o, o.App+"_accounts"), "meta.sum")
			if err := os.WriteFile(path, []byte("0000000000000000"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
			log := logtest.Open(t, o)
			f := accounts(t, log)
			put(t, f, "k", 3)
			inc := f.Incarnation()
			closeLog(t, log)
			lose(t, o)
			for range 2 {
				log = logtest.Open(t, o)
				_, err := log.Feed(ctx, "accounts")
				wantErr(t, err, eventlog.ErrMissing, inc, "Recreate")
				if name == "metadata damaged" {
					closeLog(t, log)
					return // its files are still there, in the new stream's way
				}
				closeLog(t, log)
			}
			log = logtest.Open(t, o)
			f, err := log.Feed(ctx, "accounts", eventlog.Recreate())
			if err != nil || f.Incarnation() == inc {
				t.Fatalf("recreated: %v", err)
			}
			inc = f.Incarnation()
			closeLog(t, log)
			log = logtest.Open(t, o)
			if f := accounts(t, log); f.Incarnation() != inc {
				t.Error("another incarnation")
			}
		})
	}
}

func streamDir(o eventlog.Options, stream string) string {
	return filepath.Join(o.Dir, "jetstream", "$G", "streams", stream)
}

func closeLog(t testing.TB, log *eventlog.Log) {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// A stream that somebody created in the place of the feed's is refused, and
// accepted on demand.
func TestRecreatedStream(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
	log := logtest.Open(t, o)
	f := accounts(t, log)
	was := f.Incarnation()
	closeLog(t, log)
	log = logtest.Open(t, o)
	if err := log.JetStream().DeleteStream(ctx, f.Stream()); err != nil {
		t.Fatal(err)
	}
	settings(t, log, "accounts", func(*jetstream.StreamConfig) {})
	_, err := log.Feed(ctx, "accounts")
	wantErr(t, err, eventlog.ErrRecreated, was, "incarnation x")
	if f, err := log.Feed(ctx, "accounts", eventlog.Recreate()); err != nil || f.Incarnation() != "x" {
		t.Fatal(err)
	}
	closeLog(t, log)
	log = logtest.Open(t, o)
	accounts(t, log)
}

// Forget and DeleteStream are the deliberate ways to begin anew.
func TestForget(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
	log := logtest.Open(t, o)
	if err := log.Forget(ctx, "accounts"); err != nil {
		t.Fatalf("nothing to forget: %v", err)
	}
	stream := accounts(t, log).Stream()
	closeLog(t, log)
	log = logtest.Open(t, o)
	if err := log.DeleteStream(ctx, stream); err != nil {
		t.Fatal(err)
	}
	if err := log.DeleteStream(ctx, stream); err != nil {
		t.Fatalf("again: %v", err)
	}
	put(t, accounts(t, log), "k", 2)
	closeLog(t, log)
	log = logtest.Open(t, o)
	if err := log.Forget(ctx, "accounts"); err != nil {
		t.Fatal(err)
	}
	if n := messages(t, accounts(t, log)); n != 2 {
		t.Errorf("%d messages after Forget alone", n)
	}
	closeLog(t, log)
	// The register and the feed are gone, and snapshots are there.
	log = logtest.Open(t, o)
	js := log.JetStream()
	for _, s := range []string{stream, "KV_" + o.App + "_feeds"} {
		if err := js.DeleteStream(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: o.App + "_snapshots"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "head.x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, err = log.Feed(ctx, "accounts")
	wantErr(t, err, eventlog.ErrMissing, "register of feeds is gone")
	if _, err := log.Feed(ctx, "accounts", eventlog.Recreate()); err != nil {
		t.Fatal(err)
	}
}

// An append to a stream that was created again under an open feed is refused
// as soon as that is known, and at once where the new one is shorter.
func TestAppendToRecreated(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f := accounts(t, log)
	put(t, f, "k", 5)
	cfg := jsStream(t, f).CachedInfo().Config
	if err := log.JetStream().DeleteStream(ctx, f.Stream()); err != nil {
		t.Fatal(err)
	}
	cfg.Metadata["tidemark-incarnation"] = "another"
	logtest.CreateStream(t, log.JetStream(), cfg)
	var err error
	n := 0
	eventually(t, "refused", func() bool {
		_, err = f.Append(ctx, "k", eventlog.ExpectAny, deposited{1})
		n++
		return err != nil
	})
	wantErr(t, err, eventlog.ErrRecreated, "another")
	t.Logf("noticed by append %d", n)
	wantErr(t, f.Check(ctx), eventlog.ErrRecreated)
	_, err = f.AppendDraft(ctx, identified(1, eventlog.ExpectAny))
	wantErr(t, err, eventlog.ErrRecreated)
}

// Where the new stream is longer than the old one, nothing about an
// acknowledgement shows that it is another: it is noticed within ten seconds, and
// until then appends that expect nothing exact are stored in it.
func TestAppendToRecreatedIsNoticedInTime(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		ctx := t.Context()
		log, err := eventlog.Open(ctx, eventlog.Options{App: "again", Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		f := accounts(t, log)
		put(t, f, "k", 5)
		cfg := jsStream(t, f).CachedInfo().Config
		if err := log.JetStream().DeleteStream(ctx, f.Stream()); err != nil {
			t.Fatal(err)
		}
		cfg.Metadata["tidemark-incarnation"] = "another"
		logtest.CreateStream(t, log.JetStream(), cfg)
		for range 20 {
			if _, err := log.JetStream().Publish(ctx, "again.accounts.other", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		begun, stored := time.Now(), 0
		for err == nil {
			bubble.Pass(time.Second)
			if _, err = f.Append(ctx, "k", eventlog.ExpectAny, deposited{1}); err == nil {
				stored++
			}
			if time.Since(begun) > time.Minute {
				t.Fatalf("%d appends, and it isn't noticed", stored)
			}
		}
		wantErr(t, err, eventlog.ErrRecreated, "another")
		if took := time.Since(begun); took > 11*time.Second || stored == 0 {
			t.Errorf("noticed after %v, behind %d appends", took, stored)
		}
	})
}

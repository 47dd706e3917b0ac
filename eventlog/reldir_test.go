package eventlog_test

import (
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// A relative directory is that of the time of Open: a process that changes its
// working directory appends, makes feeds and syncs there.
func TestRelativeDir(t *testing.T) {
	ctx := logtest.Context(t)
	t.Chdir(t.TempDir())
	opened := func() (*eventlog.Log, func(name string) *eventlog.Feed) {
		log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Dir: "data"})
		if err != nil {
			t.Fatal(err)
		}
		return log, func(name string) *eventlog.Feed {
			f, err := log.Feed(ctx, name, eventlog.Type[[]byte]("bytes"))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	home := t.TempDir()
	t.Chdir(home)
	log, feed := opened()
	first := feed("first")
	t.Chdir(t.TempDir())
	later := feed("later")
	for _, f := range []*eventlog.Feed{first, later} {
		d := eventlog.Draft{Key: "k", Events: []any{[]byte("x")}, Durability: eventlog.Synced}
		if _, err := f.AppendDraft(ctx, d); err != nil {
			t.Error(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	t.Chdir(home)
	log, feed = opened()
	defer log.Close()
	for _, name := range []string{"first", "later"} {
		if st, err := feed(name).State(ctx); err != nil || st.Messages != 1 {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
}

// Arguments that can't mean anything are refused.
func TestSenseless(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	_, err := f.Import(ctx, nil, eventlog.ImportOptions{})
	wantErr(t, err, eventlog.ErrInvalid, "nil")
	_, err = f.NewReader(ctx, eventlog.OfKey("a"), eventlog.OfKey("b"))
	wantErr(t, err, eventlog.ErrInvalid, "two keys")
	_, err = eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true, MaxPayload: 33 << 20})
	wantErr(t, err, eventlog.ErrInvalid, "32 MiB")
}

// A second log on the server of one in memory, by its connection: it opens the
// feeds as they are, although it would have made them with files.
func TestSecondLogOfOneInMemory(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Open(t, eventlog.Options{App: logtest.App(t), Memory: true})
	if _, err := accounts(t, log).Append(ctx, "a", eventlog.ExpectNew, deposited{1}); err != nil {
		t.Fatal(err)
	}
	second := logtest.Open(t, eventlog.Options{App: log.App(), Conn: log.JetStream().Conn()})
	f := accounts(t, second)
	if st, err := f.State(ctx); err != nil || st.Messages != 1 || len(f.Drift()) > 0 || second.Healthy(ctx) != nil {
		t.Errorf("%+v, %v, drift %v, healthy %v", st, err, f.Drift(), second.Healthy(ctx))
	}
}

package eventlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

type rehearsed struct{ N int }

// What is rehearsed is what a reader of the log gets.
func TestRehearsedIsWhatIsRead(t *testing.T) {
	log := logtest.Fresh(t)
	opts := []eventlog.FeedOption{eventlog.Type[rehearsed]("rehearsed")}
	f, err := log.Feed(t.Context(), "accounts", opts...)
	if err != nil {
		t.Fatal(err)
	}
	offline, err := eventlog.Offline("accounts", opts...)
	if err != nil {
		t.Fatal(err)
	}
	lent := map[*eventlog.Feed]*eventlog.Commit{f: {}, offline: {}}
	for _, events := range [][]any{{rehearsed{1}}, {rehearsed{2}, rehearsed{3}}} {
		d := eventlog.Draft{Key: "a.b c", ID: "id", Events: events, Causation: "why", Header: map[string]string{"traceparent": "00-x"}}
		d.ID = eventlog.ActorID("test", uint64(len(events)))
		at, err := f.AppendDraft(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		want, ok, err := f.Lookup(t.Context(), at.Seq)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		for _, by := range []*eventlog.Feed{f, offline} {
			got, err := by.Rehearse(d, at.Seq, want.Time)
			if err != nil {
				t.Fatal(err)
			}
			again := lent[by]
			if err := by.RehearseInto(again, d, at.Seq, want.Time); err != nil {
				t.Fatal(err)
			}
			if again.Fingerprint() != got.Fingerprint() || again.Len() != got.Len() || again.Position() != got.Position() || again.Key != got.Key || again.ID != got.ID || !again.Time.Equal(got.Time) {
				t.Errorf("rehearsed %+v, in memory of another commit %+v", got, again)
			}
			for i := range again.Len() {
				if v, err := again.Event(i).Value(); err != nil || v != events[i] || again.Event(i).ID() != got.Event(i).ID() {
					t.Errorf("event %d in memory of another commit: %+v, %v", i, v, err)
				}
			}
			if got.Len() != want.Len() || got.Key != want.Key || got.ID != want.ID || got.Seq != want.Seq || !got.Time.Equal(want.Time) {
				t.Errorf("rehearsed %+v, read %+v", got, want)
			}
			for i := range got.Len() {
				g, w := got.Event(i), want.Event(i)
				gv, err := g.Value()
				wv, _ := w.Value()
				if err != nil || gv != wv || g.ID() != w.ID() || g.Type != w.Type || g.Causation() != "why" || g.Header("traceparent") != "00-x" {
					t.Errorf("event %d: rehearsed %+v, read %+v: %v", i, gv, wv, err)
				}
			}
		}
	}
	last, err := f.State(t.Context())
	if err != nil || last.Last != 2 {
		t.Errorf("the log ends at %d: %v", last.Last, err)
	}
	if _, err := offline.Rehearse(eventlog.Draft{Key: "k", Events: []any{"unknown"}}, 1, time.Now()); err == nil {
		t.Error("an unregistered type was rehearsed")
	}
	again := lent[offline]
	if err := offline.RehearseInto(again, eventlog.Draft{Key: "k", Events: []any{"unknown"}}, 1, time.Now()); err == nil || again.Len() != 0 || again.Key != "" {
		t.Errorf("an unregistered type: %+v, %v", again, err)
	}
	if err := offline.RehearseInto(again, eventlog.Draft{Key: "k", Events: []any{rehearsed{4}}}, 7, time.Now()); err != nil || again.ID != "accounts@7" || again.Key != "k" {
		t.Errorf("behind a failure: %+v, %v", again, err)
	}
	if err := offline.RehearseInto(nil, eventlog.Draft{Key: "k", Events: []any{rehearsed{4}}}, 8, time.Now()); !errors.Is(err, eventlog.ErrInvalid) {
		t.Errorf("into no commit: %v", err)
	}
}

// Without a log, everything that needs one says so.
func TestOfflineSaysSo(t *testing.T) {
	f, err := eventlog.Offline("accounts", eventlog.Type[rehearsed]("rehearsed"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for name, call := range map[string]func() error{
		"Append": func() error { _, err := f.Append(ctx, "k", eventlog.ExpectAny, rehearsed{1}); return err },
		"AppendAsync": func() error {
			_, err := f.AppendAsync(ctx, eventlog.Draft{Key: "k", Events: []any{rehearsed{1}}})
			return err
		},
		"AppendTransaction": func() error {
			_, err := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: []eventlog.Draft{{Key: "k", Events: []any{rehearsed{1}}}}})
			return err
		},
		"Import":     func() error { _, err := f.Import(ctx, nil, eventlog.ImportOptions{}); return err },
		"NewReader":  func() error { _, err := f.NewReader(ctx); return err },
		"State":      func() error { _, err := f.State(ctx); return err },
		"Observe":    func() error { _, err := f.Observe(ctx, 1); return err },
		"TimeAt":     func() error { _, _, err := f.TimeAt(ctx, 1); return err },
		"SeqAt":      func() error { _, err := f.SeqAt(ctx, time.Now()); return err },
		"Lookup":     func() error { _, _, err := f.Lookup(ctx, 1); return err },
		"Head":       func() error { _, _, err := f.Head(ctx, "k"); return err },
		"LastTagged": func() error { _, err := f.LastTagged(ctx, "t"); return err },
		"Trim":       func() error { _, err := f.Trim(ctx, 1); return err },
		"Check":      func() error { return f.Check(ctx) },
	} {
		if err := call(); !errors.Is(err, eventlog.ErrOffline) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m := f.Metrics(); m != (eventlog.Metrics{}) || len(f.Drift()) != 0 {
		t.Errorf("metrics: %+v, drift: %v", m, f.Drift())
	}
}

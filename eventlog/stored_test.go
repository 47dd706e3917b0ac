package eventlog_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

type jotted struct{ Text string }

// A commit that was kept outside the log is read as it was in it: events,
// headers, identity, fingerprint (R0.5). Any damage is ErrCorrupt.
func TestStoredCommit(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f, err := log.Feed(ctx, "notes", eventlog.Type[jotted]("noted"))
	if err != nil {
		t.Fatal(err)
	}
	drafts := []eventlog.Draft{
		{Key: "one", Events: []any{jotted{"a"}}},
		{Key: "sev eral", ID: "id-1", Causation: "cause", Events: []any{jotted{"a"}, jotted{"b"}, jotted{"c"}}},
	}
	for _, d := range drafts {
		if _, err := f.AppendDraft(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for c, err := range f.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		data := c.AppendStored(nil)
		back, err := f.DecodeStored(data)
		if err != nil {
			t.Fatal(err)
		}
		if back.Fingerprint() != c.Fingerprint() || back.ID != c.ID || back.Key != c.Key || back.Seq != c.Seq || !back.Time.Equal(c.Time) || back.Len() != c.Len() {
			t.Errorf("%+v, want %+v", back, c)
		}
		for i := range c.Len() {
			a, b := c.Event(i), back.Event(i)
			if a.ID() != b.ID() || a.Type != b.Type || a.Causation() != b.Causation() || !bytes.Equal(a.Data(), b.Data()) {
				t.Errorf("event %d: %+v, want %+v", i, b, a)
			}
			again, err := a.AppendStored(nil)
			if err != nil || !bytes.Equal(again, data) {
				t.Errorf("event %d: %x, want %x (%v)", i, again, data, err)
			}
		}
		for i := range 40 { // in the headers
			if _, err := f.DecodeStored(data[:i]); !errors.Is(err, eventlog.ErrCorrupt) {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
	}
	if n != len(drafts) {
		t.Errorf("%d commits", n)
	}
	if _, err := (eventlog.Event{}).AppendStored(nil); !errors.Is(err, eventlog.ErrInvalid) {
		t.Errorf("the zero event: %v", err)
	}
}

func FuzzDecodeStored(f *testing.F) {
	log := logtest.Fresh(f)
	feed, err := log.Feed(f.Context(), "notes", eventlog.Type[jotted]("noted"))
	if err != nil {
		f.Fatal(err)
	}
	for range 2 {
		if _, err := feed.Append(f.Context(), "k", eventlog.ExpectAny, jotted{"a"}, jotted{"b"}); err != nil {
			f.Fatal(err)
		}
	}
	for c, err := range feed.Commits(f.Context()) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.AppendStored(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := feed.DecodeStored(data)
		if err != nil {
			if !errors.Is(err, eventlog.ErrCorrupt) {
				t.Fatalf("not an ErrCorrupt: %v", err)
			}
			return
		}
		back, err := feed.DecodeStored(c.AppendStored(nil))
		if err != nil || back.Fingerprint() != c.Fingerprint() {
			t.Fatalf("not stable: %v", err)
		}
	})
}

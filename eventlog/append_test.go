package eventlog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

type opened struct{ Owner string }

type deposited struct{ Cents int64 }

func accounts(t testing.TB, log *eventlog.Log) *eventlog.Feed {
	t.Helper()
	f, err := log.Feed(t.Context(), "accounts", eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAppendAndRead(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	at, err := f.Append(ctx, "acct-42", eventlog.ExpectNew, opened{"Ada"}, deposited{1000})
	if err != nil {
		t.Fatal(err)
	}
	if at != (eventlog.Position{Feed: "accounts", Seq: 1}) {
		t.Fatalf("position %v", at)
	}
	if _, err := f.Append(ctx, "acct 7", eventlog.ExpectAny, deposited{5}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range f.Read(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := e.Value()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %s %+v", e.Position(), e.Key, e.Type, v))
	}
	want := []string{"accounts@1 acct-42 opened {Owner:Ada}", "accounts@1.1 acct-42 deposited {Cents:1000}", "accounts@2 acct 7 deposited {Cents:5}"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read\n%q, want\n%q", got, want)
	}
	n := 0
	for e, err := range f.Read(ctx, eventlog.OfKey("acct-42")) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Key != "acct-42" {
			t.Errorf("key %q", e.Key)
		}
	}
	if n != 2 {
		t.Errorf("%d events of the key, want 2", n)
	}
}

func TestExpectations(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	at, err := f.Append(ctx, "k", eventlog.ExpectNew, opened{"Ada"})
	if err != nil {
		t.Fatal(err)
	}
	for _, expect := range []eventlog.Expectation{eventlog.ExpectNew, eventlog.ExpectSeq(at.Seq + 5)} {
		_, err = f.Append(ctx, "k", expect, deposited{1})
		ce, ok := errors.AsType[*eventlog.ConflictError](err)
		if !ok || !errors.Is(err, eventlog.ErrConflict) || ce.Actual != at.Seq {
			t.Errorf("expecting %s: got %v, want a conflict at %d", expect, err, at.Seq)
		}
	}
	if _, err := f.Append(ctx, "k", eventlog.ExpectSeq(at.Seq), deposited{1}); err != nil {
		t.Error(err)
	}
}

func TestIdentity(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	d := eventlog.Draft{Key: "k", Events: []any{deposited{1}}, ID: eventlog.ActorID("importer", 1)}
	first, err := f.AppendDraft(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{int64(i)}); err != nil {
			t.Fatal(err)
		}
		again, err := f.AppendDraft(ctx, d)
		if err != nil || again != first {
			t.Errorf("sent again: %v %v, want %v", again, err, first)
		}
	}
	st, err := f.State(ctx)
	if err != nil || st.Last != 4 {
		t.Errorf("state %+v %v, want 4 commits", st, err)
	}
}

package eventlog_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/timeframe"
)

// T1.2: the store refuses, so the caller gets an error and the log is as it
// was.
func TestRefusedAppend(t *testing.T) {
	large := opened{strings.Repeat("x", 2<<20)}
	for _, c := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		draft  eventlog.Draft
		class  error
		code   int
	}{
		{"more than the server takes", nil, eventlog.Draft{Key: "k", Events: []any{large}}, eventlog.ErrTooLarge, 0},
		{"more than the stream takes", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 },
			eventlog.Draft{Key: "k", Events: []any{opened{strings.Repeat("x", 200)}}}, eventlog.ErrTooLarge, 0},
		{"too many headers", nil, eventlog.Draft{Key: "k", Events: []any{opened{}}, Header: map[string]string{"x": strings.Repeat("x", 64<<10)}}, eventlog.ErrTooLarge, 0},
		{"sealed", func(c *jetstream.StreamConfig) { c.Sealed = true }, eventlog.Draft{Key: "k", Events: []any{opened{}}}, eventlog.ErrRefused, 10109},
		{"full of messages", func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 }, eventlog.Draft{Key: "k", Events: []any{opened{}}}, eventlog.ErrRefused, 10077},
		{"full of bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 300 }, eventlog.Draft{Key: "k", Events: []any{opened{strings.Repeat("x", 200)}}}, eventlog.ErrRefused, 10077},
		{"identified and full", func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 }, eventlog.Draft{Key: "k", ID: "me/1", Events: []any{opened{}}}, eventlog.ErrRefused, 10077},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := logtest.Context(t)
			f := accounts(t, logtest.Fresh(t))
			put(t, f, "k", 2)
			if c.change != nil {
				reconfigure(t, f, c.change)
			}
			_, err := f.AppendDraft(ctx, c.draft)
			wantErr(t, err, c.class)
			if se, ok := errors.AsType[*eventlog.ServerError](err); c.code != 0 && (!ok || se.Code != c.code) {
				t.Errorf("got %v, want server code %d", err, c.code)
			}
			if got, err := seqs(ctx, f); err != nil || len(got) != 2 {
				t.Errorf("the log holds %v, %v", got, err)
			}
			if m := f.Metrics(); m.Refused > 1 || m.Commits != 2 || m.InFlight != 0 {
				t.Errorf("metrics %+v", m)
			}
		})
	}
}

type unregistered struct{}

type unencodable struct{ C any }

func TestDraftValidation(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f, err := log.Feed(ctx, "accounts", eventlog.Type[opened]("opened"), eventlog.Type[unencodable]("unencodable"))
	if err != nil {
		t.Fatal(err)
	}
	ok := []any{opened{}}
	for name, c := range map[string]struct {
		d     eventlog.Draft
		class error
	}{
		"no key":            {eventlog.Draft{Events: ok}, eventlog.ErrInvalidKey},
		"long key":          {eventlog.Draft{Key: strings.Repeat("k", 3000), Events: ok}, eventlog.ErrInvalidKey},
		"no events":         {eventlog.Draft{Key: "k"}, eventlog.ErrInvalid},
		"too many":          {eventlog.Draft{Key: "k", Events: make([]any, eventlog.MaxEvents+1)}, eventlog.ErrInvalid},
		"nil":               {eventlog.Draft{Key: "k", Events: []any{nil}}, eventlog.ErrInvalidType},
		"pointer":           {eventlog.Draft{Key: "k", Events: []any{&opened{}}}, eventlog.ErrInvalidType},
		"nil pointer":       {eventlog.Draft{Key: "k", Events: []any{(*opened)(nil)}}, eventlog.ErrInvalidType},
		"unregistered":      {eventlog.Draft{Key: "k", Events: []any{unregistered{}}}, eventlog.ErrInvalidType},
		"second of two":     {eventlog.Draft{Key: "k", Events: []any{opened{}, unregistered{}}}, eventlog.ErrInvalidType},
		"unencodable":       {eventlog.Draft{Key: "k", Events: []any{unencodable{make(chan int)}}}, eventlog.ErrInvalidType},
		"long ID":           {eventlog.Draft{Key: "k", Events: ok, ID: strings.Repeat("i", 257)}, eventlog.ErrInvalid},
		"ID with newline":   {eventlog.Draft{Key: "k", Events: ok, ID: "a\r\nNats-Rollup: all"}, eventlog.ErrInvalid},
		"ID with space":     {eventlog.Draft{Key: "k", Events: ok, ID: " a"}, eventlog.ErrInvalid},
		"causation":         {eventlog.Draft{Key: "k", Events: ok, Causation: "a\nb"}, eventlog.ErrInvalid},
		"server's header":   {eventlog.Draft{Key: "k", Events: ok, Header: map[string]string{"nats-rollup": "all"}}, eventlog.ErrInvalid},
		"our header":        {eventlog.Draft{Key: "k", Events: ok, Header: map[string]string{"TM-Type": "x"}}, eventlog.ErrInvalid},
		"header name":       {eventlog.Draft{Key: "k", Events: ok, Header: map[string]string{"a:b": "x"}}, eventlog.ErrInvalid},
		"header name empty": {eventlog.Draft{Key: "k", Events: ok, Header: map[string]string{"": "x"}}, eventlog.ErrInvalid},
	} {
		if _, err := f.AppendDraft(ctx, c.d); !errors.Is(err, c.class) {
			t.Errorf("%s: got %v, want %v", name, err, c.class)
		}
	}
	_, err = f.Append(ctx, "k", eventlog.ExpectSeq(math.MaxUint64), opened{})
	wantErr(t, err, eventlog.ErrConflict)
	if n := messages(t, f); n != 0 {
		t.Errorf("%d messages were appended", n)
	}
}

// All that a commit can carry comes back, also where it looks like the
// server's own words.
func TestDraftRoundTrip(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	seen, err := timeframe.Of(timeframe.Entry{Feed: "orders", Seq: 7}, timeframe.Entry{Feed: "users", Seq: 0})
	if err != nil {
		t.Fatal(err)
	}
	d := eventlog.Draft{
		Key: "k", ID: "é/1: x", Causation: "c\xff1", Correlation: "co:1", Seen: seen,
		Header: map[string]string{"traceparent": "00-1", "Status": "503", "empty": "", "Description": "a  b"},
		Events: []any{opened{"Ada"}, deposited{1}},
	}
	at, err := f.AppendDraft(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range f.Read(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Seen()
		if err != nil || !got.Equal(seen) || e.Causation() != d.Causation || e.Correlation() != d.Correlation || e.Seq != at.Seq {
			t.Errorf("event %d: seen %v %v, causation %q, correlation %q", n, got, err, e.Causation(), e.Correlation())
		}
		for k, v := range d.Header {
			if e.Header(k) != v {
				t.Errorf("header %s is %q, want %q", k, e.Header(k), v)
			}
		}
		if want := []string{"é/1: x.0", "é/1: x.1"}[n]; e.ID() != want {
			t.Errorf("ID %q, want %q", e.ID(), want)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d events", n)
	}
}

// A context that ends in flight makes the outcome unknown, and the append
// that is sent again with the ID is there once; one that has ended before
// makes a definite error.
func TestAppendCancelled(t *testing.T) {
	f := accounts(t, logtest.Fresh(t))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Append(ended, "k", eventlog.ExpectAny, deposited{1})
	if !errors.Is(err, context.Canceled) || errors.Is(err, eventlog.ErrAmbiguous) {
		t.Errorf("ended before: %v", err)
	}
	// An acknowledgement may be faster than the look at the context.
	for try := range uint64(100) {
		p, err := f.AppendAsync(t.Context(), eventlog.Draft{Key: "k", Events: []any{deposited{1}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = p.Wait(ended); err == nil {
			continue
		}
		ae, ok := errors.AsType[*eventlog.AmbiguousError](err)
		if !ok || ae.ID != p.ID() || !errors.Is(err, context.Canceled) {
			t.Fatalf("in flight: %v", err)
		}
		at, err := f.AppendDraft(t.Context(), eventlog.Draft{Key: "k", ID: ae.ID, Events: []any{deposited{1}}})
		if late, lerr := p.Wait(t.Context()); err != nil || lerr != nil || late != at || messages(t, f) != try+1 {
			t.Errorf("again: %v, %v; at last: %v, %v; %d messages", at, err, late, lerr, messages(t, f))
		}
		return
	}
	t.Error("every acknowledgement came before the look at the context")
}

package eventlog

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// deaf opens a feed whose writer doesn't hear the first lost acknowledgements,
// or until hear is called.
func deaf(t *testing.T, lost int64) (f *Feed, hear func()) {
	t.Helper()
	l, err := Open(t.Context(), Options{
		App: "deaf", Memory: true, RequestTimeout: 250 * time.Millisecond, ResolveTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	// The machine may stand still for longer than RequestTimeout.
	for range 3 {
		if f, err = l.Feed(t.Context(), "accounts", Type[goldenOpened]("opened")); !errors.Is(err, ErrUnavailable) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	w := f.writer
	w.link.close()
	var left atomic.Int64
	left.Store(lost)
	w.link, err = f.openLink(func(token uint64, data []byte, none bool) {
		if left.Add(-1) < 0 {
			w.onAck(token, data, none)
		}
	}, wireShare)
	if err != nil {
		t.Fatal(err)
	}
	return f, func() { left.Store(0) }
}

// An append whose acknowledgement is lost is sent again, is in the log once,
// and its caller gets its position, whatever it expected (T1.1).
func TestLostAcknowledgement(t *testing.T) {
	for _, c := range []struct {
		name   string
		before int
		id     string
		expect Expectation
	}{
		{"any", 1, "", ExpectAny},
		{"new", 0, "", ExpectNew},
		{"seq", 1, "", ExpectSeq(1)},
		{"identified", 1, "me/1", ExpectAny},
		{"identified-new", 0, "me/1", ExpectNew},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, _ := deaf(t, 1)
			ctx := t.Context()
			for range c.before {
				other := &nats.Msg{Subject: "deaf.accounts.k", Header: nats.Header{headerType: {"opened"}}}
				if _, err := f.log.js.PublishMsg(ctx, other); err != nil {
					t.Fatal(err)
				}
			}
			at, err := f.AppendDraft(ctx, Draft{Key: "k", Expect: c.expect, ID: c.id, Events: []any{goldenOpened{"Ada"}}})
			if want := uint64(c.before + 1); err != nil || at.Seq != want {
				t.Fatalf("got %v, %v, want %d", at, err, want)
			}
			st, err := f.State(ctx)
			if m := f.Metrics(); err != nil || st.Messages != uint64(c.before+1) || m.Retries == 0 || m.Commits != 1 || m.Conflicts != 0 {
				t.Errorf("%d messages, %v, metrics %+v", st.Messages, err, m)
			}
		})
	}
}

// A commit of somebody else that came first is a conflict even where our own
// send was repeated.
func TestLostConflict(t *testing.T) {
	f, _ := deaf(t, 1)
	ctx := t.Context()
	if _, err := f.log.js.PublishMsg(ctx, &nats.Msg{Subject: "deaf.accounts.k", Header: nats.Header{headerType: {"opened"}}}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []Expectation{ExpectNew, ExpectSeq(9)} {
		_, err := f.Append(ctx, "k", e, goldenOpened{"Ada"})
		if ce, ok := errors.AsType[*ConflictError](err); !ok || ce.Actual != 1 {
			t.Errorf("expecting %v: %v", e, err)
		}
	}
}

// Acknowledgements that never come make an ErrAmbiguous at the deadline; the
// commit that is sent again with the ID is there once, whatever was expected
// the first time (which decides how the server stores the ID) and is now, and
// also behind a later commit of the key.
func TestAmbiguousAtTheDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		first, again Expectation
		later        bool
		elsewhere    bool // it is sent again by another process
	}{
		"any": {}, "any, later": {later: true}, "any, later, elsewhere": {later: true, elsewhere: true},
		"exact, then any":                   {first: ExpectSeq(1)},
		"exact, then any, elsewhere":        {first: ExpectSeq(1), elsewhere: true},
		"exact, then any, later":            {first: ExpectSeq(1), later: true},
		"exact, then any, later, elsewhere": {first: ExpectSeq(1), later: true, elsewhere: true},
		"exact twice":                       {first: ExpectSeq(1), again: ExpectSeq(1)},
		"exact twice, later":                {first: ExpectSeq(1), again: ExpectSeq(1), later: true},
		"exact twice, later, elsewhere":     {first: ExpectSeq(1), again: ExpectSeq(1), later: true, elsewhere: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, hear := deaf(t, 1<<40)
			f.resolve = 200 * time.Millisecond
			other := func() {
				m := &nats.Msg{Subject: "deaf.accounts.k", Header: nats.Header{headerType: {"opened"}}}
				if _, err := f.log.js.PublishMsg(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			other()
			_, err := f.Append(t.Context(), "k", c.first, goldenOpened{"Ada"})
			ae, ok := errors.AsType[*AmbiguousError](err)
			if !ok || !errors.Is(err, ErrAmbiguous) || !errors.Is(err, nats.ErrTimeout) || ae.ID == "" {
				t.Fatalf("got %v", err)
			}
			want := uint64(2)
			if c.later {
				other()
				want++
			}
			hear()
			g := f
			if c.elsewhere {
				l2 := &Log{opts: f.log.opts, nc: f.log.nc, js: f.log.js, api: f.log.api, feeds: map[string]*Feed{}, feedRegister: f.log.feedRegister}
				if g, err = l2.Feed(context.Background(), "accounts", Type[goldenOpened]("opened")); err != nil {
					t.Fatal(err)
				}
				defer g.close()
			} else {
				f.resolve = 30 * time.Second
			}
			at, err := g.AppendDraft(t.Context(), Draft{Key: "k", ID: ae.ID, Expect: c.again, Events: []any{goldenOpened{"Ada"}}})
			if st, serr := g.State(t.Context()); err != nil || serr != nil || at.Seq != 2 || st.Messages != want {
				t.Errorf("got %v, %v; %+v", at, err, st)
			}
		})
	}
}

// The server's answers, as they are read.
func TestParseAck(t *testing.T) {
	for _, c := range []struct {
		data string
		want ackOutcome
		seq  uint64
	}{
		{`{"stream":"s","seq":42}`, ackStored, 42},
		{`{"stream":"s","seq": 42}`, ackStored, 42},
		{`{"stream":"s","domain":"error","seq":42}`, ackForeign, 42},
		{`{"stream":"s","seq":42,"batch":"b","count":3}`, ackStored, 42},
		{`{"stream":"s","seq":42,"duplicate":true}`, ackDuplicate, 42},
		{`{"stream":"s","seq":18446744073709551615}`, ackStored, 1<<64 - 1},
		{`{"stream":"s","seq":0}`, ackRetry, 0},
		{`{"stream":"s"`, ackRetry, 0},
		{`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"s","seq":0}`, ackConflict, 0},
		{`{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"},"stream":"s","seq":0}`, ackInFlight, 0},
		{`{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"},"stream":"s","seq":0}`, ackRetry, 0},
		{`{"error":{"code":503,"err_code":10008,"description":"unavailable"},"stream":"s","seq":0}`, ackRetry, 0},
		{`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"s","seq":0}`, ackRefused, 0},
		{`{"error":{"code":400,"err_code":10109,"description":"sealed"},"stream":"s","seq":0}`, ackRefused, 0},
	} {
		a := newAckReader("s", "").read([]byte(c.data))
		if a.outcome() != c.want || a.Seq != c.seq {
			t.Errorf("%s: %v at %d, want %v", c.data, a.outcome(), a.Seq, c.want)
		}
	}
	hub := newAckReader("s", "hub")
	for data, want := range map[string]ackOutcome{
		`{"stream":"s","domain":"hub","seq":42}`:                  ackStored,
		`{"stream":"s","seq":42,"domain":"hub"}`:                  ackStored,
		`{"stream":"s","domain":"hub","seq":42,"duplicate":true}`: ackDuplicate,
		`{"stream":"s","seq":42}`:                                 ackForeign,
		`{"stream":"s","domain":"edge","seq":42}`:                 ackForeign,
	} {
		if a := hub.read([]byte(data)); a.outcome() != want || a.Seq != 42 {
			t.Errorf("in a domain: %s: %v at %d, want %v", data, a.outcome(), a.Seq, want)
		}
	}
	if a := (ack{noResponders: true}); a.outcome() != ackRetry || a.garbled {
		t.Errorf("no responders: %+v", a)
	}
	conflict := newAckReader("s", "").read([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"s","seq":0}`))
	if conflict.actual() != 7 {
		t.Errorf("actual %d, want 7", conflict.actual())
	}
}

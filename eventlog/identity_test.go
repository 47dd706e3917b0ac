package eventlog_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

func identified(n uint64, e eventlog.Expectation) eventlog.Draft {
	return eventlog.Draft{Key: "k", Expect: e, ID: eventlog.ActorID("actor", n), Events: []any{deposited{int64(n)}}}
}

// R1.9: from any number of callers at once it is appended once.
func TestIdentityAtOnce(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	// Two handles on one server stand for two processes.
	if o.URL == "" {
		o.Listen = "127.0.0.1:-1"
	}
	log := logtest.Open(t, o)
	other := o
	if log.ClientURL() != "" {
		other = eventlog.Options{App: o.App, URL: log.ClientURL()}
	}
	feeds := []*eventlog.Feed{accounts(t, log), accounts(t, logtest.Open(t, other))}
	const ids = 20
	var mu sync.Mutex
	at := make(map[uint64]eventlog.Position)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range uint64(ids) {
				pos, err := feeds[g%2].AppendDraft(ctx, identified(i, eventlog.ExpectAny))
				mu.Lock()
				if was, ok := at[i]; err != nil || (ok && was != pos) {
					t.Errorf("append %d: %v, %v, and before %v", i, pos, err, was)
				}
				at[i] = pos
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := messages(t, feeds[0]); n != ids {
		t.Errorf("%d messages, want %d", n, ids)
	}
	if a, b := feeds[0].Metrics(), feeds[1].Metrics(); a.Commits+b.Commits != ids || a.Conflicts+b.Conflicts != 0 {
		t.Errorf("metrics %+v %+v", a, b)
	}
}

func TestIdentityKeepsOrderWithinKey(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	var ps []*eventlog.Pending
	for i := range uint64(200) {
		p, err := f.AppendAsync(ctx, identified(i, eventlog.ExpectAny))
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	for i, p := range ps {
		if at, err := p.Wait(ctx); err != nil || at.Seq != uint64(i+1) {
			t.Fatalf("append %d: %v, %v", i, at, err)
		}
	}
}

func TestIdentityExpectations(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	for n, e := range []eventlog.Expectation{eventlog.ExpectNew, eventlog.ExpectSeq(1), eventlog.ExpectAny} {
		d := identified(uint64(n), e)
		first, err := f.AppendDraft(ctx, d)
		if err != nil || first.Seq != uint64(n+1) {
			t.Fatalf("expecting %v: %v, %v", e, first, err)
		}
		// The expectation was met once; it doesn't hold any more.
		if again, err := f.AppendDraft(ctx, d); err != nil || again != first {
			t.Errorf("again, expecting %v: %v, %v", e, again, err)
		}
	}
	_, err := f.AppendDraft(ctx, identified(99, eventlog.ExpectNew))
	if ce, ok := errors.AsType[*eventlog.ConflictError](err); !ok || ce.Actual != 3 || ce.Expected != eventlog.ExpectNew {
		t.Errorf("another ID: %v", err)
	}
	d := identified(0, eventlog.ExpectAny)
	d.Key = "other"
	_, err = f.AppendDraft(ctx, d)
	wantErr(t, err, eventlog.ErrIdentity, "actor/0")
	if n := messages(t, f); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
}

// A long history, and one that is known to be irrelevant in part.
func TestIdentityInLongHistory(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	log := logtest.Open(t, o)
	f := accounts(t, log)
	first, err := f.AppendDraft(ctx, identified(1, eventlog.ExpectAny))
	if err != nil {
		t.Fatal(err)
	}
	last := put(t, f, "k", 1000)
	put(t, f, "noise", 1000)
	if o.URL == "" { // a handle that has read nothing
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		f = accounts(t, logtest.Open(t, o))
	}
	if again, err := f.AppendDraft(ctx, identified(1, eventlog.ExpectAny)); err != nil || again != first {
		t.Errorf("again: %v, %v, want %v", again, err, first)
	}
	d := identified(2, eventlog.ExpectAny)
	d.After = last.Seq
	second, err := f.AppendDraft(ctx, d)
	if err != nil || second.Seq != 2002 {
		t.Fatalf("second: %v, %v", second, err)
	}
	d.After = second.Seq - 1
	if again, err := f.AppendDraft(ctx, d); err != nil || again != second {
		t.Errorf("second again: %v, %v", again, err)
	}
}

// R1.9: sent again after the server has forgotten the ID, and after a
// restart, it still appends nothing.
func TestIdentityBeyondTheWindow(t *testing.T) {
	o := eventlog.Options{App: "bank", Dir: t.TempDir(), DuplicateWindow: 10 * time.Second, ResolveTimeout: 5 * time.Second}
	bubble.Run(t, func(t *testing.T) {
		var first eventlog.Position
		for round := range 2 {
			log, err := eventlog.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			f, err := log.Feed(t.Context(), "accounts", eventlog.Type[deposited]("deposited"))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				at, err := f.AppendDraft(t.Context(), identified(1, eventlog.ExpectAny))
				if err != nil {
					t.Fatal(err)
				}
				if first.Seq == 0 {
					first = at
				}
				if at != first {
					t.Errorf("round %d: at %v, want %v", round, at, first)
				}
				bubble.Pass(time.Minute) // of the bubble's time
			}
			if st, err := f.State(t.Context()); err != nil || st.Messages != 1 {
				t.Errorf("round %d: %d messages, %v", round, st.Messages, err)
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

package eventlog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// Appends of one handle to one key take effect in order, each on top of the
// one before, with hundreds under way.
func TestOrderedPipeline(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	o := f.Ordered()
	const keys, each = 8, 50
	var waiting []*eventlog.Pending
	for i := range each {
		for k := range keys {
			expect := eventlog.ExpectPrevious
			if i == 0 {
				expect = eventlog.ExpectNew
			}
			p, err := o.AppendAsync(ctx, eventlog.Draft{Key: fmt.Sprint(k), Expect: expect, Events: []any{deposited{int64(i)}}})
			if err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, p)
		}
	}
	for _, p := range waiting {
		if _, err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	next := map[string]int64{}
	for e, err := range f.Read(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		d, err := eventlog.Decode[deposited](e)
		if err != nil || d.Cents != next[e.Key] {
			t.Fatalf("%s: %d %v, want %d", e.Key, d.Cents, err, next[e.Key])
		}
		next[e.Key]++
	}
	if len(next) != keys || next["0"] != each {
		t.Errorf("%v", next)
	}
}

// When one fails, those behind it on its key aren't sent, other keys go on,
// and Resume lets the key go on.
func TestOrderedPredecessor(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	o := f.Ordered()
	if _, err := f.Append(ctx, "k", eventlog.ExpectNew, deposited{1}); err != nil {
		t.Fatal(err)
	}
	var ps []*eventlog.Pending
	for i, expect := range []eventlog.Expectation{eventlog.ExpectNew, eventlog.ExpectAny, eventlog.ExpectPrevious} {
		p, err := o.AppendAsync(ctx, eventlog.Draft{Key: "k", Expect: expect, Events: []any{deposited{int64(10 + i)}}})
		if i > 0 && errors.Is(err, eventlog.ErrPredecessor) {
			continue // it was known by then
		}
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	for i, p := range ps {
		_, err := p.Wait(ctx)
		if i == 0 && !errors.Is(err, eventlog.ErrConflict) {
			t.Errorf("the first: %v", err)
		}
		pe, ok := errors.AsType[*eventlog.PredecessorError](err)
		if i > 0 && (!ok || !errors.Is(err, eventlog.ErrPredecessor) || !errors.Is(err, eventlog.ErrConflict) || pe.ID != ps[0].ID()) {
			t.Errorf("number %d: %v", i, err)
		}
	}
	if _, err := o.Append(ctx, "k", eventlog.ExpectAny, deposited{1}); !errors.Is(err, eventlog.ErrPredecessor) {
		t.Errorf("before Resume: %v", err)
	}
	if _, err := o.Append(ctx, "other", eventlog.ExpectAny, deposited{1}); err != nil {
		t.Errorf("another key: %v", err)
	}
	if err := o.Resume("k"); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("resume: %v", err)
	}
	if err := o.Resume("k"); err != nil {
		t.Errorf("resume again: %v", err)
	}
	if _, err := o.Append(ctx, "k", eventlog.ExpectPrevious, deposited{1}); !errors.Is(err, eventlog.ErrInvalid) {
		t.Errorf("nothing previous: %v", err)
	}
	_ = o.Resume("k")
	if _, err := o.Append(ctx, "k", eventlog.ExpectAny, deposited{2}); err != nil {
		t.Error(err)
	}
	if _, err := f.Append(ctx, "k", eventlog.ExpectPrevious, deposited{2}); !errors.Is(err, eventlog.ErrInvalid) {
		t.Errorf("without a handle: %v", err)
	}
	st, err := f.State(ctx)
	if err != nil || st.Messages != 3 {
		t.Errorf("%d messages, %v, want 3", st.Messages, err)
	}
}

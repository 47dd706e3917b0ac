package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// deafToBatches makes a feed's batcher miss the first answers to commits; missed
// says whether it has missed them all.
func deafToBatches(t *testing.T, f *Feed, lost int64) (missed func() bool) {
	t.Helper()
	if err := f.batches.sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(lost)
	var err error
	f.batches.sub, err = f.log.nc.Subscribe(f.batches.inbox+"*", func(m *nats.Msg) {
		if len(m.Data) == 0 || left.Add(-1) < 0 {
			f.batches.onAck(m)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() bool { return left.Load() <= 0 }
}

// A transaction whose acknowledgement is lost is sent again, is in the log
// once, and its caller gets its positions, whatever it expected.
func TestLostBatchAcknowledgement(t *testing.T) {
	for _, c := range []struct {
		name   string
		before int // commits of the first key
		id     string
		expect Expectation
		tags   []string
		guards []Guard
	}{
		{name: "any", before: 1},
		{name: "new", expect: ExpectNew},
		{name: "seq", before: 2, expect: ExpectSeq(2)},
		{name: "tagged", before: 1, tags: []string{"red"}},
		{name: "guarded", before: 1, tags: []string{"red"}, guards: []Guard{{Tag: "red", After: 1}, {Tag: "blue", After: 1}}},
		{name: "identified", before: 1, id: "me/1"},
		{name: "identified-guarded", id: "me/1", expect: ExpectNew, guards: []Guard{{Tag: "red"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, _ := deaf(t, 0)
			ctx := t.Context()
			for range c.before {
				if _, err := f.Append(ctx, "a", ExpectAny, goldenOpened{"Ada"}); err != nil {
					t.Fatal(err)
				}
			}
			missed := deafToBatches(t, f, 1)
			event := []any{goldenOpened{"Ada"}}
			at, err := f.AppendTransaction(ctx, Transaction{ID: c.id, Guards: c.guards, Drafts: []Draft{
				{Key: "a", Expect: c.expect, Events: event, Tags: c.tags}, {Key: "b", Expect: ExpectNew, Events: event},
			}})
			if err != nil || len(at) != 2 || at[0].Seq != uint64(c.before+1) || at[1].Seq != uint64(c.before+2) {
				t.Fatalf("got %v, %v", at, err)
			}
			if !missed() {
				t.Error("no answer was lost: this test shows nothing")
			}
			if st, err := f.State(ctx); err != nil || c.tags == nil && c.guards == nil && st.Messages != uint64(c.before+2) {
				t.Errorf("the log has %d messages, %v", st.Messages, err)
			}
			head, ok, err := f.Head(ctx, "b")
			if m := f.Metrics(); err != nil || !ok || head.Seq != at[1].Seq || m.Retries > 1 || m.Conflicts+m.Ambiguous+m.Refused != 0 {
				t.Errorf("head %d, %v, metrics %+v", head.Seq, err, m)
			}
		})
	}
}

// A conflict is one even where our own send was repeated.
func TestLostBatchConflict(t *testing.T) {
	f, _ := deaf(t, 0)
	ctx := t.Context()
	if _, err := f.Append(ctx, "b", ExpectAny, goldenOpened{"Ada"}); err != nil {
		t.Fatal(err)
	}
	deafToBatches(t, f, 1)
	event := []any{goldenOpened{"Ada"}}
	_, err := f.AppendTransaction(ctx, Transaction{Drafts: []Draft{{Key: "a", Events: event}, {Key: "b", Expect: ExpectNew, Events: event}}})
	if ce, ok := errors.AsType[*ConflictError](err); !ok || ce.Key != "b" || ce.Actual != 1 {
		t.Errorf("got %v", err)
	}
}

// Answers that never come make an ErrAmbiguous at the deadline, with the ID
// that finds the transaction.
func TestBatchAmbiguousAtTheDeadline(t *testing.T) {
	f, _ := deaf(t, 0)
	ctx := t.Context()
	f.resolve = 200 * time.Millisecond
	event := []any{goldenOpened{"Ada"}}
	tx := Transaction{Drafts: []Draft{{Key: "a", Events: event, Tags: []string{"red"}}, {Key: "b", Events: event}}}
	// A server that stores and answers nothing, not even the leader's reads.
	deafToBatches(t, f, 1<<40)
	api := f.log.api
	f.log.api = "$NOBODY.API"
	_, err := f.AppendTransaction(ctx, tx)
	ae, ok := errors.AsType[*AmbiguousError](err)
	if !ok || !errors.Is(err, ErrAmbiguous) || ae.ID == "" {
		t.Fatalf("got %v", err)
	}
	f.log.api = api
	f.resolve = 3 * time.Second
	deafToBatches(t, f, 0)
	tx.ID = ae.ID
	at, err := f.AppendTransaction(ctx, tx)
	if st, serr := f.State(ctx); err != nil || serr != nil || at[0].Seq != 1 || at[1].Seq != 2 || st.Messages != 3 {
		t.Errorf("got %v, %v; %+v", at, err, st)
	}
}

// The server's answers to batches, as they are read.
func TestBatchAnswers(t *testing.T) {
	for _, c := range []struct {
		data string
		want batchOutcome
		seq  uint64
	}{
		{`{"stream":"s","seq":42,"batch":"x","count":3}`, batchStored, 42},
		{`{"stream":"s"`, batchUnknown, 0},
		{refusedBy(400, 10071), batchLook, 0},
		{refusedBy(400, 10164), batchLook, 0},
		{refusedBy(409, 10158), batchLook, 0},
		{refusedBy(400, 10201), batchLook, 0},
		{refusedBy(400, 10176), batchAgain, 0},
		{refusedBy(429, 10210), batchAgain, 0},
		{refusedBy(503, 10008), batchAgain, 0},
		{refusedBy(503, 10077), batchRefused, 0},
		{refusedBy(400, 10174), batchRefused, 0},
		{refusedBy(400, 10199), batchRefused, 0},
	} {
		a := newAckReader("s", "").read([]byte(c.data))
		if a.batchOutcome() != c.want || a.Seq != c.seq {
			t.Errorf("%s: %v at %d, want %v", c.data, a.batchOutcome(), a.Seq, c.want)
		}
	}
}

func refusedBy(code, errCode int) string {
	return fmt.Sprintf(`{"error":{"code":%d,"err_code":%d,"description":"no"},"stream":"s","seq":0}`, code, errCode)
}

// Which transactions share a batch: an expectation has to be the first word
// on its subject, and an ID comes once.
func TestGrouping(t *testing.T) {
	f, _ := deaf(t, 0)
	tx := func(id string, guards []Guard, ds ...Draft) *txn {
		for i := range ds {
			ds[i].Events = []any{goldenOpened{"Ada"}}
		}
		x, err := f.newTxn(Transaction{Drafts: ds, Guards: guards, ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	red := []string{"red"}
	queue := []*txn{
		tx("", nil, Draft{Key: "a", Tags: red}),                          // 0
		tx("", nil, Draft{Key: "a", Tags: red}),                          // with it: expects nothing
		tx("", nil, Draft{Key: "a", Expect: ExpectNew}),                  // 0 writes its key
		tx("", []Guard{{Tag: "red"}}, Draft{Key: "b"}),                   // 0 writes its tag
		tx("", []Guard{{Tag: "blue"}}, Draft{Key: "b"}),                  // with 0
		tx("", nil, Draft{Key: "c", Tags: []string{"blue"}}),             // behind that guard: with 0
		tx("me", nil, Draft{Key: "d"}),                                   // with 0
		tx("me", nil, Draft{Key: "d"}),                                   // the ID is there
		tx("", nil, Draft{Key: "e", Expect: ExpectNew}, Draft{Key: "f"}), // with 0
	}
	f.batches.queue = slices.Clone(queue)
	f.batches.working = true
	var got [][]int
	for group := f.batches.take(); group != nil; group = f.batches.take() {
		var is []int
		for _, x := range group {
			is = append(is, slices.Index(queue, x))
		}
		got = append(got, is)
	}
	if want := "[[0 1 4 5 6 8] [2 3 7]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(f.batches.queue) != 0 || f.batches.working {
		t.Errorf("%d left, working %v", len(f.batches.queue), f.batches.working)
	}
}

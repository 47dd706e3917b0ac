package eventlog_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// worked is an event that takes some microseconds to decode, and can't be
// decoded, or panics, at some numbers.
type worked struct{ N uint64 }

func (w *worked) MarshalMsg(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(append(b, 0xcf), w.N), nil
}

func (w *worked) UnmarshalMsg(b []byte) ([]byte, error) {
	if len(b) != 9 {
		return b, errors.New("not nine bytes")
	}
	n := binary.BigEndian.Uint64(b[1:])
	x := n
	for range 5_000 {
		x = x*6364136223846793005 + 1442695040888963407
	}
	switch {
	case x == 1:
		return b, errors.New("never")
	case n%997 == 13:
		return b, errors.New("not this one")
	case n%1009 == 17:
		panic("nor this one")
	}
	w.N = n
	return b[9:], nil
}

// workedFeed has a log of n events, three in each commit.
func workedFeed(t *testing.T, n int) *eventlog.Feed {
	t.Helper()
	f, err := logtest.Fresh(t).Feed(t.Context(), "f", eventlog.Type[worked]("worked"))
	if err != nil {
		t.Fatal(err)
	}
	var last *eventlog.Pending
	for i := 0; i < n; i += 3 {
		if last, err = f.AppendAsync(t.Context(), eventlog.Draft{
			Key: fmt.Sprint(i % 7), Events: []any{worked{uint64(i)}, worked{uint64(i + 1)}, worked{uint64(i + 2)}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// told is what a reader tells of each event.
func told(ctx context.Context, t *testing.T, f *eventlog.Feed, opts ...eventlog.ReadOption) (all []string) {
	t.Helper()
	for e, err := range f.Read(ctx, opts...) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := eventlog.Decode[worked](e)
		all = append(all, fmt.Sprint(e.Position(), e.ID(), v, err))
	}
	return all
}

// A replay tells the same with events decoded ahead and without: values,
// order, and the errors of those that can't be decoded (issue 4).
func TestDecodeAheadReplays(t *testing.T) {
	const n = 9_000
	ctx := logtest.Context(t)
	f := workedFeed(t, n)
	want := told(ctx, t, f, eventlog.DecodeAhead(0))
	if len(want) != n {
		t.Fatalf("%d events", len(want))
	}
	if m := f.Metrics(); m.Ahead != 0 {
		t.Fatalf("%d events were decoded ahead, and none should be", m.Ahead)
	}
	for _, opts := range [][]eventlog.ReadOption{nil, {eventlog.DecodeAhead(1)}, {eventlog.Follow(), eventlog.Until(n / 3)}} {
		got := told(ctx, t, f, opts...)
		if len(got) != len(want) {
			t.Fatalf("%d events, not %d", len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("event %d: %s, not %s", i, got[i], want[i])
			}
		}
	}
}

// Who leaves a batch, or whose context ends in it, leaves no worker behind:
// the log's memory is read no more when Close returns (under -race and
// tidemark_mangle that shows).
func TestDecodeAheadLeaves(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))))
	ctx := logtest.Context(t)
	f := workedFeed(t, 9_000)
	for leave := range 5 {
		r, err := f.NewReader(ctx)
		if err != nil {
			t.Fatal(err)
		}
		events := 0
		for batches := 0; batches < 4 || leave == 4; batches++ {
			ended, cancel := context.WithCancel(ctx)
			defer cancel()
			batch, err := r.Next(ended)
			if err != nil {
				t.Fatal(err)
			}
			if batch == nil {
				break
			}
			for i := range batch {
				if i == (leave*len(batch)+3)/4 {
					break
				}
				for j := range batch[i].Len() {
					v, err := eventlog.Decode[worked](batch[i].Event(j))
					if at := (batch[i].Seq-1)*3 + uint64(j); err == nil && v.N != at {
						t.Fatalf("event %d is %d", at, v.N)
					}
					events++
				}
			}
			if cancel(); leave == 2 {
				if _, err := r.Next(ended); !errors.Is(err, context.Canceled) {
					t.Fatalf("behind the context's end: %v", err)
				}
			}
		}
		if leave > 0 && events == 0 {
			t.Error("nothing was read")
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if f.Metrics().Ahead == 0 {
		t.Error("nothing was decoded ahead")
	}
}

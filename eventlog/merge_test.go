package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

func mergeFeeds(t testing.TB, log *eventlog.Log, names ...string) (feeds []*eventlog.Feed) {
	t.Helper()
	for _, name := range names {
		f, err := log.Feed(t.Context(), name, eventlog.Type[deposited]("deposited"))
		if err != nil {
			t.Fatal(err)
		}
		feeds = append(feeds, f)
	}
	return feeds
}

// seen appends an event whose writer had seen the given positions: "a@1 b@2".
func seen(t testing.TB, f *eventlog.Feed, positions string) eventlog.Position {
	t.Helper()
	m := map[string]uint64{}
	for s := range strings.FieldsSeq(positions) {
		name, n, _ := strings.Cut(s, "@")
		var seq uint64
		if _, err := fmt.Sscan(n, &seq); err != nil {
			t.Fatal(err)
		}
		m[name] = seq
	}
	tf, err := timeframe.FromMap(m)
	if err != nil {
		t.Fatal(err)
	}
	at, err := f.AppendDraft(t.Context(), eventlog.Draft{Key: "k", Events: []any{deposited{1}}, Seen: tf})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// R0.22: what a writer had seen comes before what it wrote, whichever feed is
// read faster; the end is a consistent one.
func TestMergeCausal(t *testing.T) {
	ctx := logtest.Context(t)
	fs := mergeFeeds(t, logtest.Fresh(t), "a", "b", "c")
	// b1 <- a1 <- c1 <- b2 <- a2
	seen(t, fs[1], "")
	seen(t, fs[0], "b@1")
	seen(t, fs[2], "a@1")
	seen(t, fs[1], "c@1 a@1")
	seen(t, fs[0], "b@2 a@1")
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}} {
		var got []string
		for e, err := range eventlog.Merge(ctx, eventlog.MergeOptions{}, fs[order[0]], fs[order[1]], fs[order[2]]) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Position().String())
		}
		if want := []string{"b@1", "a@1", "c@1", "b@2", "a@2"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	after, err := timeframe.Parse("a=1,b=1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range eventlog.Merge(ctx, eventlog.MergeOptions{After: after}, fs...) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Position().String())
	}
	if want := []string{"c@1", "b@2", "a@2"}; !slices.Equal(got, want) {
		t.Errorf("behind a position: %v, want %v", got, want)
	}
}

// T0.15, R0.23: an event that depends on an absent one is held and reported,
// naming what is missing; other feeds go on; the missing event releases it.
func TestMergeStall(t *testing.T) {
	ctx, cancel := context.WithCancel(logtest.Context(t))
	defer cancel()
	fs := mergeFeeds(t, logtest.Fresh(t), "a", "b", "c")
	a, b, c := fs[0], fs[1], fs[2]
	seen(t, a, "b@1")
	seen(t, a, "")
	seen(t, c, "")
	stalls := make(chan eventlog.Stall, 10)
	opts := eventlog.MergeOptions{Follow: true, StallAfter: 20 * time.Millisecond, Stalled: func(s eventlog.Stall) { stalls <- s }}
	var got []string
	var told sync.WaitGroup // its append is seen before it is acknowledged
	defer told.Wait()
	for e, err := range eventlog.Merge(ctx, opts, fs...) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		got = append(got, e.Position().String())
		switch e.Position().String() {
		case "c@1":
			told.Go(func() { // when the stall was told, c still goes on, and then b comes
				s := <-stalls
				if s.Position.String() != "a@1" || s.Missing.Len() != 1 || s.Cycle || s.For < 20*time.Millisecond || !strings.Contains(s.String(), "waits for") {
					t.Errorf("stall %+v", s)
				}
				seen(t, c, "")
			})
		case "c@2":
			seen(t, b, "")
		case "a@2":
			cancel()
		}
	}
	if want := []string{"c@1", "c@2", "b@1", "a@1", "a@2"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if len(stalls) != 0 {
		t.Errorf("told again: %v", <-stalls)
	}
}

// Without somebody to tell, a stall ends the merge, with what it lacks; a
// circle and a feed that isn't read do at once.
func TestMergeStallErrors(t *testing.T) {
	ctx := logtest.Context(t)
	fs := mergeFeeds(t, logtest.Fresh(t), "a", "b", "c", "d")
	a, b, c, d := fs[0], fs[1], fs[2], fs[3]
	seen(t, a, "b@1")
	seen(t, b, "a@1")
	seen(t, c, "b@9")
	seen(t, d, "elsewhere@3")
	last := func(opts eventlog.MergeOptions, feeds ...*eventlog.Feed) (n int, err error) {
		for _, err := range eventlog.Merge(ctx, opts, feeds...) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	_, err := last(eventlog.MergeOptions{StallAfter: time.Hour}, a, b)
	wantErr(t, err, eventlog.ErrStalled, "in turn", "a@1", "b@1")
	_, err = last(eventlog.MergeOptions{StallAfter: time.Hour, Stalled: func(eventlog.Stall) {}}, a, b)
	wantErr(t, err, eventlog.ErrStalled, "in turn")
	_, err = last(eventlog.MergeOptions{StallAfter: time.Millisecond}, c, b, a)
	wantErr(t, err, eventlog.ErrStalled)
	_, err = last(eventlog.MergeOptions{StallAfter: time.Hour}, d)
	wantErr(t, err, eventlog.ErrStalled, "elsewhere", "isn't read here")
	var told []eventlog.Stall
	n, err := last(eventlog.MergeOptions{Stalled: func(s eventlog.Stall) { told = append(told, s) }}, d)
	if n != 1 || err != nil || len(told) != 1 || !slices.Equal(told[0].Foreign, []string{"elsewhere"}) {
		t.Errorf("%d, %v, told %v", n, err, told)
	}
	_, err = last(eventlog.MergeOptions{Stalled: func(eventlog.Stall) { panic("x") }}, d)
	if err == nil || !strings.Contains(err.Error(), "merge_test.go:") {
		t.Errorf("%v", err)
	}
	_, err = last(eventlog.MergeOptions{})
	wantErr(t, err, eventlog.ErrInvalid, "no feed")
	_, err = last(eventlog.MergeOptions{}, a, a, nil)
	wantErr(t, err, eventlog.ErrInvalid, "twice", "nil feed")
	if s, ok := errors.AsType[*eventlog.StallError](func() error { _, err := last(eventlog.MergeOptions{}, a, b); return err }()); !ok || len(s.Stalls) != 2 {
		t.Errorf("%+v", s)
	}
}

// A feed that is held itself may have come past the marker that another one
// waits for, and that one goes on: whichever of them is there first.
func TestMergeMarkerOfAHeldFeed(t *testing.T) {
	ctx := logtest.Context(t)
	fs := mergeFeeds(t, logtest.Fresh(t), "a", "b")
	if _, err := fs[1].AppendDraft(ctx, eventlog.Draft{Key: "k", Events: []any{deposited{1}}, Tags: []string{"t"}}); err != nil {
		t.Fatal(err)
	}
	seen(t, fs[0], "b@2") // the marker
	seen(t, fs[1], "a@1")
	after, err := timeframe.Parse("b=1")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // which feed is there first is chance
		var got []string
		for e, err := range eventlog.Merge(ctx, eventlog.MergeOptions{After: after, StallAfter: time.Minute}, fs...) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Position().String())
		}
		if want := []string{"a@1", "b@3"}; !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

// Whatever was written in causal order is read in it, every feed in its own
// order, and all of it; what the log holds ends with markers and long feeds.
func TestMergeProperty(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	log := logtest.Open(t, eventlog.Options{App: logtest.App(t), Memory: true})
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		names := []string{fmt.Sprint("a-", run), fmt.Sprint("b-", run), fmt.Sprint("c-", run)}
		fs := mergeFeeds(t, log, names...)
		heads := map[string]uint64{}
		want := 0
		for range rapid.IntRange(0, 12).Draw(rt, "commits") {
			i := rapid.IntRange(0, 2).Draw(rt, "feed")
			known := map[string]uint64{}
			for _, name := range names {
				if rapid.Bool().Draw(rt, "knows") {
					known[name] = rapid.Uint64Range(0, heads[name]).Draw(rt, "of")
				}
			}
			tf, err := timeframe.FromMap(known)
			if err != nil {
				rt.Fatal(err)
			}
			d := eventlog.Draft{Key: "k", Events: []any{deposited{1}, deposited{2}}, Seen: tf}
			if rapid.IntRange(0, 3).Draw(rt, "tag") == 0 {
				d.Tags = []string{"t"} // a marker behind the commit
			}
			if _, err := fs[i].AppendDraft(ctx, d); err != nil {
				rt.Fatal(err)
			}
			st, err := fs[i].State(ctx)
			if err != nil {
				rt.Fatal(err)
			}
			heads[names[i]], want = st.Last, want+1
		}
		read := map[string]uint64{}
		for c, err := range eventlog.MergeCommits(ctx, eventlog.MergeOptions{StallAfter: time.Minute}, fs...) {
			if err != nil {
				rt.Fatal(err)
			}
			if c.Seq <= read[c.Feed] {
				rt.Fatalf("%s after %d", c.Position(), read[c.Feed])
			}
			known, err := c.Seen()
			if err != nil {
				rt.Fatal(err)
			}
			for feed, n := range known.All() {
				// Markers that come with a commit have been read with it.
				if feed != c.Feed && read[feed] < n && read[feed]+1 < n {
					rt.Fatalf("%s came before %s@%d", c.Position(), feed, n)
				}
			}
			read[c.Feed] = c.Seq
			want--
		}
		if want != 0 {
			rt.Fatalf("%d commits are missing", want)
		}
	})
}

package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// input yields n drafts over some keys, the i-th with ID "in/i".
func input(from, n, keys int) iter.Seq2[eventlog.Draft, error] {
	return func(yield func(eventlog.Draft, error) bool) {
		for i := from; i < from+n; i++ {
			if !yield(inputDraft(i, keys), nil) {
				return
			}
		}
	}
}

func inputDraft(i, keys int) eventlog.Draft {
	d := eventlog.Draft{Key: fmt.Sprint("k", i%keys), ID: fmt.Sprint("in/", i), Events: []any{deposited{int64(i)}}}
	if i%10 == 3 {
		d.Events = append(d.Events, opened{"x"})
	}
	return d
}

// imported reads the feed: the IDs of its events in order, by key.
func imported(t testing.TB, f *eventlog.Feed) (byKey map[string][]string, commits int) {
	t.Helper()
	byKey = make(map[string][]string)
	for c, err := range f.Commits(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		commits++
		for i := range c.Len() {
			byKey[c.Key] = append(byKey[c.Key], c.Event(i).ID())
		}
	}
	return byKey, commits
}

// wantInput checks that the feed has the first n of the input, once each and
// in the order of their key.
func wantInput(t testing.TB, f *eventlog.Feed, n, keys int) (commits int) {
	t.Helper()
	want := make(map[string][]string)
	for i := range n {
		d := inputDraft(i, keys)
		if len(d.Events) == 1 {
			want[d.Key] = append(want[d.Key], d.ID)
		} else {
			want[d.Key] = append(want[d.Key], d.ID+".0", d.ID+".1")
		}
	}
	got, commits := imported(t, f)
	for k := range want {
		if !slices.Equal(got[k], want[k]) {
			t.Fatalf("key %s: %d events %.200v, want %d %.200v", k, len(got[k]), got[k], len(want[k]), want[k])
		}
	}
	return commits
}

func TestImport(t *testing.T) {
	for _, pack := range []int{1, 20} {
		t.Run(fmt.Sprint("pack=", pack), func(t *testing.T) {
			ctx := logtest.Context(t)
			f := accounts(t, logtest.Fresh(t))
			const n, keys = 10_000, 50
			var last eventlog.ImportProgress
			res, err := f.Import(ctx, input(0, n, keys), eventlog.ImportOptions{Pack: pack, Progress: func(p eventlog.ImportProgress) { last = p }})
			if err != nil {
				t.Fatal(err)
			}
			commits := wantInput(t, f, n, keys)
			want := eventlog.ImportResult{Read: n, Appended: n, Commits: uint64(commits), Events: n + n/10, Last: eventlog.Position{Feed: "accounts", Seq: uint64(commits)}}
			if res != want || last.ImportResult != want {
				t.Errorf("result %+v, progress %+v, want %+v", res, last, want)
			}
			if max := n*11/10/(pack-1+1)*3/2 + keys; commits > max {
				t.Errorf("%d commits, more than %d", commits, max)
			}
			// Again, with more behind it and packed otherwise.
			res, err = f.Import(ctx, input(0, n+100, keys), eventlog.ImportOptions{Pack: 21 - pack})
			if err != nil || res.Skipped != n || res.Appended != 100 {
				t.Errorf("again: %+v, %v", res, err)
			}
			wantInput(t, f, n+100, keys)
			// A draft that was packed is recognised by an append, too.
			before := messages(t, f)
			if _, err := f.AppendDraft(ctx, inputDraft(777, keys)); err != nil || messages(t, f) != before {
				t.Errorf("append of what was imported: %v, %d messages, had %d", err, messages(t, f), before)
			}
		})
	}
}

func TestImportErrors(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	boom := errors.New("boom")
	for i, c := range []struct {
		bad   eventlog.Draft
		err   error
		class error
	}{
		{bad: eventlog.Draft{Key: "", Events: []any{deposited{1}}}, class: eventlog.ErrInvalidKey},
		{bad: eventlog.Draft{Key: "k", Events: []any{3}}, class: eventlog.ErrInvalidType},
		{bad: eventlog.Draft{Key: "k"}, class: eventlog.ErrInvalid},
		{bad: eventlog.Draft{Key: "k", Events: []any{opened{string(make([]byte, 2<<20))}}}, class: eventlog.ErrTooLarge},
		{bad: eventlog.Draft{Key: "k", Expect: eventlog.ExpectNew, Events: []any{deposited{1}}}, class: eventlog.ErrInvalid},
		{bad: eventlog.Draft{Key: "k", Tags: []string{"t"}, Events: []any{deposited{1}}}, class: eventlog.ErrInvalid},
		{bad: eventlog.Draft{Key: "k", Durability: eventlog.Synced, Events: []any{deposited{1}}}, class: eventlog.ErrInvalid},
		{bad: eventlog.Draft{Key: "other", ID: "in/0", Events: []any{deposited{1}}}, class: eventlog.ErrIdentity},
		{err: boom, class: boom},
	} {
		for _, pack := range []int{1, 7} {
			from := (2*i + pack/7) * 30
			res, err := f.Import(ctx, func(yield func(eventlog.Draft, error) bool) {
				for d := range input(from, 30, 3) {
					if !yield(d, nil) {
						return
					}
				}
				if !yield(c.bad, c.err) {
					return
				}
				for d := range input(1_000_000, 5000, 3) {
					if !yield(d, nil) {
						return
					}
				}
				if pack == 1 { // else the bad one may still wait for others
					t.Error("the input was read to its end")
				}
			}, eventlog.ImportOptions{Pack: pack})
			ie, ok := errors.AsType[*eventlog.ImportError](err)
			if !ok || !errors.Is(err, c.class) || ie.Index != 30 || ie.ID != c.bad.ID {
				t.Errorf("case %d: %v", i, err)
			}
			if res.Appended < 30 {
				t.Errorf("case %d: %+v", i, res)
			}
		}
	}
	if _, err := f.Import(ctx, input(0, 1, 1), eventlog.ImportOptions{Pack: -1, Window: -1}); !errors.Is(err, eventlog.ErrInvalid) {
		t.Error(err)
	}
}

// Others append meanwhile, to the same keys and with some of the same IDs.
func TestImportAmongOthers(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	const n, keys = 30_000, 20
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := f.AppendDraft(ctx, eventlog.Draft{Key: fmt.Sprint("k", i%keys), ID: fmt.Sprint("other/", i), Events: []any{opened{"o"}}}); err != nil {
				done <- err
				return
			}
			if j := i * 37 % n; i%3 == 0 {
				if _, err := f.AppendDraft(ctx, inputDraft(j, keys)); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	res, err := f.Import(ctx, input(0, n, keys), eventlog.ImportOptions{Window: 300})
	close(stop)
	if e := <-done; err != nil || e != nil {
		t.Fatal(err, e)
	}
	got, _ := imported(t, f)
	count := make(map[string]int)
	for _, ids := range got {
		for _, id := range ids {
			count[id]++
		}
	}
	for i := range n {
		d := inputDraft(i, keys)
		if len(d.Events) == 2 {
			d.ID += ".1"
		}
		if count[d.ID] != 1 {
			t.Fatalf("%s is there %d times", d.ID, count[d.ID])
		}
	}
	t.Logf("%+v", res)
}

// Cancelled at any moment and started again, in another order of the keys and
// packed differently: nothing is lost or doubled.
func TestImportResumed(t *testing.T) {
	f := accounts(t, logtest.Fresh(t))
	const n, keys = 6000, 30
	attempts := 0
	for after := uint64(0); ; attempts++ {
		ctx, cancel := context.WithCancel(logtest.Context(t))
		read := 0
		turned := func(yield func(eventlog.Draft, error) bool) {
			for k := range keys {
				for i := (k + attempts*7) % keys; i < n; i += keys {
					if read++; read == 450*(attempts+1) {
						cancel()
					}
					if !yield(inputDraft(i, keys), nil) {
						return
					}
				}
			}
		}
		res, err := f.Import(ctx, turned, eventlog.ImportOptions{Pack: 1 + attempts%4*5, Window: 64 << (attempts % 5), After: after})
		cancel()
		if err == nil {
			if res.Read != n || res.Appended+res.Skipped != n {
				t.Errorf("%+v", res)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	wantInput(t, f, n, keys)
	if attempts < 5 {
		t.Errorf("only %d attempts were cancelled", attempts)
	}
}

// A slow input is acknowledged as it comes, packed or not.
func TestImportSlowly(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	seen := make(chan uint64, 1000)
	res, err := f.Import(ctx, func(yield func(eventlog.Draft, error) bool) {
		for d := range input(0, 3, 1) {
			if !yield(d, nil) {
				return
			}
		}
		for n := range seen {
			if n == 3 {
				return
			}
		}
	}, eventlog.ImportOptions{Pack: 100, Progress: func(p eventlog.ImportProgress) { seen <- p.Appended }})
	if err != nil || res.Commits != 1 || res.Appended != 3 {
		t.Errorf("%+v, %v", res, err)
	}
}

package eventlog_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

// A key's history is the same by whichever way it is read: with all others,
// alone, and once more from memory; the stored messages too.
func TestKeyHistorySame(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	want := make(map[string][]timeframe.Fingerprint)
	for i := range 40 {
		d := eventlog.Draft{Key: fmt.Sprint("k.", i%4), Events: []any{deposited{int64(i)}}}
		if i%3 == 0 {
			d.ID, d.Causation = fmt.Sprint("id", i), "because"
			d.Events = append(d.Events, deposited{1})
		}
		if _, err := f.AppendDraft(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	for c, err := range f.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		want[c.Key] = append(want[c.Key], c.Fingerprint())
	}
	// The one that read everything is deleted when its reader is done.
	eventually(t, "no consumer", func() bool { return consumers(t, f) == 0 })
	for round := range 3 {
		for key, prints := range want {
			var got []timeframe.Fingerprint
			for c, err := range f.Commits(ctx, eventlog.OfKey(key)) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, c.Fingerprint())
			}
			if !slices.Equal(got, prints) {
				t.Errorf("round %d: %s has other messages", round, key)
			}
		}
	}
	if n := consumers(t, f); n != 0 {
		t.Errorf("%d consumers", n)
	}
}

// Random appends, trims and reads of keys, from memory or not, against what
// was appended.
func TestKeyHistoryProperty(t *testing.T) {
	eachFeed(t, func(rt *rapid.T, ctx context.Context, f *eventlog.Feed) {
		var model []string
		first := uint64(1)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key")
				put(t, f, key, 1)
				model = append(model, key)
			},
			"trim": func(rt *rapid.T) {
				if first > uint64(len(model)) {
					return // it is empty
				}
				first = rapid.Uint64Range(first, uint64(len(model))).Draw(rt, "below")
				purge(t, f, first)
			},
			"read": func(rt *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key")
				after := rapid.Uint64Range(0, uint64(len(model))).Draw(rt, "after")
				until := rapid.Uint64Range(1, uint64(len(model))+2).Draw(rt, "until")
				var want []uint64
				for i, k := range model {
					if seq := uint64(i + 1); k == key && seq > after && seq >= first && seq <= until {
						want = append(want, seq)
					}
				}
				got, err := seqs(ctx, f, eventlog.OfKey(key), eventlog.After(after), eventlog.Until(until))
				if after+1 < first {
					wantErr(t, err, eventlog.ErrTrimmed)
					got, err = seqs(ctx, f, eventlog.OfKey(key), eventlog.After(after), eventlog.Until(until), eventlog.AllowTrimmed())
				}
				if err != nil || !slices.Equal(got, want) {
					rt.Fatalf("of %q behind %d up to %d: got %v, want %v, %v", key, after, until, got, want, err)
				}
			},
		})
	})
}

// A history in memory that was trimmed twice is counted as it is now: nothing of
// it is read twice.
func TestKeyHistoryTrimmedTwice(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	for range 3 {
		put(t, f, "a", 1)
		put(t, f, "b", 1)
	}
	for i, want := range [][]uint64{{1, 3, 5, 7}, {3, 5, 7, 8}, {5, 7, 8, 9}, {7, 8, 9, 10}} {
		first := uint64(1 + 2*i)
		if first > 1 { // below 1 is everything for servers up to 2.11
			purge(t, f, first)
		}
		put(t, f, "a", 1)
		got, err := seqs(ctx, f, eventlog.OfKey("a"), eventlog.After(first-1))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("from %d: %v, want %v, %v", first, got, want, err)
		}
	}
}

// What an operator purged by hand isn't read from memory: it is an error, until
// it is registered.
func TestKeyHistoryErased(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "other", 1)
	put(t, f, "k", 5)
	put(t, f, "other", 1)
	for range 2 {
		if got, err := seqs(ctx, f, eventlog.OfKey("k")); err != nil || len(got) != 5 {
			t.Fatalf("%v, %v", got, err)
		}
	}
	subject, err := f.Subject("k")
	if err != nil {
		t.Fatal(err)
	}
	if err := jsStream(t, f).Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeKeep(1)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"k", "other"} {
		got, err := seqs(ctx, f, eventlog.OfKey(key))
		if wantErr(t, err, eventlog.ErrGap, "4 messages"); len(got) > 0 {
			t.Errorf("%s: %v", key, got)
		}
	}
	if _, err := f.AcceptGap(ctx, eventlog.Note{Reason: "purged by hand", By: "test"}, 0, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := seqs(ctx, f, eventlog.OfKey("k")); err != nil || !slices.Equal(got, []uint64{6}) {
		t.Errorf("%v, %v", got, err)
	}
}

// R3.13: a log that lost its tail, and used the numbers again, is read as it
// is now.
func TestKeyHistoryLostTail(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	s := startServer(t)
	f := accounts(t, s.open(t))
	put(t, f, "k", 5)
	s.stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	s.start()
	put(t, f, "k", 5)
	cents := func() (got []int64) {
		for e, err := range f.Read(ctx, eventlog.OfKey("k")) {
			if err != nil {
				t.Fatal(err)
			}
			d, err := eventlog.Decode[deposited](e)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, d.Cents)
		}
		return got
	}
	if got := cents(); !slices.Equal(got, []int64{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}) {
		t.Fatal(got)
	}
	for _, again := range [][]int64{nil, {7, 7, 7, 7, 7}, {8, 8, 8, 8, 8, 8}} {
		s.stop()
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(s.dir, os.DirFS(backup)); err != nil {
			t.Fatal(err)
		}
		s.start()
		for _, c := range again {
			if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{c}); err != nil {
				t.Fatal(err)
			}
		}
		if got := cents(); !slices.Equal(got, append([]int64{0, 1, 2, 3, 4}, again...)) {
			t.Errorf("after %v: %v", again, got)
		}
	}
}

// Thousands of keys are read at once without a consumer.
func TestKeysAtOnce(t *testing.T) {
	long(t)
	const keys = 2_000
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	for i := range 3 * keys {
		if _, err := f.AppendAsync(ctx, eventlog.Draft{Key: fmt.Sprint("k", i%keys), Events: []any{deposited{int64(i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are there", func() bool { return messages(t, f) == 3*keys })
	var wg sync.WaitGroup
	for k := range uint64(keys) {
		wg.Go(func() {
			got, err := seqs(ctx, f, eventlog.OfKey(fmt.Sprint("k", k)))
			if err != nil || !slices.Equal(got, []uint64{k + 1, k + 1 + keys, k + 1 + 2*keys}) {
				t.Errorf("k%d: %v, %v", k, got, err)
			}
		})
	}
	wg.Wait()
	if n := consumers(t, f); n != 0 {
		t.Errorf("%d consumers", n)
	}
}

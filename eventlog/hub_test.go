package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"pgregory.net/rapid"
)

func consumers(t testing.TB, f *eventlog.Feed) int {
	t.Helper()
	return jsStream(t, f).CachedInfo().State.Consumers
}

// T1.13: thousands of followers, of all and of one key, read the log once
// between them. What each costs is bounded.
func TestFollowersShareASource(t *testing.T) {
	long(t)
	const keys, more = 50, 100
	followers := 5_000
	if racing {
		followers = 500
	}
	f := accounts(t, logtest.Fresh(t))
	for k := range keys {
		put(t, f, fmt.Sprint("k", k), 1)
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(logtest.Context(t))
	defer cancel()
	var wg sync.WaitGroup
	var ready, done atomic.Int64
	for i := range followers {
		wg.Go(func() {
			want := span(1, keys+more)
			opts := []eventlog.ReadOption{eventlog.Follow()}
			if i%2 == 0 {
				k := i / 2 % keys
				opts = append(opts, eventlog.OfKey(fmt.Sprint("k", k)))
				want = []uint64{uint64(k + 1)}
				for seq := uint64(k + 1 + keys); seq <= keys+more; seq += keys {
					want = append(want, seq)
				}
			}
			at := 0
			for c, err := range f.Commits(ctx, opts...) {
				if err != nil {
					if !errors.Is(err, context.Canceled) || at != len(want) {
						t.Errorf("follower %d ended at %d of %d: %v", i, at, len(want), err)
					}
					return
				}
				if at == len(want) || c.Seq != want[at] {
					t.Errorf("follower %d got %d at %d", i, c.Seq, at)
					return
				}
				if at++; at == 1 {
					ready.Add(1)
				}
				if at == len(want) {
					done.Add(1)
				}
			}
		})
	}
	eventually(t, "all have begun", func() bool { return ready.Load() == int64(followers) || t.Failed() })
	for i := range more {
		put(t, f, fmt.Sprint("k", i%keys), 1)
	}
	eventually(t, "all have all", func() bool { return done.Load() == int64(followers) || t.Failed() })
	eventually(t, "one consumer", func() bool { return consumers(t, f) == 1 })
	// Half of them have the last messages of all still in their batch.
	each := (heap() - before) / int64(followers)
	extra := runtime.NumGoroutine() - goroutines - followers
	t.Logf("%d followers: %d goroutines beside theirs, %d bytes of heap each", followers, extra, each)
	if extra > 50 || each > 24<<10 {
		t.Errorf("%d followers: %d goroutines beside theirs, %d bytes of heap each", followers, extra, each)
	}
	cancel()
	wg.Wait()
	eventually(t, "no consumer", func() bool { return consumers(t, f) == 0 })
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A follower that doesn't keep up holds nobody up, and misses nothing: more
// comes than is kept for it.
func TestSlowFollower(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 10)
	slow, stopSlow := follow(ctx, t, f)
	defer stopSlow()
	slowKey, stopSlowKey := follow(ctx, t, f, eventlog.OfKey("k"))
	defer stopSlowKey()
	fast, stopFast := follow(ctx, t, f, eventlog.After(10))
	defer stopFast()
	for want := uint64(1); want <= 10; want++ {
		slow(want)
		slowKey(want)
	}
	const rounds, n = 3, 12_000
	for round := range uint64(rounds) {
		from := 10 + round*(n+1) + 1
		put(t, f, "k", 1)
		put(t, f, "other", n)
		for want := from; want <= from+n; want++ {
			fast(want)
		}
	}
	for round := range uint64(rounds) {
		slowKey(10 + round*(n+1) + 1)
	}
	last := uint64(10 + rounds*(n+1))
	for want := uint64(11); want <= last; want++ {
		slow(want)
	}
	put(t, f, "k", 1)
	slow(last + 1)
	slowKey(last + 1)
	fast(last + 1)
	eventually(t, "one consumer", func() bool { return consumers(t, f) == 1 })
}

// R3.13: a log that lost its tail is an error to each follower, also where it
// has grown beyond what was lost.
func TestFollowersLostTail(t *testing.T) {
	long(t)
	for name, again := range map[string]int{"short": 0, "grown": 30} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := logtest.Context(t)
			s := startServer(t)
			f := accounts(t, s.open(t))
			put(t, f, "k", 10)
			s.stop()
			backup := filepath.Join(t.TempDir(), "backup")
			if err := os.CopyFS(backup, os.DirFS(s.dir)); err != nil {
				t.Fatal(err)
			}
			s.start()
			put(t, f, "k", 10)
			failed := make(chan error, 40)
			var at atomic.Int64
			for i := range cap(failed) {
				opts := []eventlog.ReadOption{eventlog.Follow()}
				if i%2 == 0 {
					opts = append(opts, eventlog.OfKey("k"))
				}
				go func() {
					for _, err := range f.Commits(ctx, opts...) {
						if err != nil {
							failed <- err
							return
						}
						at.Add(1)
					}
				}()
			}
			eventually(t, "all have read all", func() bool { return at.Load() == int64(20*cap(failed)) })
			s.stop()
			if err := os.RemoveAll(s.dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(s.dir, os.DirFS(backup)); err != nil {
				t.Fatal(err)
			}
			s.start()
			if again > 0 {
				put(t, f, "k", again)
			}
			for range cap(failed) {
				wantErr(t, <-failed, eventlog.ErrLostTail)
			}
		})
	}
}

// Random appends, followers and cancellations against what is in the log:
// each follower sees what follows on its start, once and in order. T1.13
func TestFollowersProperty(t *testing.T) {
	eachFeed(t, func(rt *rapid.T, ctx context.Context, f *eventlog.Feed) {
		var model []string // the key of each sequence
		type watch struct {
			r     *eventlog.Reader
			key   string
			after uint64
		}
		var watches []*watch
		step := func(w *watch) {
			skip := func(i uint64) uint64 {
				for w.key != "" && i < uint64(len(model)) && model[i] != w.key {
					i++
				}
				return i
			}
			for i := skip(w.after); i < uint64(len(model)); i = skip(i) {
				batch, err := w.r.Next(ctx)
				if err != nil {
					rt.Fatal(err)
				}
				for _, c := range batch {
					if i = skip(i); i >= uint64(len(model)) || c.Seq != i+1 || c.Key != model[i] {
						rt.Fatalf("behind %d: got %d of %q", i, c.Seq, c.Key)
					}
					i++
				}
				w.after = i
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
				n := rapid.SampledFrom([]int{1, 2, 300}).Draw(rt, "n")
				put(t, f, key, n)
				for range n {
					model = append(model, key)
				}
			},
			"follow": func(rt *rapid.T) {
				w := &watch{
					key:   rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(rt, "of"),
					after: rapid.Uint64Range(0, uint64(len(model))).Draw(rt, "after"),
				}
				opts := []eventlog.ReadOption{eventlog.Follow(), eventlog.After(w.after)}
				if w.key != "" {
					opts = append(opts, eventlog.OfKey(w.key))
				}
				var err error
				if w.r, err = f.NewReader(ctx, opts...); err != nil {
					rt.Fatal(err)
				}
				watches = append(watches, w)
			},
			"read": func(rt *rapid.T) {
				if len(watches) > 0 {
					step(rapid.SampledFrom(watches).Draw(rt, "who"))
				}
			},
			"cancel": func(rt *rapid.T) {
				if len(watches) == 0 {
					return
				}
				i := rapid.IntRange(0, len(watches)-1).Draw(rt, "who")
				_ = watches[i].r.Close()
				watches = append(watches[:i], watches[i+1:]...)
			},
		})
		for _, w := range watches {
			step(w)
			_ = w.r.Close()
		}
		eventually(t, "no consumer is left", func() bool { return consumers(t, f) == 0 })
	})
}

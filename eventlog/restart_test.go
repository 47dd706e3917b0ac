package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// A follower goes through a restart of the server in order, each commit once;
// appends that were under way arrive once.
func TestFollowThroughRestart(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	s := startServer(t)
	f := accounts(t, s.open(t))
	next, stop := follow(ctx, t, f)
	defer stop()
	keyed, stopKeyed := follow(ctx, t, f, eventlog.OfKey("k"))
	defer stopKeyed()
	put(t, f, "k", 20)
	for want := range uint64(20) {
		next(want + 1)
		keyed(want + 1)
	}
	s.stop()
	var ps []*eventlog.Pending
	for i := range 10 {
		p, err := f.AppendAsync(ctx, eventlog.Draft{Key: "k", Events: []any{deposited{int64(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	d, err := f.AppendAsync(ctx, identified(1, eventlog.ExpectAny))
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, f.Log().Healthy(ctx), eventlog.ErrUnavailable)
	s.start()
	for _, p := range append(ps, d) {
		if _, err := p.Wait(ctx); err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
			t.Error(err)
		}
	}
	last := put(t, f, "k", 20)
	for want := uint64(21); want <= last.Seq; want++ {
		next(want)
		keyed(want)
	}
	if n := messages(t, f); n != last.Seq || n < 50 {
		t.Errorf("%d messages, the last is %v", n, last)
	}
	if err := f.Log().Healthy(ctx); err != nil {
		t.Error(err)
	}
	if m := f.Metrics(); m.Restarts == 0 || m.InFlight != 0 {
		t.Errorf("metrics %+v", m)
	}
}

// R3.13: the server comes back with an older copy of its files, and then the
// lost sequences are given out again. A follower must not go on as if nothing
// had happened, and a reader from the old position neither.
func TestFollowLostTail(t *testing.T) {
	long(t)
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
	r, err := f.NewReader(ctx, eventlog.Follow())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for last := uint64(0); last < 20; {
		b, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		last = b[len(b)-1].Seq
	}
	before, err := f.Observe(ctx, 10, 12)
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	s.start()
	_, err = r.Next(ctx)
	re, ok := errors.AsType[*eventlog.RangeError](err)
	if !ok || !errors.Is(err, eventlog.ErrLostTail) || re.Last != 10 || re.Want != 21 {
		t.Fatalf("got %v", err)
	}
	put(t, f, "k", 5)
	_, err = seqs(ctx, f, eventlog.After(20))
	wantErr(t, err, eventlog.ErrLostTail)
	after, err := f.Observe(ctx, 10, 12)
	if err != nil || after.Prints[10] != before.Prints[10] || after.Prints[12] == before.Prints[12] {
		t.Errorf("fingerprints: %v, %v, %v", before.Prints, after.Prints, err)
	}
}

// T1.1: the server goes away under the appends, with some acknowledgements.
// Each caller gets its position all the same, and nothing is there twice.
func TestAppendThroughRestarts(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	s := startServer(t)
	f := accounts(t, s.open(t))
	var done atomic.Bool
	var count atomic.Int64
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			key, last, n := fmt.Sprint("k", g), uint64(0), uint64(0)
			for ; !done.Load(); n++ {
				d := eventlog.Draft{Key: key, Events: []any{deposited{int64(n)}}}
				switch g % 3 {
				case 0:
					d.Expect = eventlog.ExpectSeq(last)
				case 1:
					d.ID = eventlog.ActorID(key, n)
				}
				at, err := f.AppendDraft(ctx, d)
				if err != nil || at.Seq <= last {
					t.Errorf("%s: append %d: %v behind %d, %v", key, n, at, last, err)
					return
				}
				last = at.Seq
				count.Add(1)
			}
			if got, err := seqs(ctx, f, eventlog.OfKey(key)); err != nil || uint64(len(got)) != n || got[n-1] != last {
				t.Errorf("%s: %d commits, want %d up to %d; %v", key, len(got), n, last, err)
			}
		})
	}
	for range 3 {
		reached := count.Load() + 300
		eventually(t, "appends go on", func() bool { return count.Load() > reached || t.Failed() })
		s.stop()
		s.start()
	}
	reached := count.Load() + 100
	eventually(t, "appends go on", func() bool { return count.Load() > reached || t.Failed() })
	done.Store(true)
	wg.Wait()
	if m := f.Metrics(); m.Retries == 0 || m.Ambiguous != 0 || m.Conflicts != 0 || m.Commits != uint64(count.Load()) {
		t.Errorf("metrics %+v, %d appended", m, count.Load())
	}
}

// A server that goes away while a reader with an end is in the middle.
func TestReadThroughRestart(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	s := startServer(t)
	f := accounts(t, s.open(t))
	put(t, f, "k", 30_000) // more than is asked for ahead
	want := uint64(1)
	for c, err := range f.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Seq != want {
			t.Fatalf("got %d, want %d", c.Seq, want)
		}
		if want == 5 || want == 25_000 {
			s.stop()
			s.start()
		}
		want++
	}
	if want != 30_001 {
		t.Errorf("read up to %d", want-1)
	}
}

// An append while the server is away for longer than it is looked for is
// definite where nothing was sent.
func TestAppendWithoutServer(t *testing.T) {
	long(t)
	s := startServer(t)
	log, err := eventlog.Open(t.Context(), eventlog.Options{
		App: "a", URL: fmt.Sprintf("nats://127.0.0.1:%d", s.port), ResolveTimeout: 500e6, RequestTimeout: 200e6,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	f := accounts(t, log)
	s.stop()
	eventually(t, "the client notices", func() bool { return !log.Conn().IsConnected() })
	// Until the writer's own connection notices, what is sent may have come.
	eventually(t, "the writer notices", func() bool {
		_, err = f.Append(t.Context(), "k", eventlog.ExpectAny, deposited{1})
		return !errors.Is(err, eventlog.ErrAmbiguous)
	})
	wantErr(t, err, eventlog.ErrUnavailable, "nothing was stored")
	_, err = f.AppendDraft(t.Context(), identified(1, eventlog.ExpectAny))
	wantErr(t, err, eventlog.ErrUnavailable)
	_, err = f.State(t.Context())
	wantErr(t, err, eventlog.ErrUnavailable)
	_, err = f.NewReader(t.Context())
	wantErr(t, err, eventlog.ErrUnavailable)
	_, err = log.Feed(t.Context(), "others")
	wantErr(t, err, eventlog.ErrUnavailable)
	s.start()
	eventually(t, "it is back", func() bool { return log.Healthy(t.Context()) == nil })
	if at, err := f.AppendDraft(t.Context(), identified(1, eventlog.ExpectAny)); err != nil || at.Seq != 1 {
		t.Errorf("again: %v, %v", at, err)
	}
}

// A follower that is catching up when the server goes away waits for it, as
// one does that is at the log's end.
func TestCatchUpThroughRestart(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	s := startServer(t)
	f := accounts(t, s.open(t))
	const n = 2_500 // several requests of stored messages
	put(t, f, "k", n)
	r, err := f.NewReader(ctx, eventlog.Follow(), eventlog.OfKey("k"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	last := uint64(0)
	take := func(batch []eventlog.Commit) {
		for i := range batch {
			if last++; batch[i].Seq != last {
				t.Fatalf("got %d behind %d", batch[i].Seq, last-1)
			}
		}
	}
	batch, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	take(batch)
	s.stop()
	eventually(t, "the connection is lost", func() bool { return !f.Log().Conn().IsConnected() })
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := r.Next(short); !errors.Is(err, context.DeadlineExceeded) || last == n {
		t.Fatalf("at %d, without a server: %v", last, err)
	}
	s.start()
	for last < n {
		if batch, err = r.Next(ctx); err != nil {
			t.Fatal(err)
		}
		take(batch)
	}
}

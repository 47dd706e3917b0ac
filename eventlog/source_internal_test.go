package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/timeframe"
)

// sources are all there are that read a whole feed: each passes the suite of
// this file. blockTail, which is a tail except beside what the process appends,
// has tests of its own.
var sources = map[string]func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error){
	"tail": func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		return f.openTail(ctx, after, mark{}, "", trimmed)
	},
	"bulk": func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		return f.openBulk(ctx, after, mark{}, trimmed)
	},
	"leader": func(_ context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		return f.openLeader(after, mark{}, math.MaxUint64, "", trimmed), nil
	},
	"led": func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		st, err := f.State(ctx)
		if err != nil {
			return nil, err
		}
		t, err := f.openTail(ctx, after, mark{}, "", trimmed)
		return &ledTail{f: f, trimmed: trimmed, term: st.term, tail: t, at: after}, err
	},
	"proven": func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		t, err := f.openTail(ctx, after, mark{}, "", trimmed)
		return &provenTail{f: f, tail: t, at: after}, err
	},
	"follower": func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		st, err := f.State(ctx)
		if err != nil {
			return nil, err
		}
		// One with an end says when nothing comes, as the suite needs it.
		return f.openFollower(ctx, after, mark{}, st.Last, "", trimmed, math.MaxUint64-1)
	},
	"follower-bulk": func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		f.bulkLeast = 1
		st, err := f.State(ctx)
		if err != nil {
			return nil, err
		}
		return f.openFollower(ctx, after, mark{}, st.Last, "", trimmed, math.MaxUint64-1)
	},
	"follower-history": func(ctx context.Context, f *Feed, after uint64, trimmed bool) (source, error) {
		for len(f.hub.catching) < hubCatching {
			f.hub.catching <- struct{}{} // as if others were catching up
		}
		st, err := f.State(ctx)
		if err != nil {
			return nil, err
		}
		return f.openFollower(ctx, after, mark{}, st.Last, "", trimmed, math.MaxUint64-1)
	},
}

// eachSource runs a test of the suite.
func eachSource(t *testing.T, run func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source)) {
	for name, make := range sources {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *Feed, after uint64) source {
				t.Helper()
				s, err := make(t.Context(), f, after, true)
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

// standalone is a server that can be stopped and started on its directory.
type standalone struct {
	t    *testing.T
	dir  string
	port int
	srv  *server.Server

	users []*server.User
}

func newStandalone(t *testing.T) *standalone { return standaloneOn(t, t.TempDir()) }

func standaloneOn(t *testing.T, dir string) *standalone {
	s := &standalone{t: t, dir: dir, port: server.RANDOM_PORT}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *standalone) start() {
	s.t.Helper()
	var err error
	s.srv, err = server.NewServer(&server.Options{
		ServerName: "s", Host: "127.0.0.1", Port: s.port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: s.dir, Users: s.users,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.srv.Start()
	if !s.srv.ReadyForConnections(time.Minute) {
		s.t.Fatal("the server doesn't start")
	}
	if s.port == server.RANDOM_PORT {
		_, _ = fmt.Sscan(s.srv.ClientURL()[strings.LastIndexByte(s.srv.ClientURL(), ':')+1:], &s.port)
	}
}

func (s *standalone) stop() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

func (s *standalone) feed() *Feed {
	return suiteFeed(s.t, Options{App: "suite", URL: fmt.Sprintf("nats://127.0.0.1:%d", s.port)})
}

func suiteFeed(t *testing.T, o Options) *Feed {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f, err := l.Feed(t.Context(), "accounts", Type[goldenOpened]("opened"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// grow appends n commits of about size bytes; some have tags, and so markers.
func grow(t *testing.T, f *Feed, n, size int, tags ...string) {
	t.Helper()
	var ps []*Pending
	for i := range n {
		d := Draft{Key: fmt.Sprint("k", i%7), Events: []any{goldenOpened{Owner: strings.Repeat("x", size)}}}
		if i%3 == 0 {
			d.Header = map[string]string{"Trace": fmt.Sprint("t ", i)}
		}
		p, err := f.AppendAsync(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	for _, p := range ps {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, tag := range tags {
		if _, err := f.AppendTransaction(t.Context(), Transaction{Drafts: []Draft{{Key: "k", Tags: []string{tag}, Events: []any{goldenOpened{}}}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// pull reads up to a sequence: every one behind after, once and in order. It
// returns their fingerprints, taken while they were lent.
func pull(t *testing.T, s source, after, until uint64) map[uint64]timeframe.Fingerprint {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	prints := make(map[uint64]timeframe.Fingerprint)
	for after < until {
		msgs, err := s.next(ctx)
		if err != nil {
			t.Fatalf("behind %d: %v", after, err)
		}
		for i := range msgs {
			if msgs[i].seq != after+1 {
				t.Fatalf("%d comes behind %d", msgs[i].seq, after)
			}
			after++
			prints[after] = msgs[i].fingerprint()
		}
	}
	if after != until {
		t.Fatalf("read up to %d, not %d", after, until)
	}
	return prints
}

// Every message once, in order, from any position, markers too; each is what
// the leader has, bit for bit; and what is appended later comes live.
func TestSourceOrder(t *testing.T) {
	f := suiteFeed(t, Options{App: "suite", Memory: true})
	grow(t, f, 3000, 100, "red", "blue", "red")
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := st.Last
	eachSource(t, func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source) {
		for _, after := range []uint64{0, 1, 1024, last - 7, last - 1, last} {
			s := open(t, f, after)
			prints := pull(t, s, after, last)
			for seq := last; seq > after && seq > last-20; seq-- {
				m, ok, err := f.get(t.Context(), getRequest{Seq: seq})
				if err != nil || !ok || m.fingerprint() != prints[seq] {
					t.Errorf("message %d isn't the leader's (%v)", seq, err)
				}
			}
			s.close()
		}
	})
	eachSource(t, func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source) {
		s := open(t, f, last-3)
		defer s.close()
		pull(t, s, last-3, last)
		for range 3 {
			grow(t, f, 2, 10)
			pull(t, s, last, last+2)
			last += 2
		}
	})
}

// Messages of 1 byte to nearly the largest size, mixed: several blocks make
// one, and many one block.
func TestSourceSizes(t *testing.T) {
	if testing.Short() {
		t.Skip("appends 30 MB")
	}
	f := suiteFeed(t, Options{App: "suite", Dir: t.TempDir(), MaxPayload: 4 << 20})
	for i, size := range []int{1, 1 << 20, 3, 4<<20 - 500, 4<<20 - 500, 70_000, 1 << 20, 5, 2 << 20, 1<<20 - 60, 1<<20 - 59, 9} {
		grow(t, f, 1+i%3*40/(1+size/1000), size)
	}
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var first map[uint64]timeframe.Fingerprint
	eachSource(t, func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source) {
		s := open(t, f, 0)
		defer s.close()
		prints := pull(t, s, 0, st.Last)
		if first == nil {
			first = prints
		}
		for seq, p := range prints {
			if first[seq] != p {
				t.Fatalf("message %d isn't the same through every source", seq)
			}
		}
	})
}

// T0.5: what is trimmed below the cursor isn't missed; what is trimmed above
// it is left out, and the next one comes.
func TestSourceTrim(t *testing.T) {
	eachSource(t, func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source) {
		f := suiteFeed(t, Options{App: "suite", Memory: true})
		grow(t, f, 2500, 1000)
		s := open(t, f, 0)
		defer s.close()
		pull(t, s, 0, 2500)
		trim(t, f, 2501)
		grow(t, f, 10, 1000)
		pull(t, s, 2500, 2510)
		trim(t, f, 2511)
		grow(t, f, 10, 1000)
		pull(t, s, 2510, 2520)

		s = open(t, f, 2512)
		defer s.close()
		pull(t, s, 2512, 2520)
	})
}

func trim(t *testing.T, f *Feed, below uint64) {
	t.Helper()
	s, err := f.log.js.Stream(t.Context(), f.stream)
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSequence(below))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A context that ends doesn't end the source; the feed's end does, and close
// leaves nothing behind, wherever reading is.
func TestSourceEnds(t *testing.T) {
	eachSource(t, func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source) {
		f := suiteFeed(t, Options{App: "suite", Memory: true})
		grow(t, f, 1500, 1000)
		open(t, f, 0).close()
		s := open(t, f, 0)
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		msgs, err := s.next(ctx)
		if err == nil { // what has come may be returned
			if len(msgs) == 0 || msgs[0].seq != 1 {
				t.Fatalf("%d messages", len(msgs))
			}
			pull(t, s, msgs[len(msgs)-1].seq, 1500)
		} else {
			if !errors.Is(err, why) {
				t.Errorf("%v", err)
			}
			pull(t, s, 0, 1500)
		}
		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Millisecond, func() { cancel(why) })
		for err = nil; err == nil; {
			_, err = s.next(ctx)
		}
		if !errors.Is(err, why) {
			t.Errorf("while it waited: %v", err)
		}
		time.AfterFunc(5*time.Millisecond, func() { _ = f.log.Close() })
		for err = nil; err == nil; {
			_, err = s.next(t.Context())
		}
		if !errors.Is(err, ErrClosed) {
			t.Errorf("of a closed log: %v", err)
		}
		s.close()
	})
}

// The server goes away in the middle and comes back.
func TestSourceRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a connection to come back")
	}
	const n = 25_000 // more than is asked for ahead, in number and in bytes
	full := newStandalone(t)
	f := full.feed()
	grow(t, f, n, 800)
	_ = f.log.Close()
	full.stop()
	eachSource(t, func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(full.dir)); err != nil {
			t.Fatal(err)
		}
		srv := standaloneOn(t, dir)
		f := srv.feed()
		s := open(t, f, 0)
		defer s.close()
		msgs, err := s.next(t.Context())
		for err == nil && len(msgs) == 0 {
			msgs, err = s.next(t.Context())
		}
		if err != nil || msgs[0].seq != 1 {
			t.Fatal(err)
		}
		at := msgs[len(msgs)-1].seq
		srv.stop()
		srv.start()
		pull(t, s, at, n)
		grow(t, f, 5, 1)
		pull(t, s, n, n+5)
	})
}

// R3.13: the log loses its tail under a source, and its numbers are used
// again: that is an error, whether the source had begun to wait or not.
func TestSourceLostTail(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a connection to come back")
	}
	eachSource(t, func(t *testing.T, open func(t *testing.T, f *Feed, after uint64) source) {
		srv := newStandalone(t)
		f := srv.feed()
		grow(t, f, 100, 10)
		srv.stop()
		older := t.TempDir()
		if err := os.CopyFS(older, os.DirFS(srv.dir)); err != nil {
			t.Fatal(err)
		}
		srv.start()
		grow(t, f, 200, 10)
		s, waiting := open(t, f, 0), open(t, f, 0)
		defer s.close()
		defer waiting.close()
		pull(t, s, 0, 300)
		pull(t, waiting, 0, 300)
		if msgs, err := waiting.next(t.Context()); len(msgs) > 0 || err != nil {
			t.Fatalf("%d messages, %v", len(msgs), err)
		}
		srv.stop()
		if err := os.RemoveAll(srv.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(srv.dir, os.DirFS(older)); err != nil {
			t.Fatal(err)
		}
		srv.start()
		grow(t, f, 250, 11)
		for name, s := range map[string]source{"reading": s, "waiting": waiting} {
			var msgs []message
			var err error
			for err == nil {
				msgs, err = s.next(t.Context())
				if len(msgs) > 0 {
					t.Fatalf("%s: %d comes behind 300", name, msgs[0].seq)
				}
			}
			if !errors.Is(err, ErrLostTail) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

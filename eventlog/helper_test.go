package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"pgregory.net/rapid"
)

// put appends n single-event commits to a key and returns the last position.
func put(t testing.TB, f *eventlog.Feed, key string, n int) (at eventlog.Position) {
	t.Helper()
	ps := make([]*eventlog.Pending, n)
	for i := range ps {
		var err error
		if ps[i], err = f.AppendAsync(t.Context(), eventlog.Draft{Key: key, Events: []any{deposited{int64(i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range ps {
		var err error
		if at, err = p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// seqs reads to the end and returns the commits' sequences.
func seqs(ctx context.Context, f *eventlog.Feed, opts ...eventlog.ReadOption) (got []uint64, err error) {
	for c, err := range f.Commits(ctx, opts...) {
		if err != nil {
			return got, err
		}
		got = append(got, c.Seq)
	}
	return got, nil
}

// span is from, from+1, ..., to.
func span(from, to uint64) (s []uint64) {
	for ; from <= to; from++ {
		s = append(s, from)
	}
	return s
}

func messages(t testing.TB, f *eventlog.Feed) uint64 {
	t.Helper()
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.Messages
}

func jsStream(t testing.TB, f *eventlog.Feed) jetstream.Stream {
	t.Helper()
	s, err := f.Log().JetStream().Stream(t.Context(), f.Stream())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func purge(t testing.TB, f *eventlog.Feed, below uint64) {
	t.Helper()
	if err := jsStream(t, f).Purge(t.Context(), jetstream.WithPurgeSequence(below)); err != nil {
		t.Fatal(err)
	}
}

// reconfigure changes the stream behind a feed, as an operator might.
func reconfigure(t testing.TB, f *eventlog.Feed, change func(*jetstream.StreamConfig)) {
	t.Helper()
	cfg := jsStream(t, f).CachedInfo().Config
	change(&cfg)
	if _, err := f.Log().JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatalf("never: %s", what)
}

// testServer is a server of the test's own, which can be stopped and started
// again at the same address.
type testServer struct {
	t    testing.TB
	dir  string
	port int
	srv  *server.Server
	more func(*server.Options) // further options, at each start
}

func startServer(t testing.TB, more ...func(*server.Options)) *testServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{t: t, dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port, more: func(*server.Options) {}}
	if len(more) > 0 {
		s.more = more[0]
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *testServer) start() {
	s.t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: s.port, JetStream: true, StoreDir: s.dir, NoSigs: true, NoLog: true}
	s.more(o)
	srv, err := server.NewServer(o)
	if err != nil {
		s.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		s.t.Fatal("the server did not start")
	}
	s.srv = srv
}

func (s *testServer) stop() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

func (s *testServer) open(t testing.TB) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Options{
		App: logtest.App(t), URL: fmt.Sprintf("nats://127.0.0.1:%d", s.port), RequestTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func wantErr(t testing.TB, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("got %v, want %v", err, class)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q doesn't say %q", err, w)
		}
	}
}

// eachFeed runs a property test, each run on a feed of its own, of which the
// log has 40 at most.
func eachFeed(t *testing.T, run func(rt *rapid.T, ctx context.Context, f *eventlog.Feed)) {
	t.Helper()
	long(t)
	log := logtest.Fresh(t)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		if runs++; runs > 40 {
			return
		}
		ctx := logtest.Context(t)
		f, err := log.Feed(ctx, fmt.Sprint("accounts-", runs), eventlog.Type[deposited]("deposited"))
		if err != nil {
			rt.Fatal(err)
		}
		run(rt, ctx, f)
	})
}

// long marks a test that takes more than about a second: it waits for servers
// to restart, or reads and writes much. The CI runs all of them in its first
// step; -short, and so the race detector's step, leaves them out.
func long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes more than a second, by restarts or much data: run without -short")
	}
}

const childVariable = "TIDEMARK_TEST_CHILD"

// childMain is this test binary, run by one of its tests to be killed: it
// appends to the log in the directory that the variable names, and prints
// each position that was acknowledged.
func childMain() int {
	if dir, ok := strings.CutPrefix(os.Getenv(childVariable), "open "); ok {
		_, err := eventlog.Open(context.Background(), eventlog.Options{App: "a", Dir: dir})
		fmt.Println(err)
		return 0
	}
	if at, ok := strings.CutPrefix(os.Getenv(childVariable), "import "); ok {
		return importingChild(at)
	}
	log, err := eventlog.Open(context.Background(), eventlog.Options{App: "child", Dir: os.Getenv(childVariable)})
	if err != nil {
		fmt.Println("open:", err)
		return 3
	}
	f, err := log.Feed(context.Background(), "accounts", eventlog.Type[deposited]("deposited"))
	if err != nil {
		fmt.Println("feed:", err)
		return 3
	}
	for i := 0; ; i++ {
		at, err := f.Append(context.Background(), "k", eventlog.ExpectAny, deposited{int64(i)}, deposited{int64(-i)})
		if err != nil {
			fmt.Println("append:", err)
			return 3
		}
		fmt.Println("at", at.Seq, i)
	}
}

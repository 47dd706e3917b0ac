package eventlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// listening starts a server that is reached over TCP.
func listening(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		ServerName: "listening", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(),
	}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server doesn't start")
	}
	return s
}

// openedAt opens a feed on a server.
func openedAt(t *testing.T, o Options) *Feed {
	t.Helper()
	o.App = "remote"
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

func appendOne(t *testing.T, f *Feed, want uint64) {
	t.Helper()
	if pos, err := f.Append(t.Context(), "k", ExpectAny, goldenOpened{"x"}); err != nil || pos.Seq != want {
		t.Errorf("%v, %v, want %d", pos, err, want)
	}
}

// second gives the feed's writer a second connection, as to a leader.
func second(t *testing.T, f *Feed) (*leaderLink, *nats.Conn) {
	t.Helper()
	l, ok := f.writer.link.(*leaderLink)
	if !ok {
		t.Fatalf("it writes through %T", f.writer.link)
	}
	nc, err := f.dialSecond(f.log.nc.Servers()[0])
	if err != nil {
		t.Fatal(err)
	}
	used := false
	f.writer.quietly(time.Minute, func() { used = l.use(nc) == nil })
	if !used {
		t.Fatal("the second connection isn't used")
	}
	return l, nc
}

// The second connection logs in as the log's own does, in whatever way; TLS and
// credentials files are in the integration tests.
func TestSecondConnectionAuthenticates(t *testing.T) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	user := func(o *server.Options) { o.Username, o.Password = "ada", "a secret" }
	token := func(o *server.Options) { o.Authorization = "s3cr3t" }
	for _, c := range []struct {
		name   string
		change func(*server.Options)
		open   func(host string) Options
	}{
		{"nobody", nil, func(host string) Options { return Options{URL: "nats://" + host} }},
		{"without a scheme", nil, func(host string) Options { return Options{URL: host} }},
		{"password", user, func(host string) Options { return Options{URL: "nats://" + host, User: "ada", Password: "a secret"} }},
		{"password in the URL", user, func(host string) Options { return Options{URL: "nats://ada:a%20secret@" + host} }},
		{"handler", user, func(host string) Options {
			return Options{URL: "nats://" + host, NATS: []nats.Option{nats.UserInfoHandler(func() (string, string) { return "ada", "a secret" })}}
		}},
		{"dialer", nil, func(host string) Options {
			return Options{URL: "nats://" + host, NATS: []nats.Option{nats.SetCustomDialer(&net.Dialer{Timeout: time.Second})}}
		}},
		{"token", token, func(host string) Options { return Options{URL: "nats://" + host, Token: "s3cr3t"} }},
		{"token in the URL", token, func(host string) Options { return Options{URL: "nats://s3cr3t@" + host} }},
		{"token handler", token, func(host string) Options {
			return Options{URL: "nats://" + host, NATS: []nats.Option{nats.TokenHandler(func() string { return "s3cr3t" })}}
		}},
		{"nkey", func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
			func(host string) Options { return Options{URL: "nats://" + host, NKeySeedFile: seedFile} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t, c.change)
			f := openedAt(t, c.open(s.Addr().String()))
			appendOne(t, f, 1)
			second(t, f)
			appendOne(t, f, 2)
		})
	}
}

// A second connection that ends, in the middle of appends too, is replaced by
// the log's: each commit is there once.
func TestSecondConnectionEnds(t *testing.T) {
	s := listening(t, nil)
	f := openedAt(t, Options{URL: s.ClientURL()})
	l, nc := second(t, f)
	before := l.losses()
	nc.Close()
	appendOne(t, f, 1)
	if l.second() != nil || l.losses() == before {
		t.Error("that the connection ended isn't noticed")
	}
	stored := map[uint64]bool{}
	for round := range 5 {
		_, nc = second(t, f)
		var pending []*Pending
		for i := range 200 {
			p, err := f.AppendAsync(t.Context(), Draft{Key: "k", Events: []any{goldenOpened{fmt.Sprint(round, i)}}})
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, p)
			if i == 100 {
				nc.Close()
			}
		}
		for _, p := range pending {
			pos, err := p.Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			stored[pos.Seq] = true
		}
	}
	if st, err := f.State(t.Context()); err != nil || len(stored) != 1000 || st.Last != 1001 {
		t.Errorf("%d positions, the log ends at %d, %v; want 1000 and 1001", len(stored), st.Last, err)
	}
}

// A change of connections while callers append keeps the order in which they
// came, also where they don't wait for an answer.
func TestChangeOfConnectionsKeepsOrder(t *testing.T) {
	s := listening(t, nil)
	f := openedAt(t, Options{URL: s.ClientURL(), MaxInFlight: 64})
	const callers, each = 8, 300
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			var pending []*Pending
			for i := range each {
				p, err := f.AppendAsync(t.Context(), Draft{Key: fmt.Sprint("k", c), Events: []any{goldenOpened{fmt.Sprint(i)}}})
				if err != nil {
					t.Error(err)
					return
				}
				pending = append(pending, p)
			}
			for _, p := range pending {
				if _, err := p.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	appended := make(chan struct{})
	go func() { wg.Wait(); close(appended) }()
	l, _ := second(t, f)
	for done := false; !done; {
		select {
		case <-appended:
			done = true
		default:
			if nc, err := f.dialSecond(f.log.nc.Servers()[0]); err != nil {
				t.Error(err)
			} else {
				used := false
				f.writer.quietly(time.Minute, func() { used = l.use(nc) == nil })
				if !used {
					nc.Close()
				}
			}
		}
	}
	next := map[string]int{}
	for e, err := range f.Read(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := Decode[goldenOpened](e)
		if want := fmt.Sprint(next[e.Key]); err != nil || v.Owner != want {
			t.Fatalf("%s: %s, %v, want %s", e.Key, v.Owner, err, want)
		}
		next[e.Key]++
	}
	if len(next) != callers || next["k0"] != each {
		t.Errorf("%v", next)
	}
}

// gatedLink holds publishes back until it is opened.
type gatedLink struct {
	link
	mu        sync.Mutex
	published int
	held      []func()
	open      bool
}

func (l *gatedLink) publish(m *outgoing, token uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published++
	if l.open {
		return l.link.publish(m, token)
	}
	l.held = append(l.held, func() { _ = l.link.publish(m, token) })
	return nil
}

func (l *gatedLink) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.published
}

func (l *gatedLink) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = true
	for _, publish := range l.held {
		publish()
	}
}

// A change of connections waits for what is in flight and for nothing that comes
// then, however many append.
func TestChangeOfConnectionsUnderLoad(t *testing.T) {
	f := openedAt(t, Options{URL: listening(t, nil).ClientURL(), RequestTimeout: time.Minute})
	w := f.writer
	w.mu.Lock()
	gate := &gatedLink{link: w.link}
	w.link = gate
	w.mu.Unlock()
	const callers = 64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for range 3 {
				if _, err := f.Append(t.Context(), fmt.Sprint("k", c), ExpectAny, goldenOpened{"x"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	waitFor(t, func() bool { return gate.count() == callers })
	before := make(chan int, 1)
	go func() {
		defer close(before)
		w.quietly(time.Minute, func() { before <- gate.count() })
	}()
	waitFor(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.held != nil
	})
	gate.release()
	if n := <-before; n != callers {
		t.Errorf("%d commits were sent before the change, want the %d that were in flight", n, callers)
	}
	wg.Wait()
}

// What a change of connections holds back ends with its caller's context, and
// with the writer.
func TestHeldBackCommitEnds(t *testing.T) {
	f := openedAt(t, Options{URL: listening(t, nil).ClientURL()})
	w := f.writer
	w.mu.Lock()
	w.held = make(chan struct{})
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.Append(ctx, "k", ExpectAny, goldenOpened{"x"}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrAmbiguous) {
		t.Errorf("a context that ends: %v", err)
	}
	if n := len(w.slots); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
	ended := make(chan error)
	go func() {
		_, err := f.Append(t.Context(), "k", ExpectAny, goldenOpened{"x"})
		ended <- err
	}()
	waitFor(t, func() bool { return len(w.slots) == 1 })
	if err := f.log.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("a writer that is closed: %v", err)
	}
}

package eventlog

import (
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
	f.writer.quietly(func() { used = l.use(nc) == nil })
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
				f.writer.quietly(func() { used = l.use(nc) == nil })
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

package eventlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
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

// wireOf fails unless the feed writes through a connection of its own.
func wireOf(t *testing.T, f *Feed) *wireLink {
	t.Helper()
	l, ok := f.writer.link.(*wireLink)
	if !ok {
		t.Fatalf("it writes through %T", f.writer.link)
	}
	return l
}

func appendOne(t *testing.T, f *Feed, want uint64) {
	t.Helper()
	if pos, err := f.Append(t.Context(), "k", ExpectAny, goldenOpened{"x"}); err != nil || pos.Seq != want {
		t.Errorf("%v, %v, want %d", pos, err, want)
	}
}

// Whoever the log's own connection may be, the writer's is, too; TLS and
// credentials files are in the integration tests.
func TestRemoteWriterAuthenticates(t *testing.T) {
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
			wireOf(t, f)
			appendOne(t, f, 1)
		})
	}
}

// A connection in a way that isn't known here is left to nats.go.
func TestRemoteWriterByDialer(t *testing.T) {
	s := listening(t, nil)
	f := openedAt(t, Options{URL: s.ClientURL(), NATS: []nats.Option{nats.SetCustomDialer(&net.Dialer{Timeout: time.Second})}})
	if _, ok := f.writer.link.(*clientLink); !ok {
		t.Errorf("it writes through %T", f.writer.link)
	}
	appendOne(t, f, 1)
}

// failing is a dialer that has no further connection to give.
type failing struct {
	wireDialer
	failed atomic.Bool
}

func (d *failing) dial(ctx context.Context, inbox string) (*wireConn, error) {
	if d.failed.Swap(true) {
		return nil, errors.New("no")
	}
	return d.wireDialer.dial(ctx, inbox)
}

// Where no connection of its own can be made any more, the writer goes on
// through the log's.
func TestRemoteWriterGivesUp(t *testing.T) {
	s := listening(t, nil)
	f := openedAt(t, Options{URL: s.ClientURL()})
	w := f.writer
	w.link.close()
	var err error
	if w.link, err = f.openRemote(&failing{wireDialer: remoteDialer{f}}, w.onAck); err != nil {
		t.Fatal(err)
	}
	link := wireOf(t, f)
	appendOne(t, f, 1)
	link.mu.Lock()
	link.patient = 10 * time.Millisecond
	_ = link.conn.Close()
	link.mu.Unlock()
	appendOne(t, f, 2)
	appendOne(t, f, 3)
	link.mu.Lock()
	defer link.mu.Unlock()
	if !link.given {
		t.Error("it didn't give up")
	}
}

// silent is a server that greets, and then says nothing any more.
type silent struct{ ends []net.Conn }

func (s *silent) patience() time.Duration { return 5 * time.Millisecond }

func (s *silent) dial(_ context.Context, inbox string) (*wireConn, error) {
	here, there := net.Pipe()
	s.ends = append(s.ends, there)
	go func() {
		in := bufio.NewReader(there)
		fmt.Fprint(there, "INFO {\"server_name\":\"s\",\"headers\":true,\"max_payload\":1000}\r\n")
		for range 3 {
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
		}
		fmt.Fprint(there, "PONG\r\n")
		_, _ = in.WriteTo(discard{})
	}()
	return greet(here, inbox, func(*wireConn, wireInfo) (wireConnect, error) { return newWireConnect(), nil })
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// A server that says nothing, although it was asked, is left.
func TestSilentServerIsLeft(t *testing.T) {
	d := new(silent)
	l, err := newWireLink(t.Context(), d, "_INBOX.x.", func(uint64, []byte, bool) {})
	if err != nil {
		t.Fatal(err)
	}
	l.start()
	for l.losses() < 2 {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("it stays")
		}
	}
	l.close()
	if err := l.publish(&outgoing{subject: "s"}, 1); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed: %v", err)
	}
	if len(d.ends) < 2 {
		t.Errorf("%d connections", len(d.ends))
	}
}

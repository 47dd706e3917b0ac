package endtest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
)

func TestMain(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}

// The table has every call that takes a context, and no other.
func TestTableIsComplete(t *testing.T) {
	exported, err := Exported("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(exported) < 90 {
		t.Fatalf("only %v", exported)
	}
	calls := Calls()
	for _, name := range exported {
		if calls[name] == nil {
			t.Errorf("%s isn't in the table", name)
		}
	}
	for name := range calls {
		if !slices.Contains(exported, name) {
			t.Errorf("%s is in the table, and isn't exported", name)
		}
	}
}

// A proxy falls silent in front of a server that runs.
func TestSilentProxy(t *testing.T) {
	log, err := eventlog.Open(t.Context(), eventlog.Options{App: "server", Dir: t.TempDir(), Listen: "127.0.0.1:-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	p := NewProxy(t, strings.TrimPrefix(log.ClientURL(), "nats://"))
	e := New(t, eventlog.Options{App: "ends", URL: p.URL(), RequestTimeout: 20 * time.Second, ResolveTimeout: 25 * time.Second})
	p.Silence()
	Check(t, e)
}

// blocker is a server's logger that stops whatever the server does, once it is
// told to: with traces on, that is everything.
type blocker struct{ gate chan struct{} }

func (b *blocker) stop()                  { <-b.gate; b.gate <- struct{}{} }
func (b *blocker) Noticef(string, ...any) { b.stop() }
func (b *blocker) Warnf(string, ...any)   { b.stop() }
func (b *blocker) Fatalf(string, ...any)  { b.stop() }
func (b *blocker) Errorf(string, ...any)  { b.stop() }
func (b *blocker) Debugf(string, ...any)  { b.stop() }
func (b *blocker) Tracef(string, ...any)  { b.stop() }

// A server in this process gets stuck, and takes nothing from its connections
// any more, which are pipes without a buffer: a write waits.
func TestStuckServerInProcess(t *testing.T) {
	srv, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &blocker{gate: make(chan struct{}, 1)}
	b.gate <- struct{}{}
	srv.SetLoggerV2(b, true, true, false)
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("not ready")
	}
	t.Cleanup(func() {
		b.gate <- struct{}{}
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	e := New(t, eventlog.Options{App: "ends", URL: "nats://in-process", NATS: []nats.Option{nats.InProcessServer(srv)}, RequestTimeout: 20 * time.Second, ResolveTimeout: 25 * time.Second})
	<-b.gate
	Check(t, e)
}

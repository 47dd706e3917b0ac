package eventlog_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

func TestOptionsValidation(t *testing.T) {
	dir := t.TempDir()
	for words, o := range map[string]eventlog.Options{
		"App":                       {App: "Bad Name", Memory: true},
		"exactly one of":            {App: "a"},
		"(got 2)":                   {App: "a", Memory: true, Dir: dir},
		"(got 3)":                   {App: "a", Memory: true, Dir: dir, URL: "x"},
		"at most one of User":       {App: "a", URL: "x", User: "u", Token: "t"},
		"need URL":                  {App: "a", Dir: dir, Token: "t"},
		"Listen needs":              {App: "a", URL: "x", Listen: "127.0.0.1:1"},
		"Listen: port \"no\"":       {App: "a", Dir: dir, Listen: "127.0.0.1:no"},
		"Listen: address":           {App: "a", Dir: dir, Listen: "nowhere"},
		"SyncInterval: -1s":         {App: "a", Dir: dir, SyncInterval: -time.Second},
		"RequestTimeout: 1µs":       {App: "a", Dir: dir, RequestTimeout: time.Microsecond},
		"DuplicateWindow: 99ms":     {App: "a", Dir: dir, DuplicateWindow: 99 * time.Millisecond},
		"must be below DuplicateWi": {App: "a", Dir: dir, ResolveTimeout: time.Minute},
		"Replicas: 6":               {App: "a", URL: "x", Replicas: 6},
		"keeps 1":                   {App: "a", Dir: dir, Replicas: 3},
		"MaxInFlight: -1":           {App: "a", Dir: dir, MaxInFlight: -1},
		"MaxPayload: 100 ":          {App: "a", Dir: dir, MaxPayload: 100},
		"MaxPayload: 67108865 ":     {App: "a", Dir: dir, MaxPayload: 64<<20 + 1},
	} {
		_, err := eventlog.Open(t.Context(), o)
		wantErr(t, err, eventlog.ErrInvalid, words)
	}
	_, err := eventlog.Open(t.Context(), eventlog.Options{Replicas: 9, MaxInFlight: -1})
	wantErr(t, err, eventlog.ErrInvalid, "App", "exactly one", "Replicas", "MaxInFlight")
}

func TestOpenUnavailable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	_, err = eventlog.Open(t.Context(), eventlog.Options{App: "a", Dir: t.TempDir(), Listen: taken})
	wantErr(t, err, eventlog.ErrListen, "in use")
	_, err = eventlog.Open(t.Context(), eventlog.Options{App: "a", URL: "nats://me:secret@127.0.0.1:1"})
	wantErr(t, err, eventlog.ErrUnavailable, "is the server running")
	for _, url := range []string{"nats://me:secret@127.0.0.1:1", "nats://me:secret@[::1", "nats://me:secret@x:y"} {
		if _, err = eventlog.Open(t.Context(), eventlog.Options{App: "a", URL: url}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := eventlog.Open(ctx, eventlog.Options{App: "a", Memory: true}); err == nil {
		t.Error("opened with an ended context")
	}
}

func TestOpenConn(t *testing.T) {
	s := startServer(t)
	nc, err := nats.Connect(s.srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	log, err := eventlog.Open(t.Context(), eventlog.Options{App: "a", Conn: nc})
	if err != nil {
		t.Fatal(err)
	}
	put(t, accounts(t, log), "k", 3)
	if err := log.Close(); err != nil || !nc.IsConnected() || nc.NumSubscriptions() > 1 { // one is the client's own, for requests
		t.Errorf("after Close: %v, %v, %d subscriptions", err, nc.Status(), nc.NumSubscriptions())
	}
	nc.Close()
	_, err = eventlog.Open(t.Context(), eventlog.Options{App: "a", Conn: nc})
	wantErr(t, err, eventlog.ErrClosed)
}

// T0.13: one Log at a time has a directory, and closing gives it back.
func TestDirectoryInUse(t *testing.T) {
	o := eventlog.Options{App: "a", Dir: t.TempDir()}
	for n := range 3 {
		log, err := eventlog.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		f := accounts(t, log)
		if got := messages(t, f); got != uint64(n) {
			t.Errorf("%d messages, want %d", got, n)
		}
		put(t, f, "k", 1)
		_, err = eventlog.Open(t.Context(), o)
		wantErr(t, err, eventlog.ErrInUse, o.Dir)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"=open "+o.Dir)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), eventlog.ErrInUse.Error()) {
			t.Errorf("another process: %v: %s", err, out)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// T1.1: what was acknowledged before kill -9 is there, and every commit is
// whole; the directory can be opened at once.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	acked := make(map[uint64]int64)
	o := eventlog.Options{App: "child", Dir: dir}
	for lines.Scan() {
		var seq uint64
		var i int64
		if _, err := fmt.Sscanf(lines.Text(), "at %d %d", &seq, &i); err != nil {
			t.Fatalf("child: %s", lines.Text())
		}
		acked[seq] = i
		switch len(acked) {
		case 1:
			_, err := eventlog.Open(t.Context(), o)
			wantErr(t, err, eventlog.ErrInUse)
		case 500:
			if err := cmd.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	log := logtest.Open(t, o)
	f := accounts(t, log)
	n := 0
	for c, err := range f.Commits(logtest.Context(t)) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := c.Event(0).Value()
		if err != nil || c.Len() != 2 {
			t.Fatalf("commit %d has %d events, %v", c.Seq, c.Len(), err)
		}
		if want, ok := acked[c.Seq]; ok {
			if n++; v != (deposited{want}) {
				t.Errorf("commit %d is %v, want %d", c.Seq, v, want)
			}
		}
	}
	if n != len(acked) || n < 500 {
		t.Errorf("%d of %d acknowledged commits are there", n, len(acked))
	}
}

package eventlog_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// blockedServer makes an embedded server hang where it logs a line, with
// whatever locks it holds there: the server calls its logger by itself.
type blockedServer struct {
	at      string
	entered chan struct{}
	release chan struct{}
	once    sync.Once
}

func newBlockedServer(at string) *blockedServer {
	return &blockedServer{at: at, entered: make(chan struct{}), release: make(chan struct{})}
}

func (b *blockedServer) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(b.at)) {
		b.once.Do(func() { close(b.entered) })
		<-b.release
	}
	return len(p), nil
}

func (b *blockedServer) options(dir string) eventlog.Options {
	return eventlog.Options{App: "a", Dir: dir, Logger: zerolog.New(b), CloseTimeout: 50 * time.Millisecond, ResolveTimeout: 50 * time.Millisecond}
}

// within fails the test where fn takes a second longer than ctx.
func within(t *testing.T, ctx context.Context, what string, fn func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(time.Second):
		t.Fatalf("%s goes on a second after its context's end", what)
		return nil
	}
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// A server that doesn't come to the end of its start: Open ends with its
// context, and the directory is free when the server has ended after all.
func TestServerStuckInItsStart(t *testing.T) {
	for _, at := range []string{"Starting nats-server", "Starting JetStream", "Server is ready"} {
		t.Run(at, func(t *testing.T) {
			b := newBlockedServer(at)
			o := b.options(t.TempDir())
			ctx := short(t)
			err := within(t, ctx, "Open", func() error { _, err := eventlog.Open(ctx, o); return err })
			wantErr(t, err, eventlog.ErrUnavailable)
			wantErr(t, err, context.DeadlineExceeded)
			<-b.entered
			_, err = eventlog.Open(t.Context(), o)
			wantErr(t, err, eventlog.ErrInUse, "hasn't ended yet")
			close(b.release)
			untilFree(t, o)
		})
	}
}

// untilFree waits until a server that nobody waits for has ended: then its
// directory can be opened.
func untilFree(t *testing.T, o eventlog.Options) {
	t.Helper()
	ctx := logtest.Context(t)
	for {
		log, err := eventlog.Open(ctx, o)
		if err == nil {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		wantErr(t, err, eventlog.ErrInUse)
		if t.Failed() {
			return
		}
	}
}

// The same without a context's end: Options.StartTimeout.
func TestStartTimeout(t *testing.T) {
	b := newBlockedServer("Starting JetStream")
	o := b.options(t.TempDir())
	bounded := o
	bounded.StartTimeout = 50 * time.Millisecond
	_, err := eventlog.Open(t.Context(), bounded)
	wantErr(t, err, eventlog.ErrUnavailable)
	wantErr(t, err, eventlog.ErrStuck)
	close(b.release)
	untilFree(t, o)
}

// A server that can't end: Close says so, and the directory stays locked, for
// this process and for others, also when the server has ended later.
func TestServerStuckInItsEnd(t *testing.T) {
	dir := t.TempDir()
	b := newBlockedServer("Initiating Shutdown")
	log, err := eventlog.Open(t.Context(), b.options(dir))
	if err != nil {
		t.Fatal(err)
	}
	put(t, accounts(t, log), "k", 1)
	for range 2 {
		wantErr(t, log.Close(), eventlog.ErrStuck, "shutdown", "stays locked")
	}
	for range 2 {
		_, err = eventlog.Open(t.Context(), eventlog.Options{App: "a", Dir: dir})
		wantErr(t, err, eventlog.ErrInUse, "shutdown", "end that process")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"=open "+dir)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "end that process") || !strings.Contains(string(out), eventlog.ErrInUse.Error()) {
			t.Errorf("another process: %v: %s", err, out)
		}
		select {
		case <-b.release:
		default:
			close(b.release) // and once more
		}
	}
	if _, err := eventlog.Open(t.Context(), eventlog.Options{App: "a", Dir: dir}); !errors.Is(err, eventlog.ErrInUse) {
		t.Error(err)
	}
}

// What a process that is gone has left in the file says nothing any more.
func TestLockOfAProcessThatIsGone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/tidemark.lock", []byte("process 1 has given it up\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := logtest.Open(t, eventlog.Options{App: "a", Dir: dir})
	_, err := eventlog.Open(t.Context(), eventlog.Options{App: "a", Dir: dir})
	wantErr(t, err, eventlog.ErrInUse, "stop that one")
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}

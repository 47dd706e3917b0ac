package natstest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a server may take to get ready. It takes well below a
// second on an idle machine, and a cluster some seconds.
const patience = 2 * time.Minute

// Server is a nats-server process with JetStream on loopback. Its ports and
// its directory stay the same over restarts. It is safe for concurrent use,
// but starting and ending are one caller's business at a time.
type Server struct {
	t       testing.TB
	name    string
	host    string // 127.0.0.1:port
	monitor string // 127.0.0.1:port
	conf    string // path of the configuration
	log     string // path of the log
	store   string // JetStream's directory
	version string // "" for the one that go.mod names

	mu   sync.Mutex
	proc *Process // nil while it is down
}

// Start starts a server and returns when its JetStream is ready. conf is more
// configuration, in the server's language, such as "authorization { token: x }".
func Start(t testing.TB, conf ...string) *Server {
	t.Helper()
	return StartVersion(t, "", conf...)
}

// StartVersion starts a server of a released version, such as "v2.10.27"; "" is
// the one that go.mod names.
func StartVersion(t testing.TB, version string, conf ...string) *Server {
	t.Helper()
	s := prepare(t, "single", "", freePort(t), conf...)
	s.version = version
	s.launch()
	s.awaitReady()
	return s
}

// StartDomain starts a server of a JetStream domain.
func StartDomain(t testing.TB, domain string, conf ...string) *Server {
	t.Helper()
	s := prepare(t, "server-of-"+domain, domain, freePort(t), conf...)
	s.launch()
	s.awaitReady()
	return s
}

// StartWhole starts a server with a configuration of its own, which listens at
// port and has JetStream. Nothing is added to it but a monitor and the log's file.
func StartWhole(t testing.TB, name string, port int, conf string) *Server {
	t.Helper()
	s := unwritten(t, name, port)
	s.write(conf)
	s.launch()
	s.awaitReady()
	return s
}

// prepare writes a server's configuration.
func prepare(t testing.TB, name, domain string, port int, conf ...string) *Server {
	t.Helper()
	s := unwritten(t, name, port)
	if domain != "" {
		domain = ", domain: " + domain
	}
	s.write(append([]string{
		"server_name: " + name,
		"listen: " + s.host,
		fmt.Sprintf("jetstream { store_dir: %q, max_file_store: 4GB, max_memory_store: 1GB%s }", s.store, domain),
	}, conf...)...)
	return s
}

// unwritten is a server without a configuration.
func unwritten(t testing.TB, name string, port int) *Server {
	t.Helper()
	artifacts := t.ArtifactDir()
	file := fmt.Sprintf("%s-%d", name, port) // a test may start several of one name
	s := &Server{
		t: t, name: name, host: Loopback(port), monitor: Loopback(freePort(t)),
		conf: filepath.Join(artifacts, file+".conf"), log: filepath.Join(artifacts, file+".log"),
		store: t.TempDir(),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of %s, without what is routine (go test -artifacts keeps all):\n%s", s.log, endOf(s.log, 20))
		}
	})
	return s
}

func (s *Server) write(conf ...string) {
	s.t.Helper()
	lines := append([]string{"http: " + s.monitor, fmt.Sprintf("log_file: %q", s.log)}, conf...)
	if err := os.WriteFile(s.conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// StreamDir is where a stream of the default account has its files. What is
// there may be changed while the server is down.
func (s *Server) StreamDir(stream string) string {
	return filepath.Join(s.store, "jetstream", "$G", "streams", stream)
}

// StoreDir is where JetStream has its files: streams, consumers and the logs of
// the cluster's groups. It may be copied, and replaced by a copy, while the
// server is down.
func (s *Server) StoreDir() string { return s.store }

// launch starts the process without waiting for anything.
func (s *Server) launch() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.t.Fatalf("server %s runs already", s.name)
	}
	s.proc = Run(s.t, exec.Command(BinaryOf(s.t, s.version), "--config", s.conf))
}

// awaitReady waits until the server is healthy, which includes that it has
// read its streams, and on a cluster that it is up to date with them.
func (s *Server) awaitReady() {
	s.t.Helper()
	proc := s.process()
	if proc == nil {
		s.t.Fatalf("server %s is down", s.name)
	}
	err := poll(s.t.Context(), patience, func(ctx context.Context) error {
		select {
		case <-proc.Done():
			return &finalError{fmt.Errorf("it ended: %w", proc.Wait(ctx))}
		default:
			return s.healthy(ctx)
		}
	})
	if err != nil {
		s.t.Fatalf("server %s doesn't get ready: %v", s.name, err)
	}
}

func (s *Server) process() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// take returns the process and forgets it.
func (s *Server) take() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proc
	s.proc = nil
	return p
}

// Name is the server's, as clusters have it.
func (s *Server) Name() string { return s.name }

// URL is where clients connect.
func (s *Server) URL() string { return "nats://" + s.host }

// Host is URL without the scheme.
func (s *Server) Host() string { return s.host }

// Kill ends the server at once (SIGKILL), and returns when it is gone.
func (s *Server) Kill() {
	if p := s.take(); p != nil {
		p.Kill()
	}
}

// Suspend stops the server's process where it is (SIGSTOP): its connections
// stay, and nothing is answered, until Resume or Kill.
func (s *Server) Suspend() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		s.t.Fatalf("server %s is down", s.name)
	}
	if err := suspend(s.proc.cmd.Process); err != nil {
		s.t.Fatalf("server %s: %v", s.name, err)
	}
}

// Resume lets a suspended server go on (SIGCONT).
func (s *Server) Resume() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		s.t.Fatalf("server %s is down", s.name)
	}
	if err := resume(s.proc.cmd.Process); err != nil {
		s.t.Fatalf("server %s: %v", s.name, err)
	}
}

// Stop ends the server in an orderly way (SIGTERM), and returns when it is
// gone.
func (s *Server) Stop() {
	s.t.Helper()
	if p := s.take(); p != nil {
		if err := p.Stop(); err != nil {
			s.t.Errorf("server %s: %v", s.name, err)
		}
	}
}

// Restart starts a server that was stopped or killed, on the same port and
// the same files, and returns when it is ready.
func (s *Server) Restart() {
	s.t.Helper()
	s.launch()
	s.awaitReady()
}

// Loopback is the address of a port on loopback.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(port)) }

// routine are the lines of a server's log that say nothing about a failure: each
// start has a hundred of them, and each look at a server that isn't ready one.
var routine = regexp.MustCompile(`\[INF\]( | [-_|] |[ -]*$|.*( restore for stream | consumers for stream |Restored | rid:|---|Listening|Starting (JetStream|http)|Cluster name|Server id|Took ))|Healthcheck failed|Error trying to connect to route|Route connection|\[WRN\] Filestore .* (outdated|errored)`)

// endOf is the last lines of a log that aren't routine, for people.
func endOf(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	var told []string
	for line := range strings.Lines(string(b)) {
		if !routine.MatchString(line) {
			told = append(told, line)
		}
	}
	return strings.Join(told[max(0, len(told)-lines):], "")
}

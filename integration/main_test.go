//go:build integration

package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/tidemark-es/tidemark/internal/natstest"
)

// childVariable names the environment variable that makes the test's binary
// run one of the children instead of tests.
const childVariable = "TIDEMARK_INTEGRATION_CHILD"

// children are the programs that tests start as processes of their own. They
// run until they are killed; what they return is why they could not.
var children = map[string]func(args []string) error{
	"writer":       runWriter,
	"synced":       runSynced,
	"transactor":   runTransactor,
	"post":         runPost,
	"flip-prepare": runFlipPrepare,
	"flip-check":   runFlipCheck,
}

func TestMain(m *testing.M) {
	name := os.Getenv(childVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	err := fmt.Errorf("no child %q", name)
	if run := children[name]; run != nil {
		err = run(os.Args[1:])
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// child starts this binary again as one of the children.
func child(t testing.TB, name string, args ...string) (*natstest.Process, *output) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	out := newOutput()
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	p := natstest.Run(t, cmd)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("child %s %q:\n%s", name, args, stderr.String())
		}
	})
	return p, out
}

// output collects what a child prints, and tells when there is some.
type output struct {
	begun chan struct{} // closed when the first line has come
	once  sync.Once

	mu  sync.Mutex
	buf bytes.Buffer
}

func newOutput() *output { return &output{begun: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if bytes.IndexByte(b, '\n') >= 0 {
		o.once.Do(func() { close(o.begun) })
	}
	return o.buf.Write(b)
}

// lines returns the whole lines so far: the last one may be cut off.
func (o *output) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []string
	for line := range bytes.Lines(o.buf.Bytes()) {
		if bytes.HasSuffix(line, []byte("\n")) {
			lines = append(lines, string(line[:len(line)-1]))
		}
	}
	return lines
}

// awaitBegun waits for a child's first line.
func (o *output) awaitBegun(ctx context.Context, t testing.TB, p *natstest.Process) {
	t.Helper()
	select {
	case <-o.begun:
	case <-p.Done():
		t.Fatalf("the child ended: %v", p.Wait(ctx))
	case <-ctx.Done():
		t.Fatalf("the child prints nothing: %v", context.Cause(ctx))
	}
}

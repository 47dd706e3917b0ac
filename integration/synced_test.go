//go:build integration && linux

package integration

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/natstest"
)

// T1.11, as the system calls show it: each Synced append returns after an
// fsync of the block that holds its bytes, which began after they were
// written; 100 of them take far fewer fsyncs; and the server brings the Acked
// one to the disk by itself.
func TestSyncedTrace(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no system-call trace of Synced: strace isn't installed (apt-get install strace)")
	}
	if out, err := exec.CommandContext(t.Context(), strace, "-f", "true").CombinedOutput(); err != nil {
		t.Skipf("no system-call trace of Synced: this machine lets nobody trace: %v: %s", err, out)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.ArtifactDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-s", "65536", "-o", trace,
		"-e", "trace=pwrite64,write,fsync,fdatasync", exe, t.TempDir())
	cmd.Env = append(os.Environ(), childVariable+"=synced")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	child := natstest.Run(t, cmd)
	calls := awaitTrace(t, trace, child)
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := child.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	synced, acked, syncs := 0, 0, map[int]bool{}
	for _, c := range calls {
		said := returned.FindStringSubmatch(c.args)
		if c.name != "write" || said == nil {
			continue
		}
		covered := coveredBy(calls, said[2])
		switch {
		case covered == nil:
			t.Errorf("%s: no fsync behind its write", said[2])
		case said[1] == "acked":
			acked++
		case covered.end > c.begin:
			t.Errorf("%s returned before its fsync did", said[2])
		default:
			synced++
			syncs[covered.begin] = true
		}
	}
	if synced != syncedCallers || acked != 1 || len(syncs) == 0 || len(syncs) > syncedCallers/4 {
		t.Errorf("%d Synced in %d fsyncs, %d Acked", synced, len(syncs), acked)
	}
	t.Logf("%d Synced appends in %d fsyncs", synced, len(syncs))
}

// awaitTrace waits until the server has synced the Acked append: its interval
// is 250 ms.
func awaitTrace(t *testing.T, trace string, child *natstest.Process) []*call {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-tick.C {
		select {
		case <-child.Done():
			t.Fatalf("the child ended: %v", child.Wait(t.Context()))
		default:
		}
		calls := readTrace(t, trace)
		for _, c := range calls {
			if said := returned.FindStringSubmatch(c.args); c.name == "write" && said != nil && said[1] == "acked" && coveredBy(calls, said[2]) != nil {
				return calls
			}
		}
		if time.Now().After(end) {
			t.Fatal("the server doesn't sync by itself")
		}
	}
}

// returned is what the child prints when an append has returned.
var returned = regexp.MustCompile(`"(synced|acked) ([0-9A-Za-z]+)\.`)

// call is a system call. Its times are numbers of lines in the trace.
type call struct {
	name, path, args string
	begin, end       int
}

var (
	wholeCall   = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>(.*)\) += (\d+)`)
	begunCall   = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>(.*) <unfinished \.\.\.>$`)
	resumedCall = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.*\) += (\d+)`)
)

// readTrace returns the calls that succeeded, in the order of their begin.
func readTrace(t *testing.T, path string) (calls []*call) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not begun
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	open := map[string]*call{} // by thread
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for n := 0; lines.Scan(); n++ {
		line := lines.Text()
		if m := begunCall.FindStringSubmatch(line); m != nil {
			open[m[1]] = &call{name: m[2], path: m[3], args: m[4], begin: n}
			calls = append(calls, open[m[1]])
		} else if m := resumedCall.FindStringSubmatch(line); m != nil && open[m[1]] != nil {
			open[m[1]].end = n
		} else if m := wholeCall.FindStringSubmatch(line); m != nil {
			calls = append(calls, &call{name: m[2], path: m[3], args: m[4], begin: n, end: n})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

// coveredBy returns the first fsync to end that covers the write of a commit
// to a block file.
func coveredBy(calls []*call, id string) (first *call) {
	for _, w := range calls {
		if w.name != "pwrite64" || w.end == 0 || !strings.HasSuffix(w.path, ".blk") || !strings.Contains(w.args, id) {
			continue
		}
		for _, s := range calls {
			sync := s.name == "fsync" || s.name == "fdatasync"
			if sync && s.path == w.path && s.begin > w.end && s.end > 0 && (first == nil || s.end < first.end) {
				first = s
			}
		}
	}
	return first
}

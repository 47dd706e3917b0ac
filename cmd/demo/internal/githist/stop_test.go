package githist

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// long is a repository whose history doesn't fit into a pipe.
func long(t *testing.T) (*Repo, string) {
	t.Helper()
	s, f := newSandbox(t), new(stream)
	for range 3000 {
		f.commit("A <a@x> 1 +0000", strings.Repeat("s", 500), "")
	}
	s.imported(f)
	r, err := Open(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	return r, s.head()
}

// leavesNothing runs f and fails the test if a goroutine or a process, living
// or dead, is left of it.
func leavesNothing(t *testing.T, f func()) {
	t.Helper()
	goroutines, children := runtime.NumGoroutine(), childrenOf(t)
	f()
	// A goroutine that has done its work may not have been unwound yet.
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines, before it were %d\n%s", n, goroutines, stacks[:runtime.Stack(stacks, true)])
	}
	if n := childrenOf(t); n > children {
		t.Errorf("%d child processes, before it were %d", n, children)
	}
}

// childrenOf counts this process's children, zombies too, where the system
// shows them in /proc; elsewhere it gives 0.
func childrenOf(t *testing.T) int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		// "pid (name) state parent …"; the name may hold anything.
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

func TestHistoryBreakEndsGit(t *testing.T) {
	r, tip := long(t)
	leavesNothing(t, func() {
		for _, err := range r.History(t.Context(), tip) {
			if err != nil {
				t.Error(err)
			}
			break
		}
	})
}

func TestHistoryCancelEndsGit(t *testing.T) {
	r, tip := long(t)
	because := errors.New("because")
	leavesNothing(t, func() {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		n, last := 0, error(nil)
		for _, err := range r.History(ctx, tip) {
			n, last = n+1, err
			cancel(because)
		}
		if n != 2 || !errors.Is(last, because) {
			t.Errorf("%d steps, %v", n, last)
		}
	})
}

func TestHistoryPanicEndsGit(t *testing.T) {
	r, tip := long(t)
	leavesNothing(t, func() {
		defer func() { _ = recover() }()
		for range r.History(t.Context(), tip) {
			panic("in the loop")
		}
	})
}

// Git's failure after half of the history is an error, with git's words.
func TestHistoryBrokenRepository(t *testing.T) {
	s := newSandbox(t)
	s.write("f", "1\n")
	s.commit("one")
	s.write("f", "1\n2\n")
	s.commit("two")
	s.write("f", "3\n")
	tip := s.commit("three")
	blob := strings.TrimSpace(s.git("rev-parse", "HEAD~1:f"))
	if err := os.Remove(filepath.Join(s.dir, ".git/objects", blob[:2], blob[2:])); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	n, last := 0, error(nil)
	for _, err := range r.History(t.Context(), tip) {
		n, last = n+1, err
	}
	git, ok := errors.AsType[*GitError](last)
	if !ok || git.Code <= 0 || !strings.Contains(git.Stderr, blob) {
		t.Errorf("after %d steps: %v", n, last)
	}
	if n != 2 {
		t.Errorf("%d steps, want the first commit and the error", n)
	}
}

func TestHistoryRefusesBadHashes(t *testing.T) {
	r, tip := long(t)
	for _, args := range [][]string{{"HEAD"}, {"--all"}, {tip, "-n1"}, {""}} {
		n := 0
		for c, err := range r.History(t.Context(), args[0], args[1:]...) {
			if n++; !errors.Is(err, ErrBadHash) || c.Hash != "" {
				t.Errorf("%q: %v, %v", args, c, err)
			}
		}
		if n != 1 {
			t.Errorf("%q: %d steps", args, n)
		}
	}
	for _, err := range r.History(t.Context(), strings.Repeat("1", 40)) {
		if git, ok := errors.AsType[*GitError](err); !ok || git.Stderr == "" {
			t.Errorf("a missing tip: %v", err)
		}
	}
}

func TestGitErrorInterrupted(t *testing.T) {
	if err := (&GitError{Command: "log", Err: errors.New("signal: interrupt")}); !errors.Is(err, context.Canceled) {
		t.Error("Ctrl-C must look like a cancelled context")
	}
	if err := (&GitError{Command: "log", Err: errors.New("exit status 128")}); errors.Is(err, context.Canceled) {
		t.Error("a failure must not")
	}
}

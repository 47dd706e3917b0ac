package githist

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// One repository has one path, however it is reached.
func TestOpenFindsTheRepository(t *testing.T) {
	s := newSandbox(t)
	s.write("deep/er/f", "1\n")
	tip := s.commit("")
	tree := filepath.Join(t.TempDir(), "tree")
	s.git("worktree", "add", "--quiet", "--detach", tree)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(s.dir, "deep/er"), link); err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(filepath.Join(s.dir, ".git"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{
		s.dir, s.dir + "/deep/er/", s.dir + "/.git", s.dir + "/.git/refs", tree, tree + "/deep", link,
	} {
		r, err := Open(t.Context(), dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		if r.Path() != want {
			t.Errorf("%s: path is %s, want %s", dir, r.Path(), want)
		}
		if head, err := r.Head(t.Context()); head != tip || err != nil {
			t.Errorf("%s: head is %s, %v", dir, head, err)
		}
	}
	t.Chdir(filepath.Join(s.dir, "deep"))
	if r, err := Open(t.Context(), "."); err != nil || r.Path() != want {
		t.Errorf("the current directory: %v", err)
	}
}

func TestOpenBare(t *testing.T) {
	s := newSandbox(t)
	s.write("f", "1\n")
	s.commit("")
	bare := sandbox{t, filepath.Join(t.TempDir(), "bare.git")}
	s.git("clone", "--quiet", "--bare", s.dir, bare.dir)
	bare.equalsGit()
	r, err := Open(t.Context(), filepath.Join(bare.dir, "refs"))
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := filepath.EvalSymlinks(bare.dir); r.Path() != want {
		t.Errorf("path is %s, want %s", r.Path(), want)
	}
}

// Each worktree has its own HEAD, and the repository one path.
func TestOpenWorktreeHead(t *testing.T) {
	s := newSandbox(t)
	first := s.commit("one")
	tree := filepath.Join(t.TempDir(), "tree")
	s.git("worktree", "add", "--quiet", "--detach", tree)
	s.commit("two")
	r, err := Open(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	if head, err := r.Head(t.Context()); head != first || err != nil {
		t.Errorf("head of the worktree is %s, %v; want %s", head, err, first)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	unborn := newSandbox(t)
	for dir, want := range map[string]error{
		filepath.Join(t.TempDir(), "missing"): ErrNotRepo,
		file:                                  ErrNotRepo,
		t.TempDir():                           ErrNotRepo,
		unborn.dir:                            ErrNoCommits,
	} {
		_, err := Open(t.Context(), dir)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", dir, err, want)
			continue
		}
		open, ok := errors.AsType[*OpenError](err)
		if !ok || open.Hint == "" || open.Dir != dir || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestOpenOtherOwner(t *testing.T) {
	s := newSandbox(t)
	s.commit("")
	t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
	_, err := Open(t.Context(), s.dir)
	if !errors.Is(err, ErrNotRepo) || !strings.Contains(err.Error(), "git config --global --add safe.directory /") {
		t.Errorf("%v", err)
	}
	// What the hint says helps.
	t.Setenv("HOME", t.TempDir())
	s.git("config", "--global", "--add", "safe.directory", "*")
	if _, err := Open(t.Context(), s.dir); err != nil {
		t.Errorf("it was declared safe: %v", err)
	}
}

func TestOpenWithoutGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Open(t.Context(), "."); !errors.Is(err, ErrNoGit) {
		t.Errorf("%v", err)
	}
}

func TestOpenCancelled(t *testing.T) {
	s := newSandbox(t)
	s.commit("")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, s.dir); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestHasAndIsAncestor(t *testing.T) {
	s := newSandbox(t)
	one, two := s.commit("one"), s.commit("two")
	s.git("checkout", "--quiet", "-b", "side", one)
	side := s.commit("side")
	tree := strings.TrimSpace(s.git("rev-parse", "HEAD^{tree}"))
	r, err := Open(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	missing := strings.Repeat("1", 40)
	for hash, want := range map[string]bool{one: true, side: true, missing: false, tree: false} {
		if got, err := r.Has(t.Context(), hash); got != want || err != nil {
			t.Errorf("Has(%s) is %v, %v", hash, got, err)
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{one, two, true}, {one, one, true}, {two, one, false}, {two, side, false}} {
		if got, err := r.IsAncestor(t.Context(), c.a, c.b); got != c.want || err != nil {
			t.Errorf("IsAncestor(%s, %s) is %v, %v", c.a, c.b, got, err)
		}
	}
	if _, err := r.IsAncestor(t.Context(), missing, one); err == nil {
		t.Error("a missing commit is no answer")
	}
	for _, hash := range []string{"", "HEAD", "--all", one[:39], one + "^", strings.ToUpper(one)} {
		if _, err := r.Has(t.Context(), hash); !errors.Is(err, ErrBadHash) {
			t.Errorf("Has(%q): %v", hash, err)
		}
	}
}

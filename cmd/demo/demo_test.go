package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/internal/logtest"
)

// TestMain lets the test binary be the demo, so that a test can kill it.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("TIDEMARK_DEMO_KILL")); err == nil {
		// SIGKILL while it imports: the process gets no chance to tidy up.
		afterDraft = func() {
			if n--; n == 0 {
				if p, err := os.FindProcess(os.Getpid()); err == nil {
					_ = p.Kill()
				}
				select {}
			}
		}
		main()
	}
	os.Exit(m.Run())
}

// gitRepo is a repository made for a test.
type gitRepo struct {
	t   *testing.T
	dir string
	env []string
}

func newRepo(t *testing.T) *gitRepo {
	t.Helper()
	r := &gitRepo{t: t, dir: t.TempDir()}
	r.env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+t.TempDir(), "XDG_CONFIG_HOME=", "GIT_TERMINAL_PROMPT=0")
	r.git("", "init", "-q", "-b", "main", ".")
	return r
}

func (r *gitRepo) git(stdin string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = r.dir, r.env, strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}

// grow adds n commits by several authors to several paths.
func (r *gitRepo) grow(from, n int) {
	r.t.Helper()
	var b strings.Builder
	for i := from; i < from+n; i++ {
		email := []string{"ada@example.org", "bob@example.org", "", "o'dd <name"}[i%4]
		email = strings.NewReplacer("<", "").Replace(email)
		body := strings.Repeat(fmt.Sprintf("line of %d\n", i), 1+i%5)
		fmt.Fprintf(&b, "commit refs/heads/main\nauthor A <%s> %d +0545\ncommitter C <c@example.org> %d +0000\ndata 1\nx\n", email, 1700000000+i*5000, 1700000000+i*5000)
		if i == from && from > 0 {
			b.WriteString("from refs/heads/main^0\n")
		}
		for _, path := range []string{fmt.Sprintf("dir%d/f%d.txt", i%3, i%7), "top.txt"} {
			fmt.Fprintf(&b, "M 100644 inline %s\ndata %d\n%s\n", path, len(body), body)
		}
	}
	r.git(b.String(), "fast-import", "--quiet")
}

// want is what plain git says: commits by e-mail, and for each path what
// numstat adds up to.
func (r *gitRepo) want() (authors map[string]int64, files map[string]work) {
	r.t.Helper()
	authors, files = make(map[string]int64), make(map[string]work)
	for line := range strings.SplitSeq(strings.TrimSuffix(r.git("", "log", "--format=%ae"), "\n"), "\n") {
		authors[line]++
	}
	lines := bufio.NewScanner(strings.NewReader(r.git("", "log", "--numstat", "--no-renames", "--format=")))
	for lines.Scan() {
		var a, d int64
		var path string
		if _, err := fmt.Sscanf(lines.Text(), "%d\t%d\t%s", &a, &d, &path); err == nil {
			files[path] = files[path].plus(a, d)
		}
	}
	return authors, files
}

func (r *gitRepo) check(rep report) {
	r.t.Helper()
	authors, files := r.want()
	got := make(map[string]int64)
	for email, w := range rep.Authors {
		got[email] = w.Commits
	}
	if !maps.Equal(got, authors) {
		r.t.Errorf("authors %v, want %v", got, authors)
	}
	if !maps.Equal(rep.Files, files) {
		r.t.Errorf("files %v, want %v", rep.Files, files)
	}
	var sum int64
	for _, n := range rep.Activity {
		sum += n
	}
	if n := int64(len(strings.Fields(r.git("", "rev-list", "HEAD")))); sum != n || rep.Timeframe["commits"] != uint64(n) {
		r.t.Errorf("activity %d, timeframe %v, want %d commits", sum, rep.Timeframe, n)
	}
}

// demo runs the demo and returns what it printed and its exit status.
func (r *gitRepo) demo(data string, args ...string) (report, string, int) {
	r.t.Helper()
	dir := r.t.TempDir()
	out, errs := create(r.t, dir, "out"), create(r.t, dir, "err")
	code := run(logtest.Context(r.t), append([]string{"-repo", r.dir, "-data", data, "-json"}, args...), out, errs)
	out.Close()
	errs.Close()
	var rep report
	b, _ := os.ReadFile(out.Name())
	if code == 0 {
		if err := json.Unmarshal(b, &rep); err != nil {
			r.t.Fatalf("%v in %s", err, b)
		}
	}
	e, _ := os.ReadFile(errs.Name())
	return rep, string(e), code
}

func create(t *testing.T, dir, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestImportRestoreAndGrow(t *testing.T) {
	r, data := newRepo(t), t.TempDir()
	r.grow(0, 40)
	rep, errs, code := r.demo(data)
	if code != 0 || rep.Recovery.Source != "empty" || rep.Imported != 40 {
		t.Fatalf("first run: %d %s %+v", code, errs, rep.Recovery)
	}
	r.check(rep)
	rep, _, _ = r.demo(data)
	if rep.Recovery.Source != "snapshot" || rep.Recovery.Replayed != 0 || rep.Imported != 0 || rep.Recovery.Skipped == nil {
		t.Errorf("second run: %+v, imported %d", rep.Recovery, rep.Imported)
	}
	r.check(rep)
	r.grow(40, 15)
	rep, _, _ = r.demo(filepath.Join(data, "..", filepath.Base(data)))
	if rep.Recovery.Source != "snapshot" || rep.Imported != 15 {
		t.Errorf("third run: %+v, imported %d", rep.Recovery, rep.Imported)
	}
	r.check(rep)
	if o := rep.Ownership["dir0"]; o.BusFactor < 1 || len(o.Authors) == 0 {
		t.Errorf("ownership of dir0: %+v", o)
	}
}

// Killed at any moment and run again, nothing is lost or doubled.
func TestKilled(t *testing.T) {
	r, data := newRepo(t), t.TempDir()
	r.grow(0, 400)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		cmd := exec.Command(exe, "-repo", r.dir, "-data", data, "-json")
		cmd.Env = append(os.Environ(), fmt.Sprintf("TIDEMARK_DEMO_KILL=%d", 30+i*75))
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() >= 0 {
			t.Fatalf("run %d was not killed: %v", i, err)
		}
	}
	rep, errs, code := r.demo(data)
	if code != 0 {
		t.Fatal(errs)
	}
	r.check(rep)
	if st := rep.Timeframe["changes"]; st != 800 {
		t.Errorf("%d changes, want 800", st)
	}
}

func TestRewritten(t *testing.T) {
	r, data := newRepo(t), t.TempDir()
	r.grow(0, 10)
	if _, errs, code := r.demo(data); code != 0 {
		t.Fatal(errs)
	}
	r.git("", "update-ref", "refs/heads/main", "main~3")
	_, errs, code := r.demo(data)
	if code != 1 || !strings.Contains(errs, "not an ancestor of HEAD") || !strings.Contains(errs, "-fresh") {
		t.Errorf("%d %s", code, errs)
	}
	rep, errs, code := r.demo(data, "-fresh")
	if code != 0 || rep.Recovery.Source != "empty" || rep.Imported != 7 {
		t.Errorf("fresh: %d %s %+v", code, errs, rep.Recovery)
	}
	r.check(rep)
}

func TestBadUse(t *testing.T) {
	r, data := newRepo(t), t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-repo", filepath.Join(r.dir, "nowhere")}, 1, "nowhere"},
		{[]string{"-repo", t.TempDir()}, 1, "repository"},
		{nil, 1, "commit"}, // no commits yet
		{[]string{"-top", "0"}, 2, "-top"},
		{[]string{"stray"}, 2, "-repo"},
		{[]string{"-nosuch"}, 2, "nosuch"},
		{[]string{"-h"}, 0, "Usage"},
	} {
		out, ef := create(t, t.TempDir(), "out"), create(t, t.TempDir(), "err")
		code := run(logtest.Context(t), append([]string{"-repo", r.dir, "-data", data}, c.args...), out, ef)
		b, _ := os.ReadFile(ef.Name())
		errs := string(b)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: status %d, %q", c.args, code, errs)
		}
	}
}

// What people see: tables, off a terminal without an escape sequence.
func TestTables(t *testing.T) {
	r, data := newRepo(t), t.TempDir()
	r.grow(0, 10)
	out := create(t, t.TempDir(), "out")
	if code := run(logtest.Context(t), []string{"-repo", r.dir, "-data", data, "-top", "2"}, out, os.Stderr); code != 0 {
		t.Fatal(code)
	}
	b, _ := os.ReadFile(out.Name())
	for _, want := range []string{"10 imported now", "ada@example.org", "Authors  (2 of", "bus factor", "Mon"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "\x1b") {
		t.Error("escape sequences off a terminal")
	}
}

func TestBusFactor(t *testing.T) {
	for _, c := range []struct {
		lines []int64
		want  int
	}{{nil, 0}, {[]int64{0}, 0}, {[]int64{1}, 1}, {[]int64{5, 5}, 2}, {[]int64{6, 5}, 1}, {[]int64{1, 1, 1, 1}, 3}} {
		m := make(map[string]int64)
		for i, n := range c.lines {
			m[fmt.Sprint(i)] = n
		}
		if got := busFactor(m); got != c.want {
			t.Errorf("%v: %d, want %d", c.lines, got, c.want)
		}
	}
}

package githist

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain takes the machine's own configuration out of the tests, and gives
// every commit an identity and a date.
func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "githist")
	if err != nil {
		panic(err)
	}
	for _, name := range dropped {
		os.Unsetenv(name)
	}
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, "xdg"), "GIT_CONFIG_NOSYSTEM": "1",
		"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_AUTHOR_DATE": "1700000000 +0100",
		"GIT_COMMITTER_NAME": "Bob", "GIT_COMMITTER_EMAIL": "bob@example.org", "GIT_COMMITTER_DATE": "1700000000 +0000",
	} {
		os.Setenv(name, value)
	}
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// sandbox is a repository that a test builds with plain git commands.
type sandbox struct {
	t   testing.TB
	dir string
}

func newSandbox(t testing.TB, initArgs ...string) sandbox {
	s := sandbox{t, t.TempDir()}
	s.git(append([]string{"init", "--quiet", "--initial-branch=main"}, initArgs...)...)
	return s
}

// git runs a plain git command in the sandbox and gives its output as it is.
func (s sandbox) git(args ...string) string {
	s.t.Helper()
	return s.feed("", args...)
}

// feed is git with a standard input.
func (s sandbox) feed(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = s.dir, strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("git %q: %v\n%s", args, err, stderr.Bytes())
	}
	return string(out)
}

// write puts a file into the work tree and stages it.
func (s sandbox) write(path, content string) {
	s.t.Helper()
	full := filepath.Join(s.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.git("add", "--force", "--", path)
}

// commit commits what is staged, be it nothing, and gives the hash.
func (s sandbox) commit(message string) string {
	s.t.Helper()
	s.git("commit", "--quiet", "--allow-empty", "--allow-empty-message", "--no-verify", "-m", message)
	return s.head()
}

func (s sandbox) head() string { return strings.TrimSpace(s.git("rev-parse", "HEAD")) }

// stream builds the input of git fast-import, which makes odd histories fast.
type stream struct{ strings.Builder }

// commit adds a commit on main; author is all that follows the word "author",
// body whatever comes after the message.
func (f *stream) commit(author, message, body string) {
	fmt.Fprintf(f, "commit refs/heads/main\nauthor %s\ncommitter Bob <bob@example.org> 1700000000 +0000\ndata %d\n%s\n%s",
		author, len(message), message, body)
}

// file is the line that sets a path, which is quoted as git wants it.
func file(path, content string) string {
	var q strings.Builder
	for _, b := range []byte(path) {
		fmt.Fprintf(&q, "\\%03o", b)
	}
	return fmt.Sprintf("M 100644 inline \"%s\"\ndata %d\n%s\n", q.String(), len(content), content)
}

// imported makes main of the stream and checks nothing out.
func (s sandbox) imported(f *stream) {
	s.t.Helper()
	s.feed(f.String(), "fast-import", "--quiet", "--date-format=raw-permissive", "--force")
}

// raw makes main a commit object that no command would write.
func (s sandbox) raw(object string) {
	s.t.Helper()
	hash := s.feed(object, "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
	s.git("update-ref", "refs/heads/main", strings.TrimSpace(hash))
}

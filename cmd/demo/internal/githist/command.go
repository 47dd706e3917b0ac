package githist

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// waitDelay bounds how long a finished or killed git can keep us waiting
// through a child of its own that still holds the pipes.
const waitDelay = 2 * time.Second

// maxStderr is as much of git's complaints as is kept.
const maxStderr = 8 << 10

// neutral is the configuration that every command runs with, so that the
// user's own can't change the outcome: each line is a setting that would. They
// are settings, not flags, where an older git doesn't know the flag: an
// unknown setting is ignored.
var neutral = []string{
	"log.showRoot=true",
	"log.showSignature=false",
	"log.mailmap=false",
	"log.follow=false",
	"log.diffMerges=off",
	"diff.relative=false",
	"diff.algorithm=myers",
	"diff.indentHeuristic=true",
	"diff.ignoreSubmodules=none",
	"diff.submodule=short",
	// No context lets git cut the common tail off before it compares, which
	// can give other counts.
	"diff.context=3",
	"diff.interHunkContext=0",
	// Larger files count as binary.
	"core.bigFileThreshold=512m",
	"core.attributesFile=",
	"core.useReplaceRefs=true",
	"core.fsmonitor=false",
}

// dropped are the variables that would point git at another repository than
// the directory's (inside a hook they are set), or at other objects, or change
// what it prints. GIT_CONFIG_* stays: safe.directory may come that way.
var dropped = []string{
	"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE",
	"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
	"GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_ATTR_SOURCE", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS",
	"LC_ALL", "GIT_OPTIONAL_LOCKS", "GIT_TERMINAL_PROMPT", "GIT_ATTR_NOSYSTEM", "PWD",
}

// environ is the environment of every git command that runs in dir.
func environ(dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(dropped, name)
	})
	return append(env,
		"LC_ALL=C", // messages that can be recognised
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_TERMINAL_PROMPT=0", // a partial clone may want to fetch
		"GIT_ATTR_NOSYSTEM=1",
		"PWD="+dir)
}

// command prepares git in dir; settings come on top of the neutral ones.
// Cancelling ctx kills it.
func command(ctx context.Context, dir string, settings []string, args ...string) (*exec.Cmd, *limited) {
	full := make([]string, 0, 1+2*(len(neutral)+len(settings))+len(args))
	full = append(full, "--no-pager")
	for _, s := range slices.Concat(neutral, settings) {
		full = append(full, "-c", s)
	}
	cmd := exec.CommandContext(ctx, "git", append(full, args...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, environ(dir), waitDelay
	stderr := new(limited)
	cmd.Stderr = stderr
	return cmd, stderr
}

// output runs a git command to its end and gives its standard output.
func output(ctx context.Context, dir, stdin string, args ...string) (string, error) {
	cmd, stderr := command(ctx, dir, nil, args...)
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	// A look at the local objects must not go to a partial clone's remote.
	cmd.Env = append(cmd.Env, "GIT_NO_LAZY_FETCH=1")
	out, err := cmd.Output()
	return string(out), failure(ctx, args[0], stderr, err)
}

// failure makes the one error of a git command that ended with err: the
// context's, where it was cancelled; nil where err is.
func failure(ctx context.Context, name string, stderr *limited, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	code := -1
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	return &GitError{Command: name, Code: code, Stderr: stderr.String(), Err: err}
}

// exitCode is the status that git ended with, and false for other errors.
func exitCode(err error) (int, bool) {
	git, ok := errors.AsType[*GitError](err)
	if !ok {
		return 0, false
	}
	return git.Code, true
}

// limited keeps the first maxStderr bytes and swallows the rest, so that git
// never blocks on a full pipe.
type limited struct{ buf bytes.Buffer }

// Write never fails.
func (l *limited) Write(p []byte) (int, error) {
	l.buf.Write(p[:min(len(p), maxStderr-l.buf.Len())])
	return len(p), nil
}

// String is what was kept, trimmed.
func (l *limited) String() string { return strings.TrimSpace(l.buf.String()) }

package githist

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Open finds the repository that dir lies in: its top, a subdirectory, a
// linked worktree, a submodule, a bare repository or a git directory.
// Variables such as GIT_DIR don't count. It fails with an *[OpenError] for
// [ErrNoGit], [ErrNotRepo] and [ErrNoCommits]; with a *[GitError] where git
// can't read the repository; and with ctx's error. There is nothing to close.
func Open(ctx context.Context, dir string) (*Repo, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, &OpenError{dir, ErrNoGit, err.Error(),
			"install it from https://git-scm.com or with the system's package manager"}
	}
	at, err := directory(dir)
	if err != nil {
		return nil, &OpenError{dir, ErrNotRepo, err.Error(), "give a directory inside of a git repository"}
	}
	common, err := commonDir(ctx, dir, at)
	if err != nil {
		return nil, err
	}
	if err := checkHead(ctx, dir, at); err != nil {
		return nil, err
	}
	settings, err := driverSettings(ctx, at)
	if err != nil {
		return nil, err
	}
	return &Repo{dir: at, common: common, settings: settings}, nil
}

// directory is dir made absolute, without symbolic links.
func directory(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	if err == nil && !info.IsDir() {
		err = errors.New("it is a file")
	}
	return abs, err
}

// commonDir asks git for the repository around at.
func commonDir(ctx context.Context, dir, at string) (string, error) {
	out, err := output(ctx, at, "", "rev-parse", "--git-common-dir")
	if git, ok := errors.AsType[*GitError](err); ok && git.Code == 128 {
		return "", refused(dir, git.Stderr)
	}
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(out, "\n") // a directory's name may end in blanks
	if !filepath.IsAbs(path) {
		path = filepath.Join(at, path)
	}
	return filepath.EvalSymlinks(path)
}

// refused explains why git knows no repository there.
func refused(dir, stderr string) error {
	detail, _, _ := strings.Cut(strings.TrimPrefix(stderr, "fatal: "), "\n")
	hint := "give a directory inside of a git repository, or make one with git init"
	switch {
	case strings.Contains(stderr, "dubious ownership"), strings.Contains(stderr, "unsafe repository"):
		hint = "it belongs to another user; if you trust it, run: " + safeCommand(stderr)
	case strings.Contains(stderr, "bare repository"):
		hint = "git is configured to refuse bare repositories that it finds by itself (safe.bareRepository)"
	case !strings.Contains(detail, "not a git repository"):
		hint = "git can't read the repository"
	}
	return &OpenError{dir, ErrNotRepo, detail, hint}
}

// safeCommand is the command that git itself proposes for the repository of
// another user.
func safeCommand(stderr string) string {
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "git config --global") {
			return line
		}
	}
	return "git config --global --add safe.directory <its path>"
}

// checkHead tells a repository without commits from one that can't be read.
func checkHead(ctx context.Context, dir, at string) error {
	out, err := output(ctx, at, "", "rev-parse", "--verify", "--quiet", "HEAD")
	if code, ok := exitCode(err); ok && code == 1 && strings.TrimSpace(out) == "" {
		branch, _ := output(ctx, at, "", "symbolic-ref", "--quiet", "HEAD")
		detail := "HEAD"
		if branch = strings.TrimSpace(branch); branch != "" {
			detail = "HEAD is " + branch
		}
		return &OpenError{dir, ErrNoCommits, detail, "make a commit, or switch to a branch that has one"}
	}
	return err
}

// driverSettings neutralises the user's diff drivers. Which drivers a path
// uses is in the repository's attribute files, and counts; what the driver's
// name means is in a configuration, and doesn't.
func driverSettings(ctx context.Context, at string) ([]string, error) {
	out, err := output(ctx, at, "", "config", "--null", "--name-only",
		"--get-regexp", `^diff\..*\.(binary|algorithm)$`)
	if code, ok := exitCode(err); ok && code == 1 {
		return nil, nil // there are none
	}
	if err != nil {
		return nil, err
	}
	var settings []string
	for name := range strings.SplitSeq(out, "\x00") {
		switch {
		case name == "" || strings.Contains(name, "="): // can't be said with -c
		case strings.HasSuffix(name, ".binary"):
			settings = append(settings, name+"=auto")
		default:
			settings = append(settings, name+"=myers")
		}
	}
	return settings, nil
}

package githist

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The reasons why [Open] can't give a repository. Test for them with
// errors.Is; the *[OpenError] around them says what to do.
var (
	// ErrNoGit: the git command isn't installed, or isn't on the PATH.
	ErrNoGit = errors.New("git is not installed")
	// ErrNotRepo: the directory doesn't exist, lies in no repository, or in
	// one that git refuses to read.
	ErrNotRepo = errors.New("not a git repository")
	// ErrNoCommits: the repository is there, and its HEAD has no commit.
	ErrNoCommits = errors.New("no commits yet")
)

// ErrFormat: git ended well, and yet its output can't be read as a history.
var ErrFormat = errors.New("unexpected output of git log")

// ErrBadHash: an argument isn't a full object name (40 or 64 hex digits).
// Git wasn't started.
var ErrBadHash = errors.New("not a full commit hash")

// OpenError says why a directory can't be used, and what to do about it.
type OpenError struct {
	Dir    string // as given to Open
	Reason error  // ErrNoGit, ErrNotRepo or ErrNoCommits
	Detail string // what git or the system said; may be empty
	Hint   string // what to do, one sentence
}

// Error is one line: the directory, the reason, the detail and the hint.
func (e *OpenError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q: %v", e.Dir, e.Reason)
	if e.Detail != "" {
		fmt.Fprintf(&b, " (%s)", e.Detail)
	}
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

// Unwrap gives the reason.
func (e *OpenError) Unwrap() error { return e.Reason }

// GitError is a git command that failed.
type GitError struct {
	Command string // the subcommand, such as "log"
	Code    int    // exit status; -1 when a signal ended it or it never ran
	Stderr  string // what git said, trimmed, at most 8 KiB
	Err     error  // from os/exec
}

// Error names the command and gives git's own words.
func (e *GitError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("git %s: %v", e.Command, e.Err)
	}
	return fmt.Sprintf("git %s: %v: %s", e.Command, e.Err, e.Stderr)
}

// Unwrap gives the error of os/exec. A git that was ended by an interrupt is
// context.Canceled too: Ctrl-C reaches every process of the terminal, and git
// may die of it before this process has cancelled its context.
func (e *GitError) Unwrap() []error {
	if e.Err == nil {
		return nil
	}
	if strings.HasPrefix(e.Err.Error(), "signal: interrupt") {
		return []error{e.Err, context.Canceled}
	}
	return []error{e.Err}
}

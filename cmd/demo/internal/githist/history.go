package githist

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// readAhead is the buffer between git and the parser.
const readAhead = 256 << 10

// History gives the commits that are reachable from tip and from none of not,
// parents before children; the order is the same each time. It streams: one
// commit is in memory here, and in git the list of hashes.
//
// An error is the last step, with an empty commit: a *[GitError] with what git
// said, an error that wraps [ErrFormat] or [ErrBadHash], or ctx's. A commit is
// given only when all of it was read, the last one only after git ended well.
// Leaving the loop or cancelling ctx ends the git process and waits for it;
// nothing is left running. The sequence may be ranged over again, which starts
// another git.
func (r *Repo) History(ctx context.Context, tip string, not ...string) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		args, err := logArgs(tip, not)
		if err != nil {
			yield(Commit{}, err)
			return
		}
		if err := r.stream(ctx, args, yield); err != nil {
			yield(Commit{}, err)
		}
	}
}

// format is what parse reads: fields that end in NUL, and a first one that
// can't be taken for a line of --numstat, as those begin with a digit or '-'.
const format = "--format=tformat:" + mark + "%H%x00%P%x00%ae%x00%an%x00%ad%x00%s"

// logArgs is the git log command whose output parse reads.
func logArgs(tip string, not []string) ([]string, error) {
	revisions, err := span(tip, not)
	if err != nil {
		return nil, err
	}
	return append([]string{
		"log", "-z", "--numstat", "--no-renames", format, "--date=raw", "--encoding=UTF-8",
		"--topo-order", "--reverse",
		"--no-color", "--no-notes", "--no-decorate", "--no-ext-diff", "--no-textconv",
		"-O/dev/null", // no diff.orderFile; git knows this name on every system
	}, revisions...), nil
}

// stream runs git log and gives its commits to yield. After a false from yield
// it gives nil.
func (r *Repo) stream(ctx context.Context, args []string, yield func(Commit, error) bool) error {
	// Whatever leaves this function, a panic in yield too, ends git first.
	running, kill := context.WithCancel(ctx)
	cmd, stderr := command(running, r.dir, r.settings, args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		kill()
		return failure(ctx, args[0], stderr, err)
	}
	ended := false
	wait := func() error {
		ended = true
		return failure(ctx, args[0], stderr, cmd.Wait())
	}
	defer func() {
		kill()
		if !ended {
			_ = wait() // it was killed, and says so
		}
	}()
	return parseAll(ctx, newParser(bufio.NewReaderSize(out, readAhead)), wait, yield)
}

// parseAll gives each commit to yield. The last one can't be told from one
// that was cut short until wait says that git ended well.
func parseAll(ctx context.Context, p *parser, wait func() error, yield func(Commit, error) bool) error {
	for {
		c, err := p.next()
		switch {
		case errors.Is(err, io.EOF):
			if err := wait(); err != nil {
				return err
			}
			if c.Hash != "" {
				yield(c, nil)
			}
			return nil
		case err != nil:
			// Output that was cut short is git's failure, not the parser's.
			if failed := waitIfEnded(err, wait); failed != nil {
				return failed
			}
			return fmt.Errorf("%w: %w", ErrFormat, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !yield(c, nil):
			return nil
		}
	}
}

// waitIfEnded gives git's own error where its output stopped in the middle of
// a commit. A git that still writes isn't waited for.
func waitIfEnded(err error, wait func() error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return wait()
	}
	return nil
}

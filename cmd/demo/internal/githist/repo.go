package githist

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Repo is a repository on disk. Its methods may be called concurrently; each
// starts a git process of its own and holds nothing between calls.
type Repo struct {
	dir      string   // where git runs: absolute, symlinks resolved
	common   string   // what Path gives
	settings []string // on top of the neutral ones, see driverSettings
}

// Path is the repository's common git directory: absolute, with symbolic
// links resolved, and the same from every subdirectory and worktree.
func (r *Repo) Path() string { return r.common }

// Head is the hash of the commit that HEAD names, in the worktree that was
// opened.
func (r *Repo) Head(ctx context.Context) (string, error) {
	out, err := output(ctx, r.dir, "", "rev-parse", "--verify", "HEAD^{commit}")
	return strings.TrimSpace(out), err
}

// Has reports whether the repository holds the commit, reachable from
// anything or not. It doesn't ask a partial clone's remote.
func (r *Repo) Has(ctx context.Context, hash string) (bool, error) {
	if err := checkHashes(hash); err != nil {
		return false, err
	}
	out, err := output(ctx, r.dir, hash+"\n", "cat-file", "--batch-check=%(objecttype)")
	return strings.TrimSpace(out) == "commit", err
}

// IsAncestor reports whether a is b or one of its ancestors. Both must be
// there.
func (r *Repo) IsAncestor(ctx context.Context, a, b string) (bool, error) {
	if err := checkHashes(a, b); err != nil {
		return false, err
	}
	_, err := output(ctx, r.dir, "", "merge-base", "--is-ancestor", a, b)
	if code, ok := exitCode(err); ok && code == 1 {
		return false, nil
	}
	return err == nil, err
}

// Shallow reports whether the repository is a shallow clone, whose history
// ends early. Its figures change when it is deepened.
func (r *Repo) Shallow(ctx context.Context) (bool, error) {
	out, err := output(ctx, r.dir, "", "rev-parse", "--is-shallow-repository")
	return strings.TrimSpace(out) == "true", err
}

// Count is the number of commits that [Repo.History] gives for the same
// arguments. It takes milliseconds for tens of thousands.
func (r *Repo) Count(ctx context.Context, tip string, not ...string) (int, error) {
	revisions, err := span(tip, not)
	if err != nil {
		return 0, err
	}
	out, err := output(ctx, r.dir, "", append([]string{"rev-list", "--count"}, revisions...)...)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// span is the commits reachable from tip and from none of not, as arguments.
func span(tip string, not []string) ([]string, error) {
	if err := checkHashes(append([]string{tip}, not...)...); err != nil {
		return nil, err
	}
	revisions := []string{tip}
	for _, n := range not {
		revisions = append(revisions, "^"+n)
	}
	return append(revisions, "--"), nil
}

// checkHashes admits full object names only: nothing else can be taken for an
// option, a range, or a branch that is named like a hash.
func checkHashes(hashes ...string) error {
	for _, h := range hashes {
		if (len(h) != 40 && len(h) != 64) || strings.Trim(h, "0123456789abcdef") != "" {
			return fmt.Errorf("%w: %q", ErrBadHash, h)
		}
	}
	return nil
}

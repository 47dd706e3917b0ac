// Package githist reads the history of a Git repository through the git
// command, which is all that has to be installed.
//
// What it gives is what plain git log gives: every commit reachable from a
// tip, the author's e-mail as recorded (%ae, no mailmap), and for each commit
// that isn't a merge the paths that it changed, with the lines added and
// removed, as in git log --numstat --no-renames. Replace refs, grafts, shallow
// boundaries and the repository's attribute files count as they do there.
// The configuration of the user and of the repository doesn't (a diff
// algorithm, say): the same commits give the same figures on every machine.
//
// You may not assume that names and paths are UTF-8, non-empty or printable:
// git keeps bytes, and so do the strings here.
package githist

import "time"

// Commit is one commit. It owns its memory and may be kept.
type Commit struct {
	Hash    string   // 40 hex digits, or 64 in a SHA-256 repository
	Parents []string // none for a root, and at the boundary of a shallow clone
	Email   string   // of the author, as recorded (%ae); may be empty
	Name    string   // of the author, as recorded (%an); may be empty
	// When is the author's date in the author's own zone. It is zero where
	// git can't read the date, or its year is beyond 9999. Git knows no dates
	// before 1970.
	When    time.Time
	Subject string   // first paragraph on one line (%s); may be empty
	Changes []Change // in git's order; none for a merge
}

// Merge reports whether the commit has several parents.
func (c Commit) Merge() bool { return len(c.Parents) > 1 }

// Change is what one commit did to one path. A rename is two of them.
type Change struct {
	Path    string // from the top of the repository, with slashes
	Added   int64  // lines; 0 where Binary, and where just the mode changed
	Removed int64  // lines; 0 where Binary, and where just the mode changed
	Binary  bool   // git doesn't count lines here
}

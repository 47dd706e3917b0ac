package githist

import (
	"maps"
	"strconv"
	"strings"
	"testing"
)

// sum is what a history adds up to for one path.
type sum struct{ changes, added, removed int64 }

// plainAuthors is git log --format=%ae | sort | uniq -c.
func (s sandbox) plainAuthors() map[string]int64 {
	s.t.Helper()
	authors := map[string]int64{}
	out := s.git("log", "--format=%ae")
	for email := range strings.SplitSeq(strings.TrimSuffix(out, "\n"), "\n") {
		authors[email]++
	}
	return authors
}

// plainFiles is what git log --numstat --no-renames adds up to, read in the
// simplest way that odd paths allow.
func (s sandbox) plainFiles() map[string]sum {
	s.t.Helper()
	files := map[string]sum{}
	for entry := range strings.SplitSeq(s.git("log", "--numstat", "--no-renames", "-z", "--format="), "\x00") {
		parts := strings.SplitN(strings.TrimLeft(entry, "\n"), "\t", 3)
		if len(parts) != 3 {
			continue
		}
		added, _ := strconv.ParseInt(parts[0], 10, 64) // "-" is 0
		removed, _ := strconv.ParseInt(parts[1], 10, 64)
		f := files[parts[2]]
		files[parts[2]] = sum{f.changes + 1, f.added + added, f.removed + removed}
	}
	return files
}

// read is the whole history of HEAD, by this package.
func (s sandbox) read() []Commit {
	s.t.Helper()
	r, err := Open(s.t.Context(), s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	tip, err := r.Head(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return collect(s.t, r, tip)
}

func collect(t testing.TB, r *Repo, tip string, not ...string) []Commit {
	t.Helper()
	var all []Commit
	for c, err := range r.History(t.Context(), tip, not...) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if n, err := r.Count(t.Context(), tip, not...); err != nil || n != len(all) {
		t.Errorf("Count is %d, %v; History gave %d", n, err, len(all))
	}
	return all
}

// addUp is what a history of ours adds up to.
func addUp(all []Commit) (authors map[string]int64, files map[string]sum) {
	authors, files = map[string]int64{}, map[string]sum{}
	for _, c := range all {
		authors[c.Email]++
		for _, ch := range c.Changes {
			f := files[ch.Path]
			files[ch.Path] = sum{f.changes + 1, f.added + ch.Added, f.removed + ch.Removed}
		}
	}
	return authors, files
}

// equalsGit compares everything that both sides say of HEAD's history.
func (s sandbox) equalsGit() []Commit {
	s.t.Helper()
	all := s.read()
	authors, files := addUp(all)
	if want := s.plainAuthors(); !maps.Equal(authors, want) {
		s.t.Errorf("authors:\n got %v\nwant %v", authors, want)
	}
	if want := s.plainFiles(); !maps.Equal(files, want) {
		s.t.Errorf("files:\n got %v\nwant %v", files, want)
	}
	s.fieldsEqual(all)
	parentsFirst(s.t, all)
	return all
}

// fieldsEqual compares each field of each commit.
func (s sandbox) fieldsEqual(all []Commit) {
	s.t.Helper()
	for field, of := range map[string]func(Commit) string{
		"%H":  func(c Commit) string { return c.Hash },
		"%P":  func(c Commit) string { return strings.Join(c.Parents, " ") },
		"%an": func(c Commit) string { return c.Name },
		"%ae": func(c Commit) string { return c.Email },
		"%s":  func(c Commit) string { return c.Subject },
	} {
		out := s.git("log", "--topo-order", "--reverse", "-z", "--format="+field)
		for i, want := range strings.Split(strings.TrimSuffix(out, "\x00"), "\x00") {
			if i >= len(all) || of(all[i]) != want {
				s.t.Errorf("%s of commit %d isn't %q", field, i, want)
				break
			}
		}
	}
}

func parentsFirst(t testing.TB, all []Commit) {
	t.Helper()
	at := map[string]int{}
	for i, c := range all {
		at[c.Hash] = i
	}
	for i, c := range all {
		for _, p := range c.Parents {
			if j, ok := at[p]; ok && j >= i {
				t.Errorf("%s comes before its parent %s", c.Hash, p)
			}
		}
		if c.Merge() && len(c.Changes) > 0 {
			t.Errorf("the merge %s has changes", c.Hash)
		}
	}
}

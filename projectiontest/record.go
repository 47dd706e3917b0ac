package projectiontest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/projection"
)

// RecordVariable is the environment variable that lets Recorded write, when it
// isn't empty.
const RecordVariable = "TIDEMARK_RECORD"

// Recorded checks that the projections come to the rows that are recorded in a
// file (testdata/history/<name>.txt, say) from these commits. Where the rows of
// one have changed, its Version must have been raised: else programs would
// trust snapshots that the present handlers wouldn't make.
//
// Run the test with TIDEMARK_RECORD=1 to record a history that is new, or one
// of raised versions. It refuses to record other rows of the same version, and
// other commits: add a new file for those.
func Recorded(t testing.TB, file string, commits []Commit, projections ...projection.Projection) {
	t.Helper()
	if err := recorded(file, commits, projections, os.Getenv(RecordVariable) != ""); err != nil {
		t.Error(err)
	}
}

// record is what a file holds: "commit …" lines, then for each projection a
// line with its version and one for each row.
type record struct {
	commits  []string
	versions map[string]string
	rows     map[string][]string
}

func recorded(file string, commits []Commit, projections []projection.Projection, write bool) error {
	now, err := recordOf(commits, projections)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		if !write {
			return fmt.Errorf("%s isn't recorded: run with %s=1, and keep the file", file, RecordVariable)
		}
		return now.write(file)
	}
	if err != nil {
		return err
	}
	was, err := parseRecord(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if !slices.Equal(was.commits, now.commits) {
		return fmt.Errorf("%s: the commits are others than those recorded: histories stay; record new ones in a new file", file)
	}
	raised := false
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(was.versions)) {
		version, ok := now.versions[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s: projection %q is recorded, and not given", file, name))
		case version != was.versions[name] && !higher(version, was.versions[name]):
			errs = append(errs, fmt.Errorf("%s: projection %q has version %s, and is recorded with %s: a version that was used is never used again; raise it by projection.Version",
				file, name, version, was.versions[name]))
		case version != was.versions[name]:
			raised = true
		case !slices.Equal(was.rows[name], now.rows[name]):
			errs = append(errs, fmt.Errorf("%s: the rows of projection %q have changed, and its version %s has not: raise it by projection.Version%s",
				file, name, version, lines(was.rows[name], now.rows[name])))
		}
	}
	raised = raised || len(now.versions) > len(was.versions)
	switch {
	case len(errs) > 0:
		return errors.Join(errs...)
	case raised && write:
		return now.write(file)
	case raised:
		return fmt.Errorf("%s is of other versions: run with %s=1, and look at the difference", file, RecordVariable)
	}
	return nil
}

// higher compares versions; one that isn't a number is below all.
func higher(a, b string) bool {
	x, err := strconv.ParseUint(a, 10, 64)
	y, other := strconv.ParseUint(b, 10, 64)
	return err == nil && (other != nil || x > y)
}

// lines shows what was and what is.
func lines(was, now []string) string {
	var s strings.Builder
	for _, l := range was {
		if !slices.Contains(now, l) {
			s.WriteString("\n\t- " + l)
		}
	}
	for _, l := range now {
		if !slices.Contains(was, l) {
			s.WriteString("\n\t+ " + l)
		}
	}
	return s.String()
}

func recordOf(commits []Commit, projections []projection.Projection) (*record, error) {
	if len(commits) == 0 {
		return nil, errors.New("no commits are given: there is nothing to record")
	}
	r, err := newRun(projections)
	if err != nil {
		return nil, err
	}
	rec := &record{versions: make(map[string]string), rows: make(map[string][]string)}
	for _, c := range place(commits) {
		if err := r.stepAt(c); err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		rec.commits = append(rec.commits, fmt.Sprintf("%q", fmt.Sprintf("%s at %s", c, c.at.UTC().Format("2006-01-02T15:04:05.999999999Z"))))
	}
	if err := r.Verify(true); err != nil {
		return nil, err
	}
	dumps, err := r.Dump()
	if err != nil {
		return nil, err
	}
	for _, d := range dumps {
		rec.versions[d.Projection] = fmt.Sprint(d.Version)
		for _, k := range slices.Sorted(maps.Keys(d.Rows)) {
			rec.rows[d.Projection] = append(rec.rows[d.Projection], fmt.Sprintf("%q %s", k, d.Rows[k]))
		}
	}
	return rec, nil
}

func (r *record) write(file string) error {
	var s strings.Builder
	s.WriteString("# tidemark history 1\n")
	for _, c := range r.commits {
		fmt.Fprintf(&s, "commit %s\n", c)
	}
	for _, name := range slices.Sorted(maps.Keys(r.versions)) {
		fmt.Fprintf(&s, "projection %s version %s\n", name, r.versions[name])
		for _, row := range r.rows[name] {
			fmt.Fprintf(&s, "row %s\n", row)
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(s.String()), 0o644)
}

func parseRecord(text string) (*record, error) {
	r := &record{versions: make(map[string]string), rows: make(map[string][]string)}
	name := ""
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\r"), " ")
		words := strings.Fields(rest)
		switch {
		case i == 0 && line == "# tidemark history 1":
		case i > 0 && kind == "commit":
			r.commits = append(r.commits, rest)
		case i > 0 && kind == "projection" && len(words) == 3 && words[1] == "version":
			name = words[0]
			r.versions[name] = words[2]
		case i > 0 && kind == "row" && name != "":
			r.rows[name] = append(r.rows[name], rest)
		default:
			return nil, fmt.Errorf("line %d isn't one of a recorded history: %q", i+1, line)
		}
	}
	return r, nil
}

package githist

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// hostile is a configuration in which each line changes what a plain git log
// prints, or did in some version of git.
const hostile = `
[log]
	showRoot = false
	showSignature = true
	decorate = full
	date = relative
	diffMerges = first-parent
	abbrevCommit = true
[format]
	pretty = fuller
[core]
	bigFileThreshold = 8
	quotePath = true
	attributesFile = ATTRIBUTES
	notesRef = refs/notes/commits
	pager = false
[color]
	ui = always
[diff]
	algorithm = patience
	context = 0
	renames = copies
	relative = true
	ignoreSubmodules = all
	submodule = log
	orderFile = ORDER
	external = false
	noprefix = true
	wsErrorHighlight = all
[diff "mine"]
	binary = true
	textconv = false
	command = false
	algorithm = histogram
[i18n]
	logOutputEncoding = UTF-16
	commitEncoding = ISO-8859-1
`

// The user's configuration doesn't change the outcome: it is what plain git
// gives without one.
func TestHistoryIgnoresConfiguration(t *testing.T) {
	s := newSandbox(t)
	renames(s)
	octopusUnder(s)
	s.write(".gitattributes", "*.mine diff=mine\n")
	// Myers, patience and histogram count 3, 5 and 4 changed lines here.
	s.write("sub/x.mine", "d\ng\ng\nc\nf\nf\nb\n")
	s.write("sub/plain", "d\ng\ng\nc\nf\nf\nb\n")
	s.write("sub/x.user", "a\nb\n")
	s.commit("ümlaut")
	s.write("sub/x.mine", "g\ng\nb\nd\nf\nf\nc\n")
	s.write("sub/plain", "g\ng\nb\nd\nf\nf\nc\n")
	s.git("update-index", "--add", "--cacheinfo", "160000,"+s.head()+",module")
	s.commit("")
	s.git("update-index", "--add", "--cacheinfo", "160000,"+s.head()+",module")
	s.commit("")
	s.git("notes", "add", "-m", "a note")
	tree := strings.TrimSpace(s.git("rev-parse", "HEAD^{tree}"))
	s.raw("tree " + tree + "\nparent " + s.head() + "\nauthor A <a@x> 1 +0000\ncommitter C <c@x> 1 +0000\n" +
		"gpgsig -----BEGIN PGP SIGNATURE-----\n \n -----END PGP SIGNATURE-----\n\nsigned\n")
	want := s.equalsGit()

	configure(t, s)
	if got := s.read(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	s.dir = filepath.Join(s.dir, "sub")
	if got := s.read(); !reflect.DeepEqual(got, want) {
		t.Errorf("from a subdirectory: got %+v\nwant %+v", got, want)
	}
}

// configure puts hostile in the place of the user's configuration, and sets
// the variables that a hook would run with.
func configure(t *testing.T, s sandbox) {
	t.Helper()
	home := t.TempDir()
	for name, text := range map[string]string{
		".gitconfig": hostile, "ATTRIBUTES": "*.user binary\n", "ORDER": "*/x.user\n",
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	s.git("config", "--global", "core.attributesFile", filepath.Join(home, "ATTRIBUTES"))
	s.git("config", "--global", "diff.orderFile", filepath.Join(home, "ORDER"))
	t.Setenv("GIT_DIR", filepath.Join(home, "nowhere"))
	t.Setenv("GIT_INDEX_FILE", filepath.Join(home, "index"))
	t.Setenv("GIT_EXTERNAL_DIFF", "false")
	t.Setenv("GIT_NOTES_REF", "refs/notes/commits")
	t.Setenv("GIT_PAGER_IN_USE", "1")
	t.Setenv("LC_ALL", "de_DE.UTF-8")
}

// octopusUnder gives the sandbox a merge on top of what it has.
func octopusUnder(s sandbox) {
	s.git("checkout", "--quiet", "-b", "side")
	s.write("side", "1\n")
	s.commit("side")
	s.git("checkout", "--quiet", "main")
	s.write("other", "1\n")
	s.commit("other")
	s.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
}

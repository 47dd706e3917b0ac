package githist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every kind of history must equal what plain git says of it.
func TestHistoryEqualsGit(t *testing.T) {
	for name, build := range map[string]func(s sandbox){
		"a root commit":      func(s sandbox) { s.write("f", "1\n2\n"); s.commit("root") },
		"two roots":          twoRoots,
		"empty commits":      func(s sandbox) { s.commit("one"); s.commit(""); s.commit("three") },
		"an octopus merge":   octopus,
		"an evil merge":      evilMerge,
		"binary files":       binaries,
		"renames and copies": renames,
		"a submodule":        submodule,
		"mode and type":      modes,
		"a mailmap":          mailmap,
		"attributes":         attributes,
		"a replaced commit":  replaced,
		"a graft":            graft,
		"a huge commit":      huge,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			build(s)
			s.equalsGit()
		})
	}
}

func TestHistorySHA256(t *testing.T) {
	s := newSandbox(t, "--object-format=sha256")
	octopus(s)
	if all := s.equalsGit(); len(all[0].Hash) != 64 {
		t.Errorf("hash is %q", all[0].Hash)
	}
}

func TestHistoryBinaryAndModeChange(t *testing.T) {
	s := newSandbox(t)
	s.write("b", "\x00\x01")
	s.write("x", "1\n")
	s.commit("")
	s.git("update-index", "--chmod=+x", "x")
	s.commit("")
	all := s.equalsGit()
	if got := all[0].Changes[0]; got != (Change{Path: "b", Binary: true}) {
		t.Errorf("binary: %+v", got)
	}
	if got := all[1].Changes; len(got) != 1 || got[0] != (Change{Path: "x"}) {
		t.Errorf("mode change: %+v", got)
	}
}

func TestHistoryShallow(t *testing.T) {
	origin := newSandbox(t)
	for _, content := range []string{"1\n", "1\n2\n", "1\n2\n3\n"} {
		origin.write("f", content)
		origin.commit(content)
	}
	s := sandbox{t, filepath.Join(t.TempDir(), "clone")}
	origin.git("clone", "--quiet", "--depth=2", "file://"+filepath.ToSlash(origin.dir), s.dir)
	all := s.equalsGit()
	if len(all) != 2 || len(all[0].Parents) != 0 || all[0].Changes[0].Added != 2 {
		t.Errorf("the boundary must count as a root: %+v", all)
	}
	for dir, want := range map[string]bool{s.dir: true, origin.dir: false} {
		r, err := Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Shallow(t.Context()); got != want || err != nil {
			t.Errorf("Shallow is %v, %v", got, err)
		}
	}
}

// A second import reads just what the first one had not.
func TestHistoryWithoutWhatIsKnown(t *testing.T) {
	s := newSandbox(t)
	octopus(s)
	old := s.head()
	s.write("later", "1\n")
	tip := s.commit("later")
	r, err := Open(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r, tip, old); len(got) != 1 || got[0].Hash != tip {
		t.Errorf("new: %+v", got)
	}
	if got := collect(t, r, tip, tip); got != nil {
		t.Errorf("nothing is new, got %+v", got)
	}
	if got, all := collect(t, r, old), s.read(); len(got) != len(all)-1 {
		t.Errorf("%d before, %d in all", len(got), len(all))
	}
}

func twoRoots(s sandbox) {
	s.write("a", "1\n")
	s.commit("a")
	s.git("checkout", "--quiet", "--orphan", "other")
	s.write("b", "1\n2\n")
	s.commit("b")
	s.git("checkout", "--quiet", "main")
	s.git("merge", "--quiet", "--allow-unrelated-histories", "-m", "both", "other")
}

func octopus(s sandbox) {
	s.write("base", "1\n")
	s.commit("base")
	for _, b := range []string{"x", "y", "z"} {
		s.git("checkout", "--quiet", "-b", b, "main")
		s.write(b, b+"\n")
		s.commit(b)
	}
	s.git("checkout", "--quiet", "main")
	s.git("merge", "--quiet", "-m", "octopus", "x", "y", "z")
}

// evilMerge changes in the merge what neither side changed.
func evilMerge(s sandbox) {
	octopus(s)
	s.git("checkout", "--quiet", "-b", "side", "HEAD~1")
	s.write("side", "1\n")
	s.commit("side")
	s.git("checkout", "--quiet", "main")
	s.git("merge", "--quiet", "--no-ff", "--no-commit", "side")
	s.write("evil", "1\n2\n3\n")
	s.commit("evil")
}

func binaries(s sandbox) {
	s.write("b", "a\x00b\n")
	s.write("late", "text\n")
	s.commit("")
	s.write("b", "a\x00c\n")
	s.write("late", "now\x00binary\n")
	s.commit("")
	s.git("rm", "--quiet", "b")
	s.commit("")
}

func renames(s sandbox) {
	text := strings.Repeat("line\n", 50)
	s.write("old", text)
	s.commit("")
	s.git("mv", "old", "new")
	s.write("copy", text)
	s.commit("")
	s.git("rm", "--quiet", "copy")
	s.write("copy/under", text) // a file becomes a directory
	s.commit("")
}

func submodule(s sandbox) {
	s.write("f", "1\n")
	first := s.commit("")
	for _, hash := range []string{first, strings.Repeat("1", 40)} {
		s.git("update-index", "--add", "--cacheinfo", "160000,"+hash+",sub")
		s.commit("")
	}
	s.write(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = ./sub\n\tignore = all\n")
	s.commit("")
}

func modes(s sandbox) {
	s.write("f", "target\n")
	s.commit("")
	s.git("update-index", "--chmod=+x", "f")
	s.commit("")
	blob := strings.TrimSpace(s.feed("elsewhere", "hash-object", "-w", "--stdin"))
	s.git("update-index", "--cacheinfo", "120000,"+blob+",f")
	s.commit("")
}

func mailmap(s sandbox) {
	s.write(".mailmap", "Proper <proper@example.org> <ada@example.org>\n")
	s.git("config", "log.mailmap", "true")
	s.commit("")
}

func attributes(s sandbox) {
	s.write("gen.txt", "1\n2\n")
	s.write("image", "a\x00b\n")
	s.commit("")
	s.write(".gitattributes", "*.txt -diff\nimage diff\n")
	s.write("gen.txt", "1\n")
	s.write("image", "a\x00b\nc\n")
	s.commit("")
}

func replaced(s sandbox) {
	s.write("f", "1\n")
	s.commit("one")
	s.write("f", "1\n2\n")
	two := s.commit("two")
	s.write("f", "1\n2\n3\n")
	s.commit("three")
	other := strings.TrimSpace(s.git("-c", "user.email=x@y", "commit-tree", two+"^{tree}", "-m", "instead"))
	s.git("replace", two, other)
}

func graft(s sandbox) {
	s.write("f", "1\n")
	s.commit("one")
	s.write("f", "1\n2\n")
	two := s.commit("two")
	s.write("f", "1\n2\n3\n")
	s.commit("three")
	if err := os.WriteFile(filepath.Join(s.dir, ".git/info/grafts"), []byte(two+"\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// huge is a commit with more output than any buffer here holds.
func huge(s sandbox) {
	var f stream
	var body strings.Builder
	for i := range 3000 {
		body.WriteString(file(strings.Repeat("d/", 100)+strings.Repeat("n", i%200)+string(rune('a'+i%26))+strings.Repeat("x", i/26), "1\n"))
	}
	f.commit("A <a@x> 1 +0000", strings.Repeat("long subject ", readAhead/10), body.String())
	f.commit("A <a@x> 2 +0000", "", "deleteall\n")
	s.imported(&f)
}

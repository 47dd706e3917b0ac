package arch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The arrows of this module.
func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	if mod, err := os.ReadFile(filepath.Join(root, "go.mod")); err != nil || !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("%s isn't the module's root: %v", root, err)
	}
	files := load(t, root)
	if !slices.ContainsFunc(files, func(f file) bool { return f.pkg == "timeframe" && !f.test }) {
		t.Fatalf("found %d files, and timeframe isn't among them: nothing would be checked", len(files))
	}
	for _, problem := range check(files) {
		t.Error(problem)
	}
}

func TestRulesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules {
		if r.reason == "" || seen[r.packages] {
			t.Errorf("%s: a rule needs a reason, and one row only", r.packages)
		}
		seen[r.packages] = true
		for _, top := range []string{"cmd/demo", "bench", "integration"} {
			if matchesAny(append(r.may, r.tests...), top) && !matches(r.packages, top) {
				t.Errorf("%s may import %s, which is at the top", r.packages, top)
			}
		}
	}
	for _, g := range guards {
		if g.reason == "" || g.display == "" || len(g.by) == 0 {
			t.Errorf("%s: a guard needs a reason, a name and importers", g.path)
		}
	}
}

// Each line of a made-up graph is "package/file.go import…", with imports below
// the module, or whole where their first part has a dot.
func graph(lines ...string) []file {
	var files []file
	for _, line := range lines {
		fields := strings.Fields(line)
		pkg, name := filepath.Split(fields[0])
		f := file{pkg: strings.TrimSuffix(pkg, "/"), name: name, test: strings.HasSuffix(name, "_test.go")}
		for _, imported := range fields[1:] {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
				imported = module + "/" + imported
			}
			f.imports = append(f.imports, imported)
		}
		files = append(files, f)
	}
	return files
}

func TestAllowedArrowsPass(t *testing.T) {
	for _, problem := range check(graph(
		"timeframe/a.go cmp.io/x",
		"timeframe/a_test.go timeframe pgregory.net/rapid",
		"eventlog/a.go timeframe github.com/nats-io/nats-server/v2/server github.com/nats-io/nats.go/jetstream",
		"eventlog/a_test.go internal/logtest",
		"snapshot/a.go timeframe github.com/nats-io/nats.go",
		"snapshot/a_test.go eventlog internal/logtest github.com/nats-io/nats-server/v2/server",
		"projection/a.go eventlog snapshot timeframe",
		"projection/a_test.go github.com/nats-io/nats.go",
		"internal/logtest/a.go eventlog github.com/nats-io/nats-server/v2/server github.com/nats-io/nats.go",
		"cmd/demo/main.go cmd/demo/internal/history projection eventlog snapshot timeframe",
		"cmd/demo/internal/history/a.go timeframe",
		"bench/main.go projection internal/logtest github.com/nats-io/nats-server/v2/server github.com/nats-io/nats.go",
		"integration/a.go internal/logtest github.com/nats-io/nats-server/v2/server",
		"integration/crash/main.go integration eventlog",
	)) {
		t.Error(problem)
	}
}

func TestForbiddenArrowsAreReported(t *testing.T) {
	for line, want := range map[string]string{
		"timeframe/a.go eventlog":                                "timeframe/a.go imports eventlog: timeframe may import nothing of this module (",
		"timeframe/a_test.go eventlog":                           "timeframe/a_test.go imports eventlog",
		"timeframe/a.go internal/arch":                           "timeframe/a.go imports internal/arch",
		"eventlog/a.go snapshot":                                 "eventlog/a.go imports snapshot: eventlog may import timeframe, internal/... (",
		"eventlog/a.go projection":                               "eventlog/a.go imports projection",
		"eventlog/a_test.go projection":                          "eventlog/a_test.go imports projection",
		"eventlog/a.go internal/logtest":                         "eventlog/a.go imports internal/logtest: test helpers are for tests",
		"snapshot/a.go eventlog":                                 "snapshot/a.go imports eventlog",
		"snapshot/a.go projection":                               "snapshot/a.go imports projection",
		"snapshot/a_test.go projection":                          "snapshot/a_test.go imports projection",
		"projection/a.go cmd/demo":                               "projection/a.go imports cmd/demo",
		"projection/a_test.go bench":                             "projection/a_test.go imports bench",
		"bench/a.go cmd/demo/internal/history":                   "bench/a.go imports cmd/demo/internal/history",
		"cmd/demo/a.go integration":                              "cmd/demo/a.go imports integration",
		"internal/logtest/a.go projection":                       "internal/logtest/a.go imports projection",
		"internal/logtest/a.go snapshot":                         "internal/logtest/a.go imports snapshot",
		"internal/arch/a_test.go timeframe":                      "internal/arch/a_test.go imports timeframe",
		"shiny/a.go timeframe":                                   `package shiny has no rule: add {packages: "shiny"`,
		"internal/shiny/a_test.go timeframe":                     `package internal/shiny has no rule: add {packages: "internal/shiny"`,
		"timeframe/sub/a.go":                                     "package timeframe/sub has no rule",
		"./doc.go":                                               "package . has no rule",
		"cmd/demo/a.go github.com/nats-io/nats-server/v2/server": "cmd/demo/a.go imports nats-server: outside of tests, only eventlog, bench/..., integration/... and",
		"snapshot/a.go github.com/nats-io/nats-server/v2/server": "snapshot/a.go imports nats-server",
		"projection/a.go github.com/nats-io/nats.go/jetstream":   "projection/a.go imports nats.go: outside of tests, only eventlog, snapshot, bench/...",
		"cmd/demo/internal/h/a.go github.com/nats-io/nats.go":    "cmd/demo/internal/h/a.go imports nats.go",
	} {
		problems := check(graph(line))
		if len(problems) != 1 || !strings.HasPrefix(problems[0], want) {
			t.Errorf("%s: got %q", line, problems)
		}
	}
}

func TestDetoursAreReported(t *testing.T) {
	saved := rules
	t.Cleanup(func() { rules = saved })
	rules = append(slices.Clone(rules), rule{packages: "internal/smuggler", may: []string{"eventlog"}, reason: "made up"})
	problems := check(graph(
		"snapshot/a.go internal/smuggler",
		"internal/smuggler/a.go eventlog",
		"eventlog/a.go timeframe",
	))
	want := "snapshot reaches eventlog by way of internal/smuggler: snapshot may import"
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, want) }) {
		t.Errorf("got %q", problems)
	}
}

func TestLoadSeesEveryBuild(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/plain.go":           "package a\n\nimport _ \"plain\"\n",
		"a/tagged.go":          "//go:build integration && !race\n\npackage a\n\nimport _ \"tagged\"\n",
		"a/other_windows.go":   "package a\n\nimport _ \"windows\"\n",
		"a/outside_test.go":    "package a_test\n\nimport _ \"outside\"\n",
		"a/keep.go":            "//go:build never\n\npackage a\n\nimport _ \"never\"\n",
		"a/gen.go":             "//go:build ignore\n\npackage main\n\nimport _ \"ignored\"\n",
		"a/testdata/broken.go": "not Go",
		"a/_draft.go":          "not Go",
		".git/hook.go":         "not Go",
		"tools/go.mod":         "module tools\n",
		"tools/tools.go":       "package tools\n\nimport _ \"othermodule\"\n",
	} {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, f := range load(t, root) {
		if f.pkg != "a" || f.test != (f.name == "outside_test.go") {
			t.Errorf("got %+v", f)
		}
		got = append(got, f.imports...)
	}
	slices.Sort(got)
	if want := []string{"outside", "plain", "tagged", "windows"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

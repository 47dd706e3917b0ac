package arch

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// testsOf are the tests of each directory of the module, with the text of the
// files that they are in.
func testsOf(t *testing.T, root string) map[string]map[string]string {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example|Benchmark)[A-Za-z0-9_]*)\(`)
	all := make(map[string]map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		if all[dir] == nil {
			all[dir] = make(map[string]string)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			all[dir][m[1]] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// named finds what a row names: `TestA`, `TestB/with_a_case` (package).
var (
	named     = regexp.MustCompile("`((?:Test|Fuzz)[^`]*)`|\\(([^()`]*)\\)")
	anyTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)[^`]*`")
	notFound  = "**not found**"
	cellCount = 4
)

func cellsOf(row string) []string {
	cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

// checkRow says what is wrong with a row of the guarantees: each has to name the
// tests that show it, with their packages, and those have to be there.
func checkRow(row string, tests map[string]map[string]string) (problems []string) {
	cells := cellsOf(row)
	if len(cells) != cellCount {
		return []string{fmt.Sprintf("%d cells, want %d", len(cells), cellCount)}
	}
	var waiting []string // for the package that is named behind them
	found := 0
	for _, m := range named.FindAllStringSubmatch(cells[cellCount-1], -1) {
		if m[1] != "" {
			waiting = append(waiting, m[1])
			continue
		}
		for _, test := range waiting {
			ok := false
			for dir := range strings.SplitSeq(m[2], ",") {
				dir, _, _ = strings.Cut(strings.TrimSpace(dir), " ") // (package, under which condition)
				name, sub, _ := strings.Cut(test, "/")
				text, there := tests[dir][name]
				ok = ok || there && strings.Contains(text, strings.ReplaceAll(strings.TrimSuffix(sub, "…"), "_", " "))
			}
			if found++; !ok {
				problems = append(problems, fmt.Sprintf("there is no %s in %s", test, m[2]))
			}
		}
		waiting = nil
	}
	for _, test := range waiting {
		problems = append(problems, fmt.Sprintf("say behind %s in which package it is", test))
	}
	if found == 0 && len(waiting) == 0 && !strings.Contains(row, notFound) {
		problems = append(problems, "it names no test")
	}
	return problems
}

// Each row of the guarantees names tests that exist, where it says.
func TestGuaranteesAreTested(t *testing.T) {
	root := filepath.Join("..", "..")
	tests := testsOf(t, root)
	page, err := os.ReadFile(filepath.Join(root, "docs", "guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for i, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| failure |") {
			continue
		}
		rows++
		for _, problem := range checkRow(line, tests) {
			t.Errorf("docs/guarantees.md:%d: %s: %s", i+1, cellsOf(line)[0], problem)
		}
	}
	if rows < 100 {
		t.Errorf("%d rows were found: most weren't checked", rows)
	}
}

// Tests that any page names exist somewhere.
func TestNamedTestsExist(t *testing.T) {
	root := filepath.Join("..", "..")
	all := make(map[string]bool)
	for _, tests := range testsOf(t, root) {
		for name := range tests {
			all[name] = true
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(map[string]bool)
		for _, m := range anyTest.FindAllStringSubmatch(string(text), -1) {
			gone[m[1]] = !all[m[1]]
		}
		for _, name := range slices.Sorted(maps.Keys(gone)) {
			if gone[name] {
				t.Errorf("%s names %s, which isn't there", filepath.Base(page), name)
			}
		}
	}
}

func TestBadRowsAreReported(t *testing.T) {
	tests := map[string]map[string]string{
		"eventlog": {"TestA": `"tail lost"`, "TestB": ""}, "internal/kv": {"TestC": ""}, "projection": {"TestA": ""},
	}
	for row, want := range map[string]string{
		"| a | b | c | `TestA` (eventlog) |":                                           "",
		"| a | | | `TestA`, `TestB` (eventlog), `TestC` (internal/kv); [more](x.md) |": "",
		"| a | | c | `TestA/tail_lost` (eventlog) |":                                   "",
		"| a | | c | `TestA/tail…` (eventlog), `TestA` (eventlog, projection) |":       "",
		"| a | | c | `TestB` (eventlog, one server) |":                                 "",
		"| a | **not found** | | [why](x.md) |":                                        "",
		"| a | b | c | some tests (eventlog) |":                                        "it names no test",
		"| a | b | `TestA` (eventlog) | |":                                             "it names no test",
		"| a | b | c | `TestD` (eventlog) |":                                           "there is no TestD in eventlog",
		"| a | b | c | `TestC` (eventlog) |":                                           "there is no TestC in eventlog",
		"| a | b | c | `TestA/head_lost` (eventlog) |":                                 "there is no TestA/head_lost in eventlog",
		"| a | b | c | `TestA` (eventlog), `TestB` |":                                  "say behind TestB in which package it is",
		"| a | b | | c | `TestA` (eventlog) |":                                         "5 cells, want 4",
	} {
		if got := strings.Join(checkRow(row, tests), "; "); got != want {
			t.Errorf("%s: %q, want %q", row, got, want)
		}
	}
}

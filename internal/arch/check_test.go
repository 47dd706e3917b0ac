package arch

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// file is a source file's part in the graph.
type file struct {
	pkg     string // path below the module; "." is its root
	name    string
	test    bool     // _test.go
	imports []string // full import paths
}

// check returns every arrow that the rules forbid, one sentence each, sorted.
func check(files []file) []string {
	var problems []string
	unknown := map[string]bool{}
	for _, f := range files {
		r, ok := ruleOf(f.pkg)
		if !ok {
			unknown[f.pkg] = true
			continue
		}
		for _, imported := range f.imports {
			if why := forbidden(r, f, imported); why != "" {
				problems = append(problems, path.Join(f.pkg, f.name)+" "+why)
			}
		}
	}
	for pkg := range unknown {
		problems = append(problems, fmt.Sprintf("package %s has no rule: add {packages: %q, may: …, reason: …} to rules in "+
			"internal/arch/table_test.go, with the least that it has to import", pkg, pkg))
	}
	problems = append(problems, detours(files)...)
	slices.Sort(problems)
	return problems
}

// forbidden says why the file may not import the path; it is empty where it may.
func forbidden(r rule, f file, imported string) string {
	own, ours := strings.CutPrefix(imported, module+"/")
	if !ours {
		return guarded(f, imported)
	}
	switch {
	case own == f.pkg: // an external test
		return ""
	case isHelper(own) && (f.test || isHelper(f.pkg) || matchesAny(helperUsers, f.pkg)):
		return ""
	case isHelper(own):
		return fmt.Sprintf("imports %s: test helpers are for tests, and for %s", own, strings.Join(helperUsers, ", "))
	case matchesAny(r.may, own), f.test && matchesAny(r.tests, own):
		return ""
	}
	return fmt.Sprintf("imports %s: %s", own, r.says())
}

// guarded says why a path from elsewhere may not be imported.
func guarded(f file, imported string) string {
	for _, g := range guards {
		if imported != g.path && !strings.HasPrefix(imported, g.path+"/") {
			continue
		}
		if !f.test && !isHelper(f.pkg) && !matchesAny(g.by, f.pkg) {
			return fmt.Sprintf("imports %s: outside of tests, only %s and test helpers in internal may (%s)",
				g.display, strings.Join(g.by, ", "), g.reason)
		}
		return "" // the first one, the most special, decides
	}
	return ""
}

// detours finds the packages that reach, by way of others, what they may not
// import themselves: an internal package must not smuggle eventlog into snapshot.
func detours(files []file) []string {
	direct := map[string][]string{}
	for _, f := range files {
		for _, imported := range f.imports {
			if own, ours := strings.CutPrefix(imported, module+"/"); ours && !f.test {
				direct[f.pkg] = append(direct[f.pkg], own)
			}
		}
	}
	var problems []string
	for _, pkg := range slices.Sorted(maps.Keys(direct)) {
		r, ok := ruleOf(pkg)
		if !ok {
			continue
		}
		for reached, via := range reachable(direct, pkg) {
			if via != "" && reached != pkg && !isHelper(reached) && !matchesAny(r.may, reached) && !isHelper(via) {
				problems = append(problems, fmt.Sprintf("%s reaches %s by way of %s: %s", pkg, reached, via, r.says()))
			}
		}
	}
	return problems
}

// reachable returns all that pkg imports, and through which of its own imports
// it was first found: empty where it imports it itself.
func reachable(direct map[string][]string, pkg string) map[string]string {
	found := map[string]string{}
	var queue []string
	for _, d := range direct[pkg] {
		found[d] = ""
		queue = append(queue, d)
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range direct[at] {
			if _, seen := found[next]; seen {
				continue
			}
			found[next] = found[at]
			if found[next] == "" {
				found[next] = at
			}
			queue = append(queue, next)
		}
	}
	return found
}

func (r rule) says() string {
	may := "nothing of this module"
	if len(r.may) > 0 {
		may = strings.Join(r.may, ", ")
	}
	return fmt.Sprintf("%s may import %s (%s)", r.packages, may, r.reason)
}

// ruleOf returns the rule that matches most closely.
func ruleOf(pkg string) (rule, bool) {
	best, found := rule{}, false
	for _, r := range rules {
		if r.packages == pkg {
			return r, true
		}
		if matches(r.packages, pkg) && len(r.packages) > len(best.packages) {
			best, found = r, true
		}
	}
	return best, found
}

// isHelper: packages in internal whose name ends in "test" exist for tests.
func isHelper(pkg string) bool {
	return strings.HasPrefix(pkg, "internal/") && strings.HasSuffix(pkg, "test")
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

func matches(pattern, pkg string) bool {
	if dir, below := strings.CutSuffix(pattern, "/..."); below {
		return pkg == dir || strings.HasPrefix(pkg, dir+"/")
	}
	return pattern == pkg
}

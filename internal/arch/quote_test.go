package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What comes from a log, a server or a peer may hold newlines and escape
// sequences, which would forge lines in whatever an error is printed to. So
// texts that go by these names are formatted with %q, also where a caller made
// them: nobody can tell later. Names of feeds, units and applications are checked
// where they enter (timeframe.ValidName), and aren't among them.
var fromOutside = map[string]bool{
	"Key": true, "key": true, "Subject": true, "subject": true, "Type": true, "ID": true, "id": true,
	"codec": true, "typ": true, "Owner": true, "Identity": true, "Incarnation": true, "Codec": true, "Meaning": true,
}

var verb = regexp.MustCompile(`%[-+# 0]*(\[\d+\])?(\d+|\*)?(\.(\d+|\*)?)?[a-zA-Z%]`)

// unquoted finds format verbs that print such texts as they are, and texts that
// are added to others in an error's method.
func unquoted(fset *token.FileSet, file *ast.File) (found []string) {
	report := func(n ast.Node, name string) {
		found = append(found, fset.Position(n.Pos()).String()+": "+name+" may hold anything: format it with %q, bounded (%.200q)")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			for _, arg := range printed(n, false) {
				if name := nameOf(arg); fromOutside[name] {
					report(arg, name)
				}
			}
		case *ast.FuncDecl:
			if n.Name.Name != "Error" || n.Body == nil {
				return true
			}
			ast.Inspect(n.Body, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					for _, arg := range printed(call, true) {
						if name := nameOf(arg); fromOutside[name] {
							report(arg, name)
						}
					}
				}
				if sum, ok := n.(*ast.BinaryExpr); ok && sum.Op == token.ADD {
					for _, x := range []ast.Expr{sum.X, sum.Y} {
						if name := nameOf(x); fromOutside[name] {
							report(x, name)
						}
					}
				}
				return true
			})
		}
		return true
	})
	return found
}

// printed returns the arguments of a call of a formatting function that %s or
// %v prints. Those that print to a writer count in an error's method: else they
// may write a format.
func printed(call *ast.CallExpr, toWriter bool) (args []ast.Expr) {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok && (toWriter || nameOf(call.Fun) != "corrupt") {
		return nil
	}
	at := 0
	if ok {
		switch name := f.Sel.Name; {
		case !toWriter && slices.Contains([]string{"Errorf", "Sprintf", "Msgf", "fail", "add"}, name):
		case toWriter && (name == "Fprintf" || name == "Appendf"):
			at = 1
		default:
			return nil
		}
	}
	if len(call.Args) <= at {
		return nil
	}
	lit, ok := call.Args[at].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return nil
	}
	format, err := strconv.Unquote(lit.Value)
	if err != nil {
		return nil
	}
	i := at + 1
	for _, v := range verb.FindAllString(format, -1) {
		if v == "%%" {
			continue
		}
		if last := v[len(v)-1]; (last == 's' || last == 'v') && i < len(call.Args) {
			args = append(args, call.Args[i])
		}
		i++
	}
	return args
}

// nameOf is what a variable, a field or a conversion to string of one is
// called.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.ParenExpr:
		return nameOf(e.X)
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.Ident); ok && f.Name == "string" && len(e.Args) == 1 {
			return nameOf(e.Args[0])
		}
	}
	return ""
}

// printers are programs and a test kit: what they print is for whom runs them.
var printers = []string{"bench", "cmd", "integration", "projectiontest", "tools"}

func TestForeignTextIsQuoted(t *testing.T) {
	root := filepath.Join("..", "..")
	fset, files := token.NewFileSet(), 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		top, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || slices.Contains(printers, top) || strings.HasSuffix(d.Name(), "test") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		files++
		for _, f := range unquoted(fset, file) {
			t.Error(f)
		}
		return nil
	})
	if err != nil || files < 200 {
		t.Fatalf("%d files, %v", files, err)
	}
}

func TestUnquotedIsFound(t *testing.T) {
	for body, want := range map[string]int{
		`fmt.Errorf("a %d of %s", 1, e.Key)`: 1, `fmt.Sprintf("%s/%v", feed, key)`: 1, `fmt.Fprintf(w, "%s", e.Subject)`: 1,
		`corrupt("%s of %s", key, string(m.subject))`: 2, `x.Msgf("%[1]s", c.ID)`: 1, `fmt.Errorf("%.200q %d%% %x", e.Key, 5, id)`: 0,
		`fmt.Errorf("%T %s", e.Key, feed)`: 0, `fmt.Errorf("%s", id.short())`: 0, `"a" + e.Key`: 1,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc (e *E) Error() any { return "+body+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := unquoted(token.NewFileSet(), file); len(got) != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}

package endtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Packages are those whose calls are in the table.
var Packages = []string{"eventlog", "projection", "snapshot", "lease", "dependants", "effect", "process", "command", "backup"}

// Exported are the exported functions and methods of the packages that take a
// context, from their source below root: "eventlog.Open", "eventlog.Feed.Head".
func Exported(root string) (names []string, err error) {
	for _, pkg := range Packages {
		dir := filepath.Join(root, pkg)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.IsExported() && takesContext(fn) {
					if name, ok := nameOf(fn); ok {
						names = append(names, pkg+"."+name)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

func takesContext(fn *ast.FuncDecl) bool {
	return slices.ContainsFunc(fn.Type.Params.List, func(p *ast.Field) bool {
		s, ok := p.Type.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		x, ok := s.X.(*ast.Ident)
		return ok && x.Name == "context" && s.Sel.Name == "Context"
	})
}

// nameOf is the function's name with its receiver's; ok is false where that
// isn't exported.
func nameOf(fn *ast.FuncDecl) (name string, ok bool) {
	if fn.Recv == nil {
		return fn.Name.Name, true
	}
	recv := typeName(fn.Recv.List[0].Type)
	return recv + "." + fn.Name.Name, ast.IsExported(recv)
}

func typeName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.IndexListExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

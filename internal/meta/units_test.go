package meta

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Units (probes, actions) are values listed by hand. Whoever forgets the line in the list has written a unit that never runs.
func TestUnitsAreListedAndTested(t *testing.T) {
	groups := []struct {
		dir, list string
		// unit tells from a variable's initial value whether it is a unit.
		unit func(ast.Expr) bool
	}{
		{"probes/linux", "Probes", isProbe},
		{"probes/network", "Probes", isProbe},
		{"probes/cloud", "Probes", isProbe},
		{"remediate/linux", "Actions", isAction},
	}
	for _, g := range groups {
		t.Run(g.dir, func(t *testing.T) {
			defined, listed := map[string]string{}, []string(nil)
			for file, f := range parseDir(t, g.dir) {
				for _, d := range f.Decls {
					switch d := d.(type) {
					case *ast.FuncDecl:
						if d.Name.Name == g.list && d.Recv == nil {
							listed = append(listed, identifiers(d.Body)...)
						}
					case *ast.GenDecl:
						for _, name := range exportedVars(d, g.unit) {
							defined[name] = file
						}
					}
				}
			}
			if len(listed) == 0 {
				t.Fatalf("%s has no function %s that lists its units", g.dir, g.list)
			}
			tests := testText(t, g.dir)
			for name, file := range defined {
				if !slices.Contains(listed, name) {
					t.Errorf("%s: %s is not in the list of %s()", file, name, g.list)
				}
				if g.list == "Probes" && !regexp.MustCompile(`\b`+name+`\b`).MatchString(tests) {
					t.Errorf("%s: no test names %s", file, name)
				}
			}
		})
	}
}

// parseDir parses a package's files without its tests, by path.
func parseDir(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	parsed := map[string]*ast.File{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		if parsed[file], err = parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	return parsed
}

func exportedVars(d *ast.GenDecl, wanted func(ast.Expr) bool) []string {
	var names []string
	for _, s := range d.Specs {
		if v, ok := s.(*ast.ValueSpec); ok && len(v.Values) == 1 && v.Names[0].IsExported() && wanted(v.Values[0]) {
			names = append(names, v.Names[0].Name)
		}
	}
	return names
}

// isProbe reports whether e is a call of probes.Define, DefineSampled or DefineKeyed, with or without type arguments.
func isProbe(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun := call.Fun
	switch f := fun.(type) {
	case *ast.IndexExpr:
		fun = f.X
	case *ast.IndexListExpr:
		fun = f.X
	}
	sel, ok := fun.(*ast.SelectorExpr)
	return ok && strings.HasPrefix(sel.Sel.Name, "Define")
}

// isAction reports whether e is a playbooks.Action{…}.
func isAction(e ast.Expr) bool {
	lit, ok := e.(*ast.CompositeLit)
	if !ok {
		return false
	}
	sel, ok := lit.Type.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Action"
}

// identifiers are the elements of the composite literals in a function, as far as they are plain names.
func identifiers(body *ast.BlockStmt) []string {
	var names []string
	ast.Inspect(body, func(n ast.Node) bool {
		if lit, ok := n.(*ast.CompositeLit); ok {
			for _, e := range lit.Elts {
				if id, ok := e.(*ast.Ident); ok {
					names = append(names, id.Name)
				}
			}
		}
		return true
	})
	return names
}

// testText is all test code of a package.
func testText(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

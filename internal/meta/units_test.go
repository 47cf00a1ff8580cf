package meta

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
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
			for name, file := range defined {
				if !slices.Contains(listed, name) {
					t.Errorf("%s: %s is not in the list of %s()", file, name, g.list)
				}
				if g.list == "Probes" && !hasTest(t, file) {
					t.Errorf("%s: %s has no %s", file, name, strings.TrimSuffix(filepath.Base(file), ".go")+"_test.go")
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

// hasTest reports whether file.go has a file_test.go beside it with a test in it.
func hasTest(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(file, ".go") + "_test.go")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "\nfunc Test")
}

// Every playbook of the library has a story with a match and a near miss. What a story says is checked where stories are run.
func TestPlaybooksHaveStories(t *testing.T) {
	dir := filepath.Join(root, "playbooks/library")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		other := map[string]string{".yaml": ".txtar", ".txtar": ".yaml", ".go": ".go"}[filepath.Ext(path)]
		if other == "" {
			t.Errorf("%s: the library holds playbooks (NAME.yaml) and their stories (NAME.txtar), nothing else", path)
			return nil
		}
		if _, err := os.Stat(strings.TrimSuffix(path, filepath.Ext(path)) + other); err != nil {
			t.Errorf("%s has no %s beside it", path, other)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

package meta

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/hostmend/hostmend"

// root is the repository's top folder, seen from this package's.
const root = "../.."

// goPackage is what these tests read of a line of `go list -json`.
type goPackage struct {
	ImportPath string
	Dir        string
	Standard   bool
	GoFiles    []string
	Imports    []string
}

// own says whether the package is one of this module's.
func (p *goPackage) own() bool {
	return p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/")
}

var goList = sync.OnceValues(func() (map[string]*goPackage, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Standard,GoFiles,Imports", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as we ship
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	all := map[string]*goPackage{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(goPackage)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

// packages are all packages of the module and what they depend on, by import path.
func packages(t *testing.T) map[string]*goPackage {
	t.Helper()
	all, err := goList()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return all
}

func TestPackageHasOneDoc(t *testing.T) {
	for _, p := range packages(t) {
		if !p.own() {
			continue
		}
		var documented []string
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc == nil {
				continue
			}
			documented = append(documented, name)
			want := "Package " + f.Name.Name + " "
			if f.Name.Name == "main" {
				want = "Command " + filepath.Base(p.Dir) + " "
			}
			if !strings.HasPrefix(f.Doc.Text(), want) {
				t.Errorf("%s: the package's doc begins with %q", filepath.Join(p.Dir, name), want)
			}
		}
		if len(documented) != 1 {
			t.Errorf("%s has %d package docs in %v, not 1", p.ImportPath, len(documented), documented)
		}
	}
}

// directions are the imports that must never come about, not even through a third package. What a file may import itself
// is depguard's, in .golangci.yml. A path that begins with ./ is this module's; each stands for everything below it too.
var directions = []struct {
	from  string
	never []string
	why   string
}{
	{"./internal/host", []string{"./probes", "./playbooks", "./remediate", "./report"}, "the door to the machine knows nothing of who asks"},
	{"./probes", []string{"./playbooks", "./remediate", "./report"}, "a probe knows its contract and its source"},
	{"./probes/linux", []string{"./probes/network", "./probes/cloud"}, "a probe knows its contract and its source"},
	{"./probes/network", []string{"./probes/linux", "./probes/cloud"}, "a probe knows its contract and its source"},
	{"./probes/cloud", []string{"./internal/host"}, "a cloud probe runs far from the host that it speaks of"},
	{"./playbooks", []string{"./internal/host", "./probes/linux", "./probes/network", "./probes/cloud"}, "the language is pure: facts are handed in"},
	{"./playbooks", []string{"./remediate", "./report"}, "imports run cmd → report → playbooks → probes → internal/host"},
	{"./checks", []string{"./remediate", "./report", "./probes/linux", "./probes/network"}, "a check knows the door, its contract and how files are read"},
	{"./remediate", []string{"./report"}, "a report is made of what was done, not the other way round"},
	{"./cmd", []string{"./lab", "./internal/bench", "./internal/meta", "./probes/probestest", "testing"}, "what we ship holds no test code"},
}

func TestImportDirections(t *testing.T) {
	all := packages(t)
	for _, rule := range directions {
		from, matched := expand(rule.from), false
		for _, p := range all {
			if !below(p.ImportPath, from) {
				continue
			}
			matched = true
			for _, never := range rule.never {
				if path := pathTo(all, p.ImportPath, expand(never), map[string]bool{}); path != nil {
					t.Errorf("%s: %s", strings.Join(path, " → "), rule.why)
				}
			}
		}
		if !matched {
			t.Errorf("there is no package %s any more: the rule about it guards nothing", rule.from)
		}
	}
}

func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "./"); ok {
		return module + "/" + rest
	}
	return path
}

// pathTo is a chain of imports from a package to one below target, or nil.
func pathTo(all map[string]*goPackage, from, target string, seen map[string]bool) []string {
	if seen[from] {
		return nil
	}
	seen[from] = true
	for _, next := range all[from].Imports {
		if below(next, target) {
			return []string{from, next}
		}
		if all[next] == nil || all[next].Standard {
			continue
		}
		if path := pathTo(all, next, target, seen); path != nil {
			return append([]string{from}, path...)
		}
	}
	return nil
}

func below(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

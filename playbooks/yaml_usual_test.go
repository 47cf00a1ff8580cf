package playbooks

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// tree is a node and all below it, with their places.
func tree(n *node) string {
	if n == nil {
		return "none"
	}
	s := fmt.Sprintf("(%d %d %d %q", n.kind, n.style, n.at, n.text)
	for i := range n.items {
		if n.kind == mapping {
			s += "\n " + tree(n.keys[i])
		}
		s += "\n " + tree(n.items[i])
	}
	return s + ")"
}

// sameTree compares the two readers on one text, and reports whether the quick one could read it.
func sameTree(t *testing.T, name, text string) bool {
	t.Helper()
	quick := usualYAML(newSource(File{Name: name, Data: []byte(text)}))
	if quick == nil {
		return false
	}
	src := newSource(File{Name: name, Data: []byte(text)})
	if general := generalYAML(src); tree(general) != tree(quick) {
		t.Errorf("%s: read as\n%s\ninstead of\n%s\nproblems %v\n--\n%s", name, tree(quick), tree(general), src.problems, text)
	}
	return true
}

func TestUsualYAML(t *testing.T) {
	quick, all := 0, 0
	library := os.DirFS("library")
	names, err := fs.Glob(library, "*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(library, name)
		if err != nil {
			t.Fatal(err)
		}
		all++
		if sameTree(t, name, string(b)) {
			quick++
		} else {
			t.Log("left to the general parser:", name)
		}
	}
	if quick*10 < all*9 {
		t.Errorf("only %d of %d playbooks are read quickly", quick, all)
	}
	t.Logf("%d of %d playbooks are read quickly", quick, all)
}

func FuzzUsualYAML(f *testing.F) {
	for _, seed := range []string{
		"a: b\n", "a: 'it''s'\nb: \"x \\\"y\\\" \\\\\"\n", "a:\n  - b: c\n    d: e\n  - f\n", "a: {en: x y, zh: \"z\"}\n", "a: [b, c,\n  d]\n",
		"a: |\n  x\n   y\n\n  z\n\nb: c\n", "a: >-\n  x\n  y\n# c\nb: |-\n  z\n", "a:\n  [b, {c: d}]\n", "a: b # c\n", "a: b\n  c\n", "a: -1\n", "a: null\nb: 0x1f\nc: true\n",
		"- a\n", "a:\n- b\n", "a: {b: (x, y)}\n", "a: [b c, d: e]\n", "a: \n", "a: ''\n", "a:\n\n  # x\n  b: c\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 4096 && utf8.ValidString(text) && !strings.Contains(text, "\t") { // parseYAML refuses the others before
			sameTree(t, "fuzz", text)
		}
	})
}

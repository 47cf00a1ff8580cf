package playbooks

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Covers are the troubles that other systems, documents and people name: what `covers` of a playbook may say.
type Covers struct {
	Sources []CoverSource
	byName  map[string]*Cover
}

// CoverSource is one system or list, SYSTEM/… in `covers`.
type CoverSource struct {
	System string
	About  string
	See    string
	Names  []Cover
}

// Cover is a trouble under somebody's name.
type Cover struct {
	Name string // SYSTEM/NAME
	What string // in a line
	See  string
	Not  string // why no playbook can answer it from inside a host
	Open string // who or what it waits for, as long as no playbook answers it
}

// siteSystem is the system of names that a site gives its own troubles: they are in no list.
const siteSystem = "site/"

// LoadCovers reads the lists of names, a file each; its name is the system's. The error is [Problems].
func LoadCovers(files []File) (*Covers, error) {
	c := &Covers{byName: map[string]*Cover{}}
	var problems Problems
	for _, f := range files {
		src := newSource(f)
		c.Sources = append(c.Sources, readCovers(src))
		problems = append(problems, src.problems...)
	}
	for i := range c.Sources {
		for j := range c.Sources[i].Names {
			c.byName[c.Sources[i].Names[j].Name] = &c.Sources[i].Names[j]
		}
	}
	return c, problems.err()
}

func readCovers(src *source) CoverSource {
	s := CoverSource{System: strings.TrimSuffix(path.Base(src.name), ".yaml")}
	root := parseYAML(src)
	if root == nil {
		return s
	}
	names := readKeys(root, map[string]*string{"about": &s.About, "see": &s.See}, "names")
	if names == nil || names.kind != mapping {
		root.errorf("the key \"names\" is missing: NAME: what it is, or NAME: {what, see, not}")
		return s
	}
	for i, k := range names.keys {
		c := Cover{Name: s.System + "/" + k.text}
		switch v := names.items[i]; v.kind {
		case scalar:
			c.What = v.text
		default:
			readKeys(v, map[string]*string{"what": &c.What, "see": &c.See, "not": &c.Not, "open": &c.Open})
		}
		if c.What == "" {
			k.errorf("%s says not what it is", k.text)
		}
		if slices.ContainsFunc(s.Names, func(o Cover) bool { return o.Name == c.Name }) {
			k.errorf("%q is given twice", k.text)
		}
		s.Names = append(s.Names, c)
	}
	return s
}

// readKeys reads texts of a mapping by their keys; rest, where it is given, is a key whose value is returned.
func readKeys(n *node, texts map[string]*string, rest ...string) *node {
	if n.kind != mapping {
		n.errorf("here a mapping is wanted, and this is %s", n.kind)
		return nil
	}
	var out *node
	for i, k := range n.keys {
		switch to := texts[k.text]; {
		case slices.Contains(rest, k.text):
			out = n.items[i]
		case to == nil:
			k.errorf("there is no key %q%s", k.text, didYouMean(k.text, append(keysOf(texts), rest...)))
		case n.items[i].kind != scalar:
			n.items[i].errorf("here a text is wanted, and this is %s", n.items[i].kind)
		default:
			*to = n.items[i].text
		}
	}
	return out
}

// All are all names, source by source.
func (c *Covers) All() []Cover {
	var out []Cover
	for _, s := range c.Sources {
		out = append(out, s.Names...)
	}
	return out
}

// CheckCovers holds the playbooks' `covers` to the lists: a name is in them, begins with site/, or is a mistake. The error is [Problems].
func (l *Library) CheckCovers(c *Covers) error {
	var problems Problems
	for _, p := range l.playbooks {
		f := p.form()
		for _, n := range f.covers {
			known := c.byName[n.text]
			switch {
			case strings.HasPrefix(n.text, siteSystem):
			case known == nil:
				n.at.errorf("there is no %q in playbooks/library/covers%s", n.text, c.nearest(n.text))
			case known.Not != "":
				n.at.errorf("of %q playbooks/library/covers says that no playbook can answer it: %s", n.text, known.Not)
			}
		}
		problems = append(problems, f.src.problems...)
	}
	return problems.err()
}

// nearest is what a name that is not in the lists may mean: the same name elsewhere, or one that is written nearly so.
func (c *Covers) nearest(name string) string {
	var names []string
	for _, k := range c.All() {
		if path.Base(k.Name) == path.Base(name) {
			return fmt.Sprintf("; did you mean %q?", k.Name)
		}
		names = append(names, k.Name)
	}
	return didYouMean(name, names)
}

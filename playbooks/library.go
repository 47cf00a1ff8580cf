package playbooks

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hostmend/hostmend/probes"
)

// File is a playbook, overlay or story as it was read from wherever it lies.
type File struct {
	Name string
	Data []byte
}

// Library is a set of compiled playbooks. It is immutable: one serves all hosts at once.
type Library struct {
	schema    *schema
	playbooks []*playbook
	byID      map[string]*playbook
	readers   map[string][]int // fact → the playbooks whose verdict depends on it
	ofProbe   map[string][]int // probe → those that read anything of it
	ofWhole   map[string][]int // probe → those that read keys or facts of it that are not known before
}

// schema is what expressions and steps may name.
type schema struct {
	probes    []probes.Info
	index     map[string]int
	actions   map[string]*Action
	keys      []key
	functions map[string]*function
	operators map[string]bool
}

func newSchema(infos []probes.Info, actions []Action) *schema {
	s := &schema{probes: infos, index: map[string]int{}, actions: map[string]*Action{}, keys: keys()}
	for i, info := range infos {
		s.index[info.Name] = i
	}
	for i := range actions {
		s.actions[actions[i].Name] = &actions[i]
	}
	s.functions, s.operators = tables()
	return s
}

// Load reads, checks and compiles playbooks. The error is [Problems], all of them; the library holds the playbooks that have none.
func Load(files []File, infos []probes.Info, actions []Action) (*Library, error) {
	s := newSchema(infos, actions)
	l := &Library{schema: s}
	var problems Problems
	var forms []*form
	for _, r := range readAll(files, s) {
		if r.form != nil {
			forms = append(forms, r.form)
		}
		if len(r.src.problems) == 0 {
			l.playbooks = append(l.playbooks, r.playbook)
		}
		problems = append(problems, r.src.problems...)
	}
	for _, src := range l.index(forms) {
		problems = append(problems, src.problems...)
	}
	return l, problems.err()
}

type readFile struct {
	src      *source
	form     *form
	playbook *playbook
}

// readAll reads files side by side, for nearly all of the time that Load takes is spent here.
func readAll(files []File, s *schema) []readFile {
	out := make([]readFile, len(files))
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
				src := newSource(files[i])
				f, p := read(src, s)
				out[i] = readFile{src, f, p}
			}
		})
	}
	all.Wait()
	return out
}

// read reads and compiles one file. Two parsers that are not ours see it first: a panic in them is one file's problem.
func read(src *source, s *schema) (f *form, p *playbook) {
	defer func() {
		if r := recover(); r != nil {
			src.errorf(-1, "[unexpected] reading the file failed: %v", r)
		}
	}()
	if f = readForm(src, s); f != nil {
		p = compilePlaybook(f, f.params, change{})
	}
	src.trees = nil
	return f, p
}

// index makes what concerns all playbooks, and returns the sources in which it found problems.
func (l *Library) index(forms []*form) []*source {
	ids := map[string]*form{}
	var wrong []*source
	complain := func(f *form, n *node, format string, args ...any) {
		src := &source{name: f.src.name, text: f.src.text, lines: f.src.lines}
		src.errorf(n.at, format, args...)
		wrong = append(wrong, src)
	}
	for _, f := range forms {
		if first := ids[f.id]; first != nil && f.id != "" {
			complain(f, &node{at: -1}, "the id %q is taken by %s", f.id, first.src.name)
			continue
		}
		ids[f.id] = f
	}
	meant := map[string][]*form{} // by a name in `explains`
	for id, f := range ids {
		meant[id] = append(meant[id], f)
	}
	for _, f := range forms {
		for _, s := range f.shows {
			if ids[s.id] != nil {
				complain(f, s.at, "%q is the id of a playbook; a sign has a name of its own", s.id)
			} else {
				meant[s.id] = append(meant[s.id], f)
			}
		}
	}
	for _, f := range forms {
		for _, e := range f.explains {
			if meant[e.id] == nil {
				complain(f, e.at, "there is no playbook or sign %q%s", e.id, nearest(e.id, keysOf(meant)))
			} else if cycle := explained(meant, f, e.id, map[string]bool{}); cycle != "" {
				complain(f, e.at, "%s explains %s in turn: a cause is not its own consequence", cycle, f.id)
			}
		}
	}
	for _, src := range wrong {
		l.playbooks = slices.DeleteFunc(l.playbooks, func(p *playbook) bool { return p.src.name == src.name })
	}
	l.build()
	return wrong
}

// explained returns the name of the playbook through which what is meant by name explains f in turn, if it does. That f has a sign
// which it explains in others is no circle.
func explained(meant map[string][]*form, f *form, name string, seen map[string]bool) string {
	if seen[name] {
		return ""
	}
	seen[name] = true
	for _, g := range meant[name] {
		for _, e := range g.explains {
			switch {
			case g == f && name != f.id:
			case slices.Contains(meant[e.id], f), explained(meant, f, e.id, seen) != "":
				return g.id
			}
		}
	}
	return ""
}

// build makes the indexes of the list of playbooks.
func (l *Library) build() {
	l.byID = map[string]*playbook{}
	l.readers, l.ofProbe, l.ofWhole = map[string][]int{}, map[string][]int{}, map[string][]int{}
	for i, p := range l.playbooks {
		l.byID[p.ID] = p
		for _, fact := range p.condition {
			name, _ := splitFact(fact)
			l.readers[fact] = append(l.readers[fact], i)
			if list := l.ofProbe[name]; len(list) == 0 || list[len(list)-1] != i {
				l.ofProbe[name] = append(list, i)
			}
			if fact == name || strings.HasSuffix(fact, "[*]") {
				l.ofWhole[name] = append(l.ofWhole[name], i)
			}
		}
	}
}

// Playbooks lists what there is, in the order in which it was loaded.
func (l *Library) Playbooks() []Playbook {
	list := make([]Playbook, len(l.playbooks))
	for i, p := range l.playbooks {
		list[i] = p.Playbook
	}
	return list
}

// Only is a library of the named playbooks.
func (l *Library) Only(ids ...string) (*Library, error) {
	only := &Library{schema: l.schema}
	for _, id := range ids {
		p := l.byID[id]
		if p == nil {
			return nil, fmt.Errorf("there is no playbook %q%s", id, nearest(id, keysOf(l.byID)))
		}
		only.playbooks = append(only.playbooks, p)
	}
	only.build()
	return only, nil
}

// Needs is what the playbooks read: only those probes run, and of a map only those keys are read, unless a key is computed.
func (l *Library) Needs() probes.Want {
	want := probes.Want{}
	for _, p := range l.playbooks {
		addNeeds(want, l.schema, p.reads)
	}
	for _, keys := range want {
		slices.Sort(keys)
	}
	return want
}

// addNeeds adds facts to what is wanted.
func addNeeds(want probes.Want, s *schema, facts []string) {
	for _, fact := range facts {
		name, key := splitFact(fact)
		info := &s.probes[s.index[name]]
		before, asked := want[name]
		switch {
		case info.Facts.Kind != probes.Map || key == "":
			want[name] = nil
		case asked && before == nil: // all keys
		case !slices.Contains(before, key):
			want[name] = append(before, key)
		}
	}
}

// splitFact takes `sysctl["net.core.somaxconn"]` apart; the key is empty where there is none that is known.
func splitFact(fact string) (probe, key string) {
	probe, rest := cutProbe(fact)
	if strings.HasPrefix(rest, "[") {
		key, _ = strconv.Unquote(rest[1 : len(rest)-1])
	}
	return probe, key
}

// cutProbe cuts a path behind the name of its probe: `conntrack` and `.count`, `site.shop` and `.status`.
func cutProbe(path string) (probe, rest string) {
	from := 0
	if strings.HasPrefix(path, probes.Site+".") {
		from = len(probes.Site) + 1
	}
	if i := strings.IndexAny(path[from:], ".["); i >= 0 {
		return path[:from+i], path[from+i:]
	}
	return path, ""
}

// Readers are the playbooks whose verdict depends on a fact, named as `conntrack.count`, `sysctl["net.core.somaxconn"]`, or by
// its probe alone.
func (l *Library) Readers(fact string) []string {
	var ids []string
	l.each(fact, func(i int) {
		if id := l.playbooks[i].ID; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	})
	return sorted(ids)
}

// Untranslated are the texts (titles, means, manual, confirm) that lack a language. The shipped library has none.
func (l *Library) Untranslated() error {
	var problems Problems
	for _, p := range l.playbooks {
		f := p.form()
		for name, t := range map[string]pair{"title": f.title, "means": f.means, "manual": f.manual, "confirm": f.confirm} {
			if t.en != nil && t.zh == nil {
				f.src.errorf(t.en.in.at, "%s has no Chinese text: write {en: …, zh: …}", name)
			}
		}
		problems = append(problems, f.src.problems...)
	}
	return problems.err()
}

package playbooks

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// story is a file of cases for one playbook. Its form is told in the package's documentation.
type story struct {
	src   *source
	lib   *Library
	p     *playbook
	facts *node
	cases []storyCase
	life  bool // of a real host: it needs no near misses
}

type storyCase struct {
	at      int // of its header in the file
	verdict string
	words   string
	body    *node
}

var storyVerdicts = []string{"yes", "no", "unknown", "not here"}

// RunStory plays a playbook's story, the file NAME.txtar beside NAME.yaml. The error is [Problems]: every expectation that was not
// met, and what the story lacks.
func RunStory(l *Library, file File) error { return runStory(l, file, false) }

// RunLife plays a story that was captured on a real host, life/NAME.txtar. It is what it is: it need not match, nor have near misses.
func RunLife(l *Library, file File) error { return runStory(l, file, true) }

func runStory(l *Library, file File, life bool) error {
	src := newSource(file)
	s := &story{src: src, lib: l, life: life}
	if len(src.text) > maxFile {
		src.errorf(-1, "the file has %d KiB; %d KiB is the limit", len(src.text)>>10, maxFile>>10)
		return src.problems.err()
	}
	id := strings.TrimSuffix(path.Base(file.Name), ".txtar")
	if s.p = l.byID[id]; s.p == nil {
		src.errorf(-1, "there is no playbook %q whose story this could be%s", id, nearest(id, keysOf(l.byID)))
		return src.problems.err()
	}
	s.read()
	for _, c := range s.cases {
		s.play(c)
	}
	return src.problems.err()
}

// read takes the sections of the file.
func (s *story) read() {
	words, sections := split(s.src.text)
	if strings.TrimSpace(words) == "" {
		s.src.errorf(0, "a story begins with a sentence or two: what happened, and where the facts come from")
	}
	steps, met := false, map[string]bool{}
	for _, section := range sections {
		body := s.yaml(section.from, section.data)
		if section.name == "facts" {
			s.facts = body
			for _, name := range expectations {
				if n := body.get(name); n != nil {
					n.errorf("%s belongs to a case, not to the facts", name)
				}
			}
			continue
		}
		verdict, words, _ := strings.Cut(section.name, ":")
		if !slices.Contains(storyVerdicts, verdict) || strings.TrimSpace(words) == "" {
			s.src.errorf(section.at, "a section is `facts`, or VERDICT: what is special about the case; verdicts are %s", strings.Join(storyVerdicts, ", "))
			continue
		}
		met[verdict] = true
		steps = steps || strings.Contains(section.data, "steps:")
		s.cases = append(s.cases, storyCase{section.at, verdict, strings.TrimSpace(words), body})
	}
	if s.life {
		if len(s.cases) == 0 {
			s.src.errorf(-1, "the story has no case (-- VERDICT: … --)")
		}
		return
	}
	if !met["yes"] {
		s.src.errorf(-1, "the story has no case that matches (-- yes: … --)")
	}
	if !met["no"] {
		s.src.errorf(-1, "the story has no near miss (-- no: … --)")
	}
	if len(s.p.steps) > 0 && !steps {
		s.src.errorf(-1, "the playbook has a fix, and no case says which steps it takes (steps: [ACTION argument=value])")
	}
}

// Facts makes a snapshot of facts as stories write them.
func Facts(infos []probes.Info, file File) (*probes.Snapshot, error) {
	src := newSource(file)
	n := parseYAML(src)
	w := newWorld(newSchema(infos, nil))
	if n != nil && n.kind != mapping {
		n.errorf("facts are a mapping")
		n = nil
	}
	if n != nil {
		for i, k := range n.keys {
			w.set(k, n.items[i])
		}
	}
	snap := w.snapshot("")
	return snap, src.problems.err()
}

// section is a part of a txtar file.
type section struct {
	at, from   int // where its header and its data begin
	name, data string
}

// split takes a txtar file apart: the words before the first header, and the sections under `-- NAME --` lines.
func split(text string) (words string, sections []section) {
	at := 0
	for line := range strings.Lines(text) {
		header := strings.TrimRight(line, "\r\n")
		if name := strings.TrimSuffix(strings.TrimPrefix(header, "-- "), " --"); len(name) == len(header)-6 && name != "" {
			sections = append(sections, section{at: at, from: at + len(line), name: strings.TrimSpace(name)})
		} else if len(sections) == 0 {
			words += line
		} else {
			sections[len(sections)-1].data += line
		}
		at += len(line)
	}
	return words, sections
}

// yaml parses a section, with places in the whole file; nil if it is empty or wrong.
func (s *story) yaml(from int, data string) *node {
	if strings.TrimSpace(data) == "" || !strings.ContainsFunc(stripComments(data), func(r rune) bool { return !isSpace(r) }) {
		return nil
	}
	line := strings.Count(s.src.text[:from], "\n")
	section := newSource(File{Name: s.src.name, Data: []byte(data)})
	n := parseYAML(section)
	for _, p := range section.problems {
		if p.Line > 0 {
			p.Line += line
		}
		s.src.problems = append(s.src.problems, p)
	}
	if n != nil {
		n.move(s.src, from)
		if n.kind != mapping {
			n.errorf("a section is a mapping of facts and expectations")
			return nil
		}
	}
	return n
}

func stripComments(data string) string {
	var b strings.Builder
	for line := range strings.Lines(data) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// move makes a node's places those of the file that its text is a part of.
func (n *node) move(src *source, by int) {
	n.src, n.at = src, n.at+by
	for _, k := range n.keys {
		k.move(src, by)
	}
	for _, item := range n.items {
		item.move(src, by)
	}
}

// expectations are the keys of a case that are not facts.
var expectations = []string{"find", "params", "missing"}

// play builds a case's snapshot, judges it, and compares.
func (s *story) play(c storyCase) {
	before := len(s.src.problems)
	world := newWorld(s.lib.schema)
	for _, section := range []*node{s.facts, c.body} {
		if section == nil {
			continue
		}
		for i, k := range section.keys {
			if !slices.Contains(expectations, k.text) {
				world.set(k, section.items[i])
			}
		}
	}
	snap := world.snapshot(c.verdict + ": " + c.words + ": ")
	lib, err := s.lib.Only(s.p.ID)
	if params := c.body.get("params"); params != nil && err == nil {
		lib = lib.withParams(params)
	}
	if len(s.src.problems) > before || err != nil || lib == nil {
		return
	}
	d := lib.Match(snap, nil)
	s.compare(c, lib, snap, d)
}

// fail records that an expectation of a case was not met.
func (s *story) fail(c storyCase, at int, format string, args ...any) {
	s.src.errorf(at, "%s: %s: %s", c.verdict, c.words, fmt.Sprintf(format, args...))
}

func (s *story) compare(c storyCase, lib *Library, snap *probes.Snapshot, d Diagnosis) {
	check := d.Checks[0]
	verdict := check.Verdict.String()
	if check.NotHere {
		verdict = "not here"
	}
	if verdict != c.verdict {
		s.fail(c, c.at, "the playbook says %s%s", verdict, s.whyNot(lib, snap, d))
		return
	}
	found := append(slices.Clone(d.Findings), d.Pending...)
	find := c.body.get("find")
	missing := c.body.get("missing")
	switch {
	case find != nil && c.verdict != "yes":
		s.fail(c, find.at, "find belongs to cases that match")
	case find != nil && s.p.Each != "":
		s.compareObjects(c, find, found)
	case find != nil:
		s.compareFinding(c, find, found[0])
	case s.p.Each != "" && c.verdict == "yes":
		s.fail(c, c.at, "say which objects are found, and no others: find: {OBJECT: {…}}; these are %s", objects(found))
	}
	if missing != nil {
		var have []string
		for _, u := range d.Unknown {
			have = append(have, u.Missing...)
		}
		for _, item := range missing.items {
			if !slices.Contains(have, item.text) {
				s.fail(c, item.at, "%q is not what is missing; that is %s", item.text, strings.Join(have, ", "))
			}
		}
	}
}

// whyNot shows the clauses behind a verdict that was not expected.
func (s *story) whyNot(lib *Library, snap *probes.Snapshot, d Diagnosis) string {
	var b strings.Builder
	for _, u := range d.Unknown {
		fmt.Fprintf(&b, "; %s", u.Reason)
	}
	for _, f := range append(slices.Clone(d.Findings), d.Pending...) {
		if f.Object != "" {
			fmt.Fprintf(&b, "; %s", f.Object)
		}
		for _, cl := range f.Clauses {
			fmt.Fprintf(&b, "; %s: %s%s", cl.Verdict, cl.Text, factsText(cl.Facts))
		}
	}
	if d.Checks[0].Verdict == No {
		b.WriteString(lib.explainParts(s.p, snap))
	}
	return b.String()
}

func factsText(facts []Fact) string {
	if len(facts) == 0 {
		return ""
	}
	parts := make([]string, len(facts))
	for i, f := range facts {
		parts[i] = f.Path + " = " + f.Show()
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func objects(found []Finding) string {
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].Object
	}
	return strings.Join(names, ", ")
}

func (s *story) compareObjects(c storyCase, find *node, found []Finding) {
	if find.kind != mapping {
		s.fail(c, find.at, "for a playbook with for_each write find: {OBJECT: {…}}")
		return
	}
	for i, k := range find.keys {
		j := slices.IndexFunc(found, func(f Finding) bool { return f.Object == k.text })
		if j < 0 {
			s.fail(c, k.at, "there is no finding about %s; there are findings about %s", k.text, objects(found))
			continue
		}
		s.compareFinding(c, find.items[i], found[j])
	}
	for _, f := range found {
		if find.get(f.Object) == nil {
			s.fail(c, find.at, "there is a finding about %s too", f.Object)
		}
	}
}

func (s *story) compareFinding(c storyCase, want *node, f Finding) {
	if want.kind != mapping {
		if want.kind == scalar && want.text != f.Severity.String() {
			s.fail(c, want.at, "the severity is %s", f.Severity)
		}
		return
	}
	for i, k := range want.keys {
		value := want.items[i]
		switch k.text {
		case "severity":
			if value.text != f.Severity.String() {
				s.fail(c, value.at, "the severity is %s", f.Severity)
			}
		case "title":
			if value.text != f.Title.EN {
				s.fail(c, value.at, "the title is %q", f.Title.EN)
			}
		case "evidence":
			s.compareTexts(c, value, f.Evidence)
		case "confirm":
			if got := f.Confirm.EN; (value.text == "") != (got == "") || !strings.Contains(got, value.text) {
				s.fail(c, value.at, "confirm says %q", got)
			}
		case "manual":
			if !strings.Contains(f.Manual.EN, value.text) {
				s.fail(c, value.at, "manual says %q", f.Manual.EN)
			}
		case "steps":
			s.compareSteps(c, value, f)
		default:
			s.fail(c, k.at, "there is no expectation %q%s", k.text, didYouMean(k.text, []string{"severity", "title", "evidence", "confirm", "manual", "steps"}))
		}
	}
}

// compareTexts wants each text to be a part of some evidence.
func (s *story) compareTexts(c storyCase, want *node, have []Text) {
	wanted := want.items
	if want.kind == scalar {
		wanted = []*node{want}
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(have, func(t Text) bool { return strings.Contains(t.EN, w.text) }) {
			all := make([]string, len(have))
			for i := range have {
				all[i] = strconv.Quote(have[i].EN)
			}
			s.fail(c, w.at, "the evidence is %s", strings.Join(all, ", "))
		}
	}
}

func (s *story) compareSteps(c storyCase, want *node, f Finding) {
	have := make([]string, len(f.Steps))
	for i, step := range f.Steps {
		have[i] = step.String()
	}
	var wanted []string
	for _, w := range want.items {
		wanted = append(wanted, w.text)
	}
	if want.kind == scalar {
		wanted = []string{want.text}
	}
	if !slices.Equal(have, wanted) {
		withheld := ""
		if len(f.Withheld) > 0 {
			withheld = "; left out: " + strings.Join(f.Withheld, "; ")
		}
		s.fail(c, want.at, "the steps are [%s]%s", strings.Join(have, ", "), withheld)
	}
}

// String is the step as a story writes it: ACTION argument=value.
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(s.Action)
	for i := range s.Args {
		b.WriteString(" " + s.Args[i].Name + "=" + argText(&s.Args[i].Value))
	}
	return b.String()
}

func argText(v *probes.Value) string {
	if v.Kind() == probes.List {
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = argText(v.At(i))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	s := exact(v)
	if v.Kind() == probes.String && (s == "" || strings.ContainsAny(s, " \t\n\"=,")) {
		return strconv.Quote(s)
	}
	return s
}

// world is a host in the making: facts as they were written, by probe.
type world struct {
	schema *schema
	facts  map[string]any
	status map[string]probes.Observation
	where  map[string]*node
}

func newWorld(s *schema) *world {
	return &world{schema: s, facts: map[string]any{}, status: map[string]probes.Observation{}, where: map[string]*node{}}
}

// set carries out one line of a story: a probe's facts, its status, or one fact by its path.
func (w *world) set(k, value *node) {
	name, rest := cutProbe(k.text)
	i, ok := w.schema.index[name]
	if !ok {
		k.errorf("there is no probe %q%s", name, didYouMean(name, append(keysOf(w.schema.index), expectations...)))
		return
	}
	t := w.schema.probes[i].Facts
	w.where[name] = k
	if rest == "" && value.kind == scalar {
		w.setStatus(name, value)
		return
	}
	delete(w.status, name)
	if rest == "" {
		if x, ok := decode(value, t); ok {
			w.facts[name] = merge(w.facts[name], x)
		}
		return
	}
	segments, ok := splitPath(rest)
	if !ok {
		k.errorf("%q is no path: write probe.fact, probe.list[key].fact or probe[key]", k.text)
		return
	}
	w.facts[name] = w.put(k, w.facts[name], t, segments, value)
}

// setStatus is `conntrack: no data` or `conntrack: failed, permission denied`.
func (w *world) setStatus(name string, value *node) {
	status, reason, _ := strings.Cut(value.text, ",")
	o := probes.Observation{Probe: name, Reason: strings.TrimSpace(reason)}
	switch strings.TrimSpace(status) {
	case "no data":
		o.Status = probes.Nothing
	case "failed":
		o.Status = probes.Failed
	case "skipped":
		o.Status = probes.Skipped
	default:
		value.errorf("a probe's facts are a mapping, or its status: no data, failed or skipped, and after a comma the reason")
		return
	}
	w.status[name] = o
}

// merge lays facts over facts: mappings entry by entry, all else as a whole.
func merge(old, x any) any {
	a, ok := old.(map[string]any)
	b, ok2 := x.(map[string]any)
	if !ok || !ok2 || special(a) || special(b) {
		return x
	}
	for k, v := range b {
		a[k] = merge(a[k], v)
	}
	return a
}

// special reports whether a mapping stands for something else: a list that was cut short, or what could not be read.
func special(m map[string]any) bool {
	_, items := m["items"].([]any)
	_, unreadable := m["unreadable"].(string)
	return items || unreadable && len(m) == 1
}

// splitPath takes .list[key].fact apart: names as ".list", keys as "[key".
func splitPath(s string) ([]string, bool) {
	var out []string
	for s != "" {
		switch s[0] {
		case '.':
			end := strings.IndexAny(s[1:], ".[")
			if end < 0 {
				end = len(s) - 1
			}
			out, s = append(out, s[:end+1]), s[end+1:]
		case '[':
			end := strings.IndexByte(s, ']')
			if end < 0 {
				return nil, false
			}
			out, s = append(out, "["+strings.Trim(s[1:end], `"'`)), s[end+1:]
		default:
			return nil, false
		}
	}
	return out, len(out) > 0
}

// put sets what a path leads to, and makes what is not there on the way.
func (w *world) put(k *node, x any, t *probes.Type, path []string, value *node) any {
	if len(path) == 0 {
		if v, ok := decode(value, t); ok {
			return merge(x, v)
		}
		return x
	}
	name := path[0][1:]
	switch {
	case t.Kind == probes.Struct && path[0][0] == '.':
		m, ok := x.(map[string]any)
		if !ok {
			m = map[string]any{}
		}
		i := t.Field(name)
		if i < 0 {
			names := make([]string, len(t.Fields))
			for j, f := range t.Fields {
				names[j] = f.Name
			}
			k.errorf("there is no fact %q%s", name, didYouMean(name, names))
			return m
		}
		m[name] = w.put(k, m[name], t.Fields[i].Type, path[1:], value)
		return m
	case t.Kind == probes.Map && path[0][0] == '[':
		m, ok := x.(map[string]any)
		if !ok {
			m = map[string]any{}
		}
		m[name] = w.put(k, m[name], t.Elem, path[1:], value)
		return m
	case t.Kind == probes.List && path[0][0] == '[' && t.Elem.Kind == probes.Struct && t.Elem.KeyField() >= 0:
		list, _ := x.([]any)
		field := t.Elem.Fields[t.Elem.KeyField()]
		i := slices.IndexFunc(list, func(e any) bool {
			m, ok := e.(map[string]any)
			return ok && fmt.Sprint(m[field.Name]) == name
		})
		if i < 0 {
			key := any(name)
			if n, err := strconv.ParseInt(name, 10, 64); err == nil && field.Type.Kind == probes.Int {
				key = n
			}
			list, i = append(list, map[string]any{field.Name: key}), len(list)
		}
		list[i] = w.put(k, list[i], t.Elem, path[1:], value)
		return list
	}
	k.errorf("%q does not fit %s", path[0], words(t))
	return x
}

// snapshot makes the host.
func (w *world) snapshot(prefix string) *probes.Snapshot {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	snap := &probes.Snapshot{Host: "story", At: at}
	for _, info := range w.schema.probes {
		if o, ok := w.status[info.Name]; ok {
			o.At = at
			snap.Observations = append(snap.Observations, o)
			continue
		}
		x, ok := w.facts[info.Name]
		if !ok {
			continue
		}
		v, err := info.Facts.Decode(x)
		if err != nil {
			w.where[info.Name].errorf("%s%s: %s", prefix, info.Name, err)
			continue
		}
		snap.Observations = append(snap.Observations, probes.Observation{Probe: info.Name, Status: probes.OK, Facts: v, At: at})
	}
	return snap
}

// decode makes of a node what [probes.Type.Decode] wants for a type.
func decode(n *node, t *probes.Type) (any, bool) {
	if n.kind == null || n.kind == scalar && n.style == plain && (n.text == "null" || n.text == "~") {
		return nil, true
	}
	if n.kind == mapping && len(n.keys) == 1 && n.keys[0].text == "unreadable" {
		return map[string]any{"unreadable": n.items[0].text}, true
	}
	wrong := func() (any, bool) {
		n.errorf("here %s is wanted", t)
		return nil, false
	}
	switch t.Kind {
	case probes.Struct, probes.Map:
		if n.kind != mapping {
			return wrong()
		}
		m := map[string]any{}
		for i, k := range n.keys {
			elem := t.Elem
			if t.Kind == probes.Struct {
				j := t.Field(k.text)
				if j < 0 {
					names := make([]string, len(t.Fields))
					for j, f := range t.Fields {
						names[j] = f.Name
					}
					k.errorf("there is no fact %q%s", k.text, didYouMean(k.text, names))
					return nil, false
				}
				elem = t.Fields[j].Type
			}
			x, ok := decode(n.items[i], elem)
			if !ok {
				return nil, false
			}
			m[k.text] = x
		}
		return m, true
	case probes.List:
		items, more, why := n, any(nil), ""
		if n.kind == mapping {
			items = n.get("items")
			if left := n.get("more"); left != nil {
				count, _ := strconv.ParseInt(left.text, 10, 32)
				more = count
			}
			if reason := n.get("why"); reason != nil {
				why = reason.text
			}
		}
		if items == nil || items.kind != sequence {
			return wrong()
		}
		list := []any{}
		for _, item := range items.items {
			x, ok := decode(item, t.Elem)
			if !ok {
				return nil, false
			}
			list = append(list, x)
		}
		if more != nil {
			return map[string]any{"items": list, "more": more, "why": why}, true
		}
		return list, true
	}
	if n.kind != scalar {
		return wrong()
	}
	switch t.Kind {
	case probes.Bool:
		if n.text == "true" || n.text == "false" {
			return n.text == "true", true
		}
		return wrong()
	case probes.Int:
		if i, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 10, 64); err == nil {
			return i, true
		}
		return wrong()
	case probes.Float:
		if f, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64); err == nil {
			return f, true
		}
		return wrong()
	}
	return n.text, true // texts and durations
}

package playbooks

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// Areas are the parts of a host that a playbook may be about, in the order in which reports show them.
var Areas = []string{"compute", "memory", "storage", "network", "access", "time", "services", "kernel"}

// Stages are how far a playbook may go on a host by itself.
var Stages = []string{"observe", "suggest", "approve", "auto"}

const defaultStage = "suggest"

// form is a playbook as it was read: expressions parsed, nothing compiled.
type form struct {
	src    *source
	schema *schema

	id, area string
	title    pair
	means    pair
	severity *rawText
	risk     Risk
	covers   []named
	shows    []effect
	explains []effect
	see      []named
	params   []Param
	let      []definition
	each     string
	eachList *expression
	when     *expression
	hold     time.Duration
	evidence []pair
	reading  pair
	fix      []rawStep
	manual   pair
	confirm  pair
	noChecks bool // it was said that there are no site checks
	verify   *expression
	until    *expression
	settle   time.Duration
	used     map[string]bool // parameters that an expression reads
}

// pair is a text in the two languages; zh may be nil.
type pair struct{ en, zh *rawText }

// named is a short text with its place.
type named struct {
	text string
	at   *node
}

type definition struct {
	name string
	key  *node
	expr *expression
}

type rawStep struct {
	at     *node
	action *Action
	cond   *expression
	args   []rawArg
}

type rawArg struct {
	spec *Arg
	at   *node
	text *rawText
	list []*rawText // a YAML list
}

// Param is a number that a playbook lets its users set.
type Param struct {
	Name    string
	Value   probes.Value // what it is now
	Default probes.Value
	Min     probes.Value
	Max     probes.Value
	Unit    string // of the fact that it is compared with
	Why     string
	Origin  string // of Value: "default", or the overlay
	at      *node
}

// kind is the kind of the parameter's value.
func (p *Param) kind() probes.Kind { return p.Default.Kind() }

// key is an entry of the playbook's format. The loader, the JSON Schema and the reference page are made of one table.
type key struct {
	name     string
	required bool
	doc      string
	schema   any
	read     func(f *form, n *node)
}

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// keys are all there are, in the order in which a playbook is written.
func keys() []key {
	return []key{
		{"id", true, "The file's name without .yaml: small letters, digits and hyphens.", schemaPattern(idPattern.String()), (*form).readID},
		{"title", true, "The trouble in one line, without a period at the end.", schemaRef("text"), func(f *form, n *node) { f.title = f.readTitle(n) }},
		{"means", false, "What the trouble is and what the host's users feel of it: a sentence or two, the same for every host.", schemaRef("text"), (*form).readMeans},
		{"area", true, "The part of the host that it is about.", schemaEnum(Areas), func(f *form, n *node) { f.area = f.oneOf(n, Areas) }},
		{"severity", true, `How bad the trouble is for the host's users: critical, warning, info, or {expression}.`, schemaString(), (*form).readSeverity},
		{"risk", false, "What the fix may do to the host; never below its actions' risk. Required with fix.", schemaEnum(riskNames()), (*form).readRisk},
		{"covers", false, "What this answers in other systems' vocabularies, out of the lists in playbooks/library/covers: ecs/…, domain/…, npd/…. Names of a site's own begin with site/.", schemaStrings(), func(f *form, n *node) { f.covers = f.readNames(n) }},
		{"for_each", false, "{NAME: list}: one finding for each element of the list, which the other expressions know as NAME.", schemaObject(), (*form).readEach},
		{"params", false, "Numbers or durations that users may set: NAME: {default, min, max, why}.", schemaRef("params"), (*form).readParams},
		{"let", false, "Names for parts of expressions: NAME: expression.", schemaObject(), (*form).readLet},
		{"when", true, "The condition: an expression that is yes, no or unknown.", schemaString(), func(f *form, n *node) { f.when = f.readExpression(n) }},
		{"for", false, "How long the condition must hold before it counts: 30s, 5m. Default 0s.", schemaString(), func(f *form, n *node) { f.hold = f.readDuration(n) }},
		{"shows", false, "Signs, which make it a symptom: NAME or NAME/{expression}. A cause names in `explains` the sign, and so all that show it; a symptom stands behind causes that are as bad.", schemaStrings(), func(f *form, n *node) { f.shows = f.readEffects(n) }},
		{"explains", false, "Playbooks, or signs that playbooks show, whose findings on the same host are consequences of this one; ID/{expression} means only the one about that object.", schemaStrings(), func(f *form, n *node) { f.explains = f.readEffects(n) }},
		{"evidence", true, "Texts with {expressions} that show what was seen.", schemaRef("texts"), func(f *form, n *node) { f.evidence = f.readTexts(n) }},
		{"reading", false, "What a report shows for a healthy host. Default: the first evidence.", schemaRef("text"), func(f *form, n *node) { f.reading = f.readPair(n) }},
		{"fix", false, "Steps, in order: {do: ACTION, if: condition, with: {ARGUMENT: text or {expression}}}.", schemaRef("fix"), (*form).readFix},
		{"manual", false, "What a person does where no step applies. Required without fix.", schemaRef("text"), func(f *form, n *node) { f.manual = f.readPair(n) }},
		{"confirm", false, "What would settle it where these facts cannot be sure. Left out where it comes to nothing: {condition ? \"…\" : \"\"}.", schemaRef("text"), func(f *form, n *node) { f.confirm = f.readPair(n) }},
		{"until", false, "No further step is taken once this holds.", schemaString(), func(f *form, n *node) { f.until = f.readExpression(n) }},
		{"verify", false, "Whether the trouble is gone, on fresh facts. Default: `when` is no.", schemaString(), func(f *form, n *node) { f.verify = f.readExpression(n) }},
		{"settle", false, "How long to wait after the fix before verify. Default 0s.", schemaString(), func(f *form, n *node) { f.settle = f.readDuration(n) }},
		{"see", false, "Where to read more: URLs.", schemaStrings(), func(f *form, n *node) { f.see = f.readNames(n) }},
	}
}

func riskNames() []string {
	return []string{Harmless.String(), Reversible.String(), Disruptive.String(), Destructive.String()}
}

// readForm reads a playbook's file; nil if it is not even a mapping.
func readForm(src *source, s *schema) *form {
	root := parseYAML(src)
	if root == nil {
		return nil
	}
	f := &form{src: src, schema: s, used: map[string]bool{}}
	if root.kind != mapping {
		root.errorf("a playbook is a mapping of keys like id, title and when; this is %s", root.kind)
		return nil
	}
	table := s.keys
	names := make([]string, len(table))
	for i, t := range table {
		names[i] = t.name
	}
	meant := map[string]bool{} // keys that were probably misspelled
	for _, k := range root.keys {
		if !slices.Contains(names, k.text) {
			guess := nearest(k.text, names)
			k.errorf("there is no key %q%s", k.text, guess)
			meant[strings.TrimSuffix(strings.TrimPrefix(guess, `; did you mean "`), `"?`)] = true
		}
	}
	for _, t := range table {
		switch n := root.get(t.name); {
		case n == nil && meant[t.name]:
		case n == nil && t.required:
			src.errorf(root.at, "the key %q is missing: %s", t.name, t.doc)
		case n == nil:
		case n.kind == null:
			n.errorf("%s is empty", t.name)
		default:
			t.read(f, n)
		}
	}
	f.check(root)
	return f
}

// check looks at what concerns several keys.
func (f *form) check(root *node) {
	switch {
	case root.get("fix") == nil && root.get("manual") == nil:
		root.errorf("a playbook has a fix, or manual: what a person does, step by step")
	case root.get("fix") != nil && root.get("risk") == nil:
		root.get("fix").errorf("with a fix, risk says what it may do to the host: %s", strings.Join(riskNames(), ", "))
	}
	for _, step := range f.fix {
		if step.action != nil && step.action.Risk > f.risk && f.risk != 0 {
			root.get("risk").errorf("risk is %s, and %s is %s", f.risk, step.action.Name, step.action.Risk)
		}
	}
	if n := root.get("until"); n != nil && len(f.fix) == 0 {
		n.errorf("until stops a fix, and there is none")
	}
	names := map[string]string{}
	claim := func(n *node, name, what string) {
		switch _, isFunction := f.schema.functions[name]; {
		case !nameFor.MatchString(name):
			n.errorf("%q is no name: small letters, digits and _", name)
		case name == probes.Site:
			n.errorf("%q is where the facts of site checks are: choose another name", name)
		case isFunction || slices.Contains(reserved, name) || f.schema.operators[name]:
			n.errorf("%q is a word of the language: choose another name", name)
		case names[name] != "":
			n.errorf("%q is already %s", name, names[name])
		default:
			if _, ok := f.schema.index[name]; ok {
				n.errorf("%q is a probe's name: choose another", name)
			}
		}
		names[name] = what
	}
	for _, d := range f.let {
		claim(d.key, d.name, "a name under let")
	}
	if f.each != "" {
		claim(root.get("for_each").keys[0], f.each, "the element of for_each")
	}
	for i := range f.params {
		if !nameFor.MatchString(f.params[i].Name) {
			f.params[i].at.errorf("%q is no name: small letters, digits and _", f.params[i].Name)
		}
	}
}

var (
	nameFor  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	reserved = []string{"params", "true", "false", "nil", "let", "if", "else", "not", "and", "or", "in"}
)

func (f *form) readID(n *node) {
	f.id = f.scalar(n)
	name := strings.TrimSuffix(path.Base(f.src.name), ".yaml")
	switch {
	case !idPattern.MatchString(f.id):
		n.errorf("%q is no id: small letters, digits and hyphens, like conntrack-table-full", f.id)
	case f.id != name:
		n.errorf("the id is %q and the file's name says %q: they must be the same", f.id, name)
	}
}

// scalar is the text of a node that must be one.
func (f *form) scalar(n *node) string {
	if n.kind != scalar {
		n.errorf("here a text is wanted, and this is %s%s", n.kind, quoteHint(n))
		return ""
	}
	return n.text
}

// quoteHint helps whoever wrote an expression that YAML took for something else.
func quoteHint(n *node) string {
	if n.kind == mapping || n.kind == sequence {
		return "; an expression that begins with { or [ must be in quotes"
	}
	return ""
}

func (f *form) readExpression(n *node) *expression {
	if f.scalar(n) == "" && n.kind != scalar {
		return nil
	}
	return parse(n, 0, n.text)
}

func (f *form) readDuration(n *node) time.Duration {
	text := f.scalar(n)
	if n.kind != scalar {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		n.errorf("%q is no duration: write 30s, 5m or 1h30m", text)
	}
	return d
}

func (f *form) oneOf(n *node, names []string) string {
	text := f.scalar(n)
	if n.kind == scalar && !slices.Contains(names, text) {
		n.errorf("%q is none of %s%s", text, strings.Join(names, ", "), nearest(text, names))
	}
	return text
}

// nearest is didYouMean where the names have already been said.
func nearest(name string, names []string) string {
	if s := didYouMean(name, names); strings.HasPrefix(s, "; did") {
		return s
	}
	return ""
}

func (f *form) readRisk(n *node) {
	f.risk = Risk(slices.Index(riskNames(), f.oneOf(n, riskNames())) + 1)
}

var severityNames = []string{Info.String(), Warning.String(), Critical.String()}

func (f *form) readSeverity(n *node) {
	if f.scalar(n) == "" {
		return
	}
	f.severity = readText(n)
	if f.severity != nil && f.severity.lone() == nil {
		f.oneOf(n, severityNames)
	}
}

// readPair reads a text, or a text in each language.
func (f *form) readPair(n *node) pair {
	switch n.kind {
	case scalar:
		return pair{en: readText(n)}
	case mapping:
		var p pair
		for i, k := range n.keys {
			switch k.text {
			case "en", "zh":
				if f.scalar(n.items[i]) == "" {
					continue
				}
				if t := readText(n.items[i]); k.text == "en" {
					p.en = t
				} else {
					p.zh = t
				}
			default:
				k.errorf("there is no language %q; there are en and zh%s", k.text, quoteHint(n))
			}
		}
		if n.get("en") == nil {
			n.errorf("the English text (en) is missing")
		}
		return p
	}
	n.errorf("here a text is wanted, or {en: …, zh: …}, and this is %s", n.kind)
	return pair{}
}

func (f *form) readTitle(n *node) pair {
	p := f.readPair(n)
	for _, t := range []*rawText{p.en, p.zh} {
		if t != nil && (strings.HasSuffix(t.in.text, ".") || strings.HasSuffix(t.in.text, "。") || strings.Contains(t.in.text, "\n")) {
			t.in.errorf("a title is one line, and a phrase without a period at its end")
		}
	}
	return p
}

// readMeans reads what a trouble means; it is about the trouble, not about one host.
func (f *form) readMeans(n *node) {
	f.means = f.readPair(n)
	for _, t := range []*rawText{f.means.en, f.means.zh} {
		if t != nil && slices.ContainsFunc(t.pieces, func(p rawPiece) bool { return p.expr != nil }) {
			t.in.errorf("means is the same for every host, without {expressions}: what was seen on this one is evidence")
		}
	}
}

func (f *form) list(n *node) []*node {
	if n.kind != sequence {
		n.errorf("here a list is wanted, [a, b], and this is %s", n.kind)
		return nil
	}
	if len(n.items) == 0 {
		n.errorf("the list is empty")
	}
	return n.items
}

func (f *form) readTexts(n *node) []pair {
	var texts []pair
	for _, item := range f.list(n) {
		texts = append(texts, f.readPair(item))
	}
	return texts
}

func (f *form) readNames(n *node) []named {
	var names []named
	for _, item := range f.list(n) {
		if text := f.scalar(item); text != "" {
			if slices.ContainsFunc(names, func(o named) bool { return o.text == text }) {
				item.errorf("%q is given twice", text)
			}
			names = append(names, named{text, item})
		}
	}
	return names
}

// effect is a sign, or a playbook or sign that another playbook explains: all its findings, or the one about the object that the
// text behind its id gives.
type effect struct {
	id string
	named
	selector *rawText // gives PLAYBOOK or PLAYBOOK/OBJECT
}

func (f *form) readEffects(n *node) (list []effect) {
	for _, name := range f.readNames(n) {
		id, _, _ := strings.Cut(name.text, "/")
		if t := readText(name.at); t != nil {
			list = append(list, effect{id, name, t})
		}
	}
	return list
}

func (f *form) readEach(n *node) {
	if n.kind != mapping || len(n.keys) != 1 {
		n.errorf("for_each gives the element a name: {NAME: list}")
		return
	}
	f.each, f.eachList = n.keys[0].text, f.readExpression(n.items[0])
}

func (f *form) readLet(n *node) {
	if n.kind != mapping {
		n.errorf("let is a mapping of names to expressions")
		return
	}
	for i, k := range n.keys {
		f.let = append(f.let, definition{k.text, k, f.readExpression(n.items[i])})
	}
}

func (f *form) readParams(n *node) {
	if n.kind != mapping {
		n.errorf("params is a mapping: NAME: {default: …, min: …, max: …, why: …}")
		return
	}
	for i, k := range n.keys {
		if p, ok := f.readParam(k, n.items[i]); ok {
			f.params = append(f.params, p)
		}
	}
}

func (f *form) readParam(k, n *node) (Param, bool) {
	p := Param{Name: k.text, Origin: "default", at: k}
	if n.kind != mapping {
		n.errorf("a parameter is written {default: …, min: …, max: …, why: …}")
		return p, false
	}
	parts := []string{"default", "min", "max", "why"}
	for _, key := range n.keys {
		if !slices.Contains(parts, key.text) {
			key.errorf("a parameter has no %q%s", key.text, didYouMean(key.text, parts))
		}
	}
	values := make([]probes.Value, 3)
	for i, name := range parts[:3] {
		part := n.get(name)
		if part == nil {
			k.errorf("the parameter %s has no %s", k.text, name)
			return p, false
		}
		v, ok := readNumber(part)
		if !ok {
			part.errorf("%s is a number or a duration, and %q is none", name, part.text)
			return p, false
		}
		values[i] = v
	}
	if why := n.get("why"); why == nil || why.kind != scalar || strings.TrimSpace(why.text) == "" {
		k.errorf("the parameter %s needs a why: the reason for its default and bounds, and their source", k.text)
	} else {
		p.Why = why.text
	}
	if !alike(values) {
		k.errorf("default, min and max of %s must be of one kind: numbers, or durations", k.text)
		return p, false
	}
	p.Default, p.Min, p.Max = values[0], values[1], values[2]
	p.Value = p.Default
	if p.Min.Compare(&p.Max) >= 0 || p.Default.Compare(&p.Min) < 0 || p.Default.Compare(&p.Max) > 0 {
		k.errorf("the parameter %s must have min < max, and its default between them", k.text)
		return p, false
	}
	return p, true
}

// alike makes numbers of one kind: floats, if one of them is.
func alike(values []probes.Value) bool {
	isFloat := slices.ContainsFunc(values, func(v probes.Value) bool { return v.Kind() == probes.Float })
	for i := range values {
		if isFloat && values[i].Kind() == probes.Int {
			values[i] = probes.FloatValue(float64(values[i].Int()))
		}
		if values[i].Kind() != values[0].Kind() {
			return false
		}
	}
	return true
}

// readNumber reads a number or a duration as YAML authors write them.
func readNumber(n *node) (probes.Value, bool) {
	if n.kind != scalar {
		return probes.Value{}, false
	}
	if i, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 10, 64); err == nil {
		return probes.IntValue(i), true
	}
	if x, err := strconv.ParseFloat(n.text, 64); err == nil && !math.IsInf(x, 0) && !math.IsNaN(x) {
		return probes.FloatValue(x), true
	}
	if d, err := time.ParseDuration(n.text); err == nil {
		return probes.DurationValue(d), true
	}
	return probes.Value{}, false
}

func (f *form) readFix(n *node) {
	for _, item := range f.list(n) {
		if item.kind != mapping {
			item.errorf("a step is written {do: ACTION, with: {ARGUMENT: value}}")
			continue
		}
		step := rawStep{at: item}
		parts := []string{"do", "if", "with"}
		for _, k := range item.keys {
			if !slices.Contains(parts, k.text) {
				k.errorf("a step has no %q%s", k.text, didYouMean(k.text, parts))
			}
		}
		if do := item.get("do"); do == nil {
			item.errorf("the step does not say what to do: do: ACTION")
		} else if name := f.scalar(do); name != "" {
			if step.action = f.schema.actions[name]; step.action == nil {
				do.errorf("there is no action %q%s", name, didYouMean(name, keysOf(f.schema.actions)))
			}
		}
		if cond := item.get("if"); cond != nil {
			step.cond = f.readExpression(cond)
		}
		if step.action != nil {
			f.readArgs(&step, item.get("with"))
			f.fix = append(f.fix, step)
		}
	}
}

func (f *form) readArgs(step *rawStep, with *node) {
	if with != nil && with.kind != mapping {
		with.errorf("with is a mapping of arguments: {NAME: value}")
		return
	}
	names := make([]string, len(step.action.Args))
	for i, a := range step.action.Args {
		names[i] = a.Name
		if a.Required && with.get(a.Name) == nil {
			step.at.errorf("%s needs the argument %s: %s", step.action.Name, a.Name, a.Doc)
		}
	}
	if with == nil {
		return
	}
	for i, k := range with.keys {
		at := slices.Index(names, k.text)
		if at < 0 {
			k.errorf("%s has no argument %q%s", step.action.Name, k.text, didYouMean(k.text, names))
			continue
		}
		arg := rawArg{spec: &step.action.Args[at], at: with.items[i]}
		switch n := with.items[i]; {
		case n.kind == scalar:
			arg.text = readText(n)
		case n.kind == sequence && arg.spec.Kind == probes.List:
			for _, item := range n.items {
				if f.scalar(item) != "" {
					arg.list = append(arg.list, readText(item))
				}
			}
		default:
			n.errorf("the argument %s is a text or \"{expression}\", and this is %s%s", k.text, n.kind, quoteHint(n))
			continue
		}
		step.args = append(step.args, arg)
	}
}

// digest identifies a playbook's text together with its parameters.
func (f *form) digest(params []Param, severity, stage string) string {
	h := sha256.New()
	h.Write([]byte(f.src.text))
	for i := range params {
		fmt.Fprintf(h, "\x00%s=%s", params[i].Name, exact(&params[i].Value))
	}
	fmt.Fprintf(h, "\x00%s\x00%s", severity, stage)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

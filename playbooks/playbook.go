package playbooks

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/hostmend/hostmend/probes"
)

// Playbook is what there is to know of a playbook without a host.
type Playbook struct {
	ID       string
	Area     string
	Title    Text
	Means    Text
	Severity string // "critical", or the expression that says it
	Risk     Risk
	Stage    string
	Covers   []string
	Shows    []string // the signs of a symptom
	Explains []string
	See      []string
	Params   []Param
	For      time.Duration
	Settle   time.Duration
	Each     string // the name of the element, if there is one finding per element
	EachOf   string // the list that it is an element of
	Let      []Name
	When     string
	Evidence []Text
	Fix      []Remedy
	Actions  []string
	Manual   Text
	Confirm  Text
	Digest   string
	Origins  map[string]string // of severity and stage, where an overlay set them
}

// Remedy is a step of a fix as it is written.
type Remedy struct {
	Action string
	Title  string // what the action does
	If     string // empty: always
}

// Name is a part of an expression that was given a name.
type Name struct{ Name, Expression string }

// playbook is a compiled playbook.
type playbook struct {
	Playbook
	src    *source
	schema *schema
	slots  int

	each     *seq
	eachText string

	when  operand
	parts []clause
	lets  []clause

	severity   template
	fixed      Severity // where an overlay or the file says it outright
	least      Severity // where the expression has no answer
	title      [2]template
	manual     [2]template
	confirm    [2]template
	reading    [2]template
	hasReading bool
	evidence   [][2]template
	shows      []template
	effects    []template
	steps      []step
	verify     operand
	verified   []clause // parts of verify; nil: `when` is no
	until      operand
	untilPart  []clause

	reads     []string // facts that anything in it reads
	condition []string // facts that decide its verdict
}

// clause is a compiled part of a condition.
type clause struct {
	text   string
	op     operand
	params []string
}

type step struct {
	action *Action
	text   string
	cond   operand
	parts  []clause
	args   []argument
}

type argument struct {
	spec    *Arg
	op      operand    // typed
	text    template   // String
	list    []template // List that is written out
	pattern *regexp.Regexp
}

// change is what an overlay makes of a playbook.
type change struct {
	severity, stage string
	origins         map[string]string
}

// compilePlaybook compiles a playbook with the given values of its parameters; what is wrong is recorded in the form's source.
func compilePlaybook(f *form, params []Param, ch change) *playbook {
	p := &playbook{src: f.src, schema: f.schema}
	c := &compiler{schema: f.schema, file: f, params: map[string]operand{}, lets: map[string]*letState{}, texts: map[inText]piece{}, units: map[string]string{}, reads: map[string]bool{}, condition: map[string]bool{}}
	for i := range params {
		o := literal(params[i].Value)
		c.params[params[i].Name] = o
	}
	for _, d := range f.let {
		c.lets[d.name] = &letState{expr: d.expr}
	}
	p.compile(c, f)
	p.slots = c.slots
	params = slices.Clone(params)
	for i := range params {
		params[i].Unit = c.units[params[i].Name]
	}
	p.describe(f, params, ch)
	p.reads, p.condition = sorted(slices.Collect(maps.Keys(c.reads))), sorted(slices.Collect(maps.Keys(c.condition)))
	if len(f.src.problems) == 0 {
		p.lint(c, f)
	}
	return p
}

// form reads the playbook again. Few ask for it, and with the parsed expressions of all of them a library would take twice its memory.
func (p *playbook) form() *form {
	return readForm(&source{name: p.src.name, text: p.src.text, lines: p.src.lines}, p.schema)
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// describe fills in what is known without a host.
func (p *playbook) describe(f *form, params []Param, ch change) {
	p.Playbook = Playbook{
		ID: f.id, Area: f.area, Title: f.title.text(), Means: f.means.plain(), Risk: f.risk, Stage: defaultStage, Covers: texts(f.covers), Shows: effects(f.shows), Explains: effects(f.explains), See: texts(f.see),
		Params: params, For: f.hold, Settle: f.settle, Each: f.each, Manual: f.manual.text(), Confirm: f.confirm.text(), Origins: ch.origins,
	}
	if f.when != nil {
		p.When = strings.TrimSpace(f.when.text)
	}
	if f.eachList != nil {
		p.EachOf = strings.TrimSpace(f.eachList.text)
	}
	for _, d := range f.let {
		if d.expr != nil {
			p.Let = append(p.Let, Name{d.name, strings.TrimSpace(d.expr.text)})
		}
	}
	if f.severity != nil {
		p.Severity = f.severity.in.text
	}
	if ch.severity != "" {
		p.Severity, p.fixed = ch.severity, severityOf(ch.severity)
	}
	if ch.stage != "" {
		p.Stage = ch.stage
	}
	for _, t := range f.evidence {
		p.Evidence = append(p.Evidence, t.text())
	}
	for _, s := range f.fix {
		r := Remedy{Action: s.action.Name}
		r.Title, _, _ = strings.Cut(s.action.Doc, "\n")
		if s.cond != nil {
			r.If = strings.TrimSpace(s.cond.text)
		}
		p.Fix = append(p.Fix, r)
		if !slices.Contains(p.Actions, s.action.Name) {
			p.Actions = append(p.Actions, s.action.Name)
		}
	}
	p.Digest = f.digest(params, ch.severity, ch.stage)
}

func severityOf(name string) Severity { return Severity(slices.Index(severityNames, name) + 1) }

// text is a text as it is written.
func (t pair) text() Text {
	var out Text
	if t.en != nil {
		out.EN = t.en.in.text
	}
	if t.zh != nil {
		out.ZH = t.zh.in.text
	}
	return out
}

// plain is a text without expressions, as people read it.
func (t pair) plain() Text {
	words := func(r *rawText) string {
		if r == nil || len(r.pieces) == 0 {
			return ""
		}
		return strings.TrimSpace(r.pieces[0].words)
	}
	return Text{EN: words(t.en), ZH: words(t.zh)}
}

func effects(list []effect) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].text
	}
	return out
}

func texts(list []named) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].text
	}
	return out
}

// compile compiles all expressions: first those about all elements at once, then those about one.
func (p *playbook) compile(c *compiler, f *form) {
	c.deciding = true
	if f.eachList != nil {
		p.eachText = strings.TrimSpace(f.eachList.text)
		if o := c.compile(f.eachList); o.ok() {
			p.each = eachOf(f.eachList, o)
		}
	}
	c.deciding = false
	if p.each != nil {
		e := p.each.elem
		c.each = &e
	} else if f.each != "" {
		c.each = &operand{} // its mistake is recorded: say no more
	}
	c.deciding = true
	c.usesElement = false
	p.when, p.parts = c.judgement(f.when)
	c.deciding = false
	if p.each != nil && p.when.ok() && !c.usesElement {
		f.when.errorf(0, "this does not look at %s, the element of for_each: it would find all elements or none", f.each)
	}
	for _, d := range f.let {
		l := c.lets[d.name]
		if l.state == 0 && d.expr != nil {
			c.let(d.expr.tree, d.name, l)
		}
		if o := l.op; o.ok() && !o.is(probes.List) {
			p.lets = append(p.lets, clause{text: d.name, op: o})
		}
	}
	p.title, p.manual, p.confirm = c.both(f.title), c.both(f.manual), c.both(f.confirm)
	for _, t := range f.evidence {
		p.evidence = append(p.evidence, c.both(t))
	}
	for _, s := range f.shows {
		p.shows = append(p.shows, c.template(s.selector))
	}
	for _, e := range f.explains {
		p.effects = append(p.effects, c.template(e.selector))
	}
	if f.severity != nil {
		p.compileSeverity(c, f)
	}
	for i := range f.fix {
		p.steps = append(p.steps, c.step(&f.fix[i]))
	}
	if f.verify != nil {
		p.verify, p.verified = c.judgement(f.verify)
	}
	if f.until != nil {
		p.until, p.untilPart = c.judgement(f.until)
	}
	if f.reading.en != nil {
		c.each = nil
		p.reading, p.hasReading = c.both(f.reading), true
	}
}

// eachOf is the list of for_each, if its elements can be told apart.
func eachOf(e *expression, o operand) *seq {
	switch {
	case !o.is(probes.List):
		e.errorf(0, "for_each wants a list, and this is %s", words(o.typ))
	case o.q.label == nil:
		e.errorf(0, "for_each wants a list of what was found on the host, and this one is written out")
	case o.typ.Elem.Kind == probes.String:
		return o.q
	case o.typ.Elem.Kind != probes.Struct || o.q.keyField < 0:
		e.errorf(0, "the elements of this list have no key by which a finding could be named")
	default:
		return o.q
	}
	return nil
}

// judgement compiles a condition as a whole and in its clauses.
func (c *compiler) judgement(e *expression) (operand, []clause) {
	o := c.compile(e)
	if !o.ok() {
		return o, nil
	}
	if !o.is(probes.Bool) {
		e.errorf(0, "a condition is wanted, and this is %s", words(o.typ))
		return operand{}, nil
	}
	if o.lit != nil {
		e.errorf(0, "this is always %s, whatever the host looks like", o.b(nil).verdict())
		return operand{}, nil
	}
	return o, c.clauses(e)
}

func (c *compiler) clauses(e *expression) []clause {
	var out []clause
	parts := e.clauses(e.tree, e.all(), nil)
	for _, part := range parts {
		sub := *e
		sub.tree = part.node
		if o := c.compile(&sub); o.ok() {
			out = append(out, clause{text: e.cut(part.span), op: o, params: paramsIn(part.node)})
		}
	}
	return out
}

// paramsIn are the parameters that an expression names.
func paramsIn(n ast.Node) []string {
	v := &paramVisitor{}
	ast.Walk(&n, v)
	return v.names
}

type paramVisitor struct{ names []string }

func (v *paramVisitor) Visit(n *ast.Node) {
	m, ok := (*n).(*ast.MemberNode)
	if !ok {
		return
	}
	if id, ok := m.Node.(*ast.IdentifierNode); ok && id.Value == "params" {
		if name, ok := m.Property.(*ast.StringNode); ok && !slices.Contains(v.names, name.Value) {
			v.names = append(v.names, name.Value)
		}
	}
}

func (c *compiler) both(t pair) [2]template { return [2]template{c.template(t.en), c.template(t.zh)} }

func (p *playbook) compileSeverity(c *compiler, f *form) {
	e := f.severity.lone()
	if e == nil {
		p.fixed = severityOf(f.severity.in.text)
		return
	}
	o := c.compile(e)
	if !o.ok() {
		return
	}
	if !o.is(probes.String) {
		e.errorf(0, "the severity is one of %s, and this is %s", strings.Join(severityNames, ", "), words(o.typ))
		return
	}
	p.severity = template{pieces: []piece{{op: &o}}}
	p.least = leastSeverity(e, e.tree)
}

// leastSeverity is the least of the severities that an expression can give: it holds where the expression has no answer.
func leastSeverity(e *expression, n ast.Node) Severity {
	switch n := n.(type) {
	case *ast.ConditionalNode:
		return min(leastSeverity(e, n.Exp1), leastSeverity(e, n.Exp2))
	case *ast.StringNode:
		if slices.Contains(severityNames, n.Value) {
			return severityOf(n.Value)
		}
		e.errorf(n.Location().From, "%q is none of %s%s", n.Value, strings.Join(severityNames, ", "), nearest(n.Value, severityNames))
		return Info
	}
	e.errorf(n.Location().From, "the severity must be written out on each side of the condition: condition ? \"critical\" : \"warning\"")
	return Info
}

// step compiles a step of the fix.
func (c *compiler) step(raw *rawStep) step {
	s := step{action: raw.action}
	if raw.cond != nil {
		s.text = raw.cond.text
		s.cond, s.parts = c.judgement(raw.cond)
	}
	for _, a := range raw.args {
		s.args = append(s.args, c.argument(raw.action, a))
	}
	return s
}

func (c *compiler) argument(action *Action, raw rawArg) argument {
	a := argument{spec: raw.spec}
	if raw.spec.Pattern != "" {
		re, err := regexp.Compile(`\A(?:` + raw.spec.Pattern + `)\z`)
		if err != nil {
			raw.at.errorf("the action %s declares a pattern for %s that cannot be read: %s", action.Name, raw.spec.Name, err)
			return a
		}
		a.pattern = re
	}
	if raw.list != nil {
		for _, t := range raw.list {
			a.list = append(a.list, c.template(t))
		}
		return a
	}
	if raw.text == nil {
		return a
	}
	if e := raw.text.lone(); e != nil {
		a.op = c.compile(e)
		if a.op.ok() && !fits(a.op, raw.spec.Kind) {
			hint := ""
			if raw.spec.Kind == probes.Int && a.op.is(probes.Float) {
				hint = ": write int(x)"
			}
			e.errorf(0, "the argument %s of %s wants %s, and this is %s%s", raw.spec.Name, action.Name, kindWords(raw.spec.Kind), kindWords(a.op.typ.Kind), hint)
		}
		if a.op.ok() && raw.spec.Kind == probes.String && !a.op.is(probes.String) {
			op := a.op
			a.text, a.op = template{pieces: []piece{{op: &op}}}, operand{}
			return a
		}
		if a.op.lit != nil {
			if why := a.refuse(*a.op.lit); why != "" {
				e.errorf(0, "%s", why)
			}
		}
		return a
	}
	literalText := len(raw.text.pieces) == 0 || len(raw.text.pieces) == 1
	switch {
	case raw.spec.Kind == probes.String && !literalText:
		a.text = c.template(raw.text)
		for _, p := range a.text.pieces {
			if p.op != nil && p.op.is(probes.List) {
				raw.at.errorf("a list cannot stand within the argument %s", raw.spec.Name)
			}
		}
		return a
	case !literalText:
		raw.at.errorf("the argument %s of %s wants %s: write {expression} alone", raw.spec.Name, action.Name, kindWords(raw.spec.Kind))
		return a
	}
	v, ok := parseArgument(raw.at.text, raw.text, raw.spec.Kind)
	if !ok {
		raw.at.errorf("the argument %s of %s wants %s, and %q is none; an expression is written {expression}", raw.spec.Name, action.Name, kindWords(raw.spec.Kind), raw.at.text)
		return a
	}
	if why := a.refuse(v); why != "" {
		raw.at.errorf("%s", why)
	}
	a.op = literal(v)
	return a
}

// kindWords names a kind for an author.
func kindWords(k probes.Kind) string {
	switch k {
	case probes.Int:
		return "a whole number"
	case probes.List:
		return "a list of texts"
	case probes.Float:
		return "a number"
	}
	return words(&probes.Type{Kind: k})
}

func fits(o operand, k probes.Kind) bool {
	switch k {
	case probes.Float:
		return o.number()
	case probes.List:
		return o.is(probes.List) && o.q.elem.is(probes.String)
	case probes.String: // a number is written out
		return o.is(k) || o.number() || o.is(probes.Duration)
	}
	return o.is(k)
}

// parseArgument reads an argument that is written out.
func parseArgument(text string, raw *rawText, k probes.Kind) (probes.Value, bool) {
	switch k {
	case probes.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		return probes.IntValue(n), err == nil
	case probes.Float:
		f, err := strconv.ParseFloat(text, 64)
		return probes.FloatValue(f), err == nil && f-f == 0
	case probes.Bool:
		return probes.BoolValue(text == "true"), text == "true" || text == "false"
	case probes.Duration:
		d, err := time.ParseDuration(text)
		return probes.DurationValue(d), err == nil
	case probes.String:
		if len(raw.pieces) == 1 {
			return probes.StringValue(raw.pieces[0].words), true
		}
		return probes.StringValue(""), true
	}
	return probes.Value{}, false
}

// refuse says what is wrong with a value, by the action's own declaration.
func (a *argument) refuse(v probes.Value) string {
	spec := a.spec
	switch v.Kind() {
	case probes.String:
		if len(spec.Enum) > 0 && !slices.Contains(spec.Enum, v.Str()) {
			return fmt.Sprintf("%s is one of %s, not %q%s", spec.Name, strings.Join(spec.Enum, ", "), v.Str(), nearest(v.Str(), spec.Enum))
		}
		if a.pattern != nil && !a.pattern.MatchString(v.Str()) {
			return fmt.Sprintf("%s must match %s, and %q does not", spec.Name, spec.Pattern, v.Str())
		}
	case probes.Int, probes.Float:
		f := v.Float()
		if v.Kind() == probes.Int {
			f = float64(v.Int())
		}
		if spec.Min != spec.Max && (f < spec.Min || f > spec.Max) {
			return fmt.Sprintf("%s lies between %s and %s, and %s does not", spec.Name, number(spec.Min), number(spec.Max), number(f))
		}
	default:
	}
	return ""
}

// lint looks for what compiles and is a mistake all the same.
func (p *playbook) lint(c *compiler, f *form) {
	for _, d := range f.let {
		if !c.lets[d.name].used {
			d.key.errorf("%s is not used", d.name)
		}
	}
	for i := range f.params {
		if !f.used[f.params[i].Name] {
			f.params[i].at.errorf("the parameter %s is not used", f.params[i].Name)
		}
	}
	if len(p.condition) == 0 && f.when != nil {
		f.when.errorf(0, "this reads no fact, so it says nothing about a host")
	}
	for _, n := range f.covers {
		if !coversPattern.MatchString(n.text) {
			n.at.errorf("%q is not SYSTEM/NAME, like ecs/GuestOS.DiskUtil, domain/GuestOS.NetworkStatus or doc/conntrack-table-full", n.text)
		}
	}
	for _, n := range f.see {
		if !strings.HasPrefix(n.text, "https://") && !strings.HasPrefix(n.text, "http://") && !strings.HasPrefix(n.text, "man:") {
			n.at.errorf("%q is no URL (nor man:NAME(SECTION))", n.text)
		}
	}
}

var coversPattern = regexp.MustCompile(`^[a-z][a-z0-9-]*/\S+$`)

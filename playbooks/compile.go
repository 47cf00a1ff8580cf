package playbooks

import (
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/hostmend/hostmend/probes"
)

// operand is a compiled expression: closures that compute it, one for the form that its type has.
type operand struct {
	typ  *probes.Type // nil: a mistake, already recorded
	unit string       // of a number: how texts write it

	b func(*machine) truth                        // Bool
	i func(*machine) (int64, status)              // Int, Duration
	f func(*machine) (float64, status)            // Float
	s func(*machine) (string, status)             // String
	v func(*machine) *probes.Value                // what is read from a fact, of any type
	q *seq                                        // List
	n func(*machine) (lo, hi int64, doubt status) // a count of which only the bounds may be certain

	path func(*machine) string // of a fact: what a trace calls it
	lit  *probes.Value         // known at load
}

func (o operand) ok() bool { return o.typ != nil }

func (o operand) is(k probes.Kind) bool { return o.typ != nil && o.typ.Kind == k }

func (o operand) number() bool { return o.is(probes.Int) || o.is(probes.Float) }

// float is a number as a float.
func (o operand) float() func(*machine) (float64, status) {
	if o.f != nil {
		return o.f
	}
	i := o.i
	return func(m *machine) (float64, status) {
		n, st := i(m)
		return float64(n), st
	}
}

// The types of what is computed.
var (
	boolType     = &probes.Type{Kind: probes.Bool}
	intType      = &probes.Type{Kind: probes.Int}
	floatType    = &probes.Type{Kind: probes.Float}
	durationType = &probes.Type{Kind: probes.Duration}
	stringType   = &probes.Type{Kind: probes.String}
)

// words names a type for an author.
func words(t *probes.Type) string {
	switch t.Kind {
	case probes.Bool:
		return "yes or no"
	case probes.Int, probes.Float:
		return "a number"
	case probes.Duration:
		return "a duration"
	case probes.String:
		return "a text"
	case probes.List:
		return "a list"
	case probes.Struct:
		return "a set of facts"
	case probes.Map:
		return "a map"
	default:
		return t.String()
	}
}

// compiler compiles the expressions of one playbook.
type compiler struct {
	schema *schema
	file   *form
	params map[string]operand
	lets   map[string]*letState

	expr  *expression       // being compiled
	loops []*operand        // what # means, innermost last
	each  *operand          // the for_each element; nil where there is none in sight
	units map[string]string // of the facts with which parameters are compared
	slots int               // loops so far: each has a frame of its own
	nodes int               // compiled so far: lists in `let` are compiled anew at each use

	texts map[inText]piece // what was compiled for texts: each language has the same expressions

	usesElement bool            // the expression reads the for_each element
	reads       map[string]bool // probe.fact, probe["key"], or probe[*]: what is read
	condition   map[string]bool // that part of reads which decides the verdict
	deciding    bool            // a part that decides is being compiled
}

type letState struct {
	expr    *expression
	op      operand
	state   int  // 0 not yet, 1 being compiled, 2 done
	element bool // it depends on the element of for_each
	used    bool
}

// maxCompiled bounds the nodes that a playbook compiles to.
const maxCompiled = 20_000

func (c *compiler) errorf(n ast.Node, format string, args ...any) operand {
	c.expr.errorf(n.Location().From, format, args...)
	return operand{}
}

// compile compiles an expression that stands by itself.
func (c *compiler) compile(e *expression) operand {
	if e == nil {
		return operand{}
	}
	outer, loops := c.expr, c.loops
	c.expr, c.loops = e, nil
	defer func() { c.expr, c.loops = outer, loops }()
	return c.node(e.tree)
}

func (c *compiler) node(n ast.Node) operand {
	if c.nodes++; c.nodes > maxCompiled {
		if c.nodes == maxCompiled+1 {
			return c.errorf(n, "with its `let` written out the playbook has more than %d parts", maxCompiled)
		}
		return operand{}
	}
	switch n := n.(type) {
	case *ast.IntegerNode:
		return intLiteral(int64(n.Value))
	case *ast.FloatNode:
		if _, st := finite(n.Value); st != known {
			return c.errorf(n, "the number is too large")
		}
		return floatLiteral(n.Value)
	case *ast.BoolNode:
		return boolLiteral(n.Value)
	case *ast.StringNode:
		return stringLiteral(n.Value)
	case *ast.NilNode:
		return c.errorf(n, "nil is no value here: has(x) asks whether x is there, and x ?? 5 says what stands in for it")
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.PointerNode:
		return c.pointer(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			return c.call(n, callee.Value, n.Arguments)
		}
		return c.errorf(n, "facts have no functions of their own; a function is written f(x)")
	case *ast.ArrayNode:
		return c.array(n)
	case *ast.ChainNode:
		return c.errorf(n, "write . instead of ?.: what is absent stays absent by itself")
	case *ast.SliceNode:
		return c.errorf(n, "parts of lists and texts [a:b] are not part of the language")
	case *ast.MapNode:
		return c.errorf(n, "maps {…} are not part of the language")
	case *ast.VariableDeclaratorNode, *ast.SequenceNode:
		return c.errorf(n, "`let` and ; are not part of an expression: name its parts under the playbook's let")
	case *ast.PredicateNode:
		return c.errorf(n, "a condition on elements stands only in any, all, none, one, count, filter, map, find and sum")
	case nil:
		return operand{}
	}
	return c.errorf(n, "this is not part of the language")
}

func constant(v probes.Value, t *probes.Type) operand {
	return operand{typ: t, lit: &v, v: func(*machine) *probes.Value { return &v }}
}

func intLiteral(n int64) operand {
	o := constant(probes.IntValue(n), intType)
	o.i = func(*machine) (int64, status) { return n, known }
	return o
}

func floatLiteral(f float64) operand {
	o := constant(probes.FloatValue(f), floatType)
	o.f = func(*machine) (float64, status) { return f, known }
	return o
}

func boolLiteral(b bool) operand {
	o := constant(probes.BoolValue(b), boolType)
	t := truthOf(b)
	o.b = func(*machine) truth { return t }
	return o
}

func stringLiteral(s string) operand {
	o := constant(probes.StringValue(s), stringType)
	o.s = func(*machine) (string, status) { return s, known }
	return o
}

func durationLiteral(d time.Duration) operand {
	o := constant(probes.DurationValue(d), durationType)
	o.i = func(*machine) (int64, status) { return int64(d), known }
	return o
}

func literal(v probes.Value) operand {
	switch v.Kind() {
	case probes.Int:
		return intLiteral(v.Int())
	case probes.Float:
		return floatLiteral(v.Float())
	case probes.Bool:
		return boolLiteral(v.Bool())
	case probes.Duration:
		return durationLiteral(v.Duration())
	default:
		return stringLiteral(v.Str())
	}
}

// fold computes what is made of literals alone.
func (c *compiler) fold(n ast.Node, o operand, args ...operand) operand {
	for _, a := range args {
		if a.lit == nil {
			return o
		}
	}
	m := &machine{}
	m.refuel()
	v, st := o.eval(m)
	if st != known {
		return c.errorf(n, "this has no answer, ever: %s", m.why)
	}
	unit := o.unit
	o = literal(v)
	o.unit = unit
	return o
}

// eval computes a scalar.
func (o operand) eval(m *machine) (probes.Value, status) {
	switch {
	case o.b != nil:
		t := o.b(m)
		return probes.BoolValue(t == yes), t.status()
	case o.i != nil:
		n, st := o.i(m)
		if o.is(probes.Duration) {
			return probes.DurationValue(time.Duration(n)), st
		}
		return probes.IntValue(n), st
	case o.f != nil:
		f, st := o.f(m)
		return probes.FloatValue(f), st
	case o.s != nil:
		s, st := o.s(m)
		return probes.StringValue(s), st
	case o.v != nil:
		v := o.v(m)
		if !v.Known() {
			return *v, statusOf(v)
		}
		return *v, known
	}
	return probes.Value{}, unreadable
}

// identifier resolves a name.
func (c *compiler) identifier(n *ast.IdentifierNode) operand {
	name := n.Value
	if c.file.each != "" && name == c.file.each {
		if c.each == nil {
			return c.errorf(n, "%q is the element of for_each, and this text is about all elements at once", name)
		}
		c.usesElement = true
		return *c.each
	}
	if l, ok := c.lets[name]; ok {
		l.used = true
		return c.let(n, name, l)
	}
	if name == "params" {
		return c.errorf(n, "name a parameter: params.NAME%s", didYouMean("", keysOf(c.params)))
	}
	if i, ok := c.schema.index[name]; ok {
		return c.root(i)
	}
	if _, ok := c.schema.functions[name]; ok {
		return c.errorf(n, "%s is a function: write %s(…)", name, name)
	}
	if name == probes.Site {
		return c.noSuchCheck(n, "")
	}
	var names []string
	for probe := range c.schema.index {
		names = append(names, probe)
	}
	for let := range c.lets {
		names = append(names, let)
	}
	if c.file.each != "" {
		names = append(names, c.file.each)
	}
	if p := c.params[name]; p.ok() {
		return c.errorf(n, "there is no fact %q; did you mean params.%s?", name, name)
	}
	return c.errorf(n, "there is no fact %q%s", name, didYouMean(name, names))
}

// let is a use of a definition. Numbers, texts and conditions share one closure; a list is compiled anew, for each walk needs a
// frame of its own.
func (c *compiler) let(n ast.Node, name string, l *letState) operand {
	switch l.state {
	case 1:
		return c.errorf(n, "%s is defined by itself", name)
	case 0:
		l.state = 1
		uses := c.usesElement
		c.usesElement = false
		l.op = c.compile(l.expr)
		l.element, c.usesElement = c.usesElement, c.usesElement || uses
		l.state = 2
	default:
		if l.element && c.each == nil {
			return c.errorf(n, "%s depends on the element of for_each, and this is about all elements at once", name)
		}
		if l.op.is(probes.List) {
			return c.compile(l.expr)
		}
	}
	c.usesElement = c.usesElement || l.element
	o := l.op
	if !o.ok() || o.lit != nil || o.is(probes.List) {
		return o
	}
	return stepped(o, func(m *machine) {
		if m.trace != nil {
			v, st := o.eval(m)
			m.trace.derived(name, v, st, o)
		}
	})
}

// stepped is an operand of which each use costs a step: what is used twice by what is used twice doubles the work each time. note
// is called after each use.
func stepped(o operand, note func(*machine)) operand {
	w := o
	switch {
	case o.b != nil:
		w.b = func(m *machine) truth {
			if !m.step(1) {
				return truth(unreadable)
			}
			t := o.b(m)
			note(m)
			return t
		}
	case o.i != nil:
		w.i = func(m *machine) (int64, status) {
			if !m.step(1) {
				return 0, unreadable
			}
			n, st := o.i(m)
			note(m)
			return n, st
		}
	case o.f != nil:
		w.f = func(m *machine) (float64, status) {
			if !m.step(1) {
				return 0, unreadable
			}
			f, st := o.f(m)
			note(m)
			return f, st
		}
	case o.s != nil:
		w.s = func(m *machine) (string, status) {
			if !m.step(1) {
				return "", unreadable
			}
			s, st := o.s(m)
			note(m)
			return s, st
		}
	}
	return w
}

// pointer is the element of the innermost list: # or the beginning of .name.
func (c *compiler) pointer(n *ast.PointerNode) operand {
	if n.Name != "" {
		return c.errorf(n, "#%s is not part of the language", n.Name)
	}
	if len(c.loops) == 0 {
		return c.errorf(n, "there is no list here whose element could be meant")
	}
	return *c.loops[len(c.loops)-1]
}

// root is all facts of a probe.
func (c *compiler) root(i int) operand {
	info := c.schema.probes[i]
	return operand{
		typ:  info.Facts,
		v:    func(m *machine) *probes.Value { return m.roots[i] },
		path: func(*machine) string { return info.Name },
	}
}

// read notes that a fact is read.
func (c *compiler) read(path string) {
	c.reads[path] = true
	if c.deciding {
		c.condition[path] = true
	}
}

// rootOf is the index of the probe that an expression names directly, or -1.
func (c *compiler) rootOf(n ast.Node) int {
	id, ok := n.(*ast.IdentifierNode)
	if !ok {
		id = &ast.IdentifierNode{Value: siteCheck(n)}
	}
	if c.lets[id.Value] != nil || id.Value == c.file.each {
		return -1
	}
	if i, ok := c.schema.index[id.Value]; ok {
		return i
	}
	return -1
}

// siteCheck is the name of the probe in site.shop; empty for everything else.
func siteCheck(n ast.Node) string {
	if m, ok := n.(*ast.MemberNode); ok && !m.Optional {
		id, _ := m.Node.(*ast.IdentifierNode)
		name, _ := m.Property.(*ast.StringNode)
		if id != nil && name != nil && id.Value == probes.Site {
			return probes.Site + "." + name.Value
		}
	}
	return ""
}

// noSuchCheck is about site.NAME where nobody declared NAME, or about site alone.
func (c *compiler) noSuchCheck(n ast.Node, name string) operand {
	var names []string
	for probe := range c.schema.index {
		if strings.HasPrefix(probe, probes.Site+".") {
			names = append(names, probe)
		}
	}
	if len(names) == 0 {
		if c.file.noChecks { // said once: it is so everywhere in the file
			return operand{}
		}
		c.file.noChecks = true
		return c.errorf(n, "no site checks are loaded: name their directory with --checks")
	}
	if name == "" {
		return c.errorf(n, "name a site check%s", didYouMean("", names))
	}
	return c.errorf(n, "there is no site check %q%s", name, didYouMean(name, names))
}

// whole notes that all facts of a probe are read, where an expression uses them without naming one.
func (c *compiler) whole(n ast.Node) {
	if i := c.rootOf(n); i >= 0 {
		c.read(c.schema.probes[i].Name)
	}
}

// member is a.b, m["key"] or list[0].
func (c *compiler) member(n *ast.MemberNode) operand {
	if id, ok := n.Node.(*ast.IdentifierNode); ok && id.Value == "params" {
		return c.param(n)
	}
	if i := c.rootOf(n); i >= 0 {
		return c.root(i)
	}
	if name := siteCheck(n); name != "" {
		return c.noSuchCheck(n, name)
	}
	o := c.node(n.Node)
	if !o.ok() {
		return o
	}
	if n.Optional {
		return c.errorf(n, "write . instead of ?.: what is absent stays absent by itself")
	}
	switch o.typ.Kind {
	case probes.Struct:
		return c.field(n, o)
	case probes.Map:
		return c.lookup(n, o)
	case probes.List:
		return c.index(n, o)
	default:
		return c.errorf(n, "%s has no parts", words(o.typ))
	}
}

func (c *compiler) param(n *ast.MemberNode) operand {
	name, ok := n.Property.(*ast.StringNode)
	if !ok {
		return c.errorf(n, "name a parameter: params.NAME")
	}
	p, ok := c.params[name.Value]
	if !ok {
		return c.errorf(n, "there is no parameter %q%s", name.Value, didYouMean(name.Value, keysOf(c.params)))
	}
	c.file.used[name.Value] = true
	p.path = func(*machine) string { return "params." + name.Value }
	return p
}

func (c *compiler) field(n *ast.MemberNode, o operand) operand {
	name, ok := n.Property.(*ast.StringNode)
	if !ok {
		return c.errorf(n, "name a fact: .NAME")
	}
	k := o.typ.Field(name.Value)
	if k < 0 {
		names := make([]string, len(o.typ.Fields))
		for j, f := range o.typ.Fields {
			names[j] = f.Name
		}
		return c.errorf(n, "there is no fact %q here%s", name.Value, didYouMean(name.Value, names))
	}
	f := &o.typ.Fields[k]
	if i := c.rootOf(n.Node); i >= 0 {
		c.read(c.schema.probes[i].Name + "." + f.Name)
	}
	v, path := o.v, o.path
	load := func(m *machine) *probes.Value { return field(v(m), k) }
	if i := c.rootOf(n.Node); i >= 0 {
		load = func(m *machine) *probes.Value { return field(m.roots[i], k) }
	}
	return c.fact(load, func(m *machine) string { return path(m) + "." + f.Name }, f.Type, f.Unit)
}

func (c *compiler) lookup(n *ast.MemberNode, o operand) operand {
	key := c.node(n.Property)
	if !key.ok() {
		return key
	}
	if !key.is(probes.String) {
		return c.errorf(n.Property, "a map is looked up by a text, not by %s", words(key.typ))
	}
	if i := c.rootOf(n.Node); i >= 0 {
		c.read(c.schema.probes[i].Name + keyPath(key))
	}
	v, path, s := o.v, o.path, key.s
	if key.lit != nil {
		text := key.lit.Str()
		return c.fact(func(m *machine) *probes.Value { return lookup(v(m), text) },
			func(m *machine) string { return path(m) + "[" + strconv.Quote(text) + "]" }, o.typ.Elem, o.unit)
	}
	return c.fact(func(m *machine) *probes.Value {
		text, st := s(m)
		switch st {
		case absent:
			return &absentValue
		case unreadable:
			return &unknownIndex
		}
		return lookup(v(m), text)
	}, func(m *machine) string {
		text, _ := s(m)
		return path(m) + "[" + strconv.Quote(text) + "]"
	}, o.typ.Elem, o.unit)
}

// keyPath is how reads notes a key: ["net.core.somaxconn"], or [*] for one that is computed.
func keyPath(key operand) string {
	if key.lit == nil {
		return "[*]"
	}
	return "[" + strconv.Quote(key.lit.Str()) + "]"
}

func lookup(m *probes.Value, key string) *probes.Value {
	switch {
	case m.Kind() == probes.Map:
		if v := m.Lookup(key); v != nil {
			return v
		}
		return &absentValue
	case !m.Known():
		return m
	}
	return &wrongShape
}

// fact is an operand that is read from the snapshot.
func (c *compiler) fact(load func(*machine) *probes.Value, path func(*machine) string, t *probes.Type, unit string) operand {
	o := operand{typ: t, unit: unit, path: path}
	seen := func(m *machine, v *probes.Value) { m.trace.fact(path(m), v, t, unit) }
	o.v = load
	switch t.Kind {
	case probes.Bool:
		o.b = func(m *machine) truth {
			v := load(m)
			if m.trace != nil {
				seen(m, v)
			}
			return boolOf(v)
		}
	case probes.Int, probes.Duration:
		o.i = func(m *machine) (int64, status) {
			v := load(m)
			if m.trace != nil {
				seen(m, v)
			}
			return intOf(v)
		}
	case probes.Float:
		o.f = func(m *machine) (float64, status) {
			v := load(m)
			if m.trace != nil {
				seen(m, v)
			}
			return floatOf(v)
		}
	case probes.String:
		o.s = func(m *machine) (string, status) {
			v := load(m)
			if m.trace != nil {
				seen(m, v)
			}
			return stringOf(v)
		}
	case probes.List:
		o.q = c.facts(load, path, t.Elem, unit)
	default:
	}
	return o
}

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return sorted(keys)
}

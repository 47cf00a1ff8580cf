package playbooks

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"github.com/hostmend/hostmend/probes"
)

// function is an entry of the language's closed list. The compiler and the reference page are made of the same table.
type function struct {
	name, args, doc string
	least, most     int // arguments; most < 0: any number
	compile         func(c *compiler, call call) operand
}

// call is a use of a function.
type call struct {
	node ast.Node
	name string
	args []ast.Node
}

// functions are all there are.
func functions() []function {
	return []function{
		{"abs", "x", "the number without its sign", 1, 1, (*compiler).abs},
		{"ceil", "x", "the next whole number above, as a float", 1, 1, rounding(math.Ceil)},
		{"floor", "x", "the next whole number below, as a float", 1, 1, rounding(math.Floor)},
		{"round", "x", "the nearest whole number, halves away from zero, as a float", 1, 1, rounding(math.Round)},
		{"min", "a, b, … or list", "the least number; absent for a list without elements", 1, -1, extreme(false)},
		{"max", "a, b, … or list", "the greatest number; absent for a list without elements", 1, -1, extreme(true)},
		{"int", "x", "a number without its fraction, or a text as a number; unknown if the text is none", 1, 1, (*compiler).toInt},
		{"float", "x", "a number as a float, or a text as a number; unknown if the text is none", 1, 1, (*compiler).toFloat},
		{"string", "x", "a number or condition as a text", 1, 1, (*compiler).toString},
		{"duration", `"5m"`, "a length of time: ns, us, ms, s, m, h; the text is written out", 1, 1, (*compiler).duration},
		{"seconds", "d", "a duration as a number of seconds", 1, 1, (*compiler).seconds},
		{"len", "x", "how many characters a text, elements a list, or keys a map has", 1, 1, (*compiler).length},
		{"lower", "s", "the text in small letters", 1, 1, changed(strings.ToLower)},
		{"upper", "s", "the text in capital letters", 1, 1, changed(strings.ToUpper)},
		{"trim", "s", "the text without the white space around it", 1, 1, changed(strings.TrimSpace)},
		{"has", "x", "whether the host has it: no if it is absent, unknown if it could not be read", 1, 1, (*compiler).has},
		{"any", "list, condition", "whether an element fulfils the condition; in it, .name is a fact of the element and # the element", 2, 2, quantifier},
		{"all", "list, condition", "whether all elements do; yes for a list without elements", 2, 2, quantifier},
		{"none", "list, condition", "whether no element does", 2, 2, quantifier},
		{"one", "list, condition", "whether exactly one does", 2, 2, quantifier},
		{"count", "list, condition", "how many do", 2, 2, quantifier},
		{"filter", "list, condition", "the elements that do", 2, 2, quantifier},
		{"find", "list, condition", "the first element that does; absent if there is none", 2, 2, quantifier},
		{"map", "list, x", "x of each element", 2, 2, quantifier},
		{"sum", "list [, x]", "the sum of the numbers or durations, or of x of each element", 1, 2, quantifier},
		{"first", "list", "the first element; absent if there is none", 1, 1, (*compiler).first},
		{"last", "list", "the last element; absent if there is none", 1, 1, (*compiler).lastOf},
		{"keys", "map", "the keys of a map, sorted", 1, 1, (*compiler).keys},
		{"values", "map", "the values of a map, in the order of their keys", 1, 1, (*compiler).keys},
	}
}

// tables are the functions and operators by name.
func tables() (map[string]*function, map[string]bool) {
	fs, ops := map[string]*function{}, map[string]bool{}
	for _, f := range functions() {
		fs[f.name] = &f
	}
	for _, o := range operators {
		for _, name := range o.names {
			ops[name] = true
		}
	}
	return fs, ops
}

func (c *compiler) call(n ast.Node, name string, args []ast.Node) operand {
	f, ok := c.schema.functions[name]
	if !ok {
		return c.errorf(n, "there is no function %q%s", name, didYouMean(name, keysOf(c.schema.functions)))
	}
	if len(args) < f.least || f.most >= 0 && len(args) > f.most {
		return c.errorf(n, "it is written %s(%s)", f.name, f.args)
	}
	return f.compile(c, call{n, name, args})
}

// number is an argument that must be a number.
func (c *compiler) number(call call) operand {
	o := c.node(call.args[0])
	if o.ok() && !o.number() {
		return c.errorf(call.args[0], "%s wants a number, and this is %s", call.name, words(o.typ))
	}
	return o
}

func (c *compiler) text(call call) operand {
	o := c.node(call.args[0])
	if o.ok() && !o.is(probes.String) {
		return c.errorf(call.args[0], "%s wants a text, and this is %s", call.name, words(o.typ))
	}
	return o
}

func (c *compiler) list(call call) operand {
	o := c.node(call.args[0])
	if o.ok() && !o.is(probes.List) {
		hint := ""
		if o.is(probes.Map) {
			hint = "; keys(map) and values(map) are lists"
		}
		return c.errorf(call.args[0], "%s wants a list, and this is %s%s", call.name, words(o.typ), hint)
	}
	return o
}

func (c *compiler) abs(call call) operand {
	o := c.node(call.args[0])
	switch {
	case !o.ok():
		return o
	case o.is(probes.Int) || o.is(probes.Duration):
		i, r := o.i, operand{typ: intType, unit: o.unit}
		if o.is(probes.Duration) {
			r.typ = durationType
		}
		r.i = func(m *machine) (int64, status) {
			x, st := i(m)
			if st == known && x < 0 {
				if x = -x; x < 0 {
					return 0, m.fail(whyOverflow)
				}
			}
			return x, st
		}
		return c.fold(call.node, r, o)
	case o.is(probes.Float):
		f := o.f
		return c.fold(call.node, operand{typ: floatType, unit: o.unit, f: func(m *machine) (float64, status) {
			x, st := f(m)
			return math.Abs(x), st
		}}, o)
	}
	return c.errorf(call.args[0], "abs wants a number, and this is %s", words(o.typ))
}

func rounding(round func(float64) float64) func(*compiler, call) operand {
	return func(c *compiler, call call) operand {
		o := c.number(call)
		if !o.ok() {
			return o
		}
		f := o.float()
		return c.fold(call.node, operand{typ: floatType, unit: o.unit, f: func(m *machine) (float64, status) {
			x, st := f(m)
			return round(x), st
		}}, o)
	}
}

// extreme is min or max, of arguments or of a list.
func extreme(greatest bool) func(*compiler, call) operand {
	return func(c *compiler, call call) operand {
		var args []operand
		for i, a := range call.args {
			o := c.node(a)
			if !o.ok() {
				return o
			}
			if i == 0 && len(call.args) == 1 && o.is(probes.List) {
				return c.reduce(call, o.q, func(c *compiler, e operand) (operand, bool) { return e, e.number() || e.is(probes.Duration) }, greatest)
			}
			args = append(args, o)
		}
		t := args[0]
		for i, o := range args {
			u, _ := unify(t, o)
			if u == nil || u.Kind != probes.Int && u.Kind != probes.Float && u.Kind != probes.Duration {
				return c.errorf(call.args[i], "%s wants numbers, or a list of numbers, and this is %s", call.name, words(o.typ))
			}
			t.typ = u
		}
		r := operand{typ: t.typ, unit: args[0].unit}
		if t.is(probes.Float) {
			fs := make([]func(*machine) (float64, status), len(args))
			for i := range args {
				fs[i] = args[i].float()
			}
			r.f = most(fs, greatest)
		} else {
			is := make([]func(*machine) (int64, status), len(args))
			for i := range args {
				is[i] = args[i].i
			}
			r.i = most(is, greatest)
		}
		return c.fold(call.node, r, args...)
	}
}

func most[T int64 | float64](fs []func(*machine) (T, status), greatest bool) func(*machine) (T, status) {
	return func(m *machine) (T, status) {
		best, worst := fs[0](m)
		for _, f := range fs[1:] {
			x, st := f(m)
			worst = max(worst, st)
			if st == known && (x > best) == greatest {
				best = x
			}
		}
		return best, worst
	}
}

// reduce is min or max of a list's elements.
func (c *compiler) reduce(call call, s *seq, of func(*compiler, operand) (operand, bool), greatest bool) operand {
	e, ok := of(c, s.elem)
	if !e.ok() {
		return e
	}
	if !ok {
		return c.errorf(call.args[0], "%s wants a list of numbers, and these are %s", call.name, words(e.typ))
	}
	r := operand{typ: e.typ, unit: e.unit}
	first := func(seen bool, x, best float64) bool { return !seen || (x > best) == greatest }
	if e.is(probes.Float) {
		r.f = folded(s, e.f, func(m *machine, seen bool, x, best float64) (float64, status) {
			if first(seen, x, best) {
				return x, known
			}
			return best, known
		}, absent)
		return r
	}
	r.i = folded(s, e.i, func(m *machine, seen bool, x, best int64) (int64, status) {
		if !seen || (x > best) == greatest {
			return x, known
		}
		return best, known
	}, absent)
	return r
}

// folded makes one number of a list's. empty says what a list without elements is: absent, or known for zero.
func folded[T int64 | float64](s *seq, f func(*machine) (T, status), join func(m *machine, seen bool, x, sofar T) (T, status), empty status) func(*machine) (T, status) {
	return func(m *machine) (T, status) {
		var sofar T
		seen, worst := false, known
		more, st := s.each(m, func(belongs truth) bool {
			x, st := f(m)
			worst = max(worst, st, belongs.status())
			if worst == known {
				sofar, worst = join(m, seen, x, sofar)
				seen = true
			}
			return worst != unreadable
		})
		if worst = max(worst, rest(more, st).status()); rest(more, st) == no && worst == known && !seen {
			return sofar, empty
		}
		return sofar, worst
	}
}

func (c *compiler) toInt(call call) operand {
	o := c.node(call.args[0])
	switch {
	case !o.ok() || o.is(probes.Int):
		return o
	case o.is(probes.Float):
		f := o.f
		return c.fold(call.node, operand{typ: intType, unit: o.unit, i: func(m *machine) (int64, status) {
			x, st := f(m)
			if st != known {
				return 0, st
			}
			if n, ok := toInt(x); ok {
				return n, known
			}
			return 0, m.fail(whyOverflow)
		}}, o)
	case o.is(probes.String):
		s := o.s
		return c.fold(call.node, operand{typ: intType, i: func(m *machine) (int64, status) {
			x, st := s(m)
			if st != known {
				return 0, st
			}
			if n, ok := parseInt(x); ok {
				return n, known
			}
			return 0, m.fail(whyNumber)
		}}, o)
	}
	return c.errorf(call.args[0], "int wants a number or a text, and this is %s", words(o.typ))
}

// parseInt is strconv.ParseInt in base 10 without its error, which allocates.
func parseInt(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (i > 0 || len(s) == 1 || s[i] != '-' && s[i] != '+') {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func (c *compiler) toFloat(call call) operand {
	o := c.node(call.args[0])
	switch {
	case !o.ok() || o.is(probes.Float):
		return o
	case o.is(probes.Int):
		return c.fold(call.node, operand{typ: floatType, unit: o.unit, f: o.float()}, o)
	case o.is(probes.String):
		s := o.s
		return c.fold(call.node, operand{typ: floatType, f: func(m *machine) (float64, status) {
			x, st := s(m)
			if st != known {
				return 0, st
			}
			f, err := strconv.ParseFloat(x, 64)
			if err != nil || f-f != 0 {
				return 0, m.fail(whyNumber)
			}
			return f, known
		}}, o)
	}
	return c.errorf(call.args[0], "float wants a number or a text, and this is %s", words(o.typ))
}

func (c *compiler) toString(call call) operand {
	o := c.node(call.args[0])
	switch {
	case !o.ok() || o.is(probes.String):
		return o
	case o.is(probes.List) || o.is(probes.Struct) || o.is(probes.Map):
		return c.errorf(call.args[0], "string wants a number, a duration or a condition, and this is %s", words(o.typ))
	}
	return c.fold(call.node, operand{typ: stringType, s: func(m *machine) (string, status) {
		v, st := o.eval(m)
		if st != known {
			return "", st
		}
		return m.text(exact(&v))
	}}, o)
}

func (c *compiler) duration(call call) operand {
	o := c.text(call)
	if !o.ok() {
		return o
	}
	if o.lit == nil {
		return c.errorf(call.args[0], `the duration is written out as a text: duration("5m")`)
	}
	d, err := time.ParseDuration(o.lit.Str())
	if err != nil {
		return c.errorf(call.args[0], `%q is no duration: write "90s", "5m" or "1h30m"`, o.lit.Str())
	}
	return durationLiteral(d)
}

func (c *compiler) seconds(call call) operand {
	o := c.node(call.args[0])
	if !o.ok() {
		return o
	}
	if !o.is(probes.Duration) {
		return c.errorf(call.args[0], "seconds wants a duration, and this is %s", words(o.typ))
	}
	i := o.i
	return c.fold(call.node, operand{typ: floatType, f: func(m *machine) (float64, status) {
		n, st := i(m)
		return time.Duration(n).Seconds(), st
	}}, o)
}

func (c *compiler) length(call call) operand {
	o := c.node(call.args[0])
	if !o.ok() {
		return o
	}
	switch o.typ.Kind {
	case probes.String:
		s := o.s
		return c.fold(call.node, operand{typ: intType, i: func(m *machine) (int64, status) {
			x, st := s(m)
			return int64(utf8.RuneCountInString(x)), st
		}}, o)
	case probes.List:
		n := o.q.count(nil)
		if o.q.keep == nil {
			n = o.q.size()
		}
		return operand{typ: intType, n: n, i: certain(n)}
	case probes.Map:
		c.whole(call.args[0])
		n := o.keysOf(c).size()
		return operand{typ: intType, n: n, i: certain(n)}
	default:
	}
	return c.errorf(call.args[0], "len wants a text, a list or a map, and this is %s", words(o.typ))
}

// size is the number of elements without looking at them: those that were left out count too.
func (s *seq) size() func(*machine) (lo, hi int64, doubt status) {
	return func(m *machine) (int64, int64, status) {
		n, more, st := s.open(m, &m.frames[s.slot])
		if st != known {
			return 0, math.MaxInt64, st
		}
		return int64(n + more), int64(n + more), known
	}
}

func changed(change func(string) string) func(*compiler, call) operand {
	return func(c *compiler, call call) operand {
		o := c.text(call)
		if !o.ok() {
			return o
		}
		s := o.s
		return c.fold(call.node, operand{typ: stringType, s: func(m *machine) (string, status) {
			x, st := s(m)
			if st != known {
				return "", st
			}
			if m.bytes < len(x) {
				return "", m.fail(whyBytes)
			}
			return m.text(change(x))
		}}, o)
	}
}

func (c *compiler) has(call call) operand {
	o := c.node(call.args[0])
	if !o.ok() {
		return o
	}
	c.whole(call.args[0])
	var look func(*machine) status
	switch {
	case o.lit != nil:
		return c.errorf(call.args[0], "has asks about a fact, and this is written out")
	case o.b != nil:
		look = func(m *machine) status { return o.b(m).status() }
	case o.i != nil:
		look = func(m *machine) status { _, st := o.i(m); return st }
	case o.f != nil:
		look = func(m *machine) status { _, st := o.f(m); return st }
	case o.s != nil:
		look = func(m *machine) status { _, st := o.s(m); return st }
	case o.v != nil:
		look = func(m *machine) status {
			v := o.v(m)
			if v.Known() {
				return known
			}
			if m.trace != nil {
				m.trace.fact(o.path(m), v, o.typ, "")
			}
			return statusOf(v)
		}
	default:
		return c.errorf(call.args[0], "a list that is made here is always there: ask len(…) > 0")
	}
	return operand{typ: boolType, b: func(m *machine) truth {
		mark := m.mark()
		switch look(m) {
		case known:
			return yes
		case absent:
			m.answered(mark)
			return no
		}
		return truth(unreadable)
	}}
}

// quantifier compiles what takes a list and something about its elements.
func quantifier(c *compiler, call call) operand {
	o := c.list(call)
	if !o.ok() {
		return o
	}
	s := o.q
	e := s.elem
	if len(call.args) == 2 {
		p, ok := call.args[1].(*ast.PredicateNode)
		if !ok {
			return c.errorf(call.args[1], "it is written %s(%s)", call.name, c.schema.functions[call.name].args)
		}
		c.loops = append(c.loops, &s.elem)
		e = c.node(p.Node)
		c.loops = c.loops[:len(c.loops)-1]
	}
	if !e.ok() {
		return e
	}
	switch call.name {
	case "map":
		if e.is(probes.List) || e.is(probes.Map) {
			return c.errorf(call.args[1], "map wants one value of each element, and this is %s", words(e.typ))
		}
		mapped := *s
		if e.v == nil {
			e = stepped(e, func(*machine) {})
		}
		mapped.elem, mapped.literals = e, nil
		return operand{typ: &probes.Type{Kind: probes.List, Elem: e.typ}, q: &mapped}
	case "sum":
		return c.sum(call, s, e)
	}
	if !e.is(probes.Bool) {
		return c.errorf(call.args[1], "%s wants a condition on the elements, and this is %s", call.name, words(e.typ))
	}
	switch call.name {
	case "any":
		return operand{typ: boolType, b: s.anyOf(e.b)}
	case "all":
		return operand{typ: boolType, b: s.allOf(e.b)}
	case "none":
		some := s.anyOf(e.b)
		return operand{typ: boolType, b: func(m *machine) truth { return not(some(m)) }}
	case "one":
		n := s.count(e.b)
		return operand{typ: boolType, b: compareBounds("==", n, func(*machine) (int64, int64, status) { return 1, 1, known })}
	case "count":
		n := s.count(e.b)
		return operand{typ: intType, n: n, i: certain(n)}
	case "filter":
		return operand{typ: o.typ, q: s.filter(e.b)}
	default:
		return c.pick(s.filter(e.b), 0)
	}
}

func (c *compiler) sum(call call, s *seq, e operand) operand {
	switch {
	case e.is(probes.Float):
		return operand{typ: floatType, unit: e.unit, f: folded(s, e.f, func(m *machine, _ bool, x, sofar float64) (float64, status) {
			if sofar += x; sofar-sofar != 0 {
				return 0, m.fail(whyOverflow)
			}
			return sofar, known
		}, known)}
	case e.is(probes.Int) || e.is(probes.Duration):
		add := intOps["+"]
		t := intType
		if e.is(probes.Duration) {
			t = durationType
		}
		return operand{typ: t, unit: e.unit, i: folded(s, e.i, func(m *machine, _ bool, x, sofar int64) (int64, status) {
			return add(m, sofar, x)
		}, known)}
	}
	return c.errorf(call.node, "sum wants numbers, and these are %s", words(e.typ))
}

func (c *compiler) first(call call) operand {
	o := c.list(call)
	if !o.ok() {
		return o
	}
	return c.pick(o.q, 0)
}

func (c *compiler) lastOf(call call) operand {
	o := c.list(call)
	if !o.ok() {
		return o
	}
	return c.last(o.q)
}

// keys is keys(map) or values(map).
func (c *compiler) keys(call call) operand {
	o := c.node(call.args[0])
	if !o.ok() {
		return o
	}
	if !o.is(probes.Map) {
		return c.errorf(call.args[0], "%s wants a map, and this is %s", call.name, words(o.typ))
	}
	if i := c.rootOf(call.args[0]); i >= 0 {
		c.read(c.schema.probes[i].Name + "[*]")
	}
	s := o.keysOf(c)
	elem := stringType
	if slot := s.slot; call.name == "values" {
		elem = o.typ.Elem
		s.move = func(m *machine, f *frame, i int) { f.elem = f.list.At(i) }
		s.elem, s.keyField = c.element(slot, elem, o.unit), elem.KeyField()
	}
	return operand{typ: &probes.Type{Kind: probes.List, Elem: elem}, q: s}
}

// keysOf is the list of a map's keys.
func (o operand) keysOf(c *compiler) *seq {
	slot := c.slot()
	s := &seq{slot: slot, label: o.path, keyField: -1}
	s.open = func(m *machine, f *frame) (int, int, status) {
		f.list = o.v(m)
		if f.list.Kind() != probes.Map {
			if m.trace != nil {
				m.trace.fact(o.path(m), f.list, o.typ, "")
			}
			return 0, 0, statusOf(f.list)
		}
		return f.list.Len(), 0, known
	}
	s.move = func(_ *machine, f *frame, i int) { f.elem, f.name = nil, f.list.Keys()[i] }
	s.elem = operand{typ: stringType, s: func(m *machine) (string, status) { return m.frames[slot].name, known }}
	return s
}

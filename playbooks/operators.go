package playbooks

import (
	"cmp"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/hostmend/hostmend/probes"
)

// operators are all there are, tightest first.
var operators = []struct {
	names []string
	doc   string
}{
	{[]string{"."}, "a fact, or a fact of an element: `memory.total`, `.used_pct`; of a site check `site.shop.status`"},
	{[]string{"[]"}, "a map's value by its key, `sysctl[\"net.core.somaxconn\"]`; a list's element by its place, `xs[0]`, the last by `xs[-1]`. Absent if there is none"},
	{[]string{"??"}, "what stands in for what is absent: `a.b ?? 0`. It never stands in for what could not be read"},
	{[]string{"*", "/", "%"}, "`/` always gives a float; `%` is for whole numbers. Unknown: division by zero, a result that is too large"},
	{[]string{"not", "!"}, "the opposite; unknown stays unknown. It binds tighter than comparisons: `not (a > b)`"},
	{[]string{"+", "-"}, "numbers and durations; + also joins texts"},
	{[]string{"==", "!=", "<", "<=", ">", ">="}, "numbers with numbers, durations with durations, texts with texts; `1 < x < 5` is both"},
	{[]string{"in"}, "element of a list, `x in [\"a\", \"b\"]`, or key of a map; also `not in`"},
	{[]string{"matches", "contains", "startsWith", "endsWith"}, "texts; matches takes a regular expression (RE2) that is written out; also with `not` before"},
	{[]string{"and", "&&"}, "no as soon as one side is no, whatever the other"},
	{[]string{"or", "||"}, "yes as soon as one side is yes, whatever the other"},
	{[]string{"? :"}, "`condition ? a : b`, both of one type; quote the value in YAML"},
}

func (c *compiler) unary(n *ast.UnaryNode) operand {
	o := c.node(n.Node)
	if !o.ok() {
		return o
	}
	switch n.Operator {
	case "not", "!":
		if !o.is(probes.Bool) {
			return c.errorf(n, "%s wants yes or no, and this is %s; a comparison after it stands in brackets: not (a > b)", n.Operator, words(o.typ))
		}
		b := o.b
		return c.fold(n, operand{typ: boolType, b: func(m *machine) truth { return not(b(m)) }}, o)
	case "+":
		if o.number() {
			return o
		}
	case "-":
		switch {
		case o.is(probes.Float):
			f := o.f
			return c.fold(n, operand{typ: floatType, unit: o.unit, f: func(m *machine) (float64, status) {
				x, st := f(m)
				return -x, st
			}}, o)
		case o.is(probes.Int) || o.is(probes.Duration):
			i := o.i
			t := intType
			if o.is(probes.Duration) {
				t = durationType
			}
			return c.fold(n, operand{typ: t, unit: o.unit, i: func(m *machine) (int64, status) {
				x, st := i(m)
				if st == known && x == math.MinInt64 {
					return 0, m.fail(whyOverflow)
				}
				return -x, st
			}}, o)
		}
	}
	return c.errorf(n, "%s wants a number, and this is %s", n.Operator, words(o.typ))
}

func (c *compiler) binary(n *ast.BinaryNode) operand {
	if _, ok := c.schema.operators[n.Operator]; !ok {
		switch n.Operator {
		case "..":
			return c.errorf(n, "ranges (..) are not part of the language")
		case "**", "^":
			return c.errorf(n, "powers (%s) are not part of the language", n.Operator)
		}
		return c.errorf(n, "the operator %s is not part of the language", n.Operator)
	}
	l, r := c.node(n.Left), c.node(n.Right)
	if !l.ok() || !r.ok() {
		return operand{}
	}
	var o operand
	switch n.Operator {
	case "and", "&&", "or", "||":
		o = c.junction(n, l, r)
	case "==", "!=", "<", "<=", ">", ">=":
		o = c.comparison(n, l, r)
	case "in":
		return c.in(n, l, r)
	case "matches", "contains", "startsWith", "endsWith":
		o = c.textual(n, l, r)
	case "??":
		return c.coalesce(n, l, r)
	default:
		o = c.arithmetic(n, l, r)
	}
	if !o.ok() {
		return o
	}
	return c.fold(n, o, l, r)
}

func (c *compiler) junction(n *ast.BinaryNode, l, r operand) operand {
	for _, o := range []operand{l, r} {
		if !o.is(probes.Bool) {
			return c.errorf(n, "%s joins conditions, and one side is %s", n.Operator, words(o.typ))
		}
	}
	a, b := l.b, r.b
	if n.Operator == "and" || n.Operator == "&&" {
		return operand{typ: boolType, b: func(m *machine) truth {
			x := a(m)
			if x == no {
				return no
			}
			return and(x, b(m))
		}}
	}
	return operand{typ: boolType, b: func(m *machine) truth {
		x := a(m)
		if x == yes {
			return yes
		}
		return or(x, b(m))
	}}
}

// learnUnit notes that a parameter is compared with what has a unit.
func (c *compiler) learnUnit(n ast.Node, with operand) {
	if m, ok := n.(*ast.MemberNode); ok && with.unit != "" {
		if id, ok := m.Node.(*ast.IdentifierNode); ok && id.Value == "params" {
			c.units[m.Property.(*ast.StringNode).Value] = with.unit
		}
	}
}

func (c *compiler) comparison(n *ast.BinaryNode, l, r operand) operand {
	op := n.Operator
	c.learnUnit(n.Left, r)
	c.learnUnit(n.Right, l)
	switch {
	case l.is(probes.Int) && r.is(probes.Int):
		if l.n != nil || r.n != nil {
			return operand{typ: boolType, b: compareBounds(op, bounds(l), bounds(r))}
		}
		return operand{typ: boolType, b: compareWith(op, l.i, r.i, r.lit, func(v *probes.Value) int64 { return v.Int() })}
	case l.number() && r.number():
		return operand{typ: boolType, b: compareWith(op, l.float(), r.float(), r.lit, func(v *probes.Value) float64 {
			if v.Kind() == probes.Int {
				return float64(v.Int())
			}
			return v.Float()
		})}
	case l.is(probes.Duration) && r.is(probes.Duration):
		return operand{typ: boolType, b: compareWith(op, l.i, r.i, r.lit, func(v *probes.Value) int64 { return v.Int() })}
	case l.is(probes.String) && r.is(probes.String):
		return operand{typ: boolType, b: compareWith(op, l.s, r.s, r.lit, func(v *probes.Value) string { return v.Str() })}
	case l.is(probes.Bool) && r.is(probes.Bool) && (op == "==" || op == "!="):
		a, b, same := l.b, r.b, op == "=="
		return operand{typ: boolType, b: func(m *machine) truth {
			x, y := a(m), b(m)
			if st := max(x.status(), y.status()); st != known {
				return truth(st)
			}
			return truthOf((x == y) == same)
		}}
	case l.is(probes.Duration) && r.number() || l.number() && r.is(probes.Duration):
		return c.errorf(n, `a duration is compared with a duration: write duration("5m"), or seconds(x) for the number`)
	case l.is(probes.List) || r.is(probes.List):
		return c.errorf(n, "lists are not compared: ask with any, all, none, one, len or in")
	}
	return c.errorf(n, "%s cannot be compared with %s by %s", words(l.typ), words(r.typ), op)
}

func compareWith[T cmp.Ordered](op string, a, b func(*machine) (T, status), lit *probes.Value, value func(*probes.Value) T) func(*machine) truth {
	if lit != nil {
		return compareLiteral(op, a, value(lit))
	}
	return compare(op, a, b)
}

// compareLiteral compares with what is known at load.
func compareLiteral[T cmp.Ordered](op string, a func(*machine) (T, status), y T) func(*machine) truth {
	switch op {
	case "==":
		return func(m *machine) truth {
			x, st := a(m)
			if st != known {
				return truth(st)
			}
			return truthOf(x == y)
		}
	case "!=":
		return func(m *machine) truth {
			x, st := a(m)
			if st != known {
				return truth(st)
			}
			return truthOf(x != y)
		}
	case "<":
		return func(m *machine) truth {
			x, st := a(m)
			if st != known {
				return truth(st)
			}
			return truthOf(x < y)
		}
	case "<=":
		return func(m *machine) truth {
			x, st := a(m)
			if st != known {
				return truth(st)
			}
			return truthOf(x <= y)
		}
	case ">":
		return func(m *machine) truth {
			x, st := a(m)
			if st != known {
				return truth(st)
			}
			return truthOf(x > y)
		}
	default:
		return func(m *machine) truth {
			x, st := a(m)
			if st != known {
				return truth(st)
			}
			return truthOf(x >= y)
		}
	}
}

func compare[T cmp.Ordered](op string, a, b func(*machine) (T, status)) func(*machine) truth {
	test := func(x, y T) bool { return x >= y }
	switch op {
	case "==":
		test = func(x, y T) bool { return x == y }
	case "!=":
		test = func(x, y T) bool { return x != y }
	case "<":
		test = func(x, y T) bool { return x < y }
	case "<=":
		test = func(x, y T) bool { return x <= y }
	case ">":
		test = func(x, y T) bool { return x > y }
	}
	return func(m *machine) truth {
		x, sx := a(m)
		y, sy := b(m)
		if st := max(sx, sy); st != known {
			return truth(st)
		}
		return truthOf(test(x, y))
	}
}

// bounds is a number that lies between two: a count over elements that are not all decided. The status says why they differ.
func bounds(o operand) func(*machine) (lo, hi int64, doubt status) {
	if o.n != nil {
		return o.n
	}
	i := o.i
	return func(m *machine) (int64, int64, status) {
		n, st := i(m)
		if st != known {
			return math.MinInt64, math.MaxInt64, st
		}
		return n, n, known
	}
}

// compareBounds compares what is certain of two counts.
func compareBounds(op string, a, b func(*machine) (lo, hi int64, doubt status)) func(*machine) truth {
	return func(m *machine) truth {
		a1, a2, sa := a(m)
		b1, b2, sb := b(m)
		var always, never bool
		switch op {
		case "<":
			always, never = a2 < b1, a1 >= b2
		case "<=":
			always, never = a2 <= b1, a1 > b2
		case ">":
			always, never = a1 > b2, a2 <= b1
		case ">=":
			always, never = a1 >= b2, a2 < b1
		case "==":
			always, never = a1 == a2 && b1 == b2 && a1 == b1, a2 < b1 || b2 < a1
		case "!=":
			always, never = a2 < b1 || b2 < a1, a1 == a2 && b1 == b2 && a1 == b1
		}
		switch {
		case always:
			return yes
		case never:
			return no
		}
		return truth(max(sa, sb))
	}
}

// in is x in ["a", "b"], x in list, or "key" in map.
func (c *compiler) in(n *ast.BinaryNode, l, r operand) operand {
	switch r.typ.Kind {
	case probes.Map:
		return c.hasKey(n, l, r)
	case probes.List:
	case probes.String:
		return c.errorf(n, `for a text within a text write: text contains "part"`)
	default:
		return c.errorf(n, "in wants a list or a map, and this is %s", words(r.typ))
	}
	elem := r.q.elem
	if !elem.ok() {
		return operand{}
	}
	if lits := r.q.literals; lits != nil && l.is(probes.String) && elem.is(probes.String) {
		s := l.s
		return operand{typ: boolType, b: func(m *machine) truth {
			x, st := s(m)
			if st != known {
				return truth(st)
			}
			return truthOf(slices.Contains(lits, x))
		}}
	}
	equal := c.comparison(&ast.BinaryNode{Operator: "==", Left: n.Left, Right: n.Right}, l, elem)
	if !equal.ok() {
		return equal
	}
	return operand{typ: boolType, b: r.q.anyOf(equal.b)}
}

func (c *compiler) hasKey(n *ast.BinaryNode, l, r operand) operand {
	if !l.is(probes.String) {
		return c.errorf(n, "the keys of a map are texts, and this is %s", words(l.typ))
	}
	if i := c.rootOf(n.Right); i >= 0 {
		c.read(c.schema.probes[i].Name + keyPath(l))
	}
	s, v, path, t := l.s, r.v, r.path, r.typ
	return operand{typ: boolType, b: func(m *machine) truth {
		key, st := s(m)
		if st != known {
			return truth(st)
		}
		f := v(m)
		if f.Kind() != probes.Map {
			if m.trace != nil {
				m.trace.fact(path(m), f, t, "")
			}
			return truth(statusOf(f))
		}
		return truthOf(f.Lookup(key) != nil)
	}}
}

func (c *compiler) textual(n *ast.BinaryNode, l, r operand) operand {
	for _, o := range []operand{l, r} {
		if !o.is(probes.String) {
			return c.errorf(n, "%s wants texts, and one side is %s", n.Operator, words(o.typ))
		}
	}
	if n.Operator == "matches" {
		return c.matches(n, l, r)
	}
	test := strings.Contains
	switch n.Operator {
	case "startsWith":
		test = strings.HasPrefix
	case "endsWith":
		test = strings.HasSuffix
	}
	a, b := l.s, r.s
	return operand{typ: boolType, b: func(m *machine) truth {
		x, sx := a(m)
		y, sy := b(m)
		if st := max(sx, sy); st != known {
			return truth(st)
		}
		if !m.step(len(x) / 64) {
			return truth(unreadable)
		}
		return truthOf(test(x, y))
	}}
}

// A pattern's program may have this many instructions: matching costs at most so many steps for each byte.
const maxPattern = 1000

func (c *compiler) matches(n *ast.BinaryNode, l, r operand) operand {
	if r.lit == nil {
		return c.errorf(n, "a regular expression is written out as a text, not computed")
	}
	pattern := r.lit.Str()
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return c.errorf(n.Right, "in the regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if size := programSize(tree); size > maxPattern {
		return c.errorf(n.Right, "the regular expression is too large: its repetitions amount to more than %d parts", maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return c.errorf(n.Right, "%s", err)
	}
	s := l.s
	return operand{typ: boolType, b: func(m *machine) truth {
		x, st := s(m)
		if st != known {
			return truth(st)
		}
		if !m.step(len(x) / 8) {
			return truth(unreadable)
		}
		return truthOf(re.MatchString(x))
	}}
}

// programSize is about how many instructions a pattern compiles to, its repetitions written out.
func programSize(re *syntax.Regexp) int {
	size := 1
	if re.Op == syntax.OpLiteral {
		size = len(re.Rune)
	}
	for _, sub := range re.Sub {
		size += programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(1, re.Min, re.Max)
	}
	return min(size, 1<<30)
}

// coalesce is a ?? b: b where a is absent.
func (c *compiler) coalesce(n *ast.BinaryNode, l, r operand) operand {
	t, promote := unify(l, r)
	if t == nil {
		return c.errorf(n, "both sides of ?? must be of one type, and they are %s and %s", words(l.typ), words(r.typ))
	}
	if l.lit != nil {
		return c.errorf(n, "what stands before ?? is never absent")
	}
	o := operand{typ: t, unit: l.unit}
	switch {
	case l.b != nil:
		a, b := l.b, r.b
		o.b = func(m *machine) truth {
			mark := m.mark()
			x := a(m)
			if x == truth(absent) {
				m.answered(mark)
				return b(m)
			}
			return x
		}
	case promote || l.f != nil:
		o.f = orElse(l.float(), r.float())
	case l.i != nil:
		o.i = orElse(l.i, r.i)
	default:
		o.s = orElse(l.s, r.s)
	}
	return o
}

// orElse computes b where a is absent.
func orElse[T any](a, b func(*machine) (T, status)) func(*machine) (T, status) {
	return func(m *machine) (T, status) {
		mark := m.mark()
		x, st := a(m)
		if st == absent {
			m.answered(mark)
			return b(m)
		}
		return x, st
	}
}

// unify is the one type of two scalars, and whether an int must become a float for it.
func unify(l, r operand) (t *probes.Type, promote bool) {
	switch {
	case l.is(probes.Bool) && r.is(probes.Bool):
		return boolType, false
	case l.is(probes.Int) && r.is(probes.Int):
		return intType, false
	case l.number() && r.number():
		return floatType, true
	case l.is(probes.Duration) && r.is(probes.Duration):
		return durationType, false
	case l.is(probes.String) && r.is(probes.String):
		return stringType, false
	}
	return nil, false
}

func (c *compiler) conditional(n *ast.ConditionalNode) operand {
	if n.Cond == n.Exp1 {
		return c.errorf(n, "write a ?: b in full: a ? a : b")
	}
	cond, l, r := c.node(n.Cond), c.node(n.Exp1), c.node(n.Exp2)
	if !cond.ok() || !l.ok() || !r.ok() {
		return operand{}
	}
	if !cond.is(probes.Bool) {
		return c.errorf(n.Cond, "before ? stands a condition, and this is %s", words(cond.typ))
	}
	t, promote := unify(l, r)
	if t == nil {
		return c.errorf(n.Cond, "the two sides of : must be of one type (no lists), and they are %s and %s", words(l.typ), words(r.typ))
	}
	o, q := operand{typ: t}, cond.b
	if l.unit == r.unit {
		o.unit = l.unit
	}
	switch {
	case l.b != nil:
		a, b := l.b, r.b
		o.b = func(m *machine) truth {
			switch x := q(m); x {
			case yes:
				return a(m)
			case no:
				return b(m)
			default:
				return x
			}
		}
	case promote || l.f != nil:
		o.f = choose(q, l.float(), r.float())
	case l.i != nil:
		o.i = choose(q, l.i, r.i)
	default:
		o.s = choose(q, l.s, r.s)
	}
	return c.fold(n, o, cond, l, r)
}

func choose[T any](q func(*machine) truth, a, b func(*machine) (T, status)) func(*machine) (T, status) {
	return func(m *machine) (T, status) {
		switch x := q(m); x {
		case yes:
			return a(m)
		case no:
			return b(m)
		default:
			var zero T
			return zero, x.status()
		}
	}
}

func (c *compiler) arithmetic(n *ast.BinaryNode, l, r operand) operand {
	op := n.Operator
	unit := ""
	if l.unit == r.unit || r.unit == "" {
		unit = l.unit
	} else if l.unit == "" {
		unit = r.unit
	}
	switch {
	case op == "+" && l.is(probes.String) && r.is(probes.String):
		a, b := l.s, r.s
		return operand{typ: stringType, s: func(m *machine) (string, status) {
			x, sx := a(m)
			y, sy := b(m)
			if st := max(sx, sy); st != known {
				return "", st
			}
			if m.bytes < len(x)+len(y) {
				return "", m.fail(whyBytes)
			}
			return m.text(x + y)
		}}
	case op == "%" && l.is(probes.Int) && r.is(probes.Int):
		return operand{typ: intType, unit: unit, i: ints(l.i, r.i, remainder)}
	case op == "/" && l.number() && r.number():
		if l.unit == r.unit || l.unit == "" { // a number by bytes is no bytes
			unit = ""
		}
		return operand{typ: floatType, unit: unit, f: floats(op, l.float(), r.float())}
	case (op == "+" || op == "-" || op == "*") && l.is(probes.Int) && r.is(probes.Int):
		return operand{typ: intType, unit: unit, i: ints(l.i, r.i, intOps[op])}
	case (op == "+" || op == "-" || op == "*") && l.number() && r.number():
		return operand{typ: floatType, unit: unit, f: floats(op, l.float(), r.float())}
	case (op == "+" || op == "-") && l.is(probes.Duration) && r.is(probes.Duration):
		return operand{typ: durationType, i: ints(l.i, r.i, intOps[op])}
	case op == "/" && l.is(probes.Duration) && r.is(probes.Duration):
		l.typ, r.typ = intType, intType
		return operand{typ: floatType, f: floats(op, l.float(), r.float())}
	case op == "*" && l.is(probes.Duration) && r.number():
		return operand{typ: durationType, i: scale(l.i, r.float(), false)}
	case op == "*" && l.number() && r.is(probes.Duration):
		return operand{typ: durationType, i: scale(r.i, l.float(), false)}
	case op == "/" && l.is(probes.Duration) && r.number():
		return operand{typ: durationType, i: scale(l.i, r.float(), true)}
	}
	if l.is(probes.String) != r.is(probes.String) && op == "+" {
		return c.errorf(n, "a text and %s cannot be joined by +: write string(x), or {x} within a text", words(or2(l, r).typ))
	}
	return c.errorf(n, "%s and %s cannot be computed by %s", words(l.typ), words(r.typ), op)
}

// or2 is the operand that is not a text.
func or2(l, r operand) operand {
	if l.is(probes.String) {
		return r
	}
	return l
}

type intOp func(m *machine, x, y int64) (int64, status)

var intOps = map[string]intOp{
	"+": func(m *machine, x, y int64) (int64, status) {
		if z := x + y; (x^z)&(y^z) >= 0 {
			return z, known
		}
		return 0, m.fail(whyOverflow)
	},
	"-": func(m *machine, x, y int64) (int64, status) {
		if z := x - y; (x^y)&(x^z) >= 0 {
			return z, known
		}
		return 0, m.fail(whyOverflow)
	},
	"*": func(m *machine, x, y int64) (int64, status) {
		z := x * y
		if x != 0 && (z/x != y || x == -1 && y == math.MinInt64) {
			return 0, m.fail(whyOverflow)
		}
		return z, known
	},
}

func remainder(m *machine, x, y int64) (int64, status) {
	if y == 0 {
		return 0, m.fail(whyZero)
	}
	return x % y, known
}

func ints(a, b func(*machine) (int64, status), op intOp) func(*machine) (int64, status) {
	return func(m *machine) (int64, status) {
		x, sx := a(m)
		y, sy := b(m)
		if st := max(sx, sy); st != known {
			return 0, st
		}
		return op(m, x, y)
	}
}

func floats(op string, a, b func(*machine) (float64, status)) func(*machine) (float64, status) {
	return func(m *machine) (float64, status) {
		x, sx := a(m)
		y, sy := b(m)
		if st := max(sx, sy); st != known {
			return 0, st
		}
		switch op {
		case "+":
			x += y
		case "-":
			x -= y
		case "*":
			x *= y
		default:
			if y == 0 {
				return 0, m.fail(whyZero)
			}
			x /= y
		}
		if x-x != 0 {
			return 0, m.fail(whyOverflow)
		}
		return x, known
	}
}

// scale multiplies or divides a duration.
func scale(d func(*machine) (int64, status), by func(*machine) (float64, status), divide bool) func(*machine) (int64, status) {
	return func(m *machine) (int64, status) {
		x, sx := d(m)
		y, sy := by(m)
		if st := max(sx, sy); st != known {
			return 0, st
		}
		f := float64(x) * y
		if divide {
			if y == 0 {
				return 0, m.fail(whyZero)
			}
			f = float64(x) / y
		}
		if n, ok := toInt(f); ok {
			return n, known
		}
		return 0, m.fail(whyOverflow)
	}
}

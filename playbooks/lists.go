package playbooks

import (
	"math"
	"strconv"

	"github.com/expr-lang/expr/ast"

	"github.com/hostmend/hostmend/probes"
)

// seq is a list that is walked, never built: filter and map only change what a turn does. Every seq has a frame of its own, so
// walks may nest.
type seq struct {
	slot int
	// open begins a walk; it answers how many elements there are, and how many were left out.
	open func(m *machine, f *frame) (n, more int, st status)
	// move goes to element i.
	move func(m *machine, f *frame, i int)
	elem operand              // the element
	keep func(*machine) truth // whether it belongs to the list; nil: all do

	literals []string                // the list, where it is written out as texts
	label    func(m *machine) string // the list's name in a trace
	typ      *probes.Type            // the list's type, where it is a fact
	keyField int                     // of its elements; -1: none
}

// each walks the list. visit is told whether the element belongs to it (yes, or a kind of unknown), and says whether to go on.
// It returns how many elements nobody has seen, and whether the list could be walked at all.
func (s *seq) each(m *machine, visit func(belongs truth) bool) (more int, st status) {
	f := &m.frames[s.slot]
	n, more, st := s.open(m, f)
	if st != known {
		return 0, st
	}
	mark := m.mark()
	for i := range n {
		if !m.step(1) {
			return 0, unreadable
		}
		f.at = i
		s.move(m, f, i)
		if m.trace != nil {
			f.path = s.name(m, f)
		}
		belongs := yes
		if s.keep != nil {
			if belongs = s.keep(m); belongs == no {
				m.forget(mark)
				continue
			}
		}
		if !visit(belongs) {
			return 0, known
		}
		mark = m.mark()
	}
	if more > 0 {
		m.why = whyCut
		if f.list != nil && f.list.Reason() != "" {
			m.why = f.list.Reason()
		}
	}
	return more, known
}

// rest is the truth about elements that a walk did not see: no if there are none.
func rest(more int, st status) truth {
	if more > 0 {
		return truth(unreadable)
	}
	return truth(st)
}

// name is what a trace calls the current element: filesystems.mounts["/data"].
func (s *seq) name(m *machine, f *frame) string {
	label := "list"
	if s.label != nil {
		label = s.label(m)
	}
	if key, ok := s.key(f); ok {
		return label + "[" + key + "]"
	}
	return label + "[" + strconv.Itoa(f.at) + "]"
}

// key identifies the current element, if it is a fact with a key or a text.
func (s *seq) key(f *frame) (string, bool) {
	e := f.elem
	if e != nil && e.Kind() == probes.Struct && s.keyField >= 0 {
		e = field(e, s.keyField)
	}
	if e == nil {
		return f.name, f.name != ""
	}
	switch e.Kind() {
	case probes.String:
		return e.Str(), true
	case probes.Int:
		return strconv.FormatInt(e.Int(), 10), s.keyField >= 0
	}
	return "", false
}

func (c *compiler) slot() int {
	c.slots++
	return c.slots - 1
}

// facts is a list that a probe saw.
func (c *compiler) facts(load func(*machine) *probes.Value, path func(*machine) string, elem *probes.Type, unit string) *seq {
	slot := c.slot()
	t := &probes.Type{Kind: probes.List, Elem: elem}
	s := &seq{slot: slot, label: path, typ: t, keyField: elem.KeyField()}
	s.open = func(m *machine, f *frame) (int, int, status) {
		f.list = load(m)
		if f.list.Kind() != probes.List {
			if m.trace != nil {
				m.trace.fact(path(m), f.list, t, "")
			}
			return 0, 0, statusOf(f.list)
		}
		return f.list.Len(), f.list.More(), known
	}
	s.move = func(_ *machine, f *frame, i int) { f.elem = f.list.At(i) }
	s.elem = c.element(slot, elem, unit)
	return s
}

// element is what stands in a frame. Its own list, if it is one, is only made where it is asked for.
func (c *compiler) element(slot int, t *probes.Type, unit string) operand {
	return c.fact(func(m *machine) *probes.Value { return m.frames[slot].elem }, func(m *machine) string { return m.frames[slot].path }, t, unit)
}

// array is a list that is written out: ["ext4", "xfs"].
func (c *compiler) array(n *ast.ArrayNode) operand {
	if len(n.Nodes) == 0 {
		return c.errorf(n, "the list is empty: nothing is ever in it")
	}
	elems := make([]operand, len(n.Nodes))
	for i, e := range n.Nodes {
		if elems[i] = c.node(e); !elems[i].ok() {
			return operand{}
		}
	}
	t := elems[0].typ
	var lits []string
	for i := range elems {
		var ok *probes.Type
		if ok, _ = unify(operand{typ: t}, elems[i]); ok == nil {
			return c.errorf(n.Nodes[i], "the elements of a list are of one type, and this is %s after %s", words(elems[i].typ), words(t))
		}
		t = ok
		if elems[i].lit != nil && t.Kind == probes.String {
			lits = append(lits, elems[i].lit.Str())
		}
	}
	if len(lits) != len(elems) {
		lits = nil
	}
	slot := c.slot()
	s := &seq{slot: slot, literals: lits, keyField: -1}
	s.open = func(*machine, *frame) (int, int, status) { return len(elems), 0, known }
	s.move = func(*machine, *frame, int) {}
	s.elem = operand{typ: t}
	switch t.Kind {
	case probes.Bool:
		s.elem.b = func(m *machine) truth { return elems[m.frames[slot].at].b(m) }
	case probes.Float:
		fs := make([]func(*machine) (float64, status), len(elems))
		for i := range elems {
			fs[i] = elems[i].float()
		}
		s.elem.f = func(m *machine) (float64, status) { return fs[m.frames[slot].at](m) }
	case probes.String:
		s.elem.s = func(m *machine) (string, status) { return elems[m.frames[slot].at].s(m) }
	default:
		s.elem.i = func(m *machine) (int64, status) { return elems[m.frames[slot].at].i(m) }
	}
	return operand{typ: &probes.Type{Kind: probes.List, Elem: t}, q: s}
}

// index is list[0]; list[-1] is the last.
func (c *compiler) index(n *ast.MemberNode, o operand) operand {
	k := c.node(n.Property)
	if !k.ok() {
		return k
	}
	if !k.is(probes.Int) || k.lit == nil {
		return c.errorf(n.Property, "an element is taken by a number that is written out; to look for one, write find(list, .name == …)")
	}
	switch i := k.lit.Int(); {
	case i >= 0:
		return c.pick(o.q, int(min(i, 1<<30)))
	case i == -1:
		return c.last(o.q)
	}
	return c.errorf(n.Property, "from the end only [-1] is taken")
}

// pick is the element number k of those that belong to the list. It is absent where there are not so many, and unreadable where
// that depends on an element that could not be judged.
func (c *compiler) pick(s *seq, k int) operand {
	return c.chosen(s, func(m *machine) status {
		seen, doubt, found := 0, false, false
		more, st := s.each(m, func(belongs truth) bool {
			switch {
			case belongs != yes:
				doubt = true
			case seen == k:
				found = true
			}
			seen++
			return !found && !doubt
		})
		switch {
		case doubt:
			return m.fail(whyNotFound)
		case found:
			return known
		}
		if t := rest(more, st); t != no {
			return t.status()
		}
		return absent
	})
}

// last is the last element.
func (c *compiler) last(s *seq) operand {
	return c.chosen(s, func(m *machine) status {
		at, doubt := -1, false
		more, st := s.each(m, func(belongs truth) bool {
			at, doubt = m.frames[s.slot].at, belongs != yes
			return true
		})
		switch {
		case rest(more, st) != no:
			return rest(more, st).status()
		case doubt:
			return m.fail(whyNotFound)
		case at < 0:
			return absent
		}
		f := &m.frames[s.slot]
		if f.at = at; m.trace != nil {
			defer func() { f.path = s.name(m, f) }()
		}
		s.move(m, f, at)
		return known
	})
}

// chosen is the element on which choose leaves the walk.
func (c *compiler) chosen(s *seq, choose func(*machine) status) operand {
	e := s.elem
	o := operand{typ: e.typ, unit: e.unit, path: e.path}
	switch {
	case !e.ok():
	case e.b != nil:
		o.b = func(m *machine) truth {
			if st := choose(m); st != known {
				return truth(st)
			}
			return e.b(m)
		}
	case e.f != nil:
		o.f = func(m *machine) (float64, status) {
			if st := choose(m); st != known {
				return 0, st
			}
			return e.f(m)
		}
	case e.i != nil:
		o.i = func(m *machine) (int64, status) {
			if st := choose(m); st != known {
				return 0, st
			}
			return e.i(m)
		}
	case e.s != nil:
		o.s = func(m *machine) (string, status) {
			if st := choose(m); st != known {
				return "", st
			}
			return e.s(m)
		}
	}
	if e.v != nil {
		o.v = func(m *machine) *probes.Value {
			switch choose(m) {
			case known:
				return e.v(m)
			case absent:
				return &absentValue
			}
			return &notJudged
		}
	}
	if e.is(probes.List) {
		o = c.fact(o.v, e.path, e.typ, e.unit)
	}
	return o
}

// filter is the list of those elements for which a condition holds.
func (s *seq) filter(p func(*machine) truth) *seq {
	f := *s
	f.literals = nil
	if f.keep = p; s.keep != nil {
		keep := s.keep
		f.keep = func(m *machine) truth {
			x := keep(m)
			if x == no {
				return no
			}
			return and(x, p(m))
		}
	}
	return &f
}

// anyOf reports whether a condition holds for an element.
func (s *seq) anyOf(p func(*machine) truth) func(*machine) truth {
	return func(m *machine) truth {
		result := no
		begin, mark := m.mark(), m.mark()
		more, st := s.each(m, func(belongs truth) bool {
			t := and(belongs, p(m))
			switch t {
			case no:
				m.forget(mark)
			case yes:
				m.only(begin, mark)
			}
			mark = m.mark()
			result = or(result, t)
			return result != yes
		})
		if result == yes {
			return yes
		}
		return or(result, rest(more, st))
	}
}

// allOf reports whether a condition holds for every element.
func (s *seq) allOf(p func(*machine) truth) func(*machine) truth {
	some := s.anyOf(func(m *machine) truth { return not(p(m)) })
	return func(m *machine) truth { return not(some(m)) }
}

// count is how many elements there are for which a condition holds, at least and at most.
func (s *seq) count(p func(*machine) truth) func(*machine) (lo, hi int64, doubt status) {
	return func(m *machine) (int64, int64, status) {
		var lo, hi int64
		doubt, mark := known, m.mark()
		more, st := s.each(m, func(belongs truth) bool {
			t := belongs
			if p != nil {
				t = and(belongs, p(m))
			}
			switch t {
			case yes:
				lo, hi = lo+1, hi+1
			case no:
				m.forget(mark)
			default:
				hi, doubt = hi+1, max(doubt, t.status())
			}
			mark = m.mark()
			return true
		})
		if st != known {
			return 0, math.MaxInt64, st
		}
		if more > 0 {
			return lo, hi + int64(more), unreadable
		}
		return lo, hi, doubt
	}
}

// certain is a count that must be exact.
func certain(count func(*machine) (lo, hi int64, doubt status)) func(*machine) (int64, status) {
	return func(m *machine) (int64, status) {
		lo, hi, doubt := count(m)
		if lo == hi {
			return lo, known
		}
		return 0, doubt
	}
}

package playbooks

import (
	"slices"

	"github.com/hostmend/hostmend/probes"
)

// trace records what a clause reads. It is set only in the second pass, over playbooks that matched or could not be decided.
type trace struct {
	seen []sighting
}

// sighting is a fact that was read.
type sighting struct {
	Fact
	unit     string
	computed bool // by a `let`: shown, but never what is missing
	answered bool // absent, and ?? said what stands in for it
}

// maxSightings are shown of one clause: more do not convince anybody who doubts the first.
const maxSightings = 24

func (t *trace) fact(path string, v *probes.Value, typ *probes.Type, unit string) {
	t.add(sighting{Fact: Fact{Path: path, Value: *v, Type: typ}, unit: unit})
}

func (t *trace) derived(path string, v probes.Value, st status, o operand) {
	switch st {
	case absent:
		v = probes.AbsentValue()
	case unreadable:
		v = probes.UnreadableValue("")
	}
	t.add(sighting{Fact: Fact{Path: path, Value: v, Type: o.typ}, unit: o.unit, computed: true})
}

func (t *trace) add(s sighting) {
	if len(t.seen) > 4*maxSightings || slices.ContainsFunc(t.seen, func(o sighting) bool { return o.Path == s.Path }) {
		return
	}
	t.seen = append(t.seen, s)
}

// mark is a place in the trace to come back to.
func (m *machine) mark() int {
	if m.trace == nil {
		return 0
	}
	return len(m.trace.seen)
}

// forget drops what was read since mark: an element that did not matter.
func (m *machine) forget(mark int) {
	if m.trace != nil && mark < len(m.trace.seen) {
		m.trace.seen = m.trace.seen[:mark]
	}
}

// only drops what was read between begin and mark: elements that the next one made irrelevant.
func (m *machine) only(begin, mark int) {
	if m.trace != nil && begin < mark {
		m.trace.seen = slices.Delete(m.trace.seen, begin, mark)
	}
}

// answered notes that ?? stood in for what was absent since mark.
func (m *machine) answered(mark int) {
	if m.trace == nil {
		return
	}
	for i := mark; i < len(m.trace.seen); i++ {
		if m.trace.seen[i].Value.Kind() == probes.Absent {
			m.trace.seen[i].answered = true
		}
	}
}

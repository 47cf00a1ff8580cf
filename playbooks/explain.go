package playbooks

import (
	"fmt"
	"strings"

	"github.com/hostmend/hostmend/probes"
)

// Explanation tells how a playbook judges a snapshot, clause by clause, whatever the verdict.
type Explanation struct {
	Playbook Playbook
	Verdict  Verdict
	Objects  []ExplainedObject // one without a name where there is no for_each
	Reason   string            // Unknown: why
}

// ExplainedObject is what a playbook makes of one element.
type ExplainedObject struct {
	Object   string
	Verdict  Verdict
	Let      []Fact   // definitions and what they amount to
	Clauses  []Clause // of `when`
	Evidence []Text
	Severity Severity
	Steps    []Step   // what would be done
	Withheld []string // and what would not, because something is not known
	Verify   []Clause
}

// maxExplained is how many elements are explained.
const maxExplained = 50

// Explain tells how a playbook judges a snapshot.
func (l *Library) Explain(snap *probes.Snapshot, id string) (Explanation, error) {
	p := l.byID[id]
	if p == nil {
		return Explanation{}, fmt.Errorf("there is no playbook %q%s", id, nearest(id, keysOf(l.byID)))
	}
	m := l.machine(snap)
	e := Explanation{Playbook: p.Playbook}
	overall, _, more := p.verdicts(m, func(object string, t truth) {
		steps, bytes := m.steps, m.bytes
		if len(e.Objects) < maxExplained {
			e.Objects = append(e.Objects, p.explained(m, object, t))
		}
		m.steps, m.bytes = steps, bytes
	})
	e.Verdict = overall.verdict()
	if overall.status() != known && len(e.Objects) == 0 {
		e.Reason = p.noList(m, overall.status(), more, m.steps < 0).Reason
	}
	return e, nil
}

func (p *playbook) explained(m *machine, object string, t truth) ExplainedObject {
	m.refuel()
	o := ExplainedObject{Object: object, Verdict: t.verdict(), Clauses: p.trace(m, p.parts)}
	for _, l := range p.lets {
		v, st := l.op.eval(m)
		switch st {
		case absent:
			v = probes.AbsentValue()
		case unreadable:
			v = probes.UnreadableValue(m.why)
		}
		o.Let = append(o.Let, Fact{Path: l.text, Value: v, Type: l.op.typ, Unit: l.op.unit})
	}
	f := p.finding(m, object)
	o.Evidence, o.Severity, o.Steps, o.Withheld = f.Evidence, f.Severity, f.Steps, f.Withheld
	if p.verified != nil {
		o.Verify = p.trace(m, p.verified)
	}
	return o
}

// Show is the fact's value as people read it: bytes as 1.2 GiB, what is missing in words.
func (f *Fact) Show() string {
	switch f.Value.Kind() {
	case probes.Absent:
		return "absent"
	case probes.Unreadable:
		return "unreadable"
	case probes.List, probes.Struct, probes.Map:
		return truncate(string(f.Type.AppendJSON(nil, &f.Value)), maxShown)
	}
	return Human(&f.Value, f.Unit)
}

// explainParts shows the clauses of a playbook that said no.
func (l *Library) explainParts(p *playbook, snap *probes.Snapshot) string {
	e, err := l.Explain(snap, p.ID)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, o := range e.Objects {
		for _, c := range o.Clauses {
			fmt.Fprintf(&b, "; %s: %s%s", c.Verdict, c.Text, factsText(c.Facts))
		}
	}
	return b.String()
}

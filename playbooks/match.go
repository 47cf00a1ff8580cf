package playbooks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// maxFindings are listed of one playbook on one host, and as many undecided elements; a check says how many more there are.
const maxFindings = 20

// machine is the state for judging a snapshot. A nil snapshot has no facts at all.
func (l *Library) machine(snap *probes.Snapshot) *machine {
	m := &machine{roots: make([]*probes.Value, len(l.schema.probes))}
	slots := 0
	for _, p := range l.playbooks {
		slots = max(slots, p.slots)
	}
	m.frames = make([]frame, slots)
	m.look(l.schema, snap)
	return m
}

// look points the machine at a snapshot.
func (m *machine) look(s *schema, snap *probes.Snapshot) {
	for i := range m.roots {
		m.roots[i] = &notRun
	}
	m.snap = snap
	if snap == nil {
		return
	}
	for i := range snap.Observations {
		o := &snap.Observations[i]
		k, ok := s.index[o.Probe]
		switch {
		case !ok:
		case o.Status == probes.OK:
			m.roots[k] = &o.Facts
		case o.Status == probes.Nothing:
			m.roots[k] = &absentValue
		default:
			m.roots[k] = &notRead
		}
	}
}

// at is the snapshot's time.
func (m *machine) at() time.Time {
	if m.snap == nil {
		return time.Time{}
	}
	return m.snap.At
}

// Match judges every playbook. Without a memory (one-shot), what must hold for a while is pending.
func (l *Library) Match(snap *probes.Snapshot, mem *Memory) Diagnosis {
	m := l.machine(snap)
	d := &diagnosis{lib: l, machine: m, mem: mem}
	for _, p := range l.playbooks {
		d.safely(p)
	}
	d.explain()
	return d.Diagnosis
}

// diagnosis is a Diagnosis in the making.
type diagnosis struct {
	Diagnosis
	lib     *Library
	machine *machine
	mem     *Memory
}

// verdicts judges a playbook: visit is called for every element (with an empty name where there is no for_each) while the
// machine stands on it. It returns the verdict over all, how many elements there were, and how many nobody has seen.
func (p *playbook) verdicts(m *machine, visit func(object string, t truth)) (overall truth, objects, more int) {
	m.refuel()
	if p.each == nil {
		t := p.when.b(m)
		visit("", t)
		return t, 0, 0
	}
	overall = no
	f := &m.frames[p.each.slot]
	more, st := p.each.each(m, func(belongs truth) bool {
		t := belongs
		if t != no {
			t = and(belongs, p.when.b(m))
		}
		object, ok := p.each.key(f)
		if !ok {
			object, t = "", truth(unreadable)
			m.why = "an element's key could not be read"
		}
		objects++
		overall = or(overall, t)
		visit(object, t)
		return true
	})
	return or(overall, rest(more, st)), objects, more
}

// safely judges a playbook; a bug of ours in it must not cost the others' answers.
func (d *diagnosis) safely(p *playbook) {
	checks := len(d.Checks)
	defer func() {
		if r := recover(); r != nil {
			d.machine.trace = nil
			u := Unanswered{Playbook: p.ID, Area: p.Area, Title: p.Title, Reason: fmt.Sprintf("[unexpected] judging it failed: %v", r)}
			d.Unknown = append(d.Unknown, u)
			d.Checks = append(d.Checks[:checks], Check{Playbook: p.ID, Area: p.Area, Title: p.Title, Reason: u.Reason})
		}
	}()
	d.judge(p)
}

// judge adds what one playbook makes of the snapshot.
func (d *diagnosis) judge(p *playbook) {
	m := d.machine
	check := Check{Playbook: p.ID, Area: p.Area, NotHere: true}
	findings, undecided := 0, 0
	spare := maxSteps // for telling what was found
	met := d.mem.begin(p)
	overall, objects, more := p.verdicts(m, func(object string, t truth) {
		if t == no {
			return
		}
		steps, bytes, why := m.steps, m.bytes, m.why
		m.steps, m.bytes = spare, maxBytes
		switch t {
		case yes:
			if !met.add(object) { // a key that occurs twice is one finding
				break
			}
			if findings++; findings <= maxFindings {
				d.found(p, object)
			}
		default:
			met.doubt(object)
			check.NotHere = check.NotHere && t == truth(absent)
			if undecided++; undecided <= maxFindings {
				u := p.unanswered(m, object, t, why)
				d.Unknown = append(d.Unknown, u)
				check.Reason = cmp.Or(check.Reason, u.Reason)
			}
		}
		spare, m.steps, m.bytes, m.why = m.steps, steps, bytes, why
	})
	check.Objects, check.Verdict = objects, overall.verdict()
	check.More = max(0, findings-maxFindings)
	if st := p.listStatus(m, overall, undecided, more); st != known {
		u := p.noList(m, st, more, m.steps < 0)
		check.NotHere = check.NotHere && u.NotHere
		check.Reason = cmp.Or(check.Reason, u.Reason)
		d.Unknown = append(d.Unknown, u)
		met.doubtAll()
	}
	if undecided > maxFindings {
		check.Reason += fmt.Sprintf(" (and %d more like this)", undecided-maxFindings)
	}
	check.NotHere = check.NotHere && check.Verdict == Unknown
	met.end(m.at())
	m.refuel()
	check.Title = entitle(m, p.title, false)
	if check.Verdict == No {
		check.Reading = p.read(m)
	}
	if check.Verdict != Unknown {
		check.Reason = ""
	}
	d.Checks = append(d.Checks, check)
}

// listStatus is known unless the list of for_each could not be read, or not to its end.
func (p *playbook) listStatus(m *machine, overall truth, undecided, more int) status {
	switch {
	case p.each == nil:
		return known
	case more > 0 || m.steps < 0:
		return unreadable
	case undecided == 0 && overall != yes:
		return overall.status()
	}
	return known
}

// say fills a text in, in both languages.
func say(m *machine, t [2]template, element bool) Text {
	return Text{EN: t[0].say(m, english, element), ZH: t[1].say(m, chinese, element)}
}

// entitle fills a title in, and leaves open what is not known: "The clock is … off".
func entitle(m *machine, t [2]template, element bool) Text {
	en, zh := english, chinese
	en.unknown, zh.unknown = "…", "…"
	return Text{EN: t[0].say(m, en, element), ZH: t[1].say(m, zh, element)}
}

// sayConfirm says what would settle a finding; empty where the playbook has nothing to say about this one.
func (p *playbook) sayConfirm(m *machine) Text {
	t := entitle(m, p.confirm, true)
	for _, s := range []*string{&t.EN, &t.ZH} {
		if *s = strings.TrimSpace(*s); *s == "…" { // nothing but an expression that has no answer
			*s = ""
		}
	}
	return t
}

// read is what a report shows for a healthy host.
func (p *playbook) read(m *machine) Text {
	const shown = 3
	if p.hasReading {
		return say(m, p.reading, false)
	}
	if len(p.evidence) == 0 {
		return Text{}
	}
	if p.each == nil {
		return say(m, p.evidence[0], true)
	}
	var en, zh []string
	n := 0
	p.each.each(m, func(truth) bool {
		if n++; n <= shown {
			t := say(m, p.evidence[0], true)
			en, zh = append(en, t.EN), append(zh, t.In("zh"))
		}
		return true
	})
	t := Text{EN: strings.Join(en, "; "), ZH: strings.Join(zh, "；")}
	if n > shown {
		t.EN += fmt.Sprintf("; and %d more", n-shown)
		t.ZH += fmt.Sprintf("；等 %d 个", n)
	}
	if len(p.evidence[0][1].pieces) == 0 {
		t.ZH = ""
	}
	return t
}

// found adds a finding about the element that the machine stands on.
func (d *diagnosis) found(p *playbook, object string) {
	m := d.machine
	f := p.finding(m, object)
	var ripe bool
	f.Since, ripe = d.mem.holds(p, object, m.at())
	if ripe {
		d.Findings = append(d.Findings, f)
		return
	}
	f.For = p.For
	d.Pending = append(d.Pending, f)
}

func (p *playbook) finding(m *machine, object string) Finding {
	f := Finding{
		Playbook: p.ID, Digest: p.Digest, Object: object, Area: p.Area, Means: p.Means, Covers: p.Covers, Risk: p.Risk, See: p.See, Stage: p.Stage,
		Severity: p.fixed,
	}
	f.Title = entitle(m, p.title, true)
	if f.Severity == 0 {
		f.Severity = p.judgeSeverity(m)
	}
	for _, t := range p.evidence {
		f.Evidence = append(f.Evidence, say(m, t, true))
	}
	f.Shows, f.Explains = m.names(p.shows), m.names(p.effects)
	f.Confirm = p.sayConfirm(m)
	f.Clauses = p.trace(m, p.parts)
	f.Steps, f.Withheld = p.choose(m)
	if len(f.Steps) == 0 {
		f.Manual = say(m, p.manual, true)
	}
	return f
}

// names fills in what the host's facts give; a name without its object is left out.
func (m *machine) names(texts []template) (out []string) {
	for _, t := range texts {
		if name, st := t.exact(m); st == known {
			out = append(out, name)
		}
	}
	return out
}

func (p *playbook) judgeSeverity(m *machine) Severity {
	if len(p.severity.pieces) == 0 {
		return p.least
	}
	v, st := p.severity.pieces[0].op.eval(m)
	if s := severityOf(v.Str()); st == known && s != 0 {
		return s
	}
	return p.least
}

// trace evaluates clauses once more, and records what they read.
func (p *playbook) trace(m *machine, parts []clause) []Clause {
	out := make([]Clause, len(parts))
	for i, part := range parts {
		out[i], _ = p.traceOne(m, part)
	}
	return out
}

func (p *playbook) traceOne(m *machine, part clause) (Clause, []sighting) {
	m.why, m.trace = "", &trace{}
	if p.each != nil {
		m.frames[p.each.slot].path = p.Each
	}
	t := part.op.b(m)
	seen := m.trace.seen
	m.trace = nil
	c := Clause{Text: part.text, Verdict: t.verdict()}
	for _, s := range seen {
		if len(c.Facts) < maxSightings {
			c.Facts = append(c.Facts, s.Fact)
			c.Facts[len(c.Facts)-1].Unit = s.unit
		}
	}
	for _, name := range part.params {
		i := slices.IndexFunc(p.Params, func(q Param) bool { return q.Name == name })
		c.Facts = append(c.Facts, Fact{Path: "params." + name, Value: p.Params[i].Value, Type: &probes.Type{Kind: p.Params[i].kind()}, Unit: p.Params[i].Unit})
	}
	if c.Verdict == Unknown {
		missing := missingOf(seen)
		c.Why = m.because(missing)
		return c, missing
	}
	return c, nil
}

// missingOf are the facts that had no value, and that nothing stood in for.
func missingOf(seen []sighting) []sighting {
	return slices.DeleteFunc(slices.Clone(seen), func(s sighting) bool { return s.computed || s.answered || s.Value.Known() })
}

// because says why something is unknown.
func (m *machine) because(missing []sighting) string {
	if len(missing) == 0 {
		return cmp.Or(m.why, "it could not be decided")
	}
	s := missing[0]
	for _, o := range missing {
		if o.Value.Kind() == probes.Unreadable { // weightier than what the host does not have
			s = o
			break
		}
	}
	probe, _ := splitFact(s.Path)
	reason := s.Value.Reason()
	if m.snap != nil {
		if o := m.snap.Get(probe); o != nil && o.Status != probes.OK {
			reason = o.Reason
			if o.Status == probes.Skipped {
				reason = "skipped: " + reason
			}
		}
	}
	text := s.Path + " could not be read"
	if s.Value.Kind() == probes.Absent {
		text = "there is no " + s.Path + " here"
	}
	if reason != "" {
		text += ": " + reason
	}
	return text
}

// unanswered says what kept a playbook from deciding about the element that the machine stands on.
func (p *playbook) unanswered(m *machine, object string, t truth, why string) Unanswered {
	u := Unanswered{Playbook: p.ID, Object: object, Area: p.Area, Title: entitle(m, p.title, object != ""), NotHere: t == truth(absent)}
	var all []sighting
	parts := p.parts
	if p.each != nil && p.each.keep != nil {
		parts = append([]clause{{text: p.eachText, op: operand{b: p.each.keep}}}, parts...)
	}
	for _, part := range parts {
		c, missing := p.traceOne(m, part)
		if c.Verdict != Unknown {
			continue
		}
		u.Clauses = append(u.Clauses, c)
		all = append(all, missing...)
		if len(missing) == 0 {
			why = c.Why
		}
	}
	for _, s := range all {
		if !slices.Contains(u.Missing, s.Path) {
			u.Missing = append(u.Missing, s.Path)
		}
	}
	m.why = why
	u.Reason = m.because(all)
	return u
}

// noList says why the elements of for_each, or some of them, could not be looked at.
func (p *playbook) noList(m *machine, st status, more int, outOfSteps bool) Unanswered {
	u := Unanswered{Playbook: p.ID, Area: p.Area, Title: entitle(m, p.title, false), NotHere: st == absent}
	if more > 0 {
		u.Reason = fmt.Sprintf("%s: %d more were not looked at", whyCut, more)
		if list := m.frames[p.each.slot].list; list != nil && list.Reason() != "" {
			u.Reason = whyCut + ": " + list.Reason()
		}
		return u
	}
	if outOfSteps {
		u.Reason = whySteps
		return u
	}
	m.refuel()
	m.trace = &trace{}
	p.each.each(m, func(truth) bool { return false })
	missing := missingOf(m.trace.seen)
	m.trace = nil
	for _, s := range missing {
		u.Missing = append(u.Missing, s.Path)
	}
	u.Reason = m.because(missing)
	return u
}

// choose lists the steps whose condition holds, and why others that might have helped are left out.
func (p *playbook) choose(m *machine) (steps []Step, withheld []string) {
	for i := range p.steps {
		s := &p.steps[i]
		if s.cond.ok() {
			switch t := s.cond.b(m); t {
			case no:
				continue
			case yes:
			case truth(absent): // the host does not have what the step is for
				continue
			default:
				withheld = append(withheld, fmt.Sprintf("%s: it is not known whether %s", s.action.Name, strings.TrimSpace(s.text)))
				continue
			}
		}
		chosen, why := s.fill(m)
		if why != "" {
			withheld = append(withheld, s.action.Name+": "+why)
			continue
		}
		steps = append(steps, chosen)
	}
	return steps, withheld
}

// fill makes a step of an action and the values of its arguments.
func (s *step) fill(m *machine) (Step, string) {
	out := Step{Action: s.action.Name, Risk: s.action.Risk, Undo: s.action.Undo}
	for i := range s.args {
		a := &s.args[i]
		v, why := a.value(m)
		if why != "" {
			return Step{}, why
		}
		out.Args = append(out.Args, StepArg{Name: a.spec.Name, Value: v, Type: a.typ()})
	}
	for _, w := range s.action.Writes {
		for _, a := range out.Args {
			w = strings.ReplaceAll(w, "{"+a.Name+"}", exact(&a.Value))
		}
		out.Writes = append(out.Writes, w)
	}
	return out, ""
}

func (a *argument) typ() *probes.Type {
	if a.spec.Kind == probes.List {
		return &probes.Type{Kind: probes.List, Elem: stringType}
	}
	return &probes.Type{Kind: a.spec.Kind}
}

// value computes an argument, or says why there is none.
func (a *argument) value(m *machine) (probes.Value, string) {
	var v probes.Value
	switch {
	case a.spec.Kind == probes.List:
		list, why := a.listValue(m)
		return list, why
	case a.op.ok():
		var st status
		if v, st = a.op.eval(m); st != known {
			return v, fmt.Sprintf("its argument %s is not known", a.spec.Name)
		}
		if a.spec.Kind == probes.Float && v.Kind() == probes.Int {
			v = probes.FloatValue(float64(v.Int()))
		}
	default:
		text, st := a.text.exact(m)
		if st != known {
			return v, fmt.Sprintf("its argument %s is not known", a.spec.Name)
		}
		v = probes.StringValue(text)
	}
	return v, a.refuse(v)
}

func (a *argument) listValue(m *machine) (probes.Value, string) {
	var elems []probes.Value
	bad := fmt.Sprintf("its argument %s is not known", a.spec.Name)
	for _, t := range a.list {
		text, st := t.exact(m)
		if st != known {
			return probes.Value{}, bad
		}
		elems = append(elems, probes.StringValue(text))
	}
	if a.op.ok() {
		s := a.op.q
		ok := true
		more, st := s.each(m, func(belongs truth) bool {
			v, st := s.elem.eval(m)
			ok = ok && st == known && belongs == yes
			elems = append(elems, v)
			return ok
		})
		if !ok || rest(more, st) != no {
			return probes.Value{}, bad
		}
	}
	for _, e := range elems {
		if why := a.refuse(e); why != "" {
			return probes.Value{}, why
		}
	}
	return probes.ListValue(elems, 0), ""
}

// exact fills a text in as a program wants it.
func (t template) exact(m *machine) (string, status) {
	var b strings.Builder
	for _, p := range t.pieces {
		if p.words != "" {
			b.WriteString(p.words)
			continue
		}
		v, st := p.op.eval(m)
		if st != known {
			return "", st
		}
		b.WriteString(exact(&v))
	}
	return b.String(), known
}

// explain links causes to what they explain, and puts the most important first: causes before consequences, then the worse. A
// cause is at least as bad as what it leads to, unless an overlay said how bad it is.
func (d *diagnosis) explain() {
	for i := range d.Findings {
		cause := &d.Findings[i]
		said := cause.Explains
		cause.Explains = nil
		for j := range d.Findings {
			effect := &d.Findings[j]
			if i != j && effect.among(said) {
				cause.Explains = append(cause.Explains, effect.Identity())
				effect.ExplainedBy = append(effect.ExplainedBy, cause.Identity())
			}
		}
	}
	place := make(map[string]*Finding, len(d.Findings))
	for i := range d.Findings {
		place[d.Findings[i].Identity()] = &d.Findings[i]
	}
	for range d.Findings { // a chain of causes is no longer than the list
		for i := range d.Findings {
			cause := &d.Findings[i]
			for _, name := range cause.Explains {
				if d.lib.byID[cause.Playbook].Origins["severity"] == "" {
					cause.Severity = max(cause.Severity, place[name].Severity)
				}
			}
		}
	}
	for i := range d.Pending { // what is not a finding yet explains nothing
		d.Pending[i].Explains = nil
	}
	d.arrange(nil)
}

// among reports whether names, of playbooks or of signs and with or without an object, mean this finding.
func (f *Finding) among(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return name == f.Playbook || name == f.Identity() ||
			slices.ContainsFunc(f.Shows, func(sign string) bool { return sign == name || strings.HasPrefix(sign, name+"/") })
	})
}

// depends are the areas in the order in which a host depends on them: without memory or disks no service works, without the network
// no login does. Of troubles that are equally bad, the one below is the likelier cause.
var depends = []string{"storage", "memory", "kernel", "compute", "network", "time", "services", "access"}

// arrange puts the most important first: causes before what they explain, then the worse, then what is no mere symptom, then what explains
// something, what the profile prefers, and what more of the host depends on.
func (d *Diagnosis) arrange(prefer func(a, b *Finding) int) {
	depth := make(map[string]int, len(d.Findings))
	for range d.Findings { // a chain of causes is no longer than the list
		for i := range d.Findings {
			for _, effect := range d.Findings[i].Explains {
				depth[effect] = max(depth[effect], depth[d.Findings[i].Identity()]+1)
			}
		}
	}
	slices.SortStableFunc(d.Findings, func(a, b Finding) int {
		order := cmp.Or(cmp.Compare(depth[a.Identity()], depth[b.Identity()]), cmp.Compare(b.Severity, a.Severity),
			cmp.Compare(min(len(a.Shows), 1), min(len(b.Shows), 1)), cmp.Compare(min(len(b.Explains), 1), min(len(a.Explains), 1)))
		if order == 0 && prefer != nil {
			order = prefer(&a, &b)
		}
		return cmp.Or(order, cmp.Compare(slices.Index(depends, a.Area), slices.Index(depends, b.Area)))
	})
	slices.SortStableFunc(d.Pending, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
}

// Identity names the finding on its host: PLAYBOOK or PLAYBOOK/OBJECT.
func (f *Finding) Identity() string {
	if f.Object == "" {
		return f.Playbook
	}
	return f.Playbook + "/" + f.Object
}

// Verify asks, on fresh facts, whether a finding's trouble is gone: the playbook's verify, or that `when` is no. An element that
// is gone is Unknown.
func (l *Library) Verify(snap *probes.Snapshot, id, object string) (Verdict, []Clause) {
	p := l.byID[id]
	if p == nil {
		return Unknown, nil
	}
	parts := p.verified
	if parts == nil {
		parts = p.parts
	}
	return l.ask(snap, p, object, parts, func(m *machine) truth {
		if p.verify.ok() {
			return p.verify.b(m)
		}
		return not(p.when.b(m))
	})
}

// Until asks, on fresh facts, whether no further step is needed. Without `until` it is No.
func (l *Library) Until(snap *probes.Snapshot, id, object string) Verdict {
	p := l.byID[id]
	switch {
	case p == nil:
		return Unknown
	case !p.until.ok():
		return No
	}
	v, _ := l.ask(snap, p, object, nil, p.until.b)
	return v
}

// ask evaluates a condition about one element.
func (l *Library) ask(snap *probes.Snapshot, p *playbook, object string, parts []clause, b func(*machine) truth) (v Verdict, clauses []Clause) {
	m := l.machine(snap)
	m.refuel()
	if p.each == nil {
		v = b(m).verdict()
		m.refuel()
		return v, p.trace(m, parts)
	}
	f := &m.frames[p.each.slot]
	p.each.each(m, func(belongs truth) bool {
		if key, ok := p.each.key(f); !ok || key != object {
			return true
		}
		m.refuel()
		if belongs == yes {
			v = b(m).verdict()
		}
		m.refuel()
		clauses = p.trace(m, parts)
		return false
	})
	return v, clauses
}

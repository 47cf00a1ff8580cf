package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Areas in the order in which a health report lists them.
var areas = []string{"compute", "memory", "storage", "network", "access", "time", "services", "kernel"}

// writeText writes the report for a person at a terminal.
func writeText(w io.Writer, r *Report, to Page) error {
	p := newPage(w, to)
	t := p.words()
	p.headline(r, t)
	for _, f := range r.roots() {
		p.line("")
		p.finding(r, f, t)
	}
	if len(r.Pending) > 0 {
		p.section(t.pending)
		for _, f := range r.Pending {
			p.block("  "+p.mark("·", "-")+" ", "", f.text(p.Lang).Title+" ("+f.name()+", "+f.mustHold(t)+")", "")
			p.summary(f, 4)
		}
	}
	p.unchecked(r, t)
	if len(r.Findings) == 0 {
		p.health(r, t)
	} else {
		p.passed(r, t)
	}
	return p.err
}

// headline says the most important thing first: how many troubles, how bad.
func (p *page) headline(r *Report, t *vocabulary) {
	host := r.Host
	if host == "" {
		host = t.thisHost
	}
	verdict, style := r.verdict(t)
	p.block(host+": ", bold, verdict, style)
	p.block("", "", r.looked(t), dim)
	if r.Profile != nil {
		sentence, _ := r.Profile.words(t)
		p.block("", "", sentence, dim)
	}
}

// looked says when the host was looked at, and how closely.
func (r *Report) looked(t *vocabulary) string {
	return fmt.Sprintf(t.looked, r.At.Format("2006-01-02 15:04:05 MST"), float64(r.TookMS)/1000, counted(len(r.Probes), t.probe), counted(len(r.Checks), t.playbooks))
}

// verdict is the report in one sentence, and its colour.
func (r *Report) verdict(t *vocabulary) (sentence, style string) {
	if r.Profile != nil && r.Profile.Note != "" {
		_, note := r.Profile.words(t)
		return note, yellow
	}
	if len(r.Findings) > 0 {
		var parts []string
		worst := ""
		for _, s := range slices.Backward(severities) {
			if n := r.count(s); n > 0 {
				parts = append(parts, counted(n, t.ofSeverity[s]))
				if worst == "" {
					worst = s
				}
			}
		}
		return fmt.Sprintf(t.found, len(r.Findings)) + strings.Join(parts, t.comma), severityStyle[worst]
	}
	if n := len(r.Unchecked()); n > 0 {
		return fmt.Sprintf(t.notAll, n, len(r.Checks)), yellow
	}
	if r.Judged == 0 {
		return fmt.Sprintf(t.noneApply, len(r.Checks)), yellow
	}
	return t.healthy, green
}

func (r *Report) count(severity string) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

var severityStyle = map[string]string{"critical": red, "warning": yellow, "info": blue}

// finding prints a root cause, with what follows from it folded below.
func (p *page) finding(r *Report, f Finding, t *vocabulary) {
	label := pad(t.badge[f.Severity], columns(t.badge["critical"])) + "  "
	p.block(label, severityStyle[f.Severity], f.text(p.Lang).Title, bold)
	indent := columns(label)
	p.block(strings.Repeat(" ", indent), "", f.name(), dim)
	if means := f.text(p.Lang).Means; means != "" {
		p.block(strings.Repeat(" ", indent), "", means, "")
	}
	p.summary(f, indent)
	for _, c := range f.Evidence {
		if c.Verdict == "yes" && len(c.Facts) > 0 {
			p.block(strings.Repeat(" ", indent), "", c.Clause+" ("+c.Facts.words()+")", dim)
		}
	}
	if confirm := f.text(p.Lang).Confirm; confirm != "" {
		p.block(strings.Repeat(" ", indent)+t.confirm+" ", bold, confirm, "")
	}
	p.remedy(f, indent, t)
	if earlier := r.asWith(f); earlier != "" && len(f.Changes) > 0 {
		p.block(strings.Repeat(" ", indent)+t.changes+": ", bold, fmt.Sprintf(t.asWith, earlier), dim)
	} else if len(f.Changes) > 0 {
		p.block(strings.Repeat(" ", indent)+t.changes, bold, "", "")
		for _, c := range f.Changes {
			p.block(strings.Repeat(" ", indent)+p.mark("· ", "- "), "", c.words(t, r.At), map[bool]string{true: "", false: dim}[c.Related])
		}
	}
	if below := r.consequences(f); len(below) > 0 {
		p.block(strings.Repeat(" ", indent)+t.explains, bold, "", "")
		for _, g := range below {
			p.block(strings.Repeat(" ", indent+2)+p.mark("└ ", "` "), "", t.badge[g.Severity]+" "+g.text(p.Lang).Title+" ("+g.name()+")", "")
			p.summary(g, indent+6)
		}
	}
}

// summary prints the evidence in the playbook's words.
func (p *page) summary(f Finding, indent int) {
	for _, s := range f.text(p.Lang).Summary {
		p.block(strings.Repeat(" ", indent)+p.mark("· ", "- "), "", s, "")
	}
}

// remedy prints the steps that would mend the trouble, or what a person has to do.
func (p *page) remedy(f Finding, indent int, t *vocabulary) {
	margin := strings.Repeat(" ", indent)
	if f.Fix != nil {
		p.block(margin+t.fix+" ", bold, "("+t.risk[f.Fix.Risk]+")", "")
		for i, s := range f.Fix.Steps {
			p.block(fmt.Sprintf("%s%d. ", margin, i+1), "", s.words(t), "")
		}
	}
	for _, w := range f.Withheld {
		p.block(margin+p.mark("· ", "- "), "", t.withheld+w, dim)
	}
	manual := f.text(p.Lang).Manual
	if f.Fix != nil || manual == "" {
		return
	}
	p.block(margin+t.byHand, bold, "", "")
	for line := range strings.SplitSeq(manual, "\n") {
		lead := line[:len(line)-len(strings.TrimLeft(line, " "))]
		p.block(margin+lead, "", strings.TrimSpace(line), "")
	}
}

// mustHold says how long a pending finding must hold.
func (f *Finding) mustHold(t *vocabulary) string {
	if w := f.text(t.lang).Waits; w != "" {
		return w
	}
	hold := f.For
	if d, err := time.ParseDuration(f.For); err == nil {
		hold = duration(d)
	}
	return fmt.Sprintf(t.mustHold, hold)
}

// words is the step as a sentence.
func (s Step) words(t *vocabulary) string {
	title := s.Title
	if title == "" {
		title = s.Do
	}
	if len(s.With) > 0 {
		title += ": " + s.With.words()
	}
	if !s.Undo {
		title += " (" + t.noUndo + ")"
	}
	return title
}

func (f Facts) words() string {
	parts := make([]string, len(f))
	for i, fact := range f {
		parts[i] = fact.Path + " = " + fact.Words
	}
	return strings.Join(parts, ", ")
}

// text is the finding's words in a language, English where there are none.
func (f *Finding) text(lang string) Texts {
	t := Texts{Title: f.Title, Means: f.Means, Summary: f.Summary, Manual: f.Manual, Confirm: f.Confirm, Waits: f.Waits}
	other, ok := f.Texts[lang]
	if !ok {
		return t
	}
	if other.Title != "" {
		t.Title = other.Title
	}
	if len(other.Summary) > 0 {
		t.Summary = other.Summary
	}
	if other.Manual != "" {
		t.Manual = other.Manual
	}
	if other.Means != "" {
		t.Means = other.Means
	}
	if other.Confirm != "" {
		t.Confirm = other.Confirm
	}
	if other.Waits != "" {
		t.Waits = other.Waits
	}
	return t
}

func (c *Check) text(lang string) Texts {
	t := Texts{Title: c.Title, Reading: c.Reading}
	if other, ok := c.Texts[lang]; ok {
		if other.Title != "" {
			t.Title = other.Title
		}
		if other.Reading != "" {
			t.Reading = other.Reading
		}
	}
	return t
}

func (p *page) section(title string) {
	p.line("")
	p.line(p.style(bold, title))
}

// unchecked prints what could not be checked, by reason.
func (p *page) unchecked(r *Report, t *vocabulary) {
	groups := r.reasons(t)
	if len(groups) == 0 {
		return
	}
	p.section(fmt.Sprintf(t.unchecked, len(r.Unchecked())))
	for _, g := range groups {
		p.block("  "+p.mark("? ", "? "), yellow, g.Why+": "+strings.Join(g.What, ", "), "")
	}
}

// health prints every check by area: what was checked, the value that was seen, and whether it passed.
func (p *page) health(r *Report, t *vocabulary) {
	widest := 0
	for _, c := range r.Checks {
		widest = max(widest, columns(c.Playbook))
	}
	widest = min(widest, p.Width/2)
	for _, area := range r.areas() {
		p.section(t.area(area))
		var absent []string
		for _, c := range r.in(area) {
			switch {
			case c.NotHere:
				absent = append(absent, c.Playbook)
			case c.Verdict == "unknown":
				p.block("  "+p.mark("? ", "? ")+pad(c.Playbook, widest)+"  ", yellow, t.notChecked, "")
			default:
				reading := c.text(p.Lang).Reading
				if c.Objects > 0 && reading == "" {
					reading = fmt.Sprintf(t.objects, c.Objects)
				}
				p.block("  "+p.mark("✓ ", "+ ")+pad(c.Playbook, widest)+"  ", "", reading, dim)
			}
		}
		if len(absent) > 0 {
			p.block("  "+p.mark("– ", "- "), dim, t.notHere+strings.Join(absent, ", "), dim)
		}
	}
}

// passed prints in one line an area what was found to be in order beside the findings.
func (p *page) passed(r *Report, t *vocabulary) {
	var counts []string
	all := 0
	for _, area := range r.areas() {
		n := 0
		for _, c := range r.in(area) {
			if c.Verdict == "no" {
				n++
			}
		}
		if n > 0 {
			counts = append(counts, fmt.Sprintf("%s %d", t.area(area), n))
		}
		all += n
	}
	if all > 0 {
		p.line("")
		p.block(fmt.Sprintf(t.passed, all), "", strings.Join(counts, t.comma), dim)
	}
}

// areas are the areas of the checks, the usual ones in their order and then others.
func (r *Report) areas() []string {
	var out []string
	for _, a := range areas {
		if len(r.in(a)) > 0 {
			out = append(out, a)
		}
	}
	for _, c := range r.Checks {
		if !slices.Contains(out, c.Area) {
			out = append(out, c.Area)
		}
	}
	return out
}

func (r *Report) in(area string) []Check {
	var out []Check
	for _, c := range r.Checks {
		if c.Area == area {
			out = append(out, c)
		}
	}
	return out
}

// mark is a sign, or what stands for it on a terminal that cannot show it.
func (p *page) mark(sign, ascii string) string {
	if p.ASCII {
		return ascii
	}
	return sign
}

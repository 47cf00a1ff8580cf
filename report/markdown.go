package report

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

// writeMarkdown writes the report for a ticket or a chat.
func writeMarkdown(w io.Writer, r *Report, to Page) error {
	m := &markdown{lang: to.Lang, t: vocabularyOf(to.Lang)}
	host := r.Host
	if host == "" {
		host = m.t.thisHost
	}
	verdict, _ := r.verdict(m.t)
	fmt.Fprintf(m, "# %s: %s\n\n", escape(host), escape(verdict))
	fmt.Fprintln(m, escape(r.looked(m.t)))
	if r.Profile != nil {
		sentence, _ := r.Profile.words(m.t)
		fmt.Fprintf(m, "\n%s\n", escape(sentence))
	}
	for _, f := range r.roots() {
		m.finding(r, f)
	}
	if len(r.Pending) > 0 {
		fmt.Fprintf(m, "\n## %s\n\n", m.t.pending)
		for _, f := range r.Pending {
			fmt.Fprintf(m, "- %s (%s, %s)\n", escape(f.text(m.lang).Title), code(f.name()), f.mustHold(m.t))
		}
	}
	if groups := r.reasons(m.t); len(groups) > 0 {
		fmt.Fprintf(m, "\n## %s\n\n", fmt.Sprintf(m.t.unchecked, len(r.Unchecked())))
		for _, g := range groups {
			fmt.Fprintf(m, "- %s: %s\n", escape(g.Why), codes(g.What))
		}
	}
	m.checks(r)
	_, err := io.WriteString(w, m.String())
	return err
}

type markdown struct {
	strings.Builder
	lang string
	t    *vocabulary
}

func (m *markdown) finding(r *Report, f Finding) {
	t := f.text(m.lang)
	fmt.Fprintf(m, "\n## %s: %s\n\n%s\n\n", m.t.severity[f.Severity], escape(t.Title), code(f.name()))
	if t.Means != "" {
		fmt.Fprintf(m, "%s\n\n", prose(t.Means))
	}
	for _, s := range t.Summary {
		fmt.Fprintf(m, "- %s\n", escape(s))
	}
	if len(f.Evidence) > 0 {
		fmt.Fprintf(m, "\n| %s | %s | %s |\n|---|---|---|\n", m.t.clause, m.t.verdict, m.t.facts)
		for _, c := range f.Evidence {
			facts := make([]string, len(c.Facts))
			for i, fact := range c.Facts {
				facts[i] = code(fact.Path) + " = " + escape(fact.Words)
			}
			if c.Why != "" {
				facts = append(facts, escape(c.Why))
			}
			fmt.Fprintf(m, "| %s | %s | %s |\n", tableCode(c.Clause), c.Verdict, strings.Join(facts, ", "))
		}
	}
	if t.Confirm != "" {
		fmt.Fprintf(m, "\n**%s** %s\n", m.t.confirm, prose(t.Confirm))
	}
	m.remedy(f, t.Manual)
	if earlier := r.asWith(f); earlier != "" && len(f.Changes) > 0 {
		fmt.Fprintf(m, "\n**%s**: "+m.t.asWith+"\n", m.t.changes, code(earlier))
	} else if len(f.Changes) > 0 {
		fmt.Fprintf(m, "\n**%s**\n\n", m.t.changes)
		for _, c := range f.Changes {
			fmt.Fprintf(m, "- %s\n", escape(c.words(m.t, r.At)))
		}
	}
	if below := r.consequences(f); len(below) > 0 {
		fmt.Fprintf(m, "\n**%s**\n\n", m.t.explains)
		for _, g := range below {
			fmt.Fprintf(m, "- %s: %s (%s)\n", m.t.severity[g.Severity], escape(g.text(m.lang).Title), code(g.name()))
		}
	}
	for i, s := range f.See {
		fmt.Fprintf(m, "%s%s", map[bool]string{true: "\n" + m.t.see + " ", false: ", "}[i == 0], link(s))
	}
	if len(f.See) > 0 {
		m.WriteByte('\n')
	}
}

func (m *markdown) remedy(f Finding, manual string) {
	switch {
	case f.Fix != nil:
		fmt.Fprintf(m, "\n**%s** (%s)\n\n", m.t.fix, m.t.risk[f.Fix.Risk])
		for i, s := range f.Fix.Steps {
			fmt.Fprintf(m, "%d. %s\n", i+1, escape(s.words(m.t)))
		}
	case manual != "":
		fmt.Fprintf(m, "\n**%s**\n\n", m.t.byHand)
		writeManual(&m.Builder, manual, prose)
	}
}

// writeManual writes what a person does, line by line.
func writeManual(b *strings.Builder, manual string, words func(string) string) {
	lines := strings.Split(strings.TrimSpace(manual), "\n")
	for i, line := range lines {
		text := words(strings.TrimSpace(line))
		if strings.HasPrefix(line, "  ") { // an indented line is a command
			text = code(strings.TrimSpace(line))
		}
		if text != "" && i < len(lines)-1 && lines[i+1] != "" {
			text += "\\"
		}
		fmt.Fprintln(b, text)
	}
}

// checks writes the table of all that was checked.
func (m *markdown) checks(r *Report) {
	if len(r.Checks) == 0 {
		return
	}
	fmt.Fprintf(m, "\n## %s\n\n| %s | %s | %s | %s |\n|---|---|---|---|\n", m.t.checks, m.t.areaName, m.t.playbook, m.t.verdict, m.t.reading)
	for _, area := range r.areas() {
		for _, c := range r.in(area) {
			reading := c.text(m.lang).Reading
			if c.Verdict == "unknown" {
				reading = m.t.reason(c.Reason)
			}
			fmt.Fprintf(m, "| %s | %s | %s | %s |\n", m.t.area(area), code(c.Playbook), m.t.verdicts[c.outcome()], escape(reading))
		}
	}
}

// outcome is the verdict, or "n/a" where the host does not have what the check is about.
func (c *Check) outcome() string {
	if c.NotHere {
		return "n/a"
	}
	return c.Verdict
}

// prose is a playbook's text, which sets commands in backticks.
func prose(s string) string {
	var b strings.Builder
	for _, p := range spans(s) {
		if p.Code {
			b.WriteString(code(p.Text))
		} else {
			b.WriteString(escape(p.Text))
		}
	}
	return b.String()
}

// escape makes a text that Markdown, and HTML in it, shows as it is: no markup, and no link that comes about by itself.
func escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		number := i > 0 && strings.Trim(s[:i], "0123456789") == ""
		switch {
		case strings.ContainsRune("\\`*_{}[]<>#|~&!", r),
			i == 0 && strings.ContainsRune("-+=", r), number && (r == '.' || r == ')'), // a list or a heading
			r == ':' && strings.HasPrefix(s[i:], "://"), r == '@', r == '.' && strings.HasSuffix(strings.ToLower(s[:i]), "www"):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// webAddress is an address that cannot end the <…> around it.
var webAddress = regexp.MustCompile(`^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/?#=&%+,;:@!$'()*-]*)?$`)

func link(s string) string {
	if webAddress.MatchString(s) {
		return "<" + s + ">"
	}
	return escape(s)
}

// code sets a text as code; its fence is longer than any run of backticks in it.
func code(s string) string {
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		s = " " + s + " "
	}
	return fence + s + fence
}

// tableCode is code in a table, whose cells a bar would end even there.
func tableCode(s string) string { return strings.ReplaceAll(code(s), "|", `\|`) }

func codes(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = tableCode(s)
	}
	return strings.Join(out, ", ")
}

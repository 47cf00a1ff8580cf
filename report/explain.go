package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// WriteExplanation tells a person how a playbook judges a host: its parameters, each clause with what it saw, and what would be done.
func WriteExplanation(w io.Writer, to Page, e *playbooks.Explanation) error {
	p := newPage(w, to)
	b := &e.Playbook
	p.block(b.ID+"  ", bold, clean(b.Title.In(p.Lang)), "")
	p.block("  verdict   ", "", e.Verdict.String(), verdictStyle[e.Verdict])
	p.optional("  why       ", e.Reason)
	p.block("  severity  ", "", clean(b.Severity)+origin(b.Origins["severity"]), "")
	p.optional("  covers    ", strings.Join(b.Covers, ", "))
	p.optional("  shows     ", strings.Join(b.Shows, ", "))
	p.optional("  explains  ", strings.Join(b.Explains, ", "))
	if b.For > 0 {
		p.block("  for       ", "", duration(b.For), "")
	}
	for _, v := range b.Params {
		p.block("  param     ", "", fmt.Sprintf("%s = %s (%s to %s)%s", v.Name, scalar(v.Value), scalar(v.Min), scalar(v.Max), origin(v.Origin)), "")
		p.block("              ", "", clean(v.Why), dim)
	}
	for _, o := range e.Objects {
		p.object(o)
	}
	return p.err
}

func (p *page) object(o playbooks.ExplainedObject) {
	p.line("")
	name := clean(o.Object)
	if name == "" {
		name = p.words().thisHost
	}
	p.block(name+": ", bold, o.Verdict.String(), verdictStyle[o.Verdict])
	for _, f := range o.Let {
		p.block("  let       ", "", clean(f.Path+" = "+Words(&f.Value, f.Type, f.Unit)), "")
	}
	p.clauses("  when      ", o.Clauses)
	for _, t := range o.Evidence {
		p.block("  evidence  ", "", clean(t.In(p.Lang)), "")
	}
	for _, s := range o.Steps {
		p.block("  step      ", "", clean(s.String())+" ("+s.Risk.String()+")", "")
	}
	for _, s := range o.Withheld {
		p.block("  left out  ", "", clean(s), "")
	}
	p.clauses("  verify    ", o.Verify)
}

func (p *page) clauses(label string, list []playbooks.Clause) {
	for _, c := range list {
		p.block(label, "", clean(c.Text)+": "+c.Verdict.String(), verdictStyle[c.Verdict])
		if facts := clauseFacts(c.Facts); len(facts) > 0 {
			p.block(strings.Repeat(" ", columns(label)+2), "", clean(facts.words()), dim)
		}
		if c.Why != "" {
			p.block(strings.Repeat(" ", columns(label)+2), "", clean(c.Why), dim)
		}
	}
}

// optional prints a line unless there is nothing to say.
func (p *page) optional(label, text string) {
	if text != "" {
		p.block(label, "", clean(text), "")
	}
}

var verdictStyle = map[playbooks.Verdict]string{playbooks.Yes: red, playbooks.No: green, playbooks.Unknown: yellow}

// origin says which overlay set a value, if one did.
func origin(name string) string {
	if name == "" || name == "default" {
		return ""
	}
	return ", set by " + clean(name)
}

func scalar(v probes.Value) string { return playbooks.Human(&v, "") }

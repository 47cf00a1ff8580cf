package report

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// ListProbes prints one line a probe.
func ListProbes(w io.Writer, to Page, infos []probes.Info) error {
	p := newPage(w, to)
	widest := 0
	for _, i := range infos {
		widest = max(widest, columns(i.Name))
	}
	for _, i := range infos {
		title := i.Title()
		if i.Needs != 0 {
			title += " (needs " + i.Needs.String() + ")"
		}
		p.block(pad(i.Name, widest)+"  ", bold, title, "")
	}
	return p.err
}

// ProbeReference writes the reference of probes and their facts in Markdown.
func ProbeReference(w io.Writer, infos []probes.Info) error {
	var b strings.Builder
	b.WriteString("# Probes and facts\n\nWritten by `hostmend probe docs` from the probes themselves.\n\n")
	for _, i := range infos {
		fmt.Fprintf(&b, "- [`%s`](#%s) %s\n", i.Name, i.Name, i.Title())
	}
	for _, i := range infos {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s\n\n", i.Name, i.Title(), strings.TrimSpace(docText(&i)))
		fmt.Fprintf(&b, "Asked every %s by a watching agent; given up after %s%s%s.\n\n", duration(i.Every), duration(i.Timeout), sampled(i), needed(i))
		b.WriteString("| Fact | Type | Unit | Meaning |\n|---|---|---|---|\n")
		factRows(&b, i.Name, i.Facts, probes.Field{})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sampled(i probes.Info) string {
	if i.Sampled {
		return "; its rates take two samples"
	}
	return ""
}

func needed(i probes.Info) string {
	if i.Needs == 0 {
		return ""
	}
	return "; needs " + i.Needs.String()
}

// factRows writes the facts below a path. Elements of lists are written [], values of maps ["…"].
func factRows(b *strings.Builder, path string, t *probes.Type, f probes.Field) {
	doc := f.Doc
	if f.Key {
		doc = "**Key.** " + doc
	}
	if f.Doc != "" || t.Kind == probes.Map {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", path, t, cell(f.Unit), cell(doc))
	}
	switch t.Kind {
	case probes.Struct:
		for _, field := range t.Fields {
			factRows(b, path+"."+field.Name, field.Type, field)
		}
	case probes.List:
		if t.Elem.Kind == probes.Struct {
			factRows(b, path+"[]", t.Elem, probes.Field{})
		}
	case probes.Map:
		if t.Elem.Kind == probes.Struct {
			factRows(b, path+`["…"]`, t.Elem, probes.Field{})
		}
	default:
	}
}

// cell makes a text fit into a cell of a Markdown table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// PlaybookReference writes the reference of playbooks in Markdown: of every trouble what it means, how it is recognised and what to do.
func PlaybookReference(w io.Writer, list []playbooks.Playbook) error {
	r := reference{list: list, shown: map[string][]string{}, causes: map[string][]string{}}
	for _, p := range list {
		for _, s := range p.Shows {
			sign, _, _ := strings.Cut(s, "/")
			r.shown[sign] = append(r.shown[sign], p.ID)
		}
	}
	for _, p := range list {
		for _, id := range r.effects(&p) {
			r.causes[id] = append(r.causes[id], p.ID)
		}
	}
	fmt.Fprintf(&r, "# Playbooks\n\nThe %d troubles that these playbooks know: what each means, how it is recognised, what to do, what causes it and what follows from it. "+
		"Written by `hostmend playbook docs` from the playbooks themselves. What the expressions mean is in [the language](language.md), the facts in "+
		"[probes](probes.md), the steps of a fix in [actions](actions.md); `hostmend playbook explain ID` shows how a playbook judges the host at hand.\n", len(list))
	for _, area := range areas {
		if len(r.in(area)) > 0 {
			fmt.Fprintf(&r, "\n**[%s](#%s)**\n\n", english.area(area), strings.ToLower(english.area(area)))
		}
		for _, p := range r.in(area) {
			fmt.Fprintf(&r, "- [%s](#%[1]s): %s\n", p.ID, prose(open(p.Title.EN)))
		}
	}
	for _, area := range areas {
		if len(r.in(area)) > 0 {
			fmt.Fprintf(&r, "\n## %s\n", english.area(area))
		}
		for _, p := range r.in(area) {
			r.entry(&p)
		}
	}
	r.signs()
	_, err := io.WriteString(w, r.String())
	return err
}

// reference is the page of playbooks in the making.
type reference struct {
	strings.Builder
	list   []playbooks.Playbook
	shown  map[string][]string // of each sign the playbooks that show it
	causes map[string][]string // of each playbook those that explain it
}

// effects are the other playbooks that p explains, by their ids or by their signs.
func (r *reference) effects(p *playbooks.Playbook) (ids []string) {
	for _, e := range p.Explains {
		name, _, _ := strings.Cut(e, "/")
		if _, sign := r.shown[name]; !sign {
			ids = append(ids, name)
		}
		ids = append(ids, r.shown[name]...)
	}
	return slices.DeleteFunc(ids, func(id string) bool { return id == p.ID })
}

// signs lists the signs of symptoms, for who writes a playbook.
func (r *reference) signs() {
	if len(r.shown) == 0 {
		return
	}
	r.WriteString("\n## Signs\n\nWhat does not work. A cause names the sign in `explains`, and so all playbooks that show it.\n\n")
	for _, sign := range slices.Sorted(maps.Keys(r.shown)) {
		fmt.Fprintf(r, "- `%s`: %s\n", sign, strings.Join(slices.Compact(slices.Sorted(slices.Values(r.shown[sign]))), ", "))
	}
}

func (r *reference) in(area string) []playbooks.Playbook {
	return slices.DeleteFunc(slices.Clone(r.list), func(p playbooks.Playbook) bool { return p.Area != area })
}

// open leaves a title's expressions open, as where nothing is known of a host.
func open(title string) string { return expression.ReplaceAllString(title, "…") }

var expression = regexp.MustCompile(`\{[^{}]*\}`)

var (
	commands = regexp.MustCompile(`(?m)^  .*$`) // of a manual: the indented lines
	brackets = strings.NewReplacer("{{", "{", "}}", "}")
)

// written is a text of a playbook as it is written, its expressions set as code.
func written(s string) string {
	const left, right = "\x00", "\x01" // for the brackets themselves, {{ and }}
	s = strings.NewReplacer("{{", left, "}}", right).Replace(s)
	back := strings.NewReplacer(left, "{", right, "}")
	var b strings.Builder
	for _, part := range spans(s) {
		if part.Code {
			b.WriteString(code(back.Replace(part.Text)))
			continue
		}
		at := 0
		for _, m := range expression.FindAllStringIndex(part.Text, -1) {
			b.WriteString(escape(back.Replace(part.Text[at:m[0]])) + code(part.Text[m[0]:m[1]]))
			at = m[1]
		}
		b.WriteString(escape(back.Replace(part.Text[at:])))
	}
	return b.String()
}

func (r *reference) entry(p *playbooks.Playbook) {
	fmt.Fprintf(r, "\n### %s\n\n**%s**", p.ID, prose(open(p.Title.EN)))
	if p.Title.ZH != "" {
		fmt.Fprintf(r, " · %s", prose(open(p.Title.ZH)))
	}
	for _, means := range []string{p.Means.EN, p.Means.ZH} {
		if means != "" {
			fmt.Fprintf(r, "\n\n%s", prose(means))
		}
	}
	r.recognised(p)
	r.remedy(p)
	r.around(p)
}

// recognised says how a trouble is told from what looks like it.
func (r *reference) recognised(p *playbooks.Playbook) {
	fmt.Fprintf(r, "\n\n*How it is recognised.* Severity %s.", inline(p.Severity))
	if p.For > 0 {
		fmt.Fprintf(r, " It must hold for %s.", duration(p.For))
	}
	if p.Each != "" {
		fmt.Fprintf(r, " There is one finding for each `%s`.", p.Each)
	}
	if len(p.Evidence) > 0 {
		r.WriteString(" The report shows:\n\n")
		for _, e := range p.Evidence {
			fmt.Fprintf(r, "- %s\n", written(e.EN))
		}
	} else {
		r.WriteString("\n")
	}
	r.WriteString("\n```\n")
	if p.Each != "" {
		fmt.Fprintf(r, "for each %s in %s\n", p.Each, p.EachOf)
	}
	for _, n := range p.Let {
		fmt.Fprintf(r, "let %s = %s\n", n.Name, n.Expression)
	}
	fmt.Fprintf(r, "when %s\n```\n", p.When)
	if len(p.Params) > 0 {
		r.WriteString("\n| Parameter | Default | From | To | Why |\n|---|---|---|---|---|\n")
	}
	for _, v := range p.Params {
		fmt.Fprintf(r, "| `%s` | %s | %s | %s | %s |\n", v.Name, scalar(v.Default), scalar(v.Min), scalar(v.Max), cell(v.Why))
	}
	if p.Confirm.EN != "" {
		fmt.Fprintf(r, "\n*To make sure.* %s\n", written(strings.TrimSpace(p.Confirm.EN)))
	}
}

// remedy says what mends a trouble: the steps, and what a person does.
func (r *reference) remedy(p *playbooks.Playbook) {
	if len(p.Fix) > 0 {
		fmt.Fprintf(r, "\n*What mends it* (%s).\n\n", english.risk[p.Risk.String()])
		for i, f := range p.Fix {
			fmt.Fprintf(r, "%d. %s: [`%s`](actions.md#%s)", i+1, f.Title, f.Action, strings.ReplaceAll(f.Action, ".", ""))
			if f.If != "" {
				fmt.Fprintf(r, ", if %s", code(strings.Join(strings.Fields(f.If), " ")))
			}
			r.WriteByte('\n')
		}
	}
	if p.Manual.EN != "" {
		r.WriteString("\n*By hand.*\n\n")
		writeManual(&r.Builder, commands.ReplaceAllStringFunc(p.Manual.EN, brackets.Replace), written)
	}
}

// around says what a trouble has to do with others, and where to read more.
func (r *reference) around(p *playbooks.Playbook) {
	links := func(label string, ids []string) {
		if len(ids) == 0 {
			return
		}
		ids = slices.Clone(ids)
		slices.Sort(ids)
		ids = slices.Compact(ids)
		for i, id := range ids {
			ids[i] = fmt.Sprintf("[%s](#%[1]s)", id)
		}
		fmt.Fprintf(r, "\n*%s* %s.\n", label, strings.Join(ids, ", "))
	}
	links("May come from", r.causes[p.ID])
	links("Explains", r.effects(p))
	if len(p.Covers) > 0 {
		fmt.Fprintf(r, "\n*Called elsewhere* `%s` ([coverage](coverage.md)).\n", strings.Join(p.Covers, "`, `"))
	}
	for i, s := range p.See {
		fmt.Fprintf(r, "%s%s", map[bool]string{true: "\n*See* ", false: ", "}[i == 0], link(s))
	}
	if len(p.See) > 0 {
		r.WriteByte('\n')
	}
}

// inline sets an expression as code; a plain word needs no such thing.
func inline(s string) string {
	if strings.ContainsAny(s, "{}`") {
		return "`" + s + "`"
	}
	return s
}

// ActionReference writes the reference of what playbooks may name under `fix:` in Markdown.
func ActionReference(w io.Writer, list []playbooks.Action) error {
	var b strings.Builder
	b.WriteString("# Actions\n\nWritten by `make docs` from the actions themselves. A playbook names them under `fix:`; lint holds its steps to these tables.\n\n")
	list = slices.SortedFunc(slices.Values(list), func(a, b playbooks.Action) int { return strings.Compare(a.Name, b.Name) })
	for _, a := range list {
		title, _, _ := strings.Cut(a.Doc, "\n")
		fmt.Fprintf(&b, "- [`%s`](#%s) %s\n", a.Name, strings.ReplaceAll(a.Name, ".", ""), title)
	}
	for _, a := range list {
		title, text, _ := strings.Cut(a.Doc, "\n")
		fmt.Fprintf(&b, "\n## %s\n\n%s.", a.Name, title)
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(&b, " %s", text)
		}
		undo := "cannot be undone"
		if a.Undo {
			undo = "can be undone"
		}
		fmt.Fprintf(&b, "\n\nRisk: %s; %s. Writes `%s`.\n", a.Risk, undo, strings.Join(a.Writes, "`, `"))
		if len(a.Args) > 0 {
			b.WriteString("\n| Argument | Kind | | Allowed | Meaning |\n|---|---|---|---|---|\n")
		}
		for _, arg := range a.Args {
			required := ""
			if arg.Required {
				required = "required"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", arg.Name, arg.Kind, required, cell(allowed(arg)), cell(arg.Doc))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// allowed says what values an argument takes, beside its kind.
func allowed(a playbooks.Arg) string {
	switch {
	case len(a.Enum) > 0:
		return "`" + strings.Join(a.Enum, "`, `") + "`"
	case a.Pattern != "":
		return "`" + a.Pattern + "`"
	case a.Min < a.Max:
		return fmt.Sprintf("%.f to %.f", a.Min, a.Max)
	}
	return ""
}

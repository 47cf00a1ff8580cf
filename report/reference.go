package report

import (
	"fmt"
	"io"
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

// PlaybookReference writes the reference of playbooks in Markdown, by area.
func PlaybookReference(w io.Writer, list []playbooks.Playbook) error {
	var b strings.Builder
	b.WriteString("# Playbooks\n\nWritten by `hostmend playbook docs` from the playbooks themselves.\n")
	byArea := map[string][]playbooks.Playbook{}
	for _, p := range list {
		byArea[p.Area] = append(byArea[p.Area], p)
	}
	for _, area := range areas {
		if len(byArea[area]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", english.area(area))
		for _, p := range byArea[area] {
			playbookEntry(&b, &p)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func playbookEntry(b *strings.Builder, p *playbooks.Playbook) {
	fmt.Fprintf(b, "\n### %s\n\n%s", p.ID, p.Title.EN)
	if p.Title.ZH != "" {
		fmt.Fprintf(b, " · %s", p.Title.ZH)
	}
	if p.Means.EN != "" {
		fmt.Fprintf(b, "\n\n%s", p.Means.EN)
	}
	fmt.Fprintf(b, "\n\nSeverity: %s.", inline(p.Severity))
	if p.For > 0 {
		fmt.Fprintf(b, " Must hold for %s.", duration(p.For))
	}
	if p.Each != "" {
		fmt.Fprintf(b, " One finding for each `%s`.", p.Each)
	}
	b.WriteString("\n\n```\n")
	if p.Each != "" {
		fmt.Fprintf(b, "for each %s in %s\n", p.Each, p.EachOf)
	}
	for _, n := range p.Let {
		fmt.Fprintf(b, "let %s = %s\n", n.Name, n.Expression)
	}
	fmt.Fprintf(b, "when %s\n```\n", p.When)
	if len(p.Params) > 0 {
		b.WriteString("\n| Parameter | Default | From | To | Why |\n|---|---|---|---|---|\n")
	}
	for _, v := range p.Params {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", v.Name, scalar(v.Default), scalar(v.Min), scalar(v.Max), cell(v.Why))
	}
	if len(p.Actions) > 0 {
		fmt.Fprintf(b, "\nFix (%s): `%s`.\n", p.Risk, strings.Join(p.Actions, "`, `"))
	}
	if p.Manual.EN != "" {
		fmt.Fprintf(b, "\nBy hand: %s\n", strings.TrimSpace(p.Manual.EN))
	}
	if p.Confirm.EN != "" {
		fmt.Fprintf(b, "\nTo make sure: %s\n", strings.TrimSpace(p.Confirm.EN))
	}
	if len(p.Explains) > 0 {
		fmt.Fprintf(b, "\nExplains %s.\n", strings.Join(p.Explains, ", "))
	}
	for _, s := range p.See {
		fmt.Fprintf(b, "\n- <%s>", s)
	}
	if len(p.See) > 0 {
		b.WriteByte('\n')
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

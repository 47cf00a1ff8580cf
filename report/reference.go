package report

import (
	"fmt"
	"io"
	"strings"

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

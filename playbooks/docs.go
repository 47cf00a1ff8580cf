package playbooks

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The pieces of the JSON Schema that the table of keys refers to.

type object = map[string]any

func schemaString() any { return object{"type": "string"} }
func schemaObject() any {
	return object{"type": "object", "additionalProperties": object{"type": []string{"string", "number", "boolean"}}}
}
func schemaRef(name string) any     { return object{"$ref": "#/$defs/" + name} }
func schemaEnum(names []string) any { return object{"type": "string", "enum": names} }
func schemaPattern(p string) any    { return object{"type": "string", "pattern": p} }

func schemaStrings() any {
	return object{"type": "array", "items": schemaString(), "minItems": 1, "uniqueItems": true}
}

// Schema is the JSON Schema of a playbook's file, for editors.
func Schema() []byte {
	properties, required := object{}, []string{}
	for _, k := range keys() {
		p := object{"description": k.doc}
		for name, v := range k.schema.(object) {
			p[name] = v
		}
		properties[k.name] = p
		if k.required {
			required = append(required, k.name)
		}
	}
	text := object{"anyOf": []any{
		schemaString(),
		object{"type": "object", "properties": object{"en": schemaString(), "zh": schemaString()}, "required": []string{"en"}, "additionalProperties": false},
	}}
	number := object{"type": []string{"number", "string"}}
	scalar := object{"type": []string{"string", "number", "boolean"}}
	b, err := json.MarshalIndent(object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Hostmend playbook",
		"type":                 "object",
		"properties":           properties,
		"required":             required,
		"anyOf":                []any{object{"required": []string{"fix", "risk"}}, object{"required": []string{"manual"}}},
		"additionalProperties": false,
		"$defs": object{
			"text":  text,
			"texts": object{"type": "array", "items": schemaRef("text"), "minItems": 1},
			"params": object{"type": "object", "additionalProperties": object{
				"type":       "object",
				"properties": object{"default": number, "min": number, "max": number, "why": schemaString()},
				"required":   []string{"default", "min", "max", "why"}, "additionalProperties": false,
			}},
			"fix": object{"type": "array", "minItems": 1, "items": object{
				"type": "object",
				"properties": object{
					"do": schemaString(), "if": schemaString(),
					"with": object{"type": "object", "additionalProperties": object{"anyOf": []any{scalar, object{"type": "array", "items": scalar}}}},
				},
				"required": []string{"do"}, "additionalProperties": false,
			}},
		},
	}, "", "  ")
	if err != nil {
		panic(err) // maps of strings do marshal
	}
	return append(b, '\n')
}

// Skeleton is a playbook to begin with, and its story. They load once what stands in capital letters is filled in.
func Skeleton(id string) (playbook, story []byte) {
	title := strings.ReplaceAll(id, "-", " ")
	if title != "" {
		title = strings.ToUpper(title[:1]) + title[1:]
	}
	playbook = fmt.Appendf(nil, `# What goes wrong, and how we know: one or two sentences for whoever reads this file.
id: %s
title: {en: %s, zh: TITLE}
area: AREA        # %s
severity: warning # info, warning, critical, or '{condition ? "critical" : "warning"}'
covers: [doc/%s]  # names in other systems: ecs/…, domain/…, doc/…
params:
  limit: {default: 90, min: 50, max: 99, why: "REASON, with its source"}
when: PROBE.FACT >= params.limit
evidence: ["{PROBE.FACT} is more than {params.limit}"]
manual: # or fix: with risk:, and steps {do: ACTION, with: {ARGUMENT: "{expression}"}}
  en: STEPS
  zh: STEPS
see: [https://SOURCE]
`, id, title, strings.Join(Areas, ", "), id)
	story = []byte(`WHAT HAPPENED on which kind of host, and where these values come from.
-- facts --
PROBE.FACT: 95
-- yes: it is above the limit --
find: {severity: warning, evidence: 95 is more than 90}
-- no: it is just below --
PROBE.FACT: 89
-- unknown: it cannot be read --
PROBE: failed, permission denied
`)
	return playbook, story
}

// Reference is the language's reference page, in Markdown.
func Reference() []byte {
	var b strings.Builder
	b.WriteString("# The playbook language\n\nGenerated from the tables that the compiler itself uses; do not edit.\n\n## Keys of a playbook\n\n| key | | what it says |\n|---|---|---|\n")
	for _, k := range keys() {
		must := ""
		if k.required {
			must = "required"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, must, cell(k.doc))
	}
	b.WriteString("\n## Operators, the tightest first\n\n| operators | what they do |\n|---|---|\n")
	for _, o := range operators {
		fmt.Fprintf(&b, "| `%s` | %s |\n", cell(strings.Join(o.names, "` `")), cell(o.doc))
	}
	b.WriteString("\n## Functions\n\n| function | what it answers |\n|---|---|\n")
	for _, f := range functions() {
		fmt.Fprintf(&b, "| `%s(%s)` | %s |\n", f.name, cell(f.args), cell(f.doc))
	}
	b.WriteString(`
## Yes, no, unknown

A condition is yes, no or unknown, and unknown is not no. Only what nothing decides is unknown: ` + "`a and b`" + ` with a no is no, ` + "`any`" + ` with an
element for which the condition holds is yes, whatever else could not be read. There are two reasons for an unknown:

- *absent*: the host does not have it. An optional fact that is not there, a key that a map does not hold, ` + "`find`, `first`, `min`" + ` over nothing, and all
  facts of a probe that answered "no data". ` + "`??` and `has`" + ` answer it. A playbook that lacks only absent facts does not apply to the host.
- *unreadable*: nobody could find out. The probe failed or was skipped, a division by zero, a result that is too large, a list that was cut short where its
  rest matters. Nothing stands in for it.

## Limits

`)
	fmt.Fprintf(&b, "| what | limit |\n|---|---|\n| a file | %d KiB, nested %d deep |\n| an expression | %d bytes, brackets nested %d deep |\n| a regular expression | %d parts, its repetitions written out |\n"+
		"| judging one playbook | %d steps, %d KiB of new text; beyond that it is unknown |\n| findings of one playbook on one host | %d are listed |\n",
		maxFile>>10, maxDepth, maxExpression, maxBrackets, maxPattern, maxSteps, maxBytes>>10, maxFindings)
	return []byte(b.String())
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// Markdown is the reference page of a playbook.
func (l *Library) Markdown(id string) ([]byte, error) {
	p := l.byID[id]
	if p == nil {
		return nil, fmt.Errorf("there is no playbook %q%s", id, nearest(id, keysOf(l.byID)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s", p.ID, p.Title.EN)
	if p.Title.ZH != "" {
		fmt.Fprintf(&b, " (%s)", p.Title.ZH)
	}
	fmt.Fprintf(&b, "\n\n| | |\n|---|---|\n| area | %s |\n| severity | %s |\n", p.Area, cell(code(p.Severity)))
	if p.Risk > 0 {
		fmt.Fprintf(&b, "| risk of the fix | %s |\n", p.Risk)
	}
	if p.For > 0 {
		fmt.Fprintf(&b, "| must hold for | %s |\n", durationText(p.For))
	}
	fmt.Fprintf(&b, "| covers | %s |\n", cell(strings.Join(p.Covers, ", ")))
	if len(p.Explains) > 0 {
		fmt.Fprintf(&b, "| explains | %s |\n", strings.Join(p.Explains, ", "))
	}
	fmt.Fprintf(&b, "| reads | %s |\n", cell("`"+strings.Join(p.reads, "`, `")+"`"))
	b.WriteString("\n## Condition\n\n```\n")
	if p.Each != "" {
		fmt.Fprintf(&b, "for each %s in %s\n", p.Each, strings.TrimSpace(p.list.text))
	}
	for _, d := range p.form.let {
		fmt.Fprintf(&b, "let %s = %s\n", d.name, strings.TrimSpace(d.expr.text))
	}
	fmt.Fprintf(&b, "when %s\n```\n", strings.Join(strings.Fields(p.When), " "))
	if len(p.Params) > 0 {
		b.WriteString("\n## Parameters\n\n| name | default | from | to | why |\n|---|---|---|---|---|\n")
		for i := range p.Params {
			q := &p.Params[i]
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", q.Name, exact(&q.Default), exact(&q.Min), exact(&q.Max), cell(q.Why))
		}
	}
	b.WriteString("\n## Evidence\n\n")
	for _, t := range p.form.evidence {
		fmt.Fprintf(&b, "- %s\n", t.text().EN)
	}
	p.markdownFix(&b)
	if len(p.See) > 0 {
		b.WriteString("\n## See\n\n")
		for _, s := range p.See {
			fmt.Fprintf(&b, "- <%s>\n", s)
		}
	}
	return []byte(b.String()), nil
}

func (p *playbook) markdownFix(b *strings.Builder) {
	if len(p.form.fix) > 0 {
		b.WriteString("\n## Fix\n\n")
	}
	for i, s := range p.form.fix {
		fmt.Fprintf(b, "%d. `%s`", i+1, s.action.Name)
		for _, a := range s.args {
			fmt.Fprintf(b, " %s=`%s`", a.spec.Name, strings.TrimSpace(a.at.text))
		}
		if s.cond != nil {
			fmt.Fprintf(b, ", if `%s`", strings.TrimSpace(s.cond.text))
		}
		fmt.Fprintf(b, " — %s, %s\n", s.action.Risk, map[bool]string{true: "can be undone", false: "cannot be undone"}[s.action.Undo])
	}
	for _, c := range []struct {
		name string
		e    *expression
	}{{"Until", p.form.until}, {"Verified by", p.form.verify}} {
		if c.e != nil {
			fmt.Fprintf(b, "\n%s: `%s`\n", c.name, strings.TrimSpace(c.e.text))
		}
	}
	if p.Settle > 0 {
		fmt.Fprintf(b, "\nBefore that it waits %s.\n", durationText(p.Settle))
	}
	if p.Manual.EN != "" {
		fmt.Fprintf(b, "\n## By hand\n\n%s\n", strings.TrimSpace(p.Manual.EN))
	}
}

// code marks a text as code if it is an expression.
func code(s string) string {
	if strings.HasPrefix(s, "{") {
		return "`" + strings.Trim(s, "{}") + "`"
	}
	return s
}

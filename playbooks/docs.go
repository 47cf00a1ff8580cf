package playbooks

import (
	"encoding/json"
	"fmt"
	"maps"
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
		maps.Copy(p, k.schema.(object))
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
title: {en: %s, zh: "{TITLE}"}
means: # what it is, and what the host's users feel of it: the same for every host
  en: "{MEANING}"
  zh: "{MEANING}"
area: AREA        # %s
severity: warning # info, warning, critical, or '{condition ? "critical" : "warning"}'
covers: [site/%s] # names in other systems: ecs/…, domain/…, doc/…; site/… is your own
params:
  limit: {default: 90, min: 50, max: 99, why: ""}
when: PROBE.FACT >= params.limit
evidence:
  - {en: "{PROBE.FACT} is more than {params.limit}", zh: "{PROBE.FACT}，高于 {params.limit}"}
manual: # or fix: with risk:, and steps {do: ACTION, with: {ARGUMENT: "{expression}"}}
  en: "{STEPS}"
  zh: "{STEPS}"
confirm: # what would settle it, where these facts cannot be sure; or leave it out
  en: "{CONFIRM}"
  zh: "{CONFIRM}"
see: [] # where the reason is from: https://…
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

## Texts

` + "`title`, `means`, `evidence`, `reading`, `manual` and `confirm`" + ` are a text, or one in each language: ` + "`{en: …, zh: …}`" + `. ` + "`{expression}`" + ` in them is filled in for
people: bytes as 1.2 GiB, a percentage with one decimal at most, a duration as 3h2m, a list as its first five elements and how many more there are, and
"unknown" for what is (in a title, …). ` + "`{{` and `}}`" + ` stand for the brackets themselves. In ` + "`with`" + ` values are written exactly, and a lone ` + "`{expression}`" + ` keeps its type.

YAML has traps of its own: an expression with a colon and a space, or a space and #, or one that begins with ! " [ { & or *, stands in quotes or on lines of
its own after ` + "`|`" + `; within {…} and […] so does one with a comma.

## Stories

Beside NAME.yaml lies NAME.txtar: what the playbook makes of captured facts. It begins with a sentence in plain words. The section ` + "`facts`" + ` is the base; every
other section is a case and holds only its difference from the base. A case is named by its verdict (yes, no, unknown, or "not here" if only absent facts are
missing) and by what is special about it. At least one matches, and at least one is a near miss.

` + "```" + `
A shop on sale: the connection-tracking table fills up.
-- facts --
conntrack: {count: 65000, max: 65536, drops_per_s: 12.5}
sysctl[net.core.somaxconn]: 128
-- yes: it drops packets --
find:
  severity: critical
  evidence: 65000 of 65536 entries used
  steps: [conntrack.limit max=131072]
-- no: just below --
conntrack.count: 62000
-- unknown: the counter cannot be read --
conntrack: failed, permission denied
-- not here: no module --
conntrack: no data, the conntrack module is not loaded
` + "```" + `

A fact is given by its probe or by its path: an element of a list by its key, ` + "`filesystems.mounts[/data].used_pct`" + `, a map's value by its own. null is
absent, ` + "`{unreadable: why}`" + ` could not be read, and ` + "`{items: […], more: 3}`" + ` is a list that was cut short. What is not given is absent if it is optional, and
unreadable otherwise. ` + "`find`" + ` is what is expected of the finding: severity, title, evidence (each text is a part of the English evidence), confirm (a part of it; "" for none), steps (all of
them, in order; [] if manual applies), manual. With for_each it is a mapping of objects, and nothing else must be found. ` + "`params`" + ` sets parameters within
their bounds, and ` + "`missing`" + ` names facts that an unknown lacks.

What happened on a real host lies in life/NAME.txtar, in the same form; it needs no near misses. ` + "`hostmend playbook story NAME CAPTURE.txtar`" + `
makes one of a capture: the facts that the playbook reads, and what it makes of them.

## Limits

`)
	fmt.Fprintf(&b, "| what | limit |\n|---|---|\n| a file | %d KiB, nested %d deep |\n| an expression | %d bytes, brackets nested %d deep |\n| a regular expression | %d parts, its repetitions written out |\n"+
		"| judging one playbook | %d steps, %d KiB of new text; beyond that it is unknown |\n| findings of one playbook on one host | %d are listed |\n",
		maxFile>>10, maxDepth, maxExpression, maxBrackets, maxPattern, maxSteps, maxBytes>>10, maxFindings)
	return []byte(b.String())
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

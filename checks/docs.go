package checks

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

type object = map[string]any

func schemaText() any { return object{"type": []string{"string", "number"}} }
func schemaBool() any { return object{"type": "boolean"} }
func schemaInteger(least, most int) any {
	return object{"type": "integer", "minimum": least, "maximum": most}
}
func schemaEnum(values ...string) any { return object{"enum": values} }

// mappingOf is the schema of a mapping with these keys and no others.
func mappingOf(keys []key) object {
	properties, required := object{}, []string{}
	for _, k := range keys {
		p := object{"description": k.doc}
		if s, ok := k.schema.(object); ok {
			maps.Copy(p, s)
		}
		properties[k.name] = p
		if k.required {
			required = append(required, k.name)
		}
	}
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// Schema is the JSON Schema of a file of checks, for editors.
func Schema() []byte {
	check := mappingOf(commonKeys())
	var kindOf []any
	for _, k := range kinds() {
		s := mappingOf(k.keys)
		s["description"] = k.doc
		check["properties"].(object)[k.name] = s
		kindOf = append(kindOf, object{"required": []string{k.name}})
	}
	check["oneOf"] = kindOf
	types := schemaEnum(typeNames()...)
	keys := append([]key{}, valueKeys...)
	keys[0].schema = types
	b, err := json.MarshalIndent(object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Hostmend site checks", "type": "object",
		"propertyNames": object{"pattern": nameFor.String()}, "additionalProperties": object{"$ref": "#/$defs/check"},
		"$defs": object{
			"check":   check,
			"headers": object{"type": "object", "additionalProperties": object{"anyOf": []any{schemaText(), mappingOf(headerKeys)}}},
			"values": object{
				"type": "object", "propertyNames": object{"pattern": nameFor.String()},
				"additionalProperties": object{"anyOf": []any{types, mappingOf(keys)}},
			},
		},
	}, "", "  ")
	if err != nil {
		panic(err) // maps of strings do marshal
	}
	return append(b, '\n')
}

// Reference is the page of the format, in Markdown.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(`# Site checks

Written by ` + "`hostmend check docs`" + ` from the tables that the loader itself uses; do not edit.

A site check is a read-only question that you declare for your own hosts, in a file, without recompiling. Its answers are facts:
the check ` + "`shop`" + ` gives ` + "`site.shop.status`" + ` and the like, to be used in playbooks as any others. Files lie in /etc/hostmend/checks.d, or
where ` + "`--checks`" + ` says; each ends in .yaml and is a mapping of names to checks:

` + "```yaml\n" + string(Skeleton("shop", "http")) + "```" + `

` + "`hostmend check lint`" + ` says all that is wrong with them, ` + "`hostmend check run FILE shop`" + ` asks now, and
` + "`hostmend playbook lint --checks DIR`" + ` and ` + "`test`" + ` know their facts. A playbook that names a check which there is not does not load.

That nobody answers is a fact where that is the question: ` + "`ok`" + ` is false, and ` + "`error`" + ` says why. What only an answer could tell is
unknown then, so ask for both: ` + "`not site.shop.ok or site.shop.status != 200`" + `. What this host could not even ask (no
permission, ` + "`--no-network`" + `, a missing secret) is unknown, as everywhere. Each check is a probe of its own, with its own failure.

A capture holds the answers, reduced to what the check declares: of a page, a file or an output only what the named groups of ` + "`match`" + `
hold. To replay it, the same check files are needed; a check that is not the same as when it was recorded has no answer there.

## Keys of every check

`)
	writeKeys(&b, commonKeys())
	for _, k := range kinds() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", k.name, k.doc)
		writeKeys(&b, k.keys)
		info := k.probe(&check{name: "name", doc: "doc", kind: k, ask: host.Check{Certificate: &host.CertificateCheck{}}}).Info()
		b.WriteString("\n| fact | type | unit | meaning |\n|---|---|---|---|\n")
		writeFacts(&b, "", info.Facts)
	}
	b.WriteString("\n## Values\n\n`match` is applied once, to the text without anything that looks like a secret. A group that takes no part in the match is absent;\n" +
		"one that cannot be read as its type is unreadable, and never zero.\n\n| type | what is read |\n|---|---|\n")
	for _, t := range valueTypes {
		fmt.Fprintf(&b, "| `%s` | %s |\n", t.name, cell(t.doc))
	}
	b.WriteString(`
## Secrets

` + "`{secret: NAME}`" + ` in a header stands for the content of /etc/hostmend/secrets/NAME on the host that asks: one line of at least 8
characters, in a file of root's that nobody else may read (mode 0600), in a directory that nobody else may write to. It is read when the
question is asked, and is in no fact, capture, log or report; nothing in a playbook can name it. Should a server send it back, it is replaced
there, plain, in base64 or percent-encoded. A redirect to another server does not get it.

## Commands

A command runs only if the host's own list allows its words. The list, /etc/hostmend/commands.yaml, belongs to root, and nobody else may write
to it, to its directory, to the program, or to the program's directory; otherwise nothing runs.

` + "```yaml" + `
commands:
  - argv: [/usr/bin/redis-cli, -p, {match: "[0-9]{2,5}"}, ping]
    why: our Redis instances, each on its port
` + "```" + `

` + "`{match: REGEX}`" + ` stands for one word, which the expression must match as a whole.
`)
	return []byte(b.String())
}

func writeKeys(b *strings.Builder, keys []key) {
	b.WriteString("| key | | what it says |\n|---|---|---|\n")
	for _, k := range keys {
		must := ""
		if k.required {
			must = "required"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", k.name, must, cell(k.doc))
	}
}

func writeFacts(b *strings.Builder, path string, t *probes.Type) {
	for _, f := range t.Fields {
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", path, f.Name, f.Type, cell(f.Unit), cell(f.Doc))
		if f.Type.Kind == probes.List && f.Type.Elem.Kind == probes.Struct {
			writeFacts(b, path+f.Name+"[].", f.Type.Elem)
		}
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// skeletons are checks to begin with, by kind.
var skeletons = map[string]string{
	"http": `  http:
    url: https://shop.example.com/health
    headers: {Authorization: {text: "Bearer ", secret: shop-token}}
    match: '"version": *"(?P<version>[^"]+)".*"queue": *(?P<queued>[0-9]+)'
    values: {version: text, queued: {type: number, unit: count, doc: Orders that wait}}
`,
	"tcp": `  tcp:
    address: mail.example.com:25
    match: '^220 (?P<greeting>.*)'
    values: {greeting: text}
`,
	"dns":  "  dns: {name: shop.example.com, type: A, server: 192.0.2.53}\n",
	"file": "  file:\n    path: /etc/shop/shop.conf\n    match: '(?m)^workers *= *(?P<workers>[0-9]+)$'\n    values: {workers: {type: number, unit: count}}\n",
	"unit": "  unit: {name: shop.service}\n", "certificate": "  certificate: {address: shop.example.com:443}\n",
	"command":    "  command: # which /etc/hostmend/commands.yaml must allow\n    argv: [/usr/bin/redis-cli, -p, \"6379\", ping]\n    match: '^(?P<says>PONG)'\n    values: {says: text}\n",
	"prometheus": "  prometheus: {url: http://localhost:9090, query: 'sum(rate(http_requests_total{code=~\"5..\"}[5m]))'}\n",
}

// Skeleton is a check to begin with; nil if there is no such kind.
func Skeleton(name, kind string) []byte {
	body, ok := skeletons[kind]
	if !ok {
		return nil
	}
	return fmt.Appendf(nil, "%s: # site.%[1]s in playbooks\n  doc: What %[1]s says of itself\n  timeout: 3s\n%s", name, body)
}

// Kinds names the kinds of checks.
func Kinds() []string { return kindNames() }

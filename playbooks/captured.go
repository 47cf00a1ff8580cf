package playbooks

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/probes"
)

// CaptureStory writes the story of one host: the facts that the playbook reads, as the snapshot has them, and what the playbook makes
// of them now. The words say where they come from.
func CaptureStory(l *Library, id, words string, snap *probes.Snapshot) ([]byte, error) {
	lib, err := l.Only(id)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n-- facts --\n", strings.TrimSpace(words))
	for _, fact := range lib.byID[id].reads {
		l.captureFact(&b, snap, fact, lib.byID[id].reads)
	}
	d := lib.Match(snap, nil)
	verdict := d.Checks[0].Verdict.String()
	if d.Checks[0].NotHere {
		verdict = "not here"
	}
	fmt.Fprintf(&b, "-- %s: as it was --\n", verdict)
	if found := append(slices.Clone(d.Findings), d.Pending...); len(found) > 0 {
		captureFindings(&b, found, lib.byID[id].Each != "")
	}
	file := File{Name: id + ".txtar", Data: []byte(b.String())}
	if err := RunLife(l, file); err != nil {
		return nil, fmt.Errorf("the story does not come out as the capture did: %w", err)
	}
	return file.Data, nil
}

// captureFact writes the facts that a path of reads names. The status of a probe that told nothing is written once, at its first path.
func (l *Library) captureFact(b *strings.Builder, snap *probes.Snapshot, fact string, reads []string) {
	name, key := splitFact(fact)
	t := l.schema.probes[l.schema.index[name]].Facts
	o := snap.Get(name)
	if o == nil || o.Status != probes.OK {
		first := slices.IndexFunc(reads, func(r string) bool { n, _ := splitFact(r); return n == name })
		if reads[first] == fact {
			captureStatus(b, name, o)
		}
		return
	}
	switch {
	case key != "":
		if v := lookup(&o.Facts, key); v.Kind() != probes.Absent {
			fmt.Fprintf(b, "%s[%s]: %s\n", name, key, t.Elem.AppendJSON(nil, v))
		}
	case t.Kind == probes.Struct && strings.HasPrefix(fact, name+"."):
		k := t.Field(strings.TrimPrefix(fact, name+"."))
		captureValue(b, fact, field(&o.Facts, k), t.Fields[k].Type)
	default:
		captureValue(b, name, &o.Facts, t)
	}
}

func captureStatus(b *strings.Builder, name string, o *probes.Observation) {
	said := map[probes.Status]string{probes.Nothing: "no data", probes.Skipped: "skipped"}
	status, reason := "failed", "it was not asked"
	if o != nil {
		reason = o.Reason
		if s := said[o.Status]; s != "" {
			status = s
		}
	}
	reason, _, _ = strings.Cut(reason, "\n")
	fmt.Fprintf(b, "%s: %s\n", name, quoteJSON(status+", "+reason))
}

// captureValue writes a value; a list of elements has one on each line, for people.
func captureValue(b *strings.Builder, path string, v *probes.Value, t *probes.Type) {
	if v.Kind() != probes.List || v.Len() == 0 || v.More() > 0 {
		fmt.Fprintf(b, "%s: %s\n", path, t.AppendJSON(nil, v))
		return
	}
	fmt.Fprintf(b, "%s:\n", path)
	for i := range v.Len() {
		fmt.Fprintf(b, "  - %s\n", t.Elem.AppendJSON(nil, v.At(i)))
	}
}

func captureFindings(b *strings.Builder, found []Finding, each bool) {
	b.WriteString("find:\n")
	for _, f := range found {
		indent := "  "
		if each {
			fmt.Fprintf(b, "  %s:\n", quoteJSON(f.Object))
			indent = "    "
		}
		fmt.Fprintf(b, "%[1]sseverity: %[2]s\n%[1]stitle: %[3]s\n%[1]sevidence:\n", indent, f.Severity, quoteJSON(f.Title.EN))
		for _, e := range f.Evidence {
			fmt.Fprintf(b, "%s  - %s\n", indent, quoteJSON(e.EN))
		}
		if len(f.Steps) > 0 {
			fmt.Fprintf(b, "%ssteps:\n", indent)
			for _, s := range f.Steps {
				fmt.Fprintf(b, "%s  - %s\n", indent, quoteJSON(s.String()))
			}
		}
	}
}

// quoteJSON writes a text as JSON does, which YAML reads too.
func quoteJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a text does marshal
	}
	return string(b)
}

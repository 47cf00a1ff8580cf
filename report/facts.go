package report

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// FactsSchema names the form of the JSON that tells the facts.
const FactsSchema = "hostmend.facts/v1"

// Observed is what probes saw, with the descriptions of the probes.
type Observed struct {
	Snapshot *probes.Snapshot
	Probes   []probes.Info
}

// info describes the probe called name.
func (o *Observed) info(name string) *probes.Info {
	for i := range o.Probes {
		if o.Probes[i].Name == name {
			return &o.Probes[i]
		}
	}
	return &probes.Info{Name: name, Facts: &probes.Type{}}
}

// MarshalJSON writes the facts by probe, and how each probe ended.
func (o *Observed) MarshalJSON() ([]byte, error) {
	facts := map[string]json.RawMessage{}
	ended := []Probe{}
	for _, obs := range o.Snapshot.Observations {
		if obs.Status == probes.OK {
			facts[obs.Probe] = o.info(obs.Probe).Facts.AppendJSON(nil, &obs.Facts)
		}
		ended = append(ended, Probe{Name: obs.Probe, TookMS: milliseconds(obs.Took), Status: obs.Status.String(), Reason: firstLine(obs.Reason)})
	}
	return json.Marshal(struct {
		Schema string                     `json:"schema"`
		Host   string                     `json:"host"`
		At     time.Time                  `json:"at"`
		Facts  map[string]json.RawMessage `json:"facts"`
		Probes []Probe                    `json:"probes"`
	}{FactsSchema, o.Snapshot.Host, o.Snapshot.At.UTC(), facts, ended})
}

// row is a line of the facts' list.
type row struct {
	Path, Words, Doc string
	Depth            int
	Known            bool
}

// rows lists the facts of a value, elements of lists under their key.
func rows(path string, depth int, v *probes.Value, t *probes.Type, f probes.Field) []row {
	this := row{Path: path, Doc: f.Doc, Depth: depth, Known: v.Known()}
	if !v.Known() || t.Kind != probes.Struct && t.Kind != probes.Map && !(t.Kind == probes.List && t.Elem.Kind == probes.Struct) {
		this.Words = Words(v, t, f.Unit)
		return []row{this}
	}
	var out []row
	switch t.Kind {
	case probes.Struct:
		for i, field := range t.Fields {
			if !field.Key {
				out = append(out, rows(path+"."+field.Name, depth, v.At(i), field.Type, field)...)
			}
		}
		if len(out) == 0 { // nothing but its key
			out = append(out, this)
		}
		return out
	case probes.Map:
		for i, key := range v.Keys() {
			out = append(out, rows(path+"["+strconv.Quote(key)+"]", depth, v.At(i), t.Elem, probes.Field{Doc: f.Doc, Unit: f.Unit})...)
		}
		return out
	default:
		this.Words = Words(v, t, f.Unit)
		out = append(out, this)
		for i := range v.Len() {
			out = append(out, rows(path+"["+elementName(v.At(i), t.Elem, i)+"]", depth+1, v.At(i), t.Elem, probes.Field{})...)
		}
		return out
	}
}

// elementName is the key of an element, or its place.
func elementName(v *probes.Value, t *probes.Type, i int) string {
	if k := t.KeyField(); k >= 0 && v.Known() && v.At(k).Known() {
		return Words(v.At(k), t.Fields[k].Type, "")
	}
	return strconv.Itoa(i)
}

// WriteText prints the facts for a person: with docs, also what the probe does and what each fact means.
func (o *Observed) WriteText(w io.Writer, to Page, docs bool) error {
	p := newPage(w, to)
	for i, obs := range o.Snapshot.Observations {
		if i > 0 {
			p.line("")
		}
		info := o.info(obs.Probe)
		p.block(info.Name+"  ", bold, clean(info.Title()), "")
		if docs {
			p.text(2, clean(strings.Join(strings.Fields(docText(info)), " ")))
		}
		if obs.Status != probes.OK {
			p.text(2, obs.Status.String()+": "+clean(firstLine(obs.Reason)))
			continue
		}
		p.rows(info.Name, rows(info.Name, 0, &obs.Facts, info.Facts, probes.Field{}), docs)
	}
	return p.err
}

// rows prints facts, their values below each other.
func (p *page) rows(probe string, list []row, docs bool) {
	widest := 0
	for _, r := range list {
		if n := columns(clean(r.name(probe))); n <= p.Width/2 {
			widest = max(widest, n)
		}
	}
	explained := map[string]bool{} // of a list's elements, only the first one's facts are
	for _, r := range list {
		style := ""
		if !r.Known {
			style = dim
		}
		p.block("  "+pad(clean(r.name(probe)), widest)+"  ", "", clean(r.Words), style)
		if docs && r.Doc != "" && !explained[r.Doc] {
			explained[r.Doc] = true
			p.block("      ", "", clean(r.Doc), dim)
		}
	}
}

// name is the path without the probe's own name.
func (r row) name(probe string) string {
	rest := strings.TrimPrefix(r.Path, probe)
	return strings.Repeat("  ", r.Depth) + strings.TrimPrefix(rest, ".")
}

// docText is a probe's doc without its title.
func docText(i *probes.Info) string {
	_, text, _ := strings.Cut(i.Doc, "\n\n")
	return text
}

package playbooks

import (
	"time"

	"github.com/hostmend/hostmend/probes"
)

// Change is something that was changed on the host, as the probe `changes` saw it.
type Change struct {
	What, Kind, Name, Action, Detail string
	Age                              time.Duration // at the time of the snapshot
}

// changesProbe is where changes come from. A program without it, or a host of which it could not be read, has none to show.
const changesProbe = "changes"

// NeedsChanges adds to want what Changes reads.
func (l *Library) NeedsChanges(want probes.Want) {
	if _, ok := l.schema.index[changesProbe]; ok {
		want[changesProbe] = nil
	}
}

// Changes are the changes that a snapshot tells of, the newest first.
func (l *Library) Changes(snap *probes.Snapshot) []Change {
	i, ok := l.schema.index[changesProbe]
	o := snap.Get(changesProbe)
	if !ok || o == nil || o.Status != probes.OK {
		return nil
	}
	t := l.schema.probes[i].Facts
	k := t.Field("recent")
	if k < 0 || t.Fields[k].Type.Kind != probes.List {
		return nil
	}
	list, elem := field(&o.Facts, k), t.Fields[k].Type.Elem
	if !list.Known() {
		return nil
	}
	var out []Change
	for j := range list.Len() {
		row := list.At(j)
		text := func(name string) string {
			if k := elem.Field(name); k >= 0 {
				if v := field(row, k); v.Kind() == probes.String {
					return v.Str()
				}
			}
			return ""
		}
		c := Change{What: text("what"), Kind: text("kind"), Name: text("name"), Action: text("action"), Detail: text("detail")}
		k := elem.Field("age")
		if k < 0 {
			continue
		}
		age := field(row, k)
		if age.Kind() != probes.Duration {
			continue // when it was is all that it is good for
		}
		c.Age = age.Duration()
		out = append(out, c)
	}
	return out
}

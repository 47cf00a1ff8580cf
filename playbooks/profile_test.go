package playbooks_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

const someProfiles = `profiles:
  loaded:
    title: {en: The table is loaded, zh: 已加载}
    when: conntrack.loaded
    why: {en: "{conntrack.count} entries", zh: "{conntrack.count} 条"}
    first: [ecs/B*]
    waits: [three]
    because: {en: it comes by itself, zh: 会自行恢复}
  default:
    title: {en: Everything, zh: 全部}
    why: {en: nothing special, zh: 正常}
  some:
    title: {en: Some, zh: 部分}
    covers: [ecs/B*, three]
  none:
    title: {en: None, zh: 无}
    covers: [ecs/Elsewhere]
`

func profiles(t *testing.T) playbooks.Profiles {
	t.Helper()
	p, err := playbooks.LoadProfiles([]playbooks.File{{Name: "profiles.yaml", Data: []byte(someProfiles)}}, schema(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// library has four playbooks that all match a table with entries; one and three are explained by nothing, four by three.
func ofProfiles(t *testing.T) *playbooks.Library {
	t.Helper()
	var files []playbooks.File
	for id, extra := range map[string]string{"one": "covers: [ecs/A]", "two": "covers: [ecs/B1]", "three": "covers: [ecs/C]\nexplains: [four]", "four": "covers: [ecs/D]"} {
		text := strings.Replace(simple(id, "conntrack.max > 0", "severity: warning"), "covers: [doc/x]", extra, 1)
		files = append(files, playbooks.File{Name: id + ".yaml", Data: []byte(text)})
	}
	l, err := playbooks.Load(files, schema(t), actions)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func names(list []playbooks.Finding) string {
	var out []string
	for _, f := range list {
		out = append(out, f.Identity())
	}
	return strings.Join(out, " ")
}

// The state puts some first and others off, and takes nothing away.
func TestProfileByState(t *testing.T) {
	l, ps := ofProfiles(t), profiles(t)
	for facts, want := range map[string]struct{ profile, why, first, pending string }{
		"conntrack: {max: 10, count: 5, loaded: true}":                 {"loaded", "5 entries", "two", "three"},
		"conntrack: {max: 10, count: 5, loaded: false}":                {"default", "nothing special", "three", ""},
		"conntrack: {max: 10, count: 5, loaded: {unreadable: denied}}": {"default", "nothing special", "three", ""},
	} {
		snap, err := playbooks.Facts(schema(t), playbooks.File{Name: "facts", Data: []byte(facts)})
		if err != nil {
			t.Fatal(err)
		}
		c, d := ps.Choose(snap), l.Match(snap, nil)
		c.Profile.Apply(&d)
		if c.Profile.Name != want.profile || c.Why.EN != want.why || d.Findings[0].Playbook != want.first || names(d.Pending) != want.pending {
			t.Errorf("%s: %s (%s), first %s, pending %q; want %+v", facts, c.Profile.Name, c.Why.EN, d.Findings[0].Playbook, names(d.Pending), want)
		}
		if len(d.Findings)+len(d.Pending) != 4 {
			t.Errorf("%s: %s and %s: something was taken away", facts, names(d.Findings), names(d.Pending))
		}
		for _, f := range d.Findings {
			if f.Playbook == "four" && len(f.ExplainedBy) > 0 != (want.pending == "") {
				t.Errorf("%s: four is explained by %v, which is pending", facts, f.ExplainedBy)
			}
		}
		for _, f := range d.Pending {
			if f.Waits.EN != "it comes by itself" || f.Waits.ZH != "会自行恢复" {
				t.Errorf("%s: it waits for %+v", facts, f.Waits)
			}
		}
	}
}

func TestProfileAsked(t *testing.T) {
	l, ps := ofProfiles(t), profiles(t)
	for name, want := range map[string]int{"some": 2, "default": 4, "none": 0} {
		p, err := ps.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(p.Of(l).Playbooks()); n != want {
			t.Errorf("%s holds %d playbooks, want %d", name, n, want)
		}
	}
	if _, err := ps.Get("nnoe"); err == nil || !strings.Contains(err.Error(), `did you mean "none"?`) {
		t.Error(err)
	}
	want := map[string][]string{}
	ps.Needs(want)
	if _, ok := want["conntrack"]; !ok {
		t.Errorf("the states need %v", want)
	}
	for text, wrong := range map[string]string{
		"profiles: {a: {title: {en: A}, when: conntrack.lodaed}}": `did you mean "loaded"?`,
		"profiles: {a: {title: {en: A}, cover: [x]}}":             `did you mean "covers"?`,
		"profiles: {a: {title: {en: A}, covers: ['[']}}":          "is no pattern",
		"profiles: {a: {covers: [x]}}":                            "has no title",
		"a: {}":                                                   `there is no key "a"`,
	} {
		if _, err := playbooks.LoadProfiles([]playbooks.File{{Name: "p.yaml", Data: []byte(text)}}, schema(t)); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v; want %s", text, err, wrong)
		}
	}
}

// Changes are shown where the program has the probe for them and the host told; elsewhere nothing is missing.
func TestChanges(t *testing.T) {
	type change struct {
		What   string        `fact:"what,key" doc:"x"`
		Name   string        `fact:"name" doc:"x"`
		Action string        `fact:"action" doc:"x"`
		Age    time.Duration `fact:"age" doc:"x"`
	}
	type facts struct {
		Recent []change `fact:"recent" doc:"x"`
	}
	fake := probes.Define(probes.Probe[int]{Name: "changes", Doc: "Fake\n\nFake.", Every: time.Minute}, func(context.Context, int) (facts, error) { return facts{}, nil })
	with := append(probes.Describe([]probes.Probe[int]{fake}), schema(t)...)
	text := simple("one", "conntrack.max > 0", "severity: info")
	for _, c := range []struct {
		infos []probes.Info
		facts string
		want  []playbooks.Change
		needs bool
	}{
		{with, "changes.recent: [{what: package vim, name: vim, action: upgraded, age: 5m}]", []playbooks.Change{{What: "package vim", Name: "vim", Action: "upgraded", Age: 5 * time.Minute}}, true},
		{with, "changes: failed, permission denied", nil, true},
		{schema(t), "conntrack.max: 1", nil, false},
	} {
		l, err := playbooks.Load([]playbooks.File{{Name: "one.yaml", Data: []byte(text)}}, c.infos, actions)
		if err != nil {
			t.Fatal(err)
		}
		snap, err := playbooks.Facts(c.infos, playbooks.File{Name: "facts", Data: []byte(c.facts)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, l.Changes(snap)); diff != "" {
			t.Errorf("%s: %s", c.facts, diff)
		}
		want := l.Needs()
		l.NeedsChanges(want)
		if _, ok := want["changes"]; ok != c.needs {
			t.Errorf("%s: it needs %v", c.facts, want)
		}
	}
}

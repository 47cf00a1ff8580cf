package playbooks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// simple is a playbook with nothing but what it must have, and extra keys.
func simple(id, when, extra string) string {
	return "id: " + id + "\narea: memory\ntitle: {en: t, zh: t}\ncovers: [doc/x]\nmanual: {en: m, zh: m}\nevidence: [e]\n" + extra + "\nwhen: |\n  " + when + "\n"
}

// seen writes clauses in short: verdict: text (fact = value, …).
func seen(clauses []playbooks.Clause) []string {
	var out []string
	for _, c := range clauses {
		s := c.Verdict.String() + ": " + c.Text + " ("
		for i, f := range c.Facts {
			if i > 0 {
				s += ", "
			}
			s += f.Path + "=" + f.Show()
		}
		if s += ")"; c.Why != "" {
			s += " " + c.Why
		}
		out = append(out, s)
	}
	return out
}

func TestClauses(t *testing.T) {
	rows := []struct {
		when string
		want []string
	}{
		{`conntrack.max > 0 and conntrack.count / conntrack.max >= 0.9`, []string{
			"yes: conntrack.max > 0 (conntrack.max=1000)",
			"yes: conntrack.count / conntrack.max >= 0.9 (conntrack.count=900, conntrack.max=1000)",
		}},
		{`(conntrack.loaded and (memory.total < 5 or 3 < memory.total < 2000)) and not (memory.total == 1)`, []string{
			"yes: conntrack.loaded (conntrack.loaded=yes)",
			"no: memory.total < 5 (memory.total=1000 B)",
			"yes: 3 < memory.total < 2000 (memory.total=1000 B)",
			"yes: not (memory.total == 1) (memory.total=1000 B)",
		}},
		{`any(filesystems.mounts, .used_pct > 80 and .fstype in ["xfs"])`, []string{
			`yes: any(filesystems.mounts, .used_pct > 80 and .fstype in ["xfs"]) (filesystems.mounts[/b].used_pct=90, filesystems.mounts[/b].fstype=xfs)`,
		}},
		{`any(filesystems.mounts, .used_pct > 95)`, []string{
			`unknown: any(filesystems.mounts, .used_pct > 95) (filesystems.mounts[/c].used_pct=unreadable) filesystems.mounts[/c].used_pct could not be read: timeout`,
		}},
		{`find(filesystems.mounts, .mount == "/b").used_pct > 80 or sysctl["vm.none"] > 5`, []string{
			`yes: find(filesystems.mounts, .mount == "/b").used_pct > 80 (filesystems.mounts[/b].mount=/b, filesystems.mounts[/b].used_pct=90)`,
			`unknown: sysctl["vm.none"] > 5 (sysctl["vm.none"]=absent) there is no sysctl["vm.none"] here`,
		}},
		{`(conntrack.drops_per_s ?? 0) >= 0 and memory.total / memory.available > 1`, []string{
			`yes: (conntrack.drops_per_s ?? 0) >= 0 (conntrack.drops_per_s=absent)`,
			`unknown: memory.total / memory.available > 1 (memory.total=1000 B, memory.available=0 B) division by zero`,
		}},
		{`units.state == "degraded (or) worse" or len(units.failed) == 2`, []string{
			`no: units.state == "degraded (or) worse" (units.state=degraded)`,
			`yes: len(units.failed) == 2 ()`,
		}},
	}
	for _, row := range rows {
		d := judge(t, row.when, facts)
		var got []string
		if len(d.Findings) == 1 {
			got = seen(d.Findings[0].Clauses)
		} else {
			e, err := load(t, simple("x", row.when, "severity: info")).Explain(snapshot(t, facts), "x")
			if err != nil {
				t.Fatal(err)
			}
			got = seen(e.Objects[0].Clauses)
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s\n%s", row.when, diff)
		}
	}
}

func TestLetAndParamsAreShown(t *testing.T) {
	l := load(t, conntrackFull)
	d := l.Match(snapshot(t, "conntrack: {count: 990, max: 1000, entry_bytes: 320, loaded: true}\nmemory.total: 1000000000"), nil)
	want := []string{
		"yes: conntrack.max > 0 (conntrack.max=1000)",
		"yes: used >= params.full (conntrack.count=990, conntrack.max=1000, used=0.99, params.full=0.95)",
	}
	if diff := cmp.Diff(want, seen(d.Findings[0].Clauses)); diff != "" {
		t.Error(diff)
	}
	if p := load(t, filesystemFull).Playbooks()[0].Params[0]; p.Unit != "%" {
		t.Errorf("params.full is compared with a percentage, and its unit is %q", p.Unit)
	}
	if f := d.Findings[0]; f.Severity != playbooks.Warning || f.Title.ZH == "" || f.Evidence[0].EN != "990 of 1000 entries used, unknown/s dropped" || f.Steps[0].Writes[0] != "sysctl:net.netfilter.nf_conntrack_max=2000" {
		t.Errorf("%+v", f)
	}
}

func TestNeeds(t *testing.T) {
	rows := []struct {
		when string
		want probes.Want
	}{
		{`conntrack.max > 0`, probes.Want{"conntrack": nil}},
		{`sysctl["b"] > 0 and sysctl["a"] > 0 and "c" in sysctl`, probes.Want{"sysctl": {"a", "b", "c"}}},
		{`sysctl["b"] > 0 and sysctl[units.state] > 0`, probes.Want{"sysctl": nil, "units": nil}},
		{`any(keys(sysctl), # == "x") and sysctl["b"] > 0`, probes.Want{"sysctl": nil}},
		{`len(nics) > 0 and nics["eth0"].total > 1`, probes.Want{"nics": nil}},
		{`nics["eth0"].total > 1`, probes.Want{"nics": {"eth0"}}},
		{`any(filesystems.mounts, .used_pct > memory.pressure_pct)`, probes.Want{"filesystems": nil, "memory": nil}},
		{`has(conntrack)`, probes.Want{"conntrack": nil}},
	}
	for _, row := range rows {
		if diff := cmp.Diff(row.want, load(t, simple("x", row.when, "severity: info")).Needs()); diff != "" {
			t.Errorf("%s\n%s", row.when, diff)
		}
	}
}

func TestExplains(t *testing.T) {
	l := load(t,
		simple("effect", "conntrack.loaded", "severity: critical"),
		simple("middle", "conntrack.loaded", "severity: info\nexplains: [effect]"),
		simple("other", "conntrack.loaded", "severity: warning"),
		simple("cause", "conntrack.loaded", "severity: info\nexplains: [middle, effect, silent]"),
		simple("silent", "not conntrack.loaded", "severity: critical\nexplains: [other]"),
	)
	var got []string
	for _, f := range l.Match(snapshot(t, facts), nil).Findings {
		got = append(got, fmt.Sprint(f.Severity, " ", f.Identity(), " ", f.Explains, " by ", f.ExplainedBy))
	}
	// A cause is as bad as what it leads to.
	want := []string{
		"critical cause [effect middle] by []", "warning other [] by []", "critical middle [effect] by [cause]", "critical effect [] by [middle cause]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for old, text := range map[string]string{"cycle": "[b]", "there is no playbook": "[c]"} {
		_, err := playbooks.Load(named(simple("a", "conntrack.loaded", "severity: info\nexplains: "+text), simple("b", "conntrack.loaded", "severity: info\nexplains: [a]")), schema(t), nil)
		if err == nil || old == "cycle" && !strings.Contains(err.Error(), "explains a in turn") || old != "cycle" && !strings.Contains(err.Error(), old) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestExplainsObject has causes that explain the finding about one object, and not its neighbours.
func TestExplainsObject(t *testing.T) {
	each := "for_each: {fs: filesystems.mounts}\nseverity: warning"
	l := load(t,
		simple("full", `fs.mount != ""`, each),
		simple("held", `fs.mount == "/"`, each+"\nexplains: ['full/{fs.mount}']"),
		simple("quiet", "conntrack.loaded", `severity: info`+"\nexplains: ['full/{sysctl[\"none\"]}']"),
	)
	for _, f := range l.Match(snapshot(t, facts), nil).Findings {
		want := ""
		if f.Identity() == "full//" {
			want = "held//"
		}
		if got := strings.Join(f.ExplainedBy, " "); got != want {
			t.Errorf("%s is explained by %q; want %q", f.Identity(), got, want)
		}
	}
	_, err := playbooks.Load(named(simple("a", "conntrack.loaded", "severity: info\nexplains: ['b/{conntrack.cuont}']"), simple("b", "conntrack.loaded", "severity: info")), schema(t), nil)
	if err == nil || !strings.Contains(err.Error(), `no fact "cuont"`) {
		t.Errorf("a selector is checked as every text: %v", err)
	}
}

// TestSigns has causes that name what they bring about by its sign, and symptoms that stand behind causes that are as bad.
func TestSigns(t *testing.T) {
	each := "for_each: {fs: filesystems.mounts}\nseverity: warning"
	l := load(t,
		simple("ill", `fs.mount != ""`, each+"\nshows: ['stands-still/{fs.mount}', 'lacks/{sysctl[\"none\"]}']"),
		simple("worse", "conntrack.loaded", "severity: critical\nshows: [stands-still]"),
		simple("cause", `fs.mount == "/"`, each+"\nexplains: ['stands-still/{fs.mount}', lacks]"),
		simple("symptom", "conntrack.loaded", "severity: warning\nshows: [aches]\nexplains: [aches, silent]"),
		simple("silent", "conntrack.loaded", "severity: warning\nshows: [aches]"),
		simple("other", "conntrack.loaded", "severity: warning"),
		simple("all", "not conntrack.loaded", "severity: warning\nexplains: [stands-still]"),
	)
	var got []string
	for _, f := range l.Match(snapshot(t, facts), nil).Findings {
		got = append(got, fmt.Sprint(f.Identity(), " by ", f.ExplainedBy))
	}
	want := []string{"worse by []", "cause// by []", "other by []", "symptom by []", "ill//b by []", "ill//c by []", "ill// by [cause//]", "silent by [symptom]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"explains: [aches]\nshows: [a]":       `"a" is the id of a playbook`,
		"explains: [ache]":                    `no playbook or sign "ache"`,
		"explains: [aches]\nshows: [b-feels]": "b explains a in turn",
		"explains: [b]\nshows: [aches]":       "",
	} {
		_, err := playbooks.Load(named(simple("a", "conntrack.loaded", "severity: info\n"+text), simple("b", "conntrack.loaded", "severity: info\nshows: [aches]"+
			map[bool]string{true: "\nexplains: [b-feels]"}[strings.Contains(text, "b-feels")])), schema(t), nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Minutes and what the fact was: + yes, - no, ? unreadable; then what is expected: . nothing, p pending, F found, with the minute since when.
func TestFor(t *testing.T) {
	l := load(t, simple("x", "memory.total > 0", "severity: info\nfor: 5m"))
	rows := []struct{ seen, want string }{
		{"+0 +1 +4 +5 +6", "p0 p0 p0 F0 F0"},
		{"+0 +4 -5 +6 +10 +11", "p0 p0 . p6 p6 F6"},
		{"+0 ?3 +5", "p0 . F0"},
		{"+0 +5 -6 +7 -9 +10", "p0 F0 . F0 . F0"}, // it swings: one finding
		{"+0 +5 -6 -11 +12", "p0 F0 . . p12"},
		{"-0 +1 ?2 ?9 +10", ". p1 . . F1"},
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range rows {
		var mem playbooks.Memory
		var got []string
		for step := range strings.FieldsSeq(row.seen) {
			minute, err := strconv.Atoi(step[1:])
			if err != nil {
				t.Fatal(err)
			}
			fact := map[byte]string{'+': "1", '-': "0", '?': "{unreadable: x}"}[step[0]]
			snap := snapshot(t, "memory.total: "+fact)
			snap.At = start.Add(time.Duration(minute) * time.Minute)
			d := l.Match(snap, &mem)
			switch {
			case len(d.Findings) == 1:
				got = append(got, fmt.Sprintf("F%d", int(d.Findings[0].Since.Sub(start).Minutes())))
			case len(d.Pending) == 1:
				got = append(got, fmt.Sprintf("p%d", int(d.Pending[0].Since.Sub(start).Minutes())))
			default:
				got = append(got, ".")
			}
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: %v, want %s", row.seen, got, row.want)
		}
	}
	if d := l.Match(snapshot(t, "memory.total: 1"), nil); len(d.Findings) != 0 || len(d.Pending) != 1 || d.Pending[0].For != 5*time.Minute {
		t.Errorf("one-shot: %+v", d)
	}
}

func TestEach(t *testing.T) {
	l := load(t, filesystemFull)
	d := l.Match(snapshot(t, facts), nil)
	if c := d.Checks[0]; c.Verdict != playbooks.Unknown || c.Objects != 2 || len(d.Unknown) != 1 || d.Unknown[0].Object != "/c" || !slices.Equal(d.Unknown[0].Missing, []string{"fs.used_pct"}) ||
		d.Unknown[0].Title.EN != "/c is almost full" || c.Title.EN != "… is almost full" {
		t.Errorf("%+v %+v", c, d.Unknown)
	}
	rows := []struct {
		facts  string
		want   playbooks.Verdict
		here   bool
		reason string
	}{
		{"filesystems: {mounts: []}", playbooks.No, true, ""},
		{"filesystems: no data, no disks", playbooks.Unknown, false, "there is no filesystems.mounts here: no disks"},
		{"filesystems: failed, EIO", playbooks.Unknown, true, "filesystems.mounts could not be read: EIO"},
		{"memory.total: 5", playbooks.Unknown, true, "filesystems.mounts could not be read: the probe was not run"},
		{"filesystems: {mounts: {unreadable: too many}}", playbooks.Unknown, true, "filesystems.mounts could not be read: too many"},
		{"filesystems: {mounts: {items: [], more: 7}}", playbooks.Unknown, true, "the list was cut short: 7 more were not looked at"},
		{"filesystems: {mounts: {items: [], more: 7, why: permission denied}}", playbooks.Unknown, true, "the list was cut short: permission denied"},
		{"filesystems: {mounts: {items: [{mount: /x, used_pct: 99, fstype: xfs, read_only: false}], more: 7}}", playbooks.Yes, true, ""},
	}
	for _, row := range rows {
		d := l.Match(snapshot(t, row.facts), nil)
		c := d.Checks[0]
		if c.Verdict != row.want || c.NotHere == row.here || c.Reason != row.reason {
			t.Errorf("%s: %+v", row.facts, c)
		}
		if strings.Contains(row.facts, "more") && len(d.Unknown) != 1 {
			t.Errorf("%s: what was left out is not said: %+v", row.facts, d.Unknown)
		}
	}
	full := load(t, strings.Replace(filesystemFull, "default: 90, min: 70", "default: 1, min: 0", 1))
	d = full.Match(crowded(t, 100), nil)
	if len(d.Findings) != 20 || d.Checks[0].More != 78 { // two of them are 0 % full
		t.Errorf("%d findings, %d more", len(d.Findings), d.Checks[0].More)
	}
}

func TestVerify(t *testing.T) {
	l := load(t, filesystemFull, conntrackFull)
	mount := func(used string) string {
		return "filesystems: {mounts: [{mount: /x, used_pct: 1, fstype: xfs, read_only: false}, {mount: /d, used_pct: " + used + ", fstype: xfs, read_only: false}]}"
	}
	rows := []struct {
		facts, object string
		verify, until playbooks.Verdict
	}{
		{mount("95"), "/d", playbooks.No, playbooks.No},
		{mount("87"), "/d", playbooks.Yes, playbooks.No},
		{mount("10"), "/d", playbooks.Yes, playbooks.Yes},
		{strings.Replace(mount("10"), "read_only: false", "read_only: {unreadable: x}", 2), "/x", playbooks.Unknown, playbooks.Unknown},
		{mount("{unreadable: x}"), "/d", playbooks.Unknown, playbooks.Unknown},
		{mount("10"), "/gone", playbooks.Unknown, playbooks.Unknown},
		{"filesystems: failed", "/d", playbooks.Unknown, playbooks.Unknown},
	}
	for _, row := range rows {
		snap := snapshot(t, row.facts)
		if v, clauses := l.Verify(snap, "filesystem-full", row.object); v != row.verify || row.verify == playbooks.Yes && len(clauses) != 1 {
			t.Errorf("%s: verify %s %v", row.facts, v, clauses)
		}
		if v := l.Until(snap, "filesystem-full", row.object); v != row.until {
			t.Errorf("%s: until %s", row.facts, v)
		}
	}
	byDefault := load(t, simple("x", "memory.total > 5", "severity: info"))
	if v, _ := byDefault.Verify(snapshot(t, "memory.total: 5"), "x", ""); v != playbooks.Yes {
		t.Errorf("without verify: %s", v)
	}
}

const overlay = `hosts: {role: [db, cache]}
playbooks:
  filesystem-full:
    params: {full: 95}
    severity: warning
    stage: observe
`

func TestOverlays(t *testing.T) {
	l := load(t, filesystemFull, conntrackFull)
	parse := func(name, text string) playbooks.Overlay {
		o, err := playbooks.ParseOverlay(playbooks.File{Name: name, Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	all := []playbooks.Overlay{parse("a.yaml", overlay), parse("b.yaml", "playbooks: {filesystem-full: {params: {full: 97}}}")}
	with, err := l.With(all, map[string]string{"role": "db"})
	if err != nil {
		t.Fatal(err)
	}
	p := with.Playbooks()[0]
	if v := p.Params[0].Value; v.Int() != 97 || p.Params[0].Origin != "b.yaml" || p.Severity != "warning" || p.Stage != "observe" || p.Origins["stage"] != "a.yaml" || p.Digest == l.Playbooks()[0].Digest {
		t.Errorf("%+v", p)
	}
	snap := snapshot(t, "filesystems: {mounts: [{mount: /x, used_pct: 96, fstype: xfs, read_only: false}]}")
	if with.Match(snap, nil).Checks[0].Verdict != playbooks.No || l.Match(snap, nil).Checks[0].Verdict != playbooks.Yes {
		t.Error("the parameter has no effect")
	}
	without, err := l.With(all[:1], map[string]string{"role": "web"})
	if err != nil || without.Playbooks()[0].Stage != "suggest" || without.Playbooks()[0].Severity != "critical" {
		t.Errorf("an overlay for other hosts: %v %+v", err, without.Playbooks()[0])
	}
	for text, want := range map[string]string{
		"playbooks: {filesystem-ful: {stage: auto}}":           `did you mean "filesystem-full"?`,
		"playbooks: {filesystem-full: {params: {full: 60}}}":   "full lies between 70 and 99",
		"playbooks: {filesystem-full: {params: {full: 90.5}}}": "full is a whole number",
		"playbooks: {filesystem-full: {params: {ful: 90}}}":    `did you mean "full"?`,
		"playbooks: {filesystem-full: {stage: always}}":        "is none of observe, suggest, approve, auto",
		"playbooks: {filesystem-full: {when: x}}":              `an overlay cannot change "when"`,
		"playbooks: {filesystem-full: {severity: bad}}":        "is none of info",
		"hosts: {a: b}": "playbooks is missing",
		"host: {a: b}\nplaybooks: {filesystem-full: {stage: observe}}": `did you mean "hosts"?`,
	} {
		o, err := playbooks.ParseOverlay(playbooks.File{Name: "o.yaml", Data: []byte(text)})
		if err == nil {
			_, err = l.With([]playbooks.Overlay{o}, nil)
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "o.yaml:") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestChanged: judging only what reads the changed facts says the same as judging everything.
func TestChanged(t *testing.T) {
	l, snap, infos, _ := thousand(t)
	var mem playbooks.Memory
	if !l.Changed(snap, nil, &mem) || l.Changed(snap, []string{"conntrack", "memory.total", `sysctl["key.1"]`, "nothing.such"}, &mem) {
		t.Fatal("the first call has news, one without a change has none")
	}
	before := checks(l, snap)
	news := 0
	for i := range 60 {
		o := &snap.Observations[len(snap.Observations)-1-i%55]
		k := i % 30
		fields := make([]probes.Value, o.Facts.Len())
		for j := range fields {
			fields[j] = *o.Facts.At(j)
		}
		fields[k] = probes.UnreadableValue("gone")
		if i%2 == 0 {
			fields[k] = probes.AbsentValue()
		}
		o.Facts = probes.StructValue(fields)
		got := l.Changed(snap, []string{fmt.Sprintf("%s.fact%d", o.Probe, k)}, &mem)
		after := checks(l, snap)
		if want := after != before; got != want {
			t.Fatalf("%s.fact%d changed: news %v, want %v", o.Probe, k, got, want)
		}
		if got {
			news++
		}
		before = after
	}
	if news == 0 {
		t.Error("no change had news")
	}
	if readers := l.Readers("group3.fact4"); len(readers) == 0 {
		t.Error("nobody reads group3.fact4")
	}
	_ = infos
}

// TestChangedWhole: a key that is computed may be any key.
func TestChangedWhole(t *testing.T) {
	l := load(t, simple("x", "any(keys(sysctl), sysctl[#] > 5)", "severity: info"))
	var mem playbooks.Memory
	l.Changed(snapshot(t, "sysctl: {a: 1, b: 1}"), nil, &mem)
	if !l.Changed(snapshot(t, "sysctl: {a: 1, b: 9}"), []string{`sysctl["b"]`}, &mem) {
		t.Error("the change of a key is not seen")
	}
}

func TestMissing(t *testing.T) {
	rows := []struct {
		when    string
		missing []string
	}{
		{`(conntrack.drops_per_s ?? 0.5) + sysctl["net.bad"] > 100`, []string{`sysctl["net.bad"]`}},
		{`conntrack.drops_per_s > 1 and sysctl["net.bad"] > 1 and conntrack.loaded`, []string{"conntrack.drops_per_s", `sysctl["net.bad"]`}},
		{`has(conntrack.drops_per_s) or sysctl["net.bad"] > 1`, []string{`sysctl["net.bad"]`}},
		{`memory.total / memory.available > 1`, nil},
	}
	for _, row := range rows {
		d := judge(t, row.when, facts)
		if len(d.Unknown) != 1 || !slices.Equal(d.Unknown[0].Missing, row.missing) {
			t.Errorf("%s: %+v", row.when, d.Unknown)
		}
	}
	snap := snapshot(t, "memory: {total: 1, available: 1, pressure_pct: 1}")
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		snap.Observations[0].Facts = probes.StructValue([]probes.Value{probes.IntValue(1), probes.IntValue(1), probes.FloatValue(f)})
		if v := load(t, simple("x", "memory.pressure_pct > 0 or memory.pressure_pct <= 0", "severity: info")).Match(snap, nil).Checks[0].Verdict; v != playbooks.Unknown {
			t.Errorf("%v > 0 or <= 0 is %s", f, v)
		}
	}
}

// TestOddSnapshots: facts of another shape than this version expects are unreadable.
func TestOddSnapshots(t *testing.T) {
	l := load(t, conntrackFull, filesystemFull, simple("x", `sysctl["a"] > 1 and "b" in sysctl and units.state == "x" and any(keys(nics), true)`, "severity: info"))
	list := probes.ListValue([]probes.Value{probes.IntValue(1), {}, probes.StringValue("x")}, 3)
	for _, v := range []probes.Value{{}, probes.IntValue(3), probes.StringValue("x"), probes.StructValue(nil), list, probes.StructValue([]probes.Value{list, list}), probes.MapValue(map[string]probes.Value{"a": list}), probes.AbsentValue()} {
		snap := &probes.Snapshot{}
		for _, info := range schema(t) {
			snap.Observations = append(snap.Observations, probes.Observation{Probe: info.Name, Status: probes.OK, Facts: v})
		}
		for _, c := range l.Match(snap, nil).Checks {
			if c.Verdict == playbooks.Yes {
				t.Errorf("%s is found in %+v", c.Playbook, v)
			}
		}
	}
	if d := l.Match(nil, nil); d.Checks[0].Verdict != playbooks.Unknown {
		t.Error("no snapshot is not unknown")
	}
}

// TestPlaces: a problem is shown where it stands in the file, however the text is written.
func TestPlaces(t *testing.T) {
	for _, text := range []string{
		"when: conntrack.loaded and NOPE > 1",
		"when: conntrack.loaded and\n  conntrack.max > 0 and\n    NOPE > 1",
		"when: 'units.state == \"it''s 中文\" and NOPE > 1'",
		`when: "units.state == \"中文\" and NOPE > 1"`,
		"when: \"units.state == 'a' and\n\n  NOPE > 1\"",
		"when: |\n    units.state == \"中文\" and\n      NOPE > 1",
		"when: |-\n  units.state == \"a\"\n\n\n  and NOPE > 1",
		"when: >\n  units.state == \"中\" and\n  NOPE > 1\n",
		"when: > # why\n  units.state == \"中\" and\n\n  NOPE > 1\n",
		"when:\n  conntrack.loaded and\n  NOPE > 1",
		"evidence: ['{units.state} 中文 {{x}} {NOPE}']\nwhen: conntrack.loaded",
		"evidence:\n  - >-\n    some words\n    over lines {conntrack.count + NOPE}\nwhen: conntrack.loaded",
	} {
		head := "id: x\narea: memory\ntitle: {en: t, zh: 标题}\nseverity: info\ncovers: [doc/x]\nmanual: {en: m, zh: m} # 注释\n"
		if !strings.HasPrefix(text, "evidence") {
			head += "evidence: [e]\n"
		}
		_, err := playbooks.Load([]playbooks.File{{Name: "x.yaml", Data: []byte(head + text)}}, schema(t), nil)
		var problems playbooks.Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		p := problems[0]
		if at := string([]rune(p.Source)[p.Column-1:]); !strings.HasPrefix(at, "NOPE") {
			t.Errorf("%s\nis shown at %q\n%v", text, at, err)
		}
	}
}

// checks are all verdicts as one text.
func checks(l *playbooks.Library, snap *probes.Snapshot) string {
	var b strings.Builder
	for _, c := range l.Match(snap, nil).Checks {
		fmt.Fprintln(&b, c.Playbook, c.Verdict, c.NotHere)
	}
	return b.String()
}

// TestOneLibraryManyHosts is for the race detector.
func TestOneLibraryManyHosts(t *testing.T) {
	l := load(t, conntrackFull, filesystemFull)
	o, err := playbooks.ParseOverlay(playbooks.File{Name: "a.yaml", Data: []byte(overlay)})
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(l.Match(snapshot(t, facts), nil))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			var mem playbooks.Memory
			for range 20 {
				snap := snapshot(t, facts)
				if got, err := json.Marshal(l.Match(snap, nil)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%v: another diagnosis", err)
				}
				l.Changed(snap, []string{"conntrack.count"}, &mem)
				if _, err := l.With([]playbooks.Overlay{o}, map[string]string{"role": []string{"db", "web"}[i%2]}); err != nil {
					t.Error(err)
				}
				if _, err := l.Explain(snap, "filesystem-full"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// means is told as it is written; confirm is filled in, and left out where it comes to nothing.
func TestMeansAndConfirm(t *testing.T) {
	text := simple("sure", "conntrack.max > 0", "severity: info\nmeans: {en: \"It is {{full}}.\", zh: 满了}\n"+
		`confirm: {en: '{conntrack.count < 100 ? "look at " + string(conntrack.count) : ""}', zh: '{conntrack.drops_per_s > 5 ? "看" : ""}'}`)
	l, err := playbooks.Load([]playbooks.File{{Name: "sure.yaml", Data: []byte(text)}}, schema(t), actions)
	if err != nil {
		t.Fatal(err)
	}
	for facts, want := range map[string]playbooks.Text{
		"conntrack: {max: 1000, count: 50}":                    {EN: "look at 50"},
		"conntrack: {max: 1000, count: 500}":                   {},
		"conntrack: {max: 1000, count: 500, drops_per_s: 6.0}": {ZH: "看"},
	} {
		snap, err := playbooks.Facts(schema(t), playbooks.File{Name: "facts", Data: []byte(facts)})
		if err != nil {
			t.Fatal(err)
		}
		f := l.Match(snap, nil).Findings[0]
		if f.Confirm != want || f.Means != (playbooks.Text{EN: "It is {full}.", ZH: "满了"}) {
			t.Errorf("%s: confirm %+v, want %+v; means %+v", facts, f.Confirm, want, f.Means)
		}
	}
}

func TestSchemaAndSkeleton(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(playbooks.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("playbook.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("playbook.json")
	if err != nil {
		t.Fatal(err)
	}
	for text, valid := range map[string]bool{
		`{"id":"x"}`: false, `{"id":"x","title":"t","area":"memory","severity":"info","covers":["a/b"],"when":"a","evidence":["e"],"manual":"m"}`: true,
		`{"id":"x","title":"t","area":"memories","severity":"info","covers":["a/b"],"when":"a","evidence":["e"],"manual":"m"}`: false,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); (err == nil) != valid {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{conntrackFull, filesystemFull} {
		b, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("the schema refuses what Load accepts: %v", err)
		}
	}
	playbook, story := playbooks.Skeleton("table-full")
	blanks := []string{
		"PROBE.FACT", "memory.pressure_pct", "PROBE", "memory", "AREA ", "memory ", `"{TITLE}"`, "标题", `"{MEANING}"`, "users wait", `"{STEPS}"`, "look", `"{CONFIRM}"`, "look twice", "see: []", "see: [https://example.com]",
		`why: ""`, "why: reason", "WHAT HAPPENED", "what",
	}
	for i := 4; i < len(blanks)-2; i += 2 { // what is left as it was written is a mistake
		fill := strings.NewReplacer(slices.Delete(slices.Clone(blanks), i, i+2)...)
		if _, err := playbooks.Load(named(afterComments(fill.Replace(string(playbook)))), schema(t), nil); err == nil {
			t.Errorf("a playbook with %s left in it loads", blanks[i])
		}
	}
	fill := strings.NewReplacer(blanks...)
	l := load(t, afterComments(fill.Replace(string(playbook))))
	if err := playbooks.RunStory(l, playbooks.File{Name: "table-full.txtar", Data: []byte(fill.Replace(string(story)))}); err != nil {
		t.Error(err)
	}
	for _, word := range []string{"| `when` | required |", "| `??` |", "| `any(list, condition)` |"} {
		if page := playbooks.Reference(); !bytes.Contains(page, []byte(word)) {
			t.Errorf("the reference lacks %s:\n%s", word, page)
		}
	}
}

// afterComments drops the lines before the id, which `named` looks for.
func afterComments(s string) string {
	_, after, _ := strings.Cut(s, "\nid: ")
	return "id: " + after
}

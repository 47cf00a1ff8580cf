package playbooks_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// conditions are the mixture that a library of a thousand playbooks would have: most compare one fact, some join several, and a
// few walk a list.
func conditions(n int) []string {
	r := rand.New(rand.NewPCG(7, 7))
	fact := func() string { return fmt.Sprintf("group%d.fact%d", r.IntN(55), r.IntN(30)) }
	out := make([]string, n)
	for i := range out {
		switch r.IntN(10) {
		case 0, 1, 2:
			out[i] = fmt.Sprintf("%s > %d", fact(), r.IntN(1000))
		case 3, 4:
			out[i] = fmt.Sprintf("%s > %d and %s / %s >= 0.9", fact(), r.IntN(500), fact(), fact())
		case 5:
			out[i] = fmt.Sprintf(`sysctl["key.%d"] < %d`, r.IntN(90), r.IntN(1000))
		case 6:
			out[i] = fmt.Sprintf("(%s + %s) * 100 / %s > %d or %s == %d", fact(), fact(), fact(), r.IntN(300), fact(), r.IntN(1000))
		case 7:
			out[i] = fmt.Sprintf(`units.state == "running" and %s != %d`, fact(), r.IntN(1000))
		case 8:
			out[i] = fmt.Sprintf(`units.state matches "^(deg|run)" and %s <= %d`, fact(), r.IntN(1000))
		default:
			out[i] = fmt.Sprintf(`any(filesystems.mounts, .used_pct > %d and .fstype in ["ext4", "xfs"])`, 85+r.IntN(15))
		}
	}
	return out
}

// wide is a schema with about 2,000 facts: 55 probes of 30, 25 mounts of 10, 90 sysctls, and what else the tests' own host has.
func wide(t testing.TB) ([]probes.Info, *probes.Snapshot) {
	infos := schema(t)
	snap := crowded(t, 25)
	r := rand.New(rand.NewPCG(8, 8))
	for g := range 55 {
		info := probes.Info{Name: fmt.Sprintf("group%d", g), Facts: &probes.Type{Kind: probes.Struct}}
		var fields []probes.Value
		for f := range 30 {
			kind, v := probes.Int, probes.IntValue(1+r.Int64N(1000))
			if f%3 == 0 {
				kind, v = probes.Float, probes.FloatValue(1+r.Float64()*1000)
			}
			info.Facts.Fields = append(info.Facts.Fields, probes.Field{Name: fmt.Sprintf("fact%d", f), Unit: "count", Doc: "x", Type: &probes.Type{Kind: kind}})
			fields = append(fields, v)
		}
		infos = append(infos, info)
		snap.Observations = append(snap.Observations, probes.Observation{Probe: info.Name, Status: probes.OK, Facts: probes.StructValue(fields)})
	}
	keys := map[string]probes.Value{}
	for k := range 90 {
		keys[fmt.Sprintf("key.%d", k)] = probes.IntValue(r.Int64N(1000))
	}
	snap.Get("sysctl").Facts = probes.MapValue(keys)
	return infos, snap
}

func thousand(t testing.TB) (*playbooks.Library, *probes.Snapshot, []probes.Info, []string) {
	infos, snap := wide(t)
	list := conditions(1000)
	files := make([]string, len(list))
	for i, c := range list {
		files[i] = fmt.Sprintf("id: p%d\narea: memory\ntitle: {en: t, zh: t}\nseverity: info\ncovers: [doc/x]\nmanual: {en: m, zh: m}\nevidence: [e]\nwhen: |\n  %s\n", i, c)
	}
	l, err := playbooks.Load(named(files...), infos, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l, snap, infos, list
}

// BenchmarkThousand: 1,000 mixed conditions over about 2,000 facts. Goal: 0.6 ms, no allocation.
func BenchmarkThousand(b *testing.B) {
	l, snap, _, _ := thousand(b)
	var mem playbooks.Memory
	l.Changed(snap, nil, &mem)
	probeNames := make([]string, len(snap.Observations))
	for i := range snap.Observations {
		probeNames[i] = snap.Observations[i].Probe
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Changed(snap, probeNames, &mem)
	}
}

// BenchmarkThousandVM: the same texts in expr's VM.
func BenchmarkThousandVM(b *testing.B) {
	_, snap, infos, list := thousand(b)
	env := environment(infos, snap)
	programs := make([]*vm.Program, len(list))
	for i, c := range list {
		p, err := expr.Compile(c, expr.Env(env))
		if err != nil {
			b.Fatal(err)
		}
		programs[i] = p
	}
	var machine vm.VM
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range programs {
			if _, err := machine.Run(p, env); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkTenChanged: only what reads ten changed facts is judged. Goal: 10 µs.
func BenchmarkTenChanged(b *testing.B) {
	l, snap, _, _ := thousand(b)
	var mem playbooks.Memory
	l.Changed(snap, nil, &mem)
	var changed []string
	judged := 0
	for i := range 10 {
		changed = append(changed, fmt.Sprintf("group%d.fact%d", i*5, i*3))
		judged += len(l.Readers(changed[i]))
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Changed(snap, changed, &mem)
	}
	b.ReportMetric(float64(judged), "playbooks")
}

// BenchmarkLoad50: a library of 50 playbooks. Goal: 50 ms.
func BenchmarkLoad50(b *testing.B) {
	infos := schema(b)
	var files []playbooks.File
	for i := range 25 {
		for _, f := range []string{conntrackFull, filesystemFull} {
			files = append(files, named(strings.Replace(f, "id: ", fmt.Sprintf("id: a%d-", i), 1))...)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := playbooks.Load(files, infos, actions); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMatch: everything about a host with a finding, evidence and all.
func BenchmarkMatch(b *testing.B) {
	l := load(b, conntrackFull, filesystemFull)
	snap := snapshot(b, facts)
	b.ReportAllocs()
	for b.Loop() {
		l.Match(snap, nil)
	}
}

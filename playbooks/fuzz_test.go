package playbooks_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// gen makes random expressions that are typed, so that most of them compile.
type gen struct {
	*rand.Rand
	elem bool // within a list of mounts
}

func (g *gen) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *gen) bool(depth int) string {
	if depth <= 0 {
		if g.elem && g.IntN(2) == 0 {
			return ".read_only"
		}
		return g.pick("conntrack.loaded", "true", "false", "memory.total > 5")
	}
	d := depth - 1
	switch g.IntN(14) {
	case 0, 1:
		return "(" + g.bool(d) + g.pick(" and ", " && ") + g.bool(d) + ")"
	case 2, 3:
		return "(" + g.bool(d) + g.pick(" or ", " || ") + g.bool(d) + ")"
	case 4:
		return g.pick("not ", "!") + "(" + g.bool(d) + ")"
	case 5, 6:
		return "(" + g.num(d) + g.pick(" < ", " <= ", " > ", " >= ", " == ", " != ") + g.num(d) + ")"
	case 7:
		return "(" + g.str(d) + g.pick(" < ", " == ", " != ", " contains ", " startsWith ", " endsWith ") + g.str(d) + ")"
	case 8:
		return "(" + g.str(d) + " matches " + g.pick(`"^/"`, `"x.s$"`, `"(a|b)+"`, `"[0-9]"`) + ")"
	case 9:
		return "(" + g.str(d) + g.pick(" in ", " not in ") + g.pick("units.failed", `["/", "xfs", "a.service"]`, "map(filesystems.mounts, .mount)") + ")"
	case 10:
		return "(" + g.int(d) + " in [1, " + g.int(d) + ", 3])"
	case 11:
		return "(" + g.bool(d) + " ? " + g.bool(d) + " : " + g.bool(d) + ")"
	case 12:
		if g.elem {
			return "(" + g.num(d) + " < " + g.num(d) + ")"
		}
		return g.quantified(g.pick("any", "all", "none", "one"), d)
	default:
		return "(" + g.int(d) + " < " + g.int(d) + " <= " + g.int(d) + ")"
	}
}

func (g *gen) quantified(f string, d int) string {
	g.elem = true
	defer func() { g.elem = false }()
	list := "filesystems.mounts"
	if g.IntN(4) == 0 {
		list = "filter(" + list + ", " + g.bool(d-1) + ")"
	}
	return f + "(" + list + ", " + g.bool(d) + ")"
}

func (g *gen) num(d int) string {
	if g.IntN(2) == 0 {
		return g.int(d)
	}
	return g.float(d)
}

func (g *gen) int(depth int) string {
	if depth <= 0 {
		if g.elem && g.IntN(2) == 0 {
			return ".bytes_free"
		}
		return g.pick("conntrack.count", "conntrack.max", "memory.total", "memory.available", "7", "0", "1", "1000", "9223372036854775807", `sysctl["vm.swappiness"]`, `sysctl["vm.zero"]`)
	}
	d := depth - 1
	switch g.IntN(10) {
	case 0, 1, 2:
		return "(" + g.int(d) + g.pick(" + ", " - ", " * ", " % ") + g.int(d) + ")"
	case 3:
		return "-(" + g.int(d) + ")"
	case 4:
		return "len(" + g.str(d) + ")"
	case 5:
		return "abs(" + g.int(d) + ")"
	case 6:
		return g.pick("min", "max") + "(" + g.int(d) + ", " + g.int(d) + ")"
	case 7:
		if g.elem {
			return "int(" + g.float(d) + ")"
		}
		return g.quantified("count", d)
	case 8:
		return "(" + g.bool(d) + " ? " + g.int(d) + " : " + g.int(d) + ")"
	default:
		if g.elem {
			return ".bytes_free"
		}
		if g.IntN(2) == 0 {
			return g.pick("sum(filesystems.mounts, .bytes_free)", "len(filesystems.mounts)", "len(units.failed)", "max(map(filesystems.mounts, .bytes_free))",
				"filesystems.mounts[1].bytes_free", "filesystems.mounts[-1].bytes_free", "first(filesystems.mounts).bytes_free", "last(filesystems.mounts).bytes_free",
				`(sysctl["vm.none"] ?? 3)`, `(sysctl["vm.swappiness"] ?? 3)`)
		}
		return strings.Replace(g.pick("find(?).bytes_free", "sum(filter(?), .bytes_free)", "len(filter(?))", "min(map(filter(?), .bytes_free))", "first(filter(?)).bytes_free",
			"last(filter(?)).bytes_free", "filter(?)[1].bytes_free"), "?", strings.TrimSuffix(strings.TrimPrefix(g.quantified("any", d), "any("), ")"), 1)
	}
}

func (g *gen) float(depth int) string {
	if depth <= 0 {
		if g.elem && g.IntN(2) == 0 {
			return ".used_pct"
		}
		return g.pick("memory.pressure_pct", "0.5", "2.25", "1e300", "0.0")
	}
	d := depth - 1
	switch g.IntN(7) {
	case 0, 1:
		return "(" + g.num(d) + " / " + g.num(d) + ")"
	case 2, 3:
		return "(" + g.float(d) + g.pick(" + ", " - ", " * ") + g.num(d) + ")"
	case 4:
		return g.pick("ceil", "floor", "round") + "(" + g.float(d) + ")"
	case 5:
		return "float(" + g.int(d) + ")"
	default:
		return g.pick("min", "max") + "(" + g.float(d) + ", " + g.float(d) + ")"
	}
}

func (g *gen) str(depth int) string {
	if depth <= 0 {
		if g.elem && g.IntN(2) == 0 {
			return g.pick(".mount", ".fstype", ".device")
		}
		return g.pick("units.state", `"/"`, `"xfs"`, `"中文"`, `""`, `units.failed[0]`)
	}
	d := depth - 1
	switch g.IntN(6) {
	case 0:
		return "(" + g.str(d) + " + " + g.str(d) + ")"
	case 1:
		return g.pick("upper", "lower", "trim") + "(" + g.str(d) + ")"
	case 2:
		return "string(" + g.int(d) + ")"
	case 3:
		return "(" + g.bool(d) + " ? " + g.str(d) + " : " + g.str(d) + ")"
	default:
		return g.str(d)
	}
}

// environment is the snapshot as expr's VM wants it; known is false for values that are missing.
func environment(infos []probes.Info, snap *probes.Snapshot) map[string]any {
	env := map[string]any{}
	for _, info := range infos {
		if o := snap.Get(info.Name); o != nil && o.Status == probes.OK {
			env[info.Name] = plain(&o.Facts, info.Facts)
		}
	}
	return env
}

func plain(v *probes.Value, t *probes.Type) any {
	switch v.Kind() {
	case probes.Bool:
		return v.Bool()
	case probes.Int:
		return int(v.Int())
	case probes.Float:
		return v.Float()
	case probes.Duration:
		return v.Duration()
	case probes.String:
		return v.Str()
	case probes.List:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.At(i), t.Elem)
		}
		return list
	case probes.Struct:
		m := map[string]any{}
		for i, f := range t.Fields {
			m[f.Name] = plain(v.At(i), f.Type)
		}
		return m
	case probes.Map:
		m := map[string]any{}
		for i, k := range v.Keys() {
			m[k] = plain(v.At(i), t.Elem)
		}
		return m
	}
	return nil
}

// differ holds one random expression against expr's VM: where both have an answer, it is the same, but for what the language
// says otherwise: overflow, division by zero and what is made of them. It reports whether both had one.
func differ(t testing.TB, infos []probes.Info, snap *probes.Snapshot, env map[string]any, seed uint64) bool {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 1))}
	text := g.bool(2 + int(seed%4))
	source := "id: x\narea: memory\ntitle: {en: t, zh: t}\nseverity: info\ncovers: [doc/x]\nmanual: {en: m, zh: m}\nevidence: [e]\nwhen: |\n  " + text + "\n"
	l, err := playbooks.Load(named(source), infos, nil)
	if problems, ok := errors.AsType[playbooks.Problems](err); ok {
		for _, p := range problems { // what is known at load is refused
			for _, ok := range []string{"this is always", "this has no answer, ever", "this reads no fact", "the limit", "nested", "too large"} {
				if strings.Contains(p.Text, ok) {
					return false
				}
			}
		}
		t.Fatalf("%s\n%v", text, err)
	}
	d := l.Match(snap, nil)
	program, err := expr.Compile(text, expr.Env(env), expr.Optimize(false))
	if err != nil {
		return false
	}
	v := vm.VM{MemoryBudget: 1 << 20}
	out, err := v.Run(program, env)
	if err != nil || d.Checks[0].Verdict == playbooks.Unknown {
		return false
	}
	if got := d.Checks[0].Verdict; (got == playbooks.Yes) != (out == true) {
		t.Errorf("%s\nwe say %s, expr's VM says %v", text, got, out)
	}
	return true
}

// TestAgainstVM is bounded and the same every time; HOSTMEND_FUZZ=N runs N expressions.
func TestAgainstVM(t *testing.T) {
	n := 4000
	if more, err := strconv.Atoi(os.Getenv("HOSTMEND_FUZZ")); err == nil {
		n = more
	}
	infos, snap := schema(t), snapshot(t, knownFacts)
	env := environment(infos, snap)
	compared := 0
	for i := range n {
		if differ(t, infos, snap, env, uint64(i)) {
			compared++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d expressions compared", compared, n)
	if compared < n/3 {
		t.Errorf("only %d of %d expressions could be compared", compared, n)
	}
}

func FuzzAgainstVM(f *testing.F) {
	infos, snap := schema(f), snapshot(f, knownFacts)
	env := environment(infos, snap)
	for i := range uint64(8) {
		f.Add(i << 32)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { differ(t, infos, snap, env, seed) })
}

const knownFacts = `
conntrack: {count: 900, max: 1000, entry_bytes: 320, loaded: true}
memory: {total: 1000, available: 3, pressure_pct: 12.5}
units: {failed: [a.service, b.service], boot: 42s, state: degraded}
sysctl: {vm.swappiness: 60, vm.zero: 0}
filesystems:
  mounts:
    - {mount: /, device: vda1, fstype: ext4, used_pct: 50, bytes_free: 10, read_only: false, age: 1h}
    - {mount: /b, device: vdb1, fstype: xfs, used_pct: 90, bytes_free: 1, read_only: true, age: 2h}
    - {mount: /中, device: vdc1, fstype: xfs, used_pct: 0.5, bytes_free: -7, read_only: false, age: 3h}
`

// FuzzLoad: whatever a file holds, Load answers with a library or with problems, and says where.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{conntrackFull, filesystemFull, "", "a", "[", "{", "id: x\nwhen: |\n  a", "id: x\nwhen: any(units.failed, # == 'x')\n", "- a\n- b", "\xff", "a: &x 1\nb: *x", "? a", "title: {en: '{', zh: '}'}"} {
		f.Add([]byte(text))
	}
	infos := schema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		l, err := playbooks.Load([]playbooks.File{{Name: "conntrack-table-full.yaml", Data: data}}, infos, actions)
		if err == nil && len(l.Playbooks()) != 1 {
			t.Error("neither a playbook nor a problem")
		}
		var problems playbooks.Problems
		if err != nil && (!errors.As(err, &problems) || len(problems) == 0) {
			t.Errorf("an error without problems: %v", err)
		}
		for _, p := range problems {
			if p.Line > strings.Count(string(data), "\n")+1 || p.Text == "" {
				t.Errorf("a problem beyond the file: %+v", p)
			}
		}
		if err == nil {
			l.Match(&probes.Snapshot{}, nil)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// TestKleene: making an unreadable fact known never turns a decided verdict around.
func TestKleene(t *testing.T) {
	infos := schema(t)
	full := snapshot(t, knownFacts)
	decided := 0
	for seed := range uint64(1500) {
		g := &gen{Rand: rand.New(rand.NewPCG(seed, 2))}
		text := g.bool(3)
		source := "id: x\narea: memory\ntitle: {en: t, zh: t}\nseverity: info\ncovers: [doc/x]\nmanual: {en: m, zh: m}\nevidence: [e]\nwhen: |\n  " + text + "\n"
		l, err := playbooks.Load(named(source), infos, nil)
		if err != nil {
			continue
		}
		before := verdicts(l, full)
		if before != playbooks.Unknown {
			decided++
		}
		for hidden := range 12 {
			partial := &probes.Snapshot{Observations: slices.Clone(full.Observations)}
			hide(partial, infos, g.Rand, hidden%4+1)
			if got := verdicts(l, partial); got != playbooks.Unknown && got != before {
				t.Fatalf("%s\nall known: %s; with facts hidden: %s", text, before, got)
			}
		}
	}
	if decided < 700 {
		t.Errorf("only %d expressions were decided", decided)
	}
}

func verdicts(l *playbooks.Library, snap *probes.Snapshot) playbooks.Verdict {
	return l.Match(snap, nil).Checks[0].Verdict
}

// hide makes n random facts unreadable, or cuts a list short.
func hide(snap *probes.Snapshot, infos []probes.Info, r *rand.Rand, n int) {
	for range n {
		o := &snap.Observations[r.IntN(len(snap.Observations))]
		i := 0
		for infos[i].Name != o.Probe {
			i++
		}
		o.Facts = hideIn(&o.Facts, r)
	}
}

func hideIn(v *probes.Value, r *rand.Rand) probes.Value {
	if v.Kind() == probes.Map {
		m := map[string]probes.Value{}
		for i, k := range v.Keys() {
			if m[k] = *v.At(i); r.IntN(2) == 0 {
				m[k] = probes.UnreadableValue("hidden")
			}
		}
		return probes.MapValue(m)
	}
	if r.IntN(8) == 0 || v.Kind() != probes.Struct && v.Kind() != probes.List {
		return probes.UnreadableValue("hidden")
	}
	list := make([]probes.Value, v.Len())
	for i := range list {
		list[i] = *v.At(i)
	}
	if len(list) == 0 {
		return *v
	}
	if v.Kind() == probes.List && r.IntN(3) == 0 { // the last elements were left out
		keep := r.IntN(len(list))
		return probes.ListValue(list[:keep], len(list)-keep)
	}
	i := r.IntN(len(list))
	list[i] = hideIn(&list[i], r)
	if v.Kind() == probes.List {
		return probes.ListValue(list, v.More())
	}
	return probes.StructValue(list)
}

// TestBombs: what is made to cost much is refused, or ends, in bounded time.
func TestBombs(t *testing.T) {
	condition := func(s string) string {
		return strings.Replace(conntrackFull, "conntrack.max > 0 and used >= params.full", s, 1)
	}
	lets := "let:\n  a: conntrack.count + conntrack.max\n"
	last := "a"
	for i := range 60 {
		name := "a" + strconv.Itoa(i)
		lets += fmt.Sprintf("  %s: %s + %s\n", name, last, last)
		last = name
	}
	lists := "let:\n  b: filter(filesystems.mounts, .used_pct > 1)\n"
	last = "b"
	for i := range 40 {
		name := "b" + strconv.Itoa(i)
		lists += fmt.Sprintf("  %s: filter(%s, any(%s, .used_pct > 1))\n", name, last, last)
		last = name
	}
	bombs := map[string]string{
		"parentheses":  condition(strings.Repeat("(", 100_000)),
		"brackets":     strings.Repeat("[", 250_000),
		"braces":       strings.Repeat("{a: ", 60_000),
		"block lists":  strings.Repeat("- ", 120_000),
		"indentation":  indented(500),
		"aliases":      "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b]\n",
		"minus":        condition(strings.Repeat("-", 4000) + "1 > conntrack.max"),
		"not":          condition(strings.Repeat("not ", 900) + "conntrack.loaded"),
		"or":           condition(strings.Repeat("conntrack.loaded or ", 190) + "conntrack.loaded"),
		"ternaries":    condition("|\n  " + strings.Repeat("conntrack.loaded ? true : ", 150) + "conntrack.loaded"),
		"pattern":      condition(`units.state matches "((a{30}){30}){30}"`),
		"deep pattern": condition(`units.state matches "` + strings.Repeat("(", 30) + strings.Repeat(")*", 30) + `"`),
		"keys":         strings.Repeat("a: 1\n", 50_000),
		"quotes":       "id: \"" + strings.Repeat("\\\\", 100_000),
		"many problems": "id: x\nlet:\n" + func() (s string) {
			for i := range 8000 {
				s += fmt.Sprintf("  a%d: nothing.here\n", i)
			}
			return s
		}(),
		"let":   strings.Replace(strings.Replace(conntrackFull, "let:\n", lets, 1), "used >= params.full", last, 1),
		"lists": strings.Replace(strings.Replace(conntrackFull, "let:\n", lists, 1), "used >= params.full", "any("+last+", .read_only)", 1),
	}
	infos := schema(t)
	snap := crowded(t, 1000)
	for name, text := range bombs {
		began := time.Now()
		l, _ := playbooks.Load([]playbooks.File{{Name: "conntrack-table-full.yaml", Data: []byte(text)}}, infos, actions)
		l.Match(snap, nil)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
	for _, text := range []string{
		"any(filesystems.mounts, any(filesystems.mounts, any(filesystems.mounts, .used_pct < 0)))",
		"sum(map(filesystems.mounts, sum(map(filesystems.mounts, sum(filesystems.mounts, .bytes_free))))) < 0",
		"count(map(map(map(map(map(map(map(map(map(map(map(map(filesystems.mounts, .bytes_free), # + #), # + #), # + #), # + #), # + #), # + #), # + #), # + #), # + #), # + #), # + #), # > 0) > 5000",
	} {
		text = "|\n  " + text
		began := time.Now()
		l := load(t, condition(text+" and used >= params.full"))
		d := l.Match(snap, nil)
		took := time.Since(began)
		if took > 10*time.Second {
			t.Errorf("%s: took %s", text, took)
		}
		if d.Checks[0].Verdict != playbooks.Unknown || !strings.Contains(d.Checks[0].Reason, "too many steps") {
			t.Errorf("%s: %s %s", text, d.Checks[0].Verdict, d.Checks[0].Reason)
		}
	}
}

func indented(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// crowded is a host with many mounts.
func crowded(t testing.TB, n int) *probes.Snapshot {
	t.Helper()
	snap := snapshot(t, knownFacts)
	o := snap.Get("filesystems")
	mounts := o.Facts.At(0)
	list := make([]probes.Value, n)
	for i := range list {
		fields := make([]probes.Value, mounts.At(0).Len())
		for k := range fields {
			fields[k] = *mounts.At(0).At(k)
		}
		fields[0] = probes.StringValue("/m" + strconv.Itoa(i))
		fields[3] = probes.FloatValue(math.Mod(float64(i)*7, 90))
		list[i] = probes.StructValue(fields)
	}
	o.Facts = probes.StructValue([]probes.Value{probes.ListValue(list, 0)})
	return snap
}

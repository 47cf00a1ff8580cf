package playbooks_test

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// judge loads a playbook whose condition is expr and judges the facts of a story with it.
func judge(t testing.TB, expr, facts string) playbooks.Diagnosis {
	t.Helper()
	text := "id: x\narea: memory\ntitle: {en: t, zh: t}\nseverity: info\ncovers: [doc/x]\nmanual: {en: m, zh: m}\nevidence: [e]\nwhen: |\n  " + expr + "\n"
	l, err := playbooks.Load(named(text), schema(t), actions)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return l.Match(snapshot(t, facts), nil)
}

func snapshot(t testing.TB, facts string) *probes.Snapshot {
	t.Helper()
	snap, err := playbooks.Facts(schema(t), playbooks.File{Name: "facts", Data: []byte(facts)})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

const facts = `
conntrack: {count: 900, max: 1000, entry_bytes: 320, loaded: true}
memory: {total: 1000, available: 0, pressure_pct: 12.5}
units: {failed: [a.service, b.service], boot: 42s, state: degraded}
sysctl: {vm.swappiness: 60, vm.zero: 0, net.bad: {unreadable: EIO}}
nics: {eth0: {total: 5, available: 1, pressure_pct: 0.5}}
filesystems:
  mounts:
    - {mount: /, device: vda1, fstype: ext4, used_pct: 50, bytes_free: 10, read_only: false, inodes_pct: 7, age: 1h, label: root, check: 5m}
    - {mount: /b, device: vdb1, fstype: xfs, used_pct: 90, bytes_free: 1, read_only: true, age: 2h}
    - {mount: /c, device: vdc1, fstype: xfs, used_pct: {unreadable: timeout}, bytes_free: {unreadable: timeout}, read_only: false, age: 3h}
`

// A stands for an absent fact, U for an unreadable one, in what follows.
var stand = strings.NewReplacer(
	"aB", "find(filesystems.mounts, .mount == \"none\").read_only", "uB", "(sysctl[\"net.bad\"] > 0)",
	"aN", "conntrack.drops_per_s", "uN", "sysctl[\"net.bad\"]",
	"aS", "find(filesystems.mounts, .mount == \"/b\").label", "uS", "string(sysctl[\"net.bad\"])",
	"aD", "find(filesystems.mounts, .mount == \"/b\").check", "uD", "duration(\"1s\") * sysctl[\"net.bad\"]",
)

func TestOperators(t *testing.T) {
	const yes, no, here, unknown = "yes", "no", "not here", "unknown"
	rows := []struct{ expr, want string }{
		// Kleene: what is certain decides.
		{`conntrack.loaded and conntrack.loaded`, yes},
		{`conntrack.loaded and not conntrack.loaded`, no},
		{`aB and not conntrack.loaded`, no},
		{`not conntrack.loaded and uB`, no},
		{`uB and not conntrack.loaded`, no},
		{`aB and conntrack.loaded`, here},
		{`uB and conntrack.loaded`, unknown},
		{`aB and uB`, unknown},
		{`aB or conntrack.loaded`, yes},
		{`uB || conntrack.loaded`, yes},
		{`aB or not conntrack.loaded`, here},
		{`uB or not conntrack.loaded`, unknown},
		{`aB or uB`, unknown},
		{`not aB`, here},
		{`!uB`, unknown},
		{`not conntrack.loaded`, no},
		{`conntrack.loaded == true`, yes},
		{`conntrack.loaded != aB`, here},

		// Comparisons.
		{`memory.total == 1000`, yes},
		{`memory.total != 1000`, no},
		{`memory.total < 1000`, no},
		{`memory.total <= 1000`, yes},
		{`memory.total > 999`, yes},
		{`memory.total >= 1001`, no},
		{`memory.total == 1000.0`, yes},
		{`1000.5 > memory.total`, yes},
		{`memory.pressure_pct == 12.5`, yes},
		{`aN == 5`, here},
		{`aN != 5`, here},
		{`aN < 5`, here},
		{`5 >= aN`, here},
		{`aN == uN`, unknown},
		{`uN > 5`, unknown},
		{`uN == uN`, unknown},
		{`aN == aN`, here},
		{`units.state == "degraded"`, yes},
		{`units.state < "e"`, yes},
		{`aS == "x"`, here},
		{`uS != "x"`, unknown},
		{`units.boot > duration("41s")`, yes},
		{`units.boot == duration("42s")`, yes},
		{`aD < duration("1s")`, here},
		{`uD < duration("1s")`, unknown},
		{`10 < memory.pressure_pct < 20`, yes},
		{`10 < memory.pressure_pct < 12`, no},
		{`10 < aN < 12`, here},
		{`0 < 1 < memory.total < 2000`, yes},
		{`0 < memory.total < 2000 < 1`, no},

		// Arithmetic.
		{`memory.total + 1 == 1001`, yes},
		{`memory.total - 1001 == -1`, yes},
		{`memory.total * 2 == 2000`, yes},
		{`conntrack.count / conntrack.max == 0.9`, yes},
		{`memory.total % 7 == 6`, yes},
		{`memory.total / memory.available > 0`, unknown},
		{`memory.total % memory.available > 0`, unknown},
		{`memory.total * 9223372036854775807 > 0`, unknown},
		{`memory.total + 9223372036854775807 > 0`, unknown},
		{`-9223372036854775807 - memory.total < 0`, unknown},
		{`memory.total * 1e308 * 10.0 > 0`, unknown},
		{`memory.total / 0.0 > 1`, unknown},
		{`aN + 1 > 0`, here},
		{`uN * 0 == 0`, unknown},
		{`aN * uN == 0`, unknown},
		{`-memory.total == -1000`, yes},
		{`-aN < 0`, here},
		{`units.boot + duration("18s") == duration("1m")`, yes},
		{`units.boot * 2 == duration("84s")`, yes},
		{`units.boot / 2 == duration("21s")`, yes},
		{`units.boot / duration("21s") == 2`, yes},
		{`units.boot * 1e300 > duration("1s")`, unknown},
		{`seconds(units.boot) == 42`, yes},
		{`units.boot / memory.available > duration("1s")`, unknown},
		{`units.state + "!" == "degraded!"`, yes},
		{`aS + "x" == "x"`, here},

		// ?? answers what is absent, never what could not be read.
		{`(aN ?? 5) == 5`, yes},
		{`(uN ?? 5) == 5`, unknown},
		{`(memory.total ?? 5) == 1000`, yes},
		{`(aS ?? "none") == "none"`, yes},
		{`(uS ?? "none") == "none"`, unknown},
		{`(aD ?? duration("1s")) == duration("1s")`, yes},
		{`aB ?? true`, yes},
		{`uB ?? true`, unknown},
		{`((aN + 1) ?? 3) == 3`, yes},
		{`(aN ?? aN ?? 7) == 7`, yes},
		{`(sysctl["vm.none"] ?? 3) == 3`, yes},
		{`(sysctl["net.bad"] ?? 3) == 3`, unknown},
		{`(sysctl["vm.swappiness"] ?? 3) == 60`, yes},
		{`((memory.total / memory.available) ?? 1.0) == 1`, unknown},
		{`((aN + uN) ?? 3) == 3`, unknown},

		// Maps and lists.
		{`sysctl["vm.swappiness"] == 60`, yes},
		{`sysctl["vm.none"] < 10`, here},
		{`sysctl["net.bad"] < 10`, unknown},
		{`nics["eth0"].total == 5`, yes},
		{`nics["eth1"].total == 5`, here},
		{`"vm.zero" in sysctl`, yes},
		{`"vm.none" in sysctl`, no},
		{`"vm.none" not in sysctl`, yes},
		{`"net.bad" in sysctl`, yes},
		{`aS in sysctl`, here},
		{`any(keys(sysctl), # startsWith "vm.")`, yes},
		{`all(keys(sysctl), # startsWith "vm.")`, no},
		{`any(values(nics), .total == 5)`, yes},
		{`len(sysctl) == 3`, yes},
		{`sum(values(nics), .total) == 5`, yes},
		{`any(keys(nics), nics[#].total == 5)`, yes},
		{`any(values(sysctl), # == 60)`, yes},
		{`all(values(sysctl), # >= 0)`, unknown},
		{`"a.service" in units.failed`, yes},
		{`"c.service" in units.failed`, no},
		{`aS in units.failed`, here},
		{`units.state in ["ok", "degraded"]`, yes},
		{`units.state not in ["ok"]`, yes},
		{`memory.total in [1, 1000]`, yes},
		{`memory.total in [1, 1000.0]`, yes},
		{`memory.total in [aN, 1000]`, yes},
		{`memory.total in [aN, 1]`, here},
		{`memory.total in [uN, 1]`, unknown},
		{`uS in ["a"]`, unknown},
		{`12.5 in map(filesystems.mounts, .used_pct)`, unknown},
		{`90 in map(filesystems.mounts, .used_pct)`, yes},
		{`filesystems.mounts[0].mount == "/"`, yes},
		{`filesystems.mounts[-1].mount == "/c"`, yes},
		{`filesystems.mounts[9].mount == "/"`, here},
		{`units.failed[1] == "b.service"`, yes},
		{`first(filesystems.mounts).mount == "/"`, yes},
		{`last(filesystems.mounts).mount == "/c"`, yes},
		{`last(filter(filesystems.mounts, .read_only)).mount == "/b"`, yes},
		{`first(filter(units.failed, # == "x")) == "y"`, here},
		{`[1, 2, 3][1] == memory.total`, no},

		// Quantifiers over elements that are not all readable.
		{`any(filesystems.mounts, .used_pct > 80)`, yes},
		{`any(filesystems.mounts, .used_pct > 95)`, unknown},
		{`any(filesystems.mounts, .read_only and .used_pct > 95)`, no},
		{`all(filesystems.mounts, .used_pct > 10)`, unknown},
		{`all(filesystems.mounts, .used_pct > 60)`, no},
		{`none(filesystems.mounts, .used_pct > 80)`, no},
		{`none(filesystems.mounts, .used_pct > 95)`, unknown},
		{`one(filesystems.mounts, .used_pct > 80)`, unknown},
		{`one(filesystems.mounts, .mount == "/")`, yes},
		{`one(filesystems.mounts, .used_pct >= 50)`, no},
		{`one(filesystems.mounts, .fstype == "btrfs")`, no},
		{`count(filesystems.mounts, .used_pct > 80) >= 1`, yes},
		{`count(filesystems.mounts, .used_pct > 80) >= 2`, unknown},
		{`count(filesystems.mounts, .used_pct > 80) > 2`, no},
		{`count(filesystems.mounts, .used_pct > 80) == 5`, no},
		{`count(filesystems.mounts, .used_pct > 80) != 5`, yes},
		{`3 > count(filesystems.mounts, .used_pct > 80)`, yes},
		{`count(filesystems.mounts, .fstype == "xfs") == 2`, yes},
		{`count(filesystems.mounts, .used_pct > 80) + 1 > 0`, unknown},
		{`len(filesystems.mounts) == 3`, yes},
		{`len(filter(filesystems.mounts, .used_pct > 80)) >= 1`, yes},
		{`len(filter(filesystems.mounts, .used_pct > 80)) >= 2`, unknown},
		{`any(filesystems.mounts, .inodes_pct > 5)`, yes},
		{`any(filesystems.mounts, .inodes_pct > 50)`, here},
		{`any(filesystems.mounts, (.inodes_pct ?? 0) > 50)`, no},
		{`sum(filesystems.mounts, .used_pct) > 1`, unknown},
		{`sum(filter(filesystems.mounts, .mount != "/c"), .used_pct) == 140`, yes},
		{`sum(map(filesystems.mounts, .age)) == duration("6h")`, yes},
		{`max(map(filesystems.mounts, .age)) == duration("3h")`, yes},
		{`min(map(filesystems.mounts, .used_pct)) == 50`, unknown},
		{`max(filter(map(filesystems.mounts, .bytes_free), # > 1000)) > 1`, unknown},
		{`max(filter(map(filesystems.mounts, len(.mount)), # > 1000)) > 1`, here},
		{`min(memory.total, 2.5) == 2.5`, yes},
		{`max(memory.total, aN) > 0`, here},
		{`max(1, memory.total, 3) == 1000`, yes},
		{`find(filesystems.mounts, .used_pct > 80).mount == "/b"`, yes},
		{`find(filesystems.mounts, .used_pct > 95).mount == "/c"`, unknown},
		{`find(filesystems.mounts, .mount == "/x").used_pct > 1`, here},
		{`find(filesystems.mounts, .inodes_pct > 50).mount == "/c"`, unknown},
		{`any(filter(filesystems.mounts, .read_only), .used_pct > 80)`, yes},
		{`all(filter(filesystems.mounts, .used_pct > 70), .fstype == "xfs")`, yes},
		{`all(filter(filesystems.mounts, .used_pct > 70), .fstype == "ext4")`, no},
		{`any(filesystems.mounts, any(units.failed, # == "b.service") and .read_only)`, yes},
		{`any(map(filesystems.mounts, .used_pct), # > 80)`, yes},
		{`any(filesystems.mounts | filter(.read_only), .used_pct > 80)`, yes},

		{`len(filter(filter(filesystems.mounts, .fstype == "xfs"), .read_only)) == 1`, yes},
		{`any(filter(filter(filesystems.mounts, .read_only), .mount == "/"), true)`, no},
		{`sum(filter(filesystems.mounts, .used_pct > 80), len(.mount)) > 0`, unknown},
		{`sum(filter(filesystems.mounts, .used_pct > 10), len(.mount)) == 3`, unknown},

		// Texts.
		{`units.state matches "^deg"`, yes},
		{`units.state not matches "^run"`, yes},
		{`units.state contains "grad"`, yes},
		{`units.state startsWith "x"`, no},
		{`units.state endsWith "ed"`, yes},
		{`aS matches "x"`, here},
		{`uS contains "x"`, unknown},
		{`len("中文") == len(units.failed)`, yes},
		{`upper(units.state) == "DEGRADED"`, yes},
		{`lower("ABC" + units.state) == "abcdegraded"`, yes},
		{`trim("  " + units.state + " ") == "degraded"`, yes},
		{`int("42") == memory.total`, no},
		{`int(units.state) > 0`, unknown},
		{`float(units.state) > 0`, unknown},
		{`int(memory.pressure_pct) == 12`, yes},
		{`float(memory.total) == 1000`, yes},
		{`string(memory.total) == "1000"`, yes},
		{`int(memory.pressure_pct * 1e300) > 0`, unknown},
		{`abs(-memory.total) == 1000`, yes},
		{`ceil(memory.pressure_pct) == 13`, yes},
		{`floor(memory.pressure_pct) == 12`, yes},
		{`round(memory.pressure_pct) == 13`, yes},

		// has, and the ternary.
		{`has(conntrack.count)`, yes},
		{`has(aN)`, no},
		{`has(uN)`, unknown},
		{`has(sysctl["vm.none"])`, no},
		{`has(nics["eth0"])`, yes},
		{`has(nics["eth1"])`, no},
		{`has(find(filesystems.mounts, .mount == "/x"))`, no},
		{`(conntrack.loaded ? 1 : 2) == 1`, yes},
		{`(aB ? 1 : 2) == 1`, here},
		{`(uB ? 1 : 1) == 1`, unknown},
		{`(conntrack.loaded ? memory.total : 2.5) == 1000`, yes},
		{`(conntrack.loaded ? aN : 2) == 1`, here},
		{`conntrack.loaded ? true : uB`, yes},
		{`(conntrack.loaded ? units.state : "x") == "degraded"`, yes},
	}
	for _, row := range rows {
		d := judge(t, stand.Replace(row.expr), facts)
		got := d.Checks[0].Verdict.String()
		if d.Checks[0].NotHere {
			got = here
		}
		if got != row.want {
			t.Errorf("%s: %s, want %s", row.expr, got, row.want)
		}
		if got == unknown || got == here {
			if len(d.Unknown) != 1 || d.Unknown[0].Reason == "" || d.Unknown[0].NotHere != (got == here) {
				t.Errorf("%s: unknown without its reason: %+v", row.expr, d.Unknown)
			}
		}
		if got == yes && (len(d.Findings) != 1 || len(d.Findings[0].Clauses) == 0) {
			t.Errorf("%s: a finding without clauses", row.expr)
		}
	}
}

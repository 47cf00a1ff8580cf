package playbooks_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/playbooks"
)

// Each row is one change to a playbook that is right, and what lint says then: the place of the first problem, and a part of its words.
func TestLint(t *testing.T) {
	rows := []struct{ old, now, at, want string }{
		// Facts, names and types.
		{"conntrack.max > 0 and", "conntrack.maximum > 0 and", "13:17", `there is no fact "maximum" here; there are count, max,`},
		{"conntrack.max > 0 and", "conntrack.maxx > 0 and", "13:17", `did you mean "max"?`},
		{"conntrack.max > 0 and", "contrack.max > 0 and", "13:7", `did you mean "conntrack"?`},
		{"conntrack.max > 0 and", "usd > 0 and", "13:7", `did you mean "used"?`},
		{"used >= params.full", "used >= params.ful", "13:44", `there is no parameter "ful"; did you mean "full"?`},
		{"used >= params.full", "used >= full", "13:37", `did you mean params.full?`},
		{"conntrack.max > 0", "conntrack.max > \"0\"", "13:21", "a number cannot be compared with a text"},
		{"conntrack.max > 0", "units.boot > 5", "13:18", `write duration("5m")`},
		{"conntrack.max > 0", "units.failed == [\"a\"]", "13:20", "lists are not compared"},
		{"conntrack.max > 0 and", "conntrack.max and", "13:21", "and joins conditions, and one side is a number"},
		{"conntrack.max > 0", "conntrack.max = 0", "13:21", "to compare, write =="},
		{"conntrack.max > 0", "conntrack.max == nil", "13:24", "nil is no value here"},
		{"conntrack.max > 0", "conntrack?.max > 0", "13:18", "write . instead of ?."},
		{"conntrack.max > 0", "conntrack.max in 1..5", "13:25", "ranges (..)"},
		{"conntrack.max > 0", "conntrack.max ** 2 > 0", "13:21", "powers"},
		{"conntrack.max > 0", "now() > 0", "13:7", `there is no function "now"`},
		{"conntrack.max > 0", "lenn(units.failed) > 0", "13:7", `did you mean "len"?`},
		{"conntrack.max > 0", "len(units.failed, 1) > 0", "13:7", "it is written len(x)"},
		{"conntrack.max > 0", "any(units.failed, 1)", "13:25", "any wants a condition on the elements, and this is a number"},
		{"conntrack.max > 0", "any(nics, .total > 0)", "13:11", "keys(map) and values(map) are lists"},
		{"conntrack.max > 0", "units.state matches units.state", "13:19", "a regular expression is written out"},
		{"conntrack.max > 0", "units.state matches \"a(\"", "13:27", "in the regular expression: missing closing )"},
		{"conntrack.max > 0", "units.state matches \"(aa{900})(bb{900})\"", "13:27", "the regular expression is too large"},
		{"conntrack.max > 0", "duration(\"5 minutes\") > units.boot", "13:16", "is no duration"},
		{"conntrack.max > 0", "(conntrack.loaded ? 1 :\"a\") == 1", "13:", "must be of one type"},
		{"conntrack.max > 0", "conntrack.max / 0 > conntrack.max", "", ""},
		{"conntrack.max > 0", "1 / 0 > conntrack.max", "13:9", "this has no answer, ever: division by zero"},
		{"conntrack.max > 0 and used >= params.full", "1 > 0", "13:7", "this is always yes"},
		{"conntrack.max > 0 and used >= params.full", "conntrack.max + 1", "13:7", "a condition is wanted, and this is a number"},
		{"conntrack.max > 0", "units.failed[0:1] == 1", "13:", "parts of lists"},
		{"conntrack.max > 0", "{\"a\": 1}.a > 0 and", "13:", "in quotes"},
		{"conntrack.max > 0", "conntrack.max ?? 0 > 1", "13:26", "write (a ?? b) + c"},
		{"conntrack.max > 0", "conntrack.max >", "13:23", `"and" is not expected here`},
		{"conntrack.max > 0 and used", "conntrack.max >0 and (used", "13:", "the expression ends too early"},
		{"conntrack.max > 0", strings.Repeat("(", 40) + "1" + strings.Repeat(")", 40) + " > conntrack.max", "13:39", "brackets are nested more than 32 deep"},
		{"conntrack.max > 0", strings.Repeat("conntrack.max > 0 and ", 200) + "conntrack.loaded", "13:7", "4096 is the limit"},
		{"room: int(memory", "room: int(room + memory", "12:13", "room is defined by itself"},
		{"  room: int(", "  idle: conntrack.max\n  room: int(", "12:3", "idle is not used"},
		{"  used: conntrack.count", "  count: conntrack.count", "11:3", `"count" is a word of the language`},
		{"  used: conntrack.count", "  memory: conntrack.count", "11:3", `"memory" is a probe's name`},

		// The file.
		{"id: conntrack-table-full", "id: conntrack-full", "1:5", "they must be the same"},
		{"area: network", "area: networks", "2:7", `did you mean "network"?`},
		{"area: network\n", "", "1:1", `the key "area" is missing`},
		{"covers: [ecs/", "coverss: [ecs/", "6:1", `did you mean "covers"?`},
		{"ecs/GuestOS.NetworkStatus", "NetworkStatus", "6:10", "is not SYSTEM/NAME"},
		{"covers: [ecs/GuestOS.NetworkStatus, domain/GuestOS.NetworkPacketDrop, doc/conntrack-table-full]", "covers: []", "6:9", "the list is empty"},
		{"risk: reversible", "risk: harmless", "5:7", "risk is harmless, and conntrack.limit is reversible"},
		{"risk: reversible\n", "", "15:3", "with a fix, risk says"},
		{"\"warning\"}'", "\"bad\"}'", "4:54", `"bad" is none of info, warning, critical`},
		{"severity: '{conntrack.drops_per_s > 0 ? \"critical\" : \"warning\"}'", "severity: criticl", "4:11", `did you mean "critical"?`},
		{"new connections, zh", "new connections., zh", "3:13", "without a period"},
		{"full: {default: 0.95, min: 0.8, max: 1, why: above this a burst of one second fills the rest}", "full: {default: 0.5, min: 0.8, max: 1, why: x}", "8:3", "min < max, and its default between"},
		{", why: part of memory that the table may take", "", "9:3", "the parameter share needs a why"},
		{"share: {default: 0.05,", "share: {default: x,", "9:20", `"x" is none`},
		{"params.share / conntrack", "0.1 / conntrack", "9:3", "the parameter share is not used"},
		{"settle: 5s", "settle: 5", "21:9", "is no duration"},
		{"see: [https:", "see: [ttps:", "22:7", "is no URL"},
		{"severity: '", "means: {en: \"up to {conntrack.max} entries\"}\nseverity: '", "4:13", "without {expressions}"},
		{"manual: {en:", "manual: {fr: x, en:", "19:10", `there is no language "fr"`},
		{"manual: {en: No memory is left for a larger table., zh", "manual: {zh", "19:", "the English text (en) is missing"},

		// The fix.
		{"do: conntrack.limit", "do: conntrack.limits", "16:9", `did you mean "conntrack.limit"?`},
		{"with: {max:", "with: {maxx:", "18:12", `conntrack.limit has no argument "maxx"; did you mean "max"?`},
		{"\"{min(conntrack.max * 2, room)}\"", "\"{conntrack.max * 2.5}\"", "18:19", "wants a whole number, and this is a number: write int(x)"},
		{"\"{min(conntrack.max * 2, room)}\"", "lots", "18:17", `wants a whole number, and "lots" is none`},
		{"\"{min(conntrack.max * 2, room)}\"", "0", "18:17", "max lies between 1 and 1000000000, and 0 does not"},
		{"\"{min(conntrack.max * 2, room)}\"", "{min(conntrack.max * 2, room)}", "18:", "a comma ends a plain text"},
		{"    with: {max: \"{min(conntrack.max * 2, room)}\"}\n", "", "16:5", "conntrack.limit needs the argument max"},
		{"do: conntrack.limit", "do: journal.vacuum", "18:12", "has no argument"},
		{"{min(conntrack.max * 2, room)}", "{min(conntrack.max * 2, room)", "18:18", "this { is not closed"},
		{"{conntrack.count} of", "{conntrack.coun} of", "14:24", `did you mean "count"?`},
		{"{conntrack.count} of", "{filesystems.mounts} of", "14:14", "map(list, .NAME)"},
		{"{min(conntrack.max * 2, room)}", "{units.failed}", "18:19", "wants a whole number, and this is a list of texts"},
		{"let:\n", "for_each: {x: '[\"a\"]'}\nlet:\n", "10:16", "this one is written out"},
		{"let:\n", "for_each: {x: units.failed}\nlet:\n", "14:7", "this does not look at x"},
		{"let:\n", "for_each: {x: 'map(units.failed, len(#))'}\nlet:\n", "10:16", "have no key"},
		{"conntrack.max > 0", "not conntrack.max > 0", "13:7", "not (a > b)"},
		{"{conntrack.count} of", "{conntrack} of", "14:14", "a text cannot show a set of facts"},

		// YAML.
		{"conntrack.max > 0 and", "units.state == \"a: b\" and", "13:", "in quotes"},
		{"conntrack.max > 0 and", "!conntrack.loaded and", "13:7", "anchor, alias or tag"},
		{"conntrack.max > 0 and", "*x and", "13:7", "anchor, alias or tag"},
		{"conntrack.max > 0 and", "\"a\" == units.state and", "13:", "in quotes as a whole"},
		{"conntrack.max > 0 and used", "any(units.failed, # == \"x\") and used", "13:", "is a comment"},
		{"area: network", "area: network\narea: network", "3:1", `the key "area" is given twice`},
		{"area: network", "<<: {area: network}", "2:1", "merge keys"},
		{"area: network", "area: network\n---", "3:1", "one document"},
		{"covers: [", "covers: [[[[[[[[[[[[[[[[[[[[", "6:24", "nested more than 16 deep"},
		{"room: int(memory.total", "room: {min(a, b): int(memory.total", "13:", "must be specified"},
		{"area: network", "area:\tnetwork", "2:6", "this is a tab"},
		{"area: network", "area: \xff", "2:7", "not UTF-8"},
		{"area: network", "area: network # " + strings.Repeat("x", 300<<10), "", "256 KiB is the limit"},
	}
	for _, row := range rows {
		if !strings.Contains(conntrackFull, row.old) {
			t.Fatalf("the playbook has no %q", row.old)
		}
		text := strings.Replace(conntrackFull, row.old, row.now, 1)
		_, err := playbooks.Load([]playbooks.File{{Name: "conntrack-table-full.yaml", Data: []byte(text)}}, schema(t), actions)
		var problems playbooks.Problems
		if !errors.As(err, &problems) {
			if row.want != "" {
				t.Errorf("%q → %.80q is accepted", row.old, row.now)
			}
			continue
		}
		if !slices.ContainsFunc(problems, func(p playbooks.Problem) bool {
			return strings.HasPrefix(fmt.Sprintf("%d:%d", p.Line, p.Column), row.at) && strings.Contains(p.Text, row.want)
		}) {
			t.Errorf("%.80q → %.80q\n%v\nwant %s: %s", row.old, row.now, problems, row.at, row.want)
		}
	}
}

// `covers` is held to the lists; a site's own names are free.
func TestCovers(t *testing.T) {
	lists := []playbooks.File{
		{Name: "covers/ecs.yaml", Data: []byte("about: items\nnames:\n  GuestOS.MemUtil: memory is used\n  Instance.NcHang: {what: the host hung, not: nobody inside knows}\n")},
		{Name: "covers/ecs-item.yaml", Data: []byte("about: items\nnames: {TCPBacklog: {what: queues overflow, see: https://example.com}}\n")},
	}
	c, err := playbooks.LoadCovers(lists)
	if err != nil {
		t.Fatal(err)
	}
	for covers, want := range map[string]string{
		"ecs/GuestOS.MemUtil, ecs-item/TCPBacklog, site/our-thing": "",
		"ecs/GuestOS.MemUtill":     `one.yaml:4:10: there is no "ecs/GuestOS.MemUtill" in playbooks/library/covers; did you mean "ecs/GuestOS.MemUtil"?`,
		"ecs/old/TCPBacklog":       `did you mean "ecs-item/TCPBacklog"?`,
		"ecs/Instance.NcHang":      "no playbook can answer it: nobody inside knows",
		"elsewhere/something-else": `there is no "elsewhere/something-else"`,
	} {
		text := strings.Replace(simple("one", "conntrack.max > 0", "severity: info"), "[doc/x]", "["+covers+"]", 1)
		l, err := playbooks.Load([]playbooks.File{{Name: "one.yaml", Data: []byte(text)}}, schema(t), actions)
		if err != nil {
			t.Fatal(err)
		}
		err = l.CheckCovers(c)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", covers, err, want)
		}
	}
	_, err = playbooks.LoadCovers([]playbooks.File{{Name: "bad.yaml", Data: []byte("about: x\nnames:\n  A: b\n  C: {wat: d}\n  E: [f]\n")}})
	for _, want := range []string{`bad.yaml:4:7: there is no key "wat"; did you mean "what"?`, "C says not what it is", "here a mapping is wanted, and this is a list"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

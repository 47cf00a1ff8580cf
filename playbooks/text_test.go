package playbooks_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

func TestHuman(t *testing.T) {
	rows := []struct {
		v    probes.Value
		unit string
		want string
	}{
		{probes.IntValue(65536), "entries", "65536"},
		{probes.IntValue(1500), "bytes", "1500 B"},
		{probes.IntValue(4096), "bytes", "4 KiB"},
		{probes.IntValue(0), "bytes", "0 B"},
		{probes.IntValue(10 << 10), "bytes", "10 KiB"},
		{probes.IntValue(1288490188), "bytes", "1.2 GiB"},
		{probes.IntValue(-3 << 30), "bytes", "-3 GiB"},
		{probes.FloatValue(1.5e12), "bytes", "1.4 TiB"},
		{probes.IntValue(math.MaxInt64), "bytes", "8 EiB"},
		{probes.FloatValue(97.26), "%", "97.3"},
		{probes.FloatValue(100), "%", "100"},
		{probes.FloatValue(-0.01), "%", "0"},
		{probes.FloatValue(0.9), "", "0.9"},
		{probes.FloatValue(12.3456), "1/s", "12.3"},
		{probes.FloatValue(1234.56), "1/s", "1235"},
		{probes.FloatValue(0.000123456), "s", "0.000123"},
		{probes.FloatValue(0), "s", "0"},
		{probes.DurationValue(3*time.Hour + 2*time.Minute + 5*time.Second), "", "3h2m"},
		{probes.DurationValue(49 * time.Hour), "", "2d1h"},
		{probes.DurationValue(48 * time.Hour), "", "2d"},
		{probes.DurationValue(10 * time.Minute), "", "10m"},
		{probes.DurationValue(90 * time.Second), "", "1m30s"},
		{probes.DurationValue(2500 * time.Millisecond), "", "2.5s"},
		{probes.DurationValue(-1500 * time.Microsecond), "", "-1.5ms"},
		{probes.DurationValue(math.MinInt64), "", "-106751d23h"},
		{probes.DurationValue(0), "", "0s"},
		{probes.BoolValue(true), "", "yes"},
		{probes.StringValue("x"), "", "x"},
	}
	for _, row := range rows {
		if got := playbooks.Human(&row.v, row.unit); got != row.want {
			t.Errorf("%v %s: %q, want %q", row.v, row.unit, got, row.want)
		}
	}
}

// TestTitlesLeaveOpenWhatIsNotKnown has a title that tells a number: without it, it is neither a number nor "unknown".
func TestTitlesLeaveOpenWhatIsNotKnown(t *testing.T) {
	l := load(t, strings.Replace(simple("clock", "conntrack.drops_per_s > 1", "severity: info"), "{en: t, zh: t}", `{en: "It is {conntrack.drops_per_s} off", zh: "偏差 {conntrack.drops_per_s}"}`, 1))
	for facts, want := range map[string]playbooks.Text{
		"conntrack: {drops_per_s: null}":            {EN: "It is … off", ZH: "偏差 …"},
		"conntrack: {drops_per_s: {unreadable: x}}": {EN: "It is … off", ZH: "偏差 …"},
		"conntrack: failed, x":                      {EN: "It is … off", ZH: "偏差 …"},
		"conntrack: {drops_per_s: 2}":               {EN: "It is 2 off", ZH: "偏差 2"},
	} {
		d := l.Match(snapshot(t, facts), nil)
		if got := d.Checks[0].Title; got != want {
			t.Errorf("%s: check %v, want %v", facts, got, want)
		}
		for _, u := range d.Unknown {
			if u.Title != want {
				t.Errorf("%s: unknown %v, want %v", facts, u.Title, want)
			}
		}
	}
}

func TestTexts(t *testing.T) {
	rows := []struct{ text, en, zh string }{
		{"{units.failed} {{x}}", "a.service, b.service {x}", "a.service、b.service {x}"},
		{"{keys(sysctl)}: {values(sysctl)}", "net.bad, vm.swappiness, vm.zero: unknown, 60, 0", "net.bad、vm.swappiness、vm.zero: 未知、60、0"},
		{"{[1, 2, 3, 4, 5, 6, 7]}", "1, 2, 3, 4, 5 and 2 more", "1、2、3、4、5 等 7 个"},
		{"{conntrack.drops_per_s}{sysctl[\"net.bad\"]}", "unknownunknown", "未知未知"},
		{"{conntrack.drops_per_s ?? 0.5} of {memory.pressure_pct} %", "0.5 of 12.5 %", "0.5 of 12.5 %"},
		{"{\"a}b\" + units.state}", "a}bdegraded", "a}bdegraded"},
		{"{max(map(filesystems.mounts, .age))} {filter(map(filesystems.mounts, .mount), # != \"/\")}", "3h /b, /c", "3h /b、/c"},
	}
	for _, row := range rows {
		text := "id: x\narea: memory\ntitle: t\nseverity: info\ncovers: [doc/x]\nmanual: m\nwhen: conntrack.loaded\nevidence:\n  - en: >-\n      " + row.text + "\n    zh: >-\n      " + row.text + "\n"
		d := load(t, text).Match(snapshot(t, facts), nil)
		if got := d.Findings[0].Evidence[0]; got.EN != row.en || got.ZH != row.zh {
			t.Errorf("%s: %q %q, want %q %q", row.text, got.EN, got.ZH, row.en, row.zh)
		}
	}
}

func TestArguments(t *testing.T) {
	rows := []struct{ with, want string }{
		{`{mount: /x, keep: 5m, mode: time, share: 1, force: true, units: [a, "{units.state}"]}`, `journal.vacuum mount=/x keep=5m0s mode=time share=1 force=true units=[a,degraded]`},
		{
			`{mount: "/x/{units.state}/{memory.total}", share: "{memory.pressure_pct / 100}", keep: "{units.boot * 2}", units: "{units.failed}"}`,
			`journal.vacuum mount=/x/degraded/1000 share=0.125 keep=1m24s units=[a.service,b.service]`,
		},
		{`{mount: "{units.state}"}`, ``},                    // does not match its pattern
		{`{mount: "/{sysctl[\"net.bad\"]}"}`, ``},           // not known
		{`{mount: /x, share: "{memory.pressure_pct}"}`, ``}, // out of bounds
		{`{mount: /x, mode: "{units.state}"}`, ``},          // none of those allowed
	}
	for _, row := range rows {
		text := simple("x", "conntrack.loaded", "severity: info\nrisk: harmless\nfix:\n  - do: journal.vacuum\n    with: "+row.with)
		f := load(t, text).Match(snapshot(t, facts), nil).Findings[0]
		switch {
		case row.want == "" && (len(f.Steps) != 0 || len(f.Withheld) != 1 || f.Manual.EN != "m"):
			t.Errorf("%s: %v %v", row.with, f.Steps, f.Withheld)
		case row.want != "" && (len(f.Steps) != 1 || f.Steps[0].String() != row.want):
			t.Errorf("%s: %v %v, want %s", row.with, f.Steps, f.Withheld, row.want)
		}
	}
}

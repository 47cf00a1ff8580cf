package playbooks_test

import (
	"context"
	"testing"
	"time"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// The tests' own host: a few probes that have every type of fact.
type (
	conntrackFacts struct {
		Count  int                 `fact:"count" unit:"entries" doc:"entries in use"`
		Max    int                 `fact:"max" unit:"entries" doc:"limit"`
		Drops  probes.Opt[float64] `fact:"drops_per_s" unit:"1/s" doc:"dropped"`
		Bytes  int                 `fact:"entry_bytes" unit:"bytes" doc:"size of an entry"`
		Loaded bool                `fact:"loaded" doc:"whether the module is loaded"`
	}
	mountFacts struct {
		Mount    string                    `fact:"mount,key" doc:"where"`
		Device   string                    `fact:"device" doc:"what"`
		Fstype   string                    `fact:"fstype" doc:"which"`
		UsedPct  float64                   `fact:"used_pct" unit:"%" doc:"used"`
		Free     int                       `fact:"bytes_free" unit:"bytes" doc:"free"`
		ReadOnly bool                      `fact:"read_only" doc:"read only"`
		Inodes   probes.Opt[float64]       `fact:"inodes_pct" unit:"%" doc:"inodes used, if it has any"`
		Age      time.Duration             `fact:"age" doc:"since it was mounted"`
		Label    probes.Opt[string]        `fact:"label" doc:"name, if it has one"`
		Check    probes.Opt[time.Duration] `fact:"check" doc:"until the next check"`
	}
	filesystemsFacts struct {
		Mounts probes.Cut[mountFacts] `fact:"mounts" doc:"all mounts"`
	}
	memoryFacts struct {
		Total     int     `fact:"total" unit:"bytes" doc:"all"`
		Available int     `fact:"available" unit:"bytes" doc:"free"`
		Pressure  float64 `fact:"pressure_pct" unit:"%" doc:"stalled"`
	}
	unitsFacts struct {
		Failed []string      `fact:"failed" doc:"names"`
		Boot   time.Duration `fact:"boot" doc:"how long the boot took"`
		State  string        `fact:"state" doc:"running or degraded"`
	}
)

type source struct{}

func schema(t testing.TB) []probes.Info {
	t.Helper()
	list := []probes.Probe[source]{
		probes.Define(probes.Probe[source]{Name: "conntrack", Doc: "t\n\nx"}, none[conntrackFacts]),
		probes.Define(probes.Probe[source]{Name: "filesystems", Doc: "t\n\nx"}, none[filesystemsFacts]),
		probes.Define(probes.Probe[source]{Name: "memory", Doc: "t\n\nx"}, none[memoryFacts]),
		probes.Define(probes.Probe[source]{Name: "units", Doc: "t\n\nx"}, none[unitsFacts]),
		probes.DefineKeyed(probes.Probe[source]{Name: "sysctl", Doc: "t\n\nx"}, nil, func(context.Context, source, string) (int, error) { return 0, nil }),
		probes.DefineKeyed(probes.Probe[source]{Name: "nics", Doc: "t\n\nx"}, nil, func(context.Context, source, string) (memoryFacts, error) { return memoryFacts{}, nil }),
	}
	if err := probes.Validate(list); err != nil {
		t.Fatal(err)
	}
	return probes.Describe(list)
}

func none[T any](context.Context, source) (T, error) { var zero T; return zero, nil }

var actions = []playbooks.Action{
	{
		Name: "conntrack.limit", Doc: "Raise the limit", Risk: playbooks.Reversible, Undo: true,
		Args:   []playbooks.Arg{{Name: "max", Doc: "entries", Kind: probes.Int, Required: true, Min: 1, Max: 1e9}},
		Writes: []string{"sysctl:net.netfilter.nf_conntrack_max={max}"},
	},
	{
		Name: "journal.vacuum", Doc: "Shrink the journal", Risk: playbooks.Harmless,
		Args: []playbooks.Arg{
			{Name: "mount", Doc: "where", Kind: probes.String, Required: true, Pattern: "^/.*$"},
			{Name: "keep", Doc: "how long", Kind: probes.Duration},
			{Name: "mode", Doc: "how", Kind: probes.String, Enum: []string{"time", "size"}},
			{Name: "share", Doc: "share", Kind: probes.Float, Min: 0, Max: 1},
			{Name: "force", Doc: "yes", Kind: probes.Bool},
			{Name: "units", Doc: "which", Kind: probes.List},
		},
	},
	{Name: "host.reboot", Doc: "Reboot", Risk: playbooks.Disruptive},
}

const conntrackFull = `id: conntrack-table-full
area: network
title: {en: The connection-tracking table is full and drops new connections, zh: 连接跟踪表已满，新连接被丢弃}
severity: '{conntrack.drops_per_s > 0 ? "critical" : "warning"}'
risk: reversible
covers: [ecs/GuestOS.NetworkStatus, domain/GuestOS.NetworkPacketDrop, doc/conntrack-table-full]
params:
  full: {default: 0.95, min: 0.8, max: 1, why: above this a burst of one second fills the rest}
  share: {default: 0.05, min: 0.01, max: 0.2, why: part of memory that the table may take}
let:
  used: conntrack.count / conntrack.max
  room: int(memory.total * params.share / conntrack.entry_bytes)
when: conntrack.max > 0 and used >= params.full
evidence: ["{conntrack.count} of {conntrack.max} entries used, {conntrack.drops_per_s}/s dropped"]
fix:
  - do: conntrack.limit
    if: room > conntrack.max
    with: {max: "{min(conntrack.max * 2, room)}"}
manual: {en: No memory is left for a larger table., zh: 内存不足。}
verify: used < 0.8 and conntrack.drops_per_s == 0
settle: 5s
see: [https://docs.kernel.org/networking/nf_conntrack-sysctl.html]
`

const filesystemFull = `id: filesystem-full
area: storage
title: {en: "{fs.mount} is almost full", zh: "{fs.mount} 快满了"}
severity: critical
risk: reversible
covers: [ecs/GuestOS.DiskUtil]
for_each: {fs: "filter(filesystems.mounts, not .read_only)"}
params: {full: {default: 90, min: 70, max: 99, why: below nothing fails}}
when: |
  fs.used_pct >= params.full and
  fs.fstype in ["ext4", "xfs", "btrfs"]
evidence: ["{fs.mount} ({fs.device}) is {fs.used_pct} % full, {fs.bytes_free} left"]
fix:
  - {do: journal.vacuum, with: {mount: "{fs.mount}"}}
until: fs.used_pct < params.full - 5
verify: fs.used_pct < params.full
`

func load(t testing.TB, files ...string) *playbooks.Library {
	t.Helper()
	l, err := playbooks.Load(named(files...), schema(t), actions)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// named gives playbooks the names that their ids want.
func named(files ...string) []playbooks.File {
	list := make([]playbooks.File, len(files))
	for i, text := range files {
		var id string
		for line := range linesOf(text) {
			if len(line) > 4 && line[:4] == "id: " {
				id = line[4:]
				break
			}
		}
		list[i] = playbooks.File{Name: id + ".yaml", Data: []byte(text)}
	}
	return list
}

func linesOf(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := range s {
			if s[i] == '\n' {
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

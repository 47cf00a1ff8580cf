package main

import (
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/playbooks/library"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/probes/linux"
	"github.com/hostmend/hostmend/probes/network"
	actions "github.com/hostmend/hostmend/remediate/linux"
)

// figures are the promises, in the order of the page.
var figures = []figure{
	{"one-shot, wall", "≤ 1.5 s with its 1 s of sampling", 1.5, "s", oneShot(oneShotWall)},
	{"one-shot, CPU", "≤ 250 ms", 250, "ms", oneShot(oneShotCPU)},
	{"one-shot, peak memory", "≤ 48 MiB", 48, "MiB", oneShot(oneShotPeak)},
	{"one-shot when every remote is dead, wall", "≤ 5 s", 5, "s", deadRemotes},
	{"the facts that node_exporter also reads", "≤ 1/4 of the CPU of one scrape", 0.25, "×", collection},
	{"50,000 TCP sockets", "≤ 1.3 × a raw INET_DIAG dump, CPU", 1.3, "×", goFigure("./internal/host", "Sockets50k", "x-raw", 1,
		peer{"ours", "Sockets50k", "ms-CPU", 1, "ms"}, peer{"raw dump", "Sockets50k", "raw-ms-CPU", 1, "ms"},
		peer{"vishvananda/netlink", "Sockets50k", "vishvananda-ms-CPU", 1, "ms"})},
	{"10,000 routes", "≤ 10 ms CPU", 10, "ms", goFigure("./probes/linux", "Routes10k", "ms-CPU", 1,
		peer{"vishvananda/netlink", "Routes10k", "vishvananda-ms-CPU", 1, "ms"})},
	{"1,000 conditions over about 1,900 facts", "≤ 0.6 ms (stretch 0.25 ms)", 0.6, "ms", goFigure("./playbooks", "Thousand", "ns/op", 1e-6,
		peer{"expr's VM on the same text", "ThousandVM", "ns/op", 1e-6, "ms"})},
	{"the same, allocations", "0", 0, "allocs", goFigure("./playbooks", "Thousand", "allocs/op", 1,
		peer{"expr's VM on the same text", "ThousandVM", "allocs/op", 1, "allocations"})},
	{"10 changed facts", "≤ 10 µs", 10, "µs", goFigure("./playbooks", "TenChanged", "ns/op", 1e-3)},
	{"1,000 loopback targets swept, CPU a probe", "≤ 10 µs", 10, "µs", goFigure("./internal/host", "Sweep1000/sweep", "µs-cpu/probe", 1,
		peer{"fping", "Sweep1000/fping", "µs-cpu/probe", 1, "µs"})},
	{"the same, false loss", "0", 0, "lost", goFigure("./internal/host", "Sweep1000/sweep", "lost", 1)},
	{"loading and compiling the library", "≤ 80 ms CPU", 80, "ms", loading},
	{"binary, linux/amd64", "≤ 25 MB stripped, static", 25, "MB", size("amd64")},
	{"binary, linux/arm64", "≤ 25 MB stripped, static", 25, "MB", size("arm64")},
}

// goFigure takes a figure from a metric of a Go benchmark, scaled into the figure's unit; peers are other metrics, or other
// benchmarks of the same run.
func goFigure(pkg, bench, unit string, scale float64, peers ...peer) func(*machine) (row, error) {
	var names []string // of the functions, without the names of their parts
	for _, name := range append([]string{bench}, benches(peers)...) {
		name, _, _ = strings.Cut(name, "/")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	pattern := "^Benchmark(" + strings.Join(names, "|") + ")$"
	return func(m *machine) (row, error) {
		samples, err := m.goBench(pkg, pattern)
		if err != nil {
			return row{}, err
		}
		v, err := metric(samples, bench, unit)
		if err != nil {
			return row{}, err
		}
		r := row{measured: v * scale, ok: true}
		for _, p := range peers {
			v, err := metric(samples, p.bench, p.unit)
			if err != nil {
				r.peers = append(r.peers, p.name+": "+err.Error())
				continue
			}
			r.peers = append(r.peers, fmt.Sprintf("%s: %.3g %s", p.name, v*p.scale, p.shown))
		}
		return r, nil
	}
}

// peer is another way to the same answer.
type peer struct {
	name  string
	bench string
	unit  string
	scale float64
	shown string
}

func benches(peers []peer) []string {
	names := make([]string, len(peers))
	for i, p := range peers {
		names[i] = p.bench
	}
	return names
}

// loading times the shipped library, from YAML to closures.
func loading(*machine) (row, error) {
	names, err := fs.Glob(library.FS, "*.yaml")
	if err != nil {
		return row{}, err
	}
	var files []playbooks.File
	for _, name := range names {
		data, err := library.FS.ReadFile(name)
		if err != nil {
			return row{}, err
		}
		files = append(files, playbooks.File{Name: name, Data: data})
	}
	schema := slices.Concat(probes.Describe(linux.Probes()), probes.Describe(network.Probes()))
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	var took, walls []float64
	for range 11 {
		before, began := cpuSelf(), time.Now()
		if _, err := playbooks.Load(files, schema, actions.Actions()); err != nil {
			return row{}, err
		}
		took = append(took, (cpuSelf()-before).Seconds()*1000)
		walls = append(walls, time.Since(began).Seconds()*1000)
	}
	return row{
		measured: median(took), ok: true,
		cost: "most of it is parsing and compiling expressions",
		note: fmt.Sprintf("%d playbooks, CPU, median of %d; wall %.3g ms", len(files), len(took), median(walls)),
	}, nil
}

package linux

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// VMStat reads how hard the kernel works to find free memory.
var VMStat = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "vmstat",
	Doc: `Paging and reclaim

Reads /proc/vmstat twice. Costs 0.2 ms. Pages are the kernel's (4 KiB on x86_64; 4, 16 or 64 KiB on arm64). Reclaim by kswapd
is normal life on a host whose page cache fills the memory; direct reclaim makes the program itself wait, and swapping in makes
it wait for the disk. The rates are of one second in a single diagnosis. In a container the figures are the whole machine's.`,
	Every: 10 * time.Second,
}, vmstatSample, vmstat)

type vmstatFacts struct {
	OOMKills      probes.Opt[int]     `fact:"oom_kills" unit:"count" doc:"Processes killed for want of memory since boot, in control groups too; oom_kill, absent before Linux 4.13"`
	SwapIn        probes.Opt[float64] `fact:"swap_in_per_s" unit:"pages/s" doc:"Pages read from swap; pswpin, absent in a kernel without swap. Absent, as all rates, until there are two samples"`
	SwapOut       probes.Opt[float64] `fact:"swap_out_per_s" unit:"pages/s" doc:"Pages written to swap; pswpout"`
	MajorFaults   probes.Opt[float64] `fact:"major_faults_per_s" unit:"1/s" doc:"Page faults that read from disk; pgmajfault"`
	AllocStalls   probes.Opt[float64] `fact:"alloc_stalls_per_s" unit:"1/s" doc:"Allocations that had to reclaim memory themselves; allocstall of all zones"`
	DirectScanned probes.Opt[float64] `fact:"direct_scanned_per_s" unit:"pages/s" doc:"Pages looked at in direct reclaim; pgscan_direct of all zones"`
	DirectFreed   probes.Opt[float64] `fact:"direct_reclaimed_per_s" unit:"pages/s" doc:"Pages freed in direct reclaim; pgsteal_direct of all zones"`
	KswapdScanned probes.Opt[float64] `fact:"kswapd_scanned_per_s" unit:"pages/s" doc:"Pages looked at by kswapd; pgscan_kswapd of all zones"`
	FileRefaults  probes.Opt[float64] `fact:"file_refaults_per_s" unit:"pages/s" doc:"Pages of files read again soon after they were evicted; workingset_refault_file, before Linux 5.9 workingset_refault, absent before 3.15"`
	CompactStalls probes.Opt[float64] `fact:"compact_stalls_per_s" unit:"1/s" doc:"Allocations that had to move pages for a large block; compact_stall, absent without compaction"`
}

// vmCounters are the counters of /proc/vmstat by name, those that older kernels count per zone (pgscan_direct_normal) or newer ones
// do (allocstall_normal) summed up under the name without the zone.
type vmCounters map[string]uint64

// vmstatWanted are the counters worth keeping of about 180.
var vmstatWanted = []string{
	"oom_kill", "pswpin", "pswpout", "pgmajfault", "allocstall", "pgscan_direct", "pgsteal_direct", "pgscan_kswapd",
	"workingset_refault", "workingset_refault_file", "compact_stall",
}

func vmstatSample(_ context.Context, h host.Host) (vmCounters, error) {
	const name = "/proc/vmstat"
	text, err := readText(h, name)
	if err != nil {
		return nil, err
	}
	c := vmCounters{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		key, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		key = withoutZone(key)
		if !slices.Contains(vmstatWanted, key) {
			continue
		}
		v, err := parseCount(number)
		if err != nil {
			return nil, fmt.Errorf("reading %s: line %d: %s: %w", name, n, key, err)
		}
		c[key] += uint64(v)
	}
	for _, key := range []string{"pgmajfault", "allocstall"} {
		if _, ok := c[key]; !ok {
			return nil, fmt.Errorf("reading %s: no %s in %d lines", name, key, n)
		}
	}
	return c, nil
}

// withoutZone cuts the name of a memory zone off a counter's.
func withoutZone(key string) string {
	i := strings.LastIndexByte(key, '_')
	if i < 0 {
		return key
	}
	switch key[i+1:] {
	case "dma", "dma32", "normal", "high", "movable", "device":
		return key[:i]
	}
	return key
}

func vmstat(cur vmCounters, prev *vmCounters, dt time.Duration) (vmstatFacts, error) {
	var f vmstatFacts
	if n, ok := cur["oom_kill"]; ok {
		f.OOMKills = probes.Some(int(n))
	}
	if prev == nil {
		return f, nil
	}
	per := func(keys ...string) probes.Opt[float64] {
		for _, key := range keys {
			if v, ok := cur[key]; ok {
				return rate(v, (*prev)[key], dt)
			}
		}
		return probes.None[float64]()
	}
	f.SwapIn, f.SwapOut, f.MajorFaults = per("pswpin"), per("pswpout"), per("pgmajfault")
	f.AllocStalls, f.CompactStalls = per("allocstall"), per("compact_stall")
	f.DirectScanned, f.DirectFreed, f.KswapdScanned = per("pgscan_direct"), per("pgsteal_direct"), per("pgscan_kswapd")
	f.FileRefaults = per("workingset_refault_file", "workingset_refault")
	return f, nil
}

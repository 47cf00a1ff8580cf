package linux

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Memory reads what the memory is used for.
var Memory = probes.Define(probes.Probe[host.Host]{
	Name: "memory",
	Doc: `Memory and swap

Reads /proc/meminfo. Costs 0.05 ms. Page cache counts as used in "free" but not in "available": judge by available. Linux before
3.14 does not tell what is available; it is then free plus file pages plus reclaimable slab, which is some percent too much. In a
container the figures are the whole machine's, unless lxcfs replaces the file; a control group's limit is not seen here.`,
	Every: 10 * time.Second,
}, memory)

type memoryFacts struct {
	Total        int     `fact:"total" unit:"bytes" doc:"Memory that the kernel manages; MemTotal"`
	Free         int     `fact:"free" unit:"bytes" doc:"Memory used for nothing; MemFree"`
	Available    int     `fact:"available" unit:"bytes" doc:"What programs can still get without swapping; MemAvailable"`
	AvailablePct float64 `fact:"available_pct" unit:"%" doc:"available, as part of total"`
	Buffers      int     `fact:"buffers" unit:"bytes" doc:"Page cache of block devices; Buffers"`
	Cached       int     `fact:"cached" unit:"bytes" doc:"Page cache of files, shared memory and tmpfs included; Cached"`
	Anon         int     `fact:"anon" unit:"bytes" doc:"Heaps and stacks of programs; AnonPages"`
	AnonPct      float64 `fact:"anon_pct" unit:"%" doc:"anon, as part of total"`
	Shmem        int     `fact:"shmem" unit:"bytes" doc:"Shared memory and tmpfs, which only swap can free; Shmem"`
	ShmemPct     float64 `fact:"shmem_pct" unit:"%" doc:"shmem, as part of total"`
	Dirty        int     `fact:"dirty" unit:"bytes" doc:"File pages that wait to be written; Dirty"`
	Writeback    int     `fact:"writeback" unit:"bytes" doc:"File pages that are being written; Writeback"`
	Unevictable  int     `fact:"unevictable" unit:"bytes" doc:"Pages that cannot be reclaimed, locked ones for example; Unevictable"`

	Slab                 int     `fact:"slab" unit:"bytes" doc:"The kernel's own objects; Slab"`
	SlabReclaimable      int     `fact:"slab_reclaimable" unit:"bytes" doc:"Of these, caches such as dentries and inodes; SReclaimable"`
	SlabUnreclaimable    int     `fact:"slab_unreclaimable" unit:"bytes" doc:"Of these, what nothing but its owner frees; SUnreclaim"`
	SlabReclaimablePct   float64 `fact:"slab_reclaimable_pct" unit:"%" doc:"slab_reclaimable, as part of total"`
	SlabUnreclaimablePct float64 `fact:"slab_unreclaimable_pct" unit:"%" doc:"slab_unreclaimable, as part of total"`
	PageTables           int     `fact:"page_tables" unit:"bytes" doc:"Page tables; PageTables"`
	PageTablesPct        float64 `fact:"page_tables_pct" unit:"%" doc:"page_tables, as part of total"`
	KernelStack          int     `fact:"kernel_stack" unit:"bytes" doc:"Kernel stacks of the tasks; KernelStack"`

	PerCPU          probes.Opt[int]     `fact:"percpu" unit:"bytes" doc:"Per-CPU allocations of the kernel; Percpu, absent before Linux 4.20"`
	Unaccounted     probes.Opt[int]     `fact:"unaccounted" unit:"bytes" doc:"In use, but in no figure of /proc/meminfo: drivers, vmalloc, network buffers; absent before Linux 4.20, which lacks parts of the sum"`
	UnaccountedPct  probes.Opt[float64] `fact:"unaccounted_pct" unit:"%" doc:"unaccounted, as part of total"`
	Committed       int                 `fact:"committed" unit:"bytes" doc:"Memory that programs asked for, used or not; Committed_AS"`
	CommitLimit     int                 `fact:"commit_limit" unit:"bytes" doc:"Its limit, where vm.overcommit_memory is 2; CommitLimit"`
	CommittedPct    float64             `fact:"committed_pct" unit:"%" doc:"committed, as part of commit_limit"`
	HardwareCorrupt probes.Opt[int]     `fact:"hardware_corrupted" unit:"bytes" doc:"Memory that the kernel took out of use after a hardware error; HardwareCorrupted, absent without memory-failure support"`

	SwapTotal   int                 `fact:"swap_total" unit:"bytes" doc:"Swap space; SwapTotal, 0 without swap"`
	SwapFree    probes.Opt[int]     `fact:"swap_free" unit:"bytes" doc:"Swap space that is free; SwapFree"`
	SwapUsed    probes.Opt[int]     `fact:"swap_used" unit:"bytes" doc:"Swap space in use"`
	SwapUsedPct probes.Opt[float64] `fact:"swap_used_pct" unit:"%" doc:"Swap space in use; absent without swap"`

	Huge probes.Opt[hugePages] `fact:"hugepages" doc:"The pool of huge pages of the default size; absent where the kernel has none"`
}

type hugePages struct {
	Size     int     `fact:"size" unit:"bytes" doc:"Size of one page; Hugepagesize"`
	Total    int     `fact:"total" unit:"pages" doc:"Pages in the pool; HugePages_Total"`
	Free     int     `fact:"free" unit:"pages" doc:"Pages that are not in use, reserved ones included; HugePages_Free"`
	Reserved int     `fact:"reserved" unit:"pages" doc:"Free pages that are promised to a program; HugePages_Rsvd"`
	Surplus  int     `fact:"surplus" unit:"pages" doc:"Pages above vm.nr_hugepages, given back when they are freed; HugePages_Surp"`
	Needed   int     `fact:"needed" unit:"pages" doc:"Pages in use or promised: total - free + reserved"`
	Bytes    int     `fact:"bytes" unit:"bytes" doc:"Memory that the pool takes away from everything else"`
	Pct      float64 `fact:"pct" unit:"%" doc:"bytes, as part of memory.total"`
	Idle     int     `fact:"idle_bytes" unit:"bytes" doc:"Memory in pages of the pool that nobody uses or was promised"`
	IdlePct  float64 `fact:"idle_pct" unit:"%" doc:"idle_bytes, as part of memory.total"`
}

func memory(_ context.Context, h host.Host) (memoryFacts, error) {
	m, err := readMeminfo(h)
	if err != nil {
		return memoryFacts{}, err
	}
	pct := func(part int) float64 { return percent(float64(part), float64(m["MemTotal"])) }
	f := memoryFacts{
		Total: m["MemTotal"], Free: m["MemFree"], Available: m.available(), Buffers: m["Buffers"], Cached: m["Cached"],
		Anon: m["AnonPages"], Shmem: m["Shmem"], Dirty: m["Dirty"], Writeback: m["Writeback"], Unevictable: m["Unevictable"],
		Slab: m["Slab"], SlabReclaimable: m["SReclaimable"], SlabUnreclaimable: m["SUnreclaim"], PageTables: m["PageTables"],
		KernelStack: m["KernelStack"], PerCPU: m.optional("Percpu"), HardwareCorrupt: m.optional("HardwareCorrupted"),
		Committed: m["Committed_AS"], CommitLimit: m["CommitLimit"],
		CommittedPct: percent(float64(m["Committed_AS"]), float64(m["CommitLimit"])),
		SwapTotal:    m["SwapTotal"],
	}
	f.AvailablePct, f.AnonPct, f.ShmemPct = pct(f.Available), pct(f.Anon), pct(f.Shmem)
	f.SlabReclaimablePct, f.SlabUnreclaimablePct, f.PageTablesPct = pct(f.SlabReclaimable), pct(f.SlabUnreclaimable), pct(f.PageTables)
	m.swap(&f)
	if _, ok := m["Percpu"]; ok {
		u := m.unaccounted()
		f.Unaccounted, f.UnaccountedPct = probes.Some(u), probes.Some(pct(u))
	}
	if _, ok := m["HugePages_Total"]; ok {
		f.Huge = probes.Some(m.hugePages())
	}
	return f, nil
}

// meminfo is /proc/meminfo: kilobytes as bytes, counts of pages as they are.
type meminfo map[string]int

// readMeminfo reads /proc/meminfo. The keys that it insists on are older than Linux 2.6.32.
func readMeminfo(h host.Files) (meminfo, error) {
	const name = "/proc/meminfo"
	text, err := readText(h, name)
	if err != nil {
		return nil, err
	}
	m := meminfo{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		key, rest, ok := strings.Cut(line, ":")
		number, isKB := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		v, err := parseCount(number)
		if key == "SwapFree" {
			v = min(v, 1<<50) // see swap
		}
		if err == nil && (!ok || v > 1<<50) {
			err = errors.New("no key, or an absurd number")
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: line %d: %w", name, n, err)
		}
		if isKB {
			v *= 1024
		}
		m[key] = v
	}
	for _, key := range []string{
		"MemTotal", "MemFree", "Buffers", "Cached", "AnonPages", "Shmem", "Dirty", "Writeback", "Slab", "SReclaimable",
		"SUnreclaim", "PageTables", "Committed_AS", "CommitLimit", "SwapTotal", "SwapFree",
	} {
		if _, ok := m[key]; !ok {
			return nil, fmt.Errorf("reading %s: no %s in %d lines", name, key, n)
		}
	}
	if m["MemTotal"] == 0 || m["MemFree"] > m["MemTotal"] {
		return nil, fmt.Errorf("reading %s: MemTotal %d, MemFree %d cannot be", name, m["MemTotal"], m["MemFree"])
	}
	return m, nil
}

// swap fills in what is known of swap. lxcfs subtracts a control group's swap from its limit, and its SwapFree wraps below zero
// where the kernel charges less than the memory's part (seen with lxcfs 5.0): then only the total is known.
func (m meminfo) swap(f *memoryFacts) {
	free, total := m["SwapFree"], f.SwapTotal
	if free > total {
		why := "SwapFree in /proc/meminfo is more than SwapTotal"
		f.SwapFree, f.SwapUsed, f.SwapUsedPct = probes.Unread[int](why), probes.Unread[int](why), probes.Unread[float64](why)
		return
	}
	f.SwapFree, f.SwapUsed = probes.Some(free), probes.Some(total-free)
	if total > 0 {
		f.SwapUsedPct = probes.Some(percent(float64(total-free), float64(total)))
	}
}

func (m meminfo) optional(key string) probes.Opt[int] {
	if v, ok := m[key]; ok {
		return probes.Some(v)
	}
	return probes.None[int]()
}

// available is MemAvailable, or for Linux before 3.14 what it consists of without the watermarks that it leaves out
// (si_mem_available in the kernel's mm/show_mem.c). lxcfs counts tmpfs and shared memory as available, which they are not: they are in Cached
// and nothing but swap frees them (lxcfs_meminfo of src/proc_fuse.c). So it is never more than what is free or can be dropped.
func (m meminfo) available() int {
	if v, ok := m["MemAvailable"]; ok {
		most := m["MemFree"] + max(0, m["Cached"]+m["Buffers"]-m["Shmem"]) + m["SReclaimable"]
		if v > most+m["MemTotal"]/100 {
			return most
		}
		return v
	}
	return min(m["MemTotal"], m["MemFree"]+m["Active(file)"]+m["Inactive(file)"]+m["SReclaimable"])
}

// unaccounted is what is in use and in none of the disjoint parts that /proc/meminfo lists.
func (m meminfo) unaccounted() int {
	rest := m["MemTotal"]
	for _, part := range []string{
		"MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "Slab", "KernelStack", "PageTables", "SecPageTables",
		"Percpu", "Hugetlb", "Bounce",
	} {
		rest -= m[part]
	}
	return max(0, rest)
}

func (m meminfo) hugePages() hugePages {
	p := hugePages{
		Size: m["Hugepagesize"], Total: m["HugePages_Total"], Free: m["HugePages_Free"], Reserved: m["HugePages_Rsvd"],
		Surplus: m["HugePages_Surp"],
	}
	p.Needed = max(0, p.Total-p.Free+p.Reserved)
	p.Bytes = p.Total * p.Size
	p.Pct = percent(float64(p.Bytes), float64(m["MemTotal"]))
	p.Idle = max(0, p.Total-p.Needed) * p.Size
	p.IdlePct = percent(float64(p.Idle), float64(m["MemTotal"]))
	return p
}

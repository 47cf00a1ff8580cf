package linux

import (
	"strings"
	"testing"
)

// meminfo310 is /proc/meminfo as Linux 3.10 of CentOS 7.0 prints it, without MemAvailable.
const meminfo310 = `MemTotal:        8000000 kB
MemFree:         1000000 kB
Buffers:          100000 kB
Cached:          2000000 kB
SwapCached:            0 kB
Active(anon):    3000000 kB
Inactive(anon):   100000 kB
Active(file):    1200000 kB
Inactive(file):   700000 kB
Unevictable:           0 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
Dirty:              1000 kB
Writeback:             0 kB
AnonPages:       3000000 kB
Shmem:            200000 kB
Slab:             900000 kB
SReclaimable:     100000 kB
SUnreclaim:       800000 kB
KernelStack:       10000 kB
PageTables:        40000 kB
CommitLimit:     6000000 kB
Committed_AS:    9000000 kB
VmallocTotal:   34359738367 kB
HardwareCorrupted:     0 kB
HugePages_Total:     300
HugePages_Free:      290
HugePages_Rsvd:       40
HugePages_Surp:        0
Hugepagesize:       2048 kB
`

func TestMemory(t *testing.T) {
	newer := strings.Replace(meminfo310, "Buffers:", "MemAvailable:    2500000 kB\nPercpu:             2000 kB\nHugetlb:          614400 kB\nBuffers:", 1)
	before, _, _ := strings.Cut(meminfo310, "HugePages")
	for _, c := range []struct {
		name, meminfo string
		want          map[string]string
	}{
		{"Linux 3.10 does not say what is available", meminfo310, map[string]string{
			"total": "8192000000", "available": "3072000000", "available_pct": "37.5", "slab_unreclaimable_pct": "10", "shmem_pct": "2.5",
			"swap_used": "512000000", "swap_used_pct": "25", "committed_pct": "150", "percpu": "null", "unaccounted": "null", "hardware_corrupted": "0",
			"hugepages.total": "300", "hugepages.needed": "50", "hugepages.bytes": "629145600", "hugepages.pct": "7.68",
			"hugepages.idle_bytes": "524288000", "hugepages.idle_pct": "6.4",
		}},
		{"Linux 5.4", newer, map[string]string{"available": "2560000000", "percpu": "2048000", "unaccounted": "341606400"}},
		{
			"without swap", strings.NewReplacer("SwapTotal:       2000000", "SwapTotal: 0", "SwapFree:        1500000", "SwapFree: 0").Replace(meminfo310),
			map[string]string{"swap_total": "0", "swap_used_pct": "null"},
		},
		{"lxcfs counts tmpfs as available", "MemTotal: 1048576 kB\nMemFree: 289976 kB\nMemAvailable: 1003844 kB\nBuffers: 0 kB\nCached: 713868 kB\nShmem: 696428 kB\nAnonPages: 34016 kB\nKReclaimable: 474032 kB\nSReclaimable: 0 kB\n" +
			"SUnreclaim: 0 kB\nSlab: 0 kB\nPageTables: 0 kB\nDirty: 0 kB\nWriteback: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nCommitted_AS: 0 kB\nCommitLimit: 9000 kB\n", map[string]string{"available": "314793984"}},
		{
			"lxcfs counts swap below zero", strings.Replace(meminfo310, "1500000 kB", "18446744073709551444 kB", 1),
			map[string]string{"available_pct": "37.5", "swap_total": "2048000000", "swap_used": `{"unreadable":"SwapFree in /proc/meminfo is more than SwapTotal"}`},
		},
		{"without huge pages", before, map[string]string{"hugepages": "null"}},
		{"without a needed line", strings.Replace(meminfo310, "SUnreclaim", "Sunreclaim", 1), map[string]string{"(reason)": "no SUnreclaim"}},
		{"absurd", strings.Replace(meminfo310, "MemFree:         1000000", "MemFree:         9000000", 1), map[string]string{"(reason)": "cannot be"}},
		{"not a number", strings.Replace(meminfo310, "1000000 kB", "lots", 1), map[string]string{"(reason)": "reading /proc/meminfo: line 2"}},
		{"cut short", meminfo310[:100], map[string]string{"(reason)": "cut short"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "-- /proc/meminfo [quoted] --\n"
			wantFacts(t, Memory, observe(t, Memory, name+quote(c.meminfo)), c.want)
		})
	}
}

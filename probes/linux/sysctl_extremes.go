package linux

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// SysctlExtremes compares kernel parameters with the values that nobody needs.
var SysctlExtremes = probes.Define(probes.Probe[host.Host]{
	Name: "sysctl_extremes",
	Doc: `Kernel parameters beyond all use

Reads some twenty parameters, most of them of TCP and IP, with which connections end early, packets are dropped or writers stall when they are far too small or far too large. The bounds are well
outside of what tuning guides ask for: a value within them says nothing, one beyond is a slip of the pen or left from a test. What has a playbook of its own (buffers, SYN backlog,
port ranges, SACK, time to live) is not among them. Costs 0.2 ms. https://docs.kernel.org/networking/ip-sysctl.html, https://docs.kernel.org/admin-guide/sysctl/`,
	Every: 10 * time.Minute,
}, sysctlExtremes)

type sysctlExtremesFacts struct {
	List []sysctlExtreme `fact:"list" doc:"Parameters beyond these bounds"`
}

type sysctlExtreme struct {
	Name  string `fact:"name,key" doc:"As sysctl(8) writes it"`
	Value int    `fact:"value" unit:"count" doc:"Its value now"`
	Least int    `fact:"least" unit:"count" doc:"Below this, or above most, nobody needs it"`
	Most  int    `fact:"most" unit:"count" doc:"The upper bound; the largest number where there is none"`
	Usual string `fact:"usual" doc:"The kernel's default"`
	Hurts string `fact:"hurts" doc:"What suffers: connecting, connections, accepting, fragments, sending, receiving, unprivileged, reading (asynchronous I/O), writing, waiting, options"`
	File  string `fact:"file" doc:"A file that sets it at boot, with the line; empty if none was found"`
}

// extremes are bounds far from the defaults (net/ipv4/tcp_timer.c, tcp.h, ip_fragment.c, mm/page-writeback.c). High-availability guides set
// tcp_retries2 to 3 and tcp_syn_retries to 2: those are within.
var extremes = []sysctlExtreme{
	{"net.ipv4.tcp_syn_retries", 0, 2, 127, "6", "connecting", ""},
	{"net.ipv4.tcp_synack_retries", 0, 1, 255, "5", "accepting", ""},
	{"net.ipv4.tcp_abort_on_overflow", 0, 0, 0, "0", "accepting", ""},
	{"net.core.somaxconn", 0, 16, math.MaxInt, "4096, before Linux 5.4 128", "accepting", ""},
	{"net.ipv4.tcp_retries2", 0, 3, math.MaxInt, "15", "connections", ""},
	{"net.ipv4.tcp_keepalive_time", 0, 5, math.MaxInt, "7200", "connections", ""},
	{"net.ipv4.tcp_max_orphans", 0, 64, math.MaxInt, "by memory", "connections", ""},
	{"net.ipv4.tcp_limit_output_bytes", 0, 16384, math.MaxInt, "4194304", "sending", ""},
	{"net.ipv4.tcp_notsent_lowat", 0, 1024, math.MaxInt, "4294967295", "sending", ""},
	{"net.ipv4.tcp_min_snd_mss", 0, 0, 1000, "48", "sending", ""},
	{"net.ipv4.tcp_rto_min_us", 0, 1000, 2000000, "200000", "sending", ""},
	{"net.ipv4.tcp_max_reordering", 0, 3, math.MaxInt, "300", "sending", ""},
	{"net.ipv4.ipfrag_high_thresh", 0, 65536, math.MaxInt, "4194304", "fragments", ""},
	{"net.ipv4.ipfrag_time", 0, 1, math.MaxInt, "30", "fragments", ""},
	{"net.ipv4.ip_unprivileged_port_start", 0, 0, 1024, "1024", "unprivileged", ""},
	{"net.netfilter.nf_conntrack_tcp_timeout_established", 0, 60, math.MaxInt, "432000", "connections", ""},
	{"net.core.netdev_max_backlog", 0, 32, math.MaxInt, "1000", "receiving", ""},
	{"net.core.netdev_budget", 0, 16, math.MaxInt, "300", "receiving", ""},
	{"net.core.rmem_default", 0, 4096, math.MaxInt, "212992", "receiving", ""},
	{"net.core.wmem_default", 0, 4096, math.MaxInt, "212992", "sending", ""},
	{"net.core.optmem_max", 0, 1024, math.MaxInt, "131072", "options", ""},
	{"vm.dirty_bytes", 0, 1 << 20, math.MaxInt, "0", "writing", ""},
	{"fs.aio-max-nr", 0, 1024, math.MaxInt, "65536", "reading", ""},
	{"vm.dirty_ratio", 0, 2, 100, "20", "writing", ""},
	{"vm.vfs_cache_pressure", 0, 1, 10000, "100", "waiting", ""},
}

func sysctlExtremes(_ context.Context, h host.Host) (sysctlExtremesFacts, error) {
	f := sysctlExtremesFacts{List: []sysctlExtreme{}}
	if _, err := h.Stat("/proc/sys"); err != nil {
		return f, err
	}
	dirtyBytes, _ := readInt(h, "/proc/sys/vm/dirty_bytes")
	for _, e := range extremes {
		n, err := readInt(h, "/proc/sys/"+strings.ReplaceAll(e.Name, ".", "/"))
		// vm.dirty_bytes and vm.dirty_ratio: of the two the one that is 0 does not hold.
		if err != nil || n >= e.Least && n <= e.Most || e.Name == "vm.dirty_bytes" && n == 0 || e.Name == "vm.dirty_ratio" && dirtyBytes > 0 {
			continue
		}
		e.Value, e.File = n, sysctlSetIn(h, e.Name)
		f.List = append(f.List, e)
	}
	return f, nil
}

// sysctlSetIn is the last line of sysctl.conf and sysctl.d in /etc that names a parameter.
func sysctlSetIn(h host.Files, name string) string {
	files := []string{}
	entries, _ := h.ReadDir("/etc/sysctl.d")
	for _, e := range entries[:min(len(entries), 50)] {
		files = append(files, "/etc/sysctl.d/"+e.Name)
	}
	found := ""
	for _, file := range append(files, "/etc/sysctl.conf") {
		text, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			key, _, ok := strings.Cut(line, "=")
			if ok && strings.ReplaceAll(strings.Trim(key, " \t-"), "/", ".") == name {
				found = fmt.Sprintf("%s:%d", file, n)
			}
		}
	}
	return found
}

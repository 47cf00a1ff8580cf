package meta

import (
	"cmp"
	"regexp"
	"strings"
)

// An age is a kernel and its time, as differences from the host of a capture. proc_pid_stat(5), proc_meminfo(5), proc(5) and
// Documentation/admin-guide/iostats.rst say what came with which version.
type age struct {
	name  string
	edits []edit
	more  string // sections that only the old system had
}

// An edit changes or removes the sections of a capture whose heading matches.
type edit struct {
	heading *regexp.Regexp
	body    func(string) string // nil: the section goes
}

var ages = []age{
	{"linux-3.10", linux310, "-- /proc/sys/net/ipv4/tcp_tw_recycle --\n0\n"}, // RHEL 7, CentOS 7, Alibaba Cloud Linux 2 before 4.19
	{"linux-2.6.32", append(linux2632, linux310...), "-- /proc/sys/net/ipv4/tcp_tw_recycle --\n0\n-- /etc/redhat-release --\nCentOS release 6.10 (Final)\n"},
}

func section(heading string, body func(string) string) edit {
	return edit{regexp.MustCompile(`^(?:` + heading + `)(?: |$)`), body}
}

var linux310 = []edit{
	section(`/proc/sys/kernel/osrelease`, text("3.10.0-1160.119.1.el7.x86_64\n")),
	section(`/proc/version`, text("Linux version 3.10.0-1160.119.1.el7.x86_64 (builder) (gcc version 4.8.5) #1 SMP\n")),
	section(`/proc/meminfo`, withoutLines(`^(?:MemAvailable|Percpu|KReclaimable|Hugetlb|Shmem.*Huge|ShmemPmd|File(?:Huge|Pmd)|Cma|Zswap|SecPageTables|Unaccepted|Balloon)`)),
	section(`/proc/vmstat`, withoutLines(`^(?:oom_kill|workingset_|swap_ra|thp_swp|pgsteal_anon|pgscan_anon|pgsteal_file|pgscan_file|pgdemote|pgpromote|numa_page|balloon)`)), // oom_kill: 4.13
	section(`/proc/diskstats`, columns(14)), // discards: 4.18, flushes: 5.5
	section(`/proc/pressure/\w+`, nil),      // 4.20
	section(`/proc/net/softnet_stat|/proc/\d+/net/softnet_stat`, columns(10)),
	section(`/proc/\d+/status`, withoutLines(`^(?:NS|Rss(?:Anon|File|Shmem)|HugetlbPages|Seccomp|NoNewPrivs|CoreDumping|THP_|Speculation|untag|x86_|CapAmb|Kthread|Umask)`)),
	section(`/proc/(?:\d+/)?net/netstat`, columns(90)),
	section(`/sys/kernel/slab/nf_conntrack/.*`, nil),
	section(`/sys/block/\w+/queue/scheduler`, text("noop [deadline] cfq\n")),
	section(`\$ systemctl show.*`, withoutLines(`^(?:NRestarts|ExecMainHandover|StateChangeTimestampMonotonic)`)), // NRestarts: systemd 235; RHEL 7 has 219
	section(`\$ timedatectl show.*`, nil),                                                                         // systemd 239
	section(`\$ nft .*`, nil),                                                                                     // no JSON before nftables 0.9
	section(`\$ ip6?tables-(?:nft|legacy)-save.*`, nil),
}

var linux2632 = []edit{
	section(`/proc/sys/kernel/osrelease`, text("2.6.32-754.35.1.el6.x86_64\n")),
	section(`/etc/os-release|/usr/lib/os-release`, nil),
	section(`\$ (?:systemctl|journalctl|timedatectl|networkctl).*`, nil),
	section(`/run/systemd/.*`, nil),
	section(`/proc/stat`, columns(10)), // guest_nice: 2.6.33
	section(`/proc/\d+/stat`, columns(44)),
	section(`/dev/kmsg`, nil), // records: 3.5
	section(`/sys/fs/ext4/.*`, nil),
	section(`/sys/fs/cgroup/.*`, nil),
}

var headings = regexp.MustCompile(`(?m)^-- (.+) --\n`)

// age writes a capture as the old system would have answered.
func (a age) age(capture string) string {
	at := headings.FindAllStringSubmatchIndex(capture, -1)
	b := strings.Builder{}
	b.WriteString(capture[:at[0][0]])
	for i, m := range at[:len(at)-1] { // the last is the end mark
		heading, body := capture[m[2]:m[3]], capture[m[1]:at[i+1][0]]
		gone := false
		for _, e := range a.edits {
			if e.heading.MatchString(heading) {
				if gone = e.body == nil; gone {
					break
				}
				body = e.body(body)
			}
		}
		if !gone {
			b.WriteString("-- " + heading + " --\n" + body)
		}
	}
	return b.String() + a.more + capture[at[len(at)-1][0]:]
}

func text(s string) func(string) string { return func(string) string { return s } }

func withoutLines(pattern string) func(string) string {
	re := regexp.MustCompile(pattern)
	return func(body string) string {
		var b strings.Builder
		for line := range strings.Lines(body) {
			if !re.MatchString(line) {
				b.WriteString(line)
			}
		}
		return b.String()
	}
}

// columns cuts each line after so many words.
func columns(n int) func(string) string {
	return func(body string) string {
		var b strings.Builder
		for line := range strings.Lines(body) {
			words := strings.Fields(line)
			b.WriteString(strings.Join(words[:min(n, len(words))], " ") + "\n")
		}
		return cmp.Or(b.String(), body)
	}
}

package linux

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// KernelLog reads what the kernel complained about.
var KernelLog = probes.Define(probes.Probe[host.Host]{
	Name: "kernel_log",
	Doc: `Kernel messages

Reads the kernel's ring buffer from /dev/kmsg, or where that is denied the journal of this boot. Costs 2 ms for 1,000 messages. The
buffer is small (256 KiB by default): on a noisy host it reaches back minutes only, which "reaches_back" tells. A message's age
is wrong by the time that the machine was suspended. Containers share the machine's buffer or have none. Known messages are
sorted into events, one for each thing (device, task, port) that they are about:
` + kernelEventList(),
	Every: 30 * time.Second,
}, kernelLog)

type kernelLogFacts struct {
	ReachesBack time.Duration           `fact:"reaches_back" doc:"Age of the oldest message that is still there"`
	Records     int                     `fact:"records" unit:"count" doc:"Messages that are there, of all levels"`
	Warnings    int                     `fact:"warnings" unit:"count" doc:"Of these, at level warning or worse"`
	Lines       probes.Cut[kernelLine]  `fact:"lines" doc:"Messages at level warning or worse, newest first"`
	Events      probes.Cut[kernelEvent] `fact:"events" doc:"Known messages of all levels by what they mean and what they are about, newest first"`
}

type kernelLine struct {
	Age   time.Duration `fact:"age" doc:"Time since the message"`
	Level string        `fact:"level" doc:"emerg, alert, crit, err or warning"`
	Text  string        `fact:"text" doc:"The message, its first 300 characters"`
}

type kernelEvent struct {
	Key      string             `fact:"event,key" doc:"name, with a slash and object where there is one"`
	Name     string             `fact:"name" doc:"What the message means, as in hung_task"`
	Object   probes.Opt[string] `fact:"object" doc:"What it is about: a device, task, interface, port; absent where the message names nothing"`
	Count    int                `fact:"count" unit:"count" doc:"Messages of this kind about this object"`
	LastAge  time.Duration      `fact:"last_age" doc:"Time since the latest"`
	FirstAge time.Duration      `fact:"first_age" doc:"Time since the oldest that is still there"`
	Text     string             `fact:"text" doc:"The latest, its first 300 characters"`
}

// Enough to see what is going on; what is beyond is counted.
const (
	maxKernelLines  = 100
	maxKernelEvents = 200
)

var kernelLevels = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

const levelWarning = 4

func kernelLog(ctx context.Context, h host.Host) (kernelLogFacts, error) {
	var f kernelLogFacts
	log, err := readKernelLog(ctx, h)
	if err != nil {
		return f, err
	}
	f.Records = len(log)
	if len(log) > 0 {
		f.ReachesBack = log[0].age
	}
	at := map[string]int{}
	for _, r := range slices.Backward(log) {
		if r.level <= levelWarning {
			f.Warnings++
			if len(f.Lines.All) < maxKernelLines {
				f.Lines.All = append(f.Lines.All, kernelLine{Age: r.age, Level: kernelLevels[r.level], Text: abridge(r.text)})
			}
		}
		e, ok := classify(r)
		if !ok {
			continue
		}
		i, seen := at[e.Key]
		switch {
		case seen:
			f.Events.All[i].Count++
			f.Events.All[i].FirstAge = r.age
		case len(f.Events.All) < maxKernelEvents:
			at[e.Key] = len(f.Events.All)
			f.Events.All = append(f.Events.All, e)
		default:
			f.Events.More++
		}
	}
	f.Lines.More = f.Warnings - len(f.Lines.All)
	return f, nil
}

// abridge cuts a message to 300 characters.
func abridge(s string) string {
	if len(s) <= 300 {
		return s
	}
	end := 300
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// classify finds the event that a message tells of.
func classify(r kernelRecord) (kernelEvent, bool) {
	for i := range kernelRules {
		rule := &kernelRules[i]
		if !slices.ContainsFunc(rule.has, func(s string) bool { return strings.Contains(r.text, s) }) {
			continue
		}
		e := kernelEvent{Key: rule.name, Name: rule.name, Count: 1, LastAge: r.age, FirstAge: r.age, Text: abridge(r.text)}
		if rule.object != nil {
			m := rule.object.FindStringSubmatch(r.text)
			if m == nil {
				continue
			}
			if object := cmp.Or(m[1:]...); object != "" {
				e.Object, e.Key = probes.Some(object), rule.name+"/"+object
			}
		}
		return e, true
	}
	return kernelEvent{}, false
}

// kernelRule recognises a message of the kernel.
type kernelRule struct {
	name   string
	means  string
	has    []string       // the message holds one of these …
	object *regexp.Regexp // … and fits this, if it is set; the group that matched is what the message is about
	source string         // the kernel's file that prints it
}

// kernelRules are tried in this order; the first that fits counts. The texts are those of Linux 2.6.32 to 6.18. That these are the
// messages worth watching is the judgement of node-problem-detector's kernel-monitor.json and abrt-kernel.json, of AWS EC2Rescue's
// modules, and of the keywords in Alibaba Cloud's ECS documentation.
var kernelRules = []kernelRule{
	{
		"hung_task", "a task sat in uninterruptible sleep for longer than kernel.hung_task_timeout_secs",
		[]string{"blocked for more than"},
		regexp.MustCompile(`task (.+):\d+ blocked for more than \d+ seconds`), "kernel/hung_task.c",
	},
	{
		"bcache_trace", "a trace of a task, as of one that hangs, shows that it registers a bcache device",
		[]string{"register_bcache+0x", "bch_cached_dev_attach+0x"},
		regexp.MustCompile(`^ *(?:\[<[0-9a-f]+>\] )?()(?:register_bcache|bch_)`), "drivers/md/bcache/super.c",
	},
	{
		"soft_lockup", "a core ran kernel code for over 20 s without letting anything else run",
		[]string{"soft lockup - CPU#"},
		regexp.MustCompile(`soft lockup - (CPU#\d+)`), "kernel/watchdog.c",
	},
	{
		"hard_lockup", "a core did not even answer interrupts for 10 s",
		[]string{"detected hard LOCKUP on cpu"},
		regexp.MustCompile(`hard LOCKUP on (cpu \d+)`), "kernel/watchdog_hld.c",
	},
	{
		"rcu_stall", "a core or task kept the kernel from ending a grace period for 21 s or more",
		[]string{"detected stalls on CPUs/tasks", "detected expedited stalls on CPUs/tasks", "self-detected stall on CPU"},
		nil, "kernel/rcu/tree_stall.h",
	},
	{"panic", "the kernel gave up", []string{"Kernel panic - not syncing"}, nil, "kernel/panic.c"},
	{
		"oops", "the kernel ran into a fault of its own and ended the task that it ran for",
		[]string{" [#"},
		regexp.MustCompile(`: [0-9a-f]{4,16} \[#\d+\]`), "arch/x86/kernel/dumpstack.c, arch/arm64/kernel/traps.c",
	},
	{
		"kernel_bug", "the kernel found its own state to be impossible",
		[]string{"kernel BUG at ", "BUG: unable to handle", "Unable to handle kernel ", "BUG: Bad page state", "BUG: scheduling while atomic"},
		nil,
		"lib/bug.c, arch/x86/mm/fault.c, arch/arm64/mm/fault.c, mm/page_alloc.c, kernel/sched/core.c",
	},
	{
		"kernel_warning", "the kernel found something that it did not expect, and went on",
		[]string{"WARNING: "},
		regexp.MustCompile(`WARNING: (?:CPU: \d+ PID: \d+ at |at )?([\w/.-]+\.[ch]:\d+)`), "kernel/panic.c",
	},
	{
		"oom", "a process was killed for want of memory",
		[]string{"Killed process "},
		regexp.MustCompile(`Killed process \d+,? (?:UID \d+, )?\((.*)\) total-vm`), "mm/oom_kill.c",
	},
	{
		"page_allocation_failure", "the kernel did not get the contiguous memory that it wanted",
		[]string{"page allocation failure"},
		regexp.MustCompile(`([^ ]+): page allocation failure`), "mm/page_alloc.c",
	},
	{"memory_failure", "memory broke, and the kernel took a page out of use", []string{"Memory failure: 0x"}, nil, "mm/memory-failure.c"},
	{
		"mce", "the processor reported a hardware error",
		[]string{"Machine check events logged", "Machine Check Exception", "mce: [Hardware Error]"},
		nil, "arch/x86/kernel/cpu/mce/core.c",
	},
	{
		"edac_error", "the memory controller corrected an error, or could not",
		[]string{"EDAC MC"},
		regexp.MustCompile(`EDAC (MC\d+): .*\b[CU]E\b`), "drivers/edac/edac_mc.c",
	},
	{
		"ext4_error", "ext2, ext3 or ext4 found its own data damaged, or could not write it",
		[]string{"EXT4-fs error (device ", "EXT3-fs error (device ", "EXT2-fs error (device "},
		regexp.MustCompile(`\(device ([^)]+)\)`), "fs/ext4/super.c",
	},
	{
		"ext4_warning", "ext4 found something odd, such as a directory whose index is full",
		[]string{"EXT4-fs warning (device "},
		regexp.MustCompile(`\(device ([^)]+)\)`), "fs/ext4/super.c",
	},
	{
		"remount_read_only", "ext4 went read-only because of an error",
		[]string{"Remounting filesystem read-only"},
		regexp.MustCompile(`\(([^)]+)\): Remounting`), "fs/ext4/super.c",
	},
	{
		"ext4_needs_fsck", "ext4 was mounted although it is marked as damaged",
		[]string{"mounting fs with errors, running e2fsck", "error count since last fsck", "error count: "},
		regexp.MustCompile(`EXT4-fs \(([^)]+)\)`), "fs/ext4/super.c",
	},
	{
		"xfs_shutdown", "XFS stopped serving a file system because of an error",
		[]string{"hutting down filesystem", "Filesystem has been shut down", "Log I/O Error Detected"},
		regexp.MustCompile(`XFS \(([^)]+)\)`), "fs/xfs/xfs_fsops.c",
	},
	{
		"xfs_corruption", "XFS found its own data damaged",
		[]string{"Metadata corruption detected", "Metadata CRC error detected", "Internal error"},
		regexp.MustCompile(`XFS \(([^)]+)\)`), "fs/xfs/xfs_error.c",
	},
	{
		"btrfs_error", "btrfs found its own data damaged, or could not write it",
		[]string{"BTRFS error (device ", "BTRFS critical (device ", "BTRFS: error (device "},
		regexp.MustCompile(`\(device ([^):]+)`), "fs/btrfs/messages.c",
	},
	{
		"no_medium", "a drive without a medium was read, as virtual machines have them; harmless",
		[]string{"I/O error"},
		regexp.MustCompile(`I/O error.* dev(?:ice)? ((?:fd|sr)\d+)`), "block/blk-core.c",
	},
	{
		"io_error", "a disk did not read or write what it was asked to",
		[]string{"I/O error, dev ", "Buffer I/O error on dev"},
		regexp.MustCompile(`I/O error(?:,| on) dev(?:ice)? ([^ ,:]+)`), "block/blk-core.c, fs/buffer.c",
	},
	{
		"medium_error", "a disk has sectors that it cannot read",
		[]string{"critical medium error, dev "},
		regexp.MustCompile(`critical medium error, dev ([^ ,:]+)`), "block/blk-core.c",
	},
	{
		"nvme_timeout", "an NVMe disk did not answer in time",
		[]string{" timeout, "},
		regexp.MustCompile(`nvme (nvme\d+): I/O .* timeout, `), "drivers/nvme/host/pci.c",
	},
	{
		"nfs_not_responding", "an NFS server does not answer",
		[]string{"not responding, "},
		regexp.MustCompile(`nfs: server (\S+) not responding`), "net/sunrpc/clnt.c",
	},
	{"nfs_ok", "an NFS server answers again", []string{"nfs: server "}, regexp.MustCompile(`nfs: server (\S+) OK`), "net/sunrpc/clnt.c"},
	{
		"tcp_time_wait_overflow", "more closed connections than net.ipv4.tcp_max_tw_buckets",
		[]string{"time wait bucket table overflow"},
		nil, "net/ipv4/tcp_minisocks.c",
	},
	{
		"tcp_out_of_memory", "TCP needs more memory than net.ipv4.tcp_mem allows",
		[]string{"out of memory -- consider tuning tcp_mem"},
		nil, "net/ipv4/tcp.c",
	},
	{"tcp_orphans", "more orphaned connections than net.ipv4.tcp_max_orphans", []string{"too many orphaned sockets"}, nil, "net/ipv4/tcp.c"},
	{
		"syn_flood", "a listener gets more new connections than its queue holds",
		[]string{"ossible SYN flooding on port"},
		regexp.MustCompile(`ossible SYN flooding on port (\S+)\. `), "net/ipv4/tcp_input.c",
	},
	{"conntrack_full", "the connection-tracking table is full", []string{"conntrack: table full"}, nil, "net/netfilter/nf_conntrack_core.c"},
	{"neighbour_overflow", "more neighbours than gc_thresh3", []string{"neighbor table overflow", "eighbour table overflow"}, nil, "net/core/neighbour.c"},
	{
		"nic_tx_timeout", "a network card did not send for 5 s",
		[]string{"NETDEV WATCHDOG: "},
		regexp.MustCompile(`(\S+): NETDEV WATCHDOG: CPU|NETDEV WATCHDOG: (\S+) \(`), "net/sched/sch_generic.c",
	},
	{
		"unregister_netdevice", "a network interface cannot be removed, for something still refers to it",
		[]string{"unregister_netdevice: waiting for "},
		regexp.MustCompile(`waiting for (\S+) to become free`), "net/core/dev.c",
	},
	{
		"split_lock", "a program's locked access crosses a cache line, which stops all cores",
		[]string{"took a split_lock trap", "took a bus_lock trap"},
		regexp.MustCompile(`#(?:AC|DB): (.+)/\d+ took a`), "arch/x86/kernel/cpu/bus_lock.c",
	},
	{
		"clocksource_unstable", "a clock was found to be wrong and is not used any more",
		[]string{"Marking clocksource", "Clocksource tsc unstable"},
		nil, "kernel/time/clocksource.c",
	},
	{
		"console_overload", "a serial port had more to do than its driver does at a time, as when the console prints too much",
		[]string{": too much work for irq"},
		regexp.MustCompile(`^(\S+): too much work for irq`), "drivers/tty/serial/8250/8250_core.c",
	},
	{"rt_throttling", "real-time tasks wanted more than their share of the CPU", []string{"RT throttling activated"}, nil, "kernel/sched/rt.c"},
	{"file_table_full", "all file handles of fs.file-max are in use", []string{"VFS: file-max limit "}, nil, "fs/file_table.c"},
	{
		"fork_rejected", "a control group has as many tasks as it may",
		[]string{"fork rejected by pids controller"},
		regexp.MustCompile(`fork rejected by pids controller in (\S+)`), "kernel/cgroup/pids.c",
	},
	{
		"segfault", "a program crashed",
		[]string{"segfault at "},
		regexp.MustCompile(`^(.+)\[\d+\]: segfault at `), "arch/x86/mm/fault.c",
	},
	{"audit_backlog", "audit events come faster than auditd takes them", []string{"audit: backlog limit exceeded"}, nil, "kernel/audit.c"},
	{"gpu_xid", "an NVIDIA GPU reported an error", []string{"NVRM: Xid ("}, regexp.MustCompile(`Xid \((PCI:[^)]+)\)`), "docs.nvidia.com/deploy/xid-errors"},
}

// kernelEventList is the part of the documentation that the rules are.
func kernelEventList() string {
	var b strings.Builder
	for _, r := range kernelRules {
		fmt.Fprintf(&b, "\n- %s: %s (%s)", r.name, r.means, r.source)
	}
	return b.String()
}

package linux

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const uptime1000 = "-- /proc/uptime --\n1000.00 1.00\n"

func TestKernelLog(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"records of /dev/kmsg", uptime1000 + `-- /dev/kmsg --
5,0,0,-;Linux version 5.10.134
 SUBSYSTEM=cpu
 DEVICE=+cpu:0
4,1,400000000,-;nf_conntrack: nf_conntrack: table full, dropping packet
6,2,500000000,-;neighbour: arp_cache: neighbor table overflow!
4,3,900000000,c,more;nf_conntrack: nf_conntrack: table full, dropping packet
3,4,990000000,-;EXT4-fs error (device vda1): ext4_find_entry:1455: inode #2: comm ls: reading\x20directory lblock 0\x0a
`, map[string]string{
			"records": "5", "warnings": "3", "reaches_back": `"16m40s"`,
			"lines": `[{"age":"10s","level":"err","text":"EXT4-fs error (device vda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0\\x0a"},` +
				`{"age":"1m40s","level":"warning","text":"nf_conntrack: nf_conntrack: table full, dropping packet"},` +
				`{"age":"10m0s","level":"warning","text":"nf_conntrack: nf_conntrack: table full, dropping packet"}]`,
			"events[conntrack_full].count": "2", "events[conntrack_full].last_age": `"1m40s"`, "events[conntrack_full].first_age": `"10m0s"`,
			"events[conntrack_full].object": "null", "events[ext4_error/vda1].object": `"vda1"`, "events[neighbour_overflow].count": "1",
		}},
		{"messages of disks, consoles and traces", uptime1000 + `-- /dev/kmsg --
3,1,990000000,-;blk_update_request: critical medium error, dev sdb, sector 123 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0
3,2,991000000,-;critical target error, dev sdc, sector 9 op 0x3:(DISCARD)
6,3,992000000,-;serial8250: too much work for irq4
6,4,993000000,-; ? register_bcache+0x1/0x2
6,5,994000000,-; register_bcache+0x3e2/0x1b60 [bcache]
`, map[string]string{
			"events[medium_error/sdb].count": "1", "events[medium_error/sdc]": "none", "events[console_overload/serial8250].last_age": `"8s"`, "events[bcache_trace].count": "1",
		}},
		{"the journal where /dev/kmsg is denied", uptime1000 + `-- /dev/kmsg !permission --
-- $ journalctl -k -b -q --no-pager -o json -n 2000 --
{"MESSAGE":"Linux version 6.1","PRIORITY":"5","_SOURCE_MONOTONIC_TIMESTAMP":"0","__MONOTONIC_TIMESTAMP":"2000000"}
{"MESSAGE":[255,254],"PRIORITY":"6","__MONOTONIC_TIMESTAMP":"3000000"}
{"MESSAGE":"INFO: task java:71 blocked for more than 120 seconds.","PRIORITY":"3","SYSLOG_FACILITY":"0","_SOURCE_MONOTONIC_TIMESTAMP":"940000000","__MONOTONIC_TIMESTAMP":"940000100"}
`, map[string]string{"records": "3", "warnings": "1", "reaches_back": `"16m38s"`, "events[hung_task/java].last_age": `"1m0s"`}},
		{"a container without a log", uptime1000, map[string]string{"(reason)": "there is no kernel log here"}},
		{
			"everything denied", uptime1000 + "-- /dev/kmsg !permission --\n-- $ journalctl -k -b -q --no-pager -o json -n 2000 [exit 1] --\n",
			map[string]string{"(reason)": "permission denied"},
		},
		{"cut short", uptime1000 + "-- /dev/kmsg [quoted] --\n" + quote("5,0,0,-;Linux\n6,1,"), map[string]string{"(reason)": "cut short"}},
		{"not a record", uptime1000 + "-- /dev/kmsg --\nLinux version\n", map[string]string{"(reason)": "is not a record"}},
		{"another machine's uptime", uptime1000 + "-- /dev/kmsg --\n6,1,5000000000,-;hello\n", map[string]string{"(reason)": "not the same machine's"}},
		{"a second ahead of the uptime", uptime1000 + "-- /dev/kmsg --\n4,1,1001000000,-;hello\n", map[string]string{
			"lines": `[{"age":"0s","level":"warning","text":"hello"}]`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, KernelLog, observe(t, KernelLog, c.capture), c.want) })
	}
}

func TestKernelLogIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(uptime1000 + "-- /dev/kmsg --\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "3,%d,%d,-;INFO: task t%d:7 blocked for more than 120 seconds. %s\n", i, i, i, strings.Repeat("界", 200))
	}
	o := observe(t, KernelLog, b.String())
	facts := KernelLog.Info().Facts
	for name, limit := range map[string]int{"lines": maxKernelLines, "events": maxKernelEvents} {
		list := o.Facts.At(facts.Field(name))
		if list.Len() != limit || list.Len()+list.More() != 5000 {
			t.Errorf("%s: %d and %d more; want %d of 5000", name, list.Len(), list.More(), limit)
		}
		elem := facts.Fields[facts.Field(name)].Type.Elem
		if text := list.At(0).At(elem.Field("text")).Str(); len(text) > 310 || !strings.HasSuffix(text, "界…") {
			t.Errorf("%s: text of %d bytes: %q", name, len(text), text)
		}
	}
}

// The messages are those that the kernel's sources and public bug reports show.
func TestClassify(t *testing.T) {
	for text, want := range map[string]string{
		"INFO: task kworker/u8:1:1234 blocked for more than 120 seconds.":                                    "hung_task/kworker/u8:1",
		"INFO: task jbd2/vda1-8:301 blocked for more than 241 seconds.":                                      "hung_task/jbd2/vda1-8",
		"watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [java:4242]":                                      "soft_lockup/CPU#3",
		"NMI watchdog: Watchdog detected hard LOCKUP on cpu 2":                                               "hard_lockup/cpu 2",
		"rcu: INFO: rcu_sched self-detected stall on CPU":                                                    "rcu_stall",
		"Oops: 0002 [#1] SMP PTI":                                                                            "oops",
		"Internal error: Oops: 96000004 [#1] SMP":                                                            "oops",
		"invalid opcode: 0000 [#1] SMP NOPTI":                                                                "oops",
		"BUG: unable to handle kernel NULL pointer dereference at 0000000000000008":                          "kernel_bug",
		"Unable to handle kernel paging request at virtual address ffff000012345678":                         "kernel_bug",
		"kernel BUG at fs/inode.c:503!":                                                                      "kernel_bug",
		"WARNING: CPU: 1 PID: 77 at net/sched/sch_generic.c:466 dev_watchdog+0x1f9/0x200":                    "kernel_warning/net/sched/sch_generic.c:466",
		"WARNING: at fs/xfs/xfs_aops.c:1045 xfs_vm_releasepage+0x30/0x80()":                                  "kernel_warning/fs/xfs/xfs_aops.c:1045",
		"Killed process 881, UID 48, (httpd) total-vm:5kB, anon-rss:4kB, file-rss:0kB":                       "oom/httpd",
		"warn_alloc: nginx: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL|__GFP_COMP)":           "page_allocation_failure/nginx",
		"Memory failure: 0x12345: recovery action for dirty LRU page: Recovered":                             "memory_failure",
		"mce: [Hardware Error]: Machine check events logged":                                                 "mce",
		"EDAC MC0: 1 CE memory read error on CPU_SrcID#0 (channel:1 slot:0)":                                 "edac_error/MC0",
		"EXT4-fs warning (device vdb1): ext4_dx_add_entry:2226: Directory (ino: 2) index full":               "ext4_warning/vdb1",
		"EXT4-fs (vda1): Remounting filesystem read-only":                                                    "remount_read_only/vda1",
		"EXT4-fs (vda1): error count since last fsck: 3":                                                     "ext4_needs_fsck/vda1",
		"XFS (vdb): Metadata I/O Error (0x1) detected at xfs_trans. Shutting down filesystem.":               "xfs_shutdown/vdb",
		"XFS (dm-0): Metadata CRC error detected at xfs_agf_read_verify+0xd2/0xf0 [xfs], xfs_agf block 0x1":  "xfs_corruption/dm-0",
		"BTRFS error (device vdc): bdev /dev/vdc errs: wr 1, rd 0, flush 0, corrupt 0, gen 0":                "btrfs_error/vdc",
		"blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ)":                                     "no_medium/fd0",
		"I/O error, dev vdb, sector 8 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2":                    "io_error/vdb",
		"Buffer I/O error on dev vdb1, logical block 0, lost async page write":                               "io_error/vdb1",
		"Buffer I/O error on device sda1, logical block 7":                                                   "io_error/sda1",
		"nvme nvme0: I/O 12 QID 1 timeout, aborting":                                                         "nvme_timeout/nvme0",
		"nfs: server 10.0.0.9 not responding, still trying":                                                  "nfs_not_responding/10.0.0.9",
		"nfs: server 10.0.0.9 OK":                                                                            "nfs_ok/10.0.0.9",
		"TCP: time wait bucket table overflow":                                                               "tcp_time_wait_overflow",
		"TCP: out of memory -- consider tuning tcp_mem":                                                      "tcp_out_of_memory",
		"TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.  Check SNMP counters.":    "syn_flood/80",
		"TCP: request_sock_TCP: Possible SYN flooding on port 0.0.0.0:443. Sending cookies.":                 "syn_flood/0.0.0.0:443",
		"Neighbour table overflow.":                                                                          "neighbour_overflow",
		"NETDEV WATCHDOG: eth0 (virtio_net): transmit queue 0 timed out":                                     "nic_tx_timeout/eth0",
		"virtio_net virtio0 eth1: NETDEV WATCHDOG: CPU: 0: transmit queue 1 timed out 5000 ms":               "nic_tx_timeout/eth1",
		"unregister_netdevice: waiting for lo to become free. Usage count = 1":                               "unregister_netdevice/lo",
		"x86/split lock detection: #AC: split lock/991 took a split_lock trap at address: 0x401216":          "split_lock/split lock",
		"x86/split lock detection: #AC: crashing the kernel on kernel split_locks and warning on user-space": "",
		"clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew":  "clocksource_unstable",
		"VFS: file-max limit 1024 reached":                                                                   "file_table_full",
		"cgroup: fork rejected by pids controller in /user.slice/user-0.slice":                               "fork_rejected/user.slice/user-0.slice",
		"nginx[991]: segfault at 0 ip 000000000 sp 00007ffc error 4 in nginx[400000+1000]":                   "segfault/nginx",
		"audit: backlog limit exceeded":                                                                      "audit_backlog",
		"NVRM: Xid (PCI:0000:00:08): 79, pid=1, GPU has fallen off the bus.":                                 "gpu_xid/PCI:0000:00:08",
		"EXT4-fs (vda1): mounted filesystem with ordered data mode. Opts: (null)":                            "",
		"systemd[1]: Started Session 1 of user root.":                                                        "",
		"perf: interrupt took too long (2503 > 2500), lowering kernel.perf_event_max_sample_rate to 79750":   "",
	} {
		e, ok := classify(kernelRecord{text: text, age: time.Second})
		if e.Key != strings.Replace(want, "fork_rejected/", "fork_rejected//", 1) || ok != (want != "") {
			t.Errorf("%q is event %q, want %q", text, e.Key, want)
		}
	}
}

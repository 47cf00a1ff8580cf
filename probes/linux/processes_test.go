package linux

import (
	"fmt"
	"strings"
	"testing"
)

// stat is a line of /proc/PID/stat with the fields that matter: state, parent, flags, CPU ticks, nice value, threads, start,
// resident pages, policy.
func stat(pid int, comm, state string, ppid, flags, ticks, nice, threads, started, pages, policy int) string {
	return fmt.Sprintf("%d (%s) %s %d 1 1 0 -1 %d 0 0 0 0 %d 0 0 0 20 %d %d 0 %d 4096 %d 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 %d 0 0 0\n",
		pid, comm, state, ppid, flags, ticks, nice, threads, started, pages, policy)
}

func section(pid int, when, line string) string {
	return fmt.Sprintf("-- /proc/%d/stat %s --\n%s", pid, when, line)
}

const kthread = 0x00208040

func TestProcesses(t *testing.T) {
	base := uptime1000 + "-- /proc/self/auxv [quoted] --\n" + quote("\x10\x00\x00\x00\x00\x00\x00\x00\xff\xfb\x8b\x07\x00\x00\x00\x00"+
		"\x06\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00") +
		section(1, "", stat(1, "systemd", "S", 0, 0, 50, 0, 1, 1, 1000, 0)) +
		section(2, "", stat(2, "kthreadd", "S", 0, kthread, 0, 0, 1, 1, 0, 0))
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			"who uses the CPU and the memory", base +
				section(50, "", stat(50, "a) R (b", "R", 1, 0, 50000, 0, 8, 10000, 200, 0)) +
				section(50, "@1s", stat(50, "a) R (b", "R", 1, 0, 50150, 0, 8, 10000, 200, 0)) +
				section(60, "", stat(60, "xz", "R", 1, 0, 100, 19, 1, 99000, 300, 3)) +
				section(60, "@1s", stat(60, "xz", "R", 1, 0, 140, 19, 1, 99000, 300, 3)) +
				section(61, "", stat(61, "xz", "R", 1, 0, 100, 19, 1, 99950, 100, 3)) +
				section(61, "@1s", stat(61, "xz", "R", 1, 0, 110, 19, 1, 99950, 100, 3)) +
				"-- /proc/50/status --\nvoluntary_ctxt_switches:	7\nnonvoluntary_ctxt_switches:	2\n" +
				"-- /proc/50/status @1s --\nvoluntary_ctxt_switches:	7\nnonvoluntary_ctxt_switches:	90\n" +
				"-- /proc/60/status --\nvoluntary_ctxt_switches:	7\nnonvoluntary_ctxt_switches:	2\n" +
				"-- /proc/60/status @1s --\nvoluntary_ctxt_switches:	8\nnonvoluntary_ctxt_switches:	2\n" +
				"-- /proc/50/cgroup --\n12:cpu:/x.service\n1:name=systemd:/system.slice/app.service\n0::/\n",
			map[string]string{
				"total": "5", "running": "3", "sleeping": "2", "threads": "12", "blocked": "0", "stuck": "0", "zombies": "0",
				"top_cpu[a) R (b]": `{"command":"a) R (b","cpu_pct":150,"lifetime_pct":55.72222222222222,"age":"15m0s","count":1,"pid":50,"nice":0,"policy":"normal","waits":false,"kernel_thread":false,"unit":"app.service","parent":"systemd"}`,
				"top_cpu[xz]":      `{"command":"xz","cpu_pct":50,"lifetime_pct":14,"age":"10s","count":2,"pid":60,"nice":19,"policy":"batch","waits":true,"kernel_thread":false,"unit":null,"parent":"systemd"}`,
				"top_cpu[systemd]": "none",
				"top_memory":       `[{"command":"systemd","memory":4096000,"count":1,"pid":1,"age":"16m39.99s","unit":null,"parent":null},{"command":"xz","memory":1638400,"count":2,"pid":60,"age":"10s","unit":null,"parent":"systemd"},{"command":"a) R (b","memory":819200,"count":1,"pid":50,"age":"15m0s","unit":"app.service","parent":"systemd"}]`,
			},
		},
		{
			"children that are gone, and who writes", base +
				section(50, "", strings.Replace(stat(50, "poll", "S", 1, 0, 5, 0, 3, 10000, 200, 0), " 5 0 0 0 20", " 5 0 100 20 20", 1)) +
				section(50, "@1s", strings.Replace(stat(50, "poll", "S", 1, 0, 5, 0, 3, 10000, 200, 0), " 5 0 0 0 20", " 5 0 130 40 20", 1)) +
				section(60, "", stat(60, "dd", "D", 50, 0, 5, 0, 1, 10000, 10, 0)) +
				"-- /proc/60/io --\nrchar: 9\nread_bytes: 4096\nwrite_bytes: 100\n-- /proc/60/io @1s --\nrchar: 9\nread_bytes: 8192\nwrite_bytes: 100\n",
			map[string]string{
				"top_children[poll].cpu_pct": "50", "top_children[poll].parent": `"systemd"`, "top_children[dd].cpu_pct": "none",
				"top_threads[poll].threads": "3", "top_io[dd].read_per_s": "4096", "top_io[dd].written_per_s": "0", "top_io[dd].parent": `"poll"`,
				"top_io[poll].read_per_s": "none",
			},
		},
		{
			"blocked and stuck", base +
				section(70, "", stat(70, "cp", "D", 1, 0, 5, 0, 1, 1000, 10, 0)) +
				section(71, "", stat(71, "cp", "D", 1, 0, 5, 0, 1, 1000, 10, 0)) +
				"-- /proc/70/status --\nName:	cp\nvoluntary_ctxt_switches:	40\nnonvoluntary_ctxt_switches:	2\n" +
				"-- /proc/71/status --\nvoluntary_ctxt_switches:	40\nnonvoluntary_ctxt_switches:	2\n" +
				"-- /proc/71/status @1s --\nvoluntary_ctxt_switches:	45\nnonvoluntary_ctxt_switches:	2\n" +
				"-- /proc/72/status --\nvoluntary_ctxt_switches:	9\nnonvoluntary_ctxt_switches:	2\n" +
				section(72, "", stat(72, "jbd2/vda1-8", "S", 2, kthread, 5, 0, 1, 1000, 0, 0)) +
				section(72, "@1s", stat(72, "jbd2/vda1-8", "D", 2, kthread, 5, 0, 1, 1000, 0, 0)) +
				"-- /proc/70/wchan [quoted] --\n" + quote("nfs_wait_bit_killable") + "-- /proc/72/wchan [quoted] --\n" + quote("0"),
			map[string]string{
				"blocked": "3", "stuck": "1",
				"blocked_commands[cp]":   `{"command":"cp","count":2,"stuck":1,"pid":70,"kernel_thread":false,"wchan":"nfs_wait_bit_killable"}`,
				"blocked_commands[jbd2]": `{"command":"jbd2","count":1,"stuck":0,"pid":72,"kernel_thread":true,"wchan":null}`,
			},
		},
		{
			"zombies by parent; a pid that was used again is another process", base +
				section(80, "", stat(80, "sh", "S", 1, 0, 900, 0, 1, 1000, 10, 0)) +
				section(80, "@1s", stat(80, "cron", "S", 1, 0, 20, 0, 1, 100000, 10, 0)) +
				section(81, "", stat(81, "job", "Z", 80, 0, 5, 0, 1, 1000, 0, 0)) +
				section(82, "", stat(82, "job", "Z", 80, 0, 5, 0, 1, 1000, 0, 0)) +
				section(83, "", stat(83, "lost", "Z", 999, 0, 5, 0, 1, 1000, 0, 0)) +
				section(84, "", stat(84, "gdb", "t", 1, 0, 5, 0, 1, 1000, 0, 0)) +
				"-- /proc/80/cgroup --\n0::/system.slice/cron.service\n",
			map[string]string{
				"zombies": "3", "stopped": "1", "zombie_parents": `[{"command":"cron","count":2,"pid":80,"unit":"cron.service"}]`,
				"top_cpu[cron].cpu_pct": "20", "top_cpu[cron].lifetime_pct": "null",
			},
		},
		{
			"in a container, whose uptime is its own", strings.Replace(base, "1000.00", "5.00", 1) +
				section(50, "", stat(50, "worker", "R", 1, 0, 1000, 0, 1, 98900, 200, 0)) +
				section(50, "@1s", stat(50, "worker", "R", 1, 0, 1100, 0, 1, 98900, 200, 0)) +
				section(60, "", stat(60, "hostmend", "R", 1, 0, 0, 0, 1, 100000, 300, 0)),
			map[string]string{"top_cpu[worker].age": `"11s"`, "top_cpu[worker].lifetime_pct": "100"},
		},
		{"no page size", strings.Replace(base, "/proc/self/auxv", "/proc/self/other", 1), map[string]string{
			"total": "2", "top_cpu": "[]", "top_memory": `{"unreadable":"the page size is not known: there is no /proc/self/auxv"}`,
		}},
		{"hidden processes", strings.Replace(base, "/proc/1/", "/proc/x/", 1), map[string]string{"(reason)": "hidepid"}},
		{"cut short", base + section(9, "", "9 (x) S 1 2 3\n"), map[string]string{"(reason)": "reading /proc/9/stat"}},
		{"no name", base + section(9, "", "9 x S 1 2 3\n"), map[string]string{"(reason)": "no command name"}},
		{"another process's line", base + section(9, "", stat(8, "x", "S", 1, 0, 0, 0, 1, 1, 1, 0)), map[string]string{"(reason)": "reading /proc/9/stat"}},
		{
			"not a number", base + section(9, "", strings.Replace(stat(9, "x", "S", 1, 0, 0, 0, 1, 1, 1, 0), "4096", "4k", 1)+"-- /proc/9/stat @1s --\n9 (x) S one\n"),
			map[string]string{"(reason)": "reading /proc/9/stat"},
		},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Processes, observe(t, Processes, c.capture), c.want) })
	}
}

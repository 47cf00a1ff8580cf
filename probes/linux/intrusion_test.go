package linux

import (
	"fmt"
	"strings"
	"testing"
)

func TestIntrusion(t *testing.T) {
	const proc = "-- /proc/uptime --\n1000.00 10.00\n-- /proc/self/mountinfo --\n1 0 0:5 / /proc rw - proc proc rw\n-- /proc/ nlink=5 --\n-- /proc/sys/ --\n-- /proc/2/comm --\nkthreadd\n" +
		"-- /proc/1/exe -> /usr/lib/systemd/systemd --\n-- /proc/1/cmdline [quoted] --\n\"/sbin/init\\x00\"\n-- /proc/self/ns/pid -> pid:[4026531836] --\n-- tcp --\n"
	const files = "-- /proc/version --\n-- /proc/vmstat --\n-- /proc/stat --\n-- /proc/meminfo --\n" // and uptime
	stat := func(ticks string) string {
		return "-- /proc/7/stat --\n7 (x) S 1 7 7 0 -1 4194560 1 0 0 0 " + ticks + " 0 0 0 20 0 1 0 10000 1000 10 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
	}
	title := func(name string) string { return "-- /proc/7/cmdline [quoted] --\n" + quote(name+"\x00-x\x00") }
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"nothing unusual", proc + "-- /proc/7/exe -> \"/usr/sbin/nginx (deleted)\" --\n" + title("nginx: master") + "-- /tmp/x 0755 --\n", map[string]string{
			"checked": "2", "suspects": "[]", "mounted_over": "[]", "unlisted": "0", "setuid": "[]",
		}},
		{"the name of a kernel thread", proc + "-- /proc/7/exe -> \"/dev/shm/.kw (deleted)\" --\n" + title("[kworker/u4:2]") + stat("50000"), map[string]string{
			"suspects[/dev/shm/.kw as [kworker/u4:2]].imitates_kernel": "true", "suspects[/dev/shm/.kw as [kworker/u4:2]].deleted": "true",
			"suspects[/dev/shm/.kw as [kworker/u4:2]].temporary": "true", "suspects[/dev/shm/.kw as [kworker/u4:2]].cpu_pct": "55.55555555555556",
		}},
		{"brackets of its own", proc + "-- /proc/7/exe -> /usr/bin/python3.11 --\n" + title("[celeryd: celery@web:MainProcess]"), map[string]string{"suspects": "[]"}},
		{"from a temporary directory", proc + "-- /proc/7/exe -> /tmp/setup --\n" + title("./setup") + stat("1") + "-- /proc/7/fd/3 -> socket:[5] --\n-- /proc/7/fd/4 -> socket:[6] --\n" +
			"-- tcp @0s --\n{\"state\": 10, \"local\": \"0.0.0.0:8000\", \"ino\": 5}\n{\"state\": 1, \"local\": \"10.0.0.5:40000\", \"remote\": \"192.0.2.1:3333\", \"ino\": 6}\n", map[string]string{
			"suspects[/tmp/setup].imitates_kernel": "false", "suspects[/tmp/setup].deleted": "false", "suspects[/tmp/setup].listens": "true", "suspects[/tmp/setup].pool": "true",
		}},
		{"in memory", proc + "-- /proc/7/exe -> \"/memfd:x (deleted)\" --\n" + title("x") + stat("1") + "-- /proc/7/fd/ --\n", map[string]string{"suspects[/memfd:x].in_memory": "true", "suspects[/memfd:x].listens": "false"}},
		{"a container runtime", proc + "-- /proc/7/exe -> \"/memfd:runc_cloned:/proc/self/exe (deleted)\" --\n" + title("runc"), map[string]string{"suspects": "[]"}},
		{"mounts", proc + "-- /proc/self/mountinfo @0s --\n1 0 0:5 / /proc rw - proc proc rw\n2 1 0:6 / /proc/812 rw - tmpfs x rw\n3 1 0:6 / /proc/sys/fs/binfmt_misc rw - x x rw\n", map[string]string{"mounted_over": `["/proc/812"]`}},
		{"counted and not listed", proc + files + "-- /proc/ nlink=9 @0s --\n", map[string]string{"unlisted": "3"}},
		{"Linux 6.1 counts files too", proc + files + "-- /proc/ nlink=11 @0s --\n", map[string]string{"unlisted": "0"}},
		{"Linux 6.1, not listed", proc + files + "-- /proc/ nlink=14 @0s --\n", map[string]string{"unlisted": "3"}},
		{"mounted with processes only", "-- /proc/self/ns/pid -> pid:[4026531836] --\n-- /proc/ nlink=99 --\n-- /proc/self/mountinfo --\n1 0 0:5 / /proc rw,subset=pid - proc proc rw\n-- /proc/1/comm --\nx\n", map[string]string{"unlisted": "null"}},
		{"in a container", "-- /proc/self/ns/pid -> pid:[4026532001] --\n-- /proc/ nlink=99 --\n-- /proc/self/mountinfo --\n1 0 0:5 / /proc rw - proc proc rw\n-- /proc/1/comm --\nx\n", map[string]string{"unlisted": "null"}},
		{"one in a hidden directory", proc + "-- /dev/shm/.x/ --\n-- /dev/shm/.x/sh 04755 --\n", map[string]string{"setuid[/dev/shm/.x/sh].mode": `"4755"`}},
		{"an unpacked root file system", proc + "-- /tmp/rootfs/ --\n-- /tmp/rootfs/bin/ --\n-- /tmp/rootfs/bin/su 04755 --\n", map[string]string{"setuid": "[]"}},
		{"a directory that may not be listed", proc + "-- /tmp/.x/ !permission --\n", map[string]string{"setuid": `{"items":[],"more":1,"why":"open /tmp/.x: permission denied"}`}},
		{"a set-uid shell", proc + "-- /var/tmp/.sh 04755 --\n-- /tmp/mine 04755 1000:1000 --\n-- /tmp/plain 0755 --\n", map[string]string{"setuid[/var/tmp/.sh].mode": `"4755"`, "setuid[/tmp/mine]": "none"}},
		{"hostmend itself", strings.ReplaceAll(proc, "/proc/self/", "/proc/7/") + "-- /proc/self -> 7 --\n-- /proc/7/exe -> /tmp/hostmend --\n" + title("./hostmend") + stat("1"), map[string]string{"suspects": "[]", "checked": "1"}},
		{"too many to ask", proc + crowd(8, 1010) + "-- /proc/7/exe -> /usr/bin/x --\n" + title("[kworker/0:1]"), map[string]string{
			"suspects": `{"items":[],"more":5,"why":"only the newest 1000 processes were asked for their names"}`,
		}},
		{"the newest of many", proc + crowd(8, 1010) + "-- /proc/5000/exe -> /usr/bin/x --\n-- /proc/5000/cmdline [quoted] --\n" + quote("[kworker/0:1]\x00"), map[string]string{
			"suspects[/usr/bin/x as [kworker/0:1]].pid": "5000",
		}},
		{"no /proc", "", map[string]string{"(reason)": "/proc"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Intrusion, observe(t, Intrusion, c.capture), c.want) })
	}
}

// crowd is a capture of the ordinary processes from one pid to another.
func crowd(first, last int) string {
	var b strings.Builder
	for pid := first; pid <= last; pid++ {
		fmt.Fprintf(&b, "-- /proc/%d/exe -> /usr/bin/worker --\n-- /proc/%d/cmdline --\nworker\n", pid, pid)
	}
	return b.String()
}

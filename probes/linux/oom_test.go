package linux

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestOOM(t *testing.T) {
	const vmstat = "-- /proc/vmstat --\npgmajfault 1\nallocstall 1\noom_kill 4\n"
	const oldVMStat = "-- /proc/vmstat --\npgmajfault 1\nallocstall 1\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"Linux 5.10: the machine, then a control group", vmstat + uptime1000 + `-- /dev/kmsg --
6,1,100000000,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/mysqld.service,task=mysqld,pid=70,uid=27
3,2,100000000,-;Out of memory: Killed process 70 (mysqld) total-vm:9000kB, anon-rss:2000kB, file-rss:24kB, shmem-rss:24kB, UID:27 pgtables:80kB oom_score_adj:0
6,3,900000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0,oom_memcg=/user.slice,task_memcg=/user.slice/user-0.slice/session-3.scope,task=php (fpm),pid=90,uid=0
3,4,900000000,-;Memory cgroup out of memory: Killed process 90 (php (fpm)) total-vm:10kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0
6,5,900000000,-;oom_reaper: reaped process 90 (php (fpm)), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB
3,6,990000000,-;Out of memory: Killed process 71 (mysqld) total-vm:9000kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:27
`, map[string]string{
			"since_boot": "4", "logged": "3", "last_age": `"10s"`,
			"victims[mysqld]":    `{"name":"mysqld","kills":2,"last_age":"10s","host_wide":true,"memory":1024,"cgroup":null,"unit":null}`,
			"victims[php (fpm)]": `{"name":"php (fpm)","kills":1,"last_age":"1m40s","host_wide":false,"memory":1024,"cgroup":"/user.slice/user-0.slice/session-3.scope","unit":"session-3.scope"}`,
		}},
		{"Linux 3.10", oldVMStat + uptime1000 + `-- /dev/kmsg --
3,2,100000000,-;Memory cgroup out of memory: Kill process 70 (java) score 100 or sacrifice child
3,3,100000000,-;Killed process 71, UID 5, (java) total-vm:9000kB, anon-rss:2000kB, file-rss:48kB
3,4,200000000,-;Out of memory: Kill process 72 (java) score 100 or sacrifice child
3,5,200000000,-;Killed process 72 (java) total-vm:9000kB, anon-rss:1000kB, file-rss:24kB
`, map[string]string{
			"since_boot": "null", "logged": "2",
			"victims": `[{"name":"java","kills":2,"last_age":"13m20s","host_wide":true,"memory":1048576,"cgroup":null,"unit":null}]`,
		}},
		{"none, whatever may be read of the log", strings.Replace(vmstat, "oom_kill 4", "oom_kill 0", 1), map[string]string{
			"since_boot": "0", "logged": "0", "last_age": "null", "victims": "[]",
		}},
		{"none in the log", vmstat + uptime1000 + "-- /dev/kmsg --\n6,1,1,-;Linux\n", map[string]string{"logged": "0", "last_age": "null", "victims": "[]"}},
		{"the log denied", vmstat + uptime1000 + "-- /dev/kmsg !permission --\n", map[string]string{
			"since_boot": "4",
			"victims":    `{"unreadable":"open /dev/kmsg: permission denied; running [\"journalctl\" \"-k\" \"-b\" \"-q\" \"--no-pager\" \"-o\" \"json\" \"-n\" \"2000\"]: file does not exist"}`,
		}},
		{"a container without a log or a count", vmstat + uptime1000, map[string]string{"(reason)": "no kernel log"}},
		{
			"a container in which nobody was killed", vmstat + uptime1000 + "-- /sys/fs/cgroup/memory/memory.oom_control --\noom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
			map[string]string{"in_container": "0", "victims": "[]", "logged": "0"},
		},
		{"a container in which somebody was", vmstat + uptime1000 + "-- /sys/fs/cgroup/memory.events --\nlow 0\noom 3\noom_kill 3\n", map[string]string{
			"in_container": "3", "logged": `{"unreadable":"there is no kernel log here; its control group counts 3 kills"}`,
		}},
		{"a container of an old kernel", vmstat + uptime1000 + "-- /sys/fs/cgroup/memory/memory.oom_control --\nunder_oom 0\n", map[string]string{"(reason)": "no kernel log"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, OOM, observe(t, OOM, c.capture), c.want) })
	}
}

func TestUnitOf(t *testing.T) {
	for group, want := range map[string]string{
		"/system.slice/nginx.service":                               "nginx.service",
		"/system.slice/docker-4f2a.scope":                           "docker-4f2a.scope",
		"/user.slice/user-0.slice/user@0.service/app.slice/x.scope": "x.scope",
		"/system.slice/nginx.service/worker":                        "nginx.service",
		"/user.slice":                                               "",
		"/":                                                         "",
		"":                                                          "",
	} {
		if got, ok := unitOf(group).Get(); got != want || ok != (want != "") {
			t.Errorf("unitOf(%q) = %q, %v; want %q", group, got, ok, want)
		}
	}
	if unitOf("relative") != probes.None[string]() {
		t.Error("a path without slashes is no unit")
	}
}

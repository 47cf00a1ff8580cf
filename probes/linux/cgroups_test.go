package linux

import "testing"

func TestCgroups(t *testing.T) {
	const v2 = `-- /sys/fs/cgroup/cgroup.controllers --
cpu memory pids
-- /sys/fs/cgroup/cgroup.stat --
nr_descendants 80
nr_dying_descendants 12
-- /sys/fs/cgroup/system.slice/app.service/cpu.stat --
usage_usec 100
nr_periods 100
nr_throttled 50
throttled_usec 1
-- /sys/fs/cgroup/system.slice/app.service/cpu.stat @1s --
usage_usec 100
nr_periods 110
nr_throttled 58
throttled_usec 1
-- /sys/fs/cgroup/system.slice/app.service/cpu.max --
5000 100000
-- /sys/fs/cgroup/system.slice/app.service/memory.events --
low 0
high 20
max 0
oom 0
oom_kill 0
-- /sys/fs/cgroup/system.slice/app.service/memory.events @1s --
low 0
high 120
max 0
oom 0
oom_kill 1
-- /sys/fs/cgroup/system.slice/app.service/memory.high --
1000
-- /sys/fs/cgroup/system.slice/app.service/memory.max --
max
-- /sys/fs/cgroup/system.slice/app.service/memory.current --
1100
-- /sys/fs/cgroup/system.slice/app.service/memory.pressure --
some avg10=90.00 avg60=1.00 avg300=0.00 total=1
full avg10=80.50 avg60=1.00 avg300=0.00 total=1
-- /sys/fs/cgroup/system.slice/ssh.service/pids.events --
max 3
-- /sys/fs/cgroup/system.slice/ssh.service/pids.max --
1
-- /sys/fs/cgroup/system.slice/ssh.service/pids.current --
1
-- /sys/fs/cgroup/system.slice/idle.service/cpu.stat --
usage_usec 100
nr_periods 0
nr_throttled 0
`
	const v1 = `-- /sys/fs/cgroup/cpu/cpu.stat --
nr_periods 10
nr_throttled 10
throttled_time 1
-- /sys/fs/cgroup/cpu/cpu.stat @1s --
nr_periods 20
nr_throttled 20
throttled_time 1
-- /sys/fs/cgroup/cpu/cpu.cfs_quota_us --
20000
-- /sys/fs/cgroup/cpu/cpu.cfs_period_us --
100000
-- /sys/fs/cgroup/memory/docker/abc/memory.failcnt --
7
-- /sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes --
9223372036854771712
-- /sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes --
5000
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"second version", v2, map[string]string{
			"dying":                                  "12",
			"limits[/system.slice/app.service].cpus": "0.05", "limits[/system.slice/app.service].throttled_pct": "80",
			"limits[/system.slice/app.service].memory_high_per_s": "100", "limits[/system.slice/app.service].memory_max": "null",
			"limits[/system.slice/app.service].memory_full_pct": "80.5", "limits[/system.slice/app.service].oom_kills": "1",
			"limits[/system.slice/ssh.service].tasks_max": "1", "limits[/system.slice/ssh.service].forks_refused": "3",
			"limits[/system.slice/ssh.service].forks_refused_per_s": "0", "limits[/system.slice/ssh.service].unit": `"ssh.service"`,
			"limits[/system.slice/idle.service].cpus": "none",
		}},
		{"first version, in a container", v1, map[string]string{
			"dying": "null", "limits[/].cpus": "0.2", "limits[/].throttled_pct": "100", "limits[/docker/abc].memory_max": "null",
			"limits[/docker/abc].memory": "5000",
		}},
		{"what may not be read is not nothing", "-- /sys/fs/cgroup/cgroup.controllers --\ncpu\n-- /sys/fs/cgroup/a/cpu.stat !permission --\n", map[string]string{"limits": `{"items":[],"more":1}`}},
		{"none", "-- /proc/stat --\n", map[string]string{"(reason)": "no control groups"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Cgroups, observe(t, Cgroups, c.capture), c.want) })
	}
}

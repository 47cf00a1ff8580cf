package linux

import "testing"

// The counters of a core that is online throughout, and what else /proc/stat must hold.
const statTail = "intr 5 0 0\nctxt 1000\nbtime 1795243627\nprocesses 50\nprocs_running 2\nprocs_blocked 1\nsoftirq 7 0 7\n"

func TestCPU(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		want                map[string]string
	}{
		{
			name:   "shares of a second",
			before: "cpu  100 0 100 1000 0 0 0 0 0 0\ncpu0 100 0 100 1000 0 0 0 0 0 0\n" + statTail,
			after: "cpu  140 10 110 1020 5 1 9 5 0 0\ncpu0 140 10 110 1020 5 1 9 5 0 0\n" +
				"ctxt 3000\nbtime 1795243627\nprocesses 53\nprocs_running 1\nprocs_blocked 0\n",
			want: map[string]string{
				"count": "1", "all.user_pct": "40", "all.nice_pct": "10", "all.system_pct": "10", "all.idle_pct": "20", "all.iowait_pct": "5",
				"all.irq_pct": "1", "all.softirq_pct": "9", "all.steal_pct": "5", "all.busy_pct": "75", "all.guest_pct": "0",
				"cores[cpu0].time.softirq_pct": "9", "context_switches_per_s": "2000", "forks_per_s": "3",
			},
		},
		{
			name:   "guest time is part of user time and counted once",
			before: "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n" + statTail,
			after:  "cpu  60 30 0 10 0 0 0 0 50 30\ncpu0 60 30 0 10 0 0 0 0 50 30\n" + statTail,
			want:   map[string]string{"all.user_pct": "10", "all.nice_pct": "0", "all.guest_pct": "80", "all.busy_pct": "90", "all.idle_pct": "10"},
		},
		{
			name:   "Linux 2.6.32 has 9 columns",
			before: "cpu  0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0\n" + statTail,
			after:  "cpu  1 0 0 2 0 0 0 1 0\ncpu0 1 0 0 2 0 0 0 1 0\n" + statTail,
			want:   map[string]string{"all.steal_pct": "25", "all.guest_pct": "0"},
		},
		{
			name:   "a core that came online in between has no shares yet, one that went offline is gone",
			before: "cpu  0 0 0 0\ncpu0 0 0 0 0\ncpu1 0 0 0 0\n" + statTail,
			after:  "cpu  5 0 0 5\ncpu0 5 0 0 5\ncpu2 900 0 0 100\n" + statTail,
			want:   map[string]string{"count": "2", "cores[cpu0].time.user_pct": "50", "cores[cpu2].time.user_pct": "null", "cores[cpu1]": "none"},
		},
		{
			name:   "iowait that goes backwards is none",
			before: "cpu  0 0 0 0 500\ncpu0 0 0 0 0 500\n" + statTail,
			after:  "cpu  5 0 0 5 480\ncpu0 5 0 0 5 480\n" + statTail,
			want:   map[string]string{"all.iowait_pct": "0", "all.user_pct": "50"},
		},
		{
			name:   "no time passed, nothing known",
			before: "cpu  1 0 0 1\ncpu0 1 0 0 1\n" + statTail,
			after:  "cpu  1 0 0 1\ncpu0 1 0 0 1\n" + statTail,
			want:   map[string]string{"all.busy_pct": "null", "forks_per_s": "0"},
		},
		{
			name:  "a negative number",
			after: "cpu  -1 0 0 1\ncpu0 1 0 0 1\n" + statTail, want: map[string]string{"(reason)": "reading /proc/stat: line 1: cpu: \"-1\" is not a count"},
		},
		{name: "three columns", after: "cpu  1 2 3\n" + statTail, want: map[string]string{"(reason)": "3 columns"}},
		{name: "no core", after: statTail, want: map[string]string{"(reason)": "0 cores"}},
		{name: "no procs_blocked", after: "cpu0 1 2 3 4\nctxt 1\nbtime 1\n", want: map[string]string{"(reason)": "2 of the counters"}},
		{name: "empty", want: map[string]string{"(reason)": "empty"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			capture := "-- /proc/stat --\n" + c.before + "-- /proc/stat @1s --\n" + c.after
			if c.before == "" {
				capture = "-- /proc/stat --\n" + c.after
			}
			wantFacts(t, CPU, observe(t, CPU, capture), c.want)
		})
	}
}

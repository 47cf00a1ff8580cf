package linux

import "testing"

func TestLoad(t *testing.T) {
	stat := "-- /proc/stat --\ncpu0 1 2 3 4\ncpu1 1 2 3 4\n" + statTail
	for _, c := range []struct {
		name, loadavg string
		want          map[string]string
	}{
		{"two cores", "3.00 1.50 0.50 4/321 9876\n", map[string]string{
			"load1": "3", "load15": "0.5", "per_cpu1": "1.5", "per_cpu5": "0.75", "runnable": "4", "tasks": "321", "blocked_io": "1",
		}},
		{"not a number", "NaN 1.50 0.50 4/321 9876\n", map[string]string{"(reason)": `reading /proc/loadavg: "NaN" is not a load average`}},
		{"cut short", "3.00 1.50\n", map[string]string{"(reason)": "2 fields"}},
		{"no count of tasks", "3.00 1.50 1.00 4 1\n", map[string]string{"(reason)": "not a count"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFacts(t, Load, observe(t, Load, stat+"-- /proc/loadavg --\n"+c.loadavg), c.want)
		})
	}
}

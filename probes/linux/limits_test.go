package linux

import (
	"strings"
	"testing"
)

const limitsCapture = `
-- /proc/sys/fs/file-nr --
900	0	1000
-- /proc/sys/fs/nr_open --
1048576
-- /proc/sys/kernel/pid_max --
32768
-- /proc/sys/kernel/threads-max --
4000
-- /proc/loadavg --
0.00 0.00 0.00 1/3000 999
-- /proc/sys/fs/inotify/max_user_instances --
128
`

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"counts and percentages", limitsCapture, map[string]string{
			"files_open": "900", "files_max": "1000", "files_pct": "90", "nr_open": "1048576", "tasks": "3000", "tasks_max": "4000",
			"tasks_pct": "75", "inotify_instances_max": "128", "inotify_watches_max": "null", "nofile": "[]",
		}},
		{"unlimited files", strings.Replace(limitsCapture, "900	0	1000", "900	0	18446744073709551615", 1), map[string]string{
			"files_max": "9223372036854775807",
		}},
		{"limits.conf, then limits.d by name", limitsCapture + `
-- /etc/security/limits.conf --
# End of file
root soft nofile 65535
* - nofile 2000000 # too much
* hard nproc 100
* hard nofile many
-- /etc/security/limits.d/20-app.conf --
@app hard nofile unlimited
-- /etc/security/limits.d/README --
* hard nofile 5
`, map[string]string{
			"nofile[/etc/security/limits.conf:2].hard": "false", "nofile[/etc/security/limits.conf:3].value": "2000000",
			"nofile[/etc/security/limits.conf:3].hard": "true", "nofile[/etc/security/limits.conf:3].domain": `"*"`,
			"nofile[/etc/security/limits.conf:5]": "none", "nofile[/etc/security/limits.d/20-app.conf:1].unlimited": "true",
			"nofile[/etc/security/limits.d/README:1]": "none",
		}},
		{"limits.conf denied", limitsCapture + "-- /etc/security/limits.conf !permission --\n", map[string]string{
			"files_open": "900", "nofile": `{"unreadable":"open /etc/security/limits.conf: permission denied"}`,
		}},
		{"two numbers", strings.Replace(limitsCapture, "900	0	1000", "900 1000", 1), map[string]string{"(reason)": "reading /proc/sys/fs/file-nr"}},
		{
			"a number cut short", strings.Replace(limitsCapture, "-- /proc/sys/fs/nr_open --\n1048576\n", "-- /proc/sys/fs/nr_open [quoted] --\n\"1048\"\n", 1),
			map[string]string{"(reason)": "reading /proc/sys/fs/nr_open: the line is cut short"},
		},
		{"no nr_open", strings.Replace(limitsCapture, "nr_open", "no_open", 1), map[string]string{"(reason)": "/proc/sys/fs/nr_open"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Limits, observe(t, Limits, c.capture), c.want) })
	}
}

package linux

import "testing"

func TestTerminals(t *testing.T) {
	const full = "-- /proc/sys/kernel/pty/nr --\n4\n-- /proc/sys/kernel/pty/max --\n4\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"enough", "-- /proc/sys/kernel/pty/nr --\n3\n-- /proc/sys/kernel/pty/max --\n4096\n-- /proc/7/fd/3 -> /dev/ptmx --\n", map[string]string{"used": "3", "max": "4096", "holder": "null"}},
		{"one has most", full + "-- /proc/7/comm --\nsshd\n-- /proc/7/fd/3 -> /dev/ptmx --\n-- /proc/8/comm --\nrecorder\n-- /proc/8/cgroup --\n0::/system.slice/recorder.service\n-- /proc/8/fd/3 -> /dev/ptmx --\n-- /proc/8/fd/4 -> /dev/pts/ptmx --\n-- /proc/8/fd/5 -> /dev/null --\n", map[string]string{
			"used_pct": "100", "holder": `"recorder"`, "pid": "8", "held": "2", "unit": `"recorder.service"`,
		}},
		{"the mount allows fewer", "-- /proc/sys/kernel/pty/nr --\n3\n-- /proc/sys/kernel/pty/max --\n4096\n-- /proc/mounts --\ndevpts /dev/pts devpts rw,gid=5,mode=620,ptmxmode=666,max=2 0 0\n" +
			"-- /dev/pts/0 --\n-- /dev/pts/1 --\n-- /dev/pts/ptmx --\n-- /proc/7/fd/3 -> /dev/null --\n", map[string]string{"used": "2", "max": "2", "of_mount": "true"}},
		{"others' descriptors may not be read", full + "-- /proc/7/fd/ !permission --\n-- /proc/7/comm --\nx\n", map[string]string{"used_pct": "100", "holder": "null"}},
		{"none", "-- /proc/1/comm --\ninit\n", map[string]string{"(reason)": "no pseudo-terminals"}},
		{"cut short", "-- /proc/sys/kernel/pty/nr --\n", map[string]string{"(reason)": "pty/nr"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Terminals, observe(t, Terminals, c.capture), c.want) })
	}
}

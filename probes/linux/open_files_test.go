package linux

import (
	"fmt"
	"strings"
	"testing"
)

// descriptors is a process with a table for room descriptors, a soft limit, and open ones.
func descriptors(pid int, command string, room int, limit string, open int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- /proc/%d/status --\nName:	%s\nState:	S (sleeping)\nFDSize:	%d\n", pid, command, room)
	fmt.Fprintf(&b, "-- /proc/%d/limits --\nLimit                     Soft Limit           Hard Limit           Units     \n"+
		"Max processes             9                    9                    processes \n"+
		"Max open files            %-20s 524288               files     \n", pid, limit)
	for i := range open {
		fmt.Fprintf(&b, "-- /proc/%d/fd/%d -> /dev/null --\n", pid, i)
	}
	return b.String()
}

func TestOpenFiles(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			"the fullest of a name, and its unit", descriptors(1, "systemd", 128, "1024", 90) + descriptors(70, "nginx", 1024, "1024", 600) +
				descriptors(71, "nginx", 1024, "1024", 1000) + descriptors(72, "java", 512, "65536", 400) +
				"-- /proc/71/cgroup --\n0::/system.slice/nginx.service\n",
			map[string]string{"near_limit": `[{"command":"nginx","pid":71,"open":1000,"limit":1024,"pct":97.65625,"unit":"nginx.service"}]`},
		},
		{
			"a kernel that counts", "-- /proc/self/fd/ 0500 0:0 size=9 --\n-- /proc/1/fd/ 0500 0:0 size=90 --\n-- /proc/70/fd/ 0500 33:33 size=1000 --\n" +
				"-- /proc/70/comm --\nnginx\n-- /proc/70/limits --\nMax open files            1024                 524288               files     \n" +
				"-- /proc/71/fd/ 0500 33:33 size=400 --\n-- /proc/71/comm --\njava\n-- /proc/71/limits --\nMax open files            unlimited            unlimited            files     \n",
			map[string]string{"near_limit": `[{"command":"nginx","pid":70,"open":1000,"limit":1024,"pct":97.65625,"unit":null}]`},
		},
		{"a table that was once large", descriptors(70, "nginx", 1024, "1024", 20), map[string]string{"near_limit": "[]"}},
		{"no limit", descriptors(70, "nginx", 1024, "unlimited", 600), map[string]string{"near_limit": "[]"}},
		{"a zombie has no table", "-- /proc/70/status --\nName:	x\nState:	Z (zombie)\n", map[string]string{"near_limit": "[]"}},
		{
			"another user's process", descriptors(70, "nginx", 1024, "1024", 0) + "-- /proc/70/fd/ !permission --\n",
			map[string]string{"near_limit": `{"unreadable":"open /proc/70/fd: permission denied"}`},
		},
		{"cut short", "-- /proc/70/status [quoted] --\n" + quote("Name:	nginx\nFDSi"), map[string]string{"(reason)": "reading /proc/70/status"}},
		{
			"limits without the line", strings.Replace(descriptors(70, "nginx", 1024, "1024", 600), "Max open files", "Max open pipes", 1),
			map[string]string{"(reason)": "no open files in it"},
		},
		{"not a number", descriptors(70, "nginx", 1024, "many", 600), map[string]string{"(reason)": "reading /proc/70/limits"}},
		{"no processes", "-- /proc/uptime --\n1 1\n", map[string]string{"(reason)": "no processes"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, OpenFiles, observe(t, OpenFiles, c.capture), c.want) })
	}
}

package linux

import (
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestRunMode(t *testing.T) {
	const systemd = "-- /run/systemd/system/ --\n"
	up := func(s string) string { return "-- /proc/uptime --\n" + s + " 10.00\n" }
	asked := func(answer string) string {
		return systemd + up("59.10") + "-- $ systemctl is-system-running [exit 1] --\n" + answer + "\n"
	}
	for _, c := range []struct{ name, capture, want string }{
		{"up for long: nobody is asked", systemd + up("86400.5"), `"running"`},
		{"starting", asked("starting"), `"starting"`},
		{"degraded runs", asked("degraded"), `"running"`},
		{"a start that hangs for long runs", systemd + up("601.00") + "-- $ systemctl is-system-running [exit 1] --\nstarting\n", `"running"`},
		{"shutting down", asked("stopping"), `"stopping"`},
		{"the emergency shell", systemd + up("86400.00") + "-- /sys/fs/cgroup/system.slice/emergency.service/ --\n", `"rescue"`},
		{"the rescue shell, control groups 1", systemd + up("59.00") + "-- /sys/fs/cgroup/systemd/system.slice/rescue.service/ --\n", `"rescue"`},
		{"rescue as systemctl says it", asked("maintenance"), `"rescue"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFacts(t, RunMode, observe(t, RunMode, c.capture), map[string]string{"name": c.want})
		})
	}
	for name, capture := range map[string]string{
		"the manager does not answer": asked("unknown"),
		"cut short":                   systemd + up(""),
		"no systemctl":                systemd + up("5.00"),
	} {
		if o := observe(t, RunMode, capture); o.Status != probes.Failed {
			t.Errorf("%s: %s", name, o.Status)
		}
	}
	if o := observe(t, RunMode, up("5.00")); o.Status != probes.Nothing {
		t.Errorf("without systemd: %s %s", o.Status, o.Reason)
	}
}

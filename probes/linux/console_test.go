package linux

import "testing"

func TestConsole(t *testing.T) {
	const systemd = "-- /run/systemd/system/ --\n-- /dev/tty1 020620 --\n-- /dev/ttyS0 020660 --\n"
	const enabled = "-- /etc/systemd/system/getty.target.wants/getty@tty1.service -> /lib/systemd/system/getty@.service --\n"
	const serial = "-- /sys/class/tty/console/active --\ntty0 ttyS0 hvc0\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"both", systemd + enabled + serial, map[string]string{"prompts[tty1].off": `""`, "prompts[ttyS0].off": `""`, "prompts[ttyS0].unit": `"serial-getty@ttyS0.service"`, "prompts[hvc0]": "none"}},
		{"masked", systemd + enabled + serial + "-- /etc/systemd/system/getty@tty1.service -> /dev/null --\n", map[string]string{"prompts[tty1].off": `"getty@tty1.service is masked"`, "prompts[ttyS0].off": `""`}},
		{"all serial prompts masked", systemd + enabled + serial + "-- /etc/systemd/system/serial-getty@.service -> /dev/null --\n", map[string]string{"prompts[tty1].off": `""`, "prompts[ttyS0].off": `"serial-getty@.service is masked"`}},
		{"the target masked", systemd + enabled + serial + "-- /etc/systemd/system/getty.target -> /dev/null --\n", map[string]string{"prompts[tty1].off": `"getty.target is masked"`}},
		{"not enabled", systemd, map[string]string{"prompts[tty1].off": `"getty@tty1.service is not enabled"`, "prompts[ttyS0]": "none"}},
		{"a desktop", systemd + "-- /etc/systemd/system/default.target -> /lib/systemd/system/graphical.target --\n-- /etc/systemd/system/display-manager.service -> x --\n-- /etc/systemd/system/x --\n", map[string]string{"(reason)": "graphical"}},
		{"a container", "-- /run/systemd/system/ --\n" + serial, map[string]string{"(reason)": "no console"}},
		{"denied", systemd + "-- /sys/class/tty/console/active !permission --\n", map[string]string{"(reason)": "permission"}},
		{"another init", "-- /dev/tty1 --\n", map[string]string{"(reason)": "systemd"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Console, observe(t, Console, c.capture), c.want) })
	}
}

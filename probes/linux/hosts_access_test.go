package linux

import "testing"

func TestSshdWrappers(t *testing.T) {
	const host = "-- /usr/sbin/sshd 0755 --\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\n-- /run/sshd.pid --\n9\n-- /proc/9/comm --\nsshd\n-- /proc/9/cmdline [quoted] --\n\"sshd\\x00\"\n-- tcp --\n"
	const wrapped, plain = "-- /proc/9/maps --\n7f00-7f01 r-xp 0 fd:00 1 /usr/lib/x86_64-linux-gnu/libwrap.so.0.7.6\n", "-- /proc/9/maps --\n7f00-7f01 r-xp 0 fd:00 1 /usr/lib/libc.so.6\n"
	for _, c := range []struct{ name, capture, deny, some string }{
		{"all are turned away", wrapped + "-- /etc/hosts.deny --\n# x\nsshd, vsftpd : ALL\n", `"/etc/hosts.deny:2"`, "false"},
		{"all services", wrapped + "-- /etc/hosts.deny --\nALL: ALL\n-- /etc/hosts.allow --\nsshd: 10.0.0.\n", `"/etc/hosts.deny:1"`, "true"},
		{"all are let in before", wrapped + "-- /etc/hosts.deny --\nALL: ALL\n-- /etc/hosts.allow --\nsshd: ALL\n", "null", "false"},
		{"some are turned away", wrapped + "-- /etc/hosts.deny --\nsshd: 192.0.2.7\nsshd: ALL EXCEPT 10.\nvsftpd: ALL\nALL EXCEPT sshd: ALL\nsshd: ALL: ALLOW\n", "null", "false"},
		{"a daemon that does not ask", plain + "-- /etc/hosts.deny --\nsshd: ALL\n", "null", "false"},
		{"a daemon that may not be looked at", "-- /proc/9/maps !permission --\n-- /etc/hosts.deny --\nsshd: ALL\n", `{"unreadable":"open /proc/9/maps: permission denied"}`, "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFacts(t, Sshd, observe(t, Sshd, host+c.capture), map[string]string{"wrappers_deny": c.deny, "wrappers_allow_some": c.some})
		})
	}
}

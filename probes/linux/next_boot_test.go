package linux

import (
	"encoding/binary"
	"fmt"
	"testing"
)

func TestNextBoot(t *testing.T) {
	// A capture without a time is of 2026-01-01T00:00:00Z, 1767225600.
	const started = "-- /proc/uptime --\n600.00 600.00\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"systemd's target", "-- /etc/systemd/system/default.target -> /lib/systemd/system/rescue.target --\n-- /lib/systemd/system/rescue.target --\n", map[string]string{
			"default_target": `"rescue.target"`, "default_target_exists": "true", "selinux": "null", "crash_kernel_loaded": "null",
		}},
		{"a target that is not there", "-- /etc/systemd/system/default.target -> /lib/systemd/system/gone.target --\n", map[string]string{"default_target_exists": "false"}},
		{"SELinux without its policy", "-- /etc/selinux/config --\n# x\nSELINUX=enforcing\nSELINUXTYPE=disabled\n", map[string]string{"selinux": `"enforcing"`, "selinux_policy": "false"}},
		{"SELinux", "-- /etc/selinux/config --\nSELINUX=permissive\nSELINUXTYPE=targeted\n-- /etc/selinux/targeted/policy/policy.33 --\n", map[string]string{"selinux_policy": "true"}},
		{"SELinux that is off", "-- /etc/selinux/config --\nSELINUX=disabled\nSELINUXTYPE=mls\n", map[string]string{"selinux": `"disabled"`, "selinux_policy": "null"}},
		{"dumps", "-- /etc/x --\n-- /sys/kernel/kexec_crash_loaded --\n0\n-- /sys/kernel/kexec_crash_size --\n268435456\n-- /var/crash/127.0.0.1-2025-12-31/ mtime=2025-12-31T00:00:00Z --\n-- /var/crash/_usr_bin_x.1000.crash --\n", map[string]string{
			"crash_kernel_loaded": "false", "crash_kernel_bytes": "268435456", "crashes[/var/crash/127.0.0.1-2025-12-31].age": `"24h0m0s"`, "crashes[/var/crash/_usr_bin_x.1000.crash]": "none",
		}},
		{"rules for the cards of another host", "-- /etc/udev/rules.d/70-persistent-net.rules --\n# ATTR{address}==\"00:16:3e:00:00:03\", NAME=\"eth2\"\n" +
			"SUBSYSTEM==\"net\", ATTR{address}==\"00:16:3E:00:00:01\", KERNEL==\"eth*\", NAME=\"eth0\"\nSUBSYSTEM==\"net\", ATTR{address}==\"00:16:3e:00:00:02\", NAME=\"eth1\"\n" +
			"-- /sys/class/net/eth1/address --\n00:16:3e:00:00:02\n", map[string]string{
			"net_rules[eth0].present": "false", "net_rules[eth0].mac": `"00:16:3e:00:00:01"`, "net_rules[eth1].present": "true", "net_rules[eth2]": "none",
		}},
		{"rules cut short", "-- /etc/udev/rules.d/70-persistent-net.rules [quoted] --\n" + quote("SUBSYSTEM==\"net\", ATTR{address}==\"00:16") + "-- /sys/class/net/ --\n", map[string]string{"net_rules": "[]"}},
		{"a former system that was shut down", "-- /etc/x --\n" + started + wtmp(384, 340, "2 reboot 100000", "7 root 200000", "1 shutdown 300000", "2 reboot 1767225000", "7 root 1767225100"), map[string]string{"unclean": "false"}},
		{"one that was not", "-- /etc/x --\n" + started + wtmp(384, 340, "2 reboot 100000", "1 shutdown 200000", "2 reboot 300000", "7 root 400000", "2 reboot 1767225000"), map[string]string{"unclean": "true"}},
		{"the same on arm64", "-- /etc/x --\n" + started + wtmp(400, 344, "7 root 400000", "2 reboot 1767225000"), map[string]string{"unclean": "true"}},
		{"the first start", "-- /etc/x --\n" + started + wtmp(384, 340, "2 reboot 1767225000", "7 root 1767225100"), map[string]string{"unclean": "null"}},
		{"a start that it does not know", "-- /etc/x --\n" + started + wtmp(384, 340, "2 reboot 100000", "2 reboot 300000"), map[string]string{"unclean": "null"}},
		{"no wtmp", "-- /etc/x --\n" + started, map[string]string{"unclean": "null"}},
		{"wtmp cut short", "-- /etc/x --\n" + started + "-- /var/log/wtmp --\nx\n", map[string]string{"unclean": "null"}},
		{"no /etc", "", map[string]string{"(reason)": "/etc"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, NextBoot, observe(t, NextBoot, c.capture), c.want) })
	}
}

// wtmp is a log of records "TYPE USER TIME".
func wtmp(size, at int, records ...string) string {
	var b []byte
	for _, r := range records {
		record := make([]byte, size)
		var kind uint16
		var user string
		var when uint32
		if _, err := fmt.Sscan(r, &kind, &user, &when); err != nil {
			panic(err)
		}
		binary.NativeEndian.PutUint16(record, kind)
		copy(record[44:], user)
		binary.NativeEndian.PutUint32(record[at:], when)
		b = append(b, record...)
	}
	return "-- /var/log/wtmp [quoted] --\n" + quote(string(b))
}

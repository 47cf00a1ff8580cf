package linux

import "testing"

func TestNextBoot(t *testing.T) {
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
		{"no /etc", "", map[string]string{"(reason)": "/etc"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, NextBoot, observe(t, NextBoot, c.capture), c.want) })
	}
}

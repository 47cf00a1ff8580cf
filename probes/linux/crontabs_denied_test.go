package linux

import "testing"

func TestJobsDenied(t *testing.T) {
	const base = "-- /etc/crontab --\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\nwww:x:33:33::/var/www:/usr/sbin/nologin\ndeploy:x:1000:1000::/home/deploy:/bin/bash\n-- /etc/debian_version --\n12\n-- /etc/nsswitch.conf --\npasswd: files\n" +
		"-- /usr/bin/at --\n-- /var/spool/cron/crontabs/ --\n-- /var/spool/cron/crontabs/deploy 0600 1000:0 --\n# m h\n0 3 * * * /bin/true\n"
	for _, c := range []struct {
		name, files string
		want        map[string]string
	}{
		{"nobody decides", "", map[string]string{"denied": "[]", "users_crontabs": "1"}},
		{"root alone may", "-- /etc/cron.allow --\nroot\n-- /etc/cron.deny --\n", map[string]string{"denied[crontab].users": `["deploy"]`, "denied[crontab].with_jobs": `["deploy"]`, "denied[crontab].file": `"/etc/cron.allow"`}},
		{"somebody may not", "-- /etc/cron.deny --\nwww\n-- /etc/at.deny --\nwww\ndeploy\n", map[string]string{"denied[crontab]": "none", "denied[at].users": `["deploy"]`, "denied[at].with_jobs": "[]", "denied[at].file": `"/etc/at.deny"`}},
		{"all may", "-- /etc/cron.allow --\nroot\ndeploy\nwww\n", map[string]string{"denied": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Jobs, observe(t, Jobs, base+c.files), c.want) })
	}
}

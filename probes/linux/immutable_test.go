package linux

import "testing"

func TestImmutable(t *testing.T) {
	const base = "-- /proc/self/mountinfo --\n1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 254:17 / /data rw - ext4 /dev/vdb rw\n-- /etc/passwd --\nredis:x:101:102::/var/lib/redis:/usr/sbin/nologin\n" +
		"-- /data/records --\nx\n-- /data/.user.ini --\n-- /var/lib/redis/dump.rdb --\n-- /var/log/app.log --\n-- /var/log/empty/ --\n" +
		"-- attributes /data/.user.ini --\n{\"immutable\": true}\n-- attributes /var/log/app.log --\n{\"append_only\": true}\n-- attributes /var/log/empty --\n{\"immutable\": true}\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"all is well", base, map[string]string{"list": "[]"}},
		{"a directory and files", base + "-- attributes /data --\n{\"immutable\": true}\n-- attributes /data/records --\n{\"immutable\": true}\n-- attributes /var/lib/redis --\n{\"append_only\": true}\n", map[string]string{
			"list[/data].directory": "true", "list[/data].flag": `"i"`, "list[/data/records].directory": "false", "list[/var/lib/redis].flag": `"a"`,
		}},
		{"a service whose account has no home", base + "-- /var/lib/mysql/ 0700 101:102 --\n-- /var/lib/mysql/ibdata1 --\n-- attributes /var/lib/mysql --\n{\"immutable\": true}\n-- /var/lib/dpkg/ 0755 0:0 --\n-- /var/lib/dpkg/status --\n-- attributes /var/lib/dpkg --\n{\"immutable\": true}\n", map[string]string{
			"list[/var/lib/mysql].directory": "true", "list[/var/lib/dpkg]": "none",
		}},
		{"data below others", base + "-- /var/lib/postgresql/ 0755 105:110 --\n-- /var/lib/postgresql/.psql_history --\n-- /var/lib/postgresql/15/main/PG_VERSION --\n-- attributes /var/lib/postgresql/15/main --\n{\"immutable\": true}\n" +
			"-- /var/lib/postgresql/15/main/base/x/deep --\n-- attributes /var/lib/postgresql/15/main/base/x/deep --\n{\"immutable\": true}\n", map[string]string{
			"list[/var/lib/postgresql/15/main].directory": "true", "list[/var/lib/postgresql/15/main/base/x/deep]": "none",
		}},
		{"no mounts", "", map[string]string{"(reason)": "mountinfo"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Immutable, observe(t, Immutable, c.capture), c.want) })
	}
}

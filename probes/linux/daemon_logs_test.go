package linux

import "testing"

const pgLogHost = `-- /proc/40/ 0555 5:5 --
-- /proc/40/cwd -> /var/lib/pg --
-- /proc/40/fd/2 -> /var/log/pg.log --
-- /proc/40/cmdline --
postgres -c config_file=/etc/pg/postgresql.conf
-- /etc/passwd --
root:x:0:0:root:/root:/bin/sh
postgres:x:5:5::/var/lib/pg:/bin/sh
-- /etc/pg/pg_hba.conf --
local all all peer
host  other all samehost reject
host  all shop 127.0.0.0/8 reject
-- /var/lib/pg/base/1/2 0600 0:0 --
-- /var/lib/pg/base/1/3 0600 5:5 --
-- /var/log/pg.log mtime=2025-12-31T23:59:00Z --
`

func TestDaemonsWithoutTCP(t *testing.T) {
	const redis = "-- tcp --\n-- /run/redis/redis-server.pid --\n40\n-- /proc/40/comm --\nredis-server\n-- /proc/40/cgroup --\n0::/system.slice/redis-server.service\n"
	wantFacts(t, Daemons, observe(t, Daemons, redis), map[string]string{"without_tcp[redis].pid": "40", "without_tcp[redis].unit": `"redis-server.service"`, "without_tcp[redis].port": "6379"})
	wantFacts(t, Daemons, observe(t, Daemons, "-- tcp --\n-- /run/redis/redis-server.pid --\n40\n-- /proc/40/comm --\nperl\n"), map[string]string{"(reason)": "none of the servers"})
	listens := daemonHost("redis-server", "6379", `{"text":"+PONG\r\n","took":1000000}`) + "-- /run/redis/redis-server.pid --\n40\n"
	wantFacts(t, Daemons, observe(t, Daemons, listens), map[string]string{"without_tcp": "[]"})
}

func TestDaemonLogs(t *testing.T) {
	const refused = `2025-12-31 23:58:00.1 UTC [9] shop@shop FATAL:  pg_hba.conf rejects connection for host "127.0.0.1", user "shop", database "shop", no encryption` + "\n"
	const pg = "refusals[postgresql 127.0.0.1:5432]"
	postgres := daemonHost("postgres", "5432", `{"text":"R\u0000\u0000\u0000\u0017","took":1000000}`) + pgLogHost
	for _, c := range []struct {
		name, log string
		want      map[string]string
	}{
		{"a rule", refused + refused, map[string]string{
			pg + ".reason": `"rule"`, pg + ".user": `"shop"`, pg + ".client": `"127.0.0.1"`, pg + ".count": "2", pg + ".rule": `"/etc/pg/pg_hba.conf:3: host all shop 127.0.0.0/8 reject"`,
		}},
		{"mended since", refused + "2025-12-31 23:58:30.1 UTC [1] LOG:  received SIGHUP, reloading configuration files\n", map[string]string{"refusals": "[]"}},
		{"long ago", `2025-12-31 21:48:00.1 UTC [9] shop@shop FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "shop", database "shop"`, map[string]string{"refusals": "[]"}},
		{
			"a stranger, and a look", `2025-12-31 23:58:00.1 UTC [9] FATAL:  no pg_hba.conf entry for host "198.51.100.7", user "shop", database "shop"` + "\n" +
				`2025-12-31 23:58:00.1 UTC [9] FATAL:  role "root" does not exist` + "\n" + `2025-12-31 23:58:00.1 UTC [9] FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "hostmend", database "template1"`,
			map[string]string{"refusals": "[]"},
		},
		{"a password, here and from everywhere", `2025-12-31 23:58:00.1 UTC [9] shop@shop FATAL:  password authentication failed for user "shop"` + "\n" +
			`2025-12-31 23:58:00.1 UTC [9] shop@shop DETAIL:  Connection matched pg_hba.conf line 97: "host all all 127.0.0.1/32 scram-sha-256"` + "\n" +
			`2025-12-31 23:58:00.1 UTC [9] postgres@shop FATAL:  password authentication failed for user "postgres"` + "\n" +
			`2025-12-31 23:58:00.1 UTC [9] postgres@shop DETAIL:  Connection matched pg_hba.conf line 98: "host all all 0.0.0.0/0 scram-sha-256"` + "\n", map[string]string{
			pg + ".user": `"shop"`, pg + ".rule": `"line 97 of pg_hba.conf: host all all 127.0.0.1/32 scram-sha-256"`,
		}},
		{"a file of root's, one that is well again and one that is gone", `2025-12-31 23:58:00.1 UTC [9] shop@shop ERROR:  could not open file "base/1/2": Permission denied` + "\n" +
			`2025-12-31 23:58:00.1 UTC [9] shop@shop ERROR:  could not open file "base/1/3": Permission denied` + "\n" +
			`2025-12-31 23:58:00.1 UTC [9] shop@shop ERROR:  could not open file "base/1/4": No such file or directory` + "\n", map[string]string{
			"files[/var/lib/pg/base/1/2].why": `"denied"`, "files[/var/lib/pg/base/1/2].owner": `"root"`, "files[/var/lib/pg/base/1/2].user": `"postgres"`, "files[/var/lib/pg/base/1/2].mode": `"0600"`,
			"files[/var/lib/pg/base/1/3]": "none", "files[/var/lib/pg/base/1/4].why": `"missing"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Daemons, observe(t, Daemons, postgres+c.log), c.want) })
	}
	mysql := daemonHost("mariadbd", "3306", `{"text":"J\u0000\u0000\u0000\n8.0.36\u0000","took":1000000}`) + `-- /proc/40/ 0555 5:5 --
-- /proc/40/cwd -> /var/lib/mysql --
-- /proc/40/fd/2 -> socket:[9] --
-- /proc/40/fd/4 -> "/var/lib/mysql/gone (deleted)" --
-- /proc/40/fd/5 -> "/var/tmp/my/#2 (deleted)" --
-- /var/lib/mysql/shop/orders.ibd 0600 0:0 --
-- /var/tmp/my/ --
-- statfs /var/tmp/my --
{"size":4194304,"avail":4000000}
-- /proc/self/mountinfo --
20 1 254:1 / / rw - ext4 /dev/vda1 rw
21 20 0:9 / /var/tmp/my rw - tmpfs tmpfs rw
-- $ journalctl -u db.service -n 100 -o short-unix --no-pager -q --since -10min --
1767225540.1 web-1 mariadbd[40]: 2025-12-31 23:59:00 3 [ERROR] InnoDB: Operating system error number 13 in a file operation.
1767225540.1 web-1 mariadbd[40]: 2025-12-31 23:59:00 3 [ERROR] InnoDB: Cannot open datafile for read-only: './shop/orders.ibd' OS error: 81
1767225540.1 web-1 mariadbd[40]: 2025-12-31 23:59:00 3 [Warning] Access denied for user 'app'@'localhost' (using password: YES)
`
	wantFacts(t, Daemons, observe(t, Daemons, mysql), map[string]string{
		"files[/var/lib/mysql/shop/orders.ibd].why": `"denied"`, "refusals[mysql 127.0.0.1:3306].reason": `"password"`,
		"room[/var/tmp/my].size": "4194304", "room[/var/tmp/my].temporary": "true", "room[/var/tmp/my].own": "true",
	})
}

package linux

import (
	"strings"
	"testing"
)

// nginxHost runs nginx since 30 minutes before the capture, which is at 2026-01-01 00:00:00 UTC; its clock shows Shanghai's time.
const nginxHost = `-- /run/nginx.pid mtime=2025-12-31T23:30:00Z --
9
-- /proc/9/comm --
nginx
-- /etc/nginx/nginx.conf mtime=2025-12-31T20:00:00Z --
error_log /var/log/nginx/shop.log; # not the usual one
include /etc/nginx/sites-enabled/*;
-- /etc/nginx/sites-enabled/shop mtime=2025-12-31T20:00:00Z --
server {
    listen 80 default_server;
    listen [::]:80;
    # listen 81;
    listen 127.0.0.1:8443 ssl;
    listen unix:/run/nginx.sock;
    listen 443 quic;
}
-- /etc/nginx/sites-enabled/ mtime=2025-12-31T20:00:00Z --
-- tcp --
{"state":10,"local":"0.0.0.0:80","rq":0,"wq":511,"uid":0,"ino":77}
{"state":10,"local":"127.0.0.1:8443","rq":0,"wq":511,"uid":0,"ino":78}
-- /sys/fs/cgroup/system.slice/nginx.service/cgroup.procs --
9
-- /proc/9/fd/6 -> socket:[77] --
-- /sys/fs/cgroup/system.slice/squatter.service/cgroup.procs --
40
-- /proc/40/fd/3 -> socket:[78] --
-- /proc/40/comm --
perl
`

func TestNginx(t *testing.T) {
	const log = "-- /var/log/nginx/shop.log mtime=2025-12-31T23:59:30Z --\n"
	const refused = ` [error] 9#9: *1 connect() failed (111: Connection refused) while connecting to upstream, client: 10.0.0.1, server: , request: "GET / HTTP/1.1", upstream: "http://127.0.0.1:8081/health", host: "x"` + "\n"
	const slow = ` [error] 9#9: *2 upstream timed out (110: Connection timed out) while reading response header from upstream, client: 10.0.0.1, server: , request: "GET / HTTP/1.1", upstream: "http://10.0.0.9:80/a", host: "x"` + "\n"
	const gone = ` [crit] 9#9: *3 connect() to unix:/run/app.sock failed (2: No such file or directory) while connecting to upstream, client: 10.0.0.1, server: , request: "GET / HTTP/1.1", upstream: "http://unix:/run/app.sock:/x", host: "x"` + "\n"
	const none = ` [error] 9#9: *4 no live upstreams while connecting to upstream, client: 10.0.0.1, server: , request: "GET / HTTP/1.1", upstream: "http://shop/x", host: "x"` + "\n"
	const pool = "-- /etc/nginx/sites-enabled/pool --\nupstream shop {\n    server 127.0.0.1:8081 weight=5;\n    server 10.0.0.2:8081;\n    server 10.0.0.3:8081;\n    server 10.0.0.4:8081 down;\n}\n"
	const emerg = ` [emerg] 9#9: unknown directive "servr" in /etc/nginx/sites-enabled/shop:1` + "\n"
	const access = "-- /var/log/nginx/access.log mtime=2025-12-31T23:59:30Z --\n"
	const before = `10.0.0.1 - - [01/Jan/2026:07:00:00 +0800] "GET / HTTP/1.1" 200 5000 "-" "curl"` + "\n" + `10.0.0.1 - - [01/Jan/2026:07:00:01 +0800] "GET /a?b=c HTTP/1.1" 304 0 "-" "curl"` + "\n"
	const after = `10.0.0.1 - - [01/Jan/2026:07:50:00 +0800] "GET / HTTP/1.1" 200 5 "-" "curl"` + "\n" + `10.0.0.2 - - [01/Jan/2026:07:50:00 +0800] "GET /b HTTP/1.1" 200 5 "-" "curl"` + "\n"
	const closed = "-- /etc/nginx/sites-enabled/away mtime=2025-12-31T23:30:00Z --\nserver {\n listen 80;\n # closed\n location / { return 200 \"soon\\n\"; }\n}\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"its ports", nginxHost, map[string]string{
			"ports[80].held": "true", "ports[80].holder": "null", "ports[8443].held": "false", "ports[8443].holder": `"perl (pid 40)"`, "ports[81]": "none", "ports[443]": "none",
			"config_error": "null", "worker_connections_errors": "0",
		}},
		{"its upstreams", nginxHost + log + "2026/01/01 07:40:00" + refused + "2026/01/01 07:58:30" + refused + "2026/01/01 07:59:00" + slow + "2026/01/01 07:59:10" + gone + "2026/01/01 07:59:30" + refused, map[string]string{
			"upstreams[http://127.0.0.1:8081].refused": "2", "upstreams[http://127.0.0.1:8081].served": "false", "upstreams[http://127.0.0.1:8081].last": `"30s"`,
			"upstreams[http://10.0.0.9:80].timed_out": "1", "upstreams[http://10.0.0.9:80].served": "null", "upstreams[http://unix:/run/app.sock].refused": "1",
			"upstreams[http://unix:/run/app.sock].served": "false",
		}},
		{"who should serve there", nginxHost + log + "2026/01/01 07:59:10" + gone + "2026/01/01 07:59:30" + refused + `-- /etc/systemd/system/shop.service --
[Service]
ExecStart=/opt/shop/start
-- /opt/shop/start --
#!/bin/sh
exec java -Dport=8081
-- /etc/systemd/system/other.service --
[Service]
ExecStart=/usr/bin/other --port=18081 --listen 127.0.0.1:8082
-- /usr/lib/systemd/system/shop.service --
[Service]
ExecStart=/usr/bin/shop --port=8082
-- /usr/lib/systemd/system/app.service --
[Service]
ExecStart=/usr/bin/app
`, map[string]string{"upstreams[http://127.0.0.1:8081].unit": `"shop.service"`, "upstreams[http://unix:/run/app.sock].unit": `"app.service"`}},
		{"two could", nginxHost + log + "2026/01/01 07:59:30" + refused + `-- /etc/systemd/system/a.service --
ExecStart=/usr/bin/a 8081
-- /etc/systemd/system/b.service --
ExecStart=/usr/bin/b 8081
`, map[string]string{"upstreams[http://127.0.0.1:8081].unit": "null"}},
		{"one server of three", nginxHost + pool + log + "2026/01/01 07:59:30" + refused, map[string]string{
			"upstreams[http://127.0.0.1:8081].others": "2", "upstreams[http://127.0.0.1:8081].none_left": "0",
		}},
		{"the last of three", nginxHost + pool + log + "2026/01/01 07:59:30" + refused + "2026/01/01 07:59:30" + none, map[string]string{
			"upstreams[http://127.0.0.1:8081].others": "2", "upstreams[http://127.0.0.1:8081].none_left": "1", "upstreams[http://shop].refused": "0",
		}},
		{"a server of a block of its own", nginxHost + strings.ReplaceAll(pool, "server 10", "# server 10") + log + "2026/01/01 07:59:30" + refused, map[string]string{
			"upstreams[http://127.0.0.1:8081].others": "0",
		}},
		{"servers by name", nginxHost + "-- /etc/nginx/sites-enabled/pool --\nupstream shop {\n server a.internal:80;\n server b.internal;\n}\n" + log + "2026/01/01 07:59:30" + slow, map[string]string{
			"upstreams[http://10.0.0.9:80].others": "1",
		}},
		{"open to others", nginxHost, map[string]string{"servers": "1", "listening": "1", "loopback_only": "false", "left_out": "[]", "fixed": "[]"}},
		{"on loopback only", strings.NewReplacer("listen 80 ", "listen 127.0.0.1:80 ", "0.0.0.0:80", "127.0.0.1:80").Replace(nginxHost) + access + before, map[string]string{
			"loopback_only": "true", "strangers": "2", "loopback_listens": `["/etc/nginx/sites-enabled/shop:2: listen 127.0.0.1:80 default_server;","/etc/nginx/sites-enabled/shop:3: listen [::]:80;","/etc/nginx/sites-enabled/shop:5: listen 127.0.0.1:8443 ssl;","/etc/nginx/sites-enabled/shop:6: listen unix:/run/nginx.sock;","/etc/nginx/sites-enabled/shop:7: listen 443 quic;"]`,
		}},
		{"behind another one of this host", strings.NewReplacer("listen 80 ", "listen 127.0.0.1:80 ", "0.0.0.0:80", "127.0.0.1:80", `"127.0.0.1:8443"`, `"0.0.0.0:443"`).Replace(nginxHost) + access + before, map[string]string{"loopback_only": "false", "strangers": "0"}},
		{"without a server", strings.Replace(nginxHost, "include /etc/nginx/sites-enabled/*;", "", 1), map[string]string{"servers": "0", "left_out": `["/etc/nginx/sites-enabled/shop"]`}},
		{"a page for everything", nginxHost + closed + access + before + after, map[string]string{
			"fixed[/etc/nginx/sites-enabled/away:4].count": "2", "fixed[/etc/nginx/sites-enabled/away:4].paths": "2", "fixed[/etc/nginx/sites-enabled/away:4].former": "1",
		}},
		{"a page for everything, always", nginxHost + closed + access + after, map[string]string{"fixed": "[]"}},
		{"a page for everything, no more", nginxHost + closed + access + before + after + before, map[string]string{"fixed": "[]"}},
		{"its own limits", nginxHost + log + "2026/01/01 07:59:30 [alert] 9#9: 768 worker_connections are not enough\n", map[string]string{"worker_connections_errors": "1"}},
		{"its configuration", nginxHost + log + "2026/01/01 07:50:00" + emerg, map[string]string{
			"config_error": `"unknown directive \"servr\" in /etc/nginx/sites-enabled/shop:1"`, "config_error_age": `"30s"`,
		}},
		{"it has started since", nginxHost + log + "2026/01/01 07:20:00" + emerg + "2026/01/01 07:59:30" + refused, map[string]string{"config_error": "null"}},
		{"cut short", nginxHost + log + "2026/01/01 07:59", map[string]string{"config_error": "null"}},
		{"not nginx's pid", "-- /run/nginx.pid --\n9\n-- /proc/9/comm --\nbash\n", map[string]string{"(reason)": "nginx does not run"}},
		{"no nginx", "", map[string]string{"(reason)": "nginx does not run"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Nginx, observe(t, Nginx, c.capture), c.want) })
	}
}

func TestCertificates(t *testing.T) {
	const site = `-- /run/nginx.pid --
9
-- /etc/nginx/nginx.conf --
ssl_certificate ssl/shop.crt;
ssl_certificate_key ssl/shop.key;
`
	const answer = `{"subject":"CN=shop","issuer":"CN=R3","not_before":"2025-01-01T00:00:00Z","not_after":"2026-01-02T00:00:00Z","key":"differs"}`
	const file = "list[/etc/nginx/ssl/shop.crt]."
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"a site's", site + "-- certificate /etc/nginx/ssl/shop.crt --\n" + answer + "\n", map[string]string{
			file + "left": `"24h0m0s"`, file + "key_matches": "false", file + "self_signed": "false", file + "server": `"nginx"`, file + "missing": "false",
		}},
		{"it is not there", site + "-- certificate /etc/nginx/ssl/shop.crt --\n!notexist\n", map[string]string{file + "missing": "true"}},
		{"certbot's", "-- /etc/letsencrypt/live/shop/fullchain.pem --\n-- certificate /etc/letsencrypt/live/shop/fullchain.pem --\n" + answer + "\n", map[string]string{
			"list[/etc/letsencrypt/live/shop/fullchain.pem].server": `""`,
		}},
		{"nginx does not run", "-- /etc/nginx/nginx.conf --\nssl_certificate a.crt;\n", map[string]string{"(reason)": "no server"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Certificates, observe(t, Certificates, c.capture), c.want) })
	}
}

func TestJobs(t *testing.T) {
	const locked = "-- /var/lib/dpkg/lock 0640 0:0 dev=8:1 ino=55 size=0 mtime=2026-01-01T00:00:00Z --\n-- /proc/uptime --\n1000.00 900.00\n" +
		"-- /proc/locks --\n1: POSIX  ADVISORY  WRITE 7 08:01:55 0 EOF\n-- /proc/7/fd/3 -> /var/lib/dpkg/lock --\n" +
		"-- /proc/7/stat --\n7 (apt-get) T 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 40000 1000 10 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"in order", "-- /etc/crontab --\n17 * * * * root x\n-- /etc/cron.d/a --\n# none\n-- /etc/cron.d/b.dpkg-dist 0666 0:0 --\nx\n", map[string]string{"ignored_crontabs": "[]", "crontabs": "2", "dpkg_journal": "null", "package_lock": "null"}},
		{"not root's", "-- /etc/cron.d/a 0644 1000:0 --\nx\n", map[string]string{"ignored_crontabs[/etc/cron.d/a].why": `"owner"`}},
		{"others may write it", "-- /etc/cron.d/a 0664 0:0 --\nx\n", map[string]string{"ignored_crontabs[/etc/cron.d/a].why": `"mode"`}},
		{"its last line is cut short", "-- /etc/cron.d/a [quoted] --\n\"* * * * * root x\"\n", map[string]string{"ignored_crontabs[/etc/cron.d/a].why": `"newline"`}},
		{"dpkg was killed", "-- /var/lib/dpkg/updates/0001 --\n-- /var/lib/dpkg/updates/tmp.i --\n", map[string]string{"dpkg_journal": "1"}},
		{"somebody has the lock", locked, map[string]string{"package_lock": `"/var/lib/dpkg/lock"`, "lock_holder": `"apt-get (pid 7)"`, "lock_held": `"10m0s"`, "lock_holder_stopped": "true"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Jobs, observe(t, Jobs, c.capture), c.want) })
	}
}

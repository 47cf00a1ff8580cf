package linux

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host/hosttest"
)

func TestUnitReason(t *testing.T) {
	failed := []string{"ActiveState=failed", "SubState=failed", "Result=exit-code", "ExecMainCode=1", "ExecMainStatus=1"}
	log := func(text string) string {
		return "-- $ journalctl -u a.service -n 20 -o cat --no-pager -q --\n" + text + "\n"
	}
	unit := func(text string, change ...string) string {
		return systemdHost(showUnit("a.service", append(failed, change...)...)) + log(text)
	}
	execs := func(program string) string {
		return "-- $ systemctl show --no-pager --property=" + troubleProperties + " -- a.service --\nExecStart={ path=" + program + " ; argv[]=" + program + " -v ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }\n"
	}
	for _, c := range []struct {
		name, capture, reason, sign, port string
	}{
		{"nginx finds its port taken", unit("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)"), "port-taken", `"nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)"`, "80"},
		{"nginx tests its configuration, and finds an address taken away", unit("nginx: [emerg] bind() to 172.16.0.77:80 failed (99: Cannot assign requested address)\nnginx: configuration file /etc/nginx/nginx.conf test failed"), "address-missing", `"nginx: [emerg] bind() to 172.16.0.77:80 failed (99: Cannot assign requested address)"`, "null"},
		{"a port is named in words", unit("12:05:33 Port 8080 is already in use"), "port-taken", `"12:05:33 Port 8080 is already in use"`, "8080"},
		{"no port is named", unit("cannot listen: Address already in use"), "port-taken", `"cannot listen: Address already in use"`, "null"},
		{"the program is not there", unit("a.service: Failed to locate executable /opt/a: No such file or directory", "ExecMainStatus=203"), "program-missing", `"a.service: Failed to locate executable /opt/a: No such file or directory"`, "null"},
		{"the program may not be run", unit("a.service: Failed to locate executable /opt/a: Permission denied", "ExecMainStatus=203"), "permission-denied", `"a.service: Failed to locate executable /opt/a: Permission denied"`, "null"},
		{"the log lost why", unit("", "ExecMainStatus=203") + execs("/opt/a") + "-- /opt/a 0644 0:0 --\n", "permission-denied", `""`, "null"},
		{"it is not there, and the log lost why", unit("", "ExecMainStatus=203") + execs("/opt/a"), "program-missing", `""`, "null"},
		{"its interpreter is not there, and the log lost why", unit("", "ExecMainStatus=203") + execs("/opt/a") + "-- /opt/a 0755 0:0 --\n#!/bin/gone\n", "program-unusable", `""`, "null"},
		{"a configuration that it may not read", unit("# Fatal error, can't open config file '/etc/redis/redis.conf': Permission denied"), "permission-denied", `"# Fatal error, can't open config file '/etc/redis/redis.conf': Permission denied"`, "null"},
		{"a line that PostgreSQL's start script does not understand", unit("Error: invalid line 42 in /etc/postgresql/15/main/postgresql.conf: this is wrong {"), "config-invalid", `"Error: invalid line 42 in /etc/postgresql/15/main/postgresql.conf: this is wrong {"`, "null"},
		{"a limit that it may not raise", unit("Cannot raise FD limit to 241, limit is 8."), "limit-reached", `"Cannot raise FD limit to 241, limit is 8."`, "null"},
		{"no log", unit("", "ExecMainStatus=203"), "program-missing", `""`, "null"},
		{"its user is not there", unit("a.service: Failed at step USER spawning /opt/a: No such process", "ExecMainStatus=217"), "user-missing", `"a.service: Failed at step USER spawning /opt/a: No such process"`, "null"},
		{"its directory is not there", unit("x: Permission denied", "ExecMainStatus=200"), "directory-missing", `""`, "null"},
		{"an environment file", unit("a.service: Failed to load environment files: No such file or directory", "Result=resources"), "environment-missing", `"a.service: Failed to load environment files: No such file or directory"`, "null"},
		{"a library", unit("/opt/a: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or directory", "ExecMainStatus=127"), "library-missing", `"/opt/a: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or directory"`, "null"},
		{"a line of its configuration, and how it ended", unit("LOG:  end-of-line before authentication method\nCONTEXT:  line 106 of configuration file \"/etc/postgresql/15/main/pg_hba.conf\"\nFATAL:  could not load pg_hba.conf"), "config-invalid", `"CONTEXT:  line 106 of configuration file \"/etc/postgresql/15/main/pg_hba.conf\""`, "null"},
		{"a variable", unit("vouchers: 'VOUCHER_KEYFILE' is not set"), "config-invalid", `"vouchers: 'VOUCHER_KEYFILE' is not set"`, "null"},
		{"a variable in Python", unit("KeyError: 'DATABASE_URL'"), "config-invalid", `"KeyError: 'DATABASE_URL'"`, "null"},
		{"a variable in a shell", unit("/opt/a: line 3: APP_HOME: unbound variable"), "config-invalid", `"/opt/a: line 3: APP_HOME: unbound variable"`, "null"},
		{"a variable in words", unit("Error: required environment variable PORT is missing"), "config-invalid", `"Error: required environment variable PORT is missing"`, "null"},
		{"another host key", unit("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nOffending RSA key in /root/.ssh/known_hosts:3\nHost key verification failed."), "host-key-changed", `"Offending RSA key in /root/.ssh/known_hosts:3"`, "null"},
		{"an unknown host", unit("Host key verification failed."), "host-key-unknown", `"Host key verification failed."`, "null"},
		{"a key that others may read", unit("Permissions 0644 for '/root/.ssh/id_rsa' are too open.\nThis private key will be ignored.\nroot@a: Permission denied (publickey)."), "key-too-open", `"Permissions 0644 for '/root/.ssh/id_rsa' are too open."`, "null"},
		{"a key that the server refuses", unit("root@a: Permission denied (publickey)."), "key-refused", `"root@a: Permission denied (publickey)."`, "null"},
		{"a key that others may read, without a word", unit("scp: Connection closed", "ExecMainStatus=255") + "-- /etc/passwd --\nroot:x:0:0:root:/root:/bin/sh\n-- /root/.ssh/id_ed25519 0644 0:0 --\n", "key-too-open", `""`, "null"},
		{"a key that nobody else may read", unit("scp: Connection closed", "ExecMainStatus=255") + "-- /etc/passwd --\nroot:x:0:0:root:/root:/bin/sh\n-- /root/.ssh/id_ed25519 0600 0:0 --\n", "", `""`, "null"},
		{"ssh's own settings, and how it ended", unit("/home/a/.ssh/config: line 2: Bad configuration option: idenityfile\n/home/a/.ssh/config: terminating, 1 bad configuration options"), "config-invalid", `"/home/a/.ssh/config: line 2: Bad configuration option: idenityfile"`, "null"},
		{"its configuration", unit(`nginx: [emerg] unknown directive "servr" in /etc/nginx/nginx.conf:9`), "config-invalid", `"nginx: [emerg] unknown directive \"servr\" in /etc/nginx/nginx.conf:9"`, "null"},
		{"it may not read a file", unit("open /etc/a/key.pem: permission denied"), "permission-denied", `"open /etc/a/key.pem: permission denied"`, "null"},
		{"it gave up, and the log says why", unit("bind: address already in use", "Result=start-limit-hit"), "port-taken", `"bind: address already in use"`, "null"},
		{"it gave up", unit("bye", "Result=start-limit-hit"), "start-limit", `""`, "null"},
		{"it was killed, whatever it said before", unit("permission denied", "Result=signal", "ExecMainCode=2", "ExecMainStatus=9"), "killed", `""`, "null"},
		{"a file grew to its limit", unit("writing", "Result=signal", "ExecMainCode=2", "ExecMainStatus=25"), "limit-reached", `"it was ended by SIGXFSZ: a file that it writes would grow beyond LimitFSIZE="`, "null"},
		{"a database wants more files", unit("FATAL:  insufficient file descriptors available to start server process"), "limit-reached", `"FATAL:  insufficient file descriptors available to start server process"`, "null"},
		{"it crashed", unit("permission denied", "Result=core-dump", "ExecMainCode=3", "ExecMainStatus=11"), "", `""`, "null"},
		{"a table is missing", unit(`relation "users" does not exist`), "", `""`, "null"},
		{"a database refuses a user", unit("Access denied for user 'app'@'db'\npermission denied for table users"), "access-refused", `"Access denied for user 'app'@'db'"`, "null"},
		{"a server refuses", unit("GET /v1: HTTP/1.1 403 Forbidden: permission denied"), "", `""`, "null"},
		{"what it went on without is not why", unit("config.local.yaml: no such file or directory, using defaults\npanic: dial tcp 10.0.0.1:5432: connect: connection refused"), "dependency-refused", `"panic: dial tcp 10.0.0.1:5432: connect: connection refused"`, "null"},
		{"the last line counts", unit("open /etc/a.d: no such file or directory\ndial tcp 10.0.0.1:5432: connect: connection refused\ngoroutine 1 [running]:"), "dependency-refused", `"dial tcp 10.0.0.1:5432: connect: connection refused"`, "null"},
		{"a directory is missing", unit("directory /srv/x does not exist"), "file-missing", `"directory /srv/x does not exist"`, "null"},
		{"a file that Python does not find", unit("FileNotFoundError: [Errno 2] No such file or directory: '/run/a/a.pid'"), "file-missing", `"FileNotFoundError: [Errno 2] No such file or directory: '/run/a/a.pid'"`, "null"},
		{"a name that node does not find", unit("Error: getaddrinfo ENOTFOUND db.internal"), "name-unresolved", `"Error: getaddrinfo ENOTFOUND db.internal"`, "null"},
		{"a certificate, and what curl says further", unit("curl: (60) SSL certificate problem: self-signed certificate\nMore details here: https://curl.se/docs/sslcerts.html\nto learn more about this situation and\nhow to fix it, please visit the web page mentioned above."), "certificate-refused", `"curl: (60) SSL certificate problem: self-signed certificate"`, "null"},
		{"nothing says", unit("cannot read configuration"), "", `""`, "null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFacts(t, Units, observe(t, Units, c.capture+"-- tcp --\n"), map[string]string{
				"list[a.service].reason": `"` + c.reason + `"`, "list[a.service].sign": c.sign, "list[a.service].port": c.port, "list[a.service].holder": "null",
			})
		})
	}
}

const squatter = `-- tcp --
{"state":10,"local":"0.0.0.0:80","rq":0,"wq":511,"uid":0,"ino":77}
-- /sys/fs/cgroup/system.slice/squatter.service/cgroup.procs --
40
-- /proc/40/fd/3 -> socket:[77] --
-- /proc/40/comm --
perl
-- /proc/40/cgroup --
0::/system.slice/squatter.service
`

func TestNameAsked(t *testing.T) {
	for _, c := range []struct{ reason, sign, command, more, object, detail string }{
		{"dependency-refused", "dial tcp 10.0.0.1:5432: connect: connection refused", "", "", "10.0.0.1:5432", ""},
		{"dependency-refused", "curl: (7) Failed to connect to 127.0.0.1 port 21 after 0 ms: Couldn't connect to server", "", "", "127.0.0.1:21", "nobody on this host listens on port 21"},
		{"dependency-refused", `connection to server at "localhost" (127.0.0.1), port 80 failed: Connection refused`, "", squatter, "localhost:80", ""},
		{"dependency-refused", "Could not connect to Redis at [::1]:6379: Connection refused", "", "", "[::1]:6379", "nobody on this host listens on port 6379"},
		{"dependency-refused", "at 12:05:33 connection refused", "", "", "", ""},
		{"dependency-refused", "ERROR 2002 (HY000): Can't connect to local server through socket '/tmp/mysql.sock' (2)", "", "-- /proc/net/unix --\n0: 00000002 00000000 00010000 0001 01 77 /run/mysqld/mysqld.sock\n", "/tmp/mysql.sock", "/tmp/mysql.sock is not there, and a server listens on /run/mysqld/mysqld.sock"},
		{"name-unresolved", "curl: (6) Could not resolve host: mariadb-old", "", "", "mariadb-old", ""},
		{"name-unresolved", "dial tcp: lookup db.internal on 127.0.0.53:53: no such host", "", "", "db.internal", ""},
		{"name-unresolved", "ping: db.internal: Name or service not known", "", "", "db.internal", ""},
		{"name-unresolved", "socket.gaierror: [Errno -2] Name or service not known", "", "", "", ""},
		{"certificate-refused", "curl: (60) SSL certificate problem", "argv[]=/usr/bin/curl https://intern.example:8443/", "", "intern.example", ""},
	} {
		u := unitFacts{Reason: c.reason, Sign: c.sign}
		more := c.more
		if !strings.Contains(more, "-- tcp --") {
			more += "-- tcp --\n"
		}
		h, err := hosttest.Parse([]byte(more))
		if err != nil {
			t.Fatal(err)
		}
		u.nameAsked(t.Context(), h, c.command)
		if u.Object != c.object || u.Detail != c.detail {
			t.Errorf("%s: %q, %q", c.sign, u.Object, u.Detail)
		}
	}
}

func TestMissingLibrary(t *testing.T) {
	for sign, want := range map[string]string{
		"/opt/a: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or directory": "libx.so.1",
		"ModuleNotFoundError: No module named 'requests'":                                                                    "requests",
		"Can't locate LWP/UserAgent.pm in @INC":                                                                              "LWP/UserAgent.pm",
		"Error: Cannot find module 'express'":                                                                                "express",
	} {
		u := unitFacts{Reason: "library-missing", Sign: sign}
		u.nameObject(hosttest.Empty(), func(string) string { return "" })
		if u.Object != want {
			t.Errorf("%s: %q", sign, u.Object)
		}
	}
}

func TestLowPort(t *testing.T) {
	h, err := hosttest.Parse([]byte("-- /proc/sys/net/ipv4/ip_unprivileged_port_start --\n1024\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ user, exec, says, object string }{
		{"deploy", "argv[]=/usr/bin/python3 -m http.server 81 ; x", "self.socket.bind(self.server_address)", "port 81"},
		{"deploy", "argv[]=/opt/a ; x", "listen tcp :443: bind: permission denied", "port 443"},
		{"root", "argv[]=/opt/a -p 81 ; x", "bind: permission denied", ""},
		{"deploy", "argv[]=/opt/a -p 8081 ; x", "bind: permission denied", ""},
		{"deploy", "argv[]=/opt/a -p 81 ; x", "cannot read", ""},
	} {
		u := unitFacts{Log: []string{c.says}, Sign: c.says}
		u.lowPort(h, func(key string) string { return map[string]string{"User": c.user, "ExecStart": c.exec}[key] })
		if u.Object != c.object {
			t.Errorf("%s as %s: %q", c.says, c.user, u.Object)
		}
	}
}

func TestPortHolder(t *testing.T) {
	broken := systemdHost(showUnit("a.service", "ActiveState=failed", "SubState=failed", "Result=exit-code", "ExecMainCode=1", "ExecMainStatus=1")) +
		"-- $ journalctl -u a.service -n 20 -o cat --no-pager -q --\nbind() to 0.0.0.0:80 failed (98: Address already in use)\n" + squatter
	wantFacts(t, Units, observe(t, Units, broken), map[string]string{"list[a.service].holder": `"perl (pid 40, squatter.service)"`})
	wantFacts(t, Listeners, observe(t, Listeners, squatter+"-- udp --\n"), map[string]string{
		"tcp[tcp 0.0.0.0:80].process": `"perl"`, "tcp[tcp 0.0.0.0:80].pid": "40", "tcp[tcp 0.0.0.0:80].unit": `"squatter.service"`,
	})
}

func TestHalted(t *testing.T) {
	stat := func(pid, state string) string {
		return "-- /proc/" + pid + "/stat --\n" + pid + " (a) " + state + " 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 100 1000 10 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
	}
	running := func(change string) string {
		return strings.TrimSuffix(showUnit("a.service"), "\n") + "MainPID=7\nControlGroup=/system.slice/a.service\nNeedDaemonReload=no\n" + change + "\n"
	}
	group := "-- /sys/fs/cgroup/system.slice/a.service/cgroup.procs --\n7\n8\n"
	for name, c := range map[string]struct{ capture, want string }{
		"all are stopped":       {systemdHost(running("")) + group + stat("7", "T") + stat("8", "T"), `"signal"`},
		"one of them works":     {systemdHost(running("")) + group + stat("7", "T") + stat("8", "S"), "none"},
		"they wait":             {systemdHost(running("")) + group + stat("7", "S") + stat("8", "S"), "none"},
		"its group is frozen":   {systemdHost(running("FreezerState=frozen\n")) + group, `"freezer"`},
		"its process has ended": {systemdHost(running("")) + group, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			key := "list[a.service].halted"
			if c.want == "none" {
				key = "list[a.service]"
			}
			wantFacts(t, Units, observe(t, Units, c.capture), map[string]string{key: c.want})
		})
	}
	o := observe(t, Units, systemdHost(strings.Replace(running("ReloadResult=exit-code\n"), "DaemonReload=no", "DaemonReload=yes", 1)))
	wantFacts(t, Units, o, map[string]string{"list[a.service].outdated": "true", "list[a.service].reload_failed": "true"})
}

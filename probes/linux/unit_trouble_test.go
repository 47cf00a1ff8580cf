package linux

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

func TestProgramTrouble(t *testing.T) {
	for _, c := range []struct {
		name, capture, want string
		mode                bool
	}{
		{"in order", "-- /opt/a 0755 0:0 --\n#!/bin/sh\n-- /bin/sh --\nx\n", "", false},
		{"DOS line ends", "-- /opt/a 0755 0:0 --\n#!/bin/sh\r\n-- /bin/sh --\nx\n", "carriage return", false},
		{"no interpreter", "-- /opt/a 0755 0:0 --\n#!/opt/venv/bin/python\n", "/opt/venv/bin/python, which is not there", false},
		{"env finds nothing", "-- /opt/a 0755 0:0 --\n#!/usr/bin/env node\n-- /usr/bin/env --\nx\n", "asks env for node", false},
		{"no first line", "-- /opt/a 0755 0:0 --\necho\n", "neither a program nor a script", false},
		{"not executable", "-- /opt/a 0644 0:0 --\n#!/bin/sh\n", "mode 0644", true},
		{"noexec", "-- /opt/a 0755 0:0 --\n#!/bin/sh\n-- /proc/self/mountinfo --\n1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /opt rw,noexec - ext4 /dev/b rw\n", "mounted noexec", false},
		{"missing", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := hosttest.Parse([]byte(c.capture))
			if err != nil {
				t.Fatal(err)
			}
			why, mode := programTrouble(h, "/opt/a")
			if !strings.Contains(why, c.want) || (why == "") != (c.want == "") || mode != c.mode {
				t.Errorf("%q, %t", why, mode)
			}
		})
	}
}

func TestFindKiller(t *testing.T) {
	const script = "-- /usr/local/sbin/guard --\n#!/bin/sh\n# pkill app when it hangs\ncurl -f http://x/ || pkill -f /usr/local/bin/app\n"
	for _, c := range []struct{ name, capture, want string }{
		{"a timer's service", "-- /etc/systemd/system/guard.service --\n[Service]\nDescription=pkill app\nExecStart=/usr/local/sbin/guard\n" + script, "/usr/local/sbin/guard:3: "},
		{"a crontab", "-- /etc/cron.d/x --\n* * * * * root systemctl restart app\n", "/etc/cron.d/x:1: "},
		{"in two lines", "-- /etc/cron.d/x --\n* * * * * root /opt/x\n-- /opt/x --\n#!/bin/sh\nfor p in $(pgrep -f /usr/local/bin/app); do\n  kill -KILL \"$p\"\ndone\n", "/opt/x:3: "},
		{"another one's", "-- /etc/cron.d/x --\n* * * * * root systemctl restart mapping\n", ""},
		{"its own", "-- /etc/systemd/system/app.service --\n[Service]\nExecStop=/bin/kill app\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := hosttest.Parse([]byte(c.capture + "-- /proc/ --\n"))
			if err != nil {
				t.Fatal(err)
			}
			got, ok := findKiller(t.Context(), h, "app.service", "/usr/local/bin/app").Get()
			if ok != (c.want != "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestMeant(t *testing.T) {
	idle := []string{"redis-server.service", "systemd-resolved.service", "postgresql.service", "postgresql@15-main.service"}
	for says, want := range map[string]string{
		"redis: Connection refused": "redis-server.service", "dial tcp 127.0.0.1:5432: connect: connection refused": "postgresql@15-main.service",
		"connection refused": "", "server refused": "",
	} {
		if got := meant(says, idle); got != want {
			t.Errorf("%q means %q, want %q", says, got, want)
		}
	}
}

func TestJudgeHAProxy(t *testing.T) {
	d := daemonFacts{}
	judgeHAProxy(&d, "# pxname,svname,qcur,scur,slim,status,check_status,last_chk,\nweb,FRONTEND,,10,10,OPEN,,,\nshop,a,0,0,,DOWN,L4CON,Connection refused,\nshop,BACKEND,0,0,200,DOWN,,,\n"+
		"api,a,0,0,,UP,L4OK,,\napi,b,0,0,,DOWN,L4TOUT,,\napi,BACKEND,0,0,200,UP,,,\n")
	if len(d.Down) != 1 || d.Down[0] != "shop: a DOWN L4CON Connection refused" || len(d.Partly) != 1 || len(d.Full) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestLookAtSessions(t *testing.T) {
	process := func(pid, title, switches string) string {
		return "-- /proc/" + pid + "/cmdline --\n" + title + "\n-- /proc/" + pid + "/status --\nName:\tpostgres\nvoluntary_ctxt_switches:\t" + switches + "\n"
	}
	h, err := hosttest.Parse([]byte("-- /proc/9/cgroup --\n0::/a\n-- /sys/fs/cgroup/a/cgroup.procs --\n10\n11\n12\n" +
		process("10", "postgres: 15/main: app shop [local] idle in transaction", "5") + process("11", "postgres: 15/main: app shop 10.0.0.1(5000) UPDATE waiting", "7") +
		process("12", "postgres: 15/main: app shop [local] idle", "7")))
	if err != nil {
		t.Fatal(err)
	}
	d := daemonFacts{PID: 9}
	d.lookAtSessions(t.Context(), h)
	if d.Waiting != 1 || len(d.IdleInTx) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestNginxRequests(t *testing.T) {
	conf := serverConfig{text: "location / {\n proxy_pass http://app;\n}\nlocation = /health {\n proxy_pass http://127.0.0.1:8080/x;\n}\nupstream app {\n server 127.0.0.1:9000;\n}\n"}
	for name, want := range map[string]string{"/health": "http://127.0.0.1:8080", "/shop": "http://127.0.0.1:9000"} {
		if got := proxiedTo(conf.text, name); got != want {
			t.Errorf("%s goes to %q, want %q", name, got, want)
		}
	}
	s := nginxSearch{complaints: map[string]*nginxComplaint{}, access: map[string]*accessPath{"/large": {good: 1}}}
	s.complain(`*1 open() "/srv/www/large" failed (13: Permission denied), client: 10.0.0.1, server: , request: "GET /large HTTP/1.1"`, 0)
	s.complain(`*1 open() "/var/lib/nginx/body/0000000001" failed (13: Permission denied), request: "POST / HTTP/1.1"`, 0)
	s.complain("nothing of the kind", 0)
	if c := s.complaints["permission"]; c == nil || !c.Worked || c.Path != "/srv/www/large" {
		t.Errorf("%+v", c)
	}
	if c := s.complaints["temporary-files"]; c == nil || c.Worked || len(s.complaints) != 2 {
		t.Errorf("%+v", s.complaints)
	}
	a := failingApp{}
	a.hear("HTTP/1.0 503 Service Unavailable\r\n\r\nredis: Connection refused\n")
	if a.Asked != probes.Some(503) || a.Reason != "dependency-refused" || a.Says != "redis: Connection refused" {
		t.Errorf("%+v", a)
	}
}

package linux

import (
	"strings"
	"testing"
)

// daemonHost is a host on which a process of that name listens on a port.
func daemonHost(command, port, reply string) string {
	return `-- tcp --
{"state":10,"local":"127.0.0.1:` + port + `","rq":0,"wq":511,"uid":0,"ino":77}
-- /sys/fs/cgroup/system.slice/db.service/cgroup.procs --
40
-- /proc/40/fd/3 -> socket:[77] --
-- /proc/40/comm --
` + command + `
-- /proc/40/cgroup --
0::/system.slice/db.service
-- ask 127.0.0.1:` + port + ` --
` + reply + "\n"
}

func TestDaemons(t *testing.T) {
	reply := func(text string) string { return `{"text":"` + text + `","took":1000000}` }
	const info = `$300\r\n# Memory\r\nused_memory:4194400\r\nmaxmemory:4194304\r\nmaxmemory_policy:noeviction\r\nconnected_clients:3\r\nrdb_last_bgsave_status:err\r\naof_last_write_status:ok\r\n\r\n+OK\r\n`
	pg := func(code string) string {
		return reply(`E\u0000\u0000\u0000aSFATAL\u0000VFATAL\u0000C` + code + `\u0000Mits words\u0000Fproc.c\u0000\u0000`)
	}
	for _, c := range []struct {
		name, command, port, reply string
		want                       map[string]string
	}{
		{"redis serves", "redis-server", "6379", reply(`+PONG\r\n` + info), map[string]string{
			"answer": `"ok"`, "memory": "4194400", "memory_max": "4194304", "policy": `"noeviction"`, "clients": "3", "clients_max": "null", "save_failed": "true", "unit": `"db.service"`,
		}},
		{"redis wants a password", "redis-server", "6379", reply(`-NOAUTH Authentication required.\r\n-NOAUTH\r\n+OK\r\n`), map[string]string{"answer": `"ok"`, "memory": "null"}},
		{"redis cannot save", "redis-server", "6379", reply(`-MISCONF Redis is configured to save\r\n`), map[string]string{"answer": `"save-failing"`, "says": `"MISCONF Redis is configured to save"`}},
		{"redis loads", "valkey-server", "6379", reply(`-LOADING Redis is loading\r\n`), map[string]string{"answer": `"loading"`}},
		{"redis is full", "redis-server", "6379", reply(`-ERR max number of clients reached\r\n`), map[string]string{"answer": `"connections-full"`}},
		{"redis by TLS", "redis-server", "6379", reply(`\u0015\u0003`), map[string]string{"answer": `"other"`, "says": `""`}},
		{"it hangs", "redis-server", "6379", "!timeout", map[string]string{"answer": `"silent"`}},
		{"postgresql wants a password", "postgres", "5432", reply(`R\u0000\u0000\u0000\u0017`), map[string]string{"answer": `"ok"`}},
		{"postgresql knows nobody of that name", "postgres", "5432", pg("28000"), map[string]string{"answer": `"ok"`, "says": `""`}},
		{"postgresql is full", "postgres", "5433", pg("53300"), map[string]string{"answer": `"connections-full"`, "says": `"its words"`}},
		{"postgresql starts", "postmaster", "5432", pg("57P03"), map[string]string{"answer": `"starting"`}},
		{"postgresql is cut short", "postgres", "5432", reply(`E\u0000`), map[string]string{"answer": `"ok"`}},
		{"mysql greets", "mysqld", "3306", reply(`J\u0000\u0000\u0000\n8.0.36\u0000`), map[string]string{"answer": `"ok"`}},
		{"mysql is full", "mariadbd", "3306", reply(`\u0017\u0000\u0000\u0000\uFFFD\u0010\u0004Too many connections`), map[string]string{"answer": `"connections-full"`, "says": `"Too many connections"`}},
		{"mysql has blocked this host", "mysqld", "3306", reply(`\u0017\u0000\u0000\u0000\uFFFDi\u0004Host is blocked`), map[string]string{"answer": `"host-blocked"`}},
		{"kubelet is well", "kubelet", "10248", reply(`HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok`), map[string]string{"answer": `"ok"`}},
		{"kubelet is not", "kubelet", "10248", reply(`HTTP/1.0 500 Internal Server Error\r\n\r\nPLEG is not healthy\n`), map[string]string{"answer": `"unhealthy"`, "says": `"PLEG is not healthy"`}},
		{"not kubelet's answer", "kubelet", "10248", reply(`HTTP/1.0 404 Not Found\r\n\r\n`), map[string]string{"answer": `"other"`}},
		{"mysql is cut short", "mysqld", "3306", reply(`J\u0000`), map[string]string{"answer": `"other"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string]string{}
			kind := map[string]string{"r": "redis", "v": "redis", "p": "postgresql", "m": "mysql", "k": "kubelet"}[c.command[:1]]
			for key, value := range c.want {
				want["list["+kind+" 127.0.0.1:"+c.port+"]."+key] = value
			}
			wantFacts(t, Daemons, observe(t, Daemons, daemonHost(c.command, c.port, c.reply)), want)
		})
	}
	// One that computes is asked until it says at what.
	wantFacts(t, Daemons, observe(t, Daemons, daemonHost("redis-server", "6379", "!timeout\n-- /proc/40/stat --\n40 (redis-server) R 1 40 40 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 9 1 1 1")),
		map[string]string{"list[redis 127.0.0.1:6379].answer": `"silent"`})
	wantFacts(t, Daemons, observe(t, Daemons, daemonHost("perl", "6379", "!refused")), map[string]string{"(reason)": "none of the servers"})
	wantFacts(t, Daemons, observe(t, Daemons, daemonHost("kubelet", "10250", "!refused")), map[string]string{"(reason)": "none of the servers"})
	if len(postgresStartup) != int(postgresStartup[3]) || !strings.HasSuffix(postgresStartup, "\x00\x00") {
		t.Errorf("the startup packet %q does not tell its length", postgresStartup)
	}
}

func TestContainerRuntimes(t *testing.T) {
	const docker = "-- tcp --\n-- /run/docker.sock --\n-- /run/docker.pid --\n9\n-- /proc/9/comm --\ndockerd\n"
	wantFacts(t, Daemons, observe(t, Daemons, docker+"-- ask /run/docker.sock --\n"+`{"text":"HTTP/1.0 200 OK\r\n\r\nOK","took":1000}`+"\n"),
		map[string]string{"list[docker /run/docker.sock].answer": `"ok"`})
	wantFacts(t, Daemons, observe(t, Daemons, docker+"-- ask /run/docker.sock --\n!timeout\n"), map[string]string{"list[docker /run/docker.sock].answer": `"silent"`})
	wantFacts(t, Daemons, observe(t, Daemons, "-- tcp --\n-- /run/docker.sock --\n"), map[string]string{"(reason)": "none of the servers"})
}

package linux

import (
	"testing"

	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

func TestLoopbackOnly(t *testing.T) {
	tcp := func(address, command string, port int) tcpListener {
		return tcpListener{Where: "tcp " + address, Loopback: address == "127.0.0.1", Port: port, Process: probes.Some(command), PID: probes.Some(7)}
	}
	h, err := hosttest.Parse([]byte("-- /etc/mysql/my.cnf --\n[mysqld]\nbind-address = 0.0.0.0\n-- /etc/mysql/conf.d/9.cnf --\n# bind-address=127.0.0.1\nbind-address=127.0.0.1\n" +
		"-- /etc/redis/redis.conf --\nbind 127.0.0.1 -::1\n-- /proc/7/cwd -> /data --\n-- /data/postgresql.conf --\nlisten_addresses = 'localhost' # not '*'\n-- /data/pg_hba.conf --\nhost all all 127.0.0.1/32 md5\nhost all all 10.0.0.0/8 md5\n" +
		"-- /etc/haproxy/haproxy.cfg --\nfrontend a\n  bind 127.0.0.1:8443\n-- /etc/rsyslog.d/a.conf --\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"514\")\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		f           listenersFacts
		line, meant string
	}{
		{"MariaDB, the last line holds", listenersFacts{TCP: []tcpListener{tcp("127.0.0.1", "mariadbd", 3306)}}, "/etc/mysql/conf.d/9.cnf:2: bind-address=127.0.0.1", ""},
		{"others reach it, too", listenersFacts{TCP: []tcpListener{tcp("127.0.0.1", "mariadbd", 3306), tcp("10.0.0.1", "mariadbd", 3306)}}, "none", ""},
		{"Redis as it is shipped", listenersFacts{TCP: []tcpListener{tcp("127.0.0.1", "redis-server", 6379)}}, "", ""},
		{"PostgreSQL that lets others in", listenersFacts{TCP: []tcpListener{tcp("127.0.0.1", "postgres", 5432)}}, "/data/postgresql.conf:1: listen_addresses = 'localhost' # not '*'", "/data/pg_hba.conf:2: host all all 10.0.0.0/8 md5"},
		{"a frontend of HAProxy", listenersFacts{TCP: []tcpListener{tcp("127.0.0.1", "haproxy", 8443)}}, "/etc/haproxy/haproxy.cfg:2: bind 127.0.0.1:8443", ""},
		{"a receiver of logs", listenersFacts{UDP: probes.Cut[udpListener]{All: []udpListener{{Port: 514, Loopback: true}}}}, `/etc/rsyslog.d/a.conf:1: input(type="imudp" address="127.0.0.1" port="514")`, ""},
		{"an application", listenersFacts{TCP: []tcpListener{tcp("127.0.0.1", "app", 8080)}}, "none", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := findLoopbackOnly(h, &c.f)
			if len(found) == 0 {
				found = []loopbackOnly{{Line: "none"}}
			}
			if found[0].Line != c.line || found[0].Meant != c.meant {
				t.Errorf("%+v", found)
			}
		})
	}
}

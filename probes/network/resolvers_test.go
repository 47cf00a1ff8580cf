package network

import (
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestResolvers(t *testing.T) {
	answer := func(server, body string) string { return "-- dns " + server + ":53 . NS --\n" + body + "\n" }
	const good = `{"rcode":"NOERROR","rtt":1500000}`
	check(t, Resolvers, []row{
		{"both answer", machine + answer("10.0.0.2", good) + answer("10.0.0.3", `{"rcode":"REFUSED","rtt":1}`), probes.OK, []string{
			`"exists":true,"target":null,"configured":2,"ignored":0,"invalid":[],"stub":false,"strict":[],"timeout":"2s","attempts":2,"ndots":1,"rotate":true,"search":["example.com"]`,
			`{"address":"10.0.0.2","upstream":false,"answered":true,"rcode":"NOERROR","rtt":"1.5ms","tries":1,"why":null}`,
			`{"address":"10.0.0.3","upstream":false,"answered":true,"rcode":"REFUSED"`,
			`"answering":2,"first_answers":true,"wait":"1.5ms"`,
		}},
		{
			"the first answer came late", machine + answer("10.0.0.2", `{"rcode":"NOERROR","rtt":317000000}`) + answer("10.0.0.3", `{"rcode":"NOERROR","rtt":420000000}`) +
				"-- dns 10.0.0.2:53 . NS again 1 --\n" + good + "\n" +
				"-- dns 10.0.0.3:53 . NS again 1 --\n{\"rcode\":\"NOERROR\",\"rtt\":410000000}\n-- dns 10.0.0.3:53 . NS again 2 --\n{\"rcode\":\"NOERROR\",\"rtt\":415000000}\n",
			probes.OK,
			[]string{`"rtt":"1.5ms","tries":2`, `"rtt":"410ms","tries":3`, `"wait":"1.5ms"`},
		},
		{"the first is silent", machine + answer("10.0.0.2", "!timeout") + answer("10.0.0.3", good), probes.OK, []string{
			`{"address":"10.0.0.2","upstream":false,"answered":false,"rcode":null,"rtt":null,"tries":2,"why":"no answer"}`,
			`"answering":1,"first_answers":false,"wait":"2.0015s"`,
		}},
		{"the first refuses the packet, so the next is asked at once", machine + answer("10.0.0.2", "!refused") + answer("10.0.0.3", good), probes.OK, []string{
			`"tries":2,"why":"connection refused"`, `"answering":1,"first_answers":false,"wait":"1.5ms"`,
		}},
		{"SERVFAIL is no answer", machine + answer("10.0.0.2", `{"rcode":"SERVFAIL","rtt":1}`) + answer("10.0.0.3", `{"rcode":"NXDOMAIN","rtt":1000}`), probes.OK, []string{
			`"answered":false,"rcode":"SERVFAIL"`, `"answering":1,"first_answers":false,"wait":"1µs"`,
		}},
		{"all are dead", machine + answer("10.0.0.2", "!timeout") + answer("10.0.0.3", "!timeout"), probes.OK, []string{`"answering":0,"first_answers":false,"wait":null`}},
		{"one was not asked", machine + answer("10.0.0.2", good), probes.OK, []string{
			`"answered":{"unreadable":"dns 10.0.0.3:53 . NS: not in the capture"}`, `"answering":{"unreadable":"10.0.0.3 was not asked"},"first_answers":true`,
		}},
		{"no route leads to the first", machine + answer("10.0.0.2", "!noroute") + answer("10.0.0.3", good), probes.OK, []string{
			`"answered":{"unreadable":"no route leads there"},"rcode":null,"rtt":null,"tries":2,"why":"network is unreachable"`, `"answering":1,"first_answers":false,"wait":"1.5ms"`,
		}},
		{"no route leads anywhere", machine + answer("10.0.0.2", "!noroute") + answer("10.0.0.3", "!noroute"), probes.OK, []string{`"answering":0,"first_answers":false,"wait":null`}},
		{"no file, and nobody on this host", answer("127.0.0.1", "!refused"), probes.OK, []string{`"exists":false`, `"configured":0`, `{"address":"127.0.0.1","upstream":false,"answered":false`, `"answering":0`}},
		{"a link to nothing", "-- /etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf --\n" + answer("127.0.0.1", "!refused"), probes.OK, []string{
			`"exists":false,"target":"../run/systemd/resolve/stub-resolv.conf","configured":0`,
		}},
		{
			"behind a stub",
			"-- /etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf --\n-- /run/systemd/resolve/stub-resolv.conf --\nnameserver 127.0.0.53\noptions edns0 trust-ad ndots:99 attempts:9 timeout:x\n" +
				"-- /run/systemd/resolve/resolv.conf --\nnameserver 10.0.0.2\n-- /etc/systemd/resolved.conf --\n[Resolve]\nDNSSEC=true\n-- /etc/systemd/resolved.conf.d/a.conf --\nDNSOverTLS=yes\n" +
				"-- /etc/systemd/resolved.conf.d/b.conf --\n[Resolve]\nDNSOverTLS=opportunistic\nDNSOverTLS=yes\n" + answer("127.0.0.53", good) + answer("10.0.0.2", "!timeout"),
			probes.OK,
			[]string{
				`"stub":true,"strict":["DNSOverTLS=yes (/etc/systemd/resolved.conf.d/b.conf line 3)","DNSSEC=true (/etc/systemd/resolved.conf line 2)"],"timeout":"5s","attempts":5,"ndots":15`, `{"address":"127.0.0.53","upstream":false,"answered":true`,
				`{"address":"10.0.0.2","upstream":true,"answered":false`, `"answering":1,"first_answers":true`,
			},
		},
		{
			"five servers, a name, comments and a zone",
			"-- /etc/resolv.conf --\n# nameserver 1.1.1.1\n;nameserver 2.2.2.2\nnameserver dns.example.com\nnameserver\nnameserver 10.0.0.2\nnameserver 10.0.0.2\nnameserver ::1\nnameserver 10.0.0.4\nnameserver 10.0.0.5\nnameserver 10.0.0.6\n" +
				answer("10.0.0.2", good) + answer("[::1]", good) + answer("10.0.0.4", good),
			probes.OK,
			[]string{`"configured":5,"ignored":2,"invalid":["dns.example.com"]`, `"answering":3`},
		},
		{"the file cannot be read", "-- /etc/resolv.conf !permission --\n", probes.Failed, []string{"permission denied"}},
	})
}

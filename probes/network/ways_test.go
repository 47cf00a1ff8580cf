package network

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestWays(t *testing.T) {
	const links = "at: 2026-01-01T00:00:00Z\n-- links --\n" + `{"index":1,"name":"lo","flags":73}` + "\n" + `{"index":2,"name":"eth0","flags":69699}` + "\n" + `{"index":3,"name":"dummy0","kind":"dummy","flags":195}` + "\n" +
		"-- addrs --\n" + `{"link":1,"prefix":"127.0.0.1/8","scope":"host"}` + "\n" + `{"link":2,"prefix":"10.0.0.5/24","scope":"global"}` + "\n"
	const rules = "-- rules --\n" + `{"family":4,"priority":0,"table":255,"action":"lookup"}` + "\n" + `{"family":4,"priority":32766,"table":254,"action":"lookup"}` + "\n"
	const routes = "-- routes --\n" + `{"dst":"10.0.0.5/32","link":2,"table":255,"type":"local","protocol":"kernel"}` + "\n" +
		`{"dst":"0.0.0.0/0","gw":"10.0.0.1","link":2,"table":254,"type":"unicast","protocol":"dhcp"}` + "\n" +
		`{"dst":"10.0.0.0/24","link":2,"table":254,"type":"unicast","protocol":"kernel"}` + "\n"
	const resolver = "-- /etc/resolv.conf --\nnameserver 10.0.0.2\nnameserver 192.0.2.53\n-- tcp --\n"
	from := `{"family":4,"priority":1000,"src":"10.0.0.5/32","table":100,"action":"lookup"}` + "\n"
	table100 := `{"dst":"0.0.0.0/0","gw":"10.0.0.9","link":2,"table":100,"type":"unicast","protocol":"boot"}` + "\n"
	silent := func(addr string) string {
		return "-- ping " + addr + " --\n!timeout\n-- connect " + addr + ":53 --\n!timeout\n-- connect " + addr + ":80 --\n!timeout\n-- neighbours --\n" + `{"link":2,"ip":"` + addr + `","state":"failed"}` + "\n"
	}
	to := func(dst, answer string) string { return "-- route-to " + dst + " --\n" + answer + "\n" }
	check(t, Ways, []row{
		{"nothing unusual", links + rules + routes + resolver, probes.Nothing, []string{"no rule and no route"}},
		{
			"a rule by source, and its gateway is gone", links + rules + from + routes + table100 + resolver + silent("10.0.0.9"), probes.OK,
			[]string{`[{"way":"from 10.0.0.5 lookup 100, default via 10.0.0.9 dev eth0","rule":"1000: from 10.0.0.5 lookup 100","table":100,"type":"unicast","gateway":"10.0.0.9","interface":"eth0","from":"10.0.0.5",` +
				`"for":["the Internet","10.0.0.2","192.0.2.53"],"roles":["internet","resolver"],"main_address":true,"dead":true,"why":"no answer"}]`},
		},
		{"the same gateway as ever", links + rules + from + routes + strings.ReplaceAll(table100, "10.0.0.9", "10.0.0.1") + resolver, probes.OK, []string{`{"list":[]}`}},
		{
			"a more specific route", links + rules + routes + `{"dst":"192.0.2.0/24","gw":"10.0.0.9","link":2,"table":254,"type":"unicast","protocol":"static"}` + "\n" + resolver + to("192.0.2.53", `{"dst":"192.0.2.53/32","gw":"10.0.0.9","link":2,"table":254,"type":"unicast"}`) + silent("10.0.0.9"),
			probes.OK,
			[]string{`"way":"192.0.2.0/24 via 10.0.0.9 dev eth0","rule":null,"table":254`, `"for":["192.0.2.53"],"roles":["resolver"],"main_address":true,"dead":true`},
		},
		{
			"it answers", links + rules + routes + `{"dst":"192.0.2.0/24","gw":"10.0.0.9","link":2,"table":254,"type":"unicast","protocol":"static"}` + "\n" + resolver + to("192.0.2.53", `{"dst":"192.0.2.53/32","gw":"10.0.0.9","link":2,"table":254,"type":"unicast"}`) + "-- ping 10.0.0.9 --\n{\"rtt\":250000}\n",
			probes.OK,
			[]string{`"dead":false,"why":null`},
		},
		{
			"the kernel goes another way, by what the rule does not show", links + rules + `{"family":4,"priority":10,"table":100,"action":"lookup"}` + "\n" + routes + table100 + resolver +
				to("93.184.215.14", `{"dst":"93.184.215.14/32","gw":"10.0.0.1","link":2,"table":254,"type":"unicast"}`) + to("10.0.0.2", `{"dst":"10.0.0.2/32","link":2,"table":254,"type":"unicast"}`) + to("192.0.2.53", `{"dst":"192.0.2.53/32","gw":"10.0.0.1","link":2,"table":254,"type":"unicast"}`),
			probes.OK,
			[]string{`{"list":[]}`},
		},
		{
			"everything into a dummy", links + rules + `{"family":4,"priority":10,"table":100,"action":"lookup"}` + "\n" + routes + `{"dst":"0.0.0.0/0","link":3,"table":100,"type":"unicast"}` + "\n" + resolver +
				to("93.184.215.14", `{"dst":"93.184.215.14/32","link":3,"table":100,"type":"unicast"}`) + to("10.0.0.2", "!unreachable") + to("192.0.2.53", "!unreachable"),
			probes.OK,
			[]string{`"way":"from all lookup 100, default dev dummy0"`, `"dead":true,"why":"dummy0 is an interface behind which there is nothing"`},
		},
		{
			"a rule that forbids, for whom a web server knew", links + rules + `{"family":4,"priority":10,"dst":"203.0.113.0/24","action":"prohibit"}` + "\n" + routes + resolver + "-- /var/log/nginx/access.log --\n203.0.113.10 - - [x] \"GET / HTTP/1.1\" 200\n" + to("203.0.113.10", "!unreachable"),
			probes.OK,
			[]string{`"way":"from all to 203.0.113.0/24 prohibit","rule":"10: from all to 203.0.113.0/24 prohibit","table":0,"type":"prohibit"`, `"for":["203.0.113.10"],"roles":["peer"]`, `"dead":true,"why":"it discards"`},
		},
		{
			"a name server's address on this host", links + rules + routes + `{"dst":"192.0.2.53/32","link":1,"table":255,"type":"local","protocol":"kernel"}` + "\n" + resolver + to("192.0.2.53", `{"dst":"192.0.2.53/32","link":1,"table":255,"type":"local"}`) + "-- connect 192.0.2.53:53 --\n!refused\n",
			probes.OK,
			[]string{`"type":"local"`, `"dead":true,"why":"this host has the address, and nobody listens on its port 53"`},
		},
	})
}

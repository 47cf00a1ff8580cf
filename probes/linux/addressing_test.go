package linux

import (
	"strings"
	"testing"
)

func TestAddressing(t *testing.T) {
	const base = `-- links --
{"index":1,"name":"lo","flags":73}
{"index":2,"name":"eth0","flags":69699}
{"index":3,"name":"docker0","kind":"bridge","flags":69699}
{"index":4,"name":"eth1","flags":69699}
{"index":5,"name":"veth1","kind":"veth","master":3,"flags":69699}
-- rules --
{"family":4,"priority":0,"table":255,"action":"lookup"}
{"family":4,"priority":1000,"src":"172.16.1.11/32","table":1001,"action":"lookup"}
{"family":4,"priority":32766,"table":254,"action":"lookup"}
-- routes --
{"dst":"0.0.0.0/0","gw":"172.16.0.253","link":2,"table":254,"type":"unicast"}
{"dst":"::/0","table":254,"type":"unreachable","metric":4294967295}
-- addrs --
{"link":1,"prefix":"127.0.0.1/8","scope":"host"}
{"link":2,"prefix":"172.16.0.10/24","scope":"global"}
{"link":4,"prefix":"172.16.1.11/24","scope":"global"}
-- /etc/resolv.conf --
nameserver 100.100.2.136
-- /proc/sys/net/ipv4/conf/all/rp_filter --
0
-- /proc/sys/net/ipv4/conf/eth1/rp_filter --
1
-- /proc/sys/net/ipv4/conf/eth0/rp_filter --
0
`
	bridge := func(prefix string) string {
		return strings.Replace(base, "-- /etc/resolv.conf", `{"link":3,"prefix":"`+prefix+`","scope":"global"}`+"\n-- /etc/resolv.conf", 1)
	}
	null := strings.Replace(base, "-- addrs --", `{"dst":"203.0.113.0/24","table":254,"type":"unreachable"}`+"\n-- addrs --", 1)
	for _, tt := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"two interfaces, one without a way back", base, map[string]string{
			"duplicates": "[]", "twice": "[]", "overlaps": "[]", "null_routes": "[]",
			"interfaces[eth0].primary": "true", "interfaces[eth0].way_back": "true", "interfaces[eth0].rp_filter": "0", "interfaces[eth0].arp_ignore": "null",
			"interfaces[eth1].primary": "false", "interfaces[eth1].way_back": "false", "interfaces[eth1].rp_filter": "1",
		}},
		{"a way back of its own", strings.Replace(base, `-- addrs --`, `{"dst":"0.0.0.0/0","gw":"172.16.1.253","link":4,"table":1001,"type":"unicast"}`+"\n-- addrs --", 1), map[string]string{
			"interfaces[eth1].way_back": "true", "interfaces[eth0].primary": "true", "interfaces[eth0].way_back": "true",
		}},
		{"a bridge with the gateway", bridge("172.16.0.129/25"), map[string]string{
			"overlaps[docker0].subnet": `"172.16.0.128/25"`, "overlaps[docker0].other": `"eth0"`, "overlaps[docker0].other_subnet": `"172.16.0.0/24"`, "overlaps[docker0].takes": `["172.16.0.253"]`,
		}},
		{"a bridge with a name server", bridge("100.100.0.1/16"), map[string]string{"overlaps[docker0].other": `""`, "overlaps[docker0].takes": `["100.100.2.136"]`}},
		{"a bridge of its own", bridge("172.17.0.1/16"), map[string]string{"overlaps": "[]"}},
		{"a bridge whose hosts eth0 answers for", bridge("172.16.0.129/25") + "-- /proc/sys/net/ipv4/conf/eth0/proxy_arp --\n1\n", map[string]string{"overlaps": "[]"}},
		{"the same address twice, and a duplicate", bridge("172.17.0.1/16") + `-- addrs --
{"link":2,"prefix":"172.16.0.10/24","scope":"global"}
{"link":4,"prefix":"172.16.0.10/32","scope":"global"}
{"link":2,"prefix":"2001:db8::10/64","scope":"global","flags":8}
`, map[string]string{"twice[172.16.0.10].interfaces": `["eth0","eth1"]`, "duplicates[2001:db8::10].interface": `"eth0"`}},
		{"an address that is lent to unnumbered links", bridge("172.17.0.1/16") + `-- addrs --
{"link":2,"prefix":"10.244.0.1/32","scope":"global"}
{"link":4,"prefix":"10.244.0.1/32","scope":"global"}
`, map[string]string{"twice": "[]"}},
		{"a route that discards, for an open connection", null + `-- tcp --
{"state":1,"local":"172.16.0.10:80","remote":"203.0.113.10:40000"}
-- route-to 203.0.113.10 --
!unreachable
`, map[string]string{
			"null_routes[unreachable 203.0.113.0/24 table 254 metric 0].needed_for": `"203.0.113.10"`,
		}},
		{"for nobody, since a better route leads there", null + `-- tcp --
{"state":1,"local":"172.16.0.10:80","remote":"203.0.113.10:40000"}
-- route-to 203.0.113.10 --
{"dst":"203.0.113.10/32","gw":"172.16.0.253","link":2,"table":254,"type":"unicast"}
`, map[string]string{"null_routes[unreachable 203.0.113.0/24 table 254 metric 0].needed_for": "null"}},
		{"rules cannot be listed", "-- links --\n-- addrs --\n", map[string]string{"(reason)": "listing rules"}},
	} {
		t.Run(tt.name, func(t *testing.T) { wantFacts(t, Addressing, observe(t, Addressing, tt.capture), tt.want) })
	}
}

func TestOutgoing(t *testing.T) {
	const route = `{"dst":"0.0.0.0/0","gw":"10.0.0.1","link":2,"table":254,"type":"unicast","prefsrc":"10.0.0.5"}` + "\n"
	capture := firewallHost + "-- /etc/resolv.conf --\nnameserver 100.100.2.136\nnameserver 127.0.0.53\n"
	for _, to := range []string{"100.100.2.136", "100.100.100.200", "93.184.215.14"} {
		capture += "-- route-to " + to + " --\n" + route
	}
	chainOf := func(kind, hook, policy string, prio string, exprs ...string) string {
		objects := []string{`{"table":{"family":"ip","name":"t","handle":1}}`, `{"chain":{"family":"ip","table":"t","name":"c","handle":1,"type":"` + kind + `","hook":"` + hook + `","prio":` + prio + `,"policy":"` + policy + `"}}`}
		for _, e := range exprs {
			objects = append(objects, `{"rule":{"family":"ip","table":"t","chain":"c","handle":7,"expr":`+e+`}}`)
		}
		return nftDumpOf(objects...)
	}
	const dns = `{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":53}}`
	for _, tt := range []struct {
		name, rules string
		want        map[string]string
	}{
		{"no rules", nftDumpOf(), map[string]string{
			"outgoing[udp/100.100.2.136:53].blocked": "false", "outgoing[udp/100.100.2.136:53].role": `"resolver"`, "outgoing[udp/127.0.0.53:53]": "none",
			"outgoing[tcp/100.100.100.200:80].answer": `"pass"`, "masquerade": "false",
		}},
		{"questions for names are dropped", chainOf("filter", "output", "accept", "0", `[`+dns+`,{"drop":null}]`), map[string]string{
			"outgoing[udp/100.100.2.136:53].blocked": "true", "outgoing[udp/100.100.2.136:53].verdict": `"drop"`, "outgoing[udp/100.100.2.136:53].chain": `"ip t c"`,
			"outgoing[udp/93.184.215.14:123].blocked": "false",
		}},
		{"all but root's are dropped", chainOf("filter", "output", "accept", "0", `[{"match":{"op":"!=","left":{"meta":{"key":"skuid"}},"right":0}},{"drop":null}]`), map[string]string{
			"outgoing[tcp/100.100.100.200:80].blocked": "false",
		}},
		{"answers are not let in", chainOf("filter", "input", "drop", "0", exprSSH), map[string]string{
			"outgoing[udp/100.100.2.136:53].blocked": "true", "outgoing[udp/100.100.2.136:53].verdict": `"pass"`, "outgoing[udp/100.100.2.136:53].answer": `"drop"`,
			"outgoing[udp/100.100.2.136:53].rule": `"policy"`,
		}},
		{"answers are let in", chainOf("filter", "input", "drop", "0", exprState), map[string]string{"outgoing[udp/100.100.2.136:53].blocked": "false"}},
		{"led to a port of this host without a listener", chainOf("nat", "output", "accept", "-100", `[`+dns+`,{"redirect":{"port":1053}}]`), map[string]string{
			"outgoing[udp/100.100.2.136:53].moved_to": `"127.0.0.1:1053"`, "outgoing[udp/100.100.2.136:53].moved_to_nobody": "true",
			"outgoing[tcp/100.100.100.200:80].moved_to": "null",
		}},
		{"led to another host", chainOf("nat", "output", "accept", "-100", `[`+dns+`,{"dnat":{"addr":"10.0.0.2","port":53}}]`), map[string]string{
			"outgoing[udp/100.100.2.136:53].moved_to": `"10.0.0.2:53"`, "outgoing[udp/100.100.2.136:53].moved_to_nobody": "null",
		}},
		{"clients led to a port without a listener", chainOf("nat", "prerouting", "accept", "-100", `[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}},{"redirect":{"port":2222}}]`), map[string]string{
			"listeners[tcp/0.0.0.0:22].moved_to": "2222", "listeners[tcp/0.0.0.0:22].moved_to_nobody": "true", "listeners[tcp/0.0.0.0:80].moved_to": "null",
		}},
		{"clients led to a port with one", chainOf("nat", "prerouting", "accept", "-100", `[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}},{"redirect":{"port":80}}]`), map[string]string{
			"listeners[tcp/0.0.0.0:22].moved_to": "80", "listeners[tcp/0.0.0.0:22].moved_to_nobody": "false",
		}},
		{"containers behind it", chainOf("nat", "postrouting", "accept", "100", `[{"match":{"op":"==","left":{"meta":{"key":"oifname"}},"right":"eth0"}},{"masquerade":null}]`), map[string]string{
			"masquerade": "true", "outgoing[udp/100.100.2.136:53].blocked": "false",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { wantFacts(t, Firewall, observe(t, Firewall, capture+tt.rules), tt.want) })
	}
}

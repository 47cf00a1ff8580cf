package linux

import "testing"

func TestRoutes(t *testing.T) {
	const to = `
-- route-to 100.100.100.200 --
{"dst":"100.100.100.200/32","gw":"172.16.0.253","link":2,"table":254,"type":"unicast"}
-- route-to 100.100.2.136 --
{"dst":"100.100.2.136/32","gw":"172.16.0.253","link":2,"table":254,"type":"unicast"}
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"two default routes, and the host's own addresses", netBase + to + netDefault + `
{"dst":"172.16.0.10/32","link":2,"table":255,"type":"local"}
{"dst":"172.16.0.0/24","link":2,"table":254,"type":"unicast"}
{"dst":"169.254.0.0/16","link":2,"table":254,"type":"unicast"}
{"dst":"100.64.0.0/10","gw":"172.16.0.253","link":2,"table":254,"type":"unicast"}
{"dst":"fe80::/64","link":2,"table":254,"type":"unicast"}
`, map[string]string{
			"ipv4": "5", "ipv6": "1", "via_gateway": "1", "default_ipv4": "true", "default_ipv6": "false",
			"default_interface": `"eth0"`, "metadata_interface": `"eth0"`, "cloud_dns_interface": `"eth0"`, "service_network": "[]",
			"defaults[default via 172.16.0.253 dev eth0 table 254 metric 100].protocol": `"dhcp"`,
			"defaults[default via 172.17.0.9 dev docker0 table 254 metric 200].metric":  "200",
		}},
		{"a container network takes the cloud's addresses", netBase + netDefault + `
{"dst":"100.100.0.0/16","link":3,"table":254,"type":"unicast","protocol":"kernel"}
{"dst":"100.100.2.0/25","table":254,"type":"blackhole","protocol":"static"}
-- route-to 100.100.100.200 --
{"dst":"100.100.100.200/32","link":3,"table":254,"type":"unicast"}
-- route-to 100.100.2.136 --
!noroute
`, map[string]string{
			"default_interface": `"eth0"`, "metadata_interface": `"docker0"`, "cloud_dns_interface": "null",
			"service_network[100.100.0.0/16 dev docker0 table 254 metric 0].takes_metadata":  "true",
			"service_network[100.100.0.0/16 dev docker0 table 254 metric 0].takes_cloud_dns": "true",
			"service_network[100.100.0.0/16 dev docker0 table 254 metric 0].interface":       `"docker0"`,
			"service_network[blackhole 100.100.2.0/25 table 254 metric 0].takes_metadata":    "false",
			"service_network[blackhole 100.100.2.0/25 table 254 metric 0].interface":         "null",
			"service_network[blackhole 100.100.2.0/25 table 254 metric 0].type":              `"blackhole"`,
		}},
		{"dead, unreachable, and of another table", netBase + to + `
-- routes --
{"dst":"0.0.0.0/0","gw":"172.16.0.253","link":2,"table":254,"type":"unicast","dead":true}
{"dst":"::/0","table":254,"type":"unreachable","metric":4294967295}
{"dst":"100.64.0.0/10","table":254,"type":"blackhole"}
`, map[string]string{
			"default_ipv4": "false", "default_ipv6": "false", "default_interface": "null",
			"defaults[default via 172.16.0.253 dev eth0 table 254 metric 0].dead":   "true",
			"service_network[blackhole 100.64.0.0/10 table 254 metric 0].interface": "null",
		}},
		{"policy routing has the default route", netBase + to + `
-- routes --
{"dst":"0.0.0.0/0","gw":"172.16.0.253","link":2,"table":1000,"type":"unicast","nexthops":2}
{"dst":"::/0","gw":"fe80::1","link":3,"table":254,"type":"unicast"}
`, map[string]string{
			"default_ipv4": "true", "default_ipv6": "true", "default_interface": `"eth0"`,
			"defaults[default via 172.16.0.253 dev eth0 table 1000 metric 0].next_hops": "2",
		}},
		{"the kernel does not say", netBase + netDefault, map[string]string{
			"metadata_interface": `{"unreadable":"route-to 100.100.100.200: not in the capture"}`,
		}},
		{"no routes", netBase, map[string]string{"(reason)": "routes: not in the capture"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Routes, observe(t, Routes, c.capture), c.want) })
	}
}

func TestRules(t *testing.T) {
	const kernel = `
-- rules --
{"family":4,"priority":0,"table":255,"action":"lookup"}
{"family":4,"priority":32767,"table":253,"action":"lookup"}
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"the kernel's own", kernel + `{"family":4,"priority":32766,"table":254,"action":"lookup"}` + "\n", map[string]string{
			"main_ipv4": "true", "main_ipv6": "false", "custom": "[]",
		}},
		{"of a second interface, and the main table only for some", kernel + `
{"family":4,"priority":100,"src":"172.16.1.0/24","iif":"eth1","mark":1,"mask":255,"invert":true,"table":1000,"action":"lookup"}
{"family":4,"priority":100,"src":"172.16.1.0/24","table":254,"action":"lookup"}
{"family":4,"priority":100,"src":"172.16.1.0/24","table":254,"action":"lookup"}
{"family":6,"priority":90,"action":"unreachable"}
`, map[string]string{
			"main_ipv4": "false",
			"custom[100: not from 172.16.1.0/24 iif eth1 fwmark 0x1/0xff lookup 1000].table": "1000",
			"custom[100: from 172.16.1.0/24 lookup 254 (2)].priority":                        "100",
			"custom[90: from all unreachable ipv6].action":                                   `"unreachable"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Rules, observe(t, Rules, c.capture), c.want) })
	}
}

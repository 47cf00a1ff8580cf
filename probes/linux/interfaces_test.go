package linux

import "testing"

// netBase is a host with a loopback, a NIC, and a container behind a bridge.
const netBase = `
-- links --
{"index":1,"name":"lo","mtu":65536,"flags":65609,"oper":"unknown","stats":{}}
{"index":2,"name":"eth0","driver":"virtio_net","mac":"00:16:3e:00:00:01","mtu":1500,"flags":69699,"oper":"up","queues":2,"queues_max":4,"stats":{"rx_packets":1000,"rx_bytes":64000,"rx_dropped":10}}
{"index":3,"name":"docker0","kind":"bridge","mtu":1500,"flags":69699,"oper":"up","stats":{}}
{"index":4,"name":"veth1","kind":"veth","master":3,"mtu":1500,"flags":69699,"oper":"up","stats":{}}
-- links @1s --
{"index":1,"name":"lo","mtu":65536,"flags":65609,"oper":"unknown","stats":{}}
{"index":2,"name":"eth0","driver":"virtio_net","mac":"00:16:3e:00:00:01","mtu":1500,"flags":69699,"oper":"up","queues":2,"queues_max":4,"stats":{"rx_packets":1900,"rx_bytes":128000,"rx_dropped":60,"rx_missed":30,"rx_fifo":20}}
{"index":3,"name":"docker0","kind":"bridge","mtu":1500,"flags":69699,"oper":"up","stats":{}}
{"index":4,"name":"veth1","kind":"veth","master":3,"mtu":1500,"flags":69699,"oper":"up","stats":{}}
`

const netAddrs = `
-- addrs --
{"link":1,"prefix":"127.0.0.1/8","scope":"host","flags":128}
{"link":2,"prefix":"172.16.0.10/24","scope":"global","flags":0,"valid_for":3600000000000}
{"link":2,"prefix":"fe80::1/64","scope":"link","flags":128}
{"link":3,"prefix":"172.17.0.1/16","scope":"global","flags":128}
`

const netDefault = `
-- routes --
{"dst":"0.0.0.0/0","gw":"172.16.0.253","link":2,"table":254,"type":"unicast","protocol":"dhcp","metric":100}
{"dst":"0.0.0.0/0","gw":"172.17.0.9","link":3,"table":254,"type":"unicast","metric":200}
`

const noRoutes = "-- routes --\n"

func TestInterfaces(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"a host with a container", netBase + netAddrs + netDefault, map[string]string{
			"primary":                      `"eth0"`,
			"links[eth0].primary":          "true",
			"links[eth0].hardware":         "true",
			"links[eth0].carrier":          "true",
			"links[eth0].ipv4":             `["172.16.0.10"]`,
			"links[eth0].ipv6":             "[]",
			"links[eth0].lease_left":       `"1h0m0s"`,
			"links[eth0].link_local_only":  "false",
			"links[eth0].queues_max":       "4",
			"links[eth0].rx_packets_per_s": "900",
			"links[eth0].rx_dropped_per_s": "50",
			"links[eth0].rx_missed_per_s":  "50",
			"links[eth0].rx_lost_pct":      "10",
			"links[eth0].tx_lost_pct":      "0",
			"links[eth0].speed_mbit":       "null",
			"links[veth1].member":          "true",
			"links[veth1].hardware":        "false",
			"links[lo].hardware":           "false",
			"links[lo].loopback":           "true",
			"links[lo].queues":             "null",
		}},
		{"no DHCP server answered", netBase + noRoutes + `-- addrs --
{"link":2,"prefix":"169.254.17.4/16","scope":"link","flags":128}
`, map[string]string{
			"primary":                     `"eth0"`,
			"links[eth0].link_local_only": "true",
			"links[eth0].lease_left":      "null",
		}},
		{"a link-local address beside a good one", netBase + noRoutes + `-- addrs --
{"link":2,"prefix":"169.254.17.4/16","scope":"link","flags":128}
{"link":2,"prefix":"172.16.0.10/24","scope":"global","flags":0}
`, map[string]string{"links[eth0].link_local_only": "false", "links[eth0].ipv4": `["169.254.17.4","172.16.0.10"]`}},
		{"the order does not matter", netBase + noRoutes + `-- addrs --
{"link":2,"prefix":"172.16.0.10/24","scope":"global","flags":0}
{"link":2,"prefix":"169.254.17.4/16","scope":"link","flags":128}
`, map[string]string{"links[eth0].link_local_only": "false"}},
		{"a container has a veth for its NIC", noRoutes + `-- addrs --
-- links --
{"index":1,"name":"lo","mtu":65536,"flags":73,"oper":"unknown","stats":{}}
{"index":2,"name":"host0","kind":"veth","mtu":1500,"flags":69699,"oper":"up","stats":{}}
`, map[string]string{"primary": `"host0"`, "links[host0].hardware": "false"}},
		{"counters went back, the interface was made anew", noRoutes + `-- addrs --
-- links --
{"index":2,"name":"eth0","mtu":1500,"flags":69699,"oper":"up","stats":{"rx_packets":1000}}
-- links @1s --
{"index":2,"name":"eth0","mtu":1500,"flags":69699,"oper":"up","stats":{"rx_packets":10}}
`, map[string]string{"links[eth0].rx_packets_per_s": "null", "links[eth0].rx_lost_pct": "null", "links[eth0].tx_packets_per_s": "0"}},
		{"routes cannot be read", netBase + netAddrs, map[string]string{"(reason)": "routes: not in the capture"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Interfaces, observe(t, Interfaces, c.capture), c.want) })
	}
}

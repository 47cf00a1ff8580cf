package network

import (
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestGateway(t *testing.T) {
	silent := machine + "-- ping 10.0.0.1 --\n!timeout\n-- connect 10.0.0.1:53 --\n!timeout\n"
	dead := silent + "-- connect 10.0.0.1:80 --\n!timeout\n"
	neighbour := func(state string) string {
		return "-- neighbours --\n" + `{"link":2,"ip":"10.0.0.1","state":"` + state + `"}` + "\n" + `{"link":1,"ip":"10.0.0.1","state":"reachable"}` + "\n"
	}
	check(t, Gateway, []row{
		{"answers", machine + "-- ping 10.0.0.1 --\n{\"rtt\":250000}\n", probes.OK, []string{
			`[{"hop":"10.0.0.1 eth0","address":"10.0.0.1","interface":"eth0","family":4,"metric":100,"preferred":true,"alive":true,"pinged":true,"rtt":"250µs","neighbour":null,"why":null}]`,
		}},
		{"ignores pings, resolved just now", dead + neighbour("reachable"), probes.OK, []string{`"alive":true,"pinged":false,"rtt":null,"neighbour":"reachable","why":"no answer"`}},
		{"nobody answers ARP", dead + neighbour("incomplete"), probes.OK, []string{`"alive":false`, `"neighbour":"incomplete"`}},
		{"the kernel says unreachable", machine + "-- ping 10.0.0.1 --\n!unreachable\n-- neighbours --\n", probes.OK, []string{`"alive":false`, `"neighbour":null,"why":"no route to host"`}},
		{"a stale entry", dead + neighbour("stale"), probes.OK, []string{`"alive":{"unreadable":"it answers neither ICMP nor TCP`}},
		{"a stale entry, but it refuses TCP", silent + "-- connect 10.0.0.1:80 --\n!refused\n" + neighbour("stale"), probes.OK, []string{`"alive":true,"pinged":false`}},
		{"pinging is not permitted", machine + "-- ping 10.0.0.1 --\n!permission\n" + neighbour("stale"), probes.OK, []string{`"alive":{"unreadable":"ping 10.0.0.1: permission denied"}`}},
		{"pinging is not permitted, and the entry failed long ago", machine + "-- ping 10.0.0.1 --\n!permission\n" + neighbour("failed"), probes.OK, []string{
			`"alive":{"unreadable":"ping 10.0.0.1: permission denied"},"pinged":false,"rtt":null,"neighbour":"failed"`,
		}},
		{
			"two routes, one preferred", machine + "-- ping 10.0.0.1 --\n{\"rtt\":1}\n-- ping fe80::1%eth0 --\n{\"rtt\":1}\n-- ping 10.0.0.254 --\n{\"rtt\":1}\n-- routes --\n" +
				`{"dst":"0.0.0.0/0","gw":"10.0.0.254","link":2,"table":254,"type":"unicast","metric":200}` + "\n" +
				`{"dst":"0.0.0.0/0","gw":"10.0.0.1","link":2,"table":254,"type":"unicast","metric":100}` + "\n" +
				`{"dst":"::/0","gw":"fe80::1","link":2,"table":254,"type":"unicast","metric":1024}` + "\n",
			probes.OK,
			[]string{
				`{"hop":"10.0.0.1 eth0","address":"10.0.0.1","interface":"eth0","family":4,"metric":100,"preferred":true`,
				`{"hop":"10.0.0.254 eth0","address":"10.0.0.254","interface":"eth0","family":4,"metric":200,"preferred":false`,
				`{"hop":"fe80::1 eth0","address":"fe80::1","interface":"eth0","family":6,"metric":1024,"preferred":true`,
			},
		},
		{"no default route", "-- links --\n-- routes --\n", probes.Nothing, []string{"there is no default route with a gateway"}},
	})
}

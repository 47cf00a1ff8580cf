package linux

import "testing"

func TestNeighbours(t *testing.T) {
	const limits = `
-- /proc/sys/net/ipv4/neigh/default/gc_thresh1 --
128
-- /proc/sys/net/ipv4/neigh/default/gc_thresh2 --
512
-- /proc/sys/net/ipv4/neigh/default/gc_thresh3 --
1024
`
	const table = `
-- neighbours --
{"link":2,"ip":"172.16.0.253","state":"failed"}
{"link":2,"ip":"172.16.0.7","mac":"00:16:3e:00:00:07","state":"stale"}
{"link":2,"ip":"172.16.0.8","mac":"00:16:3e:00:00:08","state":"permanent"}
{"link":2,"ip":"172.16.0.9","state":"incomplete"}
{"link":2,"ip":"ff02::1","state":"noarp"}
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"a table that overflows", netBase + netDefault + limits + table + `
-- /proc/net/stat/arp_cache --
entries  allocs   table_fulls
00000400 00000001 00000010
00000400 00000002 00000001
-- /proc/net/stat/arp_cache @1s --
entries  allocs   table_fulls
00000400 00000001 00000018
00000400 00000002 00000003
`, map[string]string{
			"ipv4.entries": "1024", "ipv4.max": "1024", "ipv4.used_pct": "100", "ipv4.gc_thresh2": "512", "ipv4.overflows_per_s": "10",
			"ipv6.entries": "null", "ipv6.used_pct": "null", "ipv6.overflows_per_s": "null",
			"resolved": "2", "failed": "1", "incomplete": "1",
			"gateways[172.16.0.253].state": `"failed"`, "gateways[172.16.0.253].interface": `"eth0"`, "gateways[172.17.0.9].state": `"none"`,
		}},
		{"a container sees its own neighbours and no limit", netBase + noRoutes + table + "-- /proc/sys/net/ipv4/ --\n", map[string]string{
			"ipv4.entries": "4", "ipv4.max": "null", "ipv4.used_pct": "null", "gateways": "[]",
		}},
		{"an older kernel does not count overflows", netBase + noRoutes + limits + table + `
-- /proc/net/stat/arp_cache --
entries  allocs
00000200 00000001
`, map[string]string{"ipv4.used_pct": "50", "ipv4.overflows_per_s": "null"}},
		{"a line cut short", netBase + noRoutes + limits + table + `
-- /proc/net/stat/arp_cache --
entries  allocs
00000200
`, map[string]string{"(reason)": "reading /proc/net/stat/arp_cache: line 2 has 1 columns and the heading 2"}},
		{"a limit that is no number", netBase + noRoutes + table + `
-- /proc/sys/net/ipv4/neigh/default/gc_thresh1 --
many
`, map[string]string{"(reason)": `"many" is not a count`}},
		{"no neighbours", netBase + noRoutes, map[string]string{"(reason)": "neighbours: not in the capture"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Neighbours, observe(t, Neighbours, c.capture), c.want) })
	}
}

func TestQdiscs(t *testing.T) {
	capture := netBase + `
-- qdiscs --
{"link":2,"kind":"netem","parent":"root","handle":"8001:","packets":100,"drops":10,"overlimits":0,"backlog":3000,"options":"delay 100ms, loss 5%"}
{"link":3,"kind":"noqueue","parent":"root","handle":"0:","packets":0,"drops":0,"overlimits":0,"backlog":0}
{"link":4,"kind":"fq_codel","parent":"1:2","handle":"10:","packets":0,"drops":0,"overlimits":0,"backlog":0}
{"link":99,"kind":"fq_codel","parent":"root","handle":"0:","packets":0,"drops":0,"overlimits":0,"backlog":0}
-- qdiscs @1s --
{"link":2,"kind":"netem","parent":"root","handle":"8001:","packets":195,"drops":15,"overlimits":0,"backlog":3000,"options":"delay 100ms, loss 5%"}
{"link":3,"kind":"noqueue","parent":"root","handle":"0:","packets":0,"drops":0,"overlimits":0,"backlog":0}
{"link":4,"kind":"fq_codel","parent":"1:2","handle":"11:","packets":0,"drops":0,"overlimits":0,"backlog":0}
`
	wantFacts(t, Qdiscs, observe(t, Qdiscs, capture), map[string]string{
		"all[eth0 root].kind": `"netem"`, "all[eth0 root].options": `"delay 100ms, loss 5%"`, "all[eth0 root].root": "true",
		"all[eth0 root].virtual": "false", "all[eth0 root].backlog": "3000", "all[eth0 root].packets_per_s": "95", "all[eth0 root].drops_per_s": "5",
		"all[eth0 root].drop_pct": "5", "all[docker0 root]": "none", "all[veth1 1:2].virtual": "true", "all[veth1 1:2].root": "false",
		"all[veth1 1:2].drops_per_s": "null",
	})
	wantFacts(t, Qdiscs, observe(t, Qdiscs, netBase), map[string]string{"(reason)": "qdiscs: not in the capture"})
}

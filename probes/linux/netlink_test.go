package linux

import "testing"

func TestNetlink(t *testing.T) {
	const head = "-- /proc/net/netlink --\nsk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"nothing lost", head + "0000000014d719c1 0   0          00000000 0        0        0     2        0        4\n", map[string]string{"sockets": "1", "losers": "[]"}},
		{
			"somebody lost some", head + "0000000014d719c1 0   612        00000511 0        0        0     2        4711     4\n0000000014d719c2 15  4294967295 00000511 0        0        0     2        3        4\n-- /proc/612/comm --\nsystemd-network\n",
			map[string]string{"losers[route 612].drops": "4711", "losers[route 612].command": `"systemd-network"`, "losers[uevent 4294967295].command": "null"},
		},
		{"cut short", head + "0000000014d719c1 0   612\n", map[string]string{"(reason)": "no column for drops"}},
		{"a kernel without it", "-- /proc/net/ --\n", map[string]string{"(reason)": "does not list"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Netlink, observe(t, Netlink, c.capture), c.want) })
	}
}

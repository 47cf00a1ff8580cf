package linux

import (
	"maps"
	"strings"
	"testing"
)

const (
	snmp = `-- /proc/net/snmp --
Ip: Forwarding InDiscards OutDiscards OutNoRoutes ReasmFails FragFails
Ip: 1 0 0 0 0 0
Tcp: MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: -1 0 0 0 0 3 0 1000 10 0 0 0
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
Udp: 100 0 0 0 0 0
-- /proc/net/snmp @1s --
Ip: Forwarding InDiscards OutDiscards OutNoRoutes ReasmFails FragFails
Ip: 1 0 0 7 0 0
Tcp: MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: -1 0 0 0 0 3 0 1200 20 0 0 0
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
Udp: 160 0 0 0 30 0
`
	netstat = `-- /proc/net/netstat --
TcpExt: SyncookiesSent PAWSActive PAWSEstab ListenOverflows ListenDrops TCPTimeWaitOverflow RcvPruned IPReversePathFilter
TcpExt: 0 0 0 5 6 0 0 0
IpExt: InNoRoutes
IpExt: 18446744073709551615
-- /proc/net/netstat @1s --
TcpExt: SyncookiesSent PAWSActive PAWSEstab ListenOverflows ListenDrops TCPTimeWaitOverflow RcvPruned IPReversePathFilter
TcpExt: 0 1 2 25 30 4 0 0
IpExt: InNoRoutes
IpExt: 18446744073709551615
`
	snmp6 = `-- /proc/net/snmp6 --
Udp6InDatagrams                 	0
Udp6RcvbufErrors                	0
-- /proc/net/snmp6 @1s --
Udp6InDatagrams                 	0
Udp6RcvbufErrors                	10
`
)

func TestTCPStats(t *testing.T) {
	rates := map[string]string{
		"out_segs_per_s": "200", "retrans_per_s": "10", "retrans_pct": "5", "listen_overflows_per_s": "20", "listen_drops_per_s": "24",
		"time_wait_overflows_per_s": "4", "paws_drops_per_s": "3", "paws_passive_per_s": "null", "backlog_drops_per_s": "null",
		"receive_drops_per_s": "0", "ip_no_route_per_s": "7", "listen_overflows": "25", "listen_drops": "30", "syn_retrans_per_s": "null",
	}
	with := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range []map[string]string{rates, more} {
			maps.Copy(all, m)
		}
		return all
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"IPv4 and IPv6", snmp + netstat + snmp6, with(map[string]string{"udp_receive_buffer_errors_per_s": "40", "udp_in_per_s": "60", "udp_receive_buffer_errors_pct": "40"})},
		{"IPv6 is off", snmp + netstat, with(map[string]string{"udp_receive_buffer_errors_per_s": "30"})},
		{"nothing is sent", strings.ReplaceAll(snmp, "1200 20", "1000 10") + netstat, map[string]string{"retrans_pct": "null", "retrans_per_s": "0"}},
		{"counters were reset", strings.ReplaceAll(snmp, "1200 20", "3 1") + netstat, map[string]string{"retrans_pct": "null", "retrans_per_s": "null"}},
		{"names without values", "-- /proc/net/snmp --\nTcp: OutSegs\n" + netstat, map[string]string{"(reason)": "1 lines, which are not pairs"}},
		{"fewer values than names", "-- /proc/net/snmp --\nTcp: OutSegs RetransSegs\nTcp: 1\n" + netstat, map[string]string{"(reason)": "lines 1 and 2 do not belong together"}},
		{"no counter", "-- /proc/net/snmp --\nTcp: OutSegs\nTcp: x\n" + netstat, map[string]string{"(reason)": `OutSegs: "x" is not a number`}},
		{"a counter is missing", "-- /proc/net/snmp --\nTcp: OutSegs\nTcp: 1\n" + netstat, map[string]string{"(reason)": "no Tcp RetransSegs"}},
		{"IPv6 is odd", snmp + netstat + "-- /proc/net/snmp6 @0s --\nUdp6InDatagrams\n", map[string]string{"(reason)": "is not a name and a number"}},
		{"empty", "-- /proc/net/snmp --\n", map[string]string{"(reason)": "is empty"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, TCPStats, observe(t, TCPStats, c.capture), c.want) })
	}
}

func TestSoftnet(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"cores 0 and 2, one counter wraps", `-- /proc/net/softnet_stat --
00000064 00000000 00000000 0 0 0 0 0 0 0 0 0 00000000
fffffff0 00000001 00000002 0 0 0 0 0 0 0 0 0 00000002
-- /proc/net/softnet_stat @1s --
000000c8 00000000 00000000 0 0 0 0 0 0 0 0 0 00000000
00000010 0000000b 00000004 0 0 0 0 0 0 0 0 0 00000002
`, map[string]string{
			"processed_per_s": "132", "dropped_per_s": "10", "time_squeezes_per_s": "2", "cpus[cpu0].processed_per_s": "100",
			"cpus[cpu2].processed_per_s": "32", "cpus[cpu2].dropped_per_s": "10",
		}},
		{"before Linux 5.10", "-- /proc/net/softnet_stat --\n1 0 0 0 0 0 0 0 0 0 0\n2 0 0 0 0 0 0 0 0 0 0\n", map[string]string{
			"cpus[cpu1].dropped_per_s": "0", "dropped_per_s": "0",
		}},
		{"cut short", "-- /proc/net/softnet_stat --\n1 0\n", map[string]string{"(reason)": "line 1 has 2 columns"}},
		{"not hexadecimal", "-- /proc/net/softnet_stat --\n1 0 g\n", map[string]string{"(reason)": `"g" is not a hexadecimal number`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Softnet, observe(t, Softnet, c.capture), c.want) })
	}
}

package linux

import (
	"strings"
	"testing"
)

func TestForwarded(t *testing.T) {
	const masquerade = `:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
`
	iptables := func(forward, nat string) string {
		return "-- /proc/net/ip_tables_names --\nfilter\nnat\n-- $ iptables-legacy-save --\n*filter\n:INPUT ACCEPT [0:0]\n" + forward + "COMMIT\n*nat\n" + nat + "COMMIT\n"
	}
	capture := strings.Replace(firewallHost, `"name":"docker0","kind":"bridge"`, `"name":"docker0","kind":"bridge","flags":69699`, 1) +
		"-- route-to 93.184.215.14 --\n" + `{"dst":"0.0.0.0/0","gw":"10.0.0.1","link":2,"table":254,"type":"unicast","prefsrc":"10.0.0.5"}` + "\n" +
		"-- route-to 100.100.100.200 --\n!unreachable\n-- /etc/resolv.conf --\n\n"
	withNft := func(s string) string {
		if !strings.Contains(s, "nft -j") {
			s += nftDumpOf()
		}
		return s
	}
	for _, tt := range []struct {
		name, rules string
		want        map[string]string
	}{
		{"no rules", nftDumpOf(), map[string]string{
			"bridges[docker0].blocked": "false", "bridges[docker0].hidden": "false", "bridges[docker0].network": `"172.17.0.0/16"`, "bridges[docker0].rule": "null",
		}},
		{"docker", iptables(":FORWARD DROP [0:0]\n-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n", masquerade), map[string]string{
			"bridges[docker0].blocked": "false", "bridges[docker0].hidden": "true", "iptables_both": "false",
		}},
		{"rules of both kinds", iptables(":FORWARD ACCEPT [0:0]\n", masquerade) + nftDumpOf(`{"table":{"family":"ip","name":"filter","handle":1}}`,
			`{"chain":{"family":"ip","table":"filter","name":"INPUT","handle":1,"type":"filter","hook":"input","prio":0,"policy":"accept"}}`,
			`{"rule":{"family":"ip","table":"filter","chain":"INPUT","handle":2,"expr":`+exprSSH+`}}`), map[string]string{"iptables_both": "true"}},
		{"docker's rules were lost", iptables(":FORWARD DROP [0:0]\n", masquerade), map[string]string{
			"bridges[docker0].blocked": "true", "bridges[docker0].hidden": "true", "bridges[docker0].verdict": `"drop"`, "bridges[docker0].rule": `"policy"`,
		}},
		{"answers are not let in", iptables(":FORWARD DROP [0:0]\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n", masquerade), map[string]string{"bridges[docker0].blocked": "true"}},
		{"private networks only", iptables(":FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -d 10.0.0.0/8 -j ACCEPT\n", masquerade), map[string]string{
			"bridges[docker0].blocked": "false", "bridges[docker0].verdict": `"drop"`,
		}},
		{"another bridge's rule", iptables(":FORWARD DROP [0:0]\n-A FORWARD -i br+ -j ACCEPT\n-A FORWARD -m owner --uid-owner 0 -j ACCEPT\n-A FORWARD -m addrtype --src-type LOCAL -j ACCEPT\n-A FORWARD -m addrtype --dst-type LOCAL -j ACCEPT\n", masquerade), map[string]string{
			"bridges[docker0].blocked": "true",
		}},
		{"an internal network", iptables(":FORWARD ACCEPT [0:0]\n-A FORWARD ! -d 172.17.0.0/16 -i docker0 -j DROP\n", ""), map[string]string{
			"bridges[docker0].blocked": "true", "bridges[docker0].hidden": "false",
		}},
		{"by a set's contents", iptables(":FORWARD DROP [0:0]\n-A FORWARD -m set --match-set ours src -j ACCEPT\n", masquerade), map[string]string{
			"bridges[docker0].blocked": `{"unreadable":"some rules cannot be decided beforehand: --match-set ours src"}`, "bridges[docker0].verdict": `"unknown"`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { wantFacts(t, Firewall, observe(t, Firewall, withNft(capture+tt.rules)), tt.want) })
	}
}

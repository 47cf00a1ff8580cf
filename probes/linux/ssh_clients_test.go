package linux

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

func TestSSHClients(t *testing.T) {
	const base = "-- links --\n{\"index\": 2, \"name\": \"eth0\"}\n-- addrs --\n{\"link\": 2, \"prefix\": \"192.0.2.2/24\"}\n-- tcp --\n{\"state\": 10, \"local\": \"0.0.0.0:22\", \"ino\": 5}\n-- /proc/1/comm --\nsystemd\n-- /proc/1/stat --\n1 (systemd) S 0\n"
	const route = "{\"dst\": \"0.0.0.0/0\", \"gw\": \"192.0.2.1\", \"link\": 2, \"table\": 254, \"type\": \"unicast\"}\n"
	const log = "-- $ journalctl -u ssh.service -u sshd.service -n 1000 -o short-unix --no-pager -q --\n1767225000.5 h sshd[7]: Accepted publickey for deploy from 203.0.113.10 port 5 ssh2\n1767225100.5 h sshd[7]: Failed password for root from 198.51.100.9 port 5 ssh2\n" +
		"1767225200.5 h sshd[7]: Accepted publickey for root from 203.0.113.11 port 5 ssh2\n"
	const empty = "-- $ nft -j list ruleset --\n{\"nftables\": [{\"metainfo\": {}}]}\n"
	nft := func(set, verdict string) string {
		return "-- $ nft -j list ruleset --\n" + `{"nftables": [{"set": {"family": "inet", "table": "f2b", "name": "bad", "elem": [` + set + `]}}, {"chain": {"family": "inet", "table": "f2b", "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}},
{"rule": {"family": "inet", "table": "f2b", "chain": "in", "handle": 3, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@bad"}}, {"` + verdict + `": null}]}}]}` + "\n"
	}
	const foreign = "-- $ nft -j list ruleset --\n" + `{"nftables": [{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}, {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": 3, "expr": [{"xt": {"type": "match", "name": "set"}}]}}]}` + "\n" +
		"-- $ iptables-nft-save --\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m multiport --dports 22 -m set --match-set f2b-sshd src -j REJECT\nCOMMIT\n"
	const ipset = "-- $ ipset save --\ncreate f2b-sshd hash:ip family inet hashsize 1024 maxelem 65536 timeout 0\nadd f2b-sshd 192.0.2.17 timeout 0\nadd f2b-sshd 203.0.113.10 timeout 0\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"nobody is turned away, and nothing is read", base + "-- routes --\n" + route + empty, map[string]string{"looked": "false", "blocked": "[]"}},
		{"an nft set", base + "-- routes --\n" + route + nft(`"203.0.113.10"`, "drop") + log, map[string]string{
			"looked": "true", "clients": "2", "blocked[203.0.113.10].account": `"deploy"`, "blocked[203.0.113.10].named": "true", "blocked[203.0.113.10].set": `"bad"`, "blocked[203.0.113.10].last_age": `"10m0s"`, "blocked[203.0.113.11]": "none",
		}},
		{"only strangers are banned", base + "-- routes --\n" + route + nft(`"198.51.100.9"`, "drop") + log, map[string]string{"looked": "true", "blocked": "[]"}},
		{"an ipset", base + "-- routes --\n" + route + foreign + ipset + log, map[string]string{"blocked[203.0.113.10].set": `"f2b-sshd"`, "blocked[203.0.113.10].set_kind": `"ipset"`, "blocked[203.0.113.11]": "none"}},
		{"an ipset that nobody can read", base + "-- routes --\n" + route + foreign + log, map[string]string{"looked": "true", "blocked": "[]"}},
		{"a route", base + "-- routes --\n" + route + "{\"dst\": \"203.0.113.10/32\", \"table\": 254, \"type\": \"blackhole\"}\n" + empty + log, map[string]string{"blocked[203.0.113.10].by": `"route"`, "blocked[203.0.113.10].rule": `"blackhole 203.0.113.10/32"`}},
		{"hosts.deny", base + "-- routes --\n" + route + empty + log + "-- /run/sshd.pid --\n9\n-- /proc/9/maps --\n7f00 r-xp 0 fd:00 1 /usr/lib/libwrap.so.0.7.6\n-- /etc/hosts.allow --\nsshd: 203.0.113.11\n-- /etc/hosts.deny --\nsshd: 203.0.113.0/255.255.255.0\n", map[string]string{
			"blocked[203.0.113.10].where": `"/etc/hosts.deny:1"`, "blocked[203.0.113.11]": "none",
		}},
		{"no log at all", base + "-- routes --\n" + route + nft(`"203.0.113.10"`, "drop"), map[string]string{"looked": "true", "clients": "0", "log": "null"}},
		{"syslog's file", base + "-- routes --\n" + route + nft(`"203.0.113.10"`, "drop") + "-- /var/log/auth.log --\nDec 31 23:00:00 h sshd[7]: Accepted password for ops from 203.0.113.10 port 5 ssh2\n", map[string]string{
			"blocked[203.0.113.10].last_age": `"1h0m0s"`, "log": `"/var/log/auth.log"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, SSHClients, observe(t, SSHClients, c.capture), c.want) })
	}
}

type wtmpFile struct {
	host.Files
	b []byte
}

func (f wtmpFile) Stat(string) (host.FileInfo, error) {
	return host.FileInfo{Size: int64(len(f.b))}, nil
}

func (f wtmpFile) ReadTail(_ string, max int) ([]byte, error) {
	return f.b[len(f.b)-min(max, len(f.b)):], nil
}

func TestWtmpLogins(t *testing.T) {
	record := func(kind uint16, user, addr string, at uint32) []byte {
		b := make([]byte, wtmpRecord)
		binary.NativeEndian.PutUint16(b, kind)
		copy(b[44:], user)
		binary.NativeEndian.PutUint32(b[340:], at)
		copy(b[348:], netip.MustParseAddr(addr).AsSlice())
		return b
	}
	var b []byte
	for _, r := range [][]byte{record(7, "anna", "192.0.2.9", 100), record(8, "", "192.0.2.9", 110), record(7, "ben", "2001:db8::1", 120), record(7, "root", "0.0.0.0", 130)} {
		b = append(b, r...)
	}
	got := wtmpLogins(wtmpFile{b: b})
	if len(got) != 2 || got[0] != (sshLogin{"anna", netip.MustParseAddr("192.0.2.9"), time.Unix(100, 0)}) || got[1].from != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("%+v", got)
	}
	if got := wtmpLogins(wtmpFile{b: b[:500]}); got != nil {
		t.Errorf("a file that was cut short: %+v", got)
	}
}

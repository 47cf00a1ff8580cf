package linux

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/nettest"
)

// firewallHost is a host with one interface, sshd, a web server for both families, and what only loopback sees.
const firewallHost = `at: 2026-01-01T00:00:00Z
-- links --
{"index":1,"name":"lo","flags":73}
{"index":2,"name":"eth0"}
{"index":3,"name":"docker0","kind":"bridge"}
-- addrs --
{"link":1,"prefix":"127.0.0.1/8","scope":"host"}
{"link":2,"prefix":"10.0.0.5/24","scope":"global"}
{"link":2,"prefix":"2001:db8::5/64","scope":"global"}
{"link":3,"prefix":"172.17.0.1/16","scope":"global"}
-- routes --
{"dst":"0.0.0.0/0","gw":"10.0.0.1","link":2,"table":254,"type":"unicast"}
{"dst":"::/0","gw":"fe80::1","link":2,"table":254,"type":"unicast"}
-- tcp --
{"state":10,"local":"0.0.0.0:22"}
{"state":10,"local":"[::]:80","v6":true}
{"state":10,"local":"127.0.0.1:631"}
{"state":1,"local":"10.0.0.5:22","remote":"10.0.0.9:40000"}
-- udp --
{"state":7,"local":"10.0.0.5:53"}
{"state":1,"local":"10.0.0.5:40000","remote":"10.0.0.2:53"}
`

func nftDumpOf(objects ...string) string {
	return "-- $ nft -j list ruleset --\n" + `{"nftables": [{"metainfo": {"version": "1.0.6"}}` + strings.Join(append([]string{""}, objects...), ",\n") + "]}\n"
}

// inputChain is an inet table with one base chain; each of exprs is a rule's expr.
func inputChain(policy string, exprs ...string) []string {
	objects := []string{
		`{"table":{"family":"inet","name":"filter","handle":1}}`,
		`{"chain":{"family":"inet","table":"filter","name":"input","handle":1,"type":"filter","hook":"input","prio":0,"policy":"` + policy + `"}}`,
	}
	for i, e := range exprs {
		objects = append(objects, fmt.Sprintf(`{"rule":{"family":"inet","table":"filter","chain":"input","handle":%d,"expr":%s}}`, i+2, e))
	}
	return objects
}

const (
	exprState = `[{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["invalid",{"drop":null}]]}}}]`
	exprSSH   = `[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}},{"accept":null}]`
)

func TestFirewall(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        map[string]string
	}{
		{"nothing installed", "", map[string]string{"(reason)": "no firewall tool is installed"}},
		{
			"some packets are dropped by chance and above a rate",
			nftDumpOf(append(inputChain("accept",
				`[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}},{"limit":{"rate":2,"per":"minute","inv":true}},{"counter":{"packets":4,"bytes":9}},{"drop":null}]`,
				`[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":8080}},{"limit":{"rate":2,"per":"minute","inv":true}},{"drop":null}]`),
				`{"chain":{"family":"inet","table":"filter","name":"out","handle":9,"type":"filter","hook":"output","prio":0,"policy":"accept"}}`,
				`{"rule":{"family":"inet","table":"filter","chain":"out","handle":10,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"sport"}},"right":22}},{"match":{"op":"==","left":{"numgen":{"mode":"random","mod":100,"offset":0}},"right":0}},{"drop":null}]}}`)...),
			map[string]string{
				"listeners[tcp/0.0.0.0:80].verdict":                                                       `"pass"`,
				"partial[inet filter out: tcp sport 22 numgen random mod 100 0 drop # handle 10].by":      `"chance"`,
				"partial[inet filter out: tcp sport 22 numgen random mod 100 0 drop # handle 10].packets": "null",
				"partial[inet filter input: tcp dport 80 limit counter drop # handle 2].by":               `"rate"`,
				"partial[inet filter input: tcp dport 80 limit counter drop # handle 2].packets":          "4",
				"partial[inet filter input: tcp dport 8080 limit drop # handle 3].by":                     "none",
			},
		},
		{
			"some packets are dropped by their content, which only iptables-save shows",
			nftDumpOf(`{"table":{"family":"ip","name":"filter","handle":1}}`,
				`{"chain":{"family":"ip","table":"filter","name":"INPUT","handle":1,"type":"filter","hook":"input","prio":0,"policy":"accept"}}`,
				`{"rule":{"family":"ip","table":"filter","chain":"INPUT","handle":2,"expr":[{"xt":{"type":"match","name":"string"}},{"counter":{"packets":5,"bytes":660}},{"drop":null}]}}`) +
				"-- $ iptables-nft-save --\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 80 -m string --string /large --algo bm -j DROP\nCOMMIT\n",
			map[string]string{
				`partial[ip filter INPUT: -A INPUT -p tcp -m tcp --dport 80 -m string --string /large --algo bm -j DROP].by`:      `"content"`,
				`partial[ip filter INPUT: -A INPUT -p tcp -m tcp --dport 80 -m string --string /large --algo bm -j DROP].packets`: "5",
			},
		},
		{
			"what loopback and ordinary accounts may", "-- $ iptables-nft-save --\n*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 631 -j DROP\n" +
				"-A OUTPUT -d 100.100.100.200/32 -m owner ! --uid-owner 0 -j REJECT\nCOMMIT\n-- $ ip6tables-nft-save --\n-- route-to 100.100.100.200 --\n" + `{"dst":"100.100.100.200/32","prefsrc":"10.0.0.5","gw":"10.0.0.1","link":2,"table":254,"type":"unicast"}` + "\n",
			map[string]string{
				"local[tcp/127.0.0.1:631].blocked": "true", "local[tcp/127.0.0.1:631].loopback": "true", "local[tcp/0.0.0.0:22].blocked": "false",
				"outgoing[tcp/100.100.100.200:80].blocked": "false", "outgoing[tcp/100.100.100.200:80].blocked_for_others": "true",
			},
		},
		{"no rules", nftDumpOf(), map[string]string{
			"front_end": `"none"`, "rules": "0",
			"listeners[tcp/0.0.0.0:22].verdict": `"pass"`, "listeners[tcp/[::]:80].verdict": `"pass"`,
			"listeners[tcp/0.0.0.0:22].family": "4", "listeners[tcp/[::]:80].family": "6",
			"listeners[tcp/0.0.0.0:80].verdict": `"pass"`, "listeners[udp/10.0.0.5:53].blocked": "false",
			"listeners[tcp/127.0.0.1:631]": "none", "listeners[udp/10.0.0.5:40000]": "none",
		}},
		{"ssh only", nftDumpOf(inputChain("drop", exprState, exprSSH)...), map[string]string{
			"front_end": `"nftables"`, "rules": "2",
			"listeners[tcp/0.0.0.0:22].verdict": `"pass"`, "listeners[tcp/0.0.0.0:22].rule": `"tcp dport 22 accept # handle 3"`,
			"listeners[tcp/[::]:80].verdict": `"drop"`, "listeners[tcp/[::]:80].blocked": "true", "listeners[tcp/[::]:80].rule": `"policy"`,
			"listeners[tcp/[::]:80].chain": `"inet filter input"`,
		}},
		{
			"ssh from one network only",
			nftDumpOf(inputChain("drop", `[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"198.51.100.0","len":24}}}},{"accept":null}]`)...),
			map[string]string{
				"listeners[tcp/0.0.0.0:22].verdict": `"drop"`, "listeners[tcp/0.0.0.0:22].blocked": "false",
				"listeners[tcp/0.0.0.0:22].open_to": `"198.51.100.1 on eth0"`, "listeners[tcp/[::]:80].blocked": "true",
			},
		},
		{
			"by chance",
			nftDumpOf(inputChain("accept", `[{"match":{"op":"<","left":{"numgen":{"mode":"random","mod":100,"offset":0}},"right":20}},{"drop":null}]`)...),
			map[string]string{
				"listeners[tcp/0.0.0.0:22].verdict": `"unknown"`, "listeners[tcp/0.0.0.0:22].why": `"numgen random mod 100 \u003c 20"`,
				"listeners[tcp/0.0.0.0:22].blocked": `{"unreadable":"some rules cannot be decided beforehand"}`,
			},
		},
		{
			"chance that makes no difference",
			nftDumpOf(inputChain("drop", `[{"match":{"op":"<","left":{"numgen":{"mode":"random","mod":2,"offset":0}},"right":1}},{"reject":null}]`)...),
			map[string]string{"listeners[tcp/0.0.0.0:22].verdict": `"drop"`, "listeners[tcp/0.0.0.0:22].blocked": "true"},
		},
		{
			"an extension that nobody can show",
			nftDumpOf(inputChain("accept", `[{"xt":{"type":"match","name":"geoip"}},{"drop":null}]`)...),
			map[string]string{"listeners[tcp/0.0.0.0:22].verdict": `"unknown"`, "listeners[tcp/0.0.0.0:22].why": `"xt match geoip"`},
		},
		{
			"an unknown statement",
			nftDumpOf(inputChain("accept", `[{"teleport":{"to":"mars"}}]`)...),
			map[string]string{"listeners[tcp/0.0.0.0:22].verdict": `"unknown"`, "listeners[tcp/0.0.0.0:22].why": `"teleport"`},
		},
		{"cut short", "-- $ nft -j list ruleset --\n{\"nftables\": [{\"metainfo\"", map[string]string{"(reason)": "reading the output of nft"}},
		{"not permitted", "-- $ nft -j list ruleset [exit 1] --\n-- $ nft -j list ruleset [stderr] --\nOperation not permitted\n", map[string]string{"(reason)": "Operation not permitted"}},
		{
			"a chain that calls itself",
			nftDumpOf(append(inputChain("accept", `[{"jump":{"target":"a"}}]`),
				`{"chain":{"family":"inet","table":"filter","name":"a","handle":9}}`,
				`{"rule":{"family":"inet","table":"filter","chain":"a","handle":10,"expr":[{"jump":{"target":"a"}}]}}`)...),
			map[string]string{"listeners[tcp/0.0.0.0:22].verdict": `"unknown"`},
		},
		{
			"old iptables only", `-- /proc/net/ip_tables_names --
filter
-- $ iptables-save --
# Generated by iptables-save v1.4.21
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "let \"us\" in" -j ACCEPT
COMMIT
`,
			map[string]string{
				"front_end": `"iptables"`, "rules": "2", "listeners[tcp/0.0.0.0:22].verdict": `"pass"`, "listeners[tcp/0.0.0.0:80].verdict": `"drop"`,
				"listeners[tcp/[::]:80].verdict": `"pass"`,
			},
		},
		{
			"iptables-save cut short", "-- /proc/net/ip_tables_names --\nfilter\n-- $ iptables-save --\n*filter\n:INPUT DROP [0:0]\n",
			map[string]string{"(reason)": "ends within a table"},
		},
		{
			"ufw", nftDumpOf() + `-- /proc/net/ip_tables_names --
filter
-- $ iptables-legacy-save --
*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
:ufw-user-limit - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -m addrtype --dst-type LOCAL -j ufw-user-input
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --mask 255.255.255.255 --rsource
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 --name DEFAULT --mask 255.255.255.255 --rsource -j ufw-user-limit
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable
COMMIT
`,
			map[string]string{"front_end": `"ufw"`, "listeners[tcp/0.0.0.0:22].verdict": `"pass"`, "listeners[tcp/0.0.0.0:80].blocked": "true"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantFacts(t, Firewall, observe(t, Firewall, firewallHost+tt.rules), tt.want)
		})
	}
}

// TestFirewallAgainstTheKernel loads rules into a network namespace of its own, sends packets from another, and compares what became of
// them with what the probe says.
func TestFirewallAgainstTheKernel(t *testing.T) {
	for _, tool := range []string{"nft", "iptables-nft-restore", "iptables-legacy-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: apt-get install nftables iptables)", tool)
		}
	}
	nettest.Run(t, againstTheKernel)
}

// The two ends of the wire. The peer has several addresses, which stand for clients of several kinds.
var (
	hereV4, hereV6 = netip.MustParsePrefix("10.77.0.1/24"), netip.MustParsePrefix("fd77::1/64")
	peers          = []netip.Prefix{
		netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("10.77.0.3/24"), netip.MustParsePrefix("10.77.0.200/24"),
		netip.MustParsePrefix("fd77::2/64"), netip.MustParsePrefix("fd77::200/64"),
	}
	testPorts = []uint16{22, 80, 8080}
)

func againstTheKernel(t *testing.T) {
	peer := wire(t)
	for _, name := range []string{"ipv4.icmp_ratelimit", "ipv6.icmp.ratelimit"} { // or most rejections would be silent
		nettest.Sysctl(t, name, "0")
	}
	for _, port := range testPorts {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	echoUDP(t, 5353)
	compared, unknown := 0, 0
	run := func(name, tool, rules string) {
		t.Run(name, func(t *testing.T) {
			loadRules(t, tool, rules)
			c, u := compare(t, peer, rules)
			compared, unknown = compared+c, unknown+u
		})
	}
	for _, tt := range kernelCases {
		run(tt.name, tt.tool, tt.rules)
	}
	r := rand.New(rand.NewPCG(7, 50))
	for i := range 15 {
		run(fmt.Sprintf("random nft %d", i), "nft -f -", randomNft(r))
		run(fmt.Sprintf("random iptables %d", i), "iptables-nft-restore", randomIptables(r))
		run(fmt.Sprintf("random legacy %d", i), "iptables-legacy-restore", randomIptables(r))
	}
	t.Logf("%d packets compared, of which %d were unknown beforehand", compared, unknown)
	if compared < 500 || unknown*4 > compared {
		t.Error("too few packets were decided for the comparison to mean anything")
	}
}

// wire joins this namespace with a new one.
func wire(t *testing.T) nettest.Namespace {
	t.Helper()
	peer := nettest.New(t)
	nettest.Wire(t, "eth0", peer, "peer0", 1500)
	nettest.Up(t, "eth0", hereV4, hereV6)
	peer.Do(t, func() error { nettest.Up(t, "peer0", peers...); return nil })
	return peer
}

func echoUDP(t *testing.T, port int) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if _, err := conn.WriteToUDP([]byte("here"), from); err != nil { // an earlier answer was rejected
				continue
			}
		}
	}()
}

// loadRules puts rules in the place of all that were there.
func loadRules(t *testing.T, tool, rules string) {
	t.Helper()
	for _, clear := range []string{"nft flush ruleset", "iptables-legacy -F", "iptables-legacy -X", "iptables-legacy -P INPUT ACCEPT"} {
		words := strings.Fields(clear)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", clear, err, out)
		}
	}
	words := strings.Fields(tool)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", tool, err, out, rules)
	}
}

// compare asks the evaluator and the kernel about every combination of client and port.
func compare(t *testing.T, peer nettest.Namespace, text string) (compared, unknown int) {
	t.Helper()
	rules, _, err := readRules(t.Context(), &host.Local{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	type question struct {
		packet
		got  string
		fate fate
	}
	var questions []*question
	for _, p := range peers {
		dst := hereV4.Addr()
		if p.Addr().Is6() {
			dst = hereV6.Addr()
		}
		for _, port := range append(slices.Clone(testPorts), 5353) {
			q := &question{packet: packet{
				v6: p.Addr().Is6(), udp: port == 5353, src: p.Addr(), dst: dst, iif: "eth0", markKnown: true, sport: 50007, dport: int(port),
			}}
			fuel := ruleFuel
			q.fate = rules.follow(q.packet, &fuel)
			questions = append(questions, q)
		}
	}
	var all sync.WaitGroup
	for _, q := range questions {
		all.Go(func() {
			peer.Do(t, func() error {
				q.got = send(q.packet, 250*time.Millisecond)
				if q.got == "drop" && (q.fate.verdict == "reject" || q.fate.verdict == "pass") {
					// An ICMP error that arrives while the socket is still locked by connect(2) is only noted (LockDroppedIcmps). The
					// next SYN, a second later, meets the next error. And on a busy machine an answer may take longer.
					q.got = send(q.packet, 2500*time.Millisecond)
				}
				return nil
			})
		})
	}
	all.Wait()
	for _, q := range questions {
		compared++
		switch {
		case q.fate.verdict == "unknown":
			unknown++
		case q.fate.verdict != q.got:
			t.Errorf("%s %s → %d: the probe says %s by %q in %s, the kernel says %s\n%s", q.proto(), q.src, q.dport, q.fate.verdict, q.fate.rule, q.fate.chain, q.got, text)
		}
	}
	return compared, unknown
}

// sent counts packets, so that no source port comes twice: the kernel would take a second packet between the same two ports as one of
// the connection that an earlier rule set let through.
var sent atomic.Int32

// send sends the packet for real and reports what became of it.
func send(p packet, patience time.Duration) string {
	from := 50007 + int(sent.Add(1))
	to := netip.AddrPortFrom(p.dst, uint16(p.dport)).String()
	if p.udp {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.UDPAddr{IP: p.src.AsSlice(), Port: from}}
		c, err := d.Dial("udp", to)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		if err := errors.Join(c.SetDeadline(time.Now().Add(patience)), writeTo(c)); err != nil {
			return err.Error()
		}
		if _, err = c.Read(make([]byte, 16)); err == nil {
			return "pass"
		}
		return outcome(err)
	}
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: p.src.AsSlice(), Port: from}}
	c, err := d.Dial("tcp", to)
	if err == nil {
		c.Close()
		return "pass"
	}
	return outcome(err)
}

func writeTo(c net.Conn) error {
	_, err := c.Write([]byte("hello"))
	return err
}

func outcome(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "drop"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES):
		return "reject"
	default:
		return err.Error()
	}
}

var kernelCases = []struct{ name, tool, rules string }{
	{"nothing", "nft -f -", ""},
	{"policy", "nft -f -", "table inet f {\n chain i {\n type filter hook input priority 0; policy drop;\n ct state established,related accept\n meta l4proto ipv6-icmp accept\n tcp dport 22 accept\n }\n}\n"},
	{"sets", "nft -f -", `table inet f {
 set nets {
  type ipv4_addr
  flags interval
  elements = { 10.77.0.2, 10.77.0.128/25, 10.1.0.0-10.1.0.9 }
 }
 set pairs {
  type ipv4_addr . inet_service
  flags interval
  elements = { 10.77.0.0/28 . 80-81 }
 }
 chain i {
  type filter hook input priority 0; policy drop;
  meta l4proto { ipv6-icmp } accept
  ip saddr @nets tcp dport { 22, 8000-8100 } accept
  ip saddr . tcp dport @pairs reject with tcp reset
  ip6 saddr fd77::/127 drop
  ip6 saddr { fd77::2, fd77::100-fd77::1ff } tcp dport != 80 accept
  udp dport 5000-6000 accept
 }
}
`},
	{"verdict maps, jumps and returns", "nft -f -", `table inet f {
 map ports {
  type inet_service : verdict
  elements = { 22 : jump ssh, 80 : goto web, 8080 : drop }
 }
 chain ssh {
  ip saddr 10.77.0.3 return
  ip saddr 10.77.0.2 accept
  ip6 saddr fd77::2 drop
 }
 chain web {
  meta nfproto ipv6 reject with icmpv6 admin-prohibited
  ip saddr 10.77.0.200 accept
 }
 chain i {
  type filter hook input priority 0; policy accept;
  meta l4proto ipv6-icmp accept
  ct state vmap { established : accept, invalid : drop }
  tcp dport vmap @ports
  tcp dport 22 reject with tcp reset
  tcp dport 80 drop
  meta l4proto vmap { udp : jump web }
 }
}
`},
	{"several base chains and marks", "nft -f -", `table inet a {
 chain pre {
  type filter hook prerouting priority -150; policy accept;
  ip saddr 10.77.0.3 meta mark set 0x11
  ip6 saddr fd77::200 tcp dport 22 drop
 }
 chain late {
  type filter hook input priority 10; policy accept;
  tcp dport 80 drop
 }
}
table ip b {
 chain i {
  type filter hook input priority 0; policy accept;
  meta mark & 0xf == 0x1 tcp dport 22 drop
  tcp dport 80 accept
  meta mark 0x11 udp dport 5353 reject
 }
}
`},
	{"interfaces, types and flags", "nft -f -", `table inet f {
 chain i {
  type filter hook input priority 0; policy drop;
  meta l4proto ipv6-icmp accept
  iif lo accept
  iifname "lo*" accept
  iifname "eth*" fib daddr type local tcp flags & (fin|syn|rst|ack) == syn tcp dport 22 accept
  iifname != "eth0" drop
  fib saddr . iif oif missing drop
  meta pkttype host ip protocol tcp tcp dport 80 counter accept
  limit rate over 100000/second burst 1000 packets drop
  ct state new ct direction original th dport 8080 limit rate 100/second burst 100 packets log prefix "x" accept
  ct count over 500 drop
  tcp flags != syn drop
  udp sport 1024-65535 udp dport 5353 reject with icmpx admin-prohibited
 }
}
`},
	{"translation", "nft -f -", `table inet f {
 chain pre {
  type nat hook prerouting priority -100; policy accept;
  tcp dport 8080 redirect to :22
 }
 chain raw {
  type filter hook prerouting priority -300; policy accept;
  ip saddr 10.77.0.200 tcp dport 80 notrack
 }
 chain i {
  type filter hook input priority 0; policy drop;
  meta l4proto ipv6-icmp accept
  ct state established accept
  ct status dnat accept
  ct state untracked accept
  ip saddr 10.77.0.200 tcp sport 80 accept
 }
}
`},
	{"iptables extensions", "iptables-nft-restore", `*filter
:INPUT DROP [0:0]
:web - [0:0]
:web2 - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,8000:8100 -j web
-A INPUT -s 10.77.0.0/25 ! -i lo -p tcp --syn -m tcp --dport 22 -m limit --limit 100/sec --limit-burst 100 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "no more \"ssh\"" -j REJECT --reject-with tcp-reset
-A INPUT -p udp -m iprange --src-range 10.77.0.3-10.77.0.9 -m addrtype --dst-type LOCAL -j REJECT
-A INPUT -p udp -m udp --dport 5000:6000 -m mark --mark 0x0/0xff -j ACCEPT
-A web ! -s 10.77.0.2/32 -g web2
-A web -j ACCEPT
-A web2 -s 10.77.0.3 -j RETURN
-A web2 -j REJECT
COMMIT
`},
}

// randomNft makes a rule set of chains that jump to later ones.
func randomNft(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	any := func() string {
		return pick("", "", "ip saddr 10.77.0.2", "ip saddr != 10.77.0.3", "ip saddr 10.77.0.0/30", "ip saddr { 10.77.0.3, 10.77.0.100-10.77.0.255 }",
			"iifname \"eth0\"", "iifname \"lo\"", "ct state new", "ct state established,related", "meta mark 0x5", "meta mark set 0x5",
			"ip daddr 10.77.0.1", "numgen random mod 2 < 1", "fib daddr type local", "counter", "limit rate 1000/second burst 1000 packets")
	}
	port := func() string {
		return pick("", "", "tcp dport 22", "tcp dport { 80, 8000-9000 }", "tcp dport != 80", "tcp dport < 1024", "udp dport 5353", "meta l4proto tcp",
			"meta l4proto { tcp, udp } th dport 1-1000", "tcp dport vmap { 22 : accept, 80 : drop, * : return }", "ip6 saddr fd77::200", "meta nfproto ipv4",
			"ip saddr . tcp dport { 10.77.0.2 . 22, 10.77.0.3 . 80 }")
	}
	var b strings.Builder
	b.WriteString("table inet f {\n")
	const chains = 4
	for c := chains; c >= 0; c-- {
		if c > 0 {
			fmt.Fprintf(&b, " chain c%d {\n", c)
		} else {
			fmt.Fprintf(&b, " chain i {\n  type filter hook input priority 0; policy %s;\n  meta l4proto ipv6-icmp accept\n  ct state established accept\n", pick("accept", "drop"))
		}
		for range 1 + r.IntN(4) {
			verdict := pick("accept", "drop", "reject", "reject with icmpx port-unreachable", "return", "continue", "")
			if c < chains && r.IntN(3) == 0 {
				verdict = fmt.Sprintf("%s c%d", pick("jump", "goto"), c+1+r.IntN(chains-c))
			}
			first, second := any(), port()
			switch {
			case strings.Contains(second, "vmap"):
				verdict = ""
			case second == "ip6 saddr fd77::200", second == "meta nfproto ipv4": // another match of a family would contradict it
				first = ""
			case strings.TrimSpace(first+second+verdict) == "":
				continue
			}
			fmt.Fprintf(&b, "  %s %s %s\n", first, second, verdict)
		}
		b.WriteString(" }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func randomIptables(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	fmt.Fprintf(&b, "*filter\n:INPUT %s [0:0]\n:c1 - [0:0]\n:c2 - [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n", pick("ACCEPT", "DROP"))
	for c, name := range []string{"INPUT", "c1", "c2"} {
		for range 1 + r.IntN(4) {
			target := pick("-j ACCEPT", "-j DROP", "-j REJECT", "-j RETURN", "", "-j MARK --set-xmark 0x5/0xff")
			if next := []string{"c1", "c2", ""}[c]; next != "" && r.IntN(2) == 0 {
				target = pick("-j ", "-g ") + next
			}
			fmt.Fprintf(&b, "-A %s %s %s %s\n", name,
				pick("", "-s 10.77.0.2/32", "! -s 10.77.0.0/30", "-d 10.77.0.1/32", "-i eth0", "! -i lo", "-i eth+"),
				pick("", "-p tcp -m tcp --dport 22", "-p tcp -m tcp --dport 80:9000", "-p tcp -m multiport --dports 22,80", "-p udp", "-p tcp -m tcp ! --dport 22", "-p tcp --syn",
					"-m mark --mark 0x5/0xff", "-m conntrack --ctstate NEW", "-m conntrack ! --ctstate NEW", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", "-m pkttype --pkt-type unicast",
					"-m limit --limit 1000/sec --limit-burst 1000", "-m iprange --src-range 10.77.0.1-10.77.0.2"),
				target)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

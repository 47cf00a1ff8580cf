package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Firewall works out which listening ports the host's own rules let clients reach.
var Firewall = probes.Define(probes.Probe[host.Host]{
	Name: "firewall",
	Doc: `Firewall rules, evaluated for listening ports

Walks the first packet of a new connection (or a datagram) to every listening port through the rules of nftables and both kinds of iptables,
from the ingress hook to the input hook, as the kernel would: sets, maps, jumps, marks, translation and policies; then the answer out and a further packet in. Nothing is sent. It asks for
a client on the Internet; if that one is blocked, also for clients of private networks, of the host's own networks and of up to 64 addresses
that rules name, on every interface that leads out. Costs a run of nft (5 ms), and of iptables-save and ipset where rules need them. Ports that only
loopback can reach are left out. The other way, it walks root's questions to the name servers, and what a host asks for besides, through the
output and postrouting hooks, and the answer back in; and what containers on a bridge ask of others through the forward hook. The host's own connections over loopback are walked as well. It does not see eBPF and tc filters, ipsets of other than addresses, or the cloud's security group.`,
	Needs: probes.Root,
	Every: time.Minute,
}, firewall)

type firewallFacts struct {
	FrontEnd   string                      `fact:"front_end" doc:"Who manages the rules: \"firewalld\", \"ufw\", \"nftables\", \"iptables\" or \"none\""`
	Rules      int                         `fact:"rules" unit:"count" doc:"Rules in all tables"`
	Masquerade bool                        `fact:"masquerade" doc:"Some rule hides other hosts, such as containers, behind an address of this one: masquerade or snat"`
	Listeners  probes.Cut[firewallVerdict] `fact:"listeners" doc:"Listening ports of addresses that others can reach"`
	BothKinds  bool                        `fact:"iptables_both" doc:"Rules stand in the kernel's old tables (iptables-legacy) and in those that iptables makes in nftables, so that each tool shows a part of them"`
	Partial    []partialDrop               `fact:"partial" doc:"Rules that drop or reject some packets of connections to a listening port: by chance, above a rate or a number of connections, or by their content; at most 16"`
	Bridges    []bridgeVerdict             `fact:"bridges" doc:"Bridges with an IPv4 network and something on it, such as containers: may those reach others?"`
	Local      probes.Cut[localVerdict]    `fact:"local" doc:"TCP ports, as this host's own programs reach them over loopback by IPv4"`
	Outgoing   []outgoingVerdict           `fact:"outgoing" doc:"What this host asks of others: its name servers, the cloud's metadata, and a time and a web server on the Internet"`
}

type outgoingVerdict struct {
	Flow    string             `fact:"flow,key" doc:"Protocol, address and port: udp/100.100.2.136:53"`
	Role    string             `fact:"role" doc:"resolver, metadata, time or web"`
	Server  string             `fact:"server" doc:"The address"`
	Verdict string             `fact:"verdict" doc:"What becomes of root's packet: pass, drop, reject or unknown"`
	Answer  string             `fact:"answer" doc:"What becomes of the answer: pass, drop, reject, unknown, or lost: a rule gives the question a source that is no address of this host"`
	Blocked probes.Opt[bool]   `fact:"blocked" doc:"The question or its answer is stopped"`
	Others  probes.Opt[bool]   `fact:"blocked_for_others" doc:"Root's question and the answer pass, and that of an ordinary account is stopped; absent if both fare alike"`
	Rule    probes.Opt[string] `fact:"rule" doc:"The rule that stops it, or policy; absent if none does"`
	Chain   probes.Opt[string] `fact:"chain" doc:"The chain of that rule: family, table and name"`
	MovedTo probes.Opt[string] `fact:"moved_to" doc:"Where a rule sends it instead: 127.0.0.1:1053; absent if it goes where it is sent"`
	MovedBy probes.Opt[string] `fact:"moved_by" doc:"The rule that does"`
	Dead    probes.Opt[bool]   `fact:"moved_to_nobody" doc:"That is a port of this host on which nobody listens; absent if it is another host, or not moved"`
}

type firewallVerdict struct {
	Socket   string             `fact:"socket,key" doc:"Protocol, address and port: \"tcp/0.0.0.0:22\". A socket that serves both families is here once for each that the host has an address of"`
	Protocol string             `fact:"protocol" doc:"\"tcp\" or \"udp\""`
	Port     int                `fact:"port" unit:"port" doc:"The port"`
	Family   int                `fact:"family" unit:"code" doc:"The clients' family: 4 or 6"`
	Verdict  string             `fact:"verdict" doc:"What becomes of a client on the Internet: \"pass\", \"drop\", \"reject\" or \"unknown\""`
	Blocked  probes.Opt[bool]   `fact:"blocked" doc:"None of the clients tried gets through, from wherever and on whatever interface"`
	OpenTo   probes.Opt[string] `fact:"open_to" doc:"A client that gets through where one on the Internet does not; absent if none does, or all do"`
	Rule     probes.Opt[string] `fact:"rule" doc:"The rule that decided for a client on the Internet, or \"policy\"; absent if no rule looks at it"`
	Chain    probes.Opt[string] `fact:"chain" doc:"The chain of that rule: family, table and name"`
	Why      probes.Opt[string] `fact:"why" doc:"With \"unknown\": the expression that it hangs on"`
	MovedTo  probes.Opt[int]    `fact:"moved_to" unit:"port" doc:"The port of this host to which a rule sends a client on the Internet instead; absent if none does"`
	MovedBy  probes.Opt[string] `fact:"moved_by" doc:"That rule"`
	Dead     probes.Opt[bool]   `fact:"moved_to_nobody" doc:"Nobody listens on the port to which it is sent; absent if it is not sent elsewhere"`
}

// maxListeners bounds the list: a host with more open ports is a proxy whose ports are all treated alike.
const maxListeners = 512

// ruleFuel is how many rules one run looks at: some 50 ms, and 25 ports on a host with 20,000 rules.
const ruleFuel = 500_000

func firewall(ctx context.Context, h host.Host) (firewallFacts, error) {
	rules, frontEnd, err := sharedRules(ctx, h)
	if err != nil {
		return firewallFacts{}, err
	}
	ways, err := readWaysIn(ctx, h)
	if err != nil {
		return firewallFacts{}, err
	}
	served, err := servedSockets(ctx, h)
	if err != nil {
		return firewallFacts{}, err
	}
	sockets := reachableSockets(served, ways)
	f := firewallFacts{FrontEnd: frontEnd, Rules: rules.rules, Masquerade: rules.masquerades, BothKinds: rules.bothKinds()}
	fuel := ruleFuel
	if f.Outgoing, err = judgeOutgoing(ctx, h, rules, served, &fuel); err != nil {
		return firewallFacts{}, err
	}
	if f.Bridges, err = judgeBridges(ctx, h, rules, &fuel); err != nil {
		return firewallFacts{}, err
	}
	for i, s := range sockets {
		if i == maxListeners {
			f.Listeners.More = len(sockets) - i
			break
		}
		f.Listeners.All = append(f.Listeners.All, judgeSocket(rules, ways, s, served, &fuel))
	}
	f.Partial = judgePartial(rules, ways, sockets, &fuel)
	f.Local = judgeLocal(rules, served, &fuel)
	return f, nil
}

// listener is a socket as clients of one family see it.
type listener struct {
	udp bool
	at  netip.AddrPort
}

func (l listener) key() string {
	if l.udp {
		return "udp/" + l.at.String()
	}
	return "tcp/" + l.at.String()
}

// servedSockets lists every listener, of loopback too.
func servedSockets(ctx context.Context, h host.Host) ([]listener, error) {
	var list []listener
	for _, udp := range []bool{false, true} {
		q := host.SocketQuery{UDP: udp, States: 1 << host.TCPListen}
		if udp {
			q.States = 1 << host.TCPClose // a UDP socket without a peer
		}
		err := h.Sockets(ctx, q, func(s *host.Socket) error {
			if s.Remote.IsValid() && s.Remote.Port() != 0 || s.Local.Port() == 0 {
				return nil
			}
			at := netip.AddrPortFrom(s.Local.Addr().Unmap().WithZone(""), s.Local.Port())
			list = append(list, listener{udp, at})
			if s.V6 && !s.V6Only && at.Addr().IsUnspecified() {
				list = append(list, listener{udp, netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// reachableSockets are those that something other than this host could reach.
func reachableSockets(served []listener, ways []wayIn) []listener {
	var list []listener
	for _, l := range served {
		if !l.at.Addr().IsLoopback() && len(waysTo(ways, l.at.Addr())) > 0 && !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b listener) int { return strings.Compare(a.key(), b.key()) })
	return list
}

// answersAt reports whether some listener takes what is sent to an address of this host.
func answersAt(served []listener, udp bool, to netip.AddrPort) bool {
	return slices.ContainsFunc(served, func(l listener) bool {
		return l.udp == udp && l.at.Port() == to.Port() && (l.at.Addr() == to.Addr() || l.at.Addr().IsUnspecified() && l.at.Addr().Is4() == to.Addr().Is4())
	})
}

// wayIn is an address on an interface that leads to other hosts.
type wayIn struct {
	iif  string
	addr netip.Prefix
	main bool // the default route goes there
}

func waysTo(ways []wayIn, a netip.Addr) []wayIn {
	var to []wayIn
	for _, w := range ways {
		if w.addr.Addr() == a || a.IsUnspecified() && w.addr.Addr().Is4() == a.Is4() {
			to = append(to, w)
		}
	}
	return to
}

// readWaysIn lists the interfaces by which clients come, that of the default route first. Bridges and veth pairs without a gateway
// behind them lead to this host's own containers, whose packets say nothing of the world's.
func readWaysIn(ctx context.Context, h host.Host) ([]wayIn, error) {
	links, err := h.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	addrs, err := h.Addrs(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	gateways, defaults := map[int]bool{}, map[int]bool{}
	err = h.Routes(ctx, func(r *host.Route) error {
		if r.Gateway.IsValid() {
			gateways[r.Link] = true
			defaults[r.Link] = defaults[r.Link] || r.Dst.Bits() == 0
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var ways []wayIn
	for _, a := range addrs {
		i := slices.IndexFunc(links, func(l host.Link) bool { return l.Index == a.Link })
		if i < 0 || a.Prefix.Addr().IsLoopback() || a.Prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		if kind := links[i].Kind; (kind == "bridge" || kind == "veth" || kind == "dummy") && !gateways[a.Link] {
			continue
		}
		ways = append(ways, wayIn{links[i].Name, a.Prefix, defaults[a.Link]})
	}
	slices.SortStableFunc(ways, func(a, b wayIn) int {
		return cmp.Compare(map[bool]int{true: 0, false: 1}[a.main], map[bool]int{true: 0, false: 1}[b.main])
	})
	return ways, nil
}

// strangers are addresses on the Internet, and residents those of private networks, that an administrator is unlikely to have named.
var (
	strangers = map[bool]netip.Addr{false: netip.MustParseAddr("93.184.215.14"), true: netip.MustParseAddr("2606:2800:21f:cb07::e")}
	residents = map[bool][]netip.Addr{
		false: {netip.MustParseAddr("10.201.17.33"), netip.MustParseAddr("172.27.91.14"), netip.MustParseAddr("192.168.217.46")},
		true:  {netip.MustParseAddr("fd5e:83a1:9c04::1d")},
	}
)

// judgeSocket finds out who may reach a listener.
func judgeSocket(rules *ruleset, ways []wayIn, l listener, served []listener, fuel *int) firewallVerdict {
	v6 := l.at.Addr().Is6()
	to := waysTo(ways, l.at.Addr())
	ask := func(w wayIn, src netip.Addr) fate {
		return rules.comeIn(packet{
			v6: v6, udp: l.udp, src: src, dst: w.addr.Addr(), iif: w.iif, markKnown: true,
			sport: 50007, dport: int(l.at.Port()), // a port out of every system's ephemeral range
		}, fuel)
	}
	first := ask(to[0], strangers[v6])
	v := firewallVerdict{Socket: l.key(), Protocol: "tcp", Port: int(l.at.Port()), Family: 4, Verdict: first.verdict}
	if v6 {
		v.Family = 6
	}
	if l.udp {
		v.Protocol = "udp"
	}
	if first.rule != "" {
		v.Rule, v.Chain = probes.Some(first.rule), probes.Some(first.chain)
	}
	if first.moved != nil && first.verdict == "pass" {
		v.MovedTo, v.MovedBy = probes.Some(int(first.to.Port())), probes.Some(first.moved.rule)
		v.Dead = probes.Some(!answersAt(served, l.udp, first.to))
	}
	switch first.verdict {
	case "pass":
		v.Blocked = probes.Some(false)
		return v
	case "unknown":
		v.Why = probes.Some(first.why)
	}
	undecided := first.verdict == "unknown"
	for _, w := range to {
		for _, src := range append(append([]netip.Addr{strangers[v6]}, residents[v6]...), append(neighboursOf(w), rules.peers...)...) {
			if src.Is6() != v6 || src == w.addr.Addr() {
				continue
			}
			switch f := ask(w, src); f.verdict {
			case "pass":
				v.Blocked = probes.Some(false)
				v.OpenTo = probes.Some(fmt.Sprintf("%s on %s", src, w.iif))
				return v
			case "unknown":
				undecided = true
			}
		}
	}
	if undecided {
		v.Blocked = probes.Unread[bool]("some rules cannot be decided beforehand")
	} else {
		v.Blocked = probes.Some(true)
	}
	return v
}

// neighboursOf is a client in the interface's own network.
func neighboursOf(w wayIn) []netip.Addr {
	a := w.addr.Addr().Next()
	if !w.addr.Contains(a) || !w.addr.Contains(a.Next()) { // not the broadcast address
		a = w.addr.Addr().Prev()
	}
	if !a.IsValid() || !w.addr.Contains(a) {
		return nil
	}
	return []netip.Addr{a}
}

// errNoFirewall says that nobody can have made rules.
var errNoFirewall = probes.NoData("no firewall tool is installed: neither nft nor iptables-save")

// sharedRules reads the rules once for all probes of a run.
func sharedRules(ctx context.Context, h host.Host) (*ruleset, string, error) {
	type answer struct {
		rules    *ruleset
		frontEnd string
	}
	a, err := probes.Share(ctx, "firewall rules", func() (answer, error) {
		rules, frontEnd, err := readRules(ctx, h)
		return answer{rules, frontEnd}, err
	})
	return a.rules, a.frontEnd, err
}

// readRules reads the rules of whatever is in use, in the order in which a packet meets them, and says who manages them.
func readRules(ctx context.Context, h host.Host) (*ruleset, string, error) {
	legacy, err := legacyTables(h)
	if err != nil {
		return nil, "", err
	}
	rules, err := nftRules(ctx, h)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(legacy) == 0:
		return nil, "", errNoFirewall
	case errors.Is(err, fs.ErrNotExist):
		rules = &ruleset{}
	case err != nil:
		return nil, "", err
	}
	for family := range legacy {
		data, err := iptablesSave(ctx, h, family, "legacy-save", "save")
		if err != nil {
			return nil, "", err
		}
		if err := rules.addIptables(data, family, "legacy ", func(string) bool { return true }); err != nil {
			return nil, "", err
		}
	}
	rules.sort()
	if rules.asksIPSets() {
		rules.ipsets = readIPSets(ctx, h)
	}
	return rules, frontEnd(rules), nil
}

// legacyTables says for which families the old tables are in use. The files are there once the module is.
func legacyTables(h host.Host) (map[string]bool, error) {
	used := map[string]bool{}
	for family, file := range map[string]string{"ip": "/proc/net/ip_tables_names", "ip6": "/proc/net/ip6_tables_names"} {
		b, err := h.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if len(b) > 0 {
			used[family] = true
		}
	}
	return used, nil
}

// nftRules reads nftables' rules. Tables that iptables made there, with extensions that nft cannot show, are read from
// iptables-save; so are all of them where nft is not installed.
func nftRules(ctx context.Context, h host.Host) (*ruleset, error) {
	out, err := h.Run(ctx, "nft", "-j", "list", "ruleset")
	if errors.Is(err, fs.ErrNotExist) {
		rules := &ruleset{}
		for _, family := range []string{"ip", "ip6"} {
			if err := rules.replaceTables(ctx, h, family, func(string) bool { return true }); err != nil {
				return nil, err
			}
		}
		return rules, nil
	}
	if err != nil {
		return nil, err
	}
	if out.Exit != 0 {
		return nil, fmt.Errorf("nft list ruleset ended with status %d: %.200s", out.Exit, strings.TrimSpace(string(out.Stderr)))
	}
	n, err := parseNft(out.Stdout)
	if err != nil {
		return nil, err
	}
	for _, family := range []string{"ip", "ip6"} {
		foreign := func(table string) bool { return n.foreign[family+" "+table] }
		if !slices.ContainsFunc([]string{"raw", "mangle", "nat", "filter", "security"}, foreign) {
			continue
		}
		if err := n.replaceTables(ctx, h, family, foreign); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return &n.ruleset, nil
}

// replaceTables puts what iptables-save says of some tables in the place of what was known of them.
func (r *ruleset) replaceTables(ctx context.Context, h host.Host, family string, which func(table string) bool) error {
	data, err := iptablesSave(ctx, h, family, "nft-save", "save")
	if err != nil {
		return err
	}
	shown := maps.Clone(r.called)
	for _, c := range r.called {
		if c.family == family && which(c.table) {
			r.rules -= len(c.rules)
		}
	}
	for _, chains := range []*[]*chain{&r.base, &r.out, &r.through} {
		*chains = slices.DeleteFunc(*chains, func(c *chain) bool { return c.family == family && which(c.table) })
	}
	if err := r.addIptables(data, family, "", which); err != nil {
		return err
	}
	for key, c := range r.called { // iptables-save shows no counters
		old := shown[key]
		if old == nil || old == c || len(old.rules) != len(c.rules) {
			continue
		}
		for i := range c.rules {
			c.rules[i].packets = old.rules[i].packets
		}
	}
	return nil
}

// iptablesSave runs the first of the named programs that is installed.
func iptablesSave(ctx context.Context, h host.Host, family string, names ...string) ([]byte, error) {
	prefix := map[string]string{"ip": "iptables-", "ip6": "ip6tables-"}[family]
	var err error
	for _, name := range names {
		var out host.Output
		if out, err = h.Run(ctx, prefix+name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && out.Exit != 0 {
			err = fmt.Errorf("%s ended with status %d: %.200s", prefix+name, out.Exit, strings.TrimSpace(string(out.Stderr)))
		}
		return out.Stdout, err
	}
	return nil, err
}

// bothKinds tells that both kinds of iptables have rules.
func (r *ruleset) bothKinds() bool {
	var legacy, modern bool
	for _, c := range r.called {
		if len(c.rules) == 0 || c.family != "ip" && c.family != "ip6" {
			continue
		}
		if strings.HasPrefix(c.table, "legacy ") {
			legacy = true
		} else if _, builtin := iptablesHooks[c.table+" "+c.name]; builtin {
			modern = true
		}
	}
	return legacy && modern
}

// frontEnd recognises who manages the rules by the names that it gives its tables and chains.
func frontEnd(r *ruleset) string {
	builtin := []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
	iptables := map[string]bool{} // tables that iptables made
	for _, c := range r.called {
		switch {
		case c.table == "firewalld" || c.name == "INPUT_ZONES":
			return "firewalld"
		case strings.HasPrefix(c.name, "ufw-") || strings.HasPrefix(c.name, "ufw6-"):
			return "ufw"
		case slices.Contains(builtin, c.name):
			iptables[c.family+c.table] = true
		}
	}
	end := "none"
	for _, c := range r.called {
		if len(c.rules) == 0 && c.policy != drop {
			continue
		}
		if !iptables[c.family+c.table] {
			return "nftables"
		}
		end = "iptables"
	}
	return end
}

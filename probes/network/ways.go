package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Ways follows what this host sends to those that it needs through its rules and tables, and looks where it ends.
var Ways = probes.Define(probes.Probe[host.Host]{
	Name: "ways",
	Doc: `Ways other than the default route

Where rules or routes beside the usual ones stand, follows packets from this host's IPv4 addresses through them as ip-rule(8) describes it: to the Internet, the name
servers, the metadata service, the time servers, and up to 64 addresses with which it has connections, opens them, or which stand at the end of a web server's access log. A way that is not the default
route of the table main is tried: its gateway by ping, address resolution and TCP; an address that is said to be on the wire, or this host's own, likewise. Rules that look at marks, ports,
users or tunnels are not told apart by the kernel's list; where a rule without a source is said to decide, the kernel must agree. Costs 0.1 ms where there is nothing beside the usual; else 1 ms, and at most
1.4 s of waiting.`,
	Needs:   probes.Network,
	Every:   time.Minute,
	Timeout: 3 * time.Second,
}, ways)

type waysFacts struct {
	List []wayFacts `fact:"list" doc:"The ways that something takes, other than the default route and the networks at its interfaces"`
}

type wayFacts struct {
	Way       string             `fact:"way,key" doc:"As ip route writes it, after the rule that chose the table, if that is not the usual one: from 192.0.2.7 lookup 100, default via 192.0.2.1 dev eth0"`
	Rule      probes.Opt[string] `fact:"rule" doc:"The rule: 1000: from 192.0.2.7 lookup 100; absent for the table main's"`
	Table     int                `fact:"table" unit:"number" doc:"The table; 254 is main, 255 local, 0 for a rule that discards"`
	Type      string             `fact:"type" doc:"unicast; blackhole, unreachable or prohibit; local: it is taken for this host's own; none: the tables have no way at all"`
	Gateway   probes.Opt[string] `fact:"gateway" doc:"The next hop; absent without one"`
	Interface probes.Opt[string] `fact:"interface" doc:"The interface it leaves by; absent without one"`
	From      string             `fact:"from" doc:"The address of this host whose packets take it"`
	For       []string           `fact:"for" doc:"To whom: addresses, and the Internet"`
	Roles     []string           `fact:"roles" doc:"What those are: internet, resolver, metadata, time, peer"`
	Main      bool               `fact:"main_address" doc:"from is the address of the default route"`
	Dead      probes.Opt[bool]   `fact:"dead" doc:"It ends nowhere: it discards, or its next hop cannot be resolved or is silent to all; unreadable if that cannot be told"`
	Why       probes.Opt[string] `fact:"why" doc:"What came of trying it; absent if it answers"`
}

const (
	mainTable, localTable = 254, 255

	maxPeers = 64
	maxWays  = 8
	logTail  = 8 << 10
)

// internet is an address that no host's routes name.
var internet = netip.MustParseAddr("93.184.215.14")

// serviceNetwork is where the cloud has its own services, which is no network at an interface.
var serviceNetwork = netip.MustParsePrefix("100.64.0.0/10")

// accessLogs end with those who came last.
var accessLogs = []string{"/var/log/nginx/access.log", "/var/log/apache2/access.log", "/var/log/httpd/access_log"}

var firstAddress = regexp.MustCompile(`(?m)^([0-9.]{7,15}) `)

// tables is the routing of a host, as far as it matters here.
type tables struct {
	links   map[int]host.Link
	addrs   []host.Addr
	rules   []host.Rule
	targets []Target
	best    map[int]map[netip.Addr]host.Route // by table and target
	plain   host.Route                        // the default route of the table main
	odd     bool                              // something is there beside the usual
}

func ways(ctx context.Context, h host.Host) (waysFacts, error) {
	t := tables{links: map[int]host.Link{}, best: map[int]map[netip.Addr]host.Route{}}
	if err := t.read(ctx, h); err != nil {
		return waysFacts{}, err
	}
	if !t.odd {
		return waysFacts{}, probes.NoData("no rule and no route stands beside the usual ones")
	}
	f, hops, err := t.follow(ctx, h)
	if err != nil {
		return f, err
	}
	var all sync.WaitGroup
	for i := range f.List {
		all.Go(func() { f.List[i].try(ctx, h, hops[i]) })
	}
	all.Wait()
	return f, nil
}

// read lists what there is, and finds for each target the best route of each table.
func (t *tables) read(ctx context.Context, h host.Host) error {
	links, err := h.Links(ctx)
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	for _, l := range links {
		t.links[l.Index] = l
	}
	if t.addrs, err = h.Addrs(ctx); err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	rules, err := h.Rules(ctx)
	if err != nil {
		return fmt.Errorf("listing rules: %w", err)
	}
	for _, r := range rules {
		if r.Family == 4 {
			t.rules = append(t.rules, r)
			t.odd = t.odd || r.Priority != 0 && r.Priority < 32766
		}
	}
	slices.SortStableFunc(t.rules, func(a, b host.Rule) int { return a.Priority - b.Priority })
	special := t.odd
	err = h.Routes(ctx, func(r *host.Route) error {
		special = special || r.Dst.Addr().Is4() && r.Dst.Bits() > 0 && r.Table != localTable && r.Protocol != "kernel"
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	if t.targets, err = t.listTargets(ctx, h, special); err != nil {
		return err
	}
	if err := h.Routes(ctx, t.take); err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	return nil
}

// take notes a route if it is the best of its table for a target: the longest prefix, then the least metric.
func (t *tables) take(r *host.Route) error {
	if !r.Dst.Addr().Is4() || r.Dead || r.Type == "broadcast" || r.Type == "multicast" {
		return nil
	}
	if r.Table == mainTable && r.Dst.Bits() == 0 && r.Type == "unicast" && (!t.plain.Dst.IsValid() || r.Metric < t.plain.Metric) {
		t.plain = *r
	}
	for _, to := range t.targets {
		if !r.Dst.Contains(to.Addr) {
			continue
		}
		if r.Table == localTable || r.Dst.Bits() > 0 && (r.Protocol != "kernel" || serviceNetwork.Contains(to.Addr)) {
			t.odd = true
		}
		in := t.best[r.Table]
		if in == nil {
			in = map[netip.Addr]host.Route{}
			t.best[r.Table] = in
		}
		if old, ok := in[to.Addr]; !ok || r.Dst.Bits() > old.Dst.Bits() || r.Dst.Bits() == old.Dst.Bits() && r.Metric < old.Metric {
			in[to.Addr] = *r
		}
	}
	return nil
}

// listTargets lists whom this host needs to reach. The time servers' names are looked up only where something special could be about them.
func (t *tables) listTargets(ctx context.Context, h host.Host, special bool) ([]Target, error) {
	targets := []Target{{internet, "internet"}}
	add := func(a netip.Addr, role string) {
		a = a.Unmap()
		if a.Is4() && !a.IsLoopback() && !a.IsUnspecified() && len(targets) < maxPeers && !slices.ContainsFunc(targets, func(o Target) bool { return o.Addr == a }) {
			targets = append(targets, Target{a, role})
		}
	}
	for _, file := range []string{resolvConf, resolvedUpstreams} {
		text, err := readIfThere(h, file)
		if err != nil {
			return nil, err
		}
		for _, a := range parseResolvConf(text, &resolversFacts{}) {
			add(a, "resolver")
		}
	}
	here, err := onAlibaba(h)
	if err != nil {
		return nil, err
	}
	if here {
		add(netip.MustParseAddr(metadataAddress), "metadata")
	}
	if special {
		servers, err := ntpServers(h)
		if err != nil {
			return nil, err
		}
		for _, name := range servers {
			if a, err := addressOf(ctx, h, name); err == nil && a.IsValid() {
				add(a, "time")
			}
		}
	}
	for _, log := range accessLogs {
		text, err := h.ReadTail(log, logTail)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, host.ErrNotCaptured) {
			return nil, err
		}
		for _, m := range firstAddress.FindAllStringSubmatch(string(text), -1) {
			if a, err := netip.ParseAddr(m[1]); err == nil && !t.own(a) {
				add(a, "peer")
			}
		}
	}
	const open = 1<<host.TCPEstablished | 1<<host.TCPSynSent | 1<<host.TCPSynRecv | 1<<host.TCPFinWait1 | 1<<host.TCPLastAck
	err = h.Sockets(ctx, host.SocketQuery{States: open}, func(s *host.Socket) error {
		if !t.own(s.Remote.Addr()) {
			add(s.Remote.Addr(), "peer")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing connections: %w", err)
	}
	return targets, nil
}

func (t *tables) own(a netip.Addr) bool {
	return slices.ContainsFunc(t.addrs, func(o host.Addr) bool { return o.Prefix.Addr() == a })
}

// sources are this host's addresses at interfaces that lead out, that of the default route first.
func (t *tables) sources() []host.Addr {
	var list []host.Addr
	for _, a := range t.addrs {
		l := t.links[a.Link]
		leads := slices.Contains([]string{"", "veth", "bond", "team", "vlan", "macvlan", "ipvlan"}, l.Kind) && l.Flags&flagLoopback == 0
		if a.Prefix.Addr().Is4() && a.Scope == "global" && leads && l.Flags&flagUp != 0 && (l.Kind != "veth" || a.Link == t.plain.Link) {
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, func(a, b host.Addr) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.Link == t.plain.Link] - rank[b.Link == t.plain.Link]
	})
	return list
}

const flagUp, flagLoopback = 1, 1 << 3 // IFF_UP, IFF_LOOPBACK

// follow lists the ways that are not the usual one, and the next hop of each.
func (t *tables) follow(ctx context.Context, h host.Host) (waysFacts, []hop, error) {
	var f waysFacts
	var hops []hop
	for n, src := range t.sources() {
		for _, to := range t.targets {
			if n > 0 && to.Role != "internet" {
				continue // who reaches the host by its other addresses is not known
			}
			w, next, ok := t.way(src.Prefix.Addr(), to)
			if !ok {
				continue
			}
			if _, byRule := w.Rule.Get(); !byRule || !strings.Contains(w.Way, "from "+src.Prefix.Addr().String()) {
				gateway, _ := w.Gateway.Get()
				agrees, err := kernelAgrees(ctx, h, to.Addr, next.link, gateway, w.Type)
				if err != nil || !agrees {
					continue
				}
			}
			name := to.Addr.String()
			if to.Role == "internet" {
				name = "the Internet"
			}
			i := slices.IndexFunc(f.List, func(o wayFacts) bool { return o.Way == w.Way && o.From == w.From })
			if i < 0 {
				if len(f.List) == maxWays || slices.ContainsFunc(f.List, func(o wayFacts) bool { return o.Way == w.Way }) {
					continue
				}
				w.Main = n == 0
				f.List, hops, i = append(f.List, w), append(hops, next), len(f.List)
			}
			if to.Role != "internet" && hops[i].addr == internet { // somebody of whom one may ask
				hops[i] = next
			}
			if t.links[next.link].Kind == "dummy" {
				f.List[i].Dead, f.List[i].Why = probes.Some(true), probes.Some(next.name+" is an interface behind which there is nothing")
			}
			f.List[i].For = append(f.List[i].For, name)
			if !slices.Contains(f.List[i].Roles, to.Role) {
				f.List[i].Roles = append(f.List[i].Roles, to.Role)
			}
		}
	}
	return f, hops, nil
}

// way is what rules and tables make of a packet; ok is false for the usual: the default route, a network at an interface.
func (t *tables) way(src netip.Addr, to Target) (w wayFacts, next hop, ok bool) {
	w = wayFacts{From: src.String(), Type: "none", Way: "no route"}
	for _, r := range t.rules {
		if !chooses(r, src, to.Addr) {
			continue
		}
		usual := selectorOf(r) == "from all" && (r.Priority == 0 || r.Priority >= 32766)
		if r.Action != "lookup" && r.Action != "goto" {
			w.Type, w.Table, w.Way = r.Action, 0, ruleOf(r)
			w.Rule = probes.Some(fmt.Sprintf("%d: %s", r.Priority, ruleOf(r)))
			return w, hop{}, true
		}
		route, there := t.best[r.Table][to.Addr]
		if r.Action == "goto" || !there || route.Type == "throw" {
			continue
		}
		w.Type, w.Table, w.Way = route.Type, r.Table, t.routeOf(route)
		if !usual {
			w.Way = ruleOf(r) + ", " + w.Way
			w.Rule = probes.Some(fmt.Sprintf("%d: %s", r.Priority, ruleOf(r)))
		}
		if route.Gateway.IsValid() {
			w.Gateway = probes.Some(route.Gateway.String())
		}
		if name := t.links[route.Link].Name; name != "" {
			w.Interface = probes.Some(name)
		}
		next = hop{addr: route.Gateway, link: route.Link, name: t.links[route.Link].Name}
		if !next.addr.IsValid() {
			next.addr = to.Addr
		}
		return w, next, !t.usual(route, to)
	}
	return w, hop{}, t.plain.Dst.IsValid() // without any default route, that is what is missing
}

// usual is the default route of the table main, and a network at an interface, unless the cloud's own services are said to be in it. An
// address of this host's own is one as well, unless a name server or the metadata service is said to be there.
func (t *tables) usual(r host.Route, to Target) bool {
	switch {
	case r.Table == mainTable && r.Dst.Bits() == 0 && r.Link == t.plain.Link && r.Gateway == t.plain.Gateway:
		return true
	case r.Type == "local":
		return to.Role != "metadata" && to.Role != "resolver"
	case r.Protocol == "kernel":
		return !serviceNetwork.Contains(to.Addr)
	}
	return r.Link == t.plain.Link && r.Gateway == t.plain.Gateway && r.Type == "unicast"
}

// chooses tells whether a rule is for a packet that this host sends, without a mark.
func chooses(r host.Rule, src, dst netip.Addr) bool {
	if r.IifName != "" && r.IifName != "lo" || r.OifName != "" {
		return false
	}
	match := (r.Src.Bits() <= 0 || r.Src.Contains(src)) && (r.Dst.Bits() <= 0 || r.Dst.Contains(dst)) && r.Mark == 0
	return match != r.Invert
}

func selectorOf(r host.Rule) string {
	text := "from all"
	if r.Src.Bits() > 0 {
		text = "from " + strings.TrimSuffix(r.Src.String(), "/32")
	}
	if r.Invert {
		text = "not " + text
	}
	if r.Dst.Bits() > 0 {
		text += " to " + strings.TrimSuffix(r.Dst.String(), "/32")
	}
	if r.Mark != 0 {
		text += fmt.Sprintf(" fwmark %#x", r.Mark)
	}
	return text
}

func ruleOf(r host.Rule) string {
	text := selectorOf(r) + " " + r.Action
	if r.Action == "lookup" {
		text += fmt.Sprintf(" %d", r.Table)
	}
	return text
}

func (t *tables) routeOf(r host.Route) string {
	text := r.Dst.String()
	if r.Dst.Bits() == 0 {
		text = "default"
	}
	if r.Type != "unicast" {
		text = r.Type + " " + text
	}
	if r.Gateway.IsValid() {
		text += " via " + r.Gateway.String()
	}
	if name := t.links[r.Link].Name; name != "" {
		text += " dev " + name
	}
	return text
}

// kernelAgrees asks the kernel for the same way.
func kernelAgrees(ctx context.Context, h host.Host, dst netip.Addr, link int, gateway, kind string) (bool, error) {
	r, err := h.RouteTo(ctx, dst)
	for _, e := range []syscall.Errno{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EACCES, syscall.EINVAL} {
		if errors.Is(err, e) {
			return kind != "unicast" && kind != "local", nil
		}
	}
	if err != nil {
		return false, err
	}
	if kind == "local" {
		return r.Type == "local", nil
	}
	return r.Link == link && (r.Gateway.IsValid() && r.Gateway.String() == gateway || !r.Gateway.IsValid() && gateway == ""), nil
}

// try finds out whether anybody is at the end of a way.
func (w *wayFacts) try(ctx context.Context, h host.Host, next hop) {
	if has, _ := w.Dead.Get(); has {
		return
	}
	switch w.Type {
	case "blackhole", "unreachable", "prohibit":
		w.Dead, w.Why = probes.Some(true), probes.Some("it discards")
		return
	case "none":
		w.Dead, w.Why = probes.Some(true), probes.Some("no table has a route")
		return
	case "local":
		w.tryOwn(ctx, h, next.addr)
		return
	case "unicast":
	default:
		w.Dead = probes.Unread[bool]("a route of type " + w.Type)
		return
	}
	if next.addr == internet {
		w.Dead = probes.Unread[bool]("no next hop is named, and nobody on the Internet is asked")
		return
	}
	a := askGateway(ctx, h, next)
	w.Why = a.Why
	if alive, known := a.Alive.Get(); known {
		w.Dead = probes.Some(!alive)
	} else {
		w.Dead = probes.Unread[bool]("it answers neither ICMP nor TCP, and nothing says whether its address is resolved")
	}
}

// tryOwn asks where a name server or the metadata service should be, and this host is.
func (w *wayFacts) tryOwn(ctx context.Context, h host.Host, addr netip.Addr) {
	port := uint16(dnsPort)
	if slices.Contains(w.Roles, "metadata") {
		port = 80
	}
	_, err := h.Connect(ctx, netip.AddrPortFrom(addr, port))
	switch {
	case err == nil:
		w.Dead = probes.Some(false)
	case notAsked(err):
		w.Dead = probes.Unread[bool](err.Error())
	default:
		w.Dead, w.Why = probes.Some(true), probes.Some(fmt.Sprintf("this host has the address, and nobody listens on its port %d", port))
	}
}

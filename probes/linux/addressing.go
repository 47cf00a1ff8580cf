package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Addressing looks for addresses, subnets and routes that contradict each other.
var Addressing = probes.Define(probes.Probe[host.Host]{
	Name: "addressing",
	Doc: `Contradictions of addresses, subnets and routes

Asks the kernel by netlink for interfaces, addresses and routes: addresses that are there twice, bridges whose subnet is a part of another
interface's, and routes that throw away (blackhole, unreachable, prohibit) what somebody needs. Only if there are such routes it also lists open
connections and asks the kernel for the way to their other ends. For interfaces with an address it reads a few files under
/proc/sys/net/ipv4/conf. Nothing is sent. Costs 0.2 ms. Only the main rules are followed: who routes by marks or VRF knows better.`,
	Every: time.Minute,
}, addressing)

type addressingFacts struct {
	Duplicates []duplicateAddress  `fact:"duplicates" doc:"IPv6 addresses that the kernel does not use since somebody else on the wire has them; IFA_F_DADFAILED"`
	Twice      []addressTwice      `fact:"twice" doc:"IPv4 addresses that two interfaces have, or more"`
	Overlaps   []subnetOverlap     `fact:"overlaps" doc:"Bridges of this host's own whose subnet lies in another interface's, or holds its gateway or name server"`
	NullRoutes []nullRoute         `fact:"null_routes" doc:"Routes that discard; not those for everything, by which IPv6 says that it is off"`
	Interfaces []interfaceSettings `fact:"interfaces" doc:"Interfaces that are up, have an IPv4 address, and lead out: no bridges and tunnels; at most 16"`
}

type duplicateAddress struct {
	Address   string `fact:"address,key" doc:"The address"`
	Interface string `fact:"interface" doc:"The interface that it is set on"`
}

type addressTwice struct {
	Address    string   `fact:"address,key" doc:"The address"`
	Interfaces []string `fact:"interfaces" doc:"Those that have it"`
}

type subnetOverlap struct {
	Interface string   `fact:"interface,key" doc:"The bridge"`
	Subnet    string   `fact:"subnet" doc:"Its subnet"`
	Other     string   `fact:"other" doc:"The interface whose network it takes a part of"`
	OtherNet  string   `fact:"other_subnet" doc:"That network"`
	Takes     []string `fact:"takes" doc:"Gateways and name servers that lie in the bridge's subnet, so that they are looked for behind it"`
}

type nullRoute struct {
	Route  string             `fact:"route,key" doc:"As ip route writes it: unreachable 203.0.113.0/24 table 254 metric 0"`
	Dst    string             `fact:"dst" doc:"What it discards"`
	Type   string             `fact:"type" doc:"blackhole, unreachable or prohibit"`
	UsedBy probes.Opt[string] `fact:"needed_for" doc:"Whom it cuts off: a name server, or the other end of an open connection, to which no way leads now; absent if nobody is known"`
}

type interfaceSettings struct {
	Name        string          `fact:"name,key" doc:"As in eth1"`
	Address     string          `fact:"address" doc:"Its first IPv4 address"`
	Primary     bool            `fact:"primary" doc:"The IPv4 default route that packets take is on it"`
	WayBack     bool            `fact:"way_back" doc:"What is sent from its address to the Internet leaves by it: the default route, or that of a table which a rule looks up for the address"`
	RPFilter    probes.Opt[int] `fact:"rp_filter" unit:"code" doc:"The larger of its own and all's rp_filter, which counts: 1 drops what its answer would not leave by this interface"`
	ARPIgnore   probes.Opt[int] `fact:"arp_ignore" unit:"code" doc:"The larger of its own and all's arp_ignore, which counts: from 3 on the host does not answer for ordinary addresses"`
	ARPAnnounce probes.Opt[int] `fact:"arp_announce" unit:"code" doc:"The larger of its own and all's arp_announce"`
}

// maxSettings is more interfaces than lead out of a host; each costs six small files.
const maxSettings = 16

const ifaFDadFailed = 0x08 // IFA_F_DADFAILED of linux/if_addr.h

// addressPlan is what the kernel says, in one place.
type addressPlan struct {
	links    map[int]host.Link
	addrs    []host.Addr
	defaults []host.Route
	nulls    []host.Route
	main     map[int]bool // interfaces whose default route is in the table main
	rules    []host.Rule
}

func addressing(ctx context.Context, h host.Host) (addressingFacts, error) {
	plan, err := readAddressPlan(ctx, h)
	if err != nil {
		return addressingFacts{}, err
	}
	servers, err := nameServers(h)
	if err != nil {
		return addressingFacts{}, err
	}
	f := addressingFacts{Duplicates: plan.duplicates(), Twice: plan.twice()}
	if f.Overlaps, err = plan.overlaps(h, servers); err != nil {
		return f, err
	}
	if f.NullRoutes, err = plan.nullRoutes(ctx, h, servers); err != nil {
		return f, err
	}
	f.Interfaces = plan.settings(h)
	return f, nil
}

func readAddressPlan(ctx context.Context, h host.Host) (*addressPlan, error) {
	plan := &addressPlan{links: map[int]host.Link{}, main: map[int]bool{}}
	links, err := h.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, l := range links {
		plan.links[l.Index] = l
	}
	if plan.addrs, err = h.Addrs(ctx); err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	if plan.rules, err = h.Rules(ctx); err != nil {
		return nil, fmt.Errorf("listing rules: %w", err)
	}
	err = steady(func() error {
		plan.defaults, plan.nulls = nil, nil
		return h.Routes(ctx, func(r *host.Route) error {
			switch {
			case isDefault(r):
				plan.defaults = append(plan.defaults, *r)
			case discards(r.Type) && r.Dst.Bits() > 0:
				plan.nulls = append(plan.nulls, *r)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	for _, r := range plan.defaults {
		if r.Table == mainTable && r.Dst.Addr().Is4() {
			plan.main[r.Link] = true
		}
	}
	return plan, nil
}

func discards(kind string) bool {
	return kind == "blackhole" || kind == "unreachable" || kind == "prohibit"
}

// nameServers are those of resolv.conf that are not on this host.
func nameServers(h host.Files) ([]netip.Addr, error) {
	questions, err := resolverQuestions(h)
	if err != nil {
		return nil, err
	}
	var servers []netip.Addr
	for _, q := range questions {
		servers = append(servers, q.to.Addr())
	}
	return servers, nil
}

func (p *addressPlan) duplicates() []duplicateAddress {
	var list []duplicateAddress
	for _, a := range p.addrs {
		if a.Flags&ifaFDadFailed != 0 {
			list = append(list, duplicateAddress{a.Prefix.Addr().String(), p.links[a.Link].Name})
		}
	}
	return list
}

// twice lists addresses that are on several interfaces that are up and lead out. On the loopback a load balancer's address is at home, too, and
// a tunnel may borrow another interface's. An address that has a subnet nowhere is lent to many on purpose: to the containers' ends by the
// CNI plugin ptp, to unnumbered links by routing daemons.
func (p *addressPlan) twice() []addressTwice {
	at, subnet := map[netip.Addr]int{}, map[string]bool{}
	var list []addressTwice
	for _, a := range p.addrs {
		l, addr := p.links[a.Link], a.Prefix.Addr()
		if !addr.Is4() || addr.IsLoopback() || l.Flags&unix.IFF_LOOPBACK != 0 || l.Flags&unix.IFF_UP == 0 || !leadsOut(l.Kind) {
			continue
		}
		subnet[addr.String()] = subnet[addr.String()] || !a.Prefix.IsSingleIP()
		i, known := at[addr]
		if !known {
			at[addr] = len(list)
			list = append(list, addressTwice{addr.String(), []string{l.Name}})
			continue
		}
		if !slices.Contains(list[i].Interfaces, l.Name) {
			list[i].Interfaces = append(list[i].Interfaces, l.Name)
		}
	}
	return slices.DeleteFunc(list, func(a addressTwice) bool { return len(a.Interfaces) < 2 || !subnet[a.Address] })
}

// overlaps compares the bridges' subnets with those of other interfaces. A bridge with hardware in it is the network itself, and where
// the other interface answers ARP for the bridge's hosts (proxy_arp) the one subnet is meant to lie in the other.
func (p *addressPlan) overlaps(h host.Files, servers []netip.Addr) ([]subnetOverlap, error) {
	var list []subnetOverlap
	for _, a := range p.addrs {
		bridge := p.links[a.Link]
		if bridge.Kind != "bridge" || !a.Prefix.Addr().Is4() || bridge.Flags&unix.IFF_UP == 0 || p.holdsHardware(a.Link) || p.main[a.Link] {
			continue
		}
		subnet := a.Prefix.Masked()
		o := subnetOverlap{Interface: bridge.Name, Subnet: subnet.String()}
		for _, b := range p.addrs {
			other := p.links[b.Link]
			if b.Link != a.Link && other.Kind != "bridge" && other.Flags&unix.IFF_UP != 0 && b.Prefix.Addr().Is4() && !b.Prefix.IsSingleIP() && b.Prefix.Overlaps(subnet) {
				o.Other, o.OtherNet = other.Name, b.Prefix.Masked().String()
			}
		}
		for _, r := range p.defaults {
			if r.Link != a.Link && r.Gateway.IsValid() && subnet.Contains(r.Gateway) {
				o.Takes = append(o.Takes, r.Gateway.String())
				o.Other = p.links[r.Link].Name
			}
		}
		for _, s := range servers {
			if subnet.Contains(s) {
				o.Takes = append(o.Takes, s.String())
			}
		}
		if o.Other == "" && len(o.Takes) == 0 {
			continue
		}
		proxy, err := readInt(h, "/proc/sys/net/ipv4/conf/"+o.Other+"/proxy_arp")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if proxy == 0 {
			list = append(list, o)
		}
	}
	return list, nil
}

func (p *addressPlan) holdsHardware(bridge int) bool {
	for _, l := range p.links {
		if l.Master == bridge && l.Kind != "veth" && l.Kind != "tun" {
			return true
		}
	}
	return false
}

// nullRoutes finds out whom the routes that discard cut off: the first name server or open connection that lies in them, and to which the
// kernel knows no other way.
func (p *addressPlan) nullRoutes(ctx context.Context, h host.Host, servers []netip.Addr) ([]nullRoute, error) {
	if len(p.nulls) == 0 {
		return nil, nil
	}
	peers, err := connectedPeers(ctx, h)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var list []nullRoute
	for _, r := range p.nulls {
		n := nullRoute{Route: fmt.Sprintf("%s %s table %d metric %d", r.Type, r.Dst, r.Table, r.Metric), Dst: r.Dst.String(), Type: r.Type}
		if seen[n.Route] {
			continue
		}
		seen[n.Route] = true
		for _, peer := range append(slices.Clone(servers), peers...) {
			if !r.Dst.Contains(peer) {
				continue
			}
			if _, err := h.RouteTo(ctx, peer); err != nil && noWay(err) {
				n.UsedBy = probes.Some(peer.String())
				break
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// maxConnected bounds the other ends that are compared with routes.
const maxConnected = 1000

func connectedPeers(ctx context.Context, h host.Host) ([]netip.Addr, error) {
	seen := map[netip.Addr]bool{}
	var peers []netip.Addr
	const open = 1<<host.TCPEstablished | 1<<host.TCPSynSent | 1<<host.TCPFinWait1 | 1<<host.TCPLastAck
	err := h.Sockets(ctx, host.SocketQuery{States: open}, func(s *host.Socket) error {
		if a := s.Remote.Addr(); !seen[a] && !a.IsLoopback() && len(peers) < maxConnected {
			seen[a] = true
			peers = append(peers, a)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing connections: %w", err)
	}
	return peers, nil
}

// leadsOut knows the kinds of interfaces behind which there are other hosts, and not this one's containers or the far end of a tunnel.
func leadsOut(kind string) bool {
	return slices.Contains([]string{"", "veth", "bond", "team", "vlan", "macvlan", "ipvlan"}, kind)
}

func (p *addressPlan) settings(h host.Files) []interfaceSettings {
	var list []interfaceSettings
	first, _ := preferred(slices.DeleteFunc(slices.Clone(p.defaults), func(r host.Route) bool { return r.Dst.Addr().Is6() }))
	for _, a := range p.addrs {
		l := p.links[a.Link]
		if !a.Prefix.Addr().Is4() || a.Scope != "global" || l.Flags&unix.IFF_LOOPBACK != 0 || l.Flags&unix.IFF_UP == 0 || l.Master != 0 || !leadsOut(l.Kind) {
			continue
		}
		if len(list) >= maxSettings || slices.ContainsFunc(list, func(s interfaceSettings) bool { return s.Name == l.Name }) {
			continue
		}
		s := interfaceSettings{Name: l.Name, Address: a.Prefix.Addr().String(), Primary: first.Link == a.Link, WayBack: p.leavesBy(a)}
		s.RPFilter = strongest(h, l.Name, "rp_filter")
		s.ARPIgnore = strongest(h, l.Name, "arp_ignore")
		s.ARPAnnounce = strongest(h, l.Name, "arp_announce")
		list = append(list, s)
	}
	return list
}

// leavesBy follows a packet from an address to the Internet as far as rules with a source and default routes tell.
func (p *addressPlan) leavesBy(a host.Addr) bool {
	rules := slices.Clone(p.rules)
	slices.SortStableFunc(rules, func(a, b host.Rule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		plain := r.Dst.Bits() <= 0 && r.IifName == "" && r.OifName == "" && r.Mark == 0 && !r.Invert
		if r.Family != 4 || r.Action != "lookup" || !plain || r.Src.Bits() > 0 && !r.Src.Contains(a.Prefix.Addr()) {
			continue
		}
		inTable := slices.DeleteFunc(slices.Clone(p.defaults), func(d host.Route) bool { return d.Table != r.Table || d.Dst.Addr().Is6() })
		if best, ok := preferred(inTable); ok {
			return best.Link == a.Link
		}
	}
	return false
}

// strongest is the larger of an interface's own value and that of all, which is the one that counts.
func strongest(h host.Files, name, key string) probes.Opt[int] {
	const dir = "/proc/sys/net/ipv4/conf/"
	own, all := optionalInt(h, dir+strings.ReplaceAll(name, "/", ".")+"/"+key), optionalInt(h, dir+"all/"+key)
	if n, ok := all.Get(); ok {
		if m, ok := own.Get(); ok {
			return probes.Some(max(n, m))
		}
	}
	return own
}

package linux

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Interfaces reads the network interfaces with their addresses and rates.
var Interfaces = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "interfaces",
	Doc: `Network interfaces

Asks the kernel by netlink for interfaces, addresses and default routes, twice; for hardware also /sys/class/net and ethtool's channels.
Costs 0.2 ms, and 8 ms with 1,000 interfaces. Only this network namespace is seen. rx_dropped counts frames that no protocol wanted
beside real losses, so a few a second are normal on a switched network; rx_missed are those for which the ring had no room.`,
	Every: 10 * time.Second,
}, interfacesSample, interfaces)

type interfacesFacts struct {
	Primary probes.Opt[string] `fact:"primary" doc:"Name of the interface that carries the default route; without one, of the first hardware NIC"`
	Links   []linkFacts        `fact:"links" doc:"Every interface of this network namespace"`
}

type linkFacts struct {
	Name          string                    `fact:"name,key" doc:"As in eth0"`
	Kind          string                    `fact:"kind" doc:"veth, bridge, vlan, bond, tun, …; empty for hardware and the loopback"`
	Hardware      bool                      `fact:"hardware" doc:"A NIC, real or of the virtual machine, and not something made by software"`
	Loopback      bool                      `fact:"loopback" doc:"IFF_LOOPBACK"`
	Primary       bool                      `fact:"primary" doc:"It is interfaces.primary"`
	Member        bool                      `fact:"member" doc:"Part of a bridge, bond or VRF, which has the addresses in its place"`
	Up            bool                      `fact:"up" doc:"Switched on by the administrator; IFF_UP"`
	Carrier       bool                      `fact:"carrier" doc:"The cable, or what stands for it, is there; IFF_LOWER_UP"`
	State         string                    `fact:"state" doc:"RFC 2863: up, down, dormant, lowerlayerdown, unknown, …"`
	MTU           int                       `fact:"mtu" unit:"bytes" doc:"Largest packet"`
	MAC           probes.Opt[string]        `fact:"mac" doc:"Hardware address"`
	Driver        probes.Opt[string]        `fact:"driver" doc:"Of hardware: virtio_net, ena, …"`
	SpeedMbit     probes.Opt[int]           `fact:"speed_mbit" unit:"Mbit/s" doc:"Absent where the driver does not know, as for most virtual NICs"`
	Queues        probes.Opt[int]           `fact:"queues" unit:"count" doc:"Combined channels in use; ethtool -l. Absent where the driver has none"`
	QueuesMax     probes.Opt[int]           `fact:"queues_max" unit:"count" doc:"Combined channels that the device offers"`
	IPv4          []string                  `fact:"ipv4" doc:"Its IPv4 addresses, without the prefix length"`
	IPv6          []string                  `fact:"ipv6" doc:"Its IPv6 addresses of global scope"`
	LinkLocalOnly bool                      `fact:"link_local_only" doc:"It has an IPv4 address of 169.254.0.0/16 (RFC 3927) and no other: DHCP has failed"`
	LeaseLeft     probes.Opt[time.Duration] `fact:"lease_left" doc:"How long the first IPv4 address to expire still holds; absent if none expires"`

	RxBytes   probes.Opt[float64] `fact:"rx_bytes_per_s" unit:"bytes/s" doc:"Received; absent, as all rates, until there are two samples"`
	TxBytes   probes.Opt[float64] `fact:"tx_bytes_per_s" unit:"bytes/s" doc:"Sent"`
	RxPackets probes.Opt[float64] `fact:"rx_packets_per_s" unit:"1/s" doc:"Received"`
	TxPackets probes.Opt[float64] `fact:"tx_packets_per_s" unit:"1/s" doc:"Sent"`
	RxErrors  probes.Opt[float64] `fact:"rx_errors_per_s" unit:"1/s" doc:"Frames received damaged; rx_errors"`
	TxErrors  probes.Opt[float64] `fact:"tx_errors_per_s" unit:"1/s" doc:"Not sent, with the carrier's errors; tx_errors"`
	RxDropped probes.Opt[float64] `fact:"rx_dropped_per_s" unit:"1/s" doc:"Dropped after they were received; rx_dropped"`
	TxDropped probes.Opt[float64] `fact:"tx_dropped_per_s" unit:"1/s" doc:"Dropped before they were sent; tx_dropped"`
	RxMissed  probes.Opt[float64] `fact:"rx_missed_per_s" unit:"1/s" doc:"Missed for want of room in the ring; rx_missed_errors and rx_fifo_errors"`
	RxLostPct probes.Opt[float64] `fact:"rx_lost_pct" unit:"%" doc:"Dropped, missed and damaged frames, as part of all that came in"`
	TxLostPct probes.Opt[float64] `fact:"tx_lost_pct" unit:"%" doc:"Dropped and failed packets, as part of all that should go out"`
}

type interfacesRaw struct {
	links    []host.Link
	addrs    []host.Addr
	defaults []host.Route
}

func interfacesSample(ctx context.Context, h host.Host) (raw interfacesRaw, err error) {
	if raw.links, err = h.Links(ctx); err != nil {
		return raw, err
	}
	if raw.addrs, err = h.Addrs(ctx); err != nil {
		return raw, err
	}
	raw.defaults, err = defaultRoutes(ctx, h)
	return raw, err
}

func interfaces(cur interfacesRaw, prev *interfacesRaw, dt time.Duration) (interfacesFacts, error) {
	f := interfacesFacts{Links: make([]linkFacts, len(cur.links))}
	primary := cur.primary()
	before := map[int]host.LinkStats{}
	if prev != nil {
		for _, l := range prev.links {
			before[l.Index] = l.Stats
		}
	}
	for i, l := range cur.links {
		link := &f.Links[i]
		*link = describe(l)
		if l.Index == primary {
			link.Primary, f.Primary = true, probes.Some(l.Name)
		}
		for _, a := range cur.addrs {
			if a.Link == l.Index {
				link.address(a)
			}
		}
		if stats, ok := before[l.Index]; ok {
			link.rates(l.Stats, stats, dt)
		}
	}
	return f, nil
}

// primary is the index of the interface that carries the default route. Without one it is the first NIC, or in a container, which has
// none, the first interface that could be one.
func (raw interfacesRaw) primary() int {
	if r, ok := preferred(raw.defaults); ok && r.Link != 0 {
		return r.Link
	}
	container := 0
	for _, l := range raw.links {
		if l.Flags&unix.IFF_LOOPBACK != 0 || l.Master != 0 {
			continue
		}
		if l.Kind == "" {
			return l.Index
		}
		if container == 0 && (l.Kind == "veth" || l.Kind == "macvlan" || l.Kind == "ipvlan") {
			container = l.Index
		}
	}
	return container
}

func describe(l host.Link) linkFacts {
	loopback := l.Flags&unix.IFF_LOOPBACK != 0
	return linkFacts{
		Name: l.Name, Kind: l.Kind, Hardware: l.Kind == "" && !loopback, Loopback: loopback, Member: l.Master != 0,
		Up: l.Flags&unix.IFF_UP != 0, Carrier: l.Flags&unix.IFF_LOWER_UP != 0, State: l.OperState, MTU: l.MTU,
		MAC: some(l.MAC), Driver: some(l.Driver), SpeedMbit: some(l.SpeedMbit), Queues: some(l.Queues), QueuesMax: some(l.QueuesMax),
	}
}

// some is a fact for which the kernel's answer is zero or empty where there is none.
func some[T comparable](v T) probes.Opt[T] {
	var zero T
	if v == zero {
		return probes.None[T]()
	}
	return probes.Some(v)
}

// autoconf is what RFC 3927 hands out where no DHCP server answers.
var autoconf = netip.MustParsePrefix("169.254.0.0/16")

func (f *linkFacts) address(a host.Addr) {
	ip := a.Prefix.Addr()
	if ip.Is6() {
		if a.Scope == "global" {
			f.IPv6 = append(f.IPv6, ip.String())
		}
		return
	}
	f.LinkLocalOnly = autoconf.Contains(ip) && (len(f.IPv4) == 0 || f.LinkLocalOnly)
	f.IPv4 = append(f.IPv4, ip.String())
	if left, ok := f.LeaseLeft.Get(); a.ValidFor > 0 && (!ok || a.ValidFor < left) {
		f.LeaseLeft = probes.Some(a.ValidFor)
	}
}

func (f *linkFacts) rates(cur, prev host.LinkStats, dt time.Duration) {
	f.RxBytes, f.TxBytes = rate(cur.RxBytes, prev.RxBytes, dt), rate(cur.TxBytes, prev.TxBytes, dt)
	f.RxPackets, f.TxPackets = rate(cur.RxPackets, prev.RxPackets, dt), rate(cur.TxPackets, prev.TxPackets, dt)
	f.RxErrors, f.TxErrors = rate(cur.RxErrors, prev.RxErrors, dt), rate(cur.TxErrors, prev.TxErrors, dt)
	f.RxDropped, f.TxDropped = rate(cur.RxDropped, prev.RxDropped, dt), rate(cur.TxDropped, prev.TxDropped, dt)
	f.RxMissed = rate(cur.RxMissed+cur.RxFIFO, prev.RxMissed+prev.RxFIFO, dt)
	f.RxLostPct = share(f.RxPackets, f.RxDropped, f.RxMissed, f.RxErrors)
	f.TxLostPct = share(f.TxPackets, f.TxDropped, f.TxErrors)
}

// share is the part of losses in what passed and what was lost, in percent.
func share(passed probes.Opt[float64], losses ...probes.Opt[float64]) probes.Opt[float64] {
	all, ok := passed.Get()
	lost := 0.0
	for _, l := range losses {
		x, has := l.Get()
		lost, ok = lost+x, ok && has
	}
	if !ok {
		return probes.None[float64]()
	}
	return probes.Some(percent(lost, all+lost))
}

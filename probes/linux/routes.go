package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Routes reads the routing tables.
var Routes = probes.Define(probes.Probe[host.Host]{
	Name: "routes",
	Doc: `Routing tables

Dumps the routes of IPv4 and IPv6 by netlink, and asks the kernel how it would send packets to the addresses at which Alibaba Cloud
answers its instances: metadata at 100.100.100.200 and DNS at 100.100.2.136. Nothing is sent. Costs 0.1 ms, and 3 ms with
10,000 routes. That there is a route does not say that anybody answers at its end.`,
	Every: 10 * time.Second,
}, routes)

type routesFacts struct {
	IPv4        int            `fact:"ipv4" unit:"routes" doc:"IPv4 routes, without those of the table local"`
	IPv6        int            `fact:"ipv6" unit:"routes" doc:"IPv6 routes, without those of the table local"`
	ViaGateway  int            `fact:"via_gateway" unit:"routes" doc:"Of these, routes through a next hop that are not the default route"`
	DefaultIPv4 bool           `fact:"default_ipv4" doc:"Some table has an IPv4 default route that is not dead"`
	DefaultIPv6 bool           `fact:"default_ipv6" doc:"Some table has an IPv6 default route that is not dead"`
	Defaults    []defaultFacts `fact:"defaults" doc:"The default routes, dead ones too"`

	DefaultInterface  probes.Opt[string] `fact:"default_interface" doc:"Interface of the IPv4 default route that packets take"`
	MetadataInterface probes.Opt[string] `fact:"metadata_interface" doc:"Interface through which a packet to 100.100.100.200 would leave; absent if there is no way"`
	DNSInterface      probes.Opt[string] `fact:"cloud_dns_interface" doc:"Interface through which a packet to 100.100.2.136 would leave; absent if there is no way"`
	Service           []serviceRoute     `fact:"service_network" doc:"Routes other than the default ones that overlap 100.64.0.0/10 and leave through another interface than the default route, or nowhere"`
}

type defaultFacts struct {
	Route     string             `fact:"route,key" doc:"As ip route writes it: default via 192.0.2.1 dev eth0 table 254 metric 100"`
	Family    int                `fact:"family" unit:"IP version" doc:"4 or 6"`
	Interface string             `fact:"interface" doc:"The interface it leaves through"`
	Gateway   probes.Opt[string] `fact:"gateway" doc:"The next hop; absent if the other end is reached directly"`
	Table     int                `fact:"table" unit:"number" doc:"254 is main"`
	Metric    int                `fact:"metric" unit:"number" doc:"The lowest one wins"`
	Protocol  string             `fact:"protocol" doc:"Who made it: dhcp, static, boot, ra, kernel, …"`
	Type      string             `fact:"type" doc:"unicast; or unreachable, blackhole, prohibit"`
	Dead      bool               `fact:"dead" doc:"Its interface has no carrier, or its next hop is gone"`
	NextHops  int                `fact:"next_hops" unit:"count" doc:"1, or more of a multipath route"`
}

type serviceRoute struct {
	Route         string             `fact:"route,key" doc:"As ip route writes it: 100.64.0.0/10 dev docker0 table 254 metric 0"`
	Dst           string             `fact:"dst" doc:"Its destination"`
	Interface     probes.Opt[string] `fact:"interface" doc:"The interface it leaves through; absent for a route that leads nowhere"`
	Type          string             `fact:"type" doc:"unicast; or unreachable, blackhole, prohibit"`
	Table         int                `fact:"table" unit:"number" doc:"254 is main"`
	Protocol      string             `fact:"protocol" doc:"Who made it"`
	TakesMetadata bool               `fact:"takes_metadata" doc:"100.100.100.200 is in it"`
	TakesDNS      bool               `fact:"takes_cloud_dns" doc:"100.100.2.136 or 100.100.2.138 is in it"`
}

// Addresses of Alibaba Cloud's services in every VPC:
// https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata and …/vpc/user-guide/dhcp-options-sets-overview.
var (
	cloudNetwork  = netip.MustParsePrefix("100.64.0.0/10")
	cloudMetadata = netip.AddrFrom4([4]byte{100, 100, 100, 200})
	cloudDNS      = netip.AddrFrom4([4]byte{100, 100, 2, 136})
	cloudDNS2     = netip.AddrFrom4([4]byte{100, 100, 2, 138})
)

// localTable is RT_TABLE_LOCAL: the host's own addresses.
const localTable = 255

func routes(ctx context.Context, h host.Host) (routesFacts, error) {
	names, err := linkNames(ctx, h)
	if err != nil {
		return routesFacts{}, err
	}
	var f routesFacts
	var defaults, service []host.Route
	err = steady(func() error {
		f, defaults, service = routesFacts{}, nil, nil
		return h.Routes(ctx, func(r *host.Route) error {
			if r.Table == localTable {
				return nil
			}
			four := r.Dst.Addr().Is4()
			if four {
				f.IPv4++
			} else {
				f.IPv6++
			}
			if r.Gateway.IsValid() && r.Dst.Bits() != 0 {
				f.ViaGateway++
			}
			switch {
			case r.Dst.Bits() == 0:
				defaults = append(defaults, *r)
			case four && cloudNetwork.Overlaps(r.Dst):
				service = append(service, *r)
			}
			return nil
		})
	})
	if err != nil {
		return f, err
	}
	var four []host.Route
	for _, r := range defaults {
		switch {
		case !isDefault(&r):
		case r.Dst.Addr().Is4():
			four = append(four, r)
		default:
			f.DefaultIPv6 = true
		}
	}
	exit, ok := preferred(four)
	if f.DefaultIPv4 = ok; ok {
		f.DefaultInterface = probes.Some(linkName(names, exit.Link))
	}
	for _, r := range defaults {
		f.Defaults = append(f.Defaults, defaultRoute(names, &r))
	}
	for _, r := range service {
		if r.Link != exit.Link || r.Link == 0 {
			f.Service = append(f.Service, newServiceRoute(names, &r))
		}
	}
	f.MetadataInterface = interfaceTo(ctx, h, names, cloudMetadata)
	f.DNSInterface = interfaceTo(ctx, h, names, cloudDNS)
	return f, nil
}

func defaultRoute(names map[int]string, r *host.Route) defaultFacts {
	f := defaultFacts{
		Route: routeText(names, r), Family: 4, Interface: linkName(names, r.Link), Table: r.Table, Metric: r.Metric, Protocol: r.Protocol,
		Type: r.Type, Dead: r.Dead, NextHops: max(1, r.NextHops),
	}
	if r.Dst.Addr().Is6() {
		f.Family = 6
	}
	if r.Gateway.IsValid() {
		f.Gateway = probes.Some(r.Gateway.String())
	}
	return f
}

func newServiceRoute(names map[int]string, r *host.Route) serviceRoute {
	f := serviceRoute{
		Route: routeText(names, r), Dst: r.Dst.String(), Type: r.Type, Table: r.Table, Protocol: r.Protocol,
		TakesMetadata: r.Dst.Contains(cloudMetadata), TakesDNS: r.Dst.Contains(cloudDNS) || r.Dst.Contains(cloudDNS2),
	}
	if r.Link != 0 {
		f.Interface = probes.Some(linkName(names, r.Link))
	}
	return f
}

func routeText(names map[int]string, r *host.Route) string {
	s := r.Dst.String()
	if r.Dst.Bits() == 0 {
		s = "default"
		if r.Dst.Addr().Is6() {
			s = "default ipv6"
		}
	}
	if r.Type != "unicast" {
		s = r.Type + " " + s
	}
	if r.Gateway.IsValid() {
		s += " via " + r.Gateway.String()
	}
	if r.Link != 0 {
		s += " dev " + linkName(names, r.Link)
	}
	return fmt.Sprintf("%s table %d metric %d", s, r.Table, r.Metric)
}

// interfaceTo asks the kernel for the way to dst. An unreachable or prohibit route answers with its own error, a blackhole one with EINVAL
// (fib_props in net/ipv4/fib_semantics.c).
func interfaceTo(ctx context.Context, h host.Network, names map[int]string, dst netip.Addr) probes.Opt[string] {
	r, err := h.RouteTo(ctx, dst)
	switch {
	case err == nil:
		return probes.Some(linkName(names, r.Link))
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EINVAL):
		return probes.None[string]()
	default:
		return probes.Unread[string](err.Error())
	}
}

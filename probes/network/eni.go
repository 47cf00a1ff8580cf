package network

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// ENI compares the network interfaces with what the cloud says of them.
var ENI = probes.Define(probes.Probe[host.Host]{
	Name: "eni",
	Doc: `Elastic network interfaces, as the cloud has them

On an Alibaba Cloud instance, asks the metadata service for the interfaces' MAC and IPv4 addresses and netmasks, and compares them with the host's own. Costs
0.5 ms of CPU for an interface. No data elsewhere, and where the service wants a token (security hardening mode), which takes a request that changes
something. An interface that the cloud gave to a container's network namespace is missing here and fine there.`,
	Needs:   probes.Network,
	Every:   5 * time.Minute,
	Timeout: 3 * time.Second,
}, eni)

type eniFacts struct {
	Interfaces probes.Cut[eniInterface] `fact:"interfaces" doc:"Those that the metadata service lists, at most 8"`
}

type eniInterface struct {
	MAC        string             `fact:"mac,key" doc:"Hardware address"`
	Primary    bool               `fact:"primary" doc:"It is the instance's first, which has the instance's address"`
	Address    string             `fact:"address" doc:"Its primary private IPv4 address"`
	Prefix     probes.Opt[int]    `fact:"prefix" unit:"bits" doc:"Length of its network's prefix, by the netmask"`
	Gateway    probes.Opt[string] `fact:"gateway" doc:"Its network's gateway; asked for only where the address is not set up"`
	Interface  probes.Opt[string] `fact:"interface" doc:"The interface with that MAC; absent if there is none"`
	Up         bool               `fact:"up" doc:"It is switched on"`
	HasAddress bool               `fact:"has_address" doc:"It has that address"`
	HostPrefix probes.Opt[int]    `fact:"host_prefix" unit:"bits" doc:"The prefix length that the address has on this host; absent without it"`
	Others     []string           `fact:"other_addresses" doc:"IPv4 addresses that the interface has besides"`
	Elsewhere  probes.Opt[string] `fact:"address_on" doc:"Another interface that has the address"`
	VPC        probes.Opt[string] `fact:"vpc" doc:"The VPC that it belongs to; asked for only where there are several interfaces"`
}

const (
	maxENIs    = 8
	macsFolder = "network/interfaces/macs/"
)

func eni(ctx context.Context, h host.Host) (eniFacts, error) {
	here, err := onAlibaba(h)
	if err != nil {
		return eniFacts{}, err
	}
	if !here {
		return eniFacts{}, probes.NoData("this is no Alibaba Cloud instance")
	}
	ctx, cancel := context.WithTimeout(ctx, metadataWait)
	defer cancel()
	list, err := metadataItem(ctx, h, macsFolder)
	if err != nil {
		return eniFacts{}, err
	}
	links, err := h.Links(ctx)
	if err != nil {
		return eniFacts{}, fmt.Errorf("listing interfaces: %w", err)
	}
	addrs, err := h.Addrs(ctx)
	if err != nil {
		return eniFacts{}, fmt.Errorf("listing addresses: %w", err)
	}
	var f eniFacts
	instance := ""
	macs := strings.Fields(list)
	if len(macs) > 1 {
		if instance, err = metadataItem(ctx, h, "mac"); err != nil {
			return f, err
		}
	}
	for i, mac := range macs {
		if i == maxENIs {
			f.Interfaces.More = len(macs) - i
			break
		}
		mac = strings.ToLower(strings.TrimSuffix(mac, "/"))
		e, err := readENI(ctx, h, mac, links, addrs)
		if err != nil {
			return f, err
		}
		if len(macs) > 1 {
			if id, err := metadataItem(ctx, h, macsFolder+mac+"/vpc-id"); err != nil {
				e.VPC = probes.Unread[string](err.Error())
			} else {
				e.VPC = probes.Some(id)
			}
		}
		e.Primary = len(macs) == 1 || strings.EqualFold(mac, instance)
		f.Interfaces.All = append(f.Interfaces.All, e)
	}
	return f, nil
}

func readENI(ctx context.Context, h host.Host, mac string, links []host.Link, addrs []host.Addr) (e eniInterface, err error) {
	e.MAC = mac
	if e.Address, err = metadataItem(ctx, h, macsFolder+mac+"/primary-ip-address"); err != nil {
		return e, err
	}
	mask, err := metadataItem(ctx, h, macsFolder+mac+"/netmask")
	if err != nil {
		return e, err
	}
	if bits, ok := maskBits(mask); ok {
		e.Prefix = probes.Some(bits)
	}
	e.compare(links, addrs)
	if !e.HasAddress {
		if g, err := metadataItem(ctx, h, macsFolder+mac+"/gateway"); err == nil {
			e.Gateway = probes.Some(g)
		}
	}
	return e, nil
}

// compare finds the interface and its addresses. A bridge or bond over it has its MAC, and its address in its place.
func (e *eniInterface) compare(links []host.Link, addrs []host.Addr) {
	want, _ := netip.ParseAddr(e.Address)
	var mine []int
	for _, l := range links {
		if strings.EqualFold(l.MAC, e.MAC) {
			mine = append(mine, l.Index)
			if _, known := e.Interface.Get(); !known || l.Kind == "" {
				e.Interface, e.Up = probes.Some(l.Name), l.Flags&1 != 0 // IFF_UP
			}
		}
	}
	for _, a := range addrs {
		switch {
		case slices.Contains(mine, a.Link) && a.Prefix.Addr() == want:
			e.HasAddress, e.HostPrefix = true, probes.Some(a.Prefix.Bits())
		case slices.Contains(mine, a.Link) && a.Prefix.Addr().Is4():
			e.Others = append(e.Others, a.Prefix.Addr().String())
		case a.Prefix.Addr() == want:
			if i := slices.IndexFunc(links, func(l host.Link) bool { return l.Index == a.Link }); i >= 0 {
				e.Elsewhere = probes.Some(links[i].Name)
			}
		}
	}
}

// maskBits is the length of the prefix that a netmask stands for: 24 for 255.255.255.0.
func maskBits(mask string) (int, bool) {
	a, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() {
		return 0, false
	}
	for bits := range 33 {
		if p, err := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(bits); err == nil && p.Addr() == a {
			return bits, true
		}
	}
	return 0, false
}

// metadataItem fetches one item. Where it cannot be had the reason is what the probe reports.
func metadataItem(ctx context.Context, h host.Host, item string) (string, error) {
	answer, err := h.Get(ctx, "http://"+metadataAddress+"/latest/meta-data/"+item, nil)
	if err != nil {
		return "", err
	}
	switch answer.Status {
	case http.StatusOK:
		return strings.TrimSpace(answer.Body), nil
	case http.StatusForbidden:
		return "", probes.NoData("the metadata service wants a token")
	}
	return "", errors.New("the metadata service answered " + http.StatusText(answer.Status) + " for " + item)
}

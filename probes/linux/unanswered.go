package linux

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Unanswered finds connections that programs of this host open and nobody answers.
var Unanswered = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "unanswered",
	Doc: `Connections that wait for their first answer

Lists TCP connections in the state SYN-SENT by INET_DIAG, twice. One that is there a second later too has had no answer for that long, which no
healthy server within a region takes. Whose they are is found among the descriptors of the processes. Costs 0.1 ms where there are none. Who gives up within a second, or
is refused at once, is not seen. An address of the same network that did not answer ARP lately is listed as well if the unit or environment file of a service of this
host names it: those in /etc are searched then (3 ms). Containers with a network of their own are not seen.`,
	Every: 10 * time.Second,
}, unansweredSample, unanswered)

type unansweredFacts struct {
	Peers []unansweredPeer `fact:"peers" doc:"Whom they are for, the one with most connections first, at most 16; empty until there are two samples"`
}

type unansweredPeer struct {
	Peer    string             `fact:"peer,key" doc:"Address and port: 10.0.0.7:3306; the address alone where the port is not known"`
	Address string             `fact:"address" doc:"The address"`
	Port    int                `fact:"port" unit:"port" doc:"The port; 0 if it is not known"`
	Waiting int                `fact:"waiting" unit:"connections" doc:"How many have waited from one sample to the next"`
	Named   probes.Opt[string] `fact:"named" doc:"The place in a service's unit or environment file, as FILE:LINE, of an address that did not answer ARP or its IPv6 like; absent for other peers"`
	Process probes.Opt[string] `fact:"process" doc:"Whose the first is: nginx (pid 812, nginx.service); absent if it was not found"`
}

type openingSocket struct {
	inode uint32
	to    netip.AddrPort
}

type unansweredRaw struct {
	opening []openingSocket
	owners  map[uint32]owner
	named   []unansweredPeer
}

const (
	maxOpening    = 2000 // sockets that are compared
	maxUnanswered = 16   // peers that are listed
)

func unansweredSample(ctx context.Context, h host.Host) (raw unansweredRaw, err error) {
	inodes := map[uint32]bool{}
	err = h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPSynSent}, func(s *host.Socket) error {
		if len(raw.opening) < maxOpening && s.Inode != 0 {
			raw.opening = append(raw.opening, openingSocket{s.Inode, netip.AddrPortFrom(s.Remote.Addr().WithZone(""), s.Remote.Port())})
			if len(inodes) < maxUnanswered {
				inodes[s.Inode] = true
			}
		}
		return nil
	})
	if err != nil {
		return raw, err
	}
	raw.named = silentServers(ctx, h)
	if len(inodes) == 0 {
		return raw, nil
	}
	if raw.owners, err = findOwners(ctx, h, inodes); err != nil {
		raw.owners = nil // whose they are may stay unknown
	}
	return raw, nil
}

func unanswered(cur unansweredRaw, prev *unansweredRaw, _ time.Duration) (unansweredFacts, error) {
	var f unansweredFacts
	if prev == nil {
		return f, nil
	}
	for _, s := range cur.opening {
		o, owned := cur.owners[s.inode]
		if !slices.Contains(prev.opening, s) || strings.HasPrefix(o.command, "hostmend") { // what the probes beside this one open
			continue
		}
		peer := s.to.String()
		i := slices.IndexFunc(f.Peers, func(p unansweredPeer) bool { return p.Peer == peer })
		if i < 0 {
			f.Peers, i = append(f.Peers, unansweredPeer{Peer: peer, Address: s.to.Addr().String(), Port: int(s.to.Port())}), len(f.Peers)
		}
		p := &f.Peers[i]
		p.Waiting++
		if _, known := p.Process.Get(); owned && !known {
			p.Process = probes.Some(o.String())
		}
	}
	for i := range cur.named {
		n := &cur.named[i]
		if !slices.ContainsFunc(f.Peers, func(p unansweredPeer) bool { return p.Address == n.Address }) {
			f.Peers = append(f.Peers, *n)
		}
	}
	slices.SortStableFunc(f.Peers, func(a, b unansweredPeer) int { return cmp.Compare(b.Waiting, a.Waiting) })
	f.Peers = f.Peers[:min(len(f.Peers), maxUnanswered)]
	return f, nil
}

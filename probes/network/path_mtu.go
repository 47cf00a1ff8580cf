package network

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// PathMTU looks for paths on which large packets vanish.
var PathMTU = probes.Define(probes.Probe[host.Host]{
	Name: "path_mtu",
	Doc: `Path MTU

Pings the gateway, the metadata service (on Alibaba Cloud) and the first name server that is not this host with packets as large as the
interface takes and the don't-fragment bit set. If such a packet gets no answer although a small one does, it looks for the largest that does, in
at most 6 more pings, and 6 that confirm what they say. Small packets pass, large ones vanish and no router says why: a black hole, in which connections open and then hang. A target
that refuses large pings on purpose looks the same. Costs 1 ms of CPU; at most 2.5 s of waiting, 1 ms where all is well.`,
	Needs:   probes.Network,
	Every:   10 * time.Minute,
	Timeout: 4 * time.Second,
}, pathMTU)

type pathMTUFacts struct {
	Paths []mtuPath `fact:"paths" doc:"One for each target"`
}

type mtuPath struct {
	Target    string             `fact:"target,key" doc:"The address"`
	Role      string             `fact:"role" doc:"\"gateway\", \"metadata\" or \"resolver\""`
	Interface string             `fact:"interface" doc:"The interface that leads there"`
	LinkMTU   int                `fact:"link_mtu" unit:"bytes" doc:"The largest packet that the interface takes"`
	Answers   probes.Opt[bool]   `fact:"answers" doc:"It answers pings at all; without that nothing is known of the path"`
	MTU       probes.Opt[int]    `fact:"mtu" unit:"bytes" doc:"The largest packet that was answered, or that a router said would pass; absent if nothing was answered"`
	Reported  probes.Opt[int]    `fact:"reported" unit:"bytes" doc:"What a router said would pass; absent if none said anything"`
	BlackHole probes.Opt[bool]   `fact:"black_hole" doc:"Packets larger than mtu vanish and no router says so; unreadable if the target does not answer pings"`
	Why       probes.Opt[string] `fact:"why" doc:"What came instead of an answer; absent if all is well"`
}

const (
	smallPing = 84  // what ping(8) sends: passes wherever IP does
	leastMTU  = 576 // below this, what vanishes is not for its size (RFC 791 asks every host to take 576 bytes)
	mtuSteps  = 6

	// Three waits that follow each other must fit into 2.5 s. Whatever answers within the same region does so within 50 ms.
	largeWait = 350 * time.Millisecond
	smallWait = 600 * time.Millisecond
	stepWait  = 200 * time.Millisecond
)

// usualMTUs are tried before any size between them: what every host must take, the minimum of IPv6, and what IPsec, WireGuard, VXLAN,
// GRE and PPPoE leave of an Ethernet.
var usualMTUs = []int{576, 1280, 1400, 1420, 1450, 1476, 1492, 1500}

func pathMTU(ctx context.Context, h host.Host) (pathMTUFacts, error) {
	targets, err := mtuTargets(ctx, h)
	if err != nil {
		return pathMTUFacts{}, err
	}
	if len(targets) == 0 {
		return pathMTUFacts{}, probes.NoData("there is no gateway and no other fixed address to ask")
	}
	f := pathMTUFacts{Paths: targets}
	var all sync.WaitGroup
	for i := range f.Paths {
		all.Go(func() { f.Paths[i].explore(ctx, h) })
	}
	all.Wait()
	return f, nil
}

func mtuTargets(ctx context.Context, h host.Host) ([]mtuPath, error) {
	hops, err := defaultHops(ctx, h)
	if err != nil {
		return nil, err
	}
	var paths []mtuPath
	if len(hops) > 0 {
		paths = append(paths, mtuPath{Target: hops[0].addr.String(), Role: "gateway", Interface: hops[0].name, LinkMTU: hops[0].mtu})
	}
	alibaba, err := onAlibaba(h)
	if err != nil {
		return nil, err
	}
	var others []mtuPath
	if alibaba {
		others = append(others, mtuPath{Target: metadataAddress, Role: "metadata"})
	}
	if server, ok := firstRemoteServer(h); ok {
		others = append(others, mtuPath{Target: server.String(), Role: "resolver"})
	}
	links, err := h.Links(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range others {
		r, err := h.RouteTo(ctx, netip.MustParseAddr(p.Target))
		i := slices.IndexFunc(links, func(l host.Link) bool { return l.Index == r.Link })
		if err != nil || i < 0 || slices.ContainsFunc(paths, func(o mtuPath) bool { return o.Target == p.Target }) {
			continue // no way there: not for its size
		}
		p.Interface, p.LinkMTU = links[i].Name, links[i].MTU
		if r.MTU > 0 {
			p.LinkMTU = min(p.LinkMTU, r.MTU)
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// firstRemoteServer is the first name server, also behind systemd-resolved's stub, that is not on this host.
func firstRemoteServer(h host.Host) (netip.Addr, bool) {
	for _, file := range []string{resolvConf, resolvedUpstreams} {
		data, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		for _, a := range parseResolvConf(string(data), &resolversFacts{}) {
			if !a.IsLoopback() {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

// explore sends the pings and fills in what they say.
func (p *mtuPath) explore(ctx context.Context, h host.Host) {
	fits := func(size int, wait time.Duration) (bool, error) {
		pong, err := pingOnce(ctx, h, host.Ping{Dst: netip.MustParseAddr(p.Target), Size: size, DF: true}, wait)
		if err == nil && pong.TooBig > 0 {
			p.Reported = probes.Some(pong.TooBig)
			return false, nil
		}
		return err == nil, err
	}
	ok, err := fits(p.LinkMTU, largeWait)
	if ok {
		p.Answers, p.MTU, p.BlackHole = probes.Some(true), probes.Some(p.LinkMTU), probes.Some(false)
		return
	}
	if reported, said := p.Reported.Get(); said {
		p.Answers, p.MTU, p.BlackHole = probes.Unread[bool]("a router answered in its place"), probes.Some(reported), probes.Some(false)
		return
	}
	p.Why = probes.Some(reason(err))
	p.Answers = probes.Some(false)
	if notAsked(err) {
		p.BlackHole, p.Answers = probes.Unread[bool](err.Error()), probes.Unread[bool](err.Error())
		return
	}
	if ok, _ = fits(smallPing, smallWait); !ok {
		p.BlackHole = probes.Unread[bool]("it answers no pings")
		return
	}
	p.Answers = probes.Some(true)
	largest := p.search(ctx, fits)
	p.MTU = probes.Some(largest)
	if _, said := p.Reported.Get(); said || largest == p.LinkMTU {
		p.BlackHole = probes.Some(false) // a single packet was lost, or a router spoke up after all
		return
	}
	if largest < leastMTU || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.BlackHole = probes.Unread[bool]("even packets that every network carries got no answer")
		return
	}
	if !p.sizeDecides(ctx, h, largest) {
		p.BlackHole = probes.Unread[bool]("packets of every size are lost now and then")
		return
	}
	p.BlackHole = probes.Some(true)
}

// confirmations is how many further packets of each size must all meet the same fate. Where one in five is lost at random, two large
// ones lost and three times three as they should be is one chance in some thousands.
const confirmations = 3

// sizeDecides tells a black hole from a line that loses packets of any size.
func (p *mtuPath) sizeDecides(ctx context.Context, h host.Host, fitting int) bool {
	answered := func(size int) bool {
		_, err := pingOnce(ctx, h, host.Ping{Dst: netip.MustParseAddr(p.Target), Size: size, DF: true}, stepWait)
		return err == nil // also by a router that says how large it may be
	}
	var all sync.WaitGroup
	var small, large [confirmations]bool
	for i := range confirmations {
		all.Go(func() { small[i] = answered(fitting) })
		all.Go(func() { large[i] = answered(p.LinkMTU) })
	}
	all.Wait()
	return !slices.Contains(small[:], false) && !slices.Contains(large[:], true)
}

// search finds the largest packet that is answered between the small one, which was, and the large one, which was not. The large one
// gets a second chance first.
func (p *mtuPath) search(ctx context.Context, fits func(int, time.Duration) (bool, error)) int {
	low, high := smallPing, p.LinkMTU+1
	size := p.LinkMTU
	for range mtuSteps {
		if ok, _ := fits(size, stepWait); ok {
			low = size
		} else {
			high = size
		}
		if size = (low + high) / 2; high-low <= 1 || ctx.Err() != nil {
			break
		}
		var between []int
		for _, s := range usualMTUs {
			if low < s && s < high {
				between = append(between, s)
			}
		}
		if len(between) > 0 {
			size = between[len(between)/2]
		}
	}
	return low
}

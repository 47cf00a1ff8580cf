package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Gateway asks the next hop of every default route whether it is there.
var Gateway = probes.Define(probes.Probe[host.Host]{
	Name: "gateway",
	Doc: `Default gateways

Pings the gateway of every default route of the main table, twice if need be. One that does not answer ICMP is alive if the neighbour table
holds a fresh answer of its address resolution, or if it refuses or accepts a TCP connection; it is dead if its address cannot be resolved. In
between (an entry that is stale, no answer to anything) nobody knows, and alive is unreadable. Costs 0.3 ms of CPU and at most 1.4 s of waiting.`,
	Needs:   probes.Network,
	Every:   time.Minute,
	Timeout: 3 * time.Second,
}, gateway)

type gatewayFacts struct {
	Gateways []gatewayAnswer `fact:"gateways" doc:"One for each next hop of a default route"`
}

type gatewayAnswer struct {
	Hop       string                    `fact:"hop,key" doc:"Address and interface: \"10.0.0.1 eth0\""`
	Address   string                    `fact:"address" doc:"The gateway's address"`
	Interface string                    `fact:"interface" doc:"The interface it is reached by; empty if it cannot be told"`
	Family    int                       `fact:"family" unit:"code" doc:"4 or 6"`
	Metric    int                       `fact:"metric" unit:"count" doc:"The route's metric; the lowest is used"`
	Preferred bool                      `fact:"preferred" doc:"No other default route of its family has a lower metric"`
	Alive     probes.Opt[bool]          `fact:"alive" doc:"It answered, or its address was resolved just now; false: its address cannot be resolved, or there is no way to it"`
	Pinged    bool                      `fact:"pinged" doc:"It answered an ICMP echo"`
	RTT       probes.Opt[time.Duration] `fact:"rtt" doc:"How long the echo took; absent without an answer"`
	Neighbour probes.Opt[string]        `fact:"neighbour" doc:"Its state in the neighbour table after the ping, where that did not answer: \"reachable\", \"stale\", \"failed\", …; absent if it is not there"`
	Why       probes.Opt[string]        `fact:"why" doc:"What became of the ping; absent if it was answered"`
}

// Two pings of half a second: any gateway on the same wire answers within 10 ms, and one lost packet is no proof.
const (
	gatewayPings = 2
	gatewayWait  = 500 * time.Millisecond
	maxGateways  = 8
)

func gateway(ctx context.Context, h host.Host) (gatewayFacts, error) {
	hops, err := defaultHops(ctx, h)
	if err != nil {
		return gatewayFacts{}, err
	}
	if len(hops) == 0 {
		return gatewayFacts{}, probes.NoData("there is no default route with a gateway")
	}
	f := gatewayFacts{Gateways: make([]gatewayAnswer, len(hops))}
	var all sync.WaitGroup
	for i, hop := range hops {
		all.Go(func() { f.Gateways[i] = askGateway(ctx, h, hop) })
	}
	all.Wait()
	for i := range f.Gateways {
		g := &f.Gateways[i]
		g.Preferred = !slices.ContainsFunc(f.Gateways, func(o gatewayAnswer) bool { return o.Family == g.Family && o.Metric < g.Metric })
	}
	return f, nil
}

// hop is the next hop of a default route.
type hop struct {
	addr   netip.Addr
	link   int
	name   string
	mtu    int
	metric int
}

// defaultHops lists the gateways of the main table's default routes, the one that is used first.
func defaultHops(ctx context.Context, h host.Host) ([]hop, error) {
	var hops []hop
	const mainTable = 254
	err := h.Routes(ctx, func(r *host.Route) error {
		if r.Table != mainTable || r.Dst.Bits() != 0 || !r.Gateway.IsValid() {
			return nil
		}
		if len(hops) < maxGateways && !slices.ContainsFunc(hops, func(o hop) bool { return o.addr == r.Gateway && o.link == r.Link }) {
			hops = append(hops, hop{addr: r.Gateway, link: r.Link, metric: r.Metric})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	links, err := h.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	for i := range hops {
		o := &hops[i]
		if n := slices.IndexFunc(links, func(l host.Link) bool { return l.Index == o.link }); n >= 0 {
			o.name, o.mtu = links[n].Name, links[n].MTU
		}
		if o.addr.IsLinkLocalUnicast() && o.addr.Is6() {
			o.addr = o.addr.WithZone(o.name)
		}
	}
	slices.SortStableFunc(hops, func(a, b hop) int { return a.metric - b.metric })
	return hops, nil
}

func askGateway(ctx context.Context, h host.Host, o hop) gatewayAnswer {
	a := gatewayAnswer{
		Hop: strings.TrimSpace(o.addr.WithZone("").String() + " " + o.name), Address: o.addr.WithZone("").String(), Interface: o.name, Metric: o.metric,
		Alive: probes.Unread[bool]("it answers neither ICMP nor TCP, and the neighbour table holds no fresh entry"),
	}
	if a.Family = 4; o.addr.Is6() {
		a.Family = 6
	}
	rtt, err := pingTimes(ctx, h, host.Ping{Dst: o.addr}, gatewayPings, gatewayWait)
	if err == nil {
		a.Alive, a.Pinged, a.RTT = probes.Some(true), true, probes.Some(rtt)
		return a
	}
	a.Why = probes.Some(reason(err))
	state, listErr := neighbourState(ctx, h, o)
	if listErr == nil && state != "" {
		a.Neighbour = probes.Some(state)
	}
	asked := !notAsked(err)
	switch {
	case state == "reachable":
		a.Alive = probes.Some(true)
	// An entry may have failed long ago: only after a ping does it say how things are now.
	case asked && (state == "failed" || state == "incomplete"), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		a.Alive = probes.Some(false)
	case answersTCP(ctx, h, o.addr):
		a.Alive = probes.Some(true)
	case !asked:
		a.Alive = probes.Unread[bool](err.Error())
	}
	return a
}

// pingTimes pings until an answer comes, at most so many times, each with its own patience.
func pingTimes(ctx context.Context, h host.Host, p host.Ping, times int, wait time.Duration) (time.Duration, error) {
	var err error
	for range times {
		var pong host.Pong
		pong, err = pingOnce(ctx, h, p, wait)
		if err == nil {
			return pong.RTT, nil
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			break
		}
	}
	return 0, err
}

func pingOnce(ctx context.Context, h host.Host, p host.Ping, wait time.Duration) (host.Pong, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return h.Ping(ctx, p)
}

func neighbourState(ctx context.Context, h host.Host, o hop) (string, error) {
	state := ""
	err := h.Neighbours(ctx, func(n *host.Neighbour) error {
		if n.Link == o.link && n.IP.WithZone("") == o.addr.WithZone("") {
			state = n.State
		}
		return nil
	})
	return state, err
}

// answersTCP reports whether anything comes back from one of two ports that routers have, be it a refusal.
func answersTCP(ctx context.Context, h host.Host, addr netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
	defer cancel()
	ports := []uint16{53, 80}
	back := make(chan bool, len(ports))
	for _, port := range ports {
		go func() {
			_, err := h.Connect(ctx, netip.AddrPortFrom(addr, port))
			back <- err == nil || errors.Is(err, syscall.ECONNREFUSED)
		}()
	}
	for range ports {
		if <-back {
			return true
		}
	}
	return false
}

// notAsked tells that a question was not put to the network at all, so that nothing is known: this process may not, or the replayed
// capture does not say. (A firewall rule that drops what leaves also says EPERM, as an errno; then the answer is that nothing gets out.)
func notAsked(err error) bool {
	_, refused := errors.AsType[syscall.Errno](err)
	return errors.Is(err, host.ErrNotCaptured) || errors.Is(err, host.ErrOffline) || errors.Is(err, host.ErrUnsupported) ||
		errors.Is(err, fs.ErrPermission) && !refused
}

const noAnswer = "no answer"

// reason is why something was not answered, without the question that was asked.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return noAnswer
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}

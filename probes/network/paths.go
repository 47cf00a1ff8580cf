package network

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Paths pings what this host always needs, several times.
var Paths = probes.Define(probes.Probe[host.Host]{
	Name: "paths",
	Doc: `Loss and delay on the way out

Pings the IPv4 gateways, the name servers and, on Alibaba Cloud, the metadata service, five times each, at most six of them; and fifteen times
more, within half a second, if a ping of one that answers was lost or took over 20 ms. One that answers none says nothing: many ignore pings. A router
may also answer only some (it limits its ICMP), so that loss means a broken path only where all that answer lose. Costs 1 ms of CPU, and at most
1.3 s of waiting.`,
	Needs:   probes.Network,
	Every:   time.Minute,
	Timeout: 3 * time.Second,
}, paths)

type pathsFacts struct {
	Targets   []pathTarget         `fact:"targets" doc:"What was pinged"`
	Answering int                  `fact:"answering" unit:"count" doc:"Those that answered at least once"`
	Loss      probes.Opt[float64]  `fact:"loss_pct" unit:"%" doc:"Loss of all pings to them; absent if none answered"`
	LeastLoss probes.Opt[float64]  `fact:"least_loss_pct" unit:"%" doc:"Loss to the one of them that lost least; absent if none answered"`
	LeastRTT  probes.Opt[duration] `fact:"least_rtt" doc:"The shortest round trip of all; absent if none answered"`
}

type pathTarget struct {
	Address  string               `fact:"address,key" doc:"Its address"`
	Role     string               `fact:"role" doc:"gateway, resolver or metadata"`
	Sent     int                  `fact:"sent" unit:"count" doc:"Pings sent"`
	Received int                  `fact:"received" unit:"count" doc:"Answers within half a second"`
	LossPct  probes.Opt[float64]  `fact:"loss_pct" unit:"%" doc:"Share that was not answered; absent if none was"`
	RTT      probes.Opt[duration] `fact:"rtt" doc:"The shortest round trip"`
	RTTMax   probes.Opt[duration] `fact:"rtt_max" doc:"The longest round trip"`
}

const (
	firstPings   = 5
	morePings    = 15
	pingSpacing  = 25 * time.Millisecond
	pathPatience = 500 * time.Millisecond
	longRTT      = 20 * time.Millisecond
	maxTargets   = 6
)

func paths(ctx context.Context, h host.Host) (pathsFacts, error) {
	targets, err := pathTargets(ctx, h)
	if err != nil {
		return pathsFacts{}, err
	}
	if len(targets) == 0 {
		return pathsFacts{}, probes.NoData("there is neither a gateway nor a name server elsewhere")
	}
	rounds := make([]pings, len(targets))
	each := func(f func(i int)) {
		var all sync.WaitGroup
		for i := range targets {
			all.Go(func() { f(i) })
		}
		all.Wait()
	}
	each(func(i int) { rounds[i] = pingTarget(ctx, h, targets[i].Addr, firstPings) })
	for _, r := range rounds {
		if r.notAsked != nil {
			return pathsFacts{}, r.notAsked
		}
	}
	if slices.ContainsFunc(rounds, func(r pings) bool { return len(r.rtts) > 0 && (len(r.rtts) < r.sent || slices.Min(r.rtts) > longRTT) }) {
		each(func(i int) {
			if len(rounds[i].rtts) == 0 {
				return
			}
			more := pingTarget(ctx, h, targets[i].Addr, morePings)
			rounds[i].sent, rounds[i].rtts = rounds[i].sent+more.sent, append(rounds[i].rtts, more.rtts...)
		})
	}
	return pathsOf(targets, rounds), nil
}

// pathTargets lists what is pinged: IPv4, for a host with a broken IPv6 beside it works.
func pathTargets(ctx context.Context, h host.Host) ([]Target, error) {
	all, err := Targets(ctx, h)
	if err != nil {
		return nil, err
	}
	here, err := onAlibaba(h)
	if err != nil {
		return nil, err
	}
	if here {
		all = append(all, Target{netip.MustParseAddr(metadataAddress), "metadata"})
	}
	var targets []Target
	for _, t := range all {
		if t.Addr.Is4() && len(targets) < maxTargets && !slices.ContainsFunc(targets, func(o Target) bool { return o.Addr == t.Addr }) {
			targets = append(targets, t)
		}
	}
	return targets, nil
}

// pings is what became of some pings to one target.
type pings struct {
	sent     int
	rtts     []time.Duration
	notAsked error
}

func pingTarget(ctx context.Context, h host.Host, dst netip.Addr, times int) pings {
	type pong struct {
		rtt time.Duration
		err error
	}
	back := make(chan pong, times)
	for i := range times {
		if i > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pingSpacing): //nolint:forbidigo // Sleep would move a replay's clock under the probes that sample
			}
		}
		go func() {
			p, err := pingOnce(ctx, h, host.Ping{Dst: dst}, pathPatience)
			back <- pong{p.RTT, err}
		}()
	}
	r := pings{sent: times}
	for range times {
		p := <-back
		switch {
		case p.err == nil:
			r.rtts = append(r.rtts, p.rtt)
		case notAsked(p.err):
			r.notAsked = p.err
		}
	}
	return r
}

func pathsOf(targets []Target, rounds []pings) pathsFacts {
	var f pathsFacts
	sent, received := 0, 0
	for i, t := range targets {
		r := rounds[i]
		p := pathTarget{Address: t.Addr.String(), Role: t.Role, Sent: r.sent, Received: len(r.rtts)}
		if len(r.rtts) > 0 {
			f.Answering++
			sent, received = sent+r.sent, received+len(r.rtts)
			loss, least := 100*float64(r.sent-len(r.rtts))/float64(r.sent), slices.Min(r.rtts)
			p.LossPct, p.RTT, p.RTTMax = probes.Some(loss), probes.Some(least), probes.Some(slices.Max(r.rtts))
			if l, ok := f.LeastLoss.Get(); !ok || loss < l {
				f.LeastLoss = probes.Some(loss)
			}
			if l, ok := f.LeastRTT.Get(); !ok || least < l {
				f.LeastRTT = probes.Some(least)
			}
		}
		f.Targets = append(f.Targets, p)
	}
	if sent > 0 {
		f.Loss = probes.Some(100 * float64(sent-received) / float64(sent))
	}
	return f
}

package linux

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// This file judges what a host forwards for its containers, by the rules that firewall.go has read.

type bridgeVerdict struct {
	Bridge  string             `fact:"bridge,key" doc:"The bridge: docker0"`
	Network string             `fact:"network" doc:"Its IPv4 network"`
	Hidden  bool               `fact:"hidden" doc:"A rule hides what comes from there behind this host's address, so it is meant to reach others"`
	Verdict string             `fact:"verdict" doc:"What becomes of a connection from there to a web server on the Internet: pass, drop, reject or unknown"`
	Blocked probes.Opt[bool]   `fact:"blocked" doc:"Neither that nor questions for names, nor connections to private networks and to hosts that rules name, get through and are answered"`
	Rule    probes.Opt[string] `fact:"rule" doc:"The rule that stops the first of them, or policy; absent if none does"`
	Chain   probes.Opt[string] `fact:"chain" doc:"The chain of that rule: family, table and name"`
}

// IFF_UP and IFF_LOWER_UP of linux/if.h: switched on, and something on it is.
const flagsAlive = 1 | 1<<16

// judgeBridges walks what a container on each bridge would ask.
func judgeBridges(ctx context.Context, h host.Host, rules *ruleset, fuel *int) ([]bridgeVerdict, error) {
	links, err := h.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	bridges := slices.DeleteFunc(links, func(l host.Link) bool { return l.Kind != "bridge" || l.Flags&flagsAlive != flagsAlive })
	if len(bridges) == 0 {
		return nil, nil
	}
	route, err := h.RouteTo(ctx, strangers[false])
	if noWay(err) {
		return nil, nil // nobody gets out; that is the routes' trouble
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the way out: %w", err)
	}
	names, err := linkNames(ctx, h)
	if err != nil {
		return nil, err
	}
	addrs, err := h.Addrs(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	var all []bridgeVerdict
	for _, b := range bridges {
		at := slices.IndexFunc(addrs, func(a host.Addr) bool { return a.Link == b.Index && a.Prefix.Addr().Is4() })
		if at < 0 || b.Index == route.Link {
			continue
		}
		if inside := neighboursOf(wayIn{addr: addrs[at].Prefix}); len(inside) > 0 {
			all = append(all, judgeBridge(rules, b.Name, addrs[at].Prefix.Masked(), inside[0], linkName(names, route.Link), fuel))
		}
	}
	return all, nil
}

func judgeBridge(rules *ruleset, bridge string, network netip.Prefix, src netip.Addr, oif string, fuel *int) bridgeVerdict {
	const theirPort = 50007
	first := packet{src: src, dst: strangers[false], sport: theirPort, dport: 443, iif: bridge, oif: oif, markKnown: true}
	stopped, hidden := bothWays(rules, first, fuel)
	v := bridgeVerdict{Bridge: bridge, Network: network.String(), Verdict: stopped.verdict, Hidden: hidden, Blocked: probes.Some(true)}
	if stopped.verdict == "pass" {
		v.Blocked = probes.Some(false)
		return v
	}
	v.Rule, v.Chain = probes.Some(stopped.rule), probes.Some(stopped.chain)
	for _, dst := range append(append([]netip.Addr{strangers[false]}, residents[false]...), rules.peers...) {
		if !dst.Is4() || network.Contains(dst) {
			continue
		}
		for _, udp := range []bool{false, true} {
			p := first
			p.dst = dst
			if udp {
				p.udp, p.dport = true, 53
			}
			switch f, _ := bothWays(rules, p, fuel); f.verdict {
			case "pass":
				v.Blocked = probes.Some(false)
				return v
			case "unknown":
				v.Blocked = probes.Unread[bool]("some rules cannot be decided beforehand: " + f.why)
			}
		}
	}
	return v
}

// bothWays is what stops a forwarded packet or its answer, and whether its source is hidden on the way.
func bothWays(rules *ruleset, p packet, fuel *int) (stopped fate, hidden bool) {
	sent := rules.follow(p, fuel)
	if sent.verdict != "pass" {
		// A packet that is stopped does not get to the rules that would hide it: ask those alone.
		nat := ruleset{through: slices.DeleteFunc(slices.Clone(rules.through), func(c *chain) bool { return c.hook != "postrouting" }), called: rules.called}
		return sent, nat.follow(p, fuel).hidden
	}
	back := p
	back.src, back.dst, back.sport, back.dport = p.dst, p.src, p.dport, p.sport
	back.iif, back.oif, back.answer = p.oif, p.iif, true
	return rules.follow(back, fuel), sent.hidden
}

package network

import (
	"context"
	"net/netip"

	"github.com/hostmend/hostmend/internal/host"
)

// Target is an address that this host depends on, and what for.
type Target struct {
	Addr netip.Addr
	Role string // "gateway", "resolver"
}

// Targets lists the gateways and name servers of a host: what is worth pinging before anything else is named.
func Targets(ctx context.Context, h host.Host) ([]Target, error) {
	hops, err := defaultHops(ctx, h)
	if err != nil {
		return nil, err
	}
	var targets []Target
	for _, o := range hops {
		targets = append(targets, Target{o.addr, "gateway"})
	}
	for _, file := range []string{resolvConf, resolvedUpstreams} {
		text, err := readIfThere(h, file)
		if err != nil {
			return nil, err
		}
		for _, a := range parseResolvConf(text, &resolversFacts{}) {
			if !a.IsLoopback() && len(targets) < maxGateways+maxUpstreams {
				targets = append(targets, Target{a, "resolver"})
			}
		}
	}
	return targets, nil
}

package linux

import (
	"slices"

	"github.com/hostmend/hostmend/probes"
)

// This file finds the rules that let a client in and then lose some of his packets.

type partialDrop struct {
	Rule    string          `fact:"rule,key" doc:"Its chain and the rule"`
	By      string          `fact:"by" doc:"What it hangs on: chance, rate or content"`
	Socket  string          `fact:"socket" doc:"The first listener whose packets, or answers, meet it"`
	Port    int             `fact:"port" unit:"port" doc:"Its port"`
	Packets probes.Opt[int] `fact:"packets" unit:"packets" doc:"How many it has dropped; absent if it has no counter"`
}

const maxPartial = 16

// judgePartial walks a client's first packet, the answer and a further packet, and heeds such rules on the way.
func judgePartial(rules *ruleset, ways []wayIn, sockets []listener, fuel *int) []partialDrop {
	if !rules.partly {
		return nil
	}
	var all []partialDrop
	defer func() { rules.heed = nil }()
	for _, l := range sockets {
		rules.heed = func(c *chain, r *rule, some string) {
			text := c.family + " " + c.table + " " + c.name + ": " + r.text
			if len(all) < maxPartial && !slices.ContainsFunc(all, func(p partialDrop) bool { return p.Rule == text }) {
				all = append(all, partialDrop{Rule: text, By: some, Socket: l.key(), Port: int(l.at.Port()), Packets: r.packets})
			}
		}
		v6 := l.at.Addr().Is6()
		w := waysTo(ways, l.at.Addr())[0]
		for _, p := range conversation(packet{
			v6: v6, udp: l.udp, src: strangers[v6], dst: w.addr.Addr(), iif: w.iif, markKnown: true,
			sport: theirClientPort, dport: int(l.at.Port()),
		}) {
			rules.follow(p, fuel)
		}
	}
	return all
}

package linux

import (
	"net/netip"
	"slices"

	"github.com/hostmend/hostmend/probes"
)

// This file judges connections within a host.

type localVerdict struct {
	Socket   string             `fact:"socket,key" doc:"Address and port of the listener: tcp/127.0.0.1:6379"`
	Port     int                `fact:"port" unit:"port" doc:"The port"`
	Loopback bool               `fact:"loopback" doc:"Only this host can reach it at all"`
	Blocked  bool               `fact:"blocked" doc:"A rule stops the connection, its answer or what follows"`
	Rule     probes.Opt[string] `fact:"rule" doc:"That rule, or policy; absent if none does"`
	Chain    probes.Opt[string] `fact:"chain" doc:"The chain of that rule: family, table and name"`
	MovedTo  probes.Opt[string] `fact:"moved_to" doc:"Where a rule sends it instead; absent if it goes where it is sent"`
	MovedBy  probes.Opt[string] `fact:"moved_by" doc:"The rule that does"`
	Dead     probes.Opt[bool]   `fact:"moved_to_nobody" doc:"Nobody listens there; absent if it is another host, or not moved"`
}

const (
	maxLocal        = 64
	theirClientPort = 50007 // out of what rules name
)

// comeIn follows a packet in, its answer out, and a further packet in. What cannot be decided of the later ones says nothing.
func (r *ruleset) comeIn(p packet, fuel *int) fate {
	first := r.follow(p, fuel)
	if first.verdict != "pass" || first.moved != nil {
		return first
	}
	for _, next := range conversation(p)[1:] {
		if f := r.follow(next, fuel); f.verdict == "drop" || f.verdict == "reject" {
			return f
		}
	}
	return first
}

// conversation is a first packet in, the answer to it, and a further packet in.
func conversation(p packet) []packet {
	back, later := p, p
	back.src, back.dst, back.sport, back.dport, back.iif, back.oif, back.answer = p.dst, p.src, p.dport, p.sport, "", p.iif, true
	later.later = true
	return []packet{p, back, later}
}

// judgeLocal walks connections from this host to its own listeners, out by loopback and in again.
func judgeLocal(rules *ruleset, served []listener, fuel *int) probes.Cut[localVerdict] {
	var list probes.Cut[localVerdict]
	for _, l := range served {
		at := l.at.Addr()
		if l.udp || !at.Is4() || slices.ContainsFunc(list.All, func(v localVerdict) bool { return v.Socket == l.key() }) {
			continue
		}
		if len(list.All) == maxLocal {
			list.More++
			continue
		}
		if at.IsUnspecified() {
			at = loopback(false)
		}
		list.All = append(list.All, judgeWithin(rules, l, at, served, fuel))
	}
	return list
}

func judgeWithin(rules *ruleset, l listener, dst netip.Addr, served []listener, fuel *int) localVerdict {
	v := localVerdict{Socket: l.key(), Port: int(l.at.Port()), Loopback: l.at.Addr().IsLoopback()}
	out := packet{src: dst, dst: dst, sport: theirClientPort, dport: v.Port, oif: "lo", markKnown: true, uid: anybody}
	sent := rules.follow(out, fuel)
	if sent.moved != nil && sent.verdict == "pass" {
		v.MovedTo, v.MovedBy = probes.Some(sent.to.String()), probes.Some(sent.moved.rule)
		if sent.to.Addr().IsLoopback() || sent.to.Addr() == dst {
			v.Dead = probes.Some(!answersAt(served, false, sent.to))
		}
		return v
	}
	in, back, backIn := out, out, out
	in.oif, in.iif = "", "lo"
	back.sport, back.dport, back.answer = out.dport, out.sport, true
	backIn.sport, backIn.dport, backIn.answer, backIn.oif, backIn.iif = out.dport, out.sport, true, "", "lo"
	for _, p := range []packet{out, in, back, backIn} {
		if f := rules.follow(p, fuel); f.verdict == "drop" || f.verdict == "reject" {
			v.Blocked, v.Rule, v.Chain = true, probes.Some(f.rule), probes.Some(f.chain)
			return v
		}
	}
	return v
}

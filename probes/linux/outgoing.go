package linux

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// This file judges what a host sends, by the rules that firewall.go has read.

// question is what this host asks of another.
type question struct {
	role string
	udp  bool
	to   netip.AddrPort
}

func (f question) key() string { return listener{f.udp, f.to}.key() }

// metadataAddr answers only on Alibaba Cloud; elsewhere the rules for it are judged as well, which tells nothing and costs nothing.
var metadataAddr = netip.MustParseAddr("100.100.100.200")

// maxOutgoing bounds the name servers that are looked at; the C library asks three.
const maxOutgoing = 6

// resolverQuestions are those to name servers. A resolver on this host is asked over loopback; those that it asks are in systemd-resolved's
// own file.
func resolverQuestions(h host.Files) ([]question, error) {
	var flows []question
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		text, err := h.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "nameserver" || len(flows) >= maxOutgoing {
				continue
			}
			a, err := netip.ParseAddr(words[1])
			f := question{"resolver", true, netip.AddrPortFrom(a.WithZone(""), 53)}
			if err == nil && !a.IsLoopback() && !slices.Contains(flows, f) {
				flows = append(flows, f)
			}
		}
	}
	return flows, nil
}

// questionsOut lists what is judged.
func questionsOut(h host.Files) ([]question, error) {
	flows, err := resolverQuestions(h)
	if err != nil {
		return nil, err
	}
	return append(flows,
		question{"metadata", false, netip.AddrPortFrom(metadataAddr, 80)},
		question{"time", true, netip.AddrPortFrom(strangers[false], 123)},
		question{"web", false, netip.AddrPortFrom(strangers[false], 443)}), nil
}

// judgeOutgoing walks each question out and its answer back.
func judgeOutgoing(ctx context.Context, h host.Host, rules *ruleset, served []listener, fuel *int) ([]outgoingVerdict, error) {
	flows, err := questionsOut(h)
	if err != nil {
		return nil, err
	}
	names, err := linkNames(ctx, h)
	if err != nil {
		return nil, err
	}
	var all []outgoingVerdict
	for _, f := range flows {
		route, err := h.RouteTo(ctx, f.to.Addr())
		if noWay(err) {
			continue // what no route leads to is the routes' trouble
		}
		if err == nil && !route.PrefSrc.IsValid() {
			err = errors.New("the kernel does not say from which address it would be sent")
		}
		if err != nil {
			all = append(all, outgoingVerdict{
				Flow: f.key(), Role: f.role, Server: f.to.Addr().String(), Verdict: "unknown", Answer: "unknown", Blocked: probes.Unread[bool](err.Error()),
			})
			continue
		}
		v, as := judgeFlow(rules, f, route.PrefSrc, linkName(names, route.Link), served, fuel)
		if as != nil && as.as.IsValid() && isForeign(ctx, h, as.as) {
			v.Answer, v.Blocked, v.Rule, v.Chain = "lost", probes.Some(true), probes.Some(as.hider.rule), probes.Some(as.hider.chain)
		}
		all = append(all, v)
	}
	return all, nil
}

// isForeign reports whether an address is none of this host's, so that an answer to it goes elsewhere.
func isForeign(ctx context.Context, h host.Host, a netip.Addr) bool {
	all, err := h.Addrs(ctx)
	return err == nil && !slices.ContainsFunc(all, func(own host.Addr) bool { return own.Prefix.Addr() == a })
}

// judgeFlow also returns what became of a question whose source a rule rewrites.
func judgeFlow(rules *ruleset, f question, src netip.Addr, oif string, served []listener, fuel *int) (outgoingVerdict, *fate) {
	const ourPort = 50007 // out of what rules name
	out := packet{
		v6: src.Is6(), udp: f.udp, src: src, dst: f.to.Addr(), sport: ourPort, dport: int(f.to.Port()), oif: oif, markKnown: true,
	}
	v := outgoingVerdict{Flow: f.key(), Role: f.role, Server: f.to.Addr().String()}
	sent := rules.follow(out, fuel)
	v.Verdict, v.Answer = sent.verdict, "unknown"
	if sent.moved != nil {
		v.MovedTo, v.MovedBy = probes.Some(sent.to.String()), probes.Some(sent.moved.rule)
		if sent.to.Addr().IsLoopback() {
			v.Dead = probes.Some(!answersAt(served, f.udp, sent.to))
		}
	}
	stopped := sent
	if sent.verdict == "pass" {
		back := packet{
			v6: out.v6, udp: f.udp, src: out.dst, dst: src, sport: out.dport, dport: ourPort, iif: oif, markKnown: true, answer: true,
		}
		stopped = rules.follow(back, fuel)
		v.Answer = stopped.verdict
	}
	if stopped.verdict == "pass" {
		out.uid = anybody
		if others := rules.follow(out, fuel); others.verdict == "drop" || others.verdict == "reject" {
			v.Others, v.Rule, v.Chain = probes.Some(true), probes.Some(others.rule), probes.Some(others.chain)
		}
	}
	switch stopped.verdict {
	case "pass":
		v.Blocked = probes.Some(false)
	case "unknown":
		v.Blocked = probes.Unread[bool]("some rules cannot be decided beforehand: " + stopped.why)
	default:
		v.Blocked, v.Rule, v.Chain = probes.Some(true), probes.Some(stopped.rule), probes.Some(stopped.chain)
	}
	if sent.verdict != "pass" || sent.hider == nil {
		return v, nil
	}
	return v, &sent
}

// anybody is the number of an account that rules have no reason to name.
const anybody = 64999

// noWay tells that the kernel knows no way to an address, or one that discards: ip-route(8) has the errors of each type.
func noWay(err error) bool {
	for _, e := range []syscall.Errno{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EACCES, syscall.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

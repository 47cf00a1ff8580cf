package linux

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// ipSet is a set of addresses or networks that iptables rules look into.
type ipSet struct {
	addrs map[netip.Addr]bool
	nets  []netip.Prefix
	other bool // it holds ports, interfaces, marks or what else a packet's address does not tell
}

// holds answers --match-set NAME FLAGS: src, dst, or several for a set of several parts. A set that is not known may hold anything.
func (s *ipSet) holds(p *packet, flags string) tri {
	a := p.src
	if flags == "dst" {
		a = p.dst
	}
	if s == nil || s.other || flags != "src" && flags != "dst" {
		return maybe
	}
	return truth(s.addrs[a] || slices.ContainsFunc(s.nets, func(n netip.Prefix) bool { return n.Contains(a) }))
}

// asksIPSets reports whether some rule looks into an ipset.
func (r *ruleset) asksIPSets() bool {
	for _, c := range r.called {
		if slices.ContainsFunc(c.rules, func(r rule) bool { return strings.Contains(r.text, "--match-set ") }) {
			return true
		}
	}
	return false
}

// readIPSets reads what `ipset save` prints; nil where it cannot be asked.
func readIPSets(ctx context.Context, h host.Host) map[string]*ipSet {
	out, err := h.Run(ctx, "ipset", "save")
	if err != nil || out.Exit != 0 {
		return nil
	}
	sets := map[string]*ipSet{}
	for line := range strings.Lines(string(out.Stdout)) {
		w := strings.Fields(line)
		switch {
		case len(w) >= 3 && w[0] == "create":
			sets[w[1]] = &ipSet{addrs: map[netip.Addr]bool{}, other: w[2] != "hash:ip" && w[2] != "hash:net" || slices.Contains(w, "netmask")}
		case len(w) >= 3 && w[0] == "add" && sets[w[1]] != nil:
			sets[w[1]].add(w[2], slices.Contains(w, "nomatch"))
		}
	}
	return sets
}

func (s *ipSet) add(entry string, nomatch bool) {
	if a, err := netip.ParseAddr(entry); err == nil && !nomatch {
		s.addrs[a] = true
		return
	}
	p, err := netip.ParsePrefix(entry)
	s.other = s.other || err != nil || nomatch
	s.nets = append(s.nets, p)
}

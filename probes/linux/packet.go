package linux

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/hostmend/hostmend/probes"
)

// This file walks a packet through a set of firewall rules as the kernel would, whatever tool they were written with. What cannot
// be known of a packet beforehand (its TTL, whether a rate is exceeded tomorrow) makes a rule match perhaps; both ways are then followed.

// tri is a truth value; and, or, not are min, max, minus.
type tri int8

const (
	no    tri = -1
	maybe tri = 0
	yes   tri = 1
)

func truth(b bool) tri {
	if b {
		return yes
	}
	return no
}

// packet is the first packet of a new connection, or a datagram: one that arrives from outside, one that root sends, or one that is
// forwarded from one interface to another.
type packet struct {
	v6, udp      bool
	src, dst     netip.Addr
	sport, dport int
	iif          string // the interface that it arrives by; empty for one that this host sends
	oif          string // the interface that it leaves by; empty for one that is for this host
	answer       bool   // it is the answer to one that went the other way
	later        bool   // it belongs to a connection that was answered
	uid          int    // who sends it, of those that this host sends

	mark      uint32
	markKnown bool
	ipsets    map[string]*ipSet // what --match-set looks into
	untracked bool              // a notrack rule matched
	moved     bool              // its destination was translated
	hidden    bool              // its source was
	hiddenAs  netip.Addr        // by what, where the rule names one address
}

// leaves reports whether the packet goes out, be it sent or forwarded.
func (p *packet) leaves() bool { return p.oif != "" }

// ours reports whether this host itself sends it.
func (p *packet) ours() bool { return p.leaves() && p.iif == "" }

// proto is the transport protocol's name.
func (p *packet) proto() string {
	if p.udp {
		return "udp"
	}
	return "tcp"
}

// end is where a packet may end up.
type end int8

const (
	goesOn end = iota // no decision: the next rule
	accept            // out of this base chain, on to the next
	drop
	reject
	lost // somewhere that cannot be followed: a program's queue, another host
	leave
	jump
	jumpForGood // goto: what ends there returns to where this chain was called from
)

// result is what a step of a rule makes of a packet.
type result struct {
	match  tri
	why    string // maybe, lost: the expression that it hangs on
	end    end
	target string // jump: the chain
	some   string // what it hangs on differs from packet to packet of one connection: chance, rate or content
}

// step is one expression or statement of a rule; it may change the packet's mark or destination.
type step func(*packet) result

type rule struct {
	text    string
	steps   []step
	packets probes.Opt[int] // that matched, if the rule has a counter
}

// chain is a list of rules. A base chain has a hook.
type chain struct {
	table, name string
	family      string   // "ip", "ip6", "inet", "netdev"
	hook        string   // "ingress", "prerouting", "input"; empty for a chain that others jump to
	devices     []string // ingress: the interfaces; none: nft 1.0.6 does not say, so any
	priority    int
	nat         bool // it sees the first packet of a connection only
	policy      end
	rules       []rule
}

func (c *chain) sees(p *packet) bool {
	if c.nat && (p.answer || p.later) {
		return false
	}
	switch c.family {
	case "ip":
		return !p.v6
	case "ip6":
		return p.v6
	case "inet", "netdev":
		return c.hook != "ingress" || len(c.devices) == 0 || slices.Contains(c.devices, p.iif)
	default: // bridge, arp
		return false
	}
}

// addPeer notes a source that could be one of this host's clients.
func (r *ruleset) addPeer(a netip.Addr) {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || len(r.peers) >= maxPeers || slices.Contains(r.peers, a) {
		return
	}
	r.peers = append(r.peers, a)
}

// maxPeers is how many sources that rules name are tried: enough for the hand-written allow lists that lock people out, and few
// enough for a block list of thousands not to cost anything.
const maxPeers = 64

// ruleset is all chains of a host: base chains in the order in which a packet meets them.
type ruleset struct {
	base    []*chain          // of packets that arrive
	out     []*chain          // of packets that this host sends
	through []*chain          // of packets that it forwards
	called  map[string]*chain // by family, table and name
	rules   int
	// masquerades: some rule translates the source of what passes through.
	masquerades bool
	peers       []netip.Addr // sources that rules name: one address of each
	ipsets      map[string]*ipSet
	partly      bool                                 // some rule looks at what differs between packets of one connection
	heed        func(c *chain, r *rule, some string) // told of rules on the way that drop some packets of a connection; nil: nobody asks
}

func chainKey(family, table, name string) string { return family + " " + table + " " + name }

var (
	hookOrder    = []string{"ingress", "prerouting", "input"}
	outOrder     = []string{"output", "postrouting"}
	throughOrder = []string{"forward", "postrouting"} // what prerouting does is left out: it is seldom there to stop anything
)

func (r *ruleset) add(c *chain) {
	if r.called == nil {
		r.called = map[string]*chain{}
	}
	r.called[chainKey(c.family, c.table, c.name)] = c
	if slices.Contains(hookOrder, c.hook) {
		r.base = append(r.base, c)
	}
	if slices.Contains(outOrder, c.hook) {
		r.out = append(r.out, c)
	}
	if slices.Contains(throughOrder, c.hook) {
		r.through = append(r.through, c)
	}
}

// sort puts the base chains in the order of the packet's path. Chains of one priority keep theirs.
func (r *ruleset) sort() {
	for hooks, chains := range map[*[]string][]*chain{&hookOrder: r.base, &outOrder: r.out, &throughOrder: r.through} {
		slices.SortStableFunc(chains, func(a, b *chain) int {
			return cmp.Or(cmp.Compare(slices.Index(*hooks, a.hook), slices.Index(*hooks, b.hook)), cmp.Compare(a.priority, b.priority))
		})
	}
}

// fate is what becomes of a packet.
type fate struct {
	verdict string // "pass", "drop", "reject", "unknown"
	rule    string // what decided it
	chain   string
	why     string         // unknown: the expression that it hangs on
	to      netip.AddrPort // where it went, if its destination was translated
	moved   *decision      // the rule that translated it
	hidden  bool           // its source was translated
	hider   *decision      // the rule that translated it
	as      netip.Addr     // its new source, where the rule names one address
}

// byPolicy stands for a base chain's policy in the place of a rule.
const byPolicy = "policy"

// decision is a rule that may end the packet's way.
type decision struct{ rule, chain, why string }

// walk is one packet's way.
type walk struct {
	*ruleset
	packet
	fuel  *int
	chain *chain // the base chain it is in
	ends  map[end]decision
	why   string // the first expression that could not be decided
	mover *decision
	hider *decision
}

// maxDepth is how deep the kernel lets jumps nest: NFT_JUMP_STACK_SIZE.
const maxDepth = 16

// follow walks a packet through every base chain that sees it. fuel is the number of rules that may still be looked at.
func (r *ruleset) follow(p packet, fuel *int) fate {
	p.ipsets = r.ipsets
	w := &walk{ruleset: r, packet: p, fuel: fuel}
	blocked := map[end]decision{}
	passed := decision{}
	way := r.base
	switch {
	case p.ours():
		way = r.out
	case p.leaves():
		way = r.through
	}
	for _, c := range way {
		if !c.sees(&w.packet) {
			continue
		}
		w.chain, w.ends = c, map[end]decision{}
		if w.run(c, 0) {
			w.note(c.policy, decision{rule: byPolicy, chain: w.path(c)})
		}
		for _, e := range []end{drop, reject, lost} {
			if d, ok := w.ends[e]; ok {
				blocked[e] = cmp.Or(blocked[e], d)
			}
		}
		d, ok := w.ends[accept]
		if !ok {
			return w.judge(blocked, decision{}, false)
		}
		if d.rule != byPolicy || passed == (decision{}) || passed.rule == byPolicy && c.hook == "input" {
			passed = d // a rule that lets it through says more than a policy that does not stop it
		}
	}
	return w.judge(blocked, passed, true)
}

func (w *walk) judge(blocked map[end]decision, passed decision, passes bool) fate {
	f := w.verdict(blocked, passed, passes)
	f.hidden, f.hider, f.as = w.hidden, w.hider, w.hiddenAs
	if w.mover != nil {
		f.moved, f.to = w.mover, netip.AddrPortFrom(w.dst, uint16(w.dport))
	}
	return f
}

func (w *walk) verdict(blocked map[end]decision, passed decision, passes bool) fate {
	if d, ok := blocked[lost]; ok {
		return fate{verdict: "unknown", rule: d.rule, chain: d.chain, why: d.why}
	}
	for e, verdict := range map[end]string{drop: "drop", reject: "reject"} {
		d, ok := blocked[e]
		if !ok || verdict == "reject" && blocked[drop] != (decision{}) {
			continue // perhaps dropped, perhaps rejected: blocked either way
		}
		if passes {
			return fate{verdict: "unknown", rule: d.rule, chain: d.chain, why: w.why}
		}
		return fate{verdict: verdict, rule: d.rule, chain: d.chain}
	}
	return fate{verdict: "pass", rule: passed.rule, chain: passed.chain}
}

func (w *walk) path(c *chain) string { return c.family + " " + c.table + " " + c.name }

func (w *walk) note(e end, d decision) {
	if _, ok := w.ends[e]; !ok {
		w.ends[e] = d
	}
}

// run takes the packet through a chain and reports whether it may come back from it without a decision.
func (w *walk) run(c *chain, depth int) bool {
	for i := range c.rules {
		if *w.fuel--; *w.fuel < 0 {
			w.note(lost, decision{rule: c.rules[i].text, chain: w.path(c), why: "there are too many rules to follow"})
			return false
		}
		after := w.apply(c, &c.rules[i], depth)
		if after.comesBack && !after.goesOn {
			return true
		}
		if !after.goesOn {
			return false
		}
		if after.comesBack { // perhaps it left the chain, perhaps not
			rest := chain{table: c.table, name: c.name, family: c.family, rules: c.rules[i+1:]}
			w.run(&rest, depth)
			return true
		}
	}
	return true
}

// after says where a packet may be after a rule: at the next one, or back where the chain was called.
type after struct{ goesOn, comesBack bool }

func (w *walk) apply(c *chain, r *rule, depth int) after {
	certain := true
	before := w.packet
	for _, s := range r.steps {
		res := s(&w.packet)
		if res.some != "" && w.heed != nil && w.dropsThen(c, r, before) {
			w.heed(c, r, res.some)
		}
		if res.match == no {
			return after{goesOn: true}
		}
		if res.match == maybe {
			certain = false
			if w.why == "" {
				w.why = res.why
			}
		}
		if res.end == goesOn {
			continue
		}
		a := w.finish(c, r, res, depth)
		if certain {
			return a
		}
		w.forget(c, r, before)
		a.goesOn = true
		return a
	}
	if !certain {
		w.forget(c, r, before)
	}
	return after{goesOn: true}
}

// dropsThen reports whether a rule drops the packet if what differs from packet to packet is so.
func (w *walk) dropsThen(c *chain, r *rule, p packet) bool {
	for _, s := range r.steps {
		res := s(&p)
		switch {
		case res.match == no && res.some == "":
			return false
		case res.end == drop || res.end == reject:
			return true
		case res.end == jump || res.end == jumpForGood: // to a chain that logs and drops, perhaps
			target := w.called[chainKey(c.family, c.table, res.target)]
			return target != nil && slices.ContainsFunc(target.rules, func(r rule) bool {
				return len(r.steps) == 1 && (r.steps[0](&p).end == drop || r.steps[0](&p).end == reject)
			})
		}
	}
	return false
}

// forget takes back what a rule did that perhaps did not match: a mark is then not known, and neither is where a
// translated packet went.
func (w *walk) forget(c *chain, r *rule, before packet) {
	if w.dport != before.dport || w.moved != before.moved || w.untracked != before.untracked {
		w.note(lost, decision{rule: r.text, chain: w.path(c), why: w.why})
	}
	known := w.mark == before.mark && w.markKnown == before.markKnown
	if !before.moved {
		w.mover = nil
	}
	if !before.hidden {
		w.hider = nil
	}
	w.packet = before
	w.markKnown = known && before.markKnown
}

// finish carries out a rule's verdict.
func (w *walk) finish(c *chain, r *rule, res result, depth int) after {
	switch res.end {
	case leave:
		return after{comesBack: true}
	case jump, jumpForGood:
		target := w.called[chainKey(c.family, c.table, res.target)]
		if target == nil || depth >= maxDepth {
			w.note(lost, decision{rule: r.text, chain: w.path(c), why: "the chain " + res.target + " cannot be followed"})
			return after{}
		}
		back := w.run(target, depth+1)
		if res.end == jump {
			return after{goesOn: back}
		}
		return after{comesBack: back}
	default:
		d := decision{rule: r.text, chain: w.path(c), why: res.why}
		if res.end == accept && w.moved && w.mover == nil {
			w.mover = &d
		}
		if res.end == accept && w.hidden && w.hider == nil {
			w.hider = &d
		}
		w.note(res.end, d)
		return after{}
	}
}

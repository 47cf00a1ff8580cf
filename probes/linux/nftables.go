package linux

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/probes"
)

// This file reads `nft -j list ruleset` (libnftables-json(5)). Its expressions are objects with one key, which names their kind.

type nftDump struct {
	Nftables []struct { // each holds one of these
		Chain *nftChain `json:"chain"`
		Rule  *nftRule  `json:"rule"`
		Set   *nftSet   `json:"set"`
		Map   *nftSet   `json:"map"`
	} `json:"nftables"`
}

type nftChain struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Hook   string `json:"hook"`
	Prio   int    `json:"prio"`
	Policy string `json:"policy"`
	Dev    any    `json:"dev"` // a name or a list of names
}

type nftRule struct {
	Family string           `json:"family"`
	Table  string           `json:"table"`
	Chain  string           `json:"chain"`
	Handle int              `json:"handle"`
	Expr   []map[string]any `json:"expr"`
}

type nftSet struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Elem   []any  `json:"elem"`
}

// nftables is a parsed rule set, and which of its tables hold expressions that only iptables-save can show.
type nftables struct {
	ruleset
	foreign map[string]bool // by family and table: "ip filter"
}

func parseNft(data []byte) (*nftables, error) {
	var dump nftDump
	if err := json.Unmarshal(data, &dump); err != nil {
		return nil, fmt.Errorf("reading the output of nft: %w", err)
	}
	if len(dump.Nftables) == 0 {
		return nil, errors.New("reading the output of nft: it holds no rule set, not even an empty one")
	}
	n := &nftables{foreign: map[string]bool{}}
	sets := map[string][]any{}
	for _, o := range dump.Nftables {
		for _, s := range []*nftSet{o.Set, o.Map} {
			if s != nil {
				sets[chainKey(s.Family, s.Table, s.Name)] = s.Elem
				n.collectPeers(s.Elem)
			}
		}
		if o.Chain == nil {
			continue
		}
		c := &chain{family: o.Chain.Family, table: o.Chain.Table, name: o.Chain.Name, hook: o.Chain.Hook, priority: o.Chain.Prio, nat: o.Chain.Type == "nat", policy: accept}
		if o.Chain.Policy == "drop" {
			c.policy = drop
		}
		for _, dev := range asList(o.Chain.Dev) {
			if name, ok := dev.(string); ok {
				c.devices = append(c.devices, name)
			}
		}
		n.add(c)
	}
	for _, o := range dump.Nftables {
		if o.Rule == nil {
			continue
		}
		c := n.called[chainKey(o.Rule.Family, o.Rule.Table, o.Rule.Chain)]
		if c == nil {
			return nil, fmt.Errorf("reading the output of nft: it has a rule of chain %s, but not the chain", o.Rule.Chain)
		}
		n.rules++
		t := nftTable{family: o.Rule.Family, table: o.Rule.Table, sets: sets}
		r := rule{text: nftRuleText(o.Rule)}
		for _, e := range o.Rule.Expr {
			_, masquerade := e["masquerade"]
			_, snat := e["snat"]
			n.masquerades = n.masquerades || masquerade || snat
			if _, ok := e["xt"]; ok {
				n.foreign[t.family+" "+t.table] = true
			}
			n.collectPeers(e)
			r.steps = append(r.steps, t.statement(e))
			n.partly = n.partly || differsIn(e)
			if m, _ := e["counter"].(map[string]any); m != nil {
				if n, ok := m["packets"].(float64); ok {
					r.packets = probes.Some(int(n))
				}
			}
		}
		c.rules = append(c.rules, r)
	}
	return n, nil
}

// differs says of the left side of a match why it is not the same for all packets of a connection; empty if it is.
func differs(left any) string {
	m, _ := left.(map[string]any)
	if _, ok := m["numgen"]; ok {
		return "chance"
	}
	payload, _ := m["payload"].(map[string]any)
	if meta, _ := m["meta"].(map[string]any); payload["base"] != nil || payload["field"] == "length" || meta["key"] == "length" {
		return "content"
	}
	return ""
}

// differsIn reports whether a statement is one that differs tells of, or a limit that matches what is above it.
func differsIn(e map[string]any) bool {
	for kind, arg := range e {
		m, _ := arg.(map[string]any)
		switch kind {
		case "match":
			return differs(m["left"]) != ""
		case "limit", "ct count":
			over, _ := m["inv"].(bool)
			return over
		case "set", "meter":
			return slices.ContainsFunc(asList(m["stmt"]), func(s any) bool {
				inner, _ := s.(map[string]any)
				return differsIn(inner)
			})
		}
	}
	return false
}

// asList is a value that JSON writes bare when there is only one.
func asList(x any) []any {
	switch x := x.(type) {
	case nil:
		return nil
	case []any:
		return x
	default:
		return []any{x}
	}
}

// nftTable is where a rule stands: names of sets and chains are its table's.
type nftTable struct {
	family, table string
	sets          map[string][]any
}

// statement compiles one element of a rule's expr.
func (t nftTable) statement(e map[string]any) step {
	for kind, arg := range e { // there is one
		text := nftText(e)
		m, _ := arg.(map[string]any)
		switch kind {
		case "match":
			op, _ := m["op"].(string)
			some := differs(m["left"])
			return func(p *packet) result {
				return result{match: t.match(p, m["left"], op, m["right"]), why: text, some: some}
			}
		case "vmap":
			return func(p *packet) result { return t.vmap(p, m, text) }
		case "reject":
			// nft leaves out a match that the kind of rejection implies.
			how, _ := m["type"].(string)
			return func(p *packet) result {
				if how == "icmp" && p.v6 || how == "icmpv6" && !p.v6 || how == "tcp reset" && p.udp {
					return result{match: no}
				}
				return result{match: yes, end: reject}
			}
		case "accept", "drop", "return", "jump", "goto", "continue":
			res := verdictOf(e)
			return func(*packet) result { return res }
		case "counter", "log", "last", "ct helper", "ct timeout", "ct expectation", "secmark", "dup", "notrack", "mangle":
			return func(p *packet) result { return t.change(p, kind, m, text) }
		case "limit", "ct count":
			// An ordinary client is under the limit; inv is nft's "over".
			over, _ := m["inv"].(bool)
			some := map[bool]string{true: "rate"}[over]
			return func(*packet) result { return result{match: truth(!over), some: some} }
		case "set", "meter", "map":
			return t.dynamic(m, text)
		case "redirect", "dnat":
			return func(p *packet) result { return translate(p, m, text) }
		case "quota", "xt":
			if x, _ := m["type"].(string); x == "target" || x == "watcher" {
				return func(*packet) result { return result{match: yes, end: lost, why: text} }
			}
			return func(*packet) result { return result{match: maybe, why: text} }
		case "masquerade", "snat":
			s, _ := m["addr"].(string)
			as, _ := netip.ParseAddr(s) // masquerade, or one address of many: not known beforehand
			return hide(as)
		default: // queue, tproxy, synproxy, fwd, flow, and what newer versions bring
			return func(*packet) result { return result{match: yes, end: lost, why: text} }
		}
	}
	return func(*packet) result { return result{match: maybe, why: "an empty expression"} }
}

func verdictOf(e map[string]any) result {
	for kind, arg := range e {
		m, _ := arg.(map[string]any)
		target, _ := m["target"].(string)
		ends := map[string]end{"accept": accept, "drop": drop, "reject": reject, "return": leave, "jump": jump, "goto": jumpForGood, "continue": goesOn}
		if k, ok := ends[kind]; ok {
			return result{match: yes, end: k, target: target}
		}
	}
	return result{match: yes, end: lost, why: nftText(e)}
}

func (t nftTable) vmap(p *packet, m map[string]any, text string) result {
	key, known := t.operand(p, m["key"])
	if known != yes {
		return result{match: min(known, maybe), end: lost, why: text}
	}
	elems, ok := t.elements(m["data"])
	if !ok {
		return result{match: maybe, end: lost, why: text}
	}
	var otherwise any
	for _, e := range elems {
		pair, _ := e.([]any)
		if len(pair) != 2 {
			return result{match: maybe, end: lost, why: text}
		}
		verdict, _ := pair[1].(map[string]any)
		if pair[0] == "*" {
			otherwise = verdict
			continue
		}
		switch t.equals(key, pair[0]) {
		case yes:
			return verdictOf(verdict)
		case maybe:
			return result{match: maybe, end: lost, why: text}
		}
	}
	if otherwise != nil {
		return verdictOf(otherwise.(map[string]any))
	}
	return result{match: no}
}

// elements lists those of an anonymous set or map, or of a named one: "@name".
func (t nftTable) elements(x any) ([]any, bool) {
	if m, ok := x.(map[string]any); ok {
		elems, ok := m["set"].([]any)
		return elems, ok
	}
	name, _ := x.(string)
	elems, ok := t.sets[chainKey(t.family, t.table, strings.TrimPrefix(name, "@"))]
	return elems, ok && strings.HasPrefix(name, "@")
}

// change is a statement that decides nothing.
func (t nftTable) change(p *packet, kind string, m map[string]any, text string) result {
	switch kind {
	case "notrack":
		p.untracked = true
	case "mangle":
		key, _ := m["key"].(map[string]any)
		if _, ok := key["payload"]; ok { // a header is rewritten: stateless translation, perhaps
			return result{match: yes, end: lost, why: text}
		}
		if meta, _ := key["meta"].(map[string]any); meta["key"] == "mark" {
			n, ok := m["value"].(float64)
			p.mark, p.markKnown = uint32(n), ok
		}
	}
	return result{match: yes}
}

// dynamic adds to or looks at a set that rules fill: it matches, unless a limit on each element says otherwise. In old
// versions (meter) there is one statement, in newer ones a list.
func (t nftTable) dynamic(m map[string]any, text string) step {
	var steps []step
	for _, s := range asList(m["stmt"]) {
		if e, ok := s.(map[string]any); ok {
			steps = append(steps, t.statement(e))
		}
	}
	return func(p *packet) result {
		for _, s := range steps {
			if res := s(p); res.match != yes || res.end != goesOn {
				return res
			}
		}
		return result{match: yes, why: text}
	}
}

// translate is destination translation. What stays on this host goes on to the input hook; what this host sends goes on, to wherever.
func translate(p *packet, m map[string]any, text string) result {
	to := p.dst
	if a, ok := m["addr"]; ok {
		s, _ := a.(string)
		var err error
		if to, err = netip.ParseAddr(s); err != nil {
			return result{match: yes, end: lost, why: text}
		}
	} else if p.leaves() { // redirect
		to = loopback(p.v6)
	}
	port := p.dport
	if x, ok := m["port"]; ok {
		n, ok := x.(float64)
		if !ok {
			return result{match: yes, end: lost, why: text}
		}
		port = int(n)
	}
	return p.translated(to, port, text)
}

// translated sends a packet to another port, or what this host sends to another host.
func (p *packet) translated(to netip.Addr, port int, text string) result {
	if !p.leaves() && to != p.dst {
		return result{match: yes, end: lost, why: text}
	}
	if to.IsLoopback() && p.leaves() {
		p.oif = "lo"
	}
	p.dst, p.dport, p.moved = to, port, true
	return result{match: yes, end: accept}
}

// hide is source translation: the packet goes on under another address, if that is known.
func hide(as netip.Addr) step {
	return func(p *packet) result {
		p.hidden, p.hiddenAs = true, as
		return result{match: yes, end: accept}
	}
}

func loopback(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func (t nftTable) match(p *packet, left any, op string, right any) tri {
	v, known := t.operand(p, left)
	if known != yes {
		return known
	}
	switch op {
	case "==":
		return t.equals(v, right)
	case "!=":
		return -t.equals(v, right)
	case "in": // of flags: one of them is set
		if v.names == nil {
			return t.equals(v, right)
		}
		if _, ok := right.(map[string]any); ok {
			return t.equals(v, right)
		}
		set := tri(no)
		for _, f := range asList(right) {
			name, ok := f.(string)
			if !ok || strings.HasPrefix(name, "@") {
				return t.equals(v, right)
			}
			set = max(set, truth(slices.Contains(v.names, name)))
		}
		return set
	case "<", ">", "<=", ">=":
		n, ok := right.(float64)
		if !ok || !v.isNumber {
			return maybe
		}
		c := int64(v.number) - int64(n)
		return truth(c < 0 && op[0] == '<' || c > 0 && op[0] == '>' || c == 0 && len(op) == 2)
	default:
		return maybe
	}
}

// operand is what the left side of a match stands for. Exactly one of the groups is filled.
type operand struct {
	isNumber bool
	number   uint64
	names    []string // what the value is called, or the flags that are set; not nil
	addr     netip.Addr
	parts    []operand // a concatenation
	wild     bool      // the other side may end in *: interface names
}

func numberOperand(n int, names ...string) operand {
	return operand{isNumber: true, number: uint64(n), names: names}
}

// operand evaluates a left side: no means that such a packet does not have the field, so that the rule does not match.
func (t nftTable) operand(p *packet, x any) (operand, tri) {
	m, _ := x.(map[string]any)
	for kind, arg := range m {
		a, _ := arg.(map[string]any)
		key, _ := a["key"].(string)
		switch kind {
		case "payload":
			protocol, _ := a["protocol"].(string)
			field, _ := a["field"].(string)
			return p.field(protocol, field)
		case "meta":
			return p.meta(key)
		case "ct":
			return p.conntrack(key)
		case "fib":
			return p.fib(a)
		case "socket":
			return numberOperand(0), ifKnown(key == "transparent") // no proxy has taken the packet
		case "exthdr":
			_, field := a["field"]
			return numberOperand(0), ifKnown(!field) // an ordinary packet has no extension header
		case "concat":
			return t.concat(p, asList(arg))
		case "&":
			return t.masked(p, asList(arg))
		}
	}
	return operand{}, maybe
}

func (t nftTable) concat(p *packet, parts []any) (operand, tri) {
	v, known := operand{}, tri(yes)
	for _, part := range parts {
		o, k := t.operand(p, part)
		v.parts = append(v.parts, o)
		known = min(known, k)
	}
	return v, known
}

func (t nftTable) masked(p *packet, args []any) (operand, tri) {
	if len(args) != 2 {
		return operand{}, maybe
	}
	v, known := t.operand(p, args[0])
	if known != yes {
		return v, known
	}
	if n, ok := args[1].(float64); ok && v.isNumber {
		return operand{isNumber: true, number: v.number & uint64(n)}, yes
	}
	if v.names == nil {
		return v, maybe
	}
	left := []string{}
	for _, f := range flagNames(args[1]) {
		if slices.Contains(v.names, f) {
			left = append(left, f)
		}
	}
	return operand{names: left}, yes
}

// flagNames lists flags written as "syn", ["syn", "ack"] or {"|": ["syn", "ack"]}.
func flagNames(x any) []string {
	if m, ok := x.(map[string]any); ok {
		x = m["|"]
	}
	names := []string{}
	for _, f := range asList(x) {
		switch f := f.(type) {
		case string:
			names = append(names, f)
		case map[string]any:
			names = append(names, flagNames(f)...)
		}
	}
	return names
}

func ifKnown(known bool) tri {
	if known {
		return yes
	}
	return maybe
}

// field is a header field.
func (p *packet) field(protocol, field string) (operand, tri) {
	switch protocol {
	case "ip", "ip6":
		if (protocol == "ip6") != p.v6 {
			return operand{}, no
		}
	case "tcp", "udp":
		if p.proto() != protocol {
			return operand{}, no
		}
	case "th":
	case "icmp", "icmpv6", "igmp", "sctp", "dccp", "udplite", "ah", "esp", "comp", "arp":
		return operand{}, no
	default: // ether, vlan, raw bytes
		return operand{}, maybe
	}
	switch field {
	case "saddr":
		return operand{addr: p.src}, yes
	case "daddr":
		return operand{addr: p.dst}, yes
	case "protocol", "nexthdr":
		return p.meta("l4proto")
	case "frag-off":
		return numberOperand(0), yes
	case "dport":
		return numberOperand(p.dport), yes
	case "sport":
		return numberOperand(p.sport), yes
	case "flags":
		switch {
		case p.answer:
			return operand{names: []string{"syn", "ack"}}, yes
		case p.later:
			return operand{names: []string{"ack"}}, yes
		}
		return operand{names: []string{"syn"}}, yes
	default:
		return operand{}, maybe
	}
}

// meta is what the kernel notes about a packet.
func (p *packet) meta(key string) (operand, tri) {
	switch key {
	case "iif", "iifname":
		return operand{names: []string{p.iif}, wild: true}, yes
	case "oif", "oifname":
		return operand{names: []string{p.oif}, wild: true}, yes
	case "skuid", "skgid": // an arriving packet has no socket yet
		if !p.ours() {
			return operand{}, no
		}
		if p.uid != 0 {
			return numberOperand(p.uid), yes
		}
		return numberOperand(0, "root"), yes
	case "l4proto":
		if p.udp {
			return numberOperand(17, "udp"), yes
		}
		return numberOperand(6, "tcp"), yes
	case "nfproto":
		if p.v6 {
			return numberOperand(10, "ipv6"), yes
		}
		return numberOperand(2, "ipv4"), yes
	case "protocol":
		if p.v6 {
			return numberOperand(0x86dd, "ip6"), yes
		}
		return numberOperand(0x800, "ip"), yes
	case "pkttype":
		return numberOperand(0, "host", "unicast"), yes
	case "mark":
		return numberOperand(int(p.mark)), ifKnown(p.markKnown)
	case "ipsec", "secpath":
		return numberOperand(0), yes
	default:
		return operand{}, maybe
	}
}

// conntrack is what connection tracking knows of the first packet of a connection.
func (p *packet) conntrack(key string) (operand, tri) {
	switch key {
	case "state":
		if p.untracked {
			return operand{names: []string{"untracked"}}, yes
		}
		if p.answer || p.later {
			return operand{names: []string{"established"}}, yes
		}
		return operand{names: []string{"new"}}, yes
	case "direction":
		if p.answer {
			return numberOperand(1, "reply"), yes
		}
		return numberOperand(0, "original"), yes
	case "status":
		if p.moved {
			return operand{names: []string{"dnat"}}, yes
		}
		return operand{names: []string{}}, yes
	case "mark", "zone":
		return numberOperand(0), yes
	default:
		return operand{}, maybe
	}
}

// fib is a routing lookup: an arriving packet is for this host, and its source can be reached by the way that it came.
func (p *packet) fib(a map[string]any) (operand, tri) {
	source := slices.Contains(asList(a["flags"]), any("saddr"))
	switch a["result"] {
	case "type":
		if source && p.ours() || !source && !p.leaves() {
			return operand{names: []string{"local"}}, yes
		}
		return operand{names: []string{"unicast"}}, yes
	case "oif", "oifname":
		if source {
			return operand{isNumber: true, number: 1, names: []string{p.iif}, wild: true}, yes
		}
	}
	return operand{}, maybe
}

// equals compares a left side with a right one: a value, a range, a prefix, a set, or the name of a set.
func (t nftTable) equals(v operand, right any) tri {
	switch r := right.(type) {
	case bool:
		return truth(v.isNumber && (v.number != 0) == r)
	case float64:
		switch {
		case v.isNumber:
			return truth(v.number == uint64(r))
		case v.names != nil && r == 0:
			return truth(len(v.names) == 0)
		}
		return maybe
	case string:
		return t.equalsText(v, r)
	case []any: // flags that are exactly these
		return truth(v.names != nil && slices.Equal(slices.Sorted(slices.Values(flagNames(r))), slices.Sorted(slices.Values(v.names))))
	case map[string]any:
		return t.equalsObject(v, r)
	default:
		return maybe
	}
}

func (t nftTable) equalsText(v operand, s string) tri {
	if strings.HasPrefix(s, "@") {
		elems, ok := t.elements(s)
		if !ok {
			return maybe
		}
		return t.among(v, elems)
	}
	if v.addr.IsValid() {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return maybe
		}
		return truth(a == v.addr)
	}
	if v.names == nil && v.isNumber { // a port by its name, as nft before 0.9.1 wrote it
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			return maybe
		}
		return truth(n == v.number)
	}
	if prefix, ok := strings.CutSuffix(s, "*"); ok && v.wild {
		return truth(strings.HasPrefix(v.names[0], prefix))
	}
	if v.wild || v.isNumber {
		return truth(slices.Contains(v.names, s))
	}
	return truth(len(v.names) == 1 && v.names[0] == s)
}

func (t nftTable) equalsObject(v operand, m map[string]any) tri {
	for kind, arg := range m {
		list := asList(arg)
		switch kind {
		case "set":
			return t.among(v, list)
		case "elem":
			e, _ := arg.(map[string]any)
			return t.equals(v, e["val"])
		case "prefix":
			a, _ := arg.(map[string]any)
			return inPrefix(v.addr, a)
		case "range":
			return inRange(v, list)
		case "|":
			return t.equals(v, list)
		case "concat":
			if len(list) != len(v.parts) {
				return maybe
			}
			all := tri(yes)
			for i, part := range list {
				all = min(all, t.equals(v.parts[i], part))
			}
			return all
		}
	}
	return maybe
}

func (t nftTable) among(v operand, elems []any) tri {
	found := tri(no)
	for _, e := range elems {
		if e == "*" { // the element for everything else
			return yes
		}
		if found = max(found, t.equals(v, e)); found == yes {
			return yes
		}
	}
	return found
}

func inPrefix(a netip.Addr, m map[string]any) tri {
	s, _ := m["addr"].(string)
	bits, _ := m["len"].(float64)
	base, err := netip.ParseAddr(s)
	if err != nil || !a.IsValid() {
		return maybe
	}
	return truth(netip.PrefixFrom(base, int(bits)).Contains(a))
}

func inRange(v operand, list []any) tri {
	if len(list) != 2 {
		return maybe
	}
	if v.addr.IsValid() {
		low, high := addrOf(list[0]), addrOf(list[1])
		if !low.IsValid() || !high.IsValid() {
			return maybe
		}
		return truth(low.Compare(v.addr) <= 0 && v.addr.Compare(high) <= 0 && low.Is4() == v.addr.Is4())
	}
	low, ok1 := list[0].(float64)
	high, ok2 := list[1].(float64)
	if !ok1 || !ok2 || !v.isNumber {
		return maybe
	}
	return truth(uint64(low) <= v.number && v.number <= uint64(high))
}

func addrOf(x any) netip.Addr {
	s, _ := x.(string)
	a, _ := netip.ParseAddr(s)
	return a
}

// collectPeers notes one address of every address, prefix and range that an expression names.
func (r *ruleset) collectPeers(x any) {
	switch x := x.(type) {
	case string:
		if a, err := netip.ParseAddr(x); err == nil {
			r.addPeer(a)
		}
	case []any:
		for _, e := range x {
			r.collectPeers(e)
		}
	case map[string]any:
		if a, ok := x["addr"].(string); ok && x["len"] != nil {
			if base, err := netip.ParseAddr(a); err == nil {
				r.addPeer(base.Next()) // not the network's own address
				return
			}
		}
		for _, e := range x {
			r.collectPeers(e)
		}
	}
}

// nftRuleText writes a rule as nft would, near enough for a person to find it: by its chain and handle.
func nftRuleText(r *nftRule) string {
	var words []string
	for _, e := range r.Expr {
		words = append(words, nftText(e))
	}
	return fmt.Sprintf("%s # handle %d", strings.Join(words, " "), r.Handle)
}

// nftText writes an expression or statement.
func nftText(x any) string {
	switch x := x.(type) {
	case nil:
		return ""
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case []any:
		return joinText(x, ",")
	case map[string]any:
		return nftObjectText(x)
	default:
		return fmt.Sprint(x)
	}
}

func joinText(list []any, sep string) string {
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = nftText(e)
	}
	return strings.Join(words, sep)
}

func nftObjectText(x map[string]any) string {
	for kind, arg := range x {
		m, _ := arg.(map[string]any)
		switch kind {
		case "match":
			op, _ := m["op"].(string)
			if op == "==" || op == "in" {
				return nftText(m["left"]) + " " + nftText(m["right"])
			}
			return nftText(m["left"]) + " " + op + " " + nftText(m["right"])
		case "payload":
			return strings.TrimSpace(nftText(m["protocol"]) + " " + nftText(m["field"]))
		case "meta", "ct", "socket":
			key := nftText(m["key"])
			if kind == "meta" && (strings.HasPrefix(key, "iif") || strings.HasPrefix(key, "oif")) {
				return key
			}
			return kind + " " + key
		case "prefix":
			return nftText(m["addr"]) + "/" + nftText(m["len"])
		case "range":
			return joinText(asList(arg), "-")
		case "set":
			if m != nil { // the statement, not the value
				return nftText(m["op"]) + " " + nftText(m["set"]) + " { " + nftText(m["elem"]) + " }"
			}
			return "{ " + joinText(asList(arg), ", ") + " }"
		case "concat":
			return joinText(asList(arg), " . ")
		case "&", "|":
			return joinText(asList(arg), " "+kind+" ")
		case "vmap":
			return nftText(m["key"]) + " vmap " + vmapText(m["data"])
		case "jump", "goto":
			return kind + " " + nftText(m["target"])
		case "elem":
			return nftText(m["val"])
		case "reject", "counter", "log", "limit", "redirect", "dnat", "quota", "queue":
			return kind
		case "numgen":
			return "numgen " + nftText(m["mode"]) + " mod " + nftText(m["mod"])
		case "fib":
			return "fib " + joinText(asList(m["flags"]), " . ") + " " + nftText(m["result"])
		case "xt":
			return "xt " + nftText(m["type"]) + " " + nftText(m["name"])
		default:
			if m == nil {
				return strings.TrimSpace(kind + " " + nftText(arg))
			}
			return kind
		}
	}
	return ""
}

func vmapText(data any) string {
	m, ok := data.(map[string]any)
	if !ok {
		return nftText(data)
	}
	var pairs []string
	for _, e := range asList(m["set"]) {
		if pair, ok := e.([]any); ok && len(pair) == 2 {
			pairs = append(pairs, nftText(pair[0])+" : "+nftText(pair[1]))
		}
	}
	return "{ " + strings.Join(pairs, ", ") + " }"
}

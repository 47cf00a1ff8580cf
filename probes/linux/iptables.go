package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// This file reads what iptables-save and ip6tables-save print (iptables-extensions(8)).

// iptablesHooks are the built-in chains on the way to a local socket and from it, with the priorities of linux/netfilter_ipv4.h.
var iptablesHooks = map[string]struct {
	hook     string
	priority int
}{
	"raw PREROUTING": {"prerouting", -300}, "mangle PREROUTING": {"prerouting", -150}, "nat PREROUTING": {"prerouting", -100},
	"mangle INPUT": {"input", -150}, "filter INPUT": {"input", 0}, "security INPUT": {"input", 50}, "nat INPUT": {"input", 100},
	"raw OUTPUT": {"output", -300}, "mangle OUTPUT": {"output", -150}, "nat OUTPUT": {"output", -100}, "filter OUTPUT": {"output", 0},
	"security OUTPUT": {"output", 50}, "mangle POSTROUTING": {"postrouting", -150}, "nat POSTROUTING": {"postrouting", 100},
	"mangle FORWARD": {"forward", -150}, "filter FORWARD": {"forward", 0}, "security FORWARD": {"forward", 50},
}

// addIptables adds the tables of a dump that want names, or all of them. prefix keeps the tables of the two back ends apart.
func (r *ruleset) addIptables(data []byte, family, prefix string, want func(table string) bool) error {
	table, open := "", false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '*':
			table, open = line[1:], true
		case line == "COMMIT":
			open = false
		case !open:
			return fmt.Errorf("reading the output of iptables-save: %.80q stands in no table", line)
		case !want(table):
		case line[0] == ':':
			name, policy, _ := strings.Cut(line[1:], " ")
			c := &chain{family: family, table: prefix + table, name: name, nat: table == "nat", policy: accept}
			if h, ok := iptablesHooks[table+" "+name]; ok {
				c.hook, c.priority = h.hook, h.priority
			}
			if strings.HasPrefix(policy, "DROP") {
				c.policy = drop
			}
			r.add(c)
		default:
			if err := r.addIptablesRule(line, family, prefix+table); err != nil {
				return fmt.Errorf("reading the output of iptables-save: %.200q: %w", line, err)
			}
		}
	}
	if open {
		return errors.New("reading the output of iptables-save: it ends within a table")
	}
	return nil
}

func (r *ruleset) addIptablesRule(line, family, table string) error {
	words, err := splitQuoted(line)
	if err != nil {
		return err
	}
	if len(words) < 2 || words[0] != "-A" {
		return errors.New("it is not a rule")
	}
	c := r.called[chainKey(family, table, words[1])]
	if c == nil {
		return errors.New("its chain was not declared")
	}
	steps, err := iptablesSteps(words[2:])
	if err != nil {
		return err
	}
	r.rules++
	r.masquerades = r.masquerades || slices.Contains(words, "MASQUERADE") || slices.Contains(words, "SNAT")
	for i, w := range words {
		r.partly = r.partly || differing[w] != ""
		if w == "-s" || w == "--source" {
			if p, err := netip.ParsePrefix(words[min(i+1, len(words)-1)]); err == nil {
				a := p.Addr()
				if !p.IsSingleIP() {
					a = a.Next()
				}
				r.addPeer(a)
			}
		}
	}
	c.rules = append(c.rules, rule{text: line, steps: steps})
	return nil
}

// splitQuoted splits a line into words; "…" with \ escapes is one word.
func splitQuoted(line string) ([]string, error) {
	var words []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			words, line = append(words, word), rest
			continue
		}
		var b strings.Builder
		i := 1
		for ; i < len(line) && line[i] != '"'; i++ {
			if line[i] == '\\' && i+1 < len(line) {
				i++
			}
			b.WriteByte(line[i])
		}
		if i >= len(line) {
			return nil, errors.New("a quotation mark is not closed")
		}
		words, line = append(words, b.String()), line[i+1:]
	}
	return words, nil
}

// option is one option of a rule with its values: `! -s 10.0.0.0/8`.
type option struct {
	module string // of the -m before it
	name   string
	not    bool
	args   []string
}

func (o *option) arg(i int) string {
	if i < len(o.args) {
		return o.args[i]
	}
	return ""
}

func (o *option) text() string {
	text := o.name + " " + strings.Join(o.args, " ")
	if o.not {
		text = "! " + text
	}
	return text
}

// iptablesSteps compiles the options of a rule. Those of the target come last.
func iptablesSteps(words []string) ([]step, error) {
	opts, err := parseOptions(words)
	if err != nil {
		return nil, err
	}
	var steps []step
	for i := range opts {
		o := &opts[i]
		switch o.name {
		case "-j", "-g":
			return append(steps, iptablesTarget(o, opts[i+1:])), nil
		case "-m":
			if o.arg(0) == "rpfilter" { // an ordinary packet passes the reverse-path check
				invert := slices.ContainsFunc(opts, func(o option) bool { return o.name == "--invert" })
				steps = append(steps, always(truth(!invert), "rpfilter"))
			}
		default:
			steps = append(steps, iptablesMatch(o))
		}
	}
	return steps, nil
}

func parseOptions(words []string) ([]option, error) {
	var opts []option
	module := ""
	for i := 0; i < len(words); {
		o := option{}
		if words[i] == "!" {
			o.not = true
			i++
		}
		if i >= len(words) || !isOption(words[i]) {
			return nil, errors.New("an option is missing")
		}
		o.name = words[i]
		for i++; i < len(words) && words[i] != "!" && !isOption(words[i]); i++ {
			o.args = append(o.args, words[i])
		}
		if o.name == "-m" {
			module = o.arg(0)
		}
		o.module = module
		opts = append(opts, o)
	}
	return opts, nil
}

// isOption tells an option from a value, which may be a negative number.
func isOption(w string) bool {
	return len(w) > 1 && w[0] == '-' && (w[1] < '0' || w[1] > '9')
}

func always(t tri, why string) step {
	return func(*packet) result { return result{match: t, why: why} }
}

// iptablesMatch compiles one matching option.
func iptablesMatch(o *option) step {
	test, some := iptablesTest(o), differing[o.name]
	if o.module != "recent" && (o.name == "--update" || o.name == "--rcheck") {
		some = ""
	}
	return func(p *packet) result {
		t := test(p)
		if o.not {
			t = -t
		}
		return result{match: t, why: o.text(), some: some}
	}
}

// modifiers only qualify another option of their module.
var modifiers = []string{
	"--limit-burst", "--comment", "--seconds", "--hitcount", "--name", "--rsource", "--rdest", "--mask", "--reap", "--rttl", "--hashlimit-burst",
	"--hashlimit-mode", "--hashlimit-name", "--hashlimit-htable-size", "--hashlimit-htable-max", "--hashlimit-htable-expire",
	"--hashlimit-htable-gcinterval", "--hashlimit-srcmask", "--hashlimit-dstmask", "--connlimit-mask", "--connlimit-saddr", "--connlimit-daddr",
	"--loose", "--algo", "--from", "--to", "--icase", "--mode", "--packet", "--validmark", "--accept-local", "--invert", "--limit-iface-in",
}

// differing are options that are not the same for all packets of a connection.
var differing = map[string]string{
	"--probability": "chance", "--every": "chance",
	"--hashlimit-above": "rate", "--connlimit-above": "rate", "--update": "rate", "--rcheck": "rate",
	"--string": "content", "--hex-string": "content", "--u32": "content", "--bytecode": "content", "--length": "content",
}

func iptablesTest(o *option) func(*packet) tri {
	fixed := func(t tri) func(*packet) tri { return func(*packet) tri { return t } }
	if slices.Contains(modifiers, o.name) {
		if o.not {
			return fixed(no) // turned round by the caller
		}
		return fixed(yes)
	}
	switch o.name {
	case "-s":
		return func(p *packet) tri { return inNetwork(p.src, o.arg(0)) }
	case "-d":
		return func(p *packet) tri { return inNetwork(p.dst, o.arg(0)) }
	case "-i":
		return func(p *packet) tri {
			if prefix, ok := strings.CutSuffix(o.arg(0), "+"); ok && !p.ours() {
				return truth(strings.HasPrefix(p.iif, prefix))
			}
			return truth(p.iif == o.arg(0))
		}
	case "-o":
		return func(p *packet) tri {
			if prefix, ok := strings.CutSuffix(o.arg(0), "+"); ok && p.leaves() {
				return truth(strings.HasPrefix(p.oif, prefix))
			}
			return truth(p.leaves() && p.oif == o.arg(0))
		}
	case "--uid-owner", "--gid-owner":
		return func(p *packet) tri { return ownedBy(p, o.arg(0)) }
	case "-p":
		return func(p *packet) tri {
			return truth(o.arg(0) == p.proto() || o.arg(0) == "all" || o.arg(0) == map[string]string{"tcp": "6", "udp": "17"}[p.proto()])
		}
	case "-f":
		return fixed(no)
	case "--dport", "--dports":
		return func(p *packet) tri { return amongPorts(p.dport, o.arg(0)) }
	case "--sport", "--sports":
		return func(p *packet) tri { return amongPorts(p.sport, o.arg(0)) }
	case "--ports":
		return func(p *packet) tri { return max(amongPorts(p.dport, o.arg(0)), amongPorts(p.sport, o.arg(0))) }
	case "--syn":
		return func(p *packet) tri { return truth(!p.answer && !p.later) }
	case "--tcp-flags":
		return func(p *packet) tri {
			if p.answer || p.later {
				return maybe
			}
			looked := slices.Contains(strings.Split(o.arg(0), ","), "SYN") || o.arg(0) == "ALL"
			want := map[bool]string{true: "SYN", false: "NONE"}[looked]
			return truth(o.arg(1) == want)
		}
	case "--ctstate", "--state":
		return func(p *packet) tri { return inState(p, o.arg(0)) }
	case "--ctdir":
		return func(p *packet) tri { return truth((o.arg(0) == "ORIGINAL") != p.answer) }
	case "--ctstatus":
		return func(p *packet) tri { return truth(o.arg(0) == "NONE" && !p.moved || o.arg(0) == "DNAT" && p.moved) }
	case "--dst-type":
		return func(p *packet) tri { return addressType(o.arg(0), !p.leaves()) }
	case "--src-type":
		return func(p *packet) tri { return addressType(o.arg(0), p.ours()) }
	case "--pkt-type":
		return fixed(truth(o.arg(0) == "unicast"))
	case "--limit", "--hashlimit-upto", "--hashlimit", "--connlimit-upto": // an ordinary client is under the limit
		return fixed(yes)
	case "--hashlimit-above", "--connlimit-above":
		return fixed(no)
	case "--set":
		if o.module == "recent" {
			return fixed(yes)
		}
	case "--rcheck", "--update", "--remove": // of recent: a client that was not there before
		return fixed(no)
	case "--mark":
		return func(p *packet) tri {
			if o.module == "connmark" {
				return markIs(0, true, o.arg(0))
			}
			return markIs(p.mark, p.markKnown, o.arg(0))
		}
	case "--src-range":
		return func(p *packet) tri { return betweenAddrs(p.src, o.arg(0)) }
	case "--dst-range":
		return func(p *packet) tri { return betweenAddrs(p.dst, o.arg(0)) }
	case "--match-set":
		return func(p *packet) tri { return p.ipsets[o.arg(0)].holds(p, o.arg(1)) }
	case "--icmp-type", "--icmpv6-type":
		return fixed(no)
	case "--physdev-in", "--physdev-is-bridged", "--physdev-out", "--physdev-is-out":
		return fixed(maybe)
	}
	return fixed(maybe) // geoip, string, u32, bpf, time, length, statistic, …
}

// ownedBy compares the account that sends with a rule's: a name, a number or a range. The numbers behind names other than root's are not looked up.
func ownedBy(p *packet, who string) tri {
	if !p.ours() {
		return no
	}
	if who == "root" {
		return truth(p.uid == 0)
	}
	low, high, isRange := strings.Cut(who, "-")
	if !isRange {
		high = low
	}
	from, err1 := strconv.Atoi(low)
	to, err2 := strconv.Atoi(high)
	if err1 != nil || err2 != nil {
		if p.uid == 0 {
			return no
		}
		return maybe
	}
	return truth(from <= p.uid && p.uid <= to)
}

// addressType compares the types that a rule lists with that of an address, which is this host's or another's.
func addressType(list string, local bool) tri {
	kind := map[bool]string{true: "LOCAL", false: "UNICAST"}[local]
	return truth(slices.Contains(strings.Split(list, ","), kind))
}

func inNetwork(a netip.Addr, s string) tri {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		b, err := netip.ParseAddr(s)
		if err != nil {
			return maybe // a mask that is no prefix: 10.0.0.1/255.0.0.255
		}
		return truth(a == b)
	}
	return truth(p.Contains(a))
}

// amongPorts reads "22", "1000:2000", ":1023", "80,443,8000:8100".
func amongPorts(port int, list string) tri {
	for s := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(s, ":")
		if !isRange {
			high = low
		}
		from, err1 := portNumber(low, 0)
		to, err2 := portNumber(high, 65535)
		if err1 != nil || err2 != nil {
			return maybe
		}
		if from <= port && port <= to {
			return yes
		}
	}
	return no
}

func portNumber(s string, open int) (int, error) {
	if s == "" {
		return open, nil
	}
	return strconv.Atoi(s)
}

func inState(p *packet, list string) tri {
	state := "NEW"
	if p.answer || p.later {
		state = "ESTABLISHED"
	}
	if p.untracked {
		state = "UNTRACKED"
	}
	states := strings.Split(list, ",")
	return truth(slices.Contains(states, state) || p.moved && slices.Contains(states, "DNAT"))
}

// markIs reads "0x1" and "0x1/0xff".
func markIs(mark uint32, known bool, s string) tri {
	want, mask, masked := strings.Cut(s, "/")
	w, err := strconv.ParseUint(want, 0, 32)
	m := uint64(0xffffffff)
	if err == nil && masked {
		m, err = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil || !known {
		return maybe
	}
	return truth(uint64(mark)&m == w)
}

func betweenAddrs(a netip.Addr, s string) tri {
	low, high, _ := strings.Cut(s, "-")
	return inRange(operand{addr: a}, []any{low, high})
}

// sourceAddr is the address of --to-source ADDRESS[-LAST][:PORTS]; none if there are several.
func sourceAddr(s string) netip.Addr {
	if to, err := netip.ParseAddrPort(s); err == nil {
		return to.Addr()
	}
	a, _ := netip.ParseAddr(s)
	return a
}

// iptablesTarget compiles -j or -g.
func iptablesTarget(o *option, opts []option) step {
	fixed := func(r result) step { return func(*packet) result { return r } }
	name := o.arg(0)
	switch name {
	case "ACCEPT":
		return fixed(result{match: yes, end: accept})
	case "MASQUERADE", "SNAT":
		var as netip.Addr
		if i := slices.IndexFunc(opts, func(o option) bool { return o.name == "--to-source" }); i >= 0 {
			as = sourceAddr(opts[i].arg(0))
		}
		return hide(as)
	case "NETMAP": // as it leaves, its source
		return func(p *packet) result {
			if p.leaves() {
				return hide(netip.Addr{})(p)
			}
			return result{match: yes, end: lost, why: "the target " + name}
		}
	case "DROP", "TARPIT", "STEAL":
		return fixed(result{match: yes, end: drop})
	case "REJECT":
		return fixed(result{match: yes, end: reject})
	case "RETURN":
		return fixed(result{match: yes, end: leave})
	case "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "SECMARK", "DSCP", "TOS", "TTL", "HL", "TCPMSS",
		"TCPOPTSTRIP", "SET", "TEE", "RATEEST", "IDLETIMER", "LED", "CONNMARK":
		return fixed(result{match: yes}) // CONNMARK: a new connection's mark is 0, so restoring it changes nothing
	case "NOTRACK":
		return func(p *packet) result { p.untracked = true; return result{match: yes} }
	case "CT":
		notrack := slices.ContainsFunc(opts, func(o option) bool { return o.name == "--notrack" })
		return func(p *packet) result { p.untracked = p.untracked || notrack; return result{match: yes} }
	case "MARK":
		return func(p *packet) result { return setMark(p, opts) }
	case "REDIRECT", "DNAT":
		return func(p *packet) result { return iptablesTranslate(p, o, opts) }
	case "NFQUEUE", "QUEUE", "TPROXY", "SYNPROXY", "CLUSTERIP":
		return fixed(result{match: yes, end: lost, why: "the target " + name})
	}
	if o.name == "-g" {
		return fixed(result{match: yes, end: jumpForGood, target: name})
	}
	return fixed(result{match: yes, end: jump, target: name})
}

// setMark carries out MARK --set-xmark VALUE/MASK: the bits of the mask are cleared and the value is xored in.
func setMark(p *packet, opts []option) result {
	for _, o := range opts {
		value, mask, _ := strings.Cut(o.arg(0), "/")
		v, err1 := strconv.ParseUint(value, 0, 32)
		m, err2 := strconv.ParseUint(mask, 0, 32)
		if o.name == "--set-xmark" && err1 == nil && err2 == nil {
			p.mark = p.mark&^uint32(m) ^ uint32(v)
			continue
		}
		p.markKnown = false
	}
	return result{match: yes}
}

func iptablesTranslate(p *packet, o *option, opts []option) result {
	away := result{match: yes, end: lost, why: o.text() + " sends it to another port or host"}
	to, port := p.dst, p.dport
	if p.leaves() && o.arg(0) == "REDIRECT" {
		to = loopback(p.v6)
	}
	for _, t := range opts {
		switch t.name {
		case "--to-ports":
			n, err := strconv.Atoi(t.arg(0))
			if err != nil {
				return away
			}
			port = n
		case "--to-destination":
			if a, err := netip.ParseAddr(t.arg(0)); err == nil {
				to = a
				continue
			}
			a, err := netip.ParseAddrPort(t.arg(0))
			if err != nil {
				return away
			}
			to, port = a.Addr(), int(a.Port())
		}
	}
	return p.translated(to, port, away.why)
}

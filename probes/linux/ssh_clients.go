package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// SSHClients looks whether those who logged in lately could still connect.
var SSHClients = probes.Define(probes.Probe[host.Host]{
	Name: "ssh_clients",
	Doc: `Addresses that people log in from

Where some rule of the firewall, a line of hosts.deny or a route that discards turns single addresses away from SSH, as fail2ban, DenyHosts and their like make
them, takes the addresses from which somebody has logged in during the last days (sshd's log, wtmp) and follows the first packet of each through all of these.
Elsewhere it looks no further, and costs nothing; where it does, a run of journalctl (20 ms), and one of ipset where rules look into such a set. Addresses that only
tried to log in are of no interest: those are whom bans are for.`,
	Needs: probes.Root,
	Every: 5 * time.Minute,
}, sshClients)

type sshClientsFacts struct {
	Looked  bool               `fact:"looked" doc:"Something turns addresses away from SSH, so that the logs were read"`
	Clients int                `fact:"clients" unit:"count" doc:"Addresses with a login in the logs that were read"`
	Blocked []blockedClient    `fact:"blocked" doc:"Those of them that cannot connect any more"`
	Log     probes.Opt[string] `fact:"log" doc:"Where the logins were found: journal, /var/log/auth.log, wtmp"`
}

type blockedClient struct {
	Address string        `fact:"address,key" doc:"The client's address"`
	Account string        `fact:"account" doc:"Who logged in from there last"`
	Age     time.Duration `fact:"last_age" doc:"How long ago"`
	By      string        `fact:"by" doc:"firewall, hosts.deny or route"`
	Rule    string        `fact:"rule" doc:"The rule, line or route"`
	Where   string        `fact:"where" doc:"The chain or file of it"`
	Named   bool          `fact:"named" doc:"Others get through: the address is turned away by name. false: it is not among those that are let in"`
	Set     string        `fact:"set" doc:"The set of addresses that the rule looks into; empty if it names the address itself"`
	Kind    string        `fact:"set_kind" doc:"ipset or nft"`
}

// sshLogin is a successful login from another host.
type sshLogin struct {
	account string
	from    netip.Addr
	at      time.Time
}

const (
	maxSSHClients  = 16
	sshLoginsSince = 14 * 24 * time.Hour
	sshLogLines    = 1000
	wtmpRecord     = 384 // struct utmp of x86-64 and arm64, utmp(5)
)

func sshClients(ctx context.Context, h host.Host) (sshClientsFacts, error) {
	f := sshClientsFacts{Blocked: []blockedClient{}}
	rules, _, err := sharedRules(ctx, h)
	if err != nil && !errors.Is(err, errNoFirewall) {
		return f, err
	}
	denials := deniedClients(h)
	routes, err := nullRoutes(ctx, h)
	if err != nil {
		return f, err
	}
	j := clientJudge{rules: rules, denials: denials, routes: routes, fuel: ruleFuel / 10}
	if err := j.read(ctx, h); err != nil {
		return f, err
	}
	if f.Looked = len(denials) > 0 || len(routes) > 0 || rules != nil && (rules.turnsAway() || j.listOnly()); !f.Looked {
		return f, nil
	}
	logins, log := sshLogins(ctx, h)
	if log != "" {
		f.Log = probes.Some(log)
	}
	for _, l := range logins {
		f.Clients++
		if b, ok := j.judge(l); ok {
			b.Address, b.Account, b.Age = l.from.String(), l.account, max(0, h.Now().Sub(l.at))
			f.Blocked = append(f.Blocked, b)
		}
	}
	return f, nil
}

// turnsAway reports whether some rule does something other than letting through to packets from certain sources.
func (r *ruleset) turnsAway() bool {
	for _, c := range r.called {
		if c.nat || c.family != "ip" && c.family != "inet" && c.family != "ip6" && c.family != "netdev" || c.hook == "forward" || c.hook == "output" || c.hook == "postrouting" {
			continue
		}
		if slices.ContainsFunc(c.rules, func(r rule) bool { return turnsSourceAway.MatchString(r.text) && !letsThrough.MatchString(r.text) }) {
			return true
		}
	}
	return false
}

var (
	turnsSourceAway = regexp.MustCompile(`\bsaddr\b|(?:^| )-s |--match-set \S+ src|--src-range`)
	letsThrough     = regexp.MustCompile(`\b(?:accept|return)$|-j (?:ACCEPT|RETURN|MARK|CONNMARK|LOG|NFLOG)\b`)
)

// sshLogins lists the addresses of the last logins, the latest first, each once.
func sshLogins(ctx context.Context, h host.Host) (logins []sshLogin, log string) {
	all, log := loggedLogins(ctx, h)
	if list := wtmpLogins(h); len(list) > 0 {
		if all = append(all, list...); log == "" {
			log = "wtmp"
		}
	}
	slices.SortStableFunc(all, func(a, b sshLogin) int { return b.at.Compare(a.at) })
	for _, l := range all {
		fits := l.from.IsValid() && !l.from.IsLoopback() && h.Now().Sub(l.at) < sshLoginsSince
		if fits && len(logins) < maxSSHClients && !slices.ContainsFunc(logins, func(o sshLogin) bool { return o.from == l.from }) {
			logins = append(logins, l)
		}
	}
	return logins, log
}

// sshLog is what sshd logged last: the lines, each after its time.
func sshLog(ctx context.Context, h host.Host) (lines []string, from string) {
	type answer struct {
		lines []string
		from  string
	}
	a, _ := probes.Share(ctx, "sshd's log", func() (answer, error) {
		out, err := h.Run(ctx, "journalctl", "-u", "ssh.service", "-u", "sshd.service", "-n", strconv.Itoa(sshLogLines), "-o", "short-unix", "--no-pager", "-q")
		if err == nil && out.Exit == 0 && len(out.Stdout) > 0 {
			return answer{strings.Split(string(out.Stdout), "\n"), "journal"}, nil
		}
		for _, file := range []string{"/var/log/auth.log", "/var/log/secure"} {
			if b, err := h.ReadTail(file, 256<<10); err == nil && len(b) > 0 {
				return answer{strings.Split(string(b), "\n"), file}, nil
			}
		}
		return answer{}, nil
	})
	return a.lines, a.from
}

var acceptedLogin = regexp.MustCompile(`\bAccepted \S+ for (\S+) from (\S+) port \d+`)

func loggedLogins(ctx context.Context, h host.Host) (logins []sshLogin, log string) {
	lines, log := sshLog(ctx, h)
	for _, line := range lines {
		m := acceptedLogin.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		a, err := netip.ParseAddr(m[2])
		if at, ok := lineTime(line, h.Now()); ok && err == nil {
			logins = append(logins, sshLogin{m[1], a.Unmap().WithZone(""), at})
		}
	}
	return logins, log
}

// lineTime reads a line's beginning: "1732211111.123456 " of journalctl, "2026-11-21T18:00:00.123456+08:00 " or "Nov 21 18:00:00 " of syslog.
func lineTime(line string, now time.Time) (time.Time, bool) {
	word, _, _ := strings.Cut(line, " ")
	if s, err := strconv.ParseFloat(word, 64); err == nil {
		return time.Unix(int64(s), 0), true
	}
	if t, err := time.Parse(time.RFC3339Nano, word); err == nil {
		return t, true
	}
	if len(line) < 15 {
		return time.Time{}, false
	}
	t, err := time.ParseInLocation("Jan _2 15:04:05", line[:15], now.Location())
	if err != nil {
		return time.Time{}, false
	}
	if t = t.AddDate(now.Year(), 0, 0); t.After(now.Add(24 * time.Hour)) {
		t = t.AddDate(-1, 0, 0)
	}
	return t, true
}

// wtmpLogins reads the end of wtmp, where sshd notes logins that have a terminal.
func wtmpLogins(h host.Files) []sshLogin {
	fi, err := h.Stat("/var/log/wtmp")
	if err != nil || fi.Size%wtmpRecord != 0 {
		return nil
	}
	b, err := h.ReadTail("/var/log/wtmp", 200*wtmpRecord)
	if err != nil || len(b)%wtmpRecord != 0 {
		return nil
	}
	var logins []sshLogin
	for ; len(b) > 0; b = b[wtmpRecord:] {
		const userProcess, userAt, timeAt, addrAt = 7, 44, 340, 348
		addr, ok := netip.AddrFromSlice(b[addrAt : addrAt+16])
		if binary.NativeEndian.Uint16(b) != userProcess || !ok || addr.IsUnspecified() {
			continue
		}
		if raw := addr.As16(); [12]byte(raw[4:]) == [12]byte{} {
			addr = netip.AddrFrom4([4]byte(raw[:4]))
		}
		user, _, _ := strings.Cut(string(b[userAt:userAt+32]), "\x00")
		logins = append(logins, sshLogin{user, addr, time.Unix(int64(binary.NativeEndian.Uint32(b[timeAt:])), 0)})
	}
	return logins
}

// clientJudge knows all that may turn a client away.
type clientJudge struct {
	rules   *ruleset
	denials []deniedClient
	routes  []host.Route
	ways    []wayIn
	ports   []listener
	fuel    int
}

func (j *clientJudge) read(ctx context.Context, h host.Host) error {
	var err error
	if j.ways, err = readWaysIn(ctx, h); err != nil {
		return err
	}
	owners, err := listenerOwners(ctx, h)
	if err != nil {
		return err
	}
	return h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		at := netip.AddrPortFrom(s.Local.Addr().Unmap().WithZone(""), s.Local.Port())
		if o := owners[s.Inode]; o.command != "sshd" && at.Port() != 22 || at.Addr().IsLoopback() {
			return nil
		}
		j.ports = append(j.ports, listener{at: at})
		if s.V6 && !s.V6Only && at.Addr().IsUnspecified() {
			j.ports = append(j.ports, listener{at: netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())})
		}
		return nil
	})
}

// listOnly reports whether SSH is for certain addresses only: one that no rule can know does not get through.
func (j *clientJudge) listOnly() bool {
	return slices.ContainsFunc(j.ports, func(p listener) bool {
		for _, w := range waysTo(j.ways, p.at.Addr()) {
			f := j.rules.follow(packet{
				v6: p.at.Addr().Is6(), src: strangers[p.at.Addr().Is6()], dst: w.addr.Addr(), iif: w.iif, markKnown: true, sport: 50007, dport: int(p.at.Port()),
			}, &j.fuel)
			return f.verdict == "drop" || f.verdict == "reject"
		}
		return false
	})
}

func (j *clientJudge) judge(l sshLogin) (blockedClient, bool) {
	for _, r := range j.routes {
		if r.Dst.Contains(l.from) {
			return blockedClient{By: "route", Rule: strings.TrimSpace(r.Type + " " + r.Dst.String()), Where: "the routing table", Named: true}, true
		}
	}
	for _, d := range j.denials {
		if d.fits(l.from) {
			if !d.deny {
				break
			}
			return blockedClient{By: "hosts.deny", Rule: d.text, Where: d.where, Named: !d.all}, true
		}
	}
	if j.rules == nil {
		return blockedClient{}, false
	}
	var b blockedClient
	asked := false
	for _, p := range j.ports {
		v6 := p.at.Addr().Is6()
		for _, w := range waysTo(j.ways, p.at.Addr()) {
			if v6 != l.from.Is6() || w.addr.Addr() == l.from {
				continue
			}
			ask := func(src netip.Addr) fate {
				return j.rules.follow(packet{v6: v6, src: src, dst: w.addr.Addr(), iif: w.iif, markKnown: true, sport: 50007, dport: int(p.at.Port())}, &j.fuel)
			}
			f := ask(l.from)
			if f.verdict != "drop" && f.verdict != "reject" {
				return blockedClient{}, false // there is a way
			}
			if asked = true; b.Rule == "" {
				b = blockedClient{By: "firewall", Rule: f.rule, Where: f.chain, Named: ask(strangers[v6]).verdict == "pass"}
				if m := setInRule.FindStringSubmatch(f.rule); m != nil {
					b.Set, b.Kind = m[1]+m[2], map[bool]string{true: "ipset", false: "nft"}[m[1] != ""]
				}
			}
		}
	}
	return b, asked
}

var setInRule = regexp.MustCompile(`--match-set (\S+)|@([\w.-]+)`)

// nullRoutes are the routes that discard what is for networks smaller than a quarter of the Internet: those over all are for what no other route takes.
func nullRoutes(ctx context.Context, h host.Host) ([]host.Route, error) {
	var list []host.Route
	err := h.Routes(ctx, func(r *host.Route) error {
		if (r.Type == "blackhole" || r.Type == "unreachable" || r.Type == "prohibit") && r.Dst.Bits() > 8 && r.Dst.Addr().Is4() && len(list) < maxPeers {
			list = append(list, *r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	return list, nil
}

// deniedClient is a line of hosts.allow or hosts.deny that is about sshd.
type deniedClient struct {
	deny, all   bool
	text, where string
	clients     []string
}

// deniedClients lists what hosts_access(5) looks at for sshd, in its order; empty if nobody is turned away, or the daemon does not ask it.
func deniedClients(h host.Files) []deniedClient {
	var list []deniedClient
	denies := false
	for _, file := range []string{"/etc/hosts.allow", "/etc/hosts.deny"} {
		b, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
			daemons, rest, ok := strings.Cut(line, ":")
			if !ok || strings.Contains(line, "EXCEPT") || !slices.ContainsFunc(wrapperWords(daemons), func(w string) bool { return w == "sshd" || w == "ALL" }) {
				continue
			}
			clients, options := rest, ""
			if i := strings.IndexByte(rest, ':'); i >= 0 && !strings.Contains(rest, "[") {
				clients, options = rest[:i], strings.ToLower(rest[i:])
			}
			deny := strings.HasSuffix(file, "deny") && !strings.Contains(options, "allow") || strings.Contains(options, "deny")
			denies = denies || deny
			words := wrapperWords(clients)
			list = append(list, deniedClient{deny: deny, all: slices.Contains(words, "ALL"), text: strings.TrimSpace(line), where: fmt.Sprintf("%s:%d", file, n), clients: words})
		}
	}
	if !denies || !heedsWrappers(h) {
		return nil
	}
	return list
}

// heedsWrappers looks for the library in the daemon that runs; see wrappers.
func heedsWrappers(h host.Files) bool {
	pid, err := readInt(h, "/run/sshd.pid")
	if err != nil {
		return false
	}
	maps, err := h.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	return err == nil && strings.Contains(string(maps), "/libwrap.so")
}

// fits matches an address with the patterns of hosts_access(5) that need no name: itself, 192.0.2., 192.0.2.0/24, 192.0.2.0/255.255.255.0.
func (d *deniedClient) fits(a netip.Addr) bool {
	return slices.ContainsFunc(d.clients, func(w string) bool {
		w = strings.Trim(w, "[]")
		if w == "ALL" || w == a.String() || strings.HasSuffix(w, ".") && strings.HasPrefix(a.String(), w) {
			return true
		}
		network, mask, ok := strings.Cut(w, "/")
		if !ok {
			return false
		}
		if m, err := netip.ParseAddr(mask); err == nil && m.Is4() {
			mask = strconv.Itoa(maskBits(m))
		}
		p, err := netip.ParsePrefix(network + "/" + mask)
		return err == nil && p.Masked().Contains(a)
	})
}

func maskBits(m netip.Addr) int {
	bits := 0
	for _, b := range m.As4() {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	return bits
}

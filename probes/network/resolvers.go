package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Resolvers times the name servers that this host's programs ask.
var Resolvers = probes.Define(probes.Probe[host.Host]{
	Name: "resolvers",
	Doc: `Name servers

Reads /etc/resolv.conf as resolv.conf(5) describes it and asks each server for the name servers of the root, which every recursive server
has at hand; any answer but SERVFAIL counts, a refusal too. An answer that came late is asked for twice more and the best time counts: a
busy host reads its own answers late. Where the only server is systemd-resolved's stub, the servers behind it
(/run/systemd/resolve/resolv.conf) are asked as well. A question that stays unanswered is asked once more. What per-domain routing, /etc/hosts
or nsswitch.conf do before a server is asked is not looked at. Costs 0.5 ms of CPU and at most 2 s of waiting.`,
	Needs:   probes.Network,
	Every:   time.Minute,
	Timeout: 3 * time.Second,
}, resolvers)

type resolversFacts struct {
	Exists     bool                 `fact:"exists" doc:"/etc/resolv.conf is there"`
	Target     probes.Opt[string]   `fact:"target" doc:"Where /etc/resolv.conf points to; absent if it is a plain file"`
	Configured int                  `fact:"configured" unit:"count" doc:"Servers that it names; with none, the C library asks 127.0.0.1"`
	Ignored    int                  `fact:"ignored" unit:"count" doc:"Servers after the third, which the C library never asks (MAXNS)"`
	Invalid    []string             `fact:"invalid" doc:"Values of nameserver lines that are no addresses"`
	Stub       bool                 `fact:"stub" doc:"The only server is systemd-resolved on this host"`
	Strict     []string             `fact:"strict" doc:"What systemd-resolved demands of its name servers, where it is asked, and the file that says so: DNSSEC=yes (/etc/systemd/resolved.conf line 3)"`
	Timeout    time.Duration        `fact:"timeout" doc:"How long the C library waits for one answer: options timeout, 5 s by default"`
	Attempts   int                  `fact:"attempts" unit:"count" doc:"How often it asks all servers: options attempts, 2 by default"`
	NDots      int                  `fact:"ndots" unit:"count" doc:"Names with fewer dots are first tried with the search domains: 1 by default"`
	Rotate     bool                 `fact:"rotate" doc:"The servers are asked in turn"`
	Search     []string             `fact:"search" doc:"Search domains"`
	Servers    []resolverServer     `fact:"servers" doc:"The servers that were asked, in the order in which programs ask them; those behind a stub come after it"`
	Answering  probes.Opt[int]      `fact:"answering" unit:"count" doc:"How many of those that programs ask answered"`
	First      probes.Opt[bool]     `fact:"first_answers" doc:"The first of them answered; if not, every lookup waits for timeout"`
	Wait       probes.Opt[duration] `fact:"wait" doc:"How long a lookup waits for its first answer as things are: the unanswered servers' timeouts and the first answer's time; absent if none answered"`
}

type duration = time.Duration

type resolverServer struct {
	Address  string               `fact:"address,key" doc:"Its address"`
	Upstream bool                 `fact:"upstream" doc:"It is asked by the stub on this host, not by programs"`
	Answered probes.Opt[bool]     `fact:"answered" doc:"It gave an answer other than SERVFAIL"`
	RCode    probes.Opt[string]   `fact:"rcode" doc:"The answer's code: \"NOERROR\", \"REFUSED\", …; absent without an answer"`
	RTT      probes.Opt[duration] `fact:"rtt" doc:"How long its answer took; the shortest of three if the first took longer than 50 ms"`
	Tries    int                  `fact:"tries" unit:"count" doc:"Questions sent"`
	Why      probes.Opt[string]   `fact:"why" doc:"What came instead of an answer"`
}

const (
	resolvConf         = "/etc/resolv.conf"
	resolvedUpstreams  = "/run/systemd/resolve/resolv.conf"
	maxServers         = 3 // MAXNS of resolv.h
	maxUpstreams       = 6
	defaultDNSTimeout  = 5 * time.Second // RES_TIMEOUT
	defaultDNSAttempts = 2               // RES_DFLRETRY
	dnsPort            = 53

	// The second question goes out after 800 ms and both may be answered for 2 s: what takes longer than that is no name service.
	dnsAgain = 800 * time.Millisecond
	dnsWait  = 2 * time.Second

	// What comes sooner nobody calls slow; what comes later may have waited for a core of this host, and not for the server.
	dnsLate  = 50 * time.Millisecond
	dnsTimes = 3 // questions whose times are compared
)

func resolvers(ctx context.Context, h host.Host) (resolversFacts, error) {
	data, err := h.ReadFile(resolvConf)
	f := resolversFacts{Exists: err == nil, Timeout: defaultDNSTimeout, Attempts: defaultDNSAttempts, NDots: 1}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if target, err := h.Readlink(resolvConf); err == nil {
		f.Target = probes.Some(target)
	}
	servers := parseResolvConf(string(data), &f)
	f.Configured = len(servers)
	if len(servers) == 0 {
		servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	if len(servers) > maxServers {
		f.Ignored = len(servers) - maxServers
		servers = servers[:maxServers]
	}
	direct := len(servers)
	f.Stub = direct == 1 && isStub(servers[0])
	if slices.ContainsFunc(servers, isStub) {
		if f.Strict, err = strictDemands(h); err != nil {
			return f, err
		}
	}
	if f.Stub {
		behind, err := h.ReadFile(resolvedUpstreams)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		for _, s := range parseResolvConf(string(behind), &resolversFacts{}) {
			if len(servers) < direct+maxUpstreams && !slices.Contains(servers, s) {
				servers = append(servers, s)
			}
		}
	}
	f.Servers = make([]resolverServer, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { f.Servers[i] = askServer(ctx, h, s, i >= direct) })
	}
	all.Wait()
	f.judge(direct)
	return f, nil
}

// strictDemands reads resolved.conf(5) and its parts, of which the last that sets something counts. A server that cannot do what is demanded
// is not used at all; allow-downgrade and opportunistic demand nothing.
func strictDemands(h host.Host) ([]string, error) {
	files := map[string]string{"resolved.conf": "/etc/systemd/resolved.conf"} // by the name that orders them
	for _, dir := range []string{"/usr/lib/systemd/resolved.conf.d", "/run/systemd/resolved.conf.d", "/etc/systemd/resolved.conf.d"} {
		names, err := entryNames(h, dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".conf") {
				files["resolved.conf.d/"+name] = dir + "/" + name
			}
		}
	}
	demands := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text, err := readIfThere(h, files[name])
		if err != nil {
			return nil, err
		}
		number := 0
		for line := range strings.Lines(text) {
			number++
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if key = strings.TrimSpace(key); key != "DNSSEC" && key != "DNSOverTLS" {
				continue
			}
			delete(demands, key)
			if value = strings.ToLower(strings.TrimSpace(value)); slices.Contains([]string{"yes", "true", "1", "on", "y", "t"}, value) {
				demands[key] = fmt.Sprintf("%s=%s (%s line %d)", key, value, files[name], number)
			}
		}
	}
	return slices.Sorted(maps.Values(demands)), nil
}

// isStub knows the two addresses that systemd-resolved listens on (systemd-resolved.service(8)).
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

// parseResolvConf reads the servers, and the options into f.
func parseResolvConf(text string, f *resolversFacts) []netip.Addr {
	var servers []netip.Addr
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || strings.ContainsAny(words[0][:1], "#;") {
			continue
		}
		switch words[0] {
		case "nameserver":
			a, err := netip.ParseAddr(words[1])
			if err != nil {
				f.Invalid = append(f.Invalid, words[1])
				continue
			}
			if !slices.Contains(servers, a) {
				servers = append(servers, a)
			}
		case "domain", "search": // the last one wins
			f.Search = words[1:]
		case "options":
			for _, o := range words[1:] {
				f.option(o)
			}
		}
	}
	return servers
}

// option reads one option; numbers are capped as the C library caps them (RES_MAXRETRANS, RES_MAXRETRY, RES_MAXNDOTS).
func (f *resolversFacts) option(o string) {
	name, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "rotate":
		f.Rotate = true
	case err != nil || n < 0:
	case name == "timeout":
		f.Timeout = time.Duration(min(n, 30)) * time.Second
	case name == "attempts":
		f.Attempts = min(n, 5)
	case name == "ndots":
		f.NDots = min(n, 15)
	}
}

// askServer asks one server, and once more while the first question stays unanswered.
func askServer(ctx context.Context, h host.Host, server netip.Addr, upstream bool) resolverServer {
	s := resolverServer{Address: server.String(), Upstream: upstream}
	ctx, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	type reply struct {
		host.DNSAnswer
		err error
	}
	back := make(chan reply, 2)
	ask := func() {
		s.Tries++
		go func() {
			a, err := h.Query(ctx, host.DNSQuery{Server: netip.AddrPortFrom(server, dnsPort), Name: ".", Type: "NS"})
			back <- reply{a, err}
		}()
	}
	again := time.NewTimer(dnsAgain)
	defer again.Stop()
	ask()
	var last reply
	for pending := 1; pending > 0; {
		select {
		case last = <-back:
			pending--
			if last.err == nil {
				last.RTT = s.best(ctx, h, server, last.RTT)
			}
			if last.err == nil || notAsked(last.err) {
				return s.with(last.DNSAnswer, last.err)
			}
		case <-again.C:
		}
		if s.Tries == 1 && ctx.Err() == nil {
			ask()
			pending++
		}
	}
	return s.with(last.DNSAnswer, last.err)
}

// best asks a server that answered late some times more and returns the shortest time. What a busy host delays itself it delays now and
// then; a slow server, or a long way to it, is slow each time.
func (s *resolverServer) best(ctx context.Context, h host.Host, server netip.Addr, rtt time.Duration) time.Duration {
	for n := 1; n < dnsTimes && rtt > dnsLate; n++ {
		s.Tries++
		a, err := h.Query(ctx, host.DNSQuery{Server: netip.AddrPortFrom(server, dnsPort), Name: ".", Type: "NS", Again: n})
		if err != nil {
			break
		}
		rtt = min(rtt, a.RTT)
	}
	return rtt
}

func (s resolverServer) with(a host.DNSAnswer, err error) resolverServer {
	switch {
	case err == nil:
		s.RCode, s.RTT = probes.Some(a.RCode), probes.Some(a.RTT)
		s.Answered = probes.Some(a.RCode != "SERVFAIL")
		if a.RCode == "SERVFAIL" {
			s.Why = probes.Some("it answered SERVFAIL: it cannot reach the servers that it asks itself")
		}
	case notAsked(err):
		s.Answered = probes.Unread[bool](err.Error())
	case errors.Is(err, syscall.ENETUNREACH): // the routes' fault: the server may be well
		s.Answered, s.Why = probes.Unread[bool]("no route leads there"), probes.Some(reason(err))
	default:
		s.Answered, s.Why = probes.Some(false), probes.Some(reason(err))
	}
	return s
}

// judge works out what the servers' answers mean for a program that asks them in their order.
func (f *resolversFacts) judge(direct int) {
	answering, waited := 0, time.Duration(0)
	for i, s := range f.Servers[:direct] {
		ok, known := s.Answered.Get()
		if _, noWay := s.Why.Get(); !known && !noWay {
			why := fmt.Sprintf("%s was not asked", s.Address)
			f.Answering, f.Wait = probes.Unread[int](why), probes.Unread[duration](why)
			if i == 0 {
				f.First = probes.Unread[bool](why)
			}
			return
		}
		if i == 0 { // where no route leads, programs get no answer either
			f.First = probes.Some(ok)
		}
		if rtt, _ := s.RTT.Get(); ok && answering == 0 {
			f.Wait = probes.Some(waited + rtt)
		}
		if ok {
			answering++
		}
		if !ok && s.silent() {
			waited += f.Timeout
		}
	}
	f.Answering = probes.Some(answering)
}

// silent: nothing came back at all, as opposed to a SERVFAIL or a closed port, after which the next server is asked at once.
func (s resolverServer) silent() bool {
	why, _ := s.Why.Get()
	return why == noAnswer
}

package network

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Names looks at what a name goes through before and while a name server is asked.
var Names = probes.Define(probes.Probe[host.Host]{
	Name: "names",
	Doc: `How names are looked up

Reads /etc/hosts, nsswitch.conf and the modes of the files that every program reads, and asks the first three name servers three kinds of
questions: for a name that exists (this host's first time server with a name, else a.root-servers.net), for one that must not exist
(RFC 6761's .invalid), and, the first server that answers, for the search domains and for names of /etc/hosts that are pinned to an address of another
host. Silence for a search domain is asked about once more. Where such an address differs from DNS both are tried by ping and TCP. Costs 1 ms of CPU
and, where servers are silent, up to 3 s of waiting. Modules of
nsswitch.conf other than files, dns, resolve and myhostname are listed and not asked.`,
	Needs:   probes.Network,
	Every:   time.Minute,
	Timeout: 4 * time.Second,
}, names)

type namesFacts struct {
	Hosts       bool                     `fact:"hosts_exists" doc:"/etc/hosts is there"`
	Localhost   []string                 `fact:"localhost" doc:"The addresses that /etc/hosts gives localhost"`
	LocalhostOK probes.Opt[bool]         `fact:"localhost_ok" doc:"localhost is an address of loopback and no other: by /etc/hosts, a module of nsswitch.conf that knows it by itself, or a name server"`
	Order       []string                 `fact:"order" doc:"Where hosts are looked up: the services of nsswitch.conf's hosts line that can be reached, without their conditions; files dns without the file or the line"`
	AsksFiles   bool                     `fact:"asks_files" doc:"/etc/hosts is among them"`
	AsksDNS     bool                     `fact:"asks_dns" doc:"A name server is: dns, or systemd-resolved (resolve)"`
	AsksOthers  bool                     `fact:"asks_others" doc:"A service is that this probe does not know: sss, nis, ldap, wins, …"`
	DNSFirst    bool                     `fact:"dns_first" doc:"dns is asked before /etc/hosts is read"`
	Hidden      probes.Cut[hiddenFile]   `fact:"hidden" doc:"Files that every program must read and that only their owner may"`
	Hostname    string                   `fact:"hostname" doc:"This host's name; /proc/sys/kernel/hostname"`
	Itself      probes.Opt[bool]         `fact:"hostname_resolves" doc:"Its own name has an address: by /etc/hosts, a module that knows it, or DNS"`
	Asked       string                   `fact:"known_name" doc:"The name that exists"`
	Servers     []nameServer             `fact:"servers" doc:"The servers that programs ask, at most three"`
	Overrides   probes.Cut[nameOverride] `fact:"overrides" doc:"Names of /etc/hosts that DNS knows by another address; of the first 8 with a dot that are pinned to another host, and where they are few of those that are sent to loopback or 0.0.0.0"`
	Search      []searchDomain           `fact:"search" doc:"The search domains, at most six"`
	Unspecified int                      `fact:"blocked_names" unit:"count" doc:"Names that /etc/hosts sends to 0.0.0.0 or loopback, other than this host's own: how advertisers are blocked"`
}

type hiddenFile struct {
	Path string `fact:"path,key" doc:"The file"`
	Mode string `fact:"mode" doc:"Its permissions: 0600"`
}

type nameServer struct {
	Address  string             `fact:"address,key" doc:"Its address"`
	RCode    probes.Opt[string] `fact:"rcode" doc:"Its answer for the name that exists: NOERROR, NXDOMAIN, …; absent without an answer"`
	Knows    probes.Opt[bool]   `fact:"knows" doc:"It gave an address for that name; absent without an answer"`
	Gave     probes.Opt[string] `fact:"gave" doc:"That address, or the first"`
	Denies   probes.Opt[bool]   `fact:"denies" doc:"It has no address for a name that another server has one for; absent without an answer"`
	Invents  probes.Opt[bool]   `fact:"invents" doc:"It gave an address for a name that must not exist; absent without an answer"`
	Invented probes.Opt[string] `fact:"invented" doc:"That address"`
}

type nameOverride struct {
	Name     string           `fact:"name,key" doc:"The name"`
	Address  string           `fact:"address" doc:"Its address in /etc/hosts"`
	DNS      []string         `fact:"dns" doc:"Its addresses in DNS"`
	Alive    probes.Opt[bool] `fact:"alive" doc:"Something at the address in /etc/hosts answers ICMP, or TCP on port 443, 80 or 22"`
	DNSAlive probes.Opt[bool] `fact:"dns_alive" doc:"The same for the first address in DNS"`
	Here     bool             `fact:"here" doc:"Its address in /etc/hosts is loopback or 0.0.0.0: this host itself, or nobody"`
	NeededBy string           `fact:"needed_by" doc:"With here: a file of this host's configuration that names it, or the cloud, whose own service it is; empty if nobody is known"`
}

type searchDomain struct {
	Domain   string             `fact:"domain,key" doc:"The domain"`
	Answered probes.Opt[bool]   `fact:"answered" doc:"The name server answered for it within a second, be it that there is no such domain; no: it was silent twice although it answers for other names"`
	RCode    probes.Opt[string] `fact:"rcode" doc:"Its answer; absent if it was silent"`
}

const (
	namesWait     = time.Second
	maxOverrides  = 8
	maxHere       = 8
	maxSearch     = 6 // MAXDNSRCH of the C library before 2.26
	bogusName     = "hostmend-check.invalid."
	existingName  = "a.root-servers.net."
	reachPatience = 400 * time.Millisecond
)

// hostsFile is /etc/hosts: which names have which addresses.
type hostsFile struct {
	names []string
	addrs map[string][]netip.Addr
}

func names(ctx context.Context, h host.Host) (namesFacts, error) {
	f := namesFacts{}
	conf, err := f.readFiles(h)
	if err != nil {
		return f, err
	}
	hosts, err := f.readHosts(h)
	if err != nil {
		return f, err
	}
	if f.Asked, err = existing(h); err != nil {
		return f, err
	}
	first := f.askServers(ctx, h, conf.servers)
	var all sync.WaitGroup
	all.Go(func() { f.askSearch(ctx, h, first, conf.search) })
	all.Go(func() { f.askOverrides(ctx, h, first, hosts) })
	all.Go(func() { f.Itself = f.askItself(ctx, h, first, hosts, conf.search) })
	all.Go(func() { f.LocalhostOK = f.askLocalhost(ctx, h, first, hosts.addrs["localhost"]) })
	all.Wait()
	return f, nil
}

type resolverConf struct {
	servers []netip.Addr
	search  []string
}

// readFiles reads nsswitch.conf and resolv.conf, and looks who may read them.
func (f *namesFacts) readFiles(h host.Host) (c resolverConf, err error) {
	text, err := readIfThere(h, resolvConf)
	if err != nil {
		return c, err
	}
	options := &resolversFacts{}
	c.servers = parseResolvConf(text, options)
	if len(c.servers) == 0 {
		c.servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	c.servers, c.search = c.servers[:min(len(c.servers), maxServers)], options.Search
	order, err := readIfThere(h, "/etc/nsswitch.conf")
	if err != nil {
		return c, err
	}
	f.Order = hostsOrder(order)
	dns := slices.IndexFunc(f.Order, func(s string) bool { return s == "dns" || s == "resolve" })
	files := slices.Index(f.Order, "files")
	f.AsksFiles, f.AsksDNS, f.DNSFirst = files >= 0, dns >= 0, dns >= 0 && files > dns && f.Order[dns] == "dns"
	f.AsksOthers = slices.ContainsFunc(f.Order, func(s string) bool { return !slices.Contains(knownServices, s) && !strings.HasPrefix(s, "mdns") })
	for _, file := range []string{"/etc/hosts", resolvConf} {
		info, err := h.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return c, err
		}
		if info.Mode.Perm()&0o004 == 0 {
			f.Hidden.All = append(f.Hidden.All, hiddenFile{file, "0" + octal(info.Mode.Perm())})
		}
	}
	return c, nil
}

func octal(m fs.FileMode) string {
	return string([]byte{'0' + byte(m>>6&7), '0' + byte(m>>3&7), '0' + byte(m&7)})
}

var knownServices = []string{"files", "dns", "resolve", "myhostname", "mymachines", "libvirt", "libvirt_guest", "gw_name"}

// hostsOrder lists the services of the hosts line (nsswitch.conf(5)) up to one after which a name that is not found is given up.
func hostsOrder(text string) []string {
	order := []string{"files", "dns"} // of the C library since 2.34; before, dns came first
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "hosts:")
		if !ok {
			continue
		}
		order = nil
		rest = strings.NewReplacer("[", " [", "]", "] ").Replace(rest)
		words := strings.Fields(strings.ToLower(rest))
		for i := 0; i < len(words); i++ {
			if !strings.HasPrefix(words[i], "[") {
				order = append(order, words[i])
				continue
			}
			first := i
			for !strings.HasSuffix(words[i], "]") && i+1 < len(words) {
				i++
			}
			condition := strings.Join(words[first:i+1], " ")
			// Of .local only mdns says that a name is not there, and systemd-resolved has asked DNS itself.
			if last := len(order) - 1; last >= 0 && strings.Contains(condition, "notfound=return") && (order[last] == "files" || order[last] == "myhostname") {
				return order
			}
		}
	}
	return order
}

// readHosts reads /etc/hosts (hosts(5)).
func (f *namesFacts) readHosts(h host.Host) (hostsFile, error) {
	hosts := hostsFile{addrs: map[string][]netip.Addr{}}
	data, err := h.ReadFile("/etc/hosts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return hosts, err
	}
	f.Hosts = err == nil
	name, err := h.ReadFile("/proc/sys/kernel/hostname")
	if err != nil {
		return hosts, err
	}
	f.Hostname = strings.ToLower(strings.TrimSpace(string(name)))
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(strings.ToLower(line))
		if len(words) < 2 {
			continue
		}
		a, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, n := range words[1:] {
			n = strings.TrimSuffix(n, ".")
			if len(hosts.addrs[n]) == 0 {
				hosts.names = append(hosts.names, n)
			}
			hosts.addrs[n] = append(hosts.addrs[n], a)
		}
	}
	if !f.AsksFiles {
		return hostsFile{}, nil
	}
	for _, a := range hosts.addrs["localhost"] {
		f.Localhost = append(f.Localhost, a.String())
	}
	return hosts, nil
}

// knowsItself tells that some module answers for localhost and this host's name without any file.
func (f *namesFacts) knowsItself() bool {
	return slices.Contains(f.Order, "myhostname") || slices.Contains(f.Order, "resolve")
}

// existing is a name that every name server of this host should know.
func existing(h host.Host) (string, error) {
	servers, err := ntpServers(h)
	if err != nil {
		return "", err
	}
	for _, s := range servers {
		if _, err := netip.ParseAddr(s); err != nil && strings.Contains(s, ".") && !strings.HasPrefix(s, "/") {
			return strings.TrimSuffix(s, ".") + ".", nil
		}
	}
	return existingName, nil
}

// askServers asks every server for the name that exists and for the one that does not, and returns the first that answered.
func (f *namesFacts) askServers(ctx context.Context, h host.Host, servers []netip.Addr) (first netip.Addr) {
	f.Servers = make([]nameServer, len(servers))
	var all sync.WaitGroup
	for i, addr := range servers {
		s := &f.Servers[i]
		s.Address = addr.String()
		all.Go(func() {
			a, err := lookUp(ctx, h, addr, f.Asked, "A")
			if err == nil {
				s.RCode, s.Knows = probes.Some(a.RCode), probes.Some(len(a.Answers) > 0)
				if n := len(a.Answers); n > 0 { // before it stand the names that it stands for
					s.Gave = probes.Some(a.Answers[n-1])
				}
			} else if notAsked(err) {
				s.RCode, s.Knows = probes.Unread[string](err.Error()), probes.Unread[bool](err.Error())
			}
		})
		all.Go(func() {
			a, err := lookUp(ctx, h, addr, bogusName, "A")
			if err == nil {
				s.Invents = probes.Some(len(a.Answers) > 0)
				if len(a.Answers) > 0 {
					s.Invented = probes.Some(a.Answers[0])
				}
			} else if notAsked(err) {
				s.Invents = probes.Unread[bool](err.Error())
			}
		})
	}
	all.Wait()
	known := slices.ContainsFunc(f.Servers, func(s nameServer) bool { knows, _ := s.Knows.Get(); return knows })
	for i := range f.Servers {
		s := &f.Servers[i]
		if knows, ok := s.Knows.Get(); ok {
			s.Denies = probes.Some(known && !knows)
			if !first.IsValid() && (knows || !known) {
				first = servers[i]
			}
		}
	}
	return first
}

func lookUp(ctx context.Context, h host.Host, server netip.Addr, name, kind string) (host.DNSAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, namesWait)
	defer cancel()
	return h.Query(ctx, host.DNSQuery{Server: netip.AddrPortFrom(server, dnsPort), Name: name, Type: kind})
}

// askSearch asks for the search domains themselves: any answer is one, for programs then go on at once.
func (f *namesFacts) askSearch(ctx context.Context, h host.Host, server netip.Addr, domains []string) {
	domains = slices.DeleteFunc(slices.Clone(domains), func(d string) bool { return strings.Trim(d, ".") == "" })
	domains = domains[:min(len(domains), maxSearch)]
	f.Search = make([]searchDomain, len(domains))
	var all sync.WaitGroup
	for i, d := range domains {
		s := &f.Search[i]
		s.Domain = strings.Trim(d, ".")
		if !server.IsValid() {
			s.Answered = probes.Unread[bool]("no name server answers")
			continue
		}
		all.Go(func() {
			a, err := lookUp(ctx, h, server, s.Domain+".", "A")
			if err != nil && !notAsked(err) { // a datagram may be lost, and a server may have to look far the first time
				a, err = lookUp(ctx, h, server, s.Domain+".", "A")
			}
			switch {
			case err == nil:
				s.RCode, s.Answered = probes.Some(a.RCode), probes.Some(true)
			case notAsked(err):
				s.Answered = probes.Unread[bool](err.Error())
			default:
				s.Answered = probes.Some(false)
			}
		})
	}
	all.Wait()
}

// askItself finds out whether this host's own name has an address, as gethostbyname(3) would.
func (f *namesFacts) askItself(ctx context.Context, h host.Host, server netip.Addr, hosts hostsFile, search []string) probes.Opt[bool] {
	if len(hosts.addrs[f.Hostname]) > 0 || f.knowsItself() {
		return probes.Some(true)
	}
	for _, suffix := range append([]string{""}, search[:min(len(search), 2)]...) {
		known := f.inDNS(ctx, h, server, strings.Trim(f.Hostname+"."+suffix, ".")+".")
		if yes, ok := known.Get(); yes || !ok {
			return known
		}
	}
	return probes.Some(false)
}

// askLocalhost looks at the addresses of /etc/hosts; without any, some name servers know localhost (RFC 6761, 6.3).
func (f *namesFacts) askLocalhost(ctx context.Context, h host.Host, server netip.Addr, addrs []netip.Addr) probes.Opt[bool] {
	if len(addrs) > 0 {
		foreign := slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !a.Unmap().IsLoopback() })
		return probes.Some(!foreign && (f.knowsItself() || slices.ContainsFunc(addrs, netip.Addr.Is4)))
	}
	if f.knowsItself() {
		return probes.Some(true)
	}
	return f.inDNS(ctx, h, server, "localhost.")
}

// inDNS reports whether programs would get an address for a name that is not in /etc/hosts.
func (f *namesFacts) inDNS(ctx context.Context, h host.Host, server netip.Addr, name string) probes.Opt[bool] {
	switch {
	case f.AsksOthers:
		return probes.Unread[bool]("nsswitch.conf names a service that is not asked here")
	case !f.AsksDNS:
		return probes.Some(false)
	case !server.IsValid():
		return probes.Unread[bool]("no name server answers")
	}
	a, err := lookUp(ctx, h, server, name, "A")
	if err != nil {
		return probes.Unread[bool](err.Error())
	}
	return probes.Some(len(a.Answers) > 0)
}

// askOverrides compares names of /etc/hosts with DNS.
func (f *namesFacts) askOverrides(ctx context.Context, h host.Host, server netip.Addr, hosts hostsFile) {
	var pinned, here []string
	for _, n := range hosts.names {
		a := hosts.addrs[n][0].Unmap()
		foreign := strings.Contains(n, ".") && n != f.Hostname && !strings.HasPrefix(n, f.Hostname+".") && !strings.HasPrefix(n, "localhost")
		switch {
		case !foreign || a.IsMulticast():
		case a.IsLoopback() || a.IsUnspecified():
			f.Unspecified++
			here = append(here, n)
		case len(pinned) < maxOverrides:
			pinned = append(pinned, n)
		default:
			f.Overrides.More++
		}
	}
	if len(here) <= maxHere { // more are a list that blocks advertisers
		pinned = append(pinned, here...)
	}
	if len(pinned) > 0 && !server.IsValid() {
		f.Overrides = probes.Cut[nameOverride]{Why: "no name server answers"}
		return
	}
	differ := make([]*nameOverride, len(pinned))
	errs := make([]error, len(pinned))
	var all sync.WaitGroup
	for i, n := range pinned {
		all.Go(func() { differ[i], errs[i] = compareName(ctx, h, server, n, hosts.addrs[n]) })
	}
	all.Wait()
	for i := range pinned {
		if errs[i] != nil {
			f.Overrides = probes.Cut[nameOverride]{Why: errs[i].Error()}
			return
		}
		if differ[i] != nil {
			f.Overrides.All = append(f.Overrides.All, *differ[i])
		}
	}
}

// compareName is nil if DNS does not know the name, or by the same address. A server that does not answer leaves the question open.
func compareName(ctx context.Context, h host.Host, server netip.Addr, name string, pinned []netip.Addr) (*nameOverride, error) {
	kind := "A"
	if pinned[0].Is6() && !pinned[0].Is4In6() {
		kind = "AAAA"
	}
	answer, err := lookUp(ctx, h, server, name+".", kind)
	if err != nil {
		return nil, err
	}
	var known []netip.Addr
	for _, text := range answer.Answers { // a CNAME is no address
		if a, err := netip.ParseAddr(text); err == nil {
			known = append(known, a)
		}
	}
	if len(known) == 0 || slices.ContainsFunc(pinned, func(a netip.Addr) bool { return slices.Contains(known, a.Unmap()) }) {
		return nil, nil
	}
	o := &nameOverride{Name: name, Address: pinned[0].String(), Here: pinned[0].Unmap().IsLoopback() || pinned[0].IsUnspecified()}
	if o.Here {
		o.NeededBy = whoNames(h, name)
	}
	for _, a := range known {
		o.DNS = append(o.DNS, a.String())
	}
	var both sync.WaitGroup
	both.Go(func() { o.Alive = isThere(ctx, h, pinned[0]) })
	both.Go(func() { o.DNSAlive = isThere(ctx, h, known[0]) })
	both.Wait()
	return o, nil
}

// namingDirs are where a host's services are told which others to use.
var namingDirs = []string{
	"/etc/apt", "/etc/apt/sources.list.d", "/etc/yum.repos.d", "/etc/chrony", "/etc/chrony/sources.d", "/etc/chrony/conf.d", "/etc/systemd/timesyncd.conf.d", "/etc/systemd/system",
	"/etc/default", "/etc/sysconfig", "/etc/cron.d", "/usr/local/bin", "/usr/local/etc", "/etc/haproxy", "/etc/nginx/conf.d", "/etc/nginx/sites-enabled", "/etc/rsyslog.d", "/etc/docker",
}

const (
	maxNaming     = 200      // files
	maxNamingFile = 64 << 10 // bytes of one
)

// whoNames is a file that tells a service of this host to use a name, other than to serve under it.
func whoNames(h host.Host, name string) string {
	if strings.HasSuffix(name, ".aliyuncs.com") {
		return "the cloud"
	}
	files := []string{"/etc/chrony.conf", "/etc/systemd/timesyncd.conf", "/etc/ntp.conf", "/etc/crontab", "/etc/environment"}
	for _, dir := range namingDirs {
		entries, _ := h.ReadDir(dir)
		for _, e := range entries {
			if e.Type.IsRegular() || e.Type&fs.ModeSymlink != 0 {
				files = append(files, dir+"/"+e.Name)
			}
		}
	}
	for _, file := range files[:min(len(files), maxNaming)] {
		fi, err := h.Stat(file)
		if err != nil || !fi.Mode.IsRegular() || fi.Size > maxNamingFile {
			continue
		}
		text, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if strings.Contains(line, name) && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "server_name") {
				return file
			}
		}
	}
	return ""
}

// isThere pings an address and tries three ports that hosts have: a refusal is an answer, too.
func isThere(ctx context.Context, h host.Host, a netip.Addr) probes.Opt[bool] {
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	back := make(chan error, 4)
	go func() { _, err := h.Ping(ctx, host.Ping{Dst: a}); back <- err }()
	for _, port := range []uint16{443, 80, 22} {
		go func() {
			_, err := h.Connect(ctx, netip.AddrPortFrom(a, port))
			if errors.Is(err, syscall.ECONNREFUSED) {
				err = nil
			}
			back <- err
		}()
	}
	var failed error
	for range cap(back) {
		err := <-back
		if err == nil {
			return probes.Some(true)
		}
		if notAsked(err) {
			failed = err
		}
	}
	if failed != nil {
		return probes.Unread[bool](failed.Error())
	}
	return probes.Some(false)
}

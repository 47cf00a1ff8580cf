package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Nginx reads what nginx complains about, and whether it has what it is configured for.
var Nginx = probes.Define(probes.Probe[host.Host]{
	Name: "nginx",
	Doc: `nginx

Reads the configuration of an nginx that runs (nginx.conf and what it includes), the last 64 KiB of its error logs and 32 KiB of its access logs. Costs 1 ms. Nothing is asked of
nginx itself; an application behind it that answered 500 or more lately is asked once for the path of its health check, if that was it, and otherwise the last lines of
its service's log are read (20 ms). nginx's configuration is not tested by running it: that a configuration does not hold is known once somebody tried to
load or test it and nginx said so. Which of its complaints are recent is told from the log's own times, the last of which was when
the file was last written. An nginx in a container of its own is not seen.`,
	Every: 30 * time.Second,
}, nginx)

type nginxFacts struct {
	Ports       []nginxPort               `fact:"ports" doc:"The TCP ports that its configuration listens on"`
	Upstreams   probes.Cut[nginxUpstream] `fact:"upstreams" doc:"Servers behind it that it complained about in the last ten minutes"`
	Complaints  []nginxComplaint          `fact:"complaints" doc:"Requests that it answered with an error of its own in the last ten minutes, by kind"`
	Failing     []failingApp              `fact:"failing" doc:"Paths for which an application behind it answers 500 or more, the last one lately; three at most"`
	Servers     int                       `fact:"servers" unit:"count" doc:"The server blocks of its configuration"`
	Listening   probes.Opt[int]           `fact:"listening" unit:"sockets" doc:"TCP sockets that it listens on"`
	Loopback    probes.Opt[bool]          `fact:"loopback_only" doc:"It listens, and on the loopback address only: nobody but this host reaches it"`
	Directives  []string                  `fact:"loopback_listens" doc:"If so: the listen directives, as FILE:LINE: TEXT; five at most"`
	Strangers   int                       `fact:"strangers" unit:"requests" doc:"If so: how many of the last requests in its access logs came from other hosts, before that was so"`
	Moved       int                       `fact:"moved" unit:"requests" doc:"If it listens for others, and nobody does on 80 or 443: how many of the last requests in its access log came from other hosts before its configuration changed; 0 if any came since"`
	LeftOut     []string                  `fact:"left_out" doc:"If it has no server block: files with one in sites-enabled, conf.d or http.d that its configuration does not include; five at most"`
	Fixed       []fixedAnswer             `fact:"fixed" doc:"Answers written in its configuration that everybody has got since it last changed, whatever he asked for, where the same clients got others before"`
	Connections int                       `fact:"worker_connections_errors" unit:"count" doc:"How often in the last ten minutes its worker_connections were not enough"`
	Files       int                       `fact:"open_files_errors" unit:"count" doc:"How often in the last ten minutes it could open no more files"`
	Tight       []string                  `fact:"tight_timeouts" doc:"If something behind it timed out: its timeouts of less than a second, as FILE:LINE: TEXT; five at most"`
	ConfigError probes.Opt[string]        `fact:"config_error" doc:"What it said of a configuration that it could not load, if since then neither that was changed nor nginx started; absent if there is nothing of the kind"`
	ConfigAge   probes.Opt[time.Duration] `fact:"config_error_age" doc:"How long ago it said that"`
}

type nginxPort struct {
	Port   int                `fact:"port,key" unit:"port" doc:"The port"`
	Held   probes.Opt[bool]   `fact:"held" doc:"nginx listens on it"`
	Holder probes.Opt[string] `fact:"holder" doc:"Who listens on it instead; absent if nobody does"`
}

type nginxUpstream struct {
	Address  string             `fact:"address,key" doc:"Scheme and address, as in http://127.0.0.1:8080 or http://unix:/run/app.sock"`
	Refused  int                `fact:"refused" unit:"count" doc:"How often in the last ten minutes it refused the connection, or its socket was not there"`
	Timeout  int                `fact:"timed_out" unit:"count" doc:"How often it did not answer in time"`
	Broken   int                `fact:"broken" unit:"count" doc:"How often it closed the connection before its answer was whole"`
	Last     time.Duration      `fact:"last" doc:"How long ago the last of these was"`
	Others   int                `fact:"others" unit:"count" doc:"Other servers of its upstream block, to which nginx turns when this one fails; 0 for an address that stands alone"`
	NoneLeft int                `fact:"none_left" unit:"count" doc:"How often nginx said that of its upstream block no server is left: no live upstreams"`
	Served   probes.Opt[bool]   `fact:"served" doc:"Somebody listens there now; absent for another host's address"`
	Unit     probes.Opt[string] `fact:"unit" doc:"The service that should: the only one whose unit or start script names the port or socket; absent if somebody listens, or that cannot be told"`
}

// nginxRecent is how far back complaints count: what is older may have been mended.
const nginxRecent = 10 * time.Minute

const (
	nginxLogTail = 64 << 10
	maxUpstreams = 20
)

func nginx(ctx context.Context, h host.Host) (nginxFacts, error) {
	return probes.Share(ctx, "nginx", func() (nginxFacts, error) { return lookAtNginx(ctx, h) })
}

func lookAtNginx(ctx context.Context, h host.Host) (nginxFacts, error) {
	started, ok, err := nginxStarted(h)
	if err != nil {
		return nginxFacts{}, err
	}
	if !ok {
		return nginxFacts{}, probes.NoData("nginx does not run")
	}
	var f nginxFacts
	conf := readServerConfig(h, "/etc/nginx/nginx.conf", "/etc/nginx")
	logs := nginxLogs(conf)
	s := nginxSearch{changed: laterOf(conf.changed, started), upstreams: map[string]*nginxUpstream{}, complaints: map[string]*nginxComplaint{}, access: nginxAccess(h, conf)}
	for _, log := range logs {
		if err := s.read(h, log); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	s.closer(h, conf)
	s.missingRoots(h, conf)
	for _, kind := range slices.Sorted(maps.Keys(s.complaints)) {
		f.Complaints = append(f.Complaints, *s.complaints[kind])
	}
	f.Failing = failingApps(ctx, h, conf, s.access)
	f.Connections, f.Files, f.ConfigError, f.ConfigAge = s.connections, s.files, s.configError, s.configAge
	served, err := f.ports(ctx, h, conf)
	f.exposure(h, conf)
	if only, _ := f.Loopback.Get(); err == nil && !only && !served[80] && !served[443] {
		f.Moved = askedBefore(h, conf)
	}
	f.Fixed = fixedAnswers(h, conf, s.changed, served)
	f.Upstreams = most(s.upstreams, maxUpstreams, func(u *nginxUpstream) (int, string) { return u.Refused + u.Timeout + u.Broken, u.Address })
	groups := upstreamGroups(conf.text)
	f.Tight = []string{}
	for i := range f.Upstreams.All {
		u := &f.Upstreams.All[i]
		if u.Timeout > 0 && len(f.Tight) == 0 {
			f.Tight = configLines(h, conf, tightTimeout)
		}
		u.group(groups, s.upstreams)
		u.Served = upstreamServed(h, u.Address, served, err)
		if here, ok := u.Served.Get(); ok && !here && u.Refused > 0 {
			u.Unit = upstreamUnit(h, u.Address)
		}
	}
	return f, nil
}

// nginxStarted is when nginx started, by its pid file, if it runs.
func nginxStarted(h host.Files) (time.Time, bool, error) {
	const file = "/run/nginx.pid"
	fi, err := h.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, err
	}
	pid, err := readInt(h, file)
	if err != nil { // empty, as it is while nginx starts
		return time.Time{}, false, nil
	}
	comm, err := readLine(h, fmt.Sprintf("/proc/%d/comm", pid))
	return fi.ModTime, err == nil && comm == "nginx", nil
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

var nginxLogName = regexp.MustCompile(`(?m)^\s*error_log\s+([^;\s$]+)`)

// nginxLogs are the error logs that are files: the configured ones, or Debian's and the packages' default.
func nginxLogs(conf serverConfig) []string {
	var logs []string
	for _, m := range nginxLogName.FindAllStringSubmatch(conf.text, -1) {
		if strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "/dev/") && !slices.Contains(logs, m[1]) {
			logs = append(logs, m[1])
		}
	}
	const standard = "/var/log/nginx/error.log" // also where it complains before it has read its configuration
	if !slices.Contains(logs, standard) {
		logs = append(logs, standard)
	}
	return logs[:min(len(logs), 5)]
}

// nginxSearch goes through error logs.
type nginxSearch struct {
	changed     time.Time // when the configuration last changed, or nginx started
	upstreams   map[string]*nginxUpstream
	complaints  map[string]*nginxComplaint
	access      map[string]*accessPath
	connections int
	files       int
	configError probes.Opt[string]
	configAge   probes.Opt[time.Duration]
}

// nginxLine is the beginning of a line of the error log; its time is the host's local one.
var nginxLine = regexp.MustCompile(`^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] (.*)`)

func (s *nginxSearch) read(h host.Host, name string) error {
	fi, err := h.Stat(name)
	if err != nil {
		return err
	}
	if h.Now().Sub(fi.ModTime) > nginxRecent && s.changed.After(fi.ModTime) {
		return nil // nothing recent, and what it said of a configuration is past
	}
	b, err := h.ReadTail(name, nginxLogTail)
	if err != nil {
		return err
	}
	var lines [][]string
	var last time.Time
	for line := range strings.Lines(string(b)) {
		if m := nginxLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			lines = append(lines, m)
			if at, err := time.Parse("2006/01/02 15:04:05", m[1]); err == nil {
				last = at
			}
		}
	}
	for _, m := range lines {
		if at, err := time.Parse("2006/01/02 15:04:05", m[1]); err == nil {
			written := fi.ModTime.Add(at.Sub(last)) // the zone of the log's times does not matter this way
			s.line(m[2], m[3], written, h.Now().Sub(written))
		}
	}
	return nil
}

// inConfig is how nginx names the place of an error in its configuration. A name that did not resolve may resolve the next time.
var (
	inConfig       = regexp.MustCompile(` in /\S+:\d+$`)
	nginxUpstreams = regexp.MustCompile(`upstream: "([a-z]+://(?:unix:[^:"]+|\[[^\]]*\](?::\d+)?|[^/"]*))`)
	processNumbers = regexp.MustCompile(`^\d+#\d+: (?:\*\d+ )?`)
)

func (s *nginxSearch) line(level, text string, written time.Time, age time.Duration) {
	text = processNumbers.ReplaceAllString(text, "")
	if level == "emerg" {
		if inConfig.MatchString(text) && !strings.HasPrefix(text, "host not found") && written.Add(time.Second).After(s.changed) {
			s.configError, s.configAge = probes.Some(redactLine(text)), probes.Some(max(0, age))
		}
		return
	}
	if age > nginxRecent {
		return
	}
	switch {
	case strings.Contains(text, "worker_connections are not enough"):
		s.connections++
	case strings.Contains(text, "(24: Too many open files)"):
		s.files++
	}
	s.complain(text, age)
	m := nginxUpstreams.FindStringSubmatch(text)
	if m == nil {
		return
	}
	u := s.upstreams[m[1]]
	if u == nil {
		u = &nginxUpstream{Address: m[1]}
		s.upstreams[m[1]] = u
	}
	u.Last = max(0, age)
	switch {
	case strings.HasPrefix(text, "no live upstreams"):
		u.NoneLeft++
	case strings.Contains(text, "(111: Connection refused)"), strings.Contains(text, "(2: No such file or directory)"):
		u.Refused++
	case strings.Contains(text, "timed out"):
		u.Timeout++
	case strings.Contains(text, "prematurely closed"), strings.Contains(text, "(104: Connection reset"):
		u.Broken++
	}
}

// upstreamGroup is an upstream block of the configuration: its name, and the servers that it shares requests among.
type upstreamGroup struct {
	name    string
	servers []string
}

var (
	upstreamBlock  = regexp.MustCompile(`(?m)^\s*upstream\s+(\S+?)\s*\{([^}]*)\}`)
	upstreamServer = regexp.MustCompile(`(?m)^\s*server\s+([^;]+);`)
)

// upstreamGroups reads the upstream blocks (https://nginx.org/en/docs/http/ngx_http_upstream_module.html).
func upstreamGroups(text string) []upstreamGroup {
	var groups []upstreamGroup
	for _, m := range upstreamBlock.FindAllStringSubmatch(text, -1) {
		g := upstreamGroup{name: m[1]}
		for _, server := range upstreamServer.FindAllStringSubmatch(m[2], -1) {
			if words := strings.Fields(server[1]); !slices.Contains(words, "down") {
				g.servers = append(g.servers, words[0])
			}
		}
		groups = append(groups, g)
	}
	return groups
}

// has reports whether an address of the error log can be one of the group's servers. A server by name can have any address.
func (g *upstreamGroup) has(address string) bool {
	return slices.ContainsFunc(g.servers, func(server string) bool {
		if server == address || server+":80" == address {
			return true
		}
		host, port, ok := strings.Cut(server, ":")
		if !ok {
			port = "80"
		}
		_, notAddress := netip.ParseAddr(host)
		return notAddress != nil && host != "unix" && !strings.HasPrefix(server, "[") && strings.HasSuffix(address, ":"+port)
	})
}

// group fills in what the server's upstream block says. Of blocks that share the server the one with fewest servers counts.
func (u *nginxUpstream) group(groups []upstreamGroup, complaints map[string]*nginxUpstream) {
	scheme, address, _ := strings.Cut(u.Address, "://")
	u.Others = -1
	for i := range groups {
		g := &groups[i]
		if !g.has(address) {
			continue
		}
		if u.Others < 0 || len(g.servers)-1 < u.Others {
			u.Others = len(g.servers) - 1
		}
		if c := complaints[scheme+"://"+g.name]; c != nil {
			u.NoneLeft += c.NoneLeft
		}
	}
	u.Others = max(0, u.Others)
}

var tightTimeout = regexp.MustCompile(`\b(?:proxy|fastcgi|uwsgi|scgi|grpc)_(?:read|connect|send)_timeout\s+\d{1,3}ms\s*;`)

var nginxListen = regexp.MustCompile(`(?m)^\s*listen\s+([^;]+);`)

// ports compares what the configuration listens on with who does. It also tells on which ports anybody listens.
func (f *nginxFacts) ports(ctx context.Context, h host.Host, conf serverConfig) (map[int]bool, error) {
	served, at := map[int]bool{}, map[int][]uint32{}
	outside := map[uint32]bool{}
	webOutside := false
	err := h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		served[int(s.Local.Port())] = true
		at[int(s.Local.Port())] = append(at[int(s.Local.Port())], s.Inode)
		outside[s.Inode] = !s.Local.Addr().Unmap().IsLoopback()
		webOutside = webOutside || outside[s.Inode] && (s.Local.Port() == 80 || s.Local.Port() == 443)
		return nil
	})
	var owners map[uint32]owner
	if err == nil {
		owners, err = listenerOwners(ctx, h)
	}
	f.listens(owners, outside, webOutside, err)
	seen := map[int]bool{}
	for _, m := range nginxListen.FindAllStringSubmatch(conf.text, -1) {
		port := listenPort(m[1])
		if port == 0 || seen[port] {
			continue
		}
		seen[port] = true
		p := nginxPort{Port: port}
		if err != nil {
			p.Held = probes.Unread[bool](err.Error())
		} else {
			p.hold(owners, at[port])
		}
		f.Ports = append(f.Ports, p)
	}
	slices.SortFunc(f.Ports, func(a, b nginxPort) int { return cmp.Compare(a.Port, b.Port) })
	return served, err
}

func (p *nginxPort) hold(owners map[uint32]owner, inodes []uint32) {
	for _, inode := range inodes {
		o, ok := owners[inode]
		switch {
		case ok && o.command == "nginx":
			p.Held, p.Holder = probes.Some(true), probes.None[string]()
			return
		case ok:
			p.Holder = probes.Some(o.String())
		default:
			p.Held = probes.Unread[bool]("whose the socket is was not found")
		}
	}
	if p.Held != probes.Unread[bool]("whose the socket is was not found") {
		p.Held = probes.Some(false)
	}
}

// listenPort is the port of a listen directive's arguments; 0 for UDP (quic), a Unix socket or a variable.
func listenPort(args string) int {
	words := strings.Fields(args)
	if len(words) == 0 || strings.HasPrefix(words[0], "unix:") || slices.Contains(words, "udp") || slices.Contains(words, "quic") {
		return 0
	}
	port := words[0]
	switch i := strings.LastIndexByte(port, ':'); {
	case i >= 0 && !strings.HasSuffix(port, "]"):
		port = port[i+1:]
	case strings.ContainsAny(port, ".]") || port == "localhost" || port == "*":
		return 80
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 1<<16-1 {
		return 0
	}
	return n
}

// upstreamServed tells whether anybody listens where nginx sends its requests; absent for another host.
func upstreamServed(h host.Files, address string, served map[int]bool, err error) probes.Opt[bool] {
	_, rest, _ := strings.Cut(address, "://")
	if socket, ok := strings.CutPrefix(rest, "unix:"); ok {
		return probes.Some(isThere(h, path.Clean(socket)))
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		rest, i = rest+":80", len(rest)
	}
	name := rest[:i]
	port, notNumber := strconv.Atoi(rest[i+1:])
	switch {
	case notNumber != nil, !strings.HasPrefix(name, "127.") && name != "[::1]" && name != "localhost":
		return probes.None[bool]()
	case err != nil:
		return probes.Unread[bool](err.Error())
	}
	return probes.Some(served[port])
}

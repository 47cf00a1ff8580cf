package linux

import (
	"cmp"
	"context"
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

// nginxComplaint is one kind of request that nginx itself could not answer.
type nginxComplaint struct {
	Kind   string        `fact:"kind,key" doc:"permission: a file or directory is closed to the worker; temporary-files: it cannot write what it buffers; root-missing: the root directory is not there; symlink-loop: links that lead to themselves; workers-die: a signal ends its workers; dangling-link: a symbolic link below it leads to what is not there; index-missing; denied-by-rule; body-too-large; rate-limited; header-too-large: of the upstream's answer; no-such-script: FastCGI; redirect-cycle; name-unresolved; upstream-tls; not-http: what is behind it does not speak HTTP; disk-full"`
	Count  int           `fact:"count" unit:"count" doc:"How often in the last ten minutes; 0 where it was seen otherwise"`
	Last   time.Duration `fact:"last" doc:"How long ago the last was"`
	Path   string        `fact:"path" doc:"The file or directory that it names, or the path that was requested"`
	Says   string        `fact:"says" doc:"Its last words of this kind"`
	Worked bool          `fact:"worked" doc:"The access log has an earlier request for the same path that was answered well: it is not only a stranger who tries paths"`
}

// complaints are the lines of the error log by which nginx tells why it answers an error by itself. Of one line the first counts.
var complaints = []sign{
	{"disk-full", regexp.MustCompile(`\(28: No space left on device\)`)},
	{"temporary-files", regexp.MustCompile(`(?:mkdir|open|pwrite|rename|stat)\(\) "[^"]*/(?:body|proxy|fastcgi|uwsgi|scgi|client_body|(?:client_body|client|proxy|fastcgi|uwsgi|scgi)_temp|client-body|temp|tmp)/[\d/]*\d?[^"]*" failed`)},
	{"symlink-loop", regexp.MustCompile(`\(40: Too many levels of symbolic links\)`)},
	{"workers-die", regexp.MustCompile(`worker process \d+ exited on signal \d+`)},
	{"permission", regexp.MustCompile(`\(13: Permission denied\)`)},
	{"index-missing", regexp.MustCompile(`directory index of "[^"]*" is forbidden`)},
	{"denied-by-rule", regexp.MustCompile(`access forbidden by rule`)},
	{"body-too-large", regexp.MustCompile(`client intended to send too large body`)},
	{"rate-limited", regexp.MustCompile(`limiting (?:requests|connections)`)},
	{"header-too-large", regexp.MustCompile(`upstream sent too big header`)},
	{"no-such-script", regexp.MustCompile(`Primary script unknown|Unable to open primary script`)},
	{"not-there", regexp.MustCompile(`(?:open|realpath|stat)\(\) "/[^"]*" failed \(2: No such file or directory\)`)},
	{"redirect-cycle", regexp.MustCompile(`rewrite or internal redirection cycle`)},
	{"name-unresolved", regexp.MustCompile(`could not be resolved|no resolver defined`)},
	{"upstream-tls", regexp.MustCompile(`while SSL handshaking to upstream|upstream SSL certificate verify error`)},
	{"not-http", regexp.MustCompile(`upstream sent no valid HTTP/1\.0 header|upstream sent invalid header`)},
}

var (
	namedFile    = regexp.MustCompile(`(?:(?:\w+\(\)|directory index of) "|connect\(\) to (?:unix:)?)([^" ]+)`)
	namedRequest = regexp.MustCompile(`request: "\S+ ([^ ?"]+)`)
)

// complain counts a line of the error log.
func (s *nginxSearch) complain(text string, age time.Duration) {
	i := slices.IndexFunc(complaints, func(c sign) bool { return c.line.MatchString(text) })
	if i < 0 {
		return
	}
	c := s.complaints[complaints[i].reason]
	if c == nil {
		c = &nginxComplaint{Kind: complaints[i].reason}
		s.complaints[c.Kind] = c
	}
	c.Count++
	c.Last, c.Says = max(0, age), redactLine(text)
	request := ""
	if m := namedRequest.FindStringSubmatch(text); m != nil {
		request = m[1]
	}
	c.Path = request
	if m := namedFile.FindStringSubmatch(text); m != nil {
		c.Path = m[1]
	}
	if p := s.access[request]; p != nil && p.good > 0 {
		c.Worked = true
	}
}

var nginxUser = regexp.MustCompile(`(?m)^\s*user\s+([\w.-]+)(?:\s+([\w.-]+))?\s*;`)

// closer looks at what the error log complains of: which directory is closed to the worker, and whether what is not there is behind a link that leads
// nowhere. That a file is not there is otherwise a stranger's guess.
func (s *nginxSearch) closer(h host.Files, conf serverConfig) {
	if c := s.complaints["permission"]; c != nil && strings.HasPrefix(c.Path, "/") {
		user, group := "nobody", ""
		if m := nginxUser.FindStringSubmatch(conf.text); m != nil {
			user, group = m[1], m[2]
		}
		want := mayRead
		if strings.HasPrefix(c.Says, "connect()") {
			want = mayWrite
		}
		if why := closedTo(h, c.Path, user, group, want); why != "" {
			c.Says = why + "; " + c.Says
		}
	}
	c := s.complaints["not-there"]
	delete(s.complaints, "not-there")
	if c == nil {
		return
	}
	if link, target := linkToNowhere(h, c.Path); link != "" {
		c.Kind, c.Path, c.Says = "dangling-link", link, link+" leads to "+target+", which is not there; "+c.Says
		s.complaints[c.Kind] = c
	}
}

var nginxRoot = regexp.MustCompile(`(?m)(?:^|[;{}])\s*(?:root|alias)\s+"?(/[^;"$\s]+)`)

// missingRoots adds the root directories that are not there.
func (s *nginxSearch) missingRoots(h host.Files, conf serverConfig) {
	for i, m := range nginxRoot.FindAllStringSubmatch(conf.text, maxUpstreams) {
		if s.complaints["root-missing"] == nil && s.complaints["symlink-loop"] == nil && !slices.ContainsFunc(nginxRoot.FindAllStringSubmatch(conf.text, i), func(o []string) bool { return o[1] == m[1] }) && !isThere(h, m[1]) {
			s.complaints["root-missing"] = &nginxComplaint{Kind: "root-missing", Path: m[1], Says: "its configuration names " + m[1] + ", which is not there"}
		}
	}
}

// accessPath is how requests for one path were answered lately.
type accessPath struct {
	good, bad int
	last      int // status
	age       time.Duration
}

const accessTail = 32 << 10

var (
	nginxAccessLog = regexp.MustCompile(`(?m)^\s*access_log\s+(/[^;\s$]+)`)
	accessLine     = regexp.MustCompile(`\[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "\S+ ([^ ?"]+)[^"]*" (\d{3}) `)
)

// nginxAccess reads the last requests of the access logs, by path.
func nginxAccess(h host.Host, conf serverConfig) map[string]*accessPath {
	logs := []string{"/var/log/nginx/access.log"}
	for _, m := range nginxAccessLog.FindAllStringSubmatch(conf.text, -1) {
		if !strings.HasPrefix(m[1], "/dev/") && !slices.Contains(logs, m[1]) {
			logs = append(logs, m[1])
		}
	}
	paths := map[string]*accessPath{}
	for _, log := range logs[:min(len(logs), 3)] {
		fi, err := h.Stat(log)
		if err != nil || h.Now().Sub(fi.ModTime) > nginxRecent {
			continue
		}
		b, err := h.ReadTail(log, accessTail)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			m := accessLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			at, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[1])
			if err != nil {
				continue
			}
			p := paths[m[2]]
			if p == nil {
				p = &accessPath{}
				paths[m[2]] = p
			}
			p.last, _ = strconv.Atoi(m[3])
			p.age = max(0, h.Now().Sub(at))
			if p.last >= 500 && p.age < nginxRecent {
				p.bad++
			} else if p.last < 400 {
				p.good++
			}
		}
	}
	return paths
}

// failingApp is a path for which an application behind nginx answers errors of its own.
type failingApp struct {
	Path    string             `fact:"path,key" doc:"The path of the requests"`
	Status  int                `fact:"status" unit:"count" doc:"The status of its last answer, 500 or more, in nginx's access log"`
	Count   int                `fact:"count" unit:"count" doc:"Answers of 500 and more in the last ten minutes, in the last 32 KiB of the access log"`
	Good    int                `fact:"good" unit:"count" doc:"Good answers there"`
	Last    time.Duration      `fact:"last" doc:"How long ago the last one was"`
	Address string             `fact:"address" doc:"The application's address, as in http://127.0.0.1:8080"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The service that listens there; absent if that is not known"`
	Asked   probes.Opt[int]    `fact:"asked" unit:"count" doc:"What the application answers now, where the path is that of a health check, and it was asked"`
	Says    string             `fact:"says" doc:"The beginning of that answer, or the last line of the service's log that has a reason; empty if there is none"`
	Reason  string             `fact:"reason" doc:"The kind of trouble that it tells of, as of a unit's log; empty if none is known"`
}

// health are paths that are made to be asked, and whose answer often says what is wrong.
var health = regexp.MustCompile(`(?i)^/(?:[\w-]+/)?(?:-/)?(?:health|healthz|health[-_]?check|healthy|status|ping|ready|readyz|readiness|live|livez|liveness|heartbeat|alive)/?$`)

const maxFailing = 3

func failingApps(ctx context.Context, h host.Host, conf serverConfig, access map[string]*accessPath) []failingApp {
	found := []failingApp{}
	for name, p := range access {
		// 502 and 504 are nginx's own words for an application that does not answer; one that answers by now is asked how it is.
		silent := p.last == 502 || p.last == 504
		if p.bad == 0 || p.last < 500 || silent && !health.MatchString(name) {
			continue
		}
		if address := proxiedTo(conf.text, name); address != "" {
			found = append(found, failingApp{Path: name, Status: p.last, Count: p.bad, Good: p.good, Last: p.age, Address: address})
		}
	}
	slices.SortFunc(found, func(a, b failingApp) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Path, b.Path))
	})
	found = found[:min(len(found), maxFailing)]
	for i := range found {
		found[i].ask(ctx, h)
	}
	return slices.DeleteFunc(found, func(a failingApp) bool {
		asked, _ := a.Asked.Get()
		return (a.Status == 502 || a.Status == 504) && asked < 500
	})
}

var (
	locationBlock = regexp.MustCompile(`location\s+(?:(=|~\*|~|\^~)\s*)?(\S+)\s*\{([^{}]*)`)
	proxyPass     = regexp.MustCompile(`(?m)^\s*proxy_pass\s+(https?://[^;\s$/]+|http://unix:[^;\s$:]+)`)
)

// proxiedTo is where requests for a path are sent: by the longest location that begins it, or has it exactly. Empty if that cannot be told.
func proxiedTo(text, name string) string {
	best, address := -1, ""
	for _, m := range locationBlock.FindAllStringSubmatch(text, -1) {
		pass := proxyPass.FindStringSubmatch(m[3])
		fits := m[1] == "=" && m[2] == name || (m[1] == "" || m[1] == "^~") && strings.HasPrefix(name, m[2])
		if !fits || len(m[2]) <= best {
			continue
		}
		best, address = len(m[2]), ""
		if pass != nil {
			address = pass[1]
		}
	}
	scheme, name, ok := strings.Cut(address, "://")
	if !ok {
		return ""
	}
	for _, g := range upstreamGroups(text) {
		if g.name == name && len(g.servers) > 0 {
			return scheme + "://" + g.servers[0]
		}
	}
	return address
}

// ask looks for the application's own words: at its health check, or in its log.
func (a *failingApp) ask(ctx context.Context, h host.Host) {
	where := strings.TrimPrefix(a.Address, "http://")
	if socket, ok := strings.CutPrefix(where, "unix:"); ok {
		where = path.Clean(socket)
	} else {
		at, err := netip.ParseAddrPort(strings.Replace(where, "localhost:", "127.0.0.1:", 1))
		if err != nil || !at.Addr().IsLoopback() {
			return
		}
		where = at.String()
		a.Unit = unitAt(ctx, h, int(at.Port()))
	}
	if health.MatchString(a.Path) {
		reply, err := h.Exchange(ctx, host.Question{Socket: where, Say: "GET " + a.Path + " HTTP/1.0\r\nHost: localhost\r\nUser-Agent: hostmend\r\n\r\n", UntilClose: true})
		if err == nil {
			a.hear(reply.Text)
		}
	}
	if unit, ok := a.Unit.Get(); ok && a.Reason == "" {
		out, err := h.Run(ctx, "journalctl", "-u", unit, "-n", "60", "-o", "cat", "--no-pager", "-q", "--since", "-10min")
		if err == nil && out.Exit == 0 {
			if reason, line := lastReason(string(out.Stdout)); reason != "" {
				a.Reason, a.Says = reason, line
			}
		}
	}
}

var statusLine = regexp.MustCompile(`^HTTP/1\.\d (\d{3})`)

func (a *failingApp) hear(text string) {
	m := statusLine.FindStringSubmatch(text)
	if m == nil {
		return
	}
	status, _ := strconv.Atoi(m[1])
	a.Asked = probes.Some(status)
	if _, body, ok := strings.Cut(text, "\r\n\r\n"); ok && status >= 500 {
		line := strings.Join(strings.Fields(body), " ")
		a.Says = redactLine(line)
		a.Reason, _ = lastReason(line)
	}
}

// lastReason is the last line of a log that tells a reason.
func lastReason(log string) (reason, line string) {
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(log), "\n")) {
		if harmless.MatchString(line) {
			continue
		}
		if i := slices.IndexFunc(signs, func(s sign) bool { return s.line.MatchString(line) }); i >= 0 {
			return signs[i].reason, redactLine(strings.TrimSpace(line))
		}
	}
	return "", ""
}

func (a *failingApp) servedBy(unit string) bool {
	name, ok := a.Unit.Get()
	return ok && name == unit
}

// unitAt is the service that listens on a TCP port.
func unitAt(ctx context.Context, h host.Host, port int) probes.Opt[string] {
	owners, err := listenerOwners(ctx, h)
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	found := probes.None[string]()
	err = h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		if o, ok := owners[s.Inode]; ok && int(s.Local.Port()) == port && o.unit != "" {
			found = probes.Some(o.unit)
		}
		return nil
	})
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	return found
}

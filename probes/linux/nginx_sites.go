package linux

import (
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

// This file tells whether nginx serves those whom it is there for: that it has a server at all, one that others reach, and one that says what they ask for.

var (
	serverBlock = regexp.MustCompile(`(?m)(?:^|[;{}])\s*server\s*\{`)
	// set_real_ip_from and proxy_protocol write the address of a client of a proxy before nginx into the access log.
	realAddress = regexp.MustCompile(`(?m)^\s*(?:set_real_ip_from|real_ip_header)\s|\bproxy_protocol\b`)
)

const maxNamed = 5

// listens fills in on how many sockets nginx listens, and whether only this host reaches them. One that has another web server of this host
// before it is meant to be so.
func (f *nginxFacts) listens(owners map[uint32]owner, outside map[uint32]bool, webOutside bool, err error) {
	if err != nil {
		f.Listening, f.Loopback = probes.Unread[int](err.Error()), probes.Unread[bool](err.Error())
		return
	}
	n, open := 0, webOutside
	for inode, out := range outside {
		o, ok := owners[inode]
		switch {
		case !ok: // it may be nginx's
			open = open || out
		case o.command == "nginx":
			n++
			open = open || out
		}
	}
	f.Listening, f.Loopback = probes.Some(n), probes.Some(n > 0 && !open)
}

// exposure looks further where nginx has no server, or none that others reach.
func (f *nginxFacts) exposure(h host.Host, conf serverConfig) {
	f.Servers = len(serverBlock.FindAllString(conf.text, -1))
	f.Directives, f.LeftOut = []string{}, []string{}
	if f.Servers == 0 {
		f.LeftOut = sitesLeftOut(h, conf)
	}
	if only, _ := f.Loopback.Get(); only && !realAddress.MatchString(conf.text) {
		f.Directives = configLines(h, conf, regexp.MustCompile(`^\s*listen\s`))
		f.Strangers = strangersAsked(h, conf)
	}
}

// sitesLeftOut are files with a server block where distributions keep them, which the configuration does not include.
func sitesLeftOut(h host.Files, conf serverConfig) []string {
	found := []string{}
	for _, dir := range []string{"/etc/nginx/sites-enabled", "/etc/nginx/conf.d", "/etc/nginx/http.d", "/etc/nginx/sites-available", "/etc/nginx/vhosts"} {
		entries, err := h.ReadDir(dir)
		if err != nil || len(found) > 0 {
			continue
		}
		for _, e := range entries[:min(len(entries), maxConfigFiles)] {
			name := dir + "/" + e.Name
			if slices.Contains(conf.files, name) || len(found) == maxNamed {
				continue
			}
			if text, err := h.ReadFile(name); err == nil && serverBlock.MatchString(withoutComments(string(text))) {
				found = append(found, name)
			}
		}
	}
	return found
}

// configLines are the configuration's lines that match, with their places.
func configLines(h host.Files, conf serverConfig, pattern *regexp.Regexp) []string {
	found := []string{}
	for _, file := range conf.files {
		text, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(withoutComments(string(text))) {
			n++
			if pattern.MatchString(line) && len(found) < maxNamed {
				found = append(found, fmt.Sprintf("%s:%d: %.120s", file, n, strings.TrimSpace(line)))
			}
		}
	}
	return found
}

// webRequest is a line of an access log in the combined format.
type webRequest struct {
	client, path string
	status, size int
	at           time.Time
}

var requestLine = regexp.MustCompile(`^(\S+) \S+ \S+ \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "\S+ ([^ ?"]+)[^"]*" (\d{3}) (\d+)`)

// lastRequests reads the end of the first access log.
func lastRequests(h host.Host, conf serverConfig) []webRequest {
	log := "/var/log/nginx/access.log"
	if m := nginxAccessLog.FindStringSubmatch(conf.text); m != nil && !strings.HasPrefix(m[1], "/dev/") {
		log = m[1]
	}
	b, err := h.ReadTail(log, accessTail)
	if err != nil {
		return nil
	}
	var all []webRequest
	for line := range strings.Lines(string(b)) {
		m := requestLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[2])
		if err != nil {
			continue
		}
		r := webRequest{client: m[1], path: m[3], at: at}
		r.status, _ = strconv.Atoi(m[4])
		r.size, _ = strconv.Atoi(m[5])
		all = append(all, r)
	}
	return all
}

// strangersAsked counts the requests that came from other hosts.
func strangersAsked(h host.Host, conf serverConfig) int {
	n := 0
	for _, r := range lastRequests(h, conf) {
		if a, err := netip.ParseAddr(r.client); err == nil && !a.Unmap().IsLoopback() {
			n++
		}
	}
	return n
}

// askedBefore counts the requests of other hosts before the configuration changed; 0 if others came since.
func askedBefore(h host.Host, conf serverConfig) int {
	n := 0
	for _, r := range lastRequests(h, conf) {
		if a, err := netip.ParseAddr(r.client); err != nil || a.Unmap().IsLoopback() {
			continue
		}
		if r.at.After(conf.changed) {
			return 0
		}
		n++
	}
	return n
}

// fixedAnswer is a directive that answers requests by itself: a return for everybody, or one that turns away who was served before.
type fixedAnswer struct {
	Where  string        `fact:"where,key" doc:"Its place, as FILE:LINE"`
	Says   string        `fact:"says" doc:"The directive"`
	Status int           `fact:"status" unit:"count" doc:"The status that it answers"`
	Count  int           `fact:"count" unit:"requests" doc:"The last requests, all of which were answered with it; with 3xx and 4xx those for paths that were answered well before"`
	Paths  int           `fact:"paths" unit:"count" doc:"How many different paths they asked for"`
	Former int           `fact:"former" unit:"requests" doc:"How many of them had another answer, a good one, for the same client and path before"`
	First  time.Duration `fact:"first" doc:"How long ago the first of them was"`
}

// fixedDirectives are what answers with a status: groups are the status, if it is in the text, and what is said. A redirect counts if it leads to a
// port of this host on which nobody listens, or back to itself.
var (
	fixedDirectives = []struct {
		status  int // 0: the first group
		pattern *regexp.Regexp
	}{
		{0, regexp.MustCompile(`\breturn\s+(200|30[1278]|40[0-9]|410|418|429|444|451|50[0-4])(?:\s+("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s;]+))?\s*;`)},
		{301, regexp.MustCompile(`\brewrite\s+\S+()\s+(\S+)\s+permanent\s*;`)},
		{302, regexp.MustCompile(`\brewrite\s+\S+()\s+(\S+)\s+redirect\s*;`)},
		{401, regexp.MustCompile(`\bauth_basic()\s+("[^"]*"|'[^']*'|[^\s;]+)\s*;`)},
		{404, regexp.MustCompile(`\b(?:root|alias)()\s+([^\s;]+)\s*;`)},
	}
	returnEscapes = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r", `\"`, `"`, `\'`, `'`, `\\`, `\`)
	toItself      = regexp.MustCompile(`^(?:(?:http|\$scheme)://\$(?:host|http_host|server_name))?\$request_uri$`)
)

// fixedAnswers compares what the configuration answers by itself with what was answered since it changed. Of a text with variables the length is not known.
func fixedAnswers(h host.Host, conf serverConfig, changed time.Time, listened map[int]bool) []fixedAnswer {
	found := []fixedAnswer{}
	var requests []webRequest
	for _, d := range fixedDirectives {
		if d.status == 404 && h.Now().Sub(conf.changed) > rootIsNew {
			continue // files come and go
		}
		for _, m := range d.pattern.FindAllStringSubmatch(conf.text, maxUpstreams) {
			f := fixedAnswer{Says: redactLine(strings.TrimSpace(m[0])), Status: d.status}
			if f.Status == 0 {
				f.Status, _ = strconv.Atoi(m[1])
			}
			if m[2] == "off" || slices.ContainsFunc(found, func(o fixedAnswer) bool { return o.Status == f.Status }) ||
				f.Status/100 == 3 && !leadsNowhere(m[2], listened) {
				continue
			}
			if requests == nil {
				requests = lastRequests(h, conf)
			}
			if f.Status/100 == 2 || f.Status/100 == 5 {
				f.compare(requests, fixedSize(m[2]), changed.Truncate(time.Second), h.Now())
			} else {
				f.refused(requests, changed.Truncate(time.Second), h.Now())
			}
			if f.Former == 0 || f.Count < 2 {
				continue
			}
			if f.Where = directiveAt(h, conf, m[0]); f.Where != "" {
				found = append(found, f)
			}
		}
	}
	return found
}

// rootIsNew is how young the configuration must be for a root to be blamed that files are not found.
const rootIsNew = 24 * time.Hour

// fixedSize is the length of a return's text; -1 if it has variables, or there is none.
func fixedSize(text string) int {
	switch {
	case text == "" || strings.Contains(text, "$"):
		return -1
	case text[0] == '"' || text[0] == '\'':
		return len(returnEscapes.Replace(strings.Trim(text, text[:1])))
	}
	return len(returnEscapes.Replace(text))
}

// leadsNowhere reports whether a redirect leads to TLS on this host where nobody listens for it, or back to where the request came from.
func leadsNowhere(target string, listened map[int]bool) bool {
	target = strings.Trim(target, `"'`)
	rest, tls := strings.CutPrefix(target, "https://$")
	name, _, _ := strings.Cut(rest, "/")
	return toItself.MatchString(target) || tls && !strings.Contains(name, ":") && listened != nil && !listened[443]
}

// directiveAt is the place of a directive: the one in the file that changed last, for what changed is what is looked for.
func directiveAt(h host.Files, conf serverConfig, text string) string {
	where, last := "", time.Time{}
	for _, line := range configLines(h, conf, regexp.MustCompile(regexp.QuoteMeta(strings.TrimSpace(text)))) {
		parts := strings.SplitN(line, ":", 3)
		if fi, err := h.Stat(parts[0]); err == nil && (where == "" || fi.ModTime.After(last)) {
			where, last = parts[0]+":"+parts[1], fi.ModTime
		}
	}
	return where
}

// reloading is how long after a change workers with the former configuration may go on answering.
const reloading = 2 * time.Second

// refused counts the requests since the configuration changed for paths that were answered well before, if all of them had this answer.
func (f *fixedAnswer) refused(requests []webRequest, changed, now time.Time) {
	type asker struct{ client, path string }
	good, paths := map[string]bool{}, map[string]bool{}
	goodTo := map[asker]bool{}
	for _, r := range requests {
		switch {
		case r.status < 400 && r.status/100 != f.Status/100 && !r.at.After(changed.Add(reloading)):
			good[r.path], goodTo[asker{r.client, r.path}] = true, true
		case !good[r.path] || r.at.Before(changed):
		case r.status != f.Status && !r.at.After(changed.Add(reloading)):
		case r.status != f.Status:
			delete(good, r.path) // some are still served
		default:
			if f.Count++; f.Count == 1 {
				f.First = max(0, now.Sub(r.at))
			}
			paths[r.path] = true
			if goodTo[asker{r.client, r.path}] {
				f.Former++
			}
		}
	}
	f.Paths = len(paths)
}

// compare counts the last requests, all of which had this answer, and those before them that had another one.
func (f *fixedAnswer) compare(requests []webRequest, size int, changed, now time.Time) {
	first := len(requests)
	paths := map[string]bool{}
	for first > 0 {
		r := requests[first-1]
		if r.status != f.Status || size >= 0 && r.size != size || r.at.Before(changed) {
			break
		}
		first--
		paths[r.path] = true
	}
	last := requests[first:]
	f.Count, f.Paths = len(last), len(paths)
	if f.Count == 0 {
		return
	}
	f.First = max(0, now.Sub(last[0].at))
	for _, r := range last {
		if slices.ContainsFunc(requests[:first], func(b webRequest) bool {
			return b.client == r.client && b.path == r.path && b.status < 400 && !b.at.After(changed.Add(time.Second))
		}) {
			f.Former++
		}
	}
}

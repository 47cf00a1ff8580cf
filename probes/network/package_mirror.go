package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// PackageMirror tries the mirror of packages that only a cloud's own network reaches.
var PackageMirror = probes.Define(probes.Probe[host.Host]{
	Name: "package_mirror",
	Doc: `Where packages come from, inside

Where apt, yum or dnf is configured for mirrors.cloud.aliyuncs.com, which answers inside Alibaba Cloud's networks alone, or for up to two other mirrors that are no public ones (an address,
or a name that does not belong to a distribution or a vendor), asks the first two name servers for each
opens a TCP connection, and asks what answers over plain HTTP for the Release files of up to three sources. Public mirrors are left alone: a host that cannot reach the internet is no rarity. Where a proxy is configured it is tried in their place.
A mirror on the internet that does not answer at all may be one that this host need not reach; then nothing is said. Costs 0.2 ms for the files, and 0.3 ms and up to a second
of waiting where there is such a mirror.
https://developer.aliyun.com/mirror/`,
	Needs:   probes.Network,
	Every:   10 * time.Minute,
	Timeout: 3 * time.Second,
}, packageMirror)

type packageMirrorFacts struct {
	Mirrors []mirror `fact:"mirrors" doc:"The mirrors, or the proxy in their place"`
}

type mirror struct {
	Name    string               `fact:"name,key" doc:"The mirror's or proxy's name; of a proxy with the port"`
	Kind    string               `fact:"kind" doc:"cloud: Alibaba Cloud's own mirror; site: another one; proxy"`
	File    string               `fact:"file" doc:"The first file that names it"`
	Port    int                  `fact:"port" unit:"port" doc:"80, or 443 for https, or the proxy's"`
	Address probes.Opt[string]   `fact:"address" doc:"Its first address, by /etc/hosts or a name server; absent if they have none or do not answer"`
	Answers probes.Opt[bool]     `fact:"answers" doc:"It took a TCP connection; absent for a mirror on the internet that does not answer"`
	Why     probes.Opt[string]   `fact:"why" doc:"Why it did not; absent if it did"`
	Missing probes.Opt[string]   `fact:"missing" doc:"The index of a source that the mirror answers 404 for: a suite, or a path, that it does not have; absent if there is none, or the mirror is asked over https"`
	Took    probes.Opt[duration] `fact:"took" doc:"How long the connection took to open; absent if it did not"`
}

const cloudMirror = "mirrors.cloud.aliyuncs.com"

var mirrorURL = regexp.MustCompile(`(?i)\b(https?)://(?:[^/@\s]*@)?([a-z0-9.-]+)(?::(\d+))?(?:[/\s]|$)`)

// publicMirrors are whose names distributions and vendors publish. A host that does not reach them may be meant not to.
var publicMirrors = regexp.MustCompile(`(?i)(^|\.)(debian\.org|ubuntu\.com|canonical\.com|launchpad(content)?\.net|fedoraproject\.org|centos\.org|rockylinux\.org|almalinux\.org|redhat\.com|opensuse\.org|` +
	`suse\.com|oracle\.com|aliyun\.com|aliyuncs\.com|openanolis\.cn|openanolis\.org|openeuler\.org|tencent(yun)?\.com|huaweicloud\.com|163\.com|edu\.cn|docker\.com|kubernetes\.io|k8s\.io|google\.com|` +
	`microsoft\.com|github\.com|githubusercontent\.com|gitlab\.com|postgresql\.org|mariadb\.(org|com)|mysql\.com|nginx\.(org|com)|nodesource\.com|amazonaws\.com|elastic\.co|grafana\.com|influxdata\.com|` +
	`percona\.com|hashicorp\.com|zabbix\.com|mongodb\.org|remirepo\.net|kali\.org|linuxmint\.com|raspberrypi\.(org|com)|sury\.org|yarnpkg\.com|packagecloud\.io|bintray\.com|cloudfront\.net)$`)

// maxMirrors bounds the connections.
const maxMirrors = 3

func packageMirror(ctx context.Context, h host.Host) (packageMirrorFacts, error) {
	indexes := map[string][]string{} // of each mirror, where apt's sources have their files
	mirrors, err := findProxies(h)
	if err == nil && len(mirrors) == 0 {
		mirrors, err = findMirrors(h, indexes)
	}
	switch {
	case err != nil:
		return packageMirrorFacts{}, err
	case len(mirrors) == 0:
		return packageMirrorFacts{}, probes.NoData("no mirror of a cloud or a site and no proxy is configured")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*namesWait)
	defer cancel()
	errs := make([]error, len(mirrors))
	var all sync.WaitGroup
	for i := range mirrors {
		all.Go(func() {
			errs[i] = mirrors[i].try(ctx, h)
			mirrors[i].askIndexes(ctx, h, indexes[mirrors[i].Name])
		})
	}
	all.Wait()
	return packageMirrorFacts{mirrors}, errors.Join(errs...)
}

// findMirrors looks through the sources that are in use.
func findMirrors(h host.Host, indexes map[string][]string) ([]mirror, error) {
	var found []mirror
	files := []string{"/etc/apt/sources.list"}
	for dir, endings := range map[string][]string{"/etc/apt/sources.list.d": {".list", ".sources"}, "/etc/yum.repos.d": {".repo"}} {
		entries, err := h.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if slices.ContainsFunc(endings, func(end string) bool { return strings.HasSuffix(e.Name, end) }) {
				files = append(files, dir+"/"+e.Name)
			}
		}
	}
	slices.Sort(files)
	for _, file := range files {
		text, err := readIfThere(h, file)
		if err != nil {
			return nil, err
		}
		// A section is a repository of yum, or a paragraph of apt's .sources.
		section, off := "", false
		for line := range strings.Lines(text + "\n\n") {
			line = strings.TrimSpace(line)
			switch key, value, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(line), " ", ""), "="); {
			case strings.HasPrefix(line, "#"):
				continue
			case key == "enabled" && (value == "0" || value == "false" || value == "no"), strings.HasPrefix(strings.ToLower(line), "enabled: no"):
				off = true
			}
			ends := line == "" || strings.HasPrefix(line, "[") || strings.HasPrefix(line, "deb")
			if ends {
				if !off {
					found = addMirrors(found, indexes, file, section)
				}
				section, off = "", false
			}
			section += line + "\n"
		}
	}
	return found, nil
}

func addMirrors(found []mirror, indexes map[string][]string, file, section string) []mirror {
	for _, at := range mirrorURL.FindAllStringSubmatch(section, -1) {
		m := mirror{Name: strings.ToLower(at[2]), Kind: "site", File: file, Port: 80}
		switch {
		case at[3] != "":
			m.Port, _ = strconv.Atoi(at[3])
		case strings.EqualFold(at[1], "https"):
			m.Port = 443
		}
		if m.Name == cloudMirror {
			m.Kind = "cloud"
		}
		known := slices.ContainsFunc(found, func(other mirror) bool { return other.Name == m.Name })
		indexes[m.Name] = append(indexes[m.Name], indexesOf(section)...)
		if !known && len(found) < maxMirrors && m.Port > 0 && m.Port < 1<<16 && (m.Kind == "cloud" || !publicMirrors.MatchString(m.Name)) {
			found = append(found, m)
		}
	}
	return found
}

// aptSource is a line of sources.list(5) for plain HTTP: the path, and the suite, or a directory that ends in a slash.
var aptSource = regexp.MustCompile(`(?m)^deb\s+(?:\[[^\]]*\]\s+)?http://[^/\s]+(/\S*)?\s+(\S+)`)

// indexesOf are the directories in which apt looks for the Release file of a section's sources.
func indexesOf(section string) []string {
	var all []string
	for _, m := range aptSource.FindAllStringSubmatch(section, -1) {
		where := strings.TrimSuffix(m[1], "/")
		if suite := m[2]; strings.HasSuffix(suite, "/") {
			where = path.Join("/", where, suite)
		} else {
			where += "/dists/" + suite
		}
		all = append(all, where)
	}
	return all
}

// maxIndexes bounds the questions to one mirror.
const maxIndexes = 3

// askIndexes asks a mirror that answers for what apt asks it first. Only where all of the files' forms are answered 404 it is not there.
func (m *mirror) askIndexes(ctx context.Context, h host.Host, indexes []string) {
	address, _ := m.Address.Get()
	if answers, _ := m.Answers.Get(); !answers || m.Kind == "proxy" {
		return
	}
	for _, index := range indexes[:min(len(indexes), maxIndexes)] {
		missing := true
		for _, file := range []string{"InRelease", "Release", "Packages.gz", "Packages.xz", "Packages"} {
			if strings.Contains(index, "/dists/") && strings.HasPrefix(file, "Packages") {
				break // those lie deeper
			}
			answer, err := h.Get(ctx, fmt.Sprintf("http://%s%s/%s", net.JoinHostPort(address, strconv.Itoa(m.Port)), index, file), map[string]string{"Host": m.Name})
			if err != nil || answer.Status != http.StatusNotFound && answer.Status != http.StatusGone {
				missing = false
				break
			}
		}
		if missing {
			m.Missing = probes.Some(index)
			return
		}
	}
}

// proxySetting is apt.conf(5)'s Acquire::http::Proxy, within braces or not, and dnf.conf(5)'s proxy=. Comments are taken away before.
var proxySetting = regexp.MustCompile(`(?im)(?:::|^|[{\s])proxy(?:\s*=\s*|\s+)"?(https?)://(?:[^/@\s]*@)?([a-z0-9.-]+)(?::(\d+))?/?"?`)

func findProxies(h host.Host) ([]mirror, error) {
	files := []string{"/etc/apt/apt.conf", "/etc/yum.conf", "/etc/dnf/dnf.conf"}
	entries, err := h.ReadDir("/etc/apt/apt.conf.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries { // apt reads those without an ending and those that end in .conf
		if ending := path.Ext(e.Name); !e.Type.IsDir() && (ending == "" || ending == ".conf") {
			files = append(files, "/etc/apt/apt.conf.d/"+e.Name)
		}
	}
	var found []mirror
	for _, file := range files {
		text, err := readIfThere(h, file)
		if err != nil {
			return nil, err
		}
		var kept strings.Builder
		for line := range strings.Lines(text) {
			if t := strings.TrimSpace(line); !strings.HasPrefix(t, "#") && !strings.HasPrefix(t, "//") {
				kept.WriteString(line)
			}
		}
		for _, at := range proxySetting.FindAllStringSubmatch(kept.String(), maxMirrors) {
			port := 80 // apt's own default for a proxy without a port
			if at[3] != "" {
				port, _ = strconv.Atoi(at[3])
			}
			m := mirror{Name: fmt.Sprintf("%s:%d", strings.ToLower(at[2]), port), Kind: "proxy", File: file, Port: port}
			known := slices.ContainsFunc(found, func(other mirror) bool { return other.Name == m.Name })
			if !known && len(found) < maxMirrors && port > 0 && port < 1<<16 {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

// sharedRange is where clouds have their own services; RFC 6598.
var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

// try looks the mirror's name up and connects to it.
func (m *mirror) try(ctx context.Context, h host.Host) error {
	var names namesFacts
	conf, err := names.readFiles(h)
	if err != nil {
		return err
	}
	hosts, err := names.readHosts(h)
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(m.Name, ":")
	addrs := hosts.addrs[name]
	if a, err := netip.ParseAddr(name); err == nil {
		addrs = []netip.Addr{a}
	}
	if len(addrs) == 0 {
		if addrs, err = mirrorAddresses(ctx, h, name, conf.servers[:min(len(conf.servers), 2)]); err != nil {
			m.Answers, m.Why = probes.Unread[bool](err.Error()), probes.Unread[string](err.Error())
			return nil
		}
	}
	if len(addrs) == 0 {
		m.Answers, m.Why = probes.Some(false), probes.Some("no name server knows it")
		return nil
	}
	m.Address = probes.Some(addrs[0].String())
	took, err := h.Connect(ctx, netip.AddrPortFrom(addrs[0], uint16(m.Port)))
	switch {
	case err == nil:
		m.Answers, m.Took = probes.Some(true), probes.Some(took)
	case notAsked(err):
		m.Answers, m.Why = probes.Unread[bool](err.Error()), probes.Unread[string](err.Error())
	case errors.Is(err, syscall.ECONNREFUSED):
		m.Answers, m.Why = probes.Some(false), probes.Some("connection refused")
	case m.Kind == "site" && !addrs[0].IsPrivate() && !sharedRange.Contains(addrs[0]):
		m.Why = probes.Some(reason(err))
	default:
		m.Answers, m.Why = probes.Some(false), probes.Some(reason(err))
	}
	return nil
}

// mirrorAddresses asks the name servers at once. That none answers says nothing of the mirror, and is an error.
func mirrorAddresses(ctx context.Context, h host.Host, name string, servers []netip.Addr) ([]netip.Addr, error) {
	answers, errs := make([]host.DNSAnswer, len(servers)), make([]error, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() { answers[i], errs[i] = lookUp(ctx, h, server, name+".", "A") })
	}
	all.Wait()
	answered := false
	for i := range answers {
		if errs[i] != nil {
			continue
		}
		// SERVFAIL and REFUSED are a server's trouble, not the name's.
		answered = answered || answers[i].RCode == "NOERROR" || answers[i].RCode == "NXDOMAIN"
		for _, text := range answers[i].Answers {
			if a, err := netip.ParseAddr(text); err == nil {
				return []netip.Addr{a}, nil
			}
		}
	}
	if !answered {
		return nil, errors.New("no name server answers for it: " + errText(errs))
	}
	return nil, nil
}

func errText(errs []error) string {
	if err := errors.Join(errs...); err != nil {
		return reason(err)
	}
	return "they refuse"
}

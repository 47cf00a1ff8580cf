package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
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

// Proxies finds the proxies that programs of this host are told to use, and tries them.
var Proxies = probes.Define(probes.Probe[host.Host]{
	Name: "proxies",
	Doc: `Configured proxies

Reads the files by which programs are told to use a proxy: /etc/environment, /etc/profile.d and the shells' files of root and the first eight accounts
under /home, systemd's DefaultEnvironment= and the units under /etc/systemd/system, docker's daemon.json, and what wget, curl, git and pip
read; package_mirror has those of apt and yum. In a shell's file only a line that is not indented counts: others stand in a function or behind a condition. Each proxy is looked up by /etc/hosts and the
name servers and, if it has a port, tried by one TCP connection; nothing is asked of it. Costs 1 ms where no proxy is set, and up to 2 s of waiting where one is dead. Proxies by
automatic configuration (PAC), those of a running program's own environment, and what a unit sets by Environment=, which is redacted before a probe reads it, are not seen.`,
	Needs:   probes.Network,
	Every:   5 * time.Minute,
	Timeout: 4 * time.Second,
}, proxies)

type proxiesFacts struct {
	List []proxyFacts `fact:"list" doc:"The proxies, at most eight"`
}

type proxyFacts struct {
	Proxy   string             `fact:"proxy,key" doc:"Host and port"`
	Places  []string           `fact:"places" doc:"Where it is set: /etc/environment line 3 (http_proxy)"`
	File    string             `fact:"file" doc:"The first file that sets it"`
	Wide    bool               `fact:"for_all" doc:"Some file that sets it is no single account's under /home"`
	Units   []string           `fact:"units" doc:"The services that are told to use it, where it stands in their unit or a file of theirs"`
	Address probes.Opt[string] `fact:"address" doc:"Its address; absent if its name has none"`
	Answers probes.Opt[bool]   `fact:"answers" doc:"It took a TCP connection; unreadable without a port, or if its name could not be asked for"`
	Why     probes.Opt[string] `fact:"why" doc:"Why it did not; absent if it did"`
}

const (
	maxProxies = 8
	maxHomes   = 8
	maxUnits   = 200
	proxyWait  = 2 * time.Second
)

// The ways to write a proxy. The value is the last group.
var (
	proxyVariable = regexp.MustCompile(`(?i)\b((?:https?|all)_proxy)\s*=\s*["']?([^"'\s;,]+)`)
	proxyOfShell  = regexp.MustCompile(`(?i)^(?:export\s|declare\s+-x\s|setenv\s|(?:https?|all)_proxy=)`)
	proxyOfCsh    = regexp.MustCompile(`(?i)^setenv\s+((?:https?|all)_proxy)\s+["']?([^"'\s;]+)`)
	proxyOption   = regexp.MustCompile(`(?i)^\s*-{0,2}((?:https?-?)?proxy)\s*[=:\s]\s*["']?([^"'\s]+)`)
	proxyOfJSON   = regexp.MustCompile(`(?i)"(https?-?proxy)"\s*:\s*"([^"]+)"`)
)

// proxyFile is a file that may set a proxy, and how it writes one.
type proxyFile struct {
	name  string
	unit  string // whose unit, or file of its environment, it is
	shell bool
	form  *regexp.Regexp
}

func proxies(ctx context.Context, h host.Host) (proxiesFacts, error) {
	files, err := proxyFiles(h)
	if err != nil {
		return proxiesFacts{}, err
	}
	var f proxiesFacts
	for _, file := range files {
		text, err := proxyText(h, file.name)
		if err != nil {
			return f, err
		}
		f.read(file, text)
	}
	if len(f.List) == 0 {
		return f, probes.NoData("no proxy is configured")
	}
	ctx, cancel := context.WithTimeout(ctx, proxyWait)
	defer cancel()
	var all sync.WaitGroup
	for i := range f.List {
		all.Go(func() { f.List[i].try(ctx, h) })
	}
	all.Wait()
	return f, nil
}

// proxyText is a file's text; one that is not there, or in a home that may not be read, has none.
func proxyText(h host.Host, name string) (string, error) {
	text, err := h.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, host.ErrForbidden) ||
		strings.HasPrefix(name, "/home/") && err != nil && !errors.Is(err, host.ErrNotCaptured) {
		return "", nil
	}
	return string(text), err
}

// proxyFiles lists what is read.
func proxyFiles(h host.Host) ([]proxyFile, error) {
	var files []proxyFile
	add := func(unit string, shell bool, form *regexp.Regexp, names ...string) {
		for _, name := range names {
			files = append(files, proxyFile{name, unit, shell, form})
		}
	}
	add("", false, proxyVariable, "/etc/environment", "/etc/systemd/system.conf", "/etc/wgetrc", "/etc/crontab")
	add("", true, proxyVariable, "/etc/profile", "/etc/bash.bashrc", "/etc/bashrc")
	add("", false, proxyOption, "/etc/gitconfig", "/etc/pip.conf")
	add("docker.service", false, proxyOfJSON, "/etc/docker/daemon.json")
	add("docker.service", false, proxyVariable, "/etc/default/docker", "/etc/sysconfig/docker")
	for _, d := range []struct {
		dir, ending string
		shell       bool
		form        *regexp.Regexp
	}{
		{"/etc/profile.d", ".sh", true, proxyVariable},
		{"/etc/environment.d", ".conf", false, proxyVariable},
		{"/etc/systemd/system.conf.d", ".conf", false, proxyVariable},
	} {
		names, err := entryNames(h, d.dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, d.ending) {
				add("", d.shell, d.form, path.Join(d.dir, name))
			}
		}
	}
	homes, err := entryNames(h, "/home")
	if err != nil {
		return nil, err
	}
	for _, home := range append([]string{"/root"}, under("/home", homes[:min(len(homes), maxHomes)])...) {
		add("", true, proxyVariable, under(home, []string{".bashrc", ".profile", ".bash_profile"})...)
		add("", false, proxyVariable, home+"/.wgetrc")
		add("", false, proxyOption, under(home, []string{".curlrc", ".gitconfig"})...)
		add("", false, proxyOption, home+"/.config/pip/pip.conf")
	}
	units, err := unitProxyFiles(h)
	return append(files, units...), err
}

func under(dir string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = path.Join(dir, name)
	}
	return paths
}

func entryNames(h host.Host, dir string) ([]string, error) {
	entries, err := h.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names, nil
}

// unitProxyFiles lists the administrator's units and drop-ins; those of packages set no proxy.
func unitProxyFiles(h host.Host) ([]proxyFile, error) {
	const dir = "/etc/systemd/system"
	names, err := entryNames(h, dir)
	if err != nil {
		return nil, err
	}
	var files []proxyFile
	for _, name := range names[:min(len(names), maxUnits)] {
		switch {
		case strings.HasSuffix(name, ".service"):
			files = append(files, proxyFile{path.Join(dir, name), name, false, proxyVariable})
		case strings.HasSuffix(name, ".service.d"):
			parts, err := entryNames(h, path.Join(dir, name))
			if err != nil {
				return nil, err
			}
			for _, part := range parts {
				if strings.HasSuffix(part, ".conf") {
					files = append(files, proxyFile{path.Join(dir, name, part), strings.TrimSuffix(name, ".d"), false, proxyVariable})
				}
			}
		}
	}
	return files, nil
}

// read takes the proxies out of a file.
func (f *proxiesFacts) read(file proxyFile, text string) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		bare := strings.TrimSpace(line)
		if bare == "" || strings.HasPrefix(bare, "#") || strings.HasPrefix(bare, ";") || strings.HasPrefix(bare, "//") {
			continue
		}
		if file.shell && !proxyOfShell.MatchString(line) {
			continue
		}
		for _, form := range []*regexp.Regexp{file.form, proxyOfCsh} {
			for _, m := range form.FindAllStringSubmatch(line, -1) {
				f.note(file, number, m[1], m[2])
			}
		}
	}
}

func (f *proxiesFacts) note(file proxyFile, line int, key, value string) {
	at, ok := proxyHost(value)
	if !ok {
		return
	}
	i := slices.IndexFunc(f.List, func(p proxyFacts) bool { return p.Proxy == at })
	if i < 0 {
		if len(f.List) == maxProxies {
			return
		}
		f.List, i = append(f.List, proxyFacts{Proxy: at, File: file.name}), len(f.List)
	}
	p := &f.List[i]
	p.Places = append(p.Places, fmt.Sprintf("%s line %d (%s)", file.name, line, key))
	p.Wide = p.Wide || !strings.HasPrefix(file.name, "/home/")
	if file.unit != "" && !slices.Contains(p.Units, file.unit) {
		p.Units = append(p.Units, file.unit)
	}
}

// proxyHost is a proxy's host and port, without the scheme and what only it needs to know. A variable, and words that mean none, are no proxy.
func proxyHost(value string) (string, bool) {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || strings.ContainsAny(value, "$%`") {
		return "", false
	}
	name := strings.ToLower(u.Hostname())
	_, notAddress := netip.ParseAddr(name)
	if notAddress != nil && name != "localhost" && u.Port() == "" && !strings.Contains(name, ".") {
		return "", false // DIRECT, false, none, _none_
	}
	return u.Host, true
}

// try looks the proxy up and connects to it.
func (p *proxyFacts) try(ctx context.Context, h host.Host) {
	at, err := url.Parse("http://" + p.Proxy)
	if err != nil || at.Port() == "" {
		p.Answers = probes.Unread[bool]("no port is given, and programs differ in which they take")
		return
	}
	addr, err := addressOf(ctx, h, at.Hostname())
	if err != nil {
		p.Answers, p.Why = probes.Unread[bool](err.Error()), probes.Unread[string](err.Error())
		return
	}
	if !addr.IsValid() {
		p.Answers, p.Why = probes.Some(false), probes.Some("no name server knows its name")
		return
	}
	p.Address = probes.Some(addr.String())
	port, err := strconv.ParseUint(at.Port(), 10, 16)
	if err != nil {
		p.Answers, p.Why = probes.Some(false), probes.Some(at.Port()+" is no port")
		return
	}
	_, err = h.Connect(ctx, netip.AddrPortFrom(addr, uint16(port)))
	switch {
	case err == nil:
		p.Answers = probes.Some(true)
	case notAsked(err):
		p.Answers, p.Why = probes.Unread[bool](err.Error()), probes.Unread[string](err.Error())
	case errors.Is(err, syscall.ECONNREFUSED):
		p.Answers, p.Why = probes.Some(false), probes.Some("connection refused")
	default:
		p.Answers, p.Why = probes.Some(false), probes.Some(reason(err))
	}
}

// addressOf is the first address of a name, by /etc/hosts or a name server; invalid if they have none.
func addressOf(ctx context.Context, h host.Host, name string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return a, nil
	}
	var names namesFacts
	conf, err := names.readFiles(h)
	if err != nil {
		return netip.Addr{}, err
	}
	hosts, err := names.readHosts(h)
	if err != nil {
		return netip.Addr{}, err
	}
	if addrs := hosts.addrs[strings.ToLower(name)]; len(addrs) > 0 {
		return addrs[0], nil
	}
	if name == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	if !strings.Contains(name, ".") && len(conf.search) > 0 {
		name += "." + strings.Trim(conf.search[0], ".")
	}
	addrs, err := mirrorAddresses(ctx, h, name, conf.servers[:min(len(conf.servers), 2)])
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, err
	}
	return addrs[0], nil
}

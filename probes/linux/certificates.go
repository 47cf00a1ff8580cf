package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Certificates reads the certificates that this host's servers are configured with.
var Certificates = probes.Define(probes.Probe[host.Host]{
	Name: "certificates",
	Doc: `TLS certificates of servers

Reads the certificates that the configuration of nginx, Apache and HAProxy names, if they run, and those that certbot keeps (/etc/letsencrypt/live). Costs
0.1 ms a certificate, of which it reads 100. It is the file that is read: a server goes on with the one that it loaded until it is
reloaded; of nginx, whose workers are new after each reload, it is told whether the file is newer than they. Other certificates on the disk (those of authorities, of clients, of packages) are no business of this probe, and neither are the
ones that a program has inside or fetches.`,
	Needs: probes.Root, // the keys
	Every: 10 * time.Minute,
}, certificates)

type certificatesFacts struct {
	List probes.Cut[certificateFacts] `fact:"list" doc:"The certificates, by file"`
}

type certificateFacts struct {
	File       string                    `fact:"file,key" doc:"The file"`
	Server     string                    `fact:"server" doc:"Who is configured with it and runs: nginx, apache, haproxy; empty if nobody is, and certbot keeps it"`
	Subject    probes.Opt[string]        `fact:"subject" doc:"Whose it is"`
	Issuer     probes.Opt[string]        `fact:"issuer" doc:"Who signed it"`
	SelfSigned probes.Opt[bool]          `fact:"self_signed" doc:"It is signed by its own key"`
	Names      []string                  `fact:"names" doc:"DNS names that it is for"`
	Left       probes.Opt[time.Duration] `fact:"left" doc:"Until it expires; less than 0 if it has"`
	Until      probes.Opt[time.Duration] `fact:"starts_in" doc:"Until it begins to hold; less than 0 if it does"`
	KeyMatches probes.Opt[bool]          `fact:"key_matches" doc:"The configured private key belongs to it; absent if no key is configured, or it is encrypted or of a kind that is not known"`
	Waits      probes.Opt[time.Duration] `fact:"waits" doc:"How long ago the file, or a link that leads to it, changed, if nginx has not loaded its configuration since: it serves the certificate that it read before; absent if it has, and for other servers"`
	Missing    bool                      `fact:"missing" doc:"The file, or the key's, is not there"`
}

// maxCertificates bounds a host with a certificate for each of its thousand customers.
const maxCertificates = 100

// certificateUse is a certificate in a server's configuration.
type certificateUse struct{ file, key, server string }

func certificates(ctx context.Context, h host.Host) (certificatesFacts, error) {
	var f certificatesFacts
	seen := map[string]bool{}
	uses, err := certificateUses(h)
	if err != nil {
		return f, err
	}
	loaded := nginxLoaded(h)
	for _, use := range uses {
		switch {
		case ctx.Err() != nil:
			return f, ctx.Err()
		case seen[use.file]:
			continue
		case len(f.List.All) == maxCertificates:
			f.List.More++
			continue
		}
		seen[use.file] = true
		c := readCertificate(h, use)
		if use.server == "nginx" && !loaded.IsZero() {
			c.Waits = changedSince(h, use.file, loaded)
		}
		f.List.All = append(f.List.All, c)
	}
	if len(f.List.All) == 0 {
		return f, probes.NoData("no server that it knows is configured with a certificate")
	}
	slices.SortFunc(f.List.All, func(a, b certificateFacts) int { return cmp.Compare(a.File, b.File) })
	return f, nil
}

// tlsServers are the servers, by the pid files that say that they run, and what names certificates in their configuration.
var tlsServers = []struct {
	name        string
	pidfiles    []string
	config, dir string
	cert, key   *regexp.Regexp
}{
	{
		"nginx",
		[]string{"/run/nginx.pid"},
		"/etc/nginx/nginx.conf", "/etc/nginx",
		regexp.MustCompile(`(?m)^\s*ssl_certificate\s+"?([^;"\s]+)`), regexp.MustCompile(`(?m)^\s*ssl_certificate_key\s+"?([^;"\s]+)`),
	},
	{
		"apache",
		[]string{"/run/apache2/apache2.pid"},
		"/etc/apache2/apache2.conf", "/etc/apache2",
		regexp.MustCompile(`(?im)^\s*SSLCertificateFile\s+"?([^"\s]+)`), regexp.MustCompile(`(?im)^\s*SSLCertificateKeyFile\s+"?([^"\s]+)`),
	},
	{
		"apache",
		[]string{"/run/httpd/httpd.pid"},
		"/etc/httpd/conf/httpd.conf", "/etc/httpd",
		regexp.MustCompile(`(?im)^\s*SSLCertificateFile\s+"?([^"\s]+)`), regexp.MustCompile(`(?im)^\s*SSLCertificateKeyFile\s+"?([^"\s]+)`),
	},
	{"haproxy", []string{"/run/haproxy.pid", "/run/haproxy-systemd.pid"}, "/etc/haproxy/haproxy.cfg", "/etc/haproxy", regexp.MustCompile(`(?m)^\s*bind\s.*\scrt\s+(\S+)`), nil},
}

// crtBase is HAProxy's directory of certificates that are named without one.
var crtBase = regexp.MustCompile(`(?m)^\s*crt-base\s+(\S+)`)

func certificateUses(h host.Files) ([]certificateUse, error) {
	var uses []certificateUse
	for _, s := range tlsServers {
		if !slices.ContainsFunc(s.pidfiles, func(name string) bool { return isThere(h, name) }) {
			continue
		}
		text := readServerConfig(h, s.config, s.dir).text
		var keys [][]string
		if s.key != nil {
			keys = s.key.FindAllStringSubmatch(text, -1)
		}
		certs := s.cert.FindAllStringSubmatch(text, -1)
		for i, m := range certs {
			if strings.Contains(m[1], "$") { // chosen by the name that the client asks for; a directory of them holds what is old, too
				continue
			}
			key, base := "", s.dir
			if b := crtBase.FindStringSubmatch(text); s.name == "haproxy" && b != nil {
				base = b[1]
			}
			if len(keys) == len(certs) { // each server block names both, in this order or the other
				key = absolute(s.dir, keys[i][1])
			}
			for _, file := range certificateFiles(h, absolute(base, m[1])) {
				uses = append(uses, certificateUse{file, cmp.Or(key, map[bool]string{true: file}[s.name == "haproxy"]), s.name})
			}
		}
	}
	const certbot = "/etc/letsencrypt/live"
	entries, err := h.ReadDir(certbot)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if file := certbot + "/" + e.Name + "/fullchain.pem"; e.Name != "README" && isThere(h, file) {
			uses = append(uses, certificateUse{file, "", ""})
		}
	}
	return uses, nil
}

func absolute(dir, name string) string {
	if strings.HasPrefix(name, "/") || strings.Contains(name, ":") { // data:…, engine:…
		return name
	}
	return dir + "/" + name
}

// certificateFiles are the file itself, or what lies in it if it is a directory, as HAProxy takes one.
func certificateFiles(h host.Files, name string) []string {
	if !strings.HasPrefix(name, "/") {
		return nil
	}
	fi, err := h.Stat(name)
	if err != nil || !fi.Mode.IsDir() {
		return []string{name}
	}
	entries, _ := h.ReadDir(name)
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".pem") || strings.HasSuffix(e.Name, ".crt") {
			files = append(files, name+"/"+e.Name)
		}
	}
	return files
}

func readCertificate(h host.Host, use certificateUse) certificateFacts {
	f := certificateFacts{File: use.file, Server: use.server}
	c, err := h.ReadCertificate(use.file, use.key)
	if err != nil && use.key != "" && !errors.Is(err, fs.ErrNotExist) { // the key may be closed to us, and the certificate is open
		c, err = h.ReadCertificate(use.file, "")
	}
	if err != nil {
		f.Missing = errors.Is(err, fs.ErrNotExist)
		why := err.Error()
		f.Subject, f.Issuer, f.SelfSigned = probes.Unread[string](why), probes.Unread[string](why), probes.Unread[bool](why)
		f.Left, f.Until = probes.Unread[time.Duration](why), probes.Unread[time.Duration](why)
		return f
	}
	f.Subject, f.Issuer, f.SelfSigned, f.Names = probes.Some(c.Subject), probes.Some(c.Issuer), probes.Some(c.Subject == c.Issuer), c.Names
	f.Left, f.Until = probes.Some(c.NotAfter.Sub(h.Now()).Round(time.Second)), probes.Some(c.NotBefore.Sub(h.Now()).Round(time.Second))
	if c.Key != "" {
		f.KeyMatches = probes.Some(c.Key == "matches")
	}
	return f
}

// nginxLoaded is when nginx last loaded its configuration: when its newest worker was started. The clock is that of the pid file, which the
// master wrote when it started; processes only know ticks.
func nginxLoaded(h host.Files) time.Time {
	at, ok, err := nginxStarted(h)
	master, other := readInt(h, "/run/nginx.pid")
	if err != nil || other != nil || !ok {
		return time.Time{}
	}
	began, ok := startTicks(h, master)
	if !ok {
		return time.Time{}
	}
	newest := began
	for _, pid := range sessionProcesses(h, master) {
		if ticks, ok := startTicks(h, pid); ok {
			newest = max(newest, ticks)
		}
	}
	return at.Add(time.Duration(newest-began) * time.Second / userHZ)
}

func startTicks(h host.Files, pid int) (uint64, bool) {
	line, err := readLine(h, fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	p, err := parseProcess(line)
	return p.started, err == nil
}

// changedSince tells how long ago a file, or the link that leads to it, changed, if that was after a time.
func changedSince(h host.Host, name string, loaded time.Time) probes.Opt[time.Duration] {
	var changed time.Time
	for _, stat := range []func(string) (host.FileInfo, error){h.Lstat, h.Stat} {
		if fi, err := stat(name); err == nil {
			changed = laterOf(changed, fi.ModTime)
		}
	}
	if !changed.After(loaded) {
		return probes.None[time.Duration]()
	}
	return probes.Some(h.Now().Sub(changed).Round(time.Second))
}

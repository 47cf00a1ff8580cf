package linux

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// TrustStore looks at the certificates of authorities by which programs trust servers.
var TrustStore = probes.Define(probes.Probe[host.Host]{
	Name: "trust_store",
	Doc: `Certificates of authorities

Looks at the file with the certificates of all authorities that the distribution's package makes (ca-certificates.crt, tls-ca-bundle.pem, ca-bundle.pem) and at the
directories above it, and counts the certificates. Costs 0.3 ms. No data where the package is not installed. Programs that bring their own list (Java's cacerts, Firefox,
certifi of Python, Node.js) do not read it.`,
	Every: 10 * time.Minute,
}, trustStore)

type trustStoreFacts struct {
	Path         string          `fact:"path" doc:"The file"`
	Problem      string          `fact:"problem" doc:"missing, empty, closed: not everybody may read it, or enter its directory; none: no certificate is in it; cut: its last one is not whole; deselected: most of those of the distribution are switched off; empty if nothing is wrong"`
	Where        string          `fact:"where" doc:"The file or directory that is wrong; empty if none is"`
	Certificates probes.Opt[int] `fact:"certificates" unit:"count" doc:"How many it holds; absent if it is not there"`
	Expected     probes.Opt[int] `fact:"expected" unit:"count" doc:"How many authorities the distribution's package has; absent where that is not known"`
	Mode         string          `fact:"mode" doc:"Permission bits of what is wrong; empty if it is not there"`
	Linked       string          `fact:"linked" doc:"What makes the file anew: update-ca-certificates or update-ca-trust"`
}

// trustStores are the files by the program that makes them, and something that tells that the distribution has it.
var trustStores = []struct{ sign, file, maker string }{
	{"/usr/sbin/update-ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "update-ca-certificates"},
	{"/usr/bin/update-ca-trust", "/etc/pki/tls/certs/ca-bundle.crt", "update-ca-trust"},
}

const caConf = "/etc/ca-certificates.conf"

func trustStore(_ context.Context, h host.Host) (trustStoreFacts, error) {
	for _, s := range trustStores {
		if _, err := h.Stat(s.sign); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return trustStoreFacts{}, err
		}
		if isThere(h, s.sign) && !isThere(h, "/var/lib/ca-certificates/ca-bundle.pem") { // SUSE's layout is another one
			f := trustStoreFacts{Path: s.file, Linked: s.maker}
			return f, f.look(h)
		}
	}
	return trustStoreFacts{}, probes.NoData("no package of authorities' certificates is installed")
}

func (f *trustStoreFacts) look(h host.Host) error {
	for _, dir := range []string{"/etc", "/etc/ssl", "/etc/pki", path.Dir(f.Path)} {
		fi, err := h.Stat(dir)
		if err == nil && fi.Mode.IsDir() && fi.Mode.Perm()&0o001 == 0 && strings.HasPrefix(f.Path, dir+"/") {
			f.Problem, f.Where, f.Mode = "closed", dir, octal(fi.Mode)
		}
	}
	fi, err := h.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Problem, f.Where = "missing", f.Path
		return nil
	case err != nil:
		return err
	case fi.Size == 0:
		f.Problem, f.Where, f.Mode, f.Certificates = "empty", f.Path, octal(fi.Mode), probes.Some(0)
		return nil
	}
	b, err := h.ReadFile(f.Path)
	if err != nil {
		return err
	}
	begun, ended := bytes.Count(b, []byte("-----BEGIN ")), bytes.Count(b, []byte("-----END "))
	f.Certificates = probes.Some(ended)
	problem := ""
	switch {
	case f.Problem != "":
	case fi.Mode.Perm()&0o004 == 0:
		problem = "closed"
	case ended == 0:
		problem = "none"
	case begun != ended:
		problem = "cut"
	default:
		f.deselected(h, ended)
	}
	if problem != "" {
		f.Problem, f.Where, f.Mode = problem, f.Path, octal(fi.Mode)
	}
	return nil
}

// deselected counts the authorities that ca-certificates.conf has and those that it switches off with a "!" (update-ca-certificates(8)).
func (f *trustStoreFacts) deselected(h host.Host, have int) {
	b, err := h.ReadFile(caConf)
	if err != nil {
		return
	}
	all, off := 0, 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		all++
		if line[0] == '!' {
			off++
		}
	}
	f.Expected = probes.Some(all)
	if off > all/2 || all > 20 && have < all/2 {
		f.Problem, f.Where = "deselected", caConf
	}
}

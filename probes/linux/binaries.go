package linux

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Binaries compares the programs that intruders replace with what their packages installed.
var Binaries = probes.Define(probes.Probe[host.Host]{
	Name: "binaries",
	Doc: `Signs of compromise: system programs

Compares the MD5 digests of ps, ls, ss, netstat, top, login, su and passwd with those that dpkg keeps, and those of the larger sshd, ssh, sudo and
bash where their date is later than their package's installation. Costs 3 ms. Programs that an administrator diverted (dpkg-divert)
are left out. Who can replace a program as root can also write its digest: that all are right proves little. Hosts with rpm: no data.`,
	Every: time.Hour,
}, binaries)

type binariesFacts struct {
	Checked int                       `fact:"checked" unit:"count" doc:"Programs that were compared"`
	Changed probes.Cut[changedBinary] `fact:"changed" doc:"Those that are not what their package installed"`
}

type changedBinary struct {
	Path    string        `fact:"path,key" doc:"The program"`
	Package string        `fact:"package" doc:"Its package"`
	Age     time.Duration `fact:"age" doc:"Time since its content changed, by its own date, which can be forged"`
}

// systemBinary is a program and the packages that may bring it: login and su moved from shadow to util-linux.
type systemBinary struct {
	name     string
	packages []string
	large    bool // compared only if its date is odd
}

var systemBinaries = []systemBinary{
	{"ps", []string{"procps"}, false},
	{"top", []string{"procps"}, false},
	{"ls", []string{"coreutils"}, false},
	{"ss", []string{"iproute2"}, false},
	{"netstat", []string{"net-tools"}, false},
	{"login", []string{"login", "util-linux"}, false},
	{"su", []string{"util-linux", "login"}, false},
	{"passwd", []string{"passwd"}, false},
	{"sshd", []string{"openssh-server"}, true},
	{"ssh", []string{"openssh-client"}, true},
	{"sudo", []string{"sudo"}, true},
	{"bash", []string{"bash"}, true},
}

const dpkgInfo = "/var/lib/dpkg/info/"

func binaries(ctx context.Context, h host.Host) (binariesFacts, error) {
	var f binariesFacts
	if _, err := h.Stat(dpkgInfo); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return f, probes.NoData("dpkg keeps no digests here")
		}
		return f, err
	}
	diverted, err := h.ReadFile("/var/lib/dpkg/diversions")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	moved := strings.Split(string(diverted), "\n")
	sums := map[string]string{} // a package's file of digests
	for _, b := range systemBinaries {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		for _, pkg := range b.packages {
			text, known := sums[pkg]
			if !known {
				t, err := h.ReadFile(dpkgInfo + pkg + ".md5sums")
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return f, err
				}
				text = string(t)
				sums[pkg] = text
			}
			if file, want := digestOf(text, b.name); file != "" && !slices.Contains(moved, file) {
				f.compare(h, &b, pkg, file, want)
				break
			}
		}
	}
	return f, nil
}

// digestOf finds a program in lines of "DIGEST  usr/bin/NAME".
func digestOf(text, name string) (file, digest string) {
	for line := range strings.Lines(text) {
		sum, rest, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if ok && path.Base(rest) == name && slices.Contains([]string{"bin", "sbin", "usr/bin", "usr/sbin"}, path.Dir(rest)) {
			return "/" + rest, sum
		}
	}
	return "", ""
}

func (f *binariesFacts) compare(h host.Host, b *systemBinary, pkg, file, want string) {
	fi, err := h.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	installed, listErr := h.Stat(dpkgInfo + pkg + ".list") // dpkg writes it when it installs the package
	if b.large && err == nil && listErr == nil && !fi.ModTime.After(installed.ModTime) {
		return
	}
	sum, sumErr := h.MD5(file)
	if err := errors.Join(err, sumErr); err != nil {
		f.Changed.More++
		f.Changed.Why = err.Error()
		return
	}
	f.Checked++
	if sum != want {
		f.Changed.All = append(f.Changed.All, changedBinary{file, pkg, max(0, h.Now().Sub(fi.ModTime))})
	}
}

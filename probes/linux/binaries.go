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
	Doc: `System programs: changed, lost, or not to be run

Looks at the programs and libraries that the forty packages brought that everybody needs (coreutils, sudo, systemd, the C library, …): whether they are
there, and their mode and owner. Compares the MD5 digests of ps, ls, ss, netstat, top, login, su and passwd with those that dpkg keeps, and those of all others
where their date is later than their package's installation. Costs 6 ms. Files that an administrator diverted or gave another mode on purpose (dpkg-divert,
dpkg-statoverride) are left out. Who can replace a program as root can also write its digest: that all are right proves little. On hosts without
dpkg only the mode and owner of some programs are looked at.`,
	Every: 10 * time.Minute,
}, binaries)

type binariesFacts struct {
	Checked int                       `fact:"checked" unit:"count" doc:"Programs that were compared"`
	Changed probes.Cut[changedBinary] `fact:"changed" doc:"Those that are not what their package installed"`
	Broken  probes.Cut[brokenProgram] `fact:"broken" doc:"Those that are lost, cannot be run, or have lost what they need"`
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

// packagedOverrides are what Debian's own packages give a mode in that way; it is not an administrator's.
var packagedOverrides = []string{"crontab", "dbus-daemon-launch-helper"}

const dpkgInfo = "/var/lib/dpkg/info/"

func binaries(ctx context.Context, h host.Host) (binariesFacts, error) {
	var f binariesFacts
	if _, err := h.Stat(dpkgInfo); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			f.programs(h, false, nil)
			return f, nil
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
	overrides, err := h.ReadFile("/var/lib/dpkg/statoverride")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	leave := map[string]bool{}
	for _, name := range moved {
		leave[name] = true
	}
	for line := range strings.Lines(string(overrides)) { // OWNER GROUP MODE FILE
		if words := strings.Fields(line); len(words) == 4 && !slices.Contains(packagedOverrides, path.Base(words[3])) {
			leave[words[3]] = true
		}
	}
	f.programs(h, true, leave)
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

package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

// This file looks whether the programs and libraries that everybody needs are as their packages brought them, as far as stat(2) tells it.

type brokenProgram struct {
	Path     string `fact:"path,key" doc:"The program, library or link; the first where several of a directory have the same trouble"`
	Package  string `fact:"package" doc:"Its package; empty where no list of packages says"`
	Kind     string `fact:"kind" doc:"missing; empty; dangling: a link to what is not there; exec: nobody, or not everybody, may run it; read: not everybody may read the library; owner: not root's; writable: others may write it; setuid: it lost the bit or the owner by which it gets its rights; capability: ping lost its own; alternative: a link of /etc/alternatives to what is not there"`
	Target   string `fact:"target" doc:"Where the link leads, for dangling and alternative; else empty"`
	Mode     string `fact:"mode" doc:"Permission bits: \"0755\", \"4755\" with setuid; empty if it is not there"`
	GoodMode string `fact:"good_mode" doc:"The mode that it should have"`
	UID      int    `fact:"uid" unit:"uid" doc:"Owner"`
	More     int    `fact:"more" unit:"count" doc:"How many others in its directory have the same trouble"`
	Vital    bool   `fact:"vital" doc:"Logins, shells and system services need it"`
}

// corePackages are those whose programs people and scripts take for granted, by Debian's and Ubuntu's names; what is not installed is
// passed over. A list is some KB.
var corePackages = []string{
	"apt", "bash", "bsdutils", "ca-certificates", "chrony", "coreutils", "cron", "curl", "dash", "dbus-daemon", "debianutils", "diffutils", "dpkg",
	"findutils", "grep", "gzip", "hostname", "init-system-helpers", "iproute2", "iputils-ping", "kmod", "libc-bin", "libpam-modules-bin",
	"login", "logrotate", "mount", "openssh-client", "openssh-server", "openssl", "passwd", "perl-base", "procps", "python3-minimal", "python3.10-minimal",
	"python3.11-minimal", "python3.12-minimal", "python3.13-minimal", "python3.9-minimal", "sed", "sudo", "systemd", "tar", "util-linux", "wget",
}

// coreLibraries are those that nearly every program or every login loads.
var coreLibraries = []string{
	"libc6", "libssl3", "libssl3t64", "libssl1.1", "libpam0g", "libpam-modules", "libpam-systemd", "libcrypt1", "libselinux1", "libsystemd0", "zlib1g",
	"libpcre2-8-0", "libcap2", "libaudit1", "libtinfo6", "libgcc-s1",
}

// everybodys are programs that not only root runs, all day.
var everybodys = []string{"coreutils", "bash", "dash", "grep", "sed", "findutils"}

// privileged are programs that are useless to users without their bits. Removing those of mount and the like is a custom of hardened hosts.
var privileged = map[string]struct {
	mode  fs.FileMode
	good  string
	vital bool
}{
	"sudo":                      {fs.ModeSetuid, "4755", true},
	"su":                        {fs.ModeSetuid, "4755", true},
	"passwd":                    {fs.ModeSetuid, "4755", true},
	"dbus-daemon-launch-helper": {fs.ModeSetuid, "4754", true},
	"unix_chkpwd":               {fs.ModeSetgid, "2755", true},
	"crontab":                   {fs.ModeSetgid, "2755", true},
	"mount":                     {fs.ModeSetuid, "4755", false},
	"umount":                    {fs.ModeSetuid, "4755", false},
	"newgrp":                    {fs.ModeSetuid, "4755", false},
	"chsh":                      {fs.ModeSetuid, "4755", false},
	"chfn":                      {fs.ModeSetuid, "4755", false},
	"gpasswd":                   {fs.ModeSetuid, "4755", false},
}

// anywhere is looked at where no list of packages says what there should be.
var anywhere = []string{
	"awk", "bash", "cat", "chmod", "cp", "crontab", "curl", "env", "find", "grep", "id", "journalctl", "kill", "login", "ls", "mkdir", "mount", "mv", "passwd", "ps",
	"python3", "rm", "sed", "ssh", "su", "sudo", "systemctl", "tar",
}

var binDirs = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin"}

// libraryName leaves out what small images leave out, too: the C library's conversions.
var libraryName = regexp.MustCompile(`^(/usr)?/lib(64|/[a-z0-9_]+-linux-gnu)?/((lib|ld-)[^/]*\.so[^/]*|security/pam_[^/]*\.so)$`)

// maxReplaced bounds how many programs with an odd date are compared by their digest.
const maxReplaced = 10

type programCheck struct {
	f         *binariesFacts
	h         host.Host
	leave     map[string]bool // diverted, or with another mode on purpose
	compared  int
	libraries bool
}

func (f *binariesFacts) programs(h host.Host, dpkg bool, leave map[string]bool) {
	c := programCheck{f: f, h: h, leave: leave}
	if dpkg {
		for _, pkg := range corePackages {
			c.list(pkg)
		}
		c.libraries = true
		for _, pkg := range coreLibraries {
			c.list(pkg)
		}
	} else {
		for _, name := range anywhere {
			c.stranger("/usr/bin/" + name)
		}
	}
	if there, known := exists(h, "/bin/sh").Get(); known && !there {
		c.add(brokenProgram{Path: "/bin/sh", Kind: "missing", Vital: true})
	}
	c.alternatives()
}

// list checks what a package brought; a list of another architecture's library has it in its name: libc6:amd64.list.
func (c *programCheck) list(pkg string) {
	name := dpkgInfo + pkg + ".list"
	b, err := c.h.ReadFile(name)
	if c.libraries && errors.Is(err, fs.ErrNotExist) {
		for _, arch := range []string{":amd64", ":arm64"} {
			if b, err = c.h.ReadFile(dpkgInfo + pkg + arch + ".list"); err == nil {
				name = dpkgInfo + pkg + arch + ".list"
				break
			}
		}
	}
	if err != nil {
		return // not installed
	}
	at, err := c.h.Stat(name)
	if err != nil {
		return
	}
	for file := range strings.Lines(string(b)) {
		file = strings.TrimSuffix(file, "\n")
		dir, base := path.Split(file)
		program := slices.Contains(binDirs, strings.TrimSuffix(dir, "/")) || base == "dbus-daemon-launch-helper"
		if (program && !c.libraries || c.libraries && libraryName.MatchString(file)) && !c.leave[file] {
			c.file(pkg, file, at.ModTime, program)
		}
	}
}

func (c *programCheck) file(pkg, file string, installed time.Time, program bool) {
	b := brokenProgram{Path: file, Package: pkg, GoodMode: "0755", Vital: c.libraries || slices.Contains(everybodys, pkg)}
	if want, ok := privileged[path.Base(file)]; ok && program {
		b.GoodMode, b.Vital = want.good, want.vital
	}
	fi, err := c.h.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.Kind, b.Vital = "missing", true
	case err != nil:
		return
	case fi.Mode&fs.ModeSymlink != 0:
		c.link(&b)
		if b.Kind == "" && fi.ModTime.After(installed.Add(time.Second)) {
			c.replaced(pkg, file, &fi) // a package's own links have no digest
		}
	case !fi.Mode.IsRegular():
		return
	default:
		b.Kind = c.kind(&b, &fi, program)
		b.Mode, b.UID = octal(fi.Mode), fi.UID
		if b.Kind == "" && fi.ModTime.After(installed.Add(time.Second)) {
			c.replaced(pkg, file, &fi)
		}
	}
	if b.Kind != "" {
		c.add(b)
	}
}

func (c *programCheck) link(b *brokenProgram) {
	if _, err := c.h.Stat(b.Path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) {
		b.Kind, b.Vital = "dangling", true
		b.Target, _ = c.h.Readlink(b.Path)
	}
}

// kind tells what is wrong with a file that is there. That not everybody may run a program is an administrator's choice for most.
func (c *programCheck) kind(b *brokenProgram, fi *host.FileInfo, program bool) string {
	perm := fi.Mode.Perm()
	loader := strings.HasPrefix(path.Base(b.Path), "ld-linux")
	want, has := privileged[path.Base(b.Path)]
	switch {
	case fi.Size == 0:
		b.Vital = true
		return "empty"
	case perm&0o111 == 0 && (program || loader), perm&0o001 == 0 && (loader || program && slices.Contains(everybodys, b.Package)):
		b.Vital = true
		return "exec"
	case !program && perm&0o004 == 0:
		b.GoodMode = "0644"
		return "read"
	case perm&0o002 != 0:
		b.Vital = true
		return "writable"
	case program && has && (fi.Mode&(fs.ModeSetuid|fs.ModeSetgid) == 0 || want.mode == fs.ModeSetuid && fi.UID != 0):
		return "setuid"
	case fi.UID != 0 && path.Base(b.Path) != "at":
		b.Vital = true
		return "owner"
	case b.Package == "iputils-ping" && path.Base(b.Path) == "ping" && fi.Mode&fs.ModeSetuid == 0 && c.pingClosed(b.Path):
		return "capability"
	}
	return ""
}

// pingClosed: ping works for users by setuid, by cap_net_raw on its file, or since Linux 3.0 where their group is in ping_group_range (icmp(7)).
func (c *programCheck) pingClosed(file string) bool {
	a, err := c.h.Attributes(file)
	if err != nil || a.Capabilities {
		return false
	}
	line, err := readLine(c.h, "/proc/sys/net/ipv4/ping_group_range")
	words := strings.Fields(line)
	if err != nil || len(words) != 2 {
		return false
	}
	low, err1 := strconv.ParseInt(words[0], 10, 64)
	high, err2 := strconv.ParseInt(words[1], 10, 64)
	return err1 == nil && err2 == nil && low > high
}

// replaced compares a program that is younger than its package's installation with its digest. Programs keep the date of their build, so
// few are.
func (c *programCheck) replaced(pkg, file string, fi *host.FileInfo) {
	if c.compared >= maxReplaced || slices.ContainsFunc(systemBinaries, func(b systemBinary) bool { return b.name == path.Base(file) }) {
		return // those are compared anyway
	}
	text, err := c.h.ReadFile(dpkgInfo + pkg + ".md5sums")
	for _, arch := range []string{":amd64", ":arm64"} {
		if err != nil {
			text, err = c.h.ReadFile(dpkgInfo + pkg + arch + ".md5sums")
		}
	}
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok || "/"+name != file {
			continue
		}
		c.compared++
		if is, err := c.h.MD5(file); err == nil && is != sum {
			c.f.Changed.All = append(c.f.Changed.All, changedBinary{file, pkg, max(0, c.h.Now().Sub(fi.ModTime))})
		}
		return
	}
}

// stranger checks a program of which no package's list tells.
func (c *programCheck) stranger(file string) {
	fi, err := c.h.Stat(file)
	if err != nil || !fi.Mode.IsRegular() {
		return
	}
	b := brokenProgram{Path: file, GoodMode: "0755", Mode: octal(fi.Mode), UID: fi.UID, Vital: true}
	name := path.Base(file)
	switch bits := fi.Mode & (fs.ModeSetuid | fs.ModeSetgid); {
	case fi.Size == 0:
		b.Kind = "empty"
	case fi.Mode.Perm()&0o111 == 0:
		b.Kind = "exec"
	case fi.Mode.Perm()&0o002 != 0:
		b.Kind = "writable"
	case slices.Contains([]string{"sudo", "su", "passwd"}, name) && (bits == 0 || fi.UID != 0):
		b.Kind, b.GoodMode = "setuid", "4755"
	case fi.UID != 0:
		b.Kind = "owner"
	default:
		return
	}
	c.add(b)
}

// alternatives looks for links of /etc/alternatives to programs that are gone; manual pages are left out of many images on purpose.
func (c *programCheck) alternatives() {
	entries, err := c.h.ReadDir("/etc/alternatives")
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Type&fs.ModeSymlink == 0 || strings.HasSuffix(e.Name, ".gz") {
			continue
		}
		file := "/etc/alternatives/" + e.Name
		if _, err := c.h.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		target, err := c.h.Readlink(file)
		if err == nil && (strings.Contains(target, "/bin/") || strings.Contains(target, "/sbin/")) {
			c.add(brokenProgram{Path: file, Kind: "alternative", Target: target})
		}
	}
}

// add keeps one of those in a directory that have the same trouble.
func (c *programCheck) add(b brokenProgram) {
	for i := range c.f.Broken.All {
		if one := &c.f.Broken.All[i]; one.Kind == b.Kind && path.Dir(one.Path) == path.Dir(b.Path) && one.Vital == b.Vital && b.Kind != "setuid" {
			one.More++
			return
		}
	}
	c.f.Broken.All = append(c.f.Broken.All, b)
}

// octal writes a mode as chmod(1) takes it.
func octal(m fs.FileMode) string {
	bits := m.Perm()
	for flag, bit := range map[fs.FileMode]fs.FileMode{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

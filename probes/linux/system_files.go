package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// SystemFiles reads the state of the files without which a host does not boot or let anyone in.
var SystemFiles = probes.Define(probes.Probe[host.Host]{
	Name: "system_files",
	Doc: `Key system files

Looks at the mode, owner and line ends of the files under /etc that booting and logging in need (accounts, fstab, name service,
PAM, profile, sudoers, sysctl, sshd), and whether PAM files include others that are missing. Costs about 1 ms, and 20 ms where
ld.so.preload names a library, which is then looked for in the lists of all packages. Which modes are
right is a matter of the distribution: only what opens a file to those who must not write (or read) it, or closes it to those who
must read it, is called wrong.`,
	Every: 5 * time.Minute,
}, systemFiles)

type systemFilesFacts struct {
	Files   probes.Cut[fileFacts] `fact:"files" doc:"Key files that exist, and those that must and do not"`
	Preload []preloadFile         `fact:"preload" doc:"Libraries that /etc/ld.so.preload loads into every program; most hosts have none"`
}

type fileFacts struct {
	Path     string             `fact:"path,key" doc:"Its path"`
	Exists   bool               `fact:"exists" doc:"It is there"`
	Required bool               `fact:"required" doc:"A host of this kind needs it"`
	NeededBy string             `fact:"needed_by" doc:"What needs it: the file that includes it, or a word; empty if nothing does"`
	Mode     string             `fact:"mode" doc:"Permission bits: \"0644\"; empty if it does not exist"`
	UID      probes.Opt[int]    `fact:"uid" unit:"uid" doc:"Owner; absent if it does not exist"`
	GID      probes.Opt[int]    `fact:"gid" unit:"gid" doc:"Group; absent if it does not exist"`
	Empty    probes.Opt[bool]   `fact:"empty" doc:"It has no content; absent if it does not exist"`
	CRLF     probes.Opt[bool]   `fact:"crlf" doc:"A line ends in CR LF; absent if it does not exist"`
	Problem  probes.Opt[string] `fact:"problem" doc:"What is wrong with its mode or owner; empty if nothing is, absent if it does not exist"`
	GoodMode string             `fact:"good_mode" doc:"With problem: the mode it should have"`
}

type preloadFile struct {
	Path     string           `fact:"path,key" doc:"The library"`
	Exists   probes.Opt[bool] `fact:"exists" doc:"It is there; if not, every program complains"`
	Packaged probes.Opt[bool] `fact:"packaged" doc:"A package of dpkg's brought it; absent if it is not there, or on a host without dpkg"`
}

// keyFile is what a file must be. Debian's shadow is 0640 root:shadow, RHEL's 0000; both are fine.
type keyFile struct {
	path     string
	required bool
	readable bool   // everyone must be able to read it
	secret   bool   // others must not
	good     string // a mode that is right everywhere
}

var keyFiles = []keyFile{
	{path: "/etc/passwd", required: true, readable: true, good: "0644"},
	{path: "/etc/group", required: true, readable: true, good: "0644"},
	{path: "/etc/shadow", required: true, secret: true, good: "0600"},
	{path: "/etc/gshadow", secret: true, good: "0600"},
	{path: "/etc/nsswitch.conf", readable: true, good: "0644"},
	{path: "/etc/hosts", readable: true, good: "0644"},
	{path: "/etc/fstab", good: "0644"},
	{path: "/etc/profile", good: "0644"},
	{path: "/etc/bash.bashrc", good: "0644"},
	{path: "/etc/bashrc", good: "0644"},
	{path: "/etc/environment", good: "0644"},
	{path: "/etc/login.defs", good: "0644"},
	{path: "/etc/shells", good: "0644"},
	{path: "/etc/securetty", good: "0600"},
	{path: "/etc/security/limits.conf", good: "0644"},
	{path: "/etc/security/access.conf", good: "0644"},
	{path: "/etc/sudoers", good: "0440"},
	{path: "/etc/sysctl.conf", good: "0644"},
	{path: "/etc/crontab", good: "0644"},
	{path: "/etc/ld.so.conf", good: "0644"},
	{path: "/etc/ld.so.preload", good: "0644"},
	{path: "/etc/ssh/sshd_config", good: "0600"},
	{path: "/etc/systemd/system.conf", good: "0644"},
	{path: "/etc/default/grub", good: "0644"},
}

// keyDirs hold further files that are read one by one; those of packages' backups are not.
var keyDirs = []string{"/etc/pam.d", "/etc/profile.d", "/etc/sudoers.d", "/etc/sysctl.d", "/etc/security/limits.d", "/etc/ssh/sshd_config.d"}

// maxKeyDir bounds what is read of one directory; Debian's /etc/pam.d has about 25 files.
const maxKeyDir = 100

func systemFiles(ctx context.Context, h host.Host) (systemFilesFacts, error) {
	var f systemFilesFacts
	if _, err := h.Stat("/etc"); err != nil {
		return f, fmt.Errorf("looking at the key files: %w", err)
	}
	list := slices.Clone(keyFiles)
	for _, dir := range keyDirs {
		entries, err := h.ReadDir(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // not every host has it; without root /etc/sudoers.d may be closed
				f.Files.More++
				f.Files.Why = err.Error()
			}
			continue
		}
		if len(entries) > maxKeyDir {
			f.Files.More += len(entries) - maxKeyDir
			entries = entries[:maxKeyDir]
		}
		for _, e := range entries {
			if !e.Type.IsDir() && !strings.HasSuffix(e.Name, "~") && !strings.Contains(e.Name, ".dpkg-") && !strings.Contains(e.Name, ".rpm") {
				list = append(list, keyFile{path: dir + "/" + e.Name, good: goodMode(dir)})
			}
		}
	}
	if i := slices.IndexFunc(list, func(k keyFile) bool { return k.path == "/etc/sudoers" }); isThere(h, "/usr/bin/sudo") {
		list[i].required = true
	}
	for _, k := range list {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		if facts, ok := k.look(h, &f); ok {
			f.Files.All = append(f.Files.All, facts)
		}
	}
	return f, nil
}

func goodMode(dir string) string {
	if dir == "/etc/sudoers.d" {
		return "0440"
	}
	return "0644"
}

// look reads one file; it is told of only if it is there or must be.
func (k *keyFile) look(h host.Files, f *systemFilesFacts) (fileFacts, bool) {
	facts := fileFacts{Path: k.path, Required: k.required}
	if k.required {
		facts.NeededBy = "every login"
		if k.path == "/etc/sudoers" {
			facts.NeededBy = "sudo"
		}
	}
	fi, err := h.Stat(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return facts, k.required
	}
	facts.Exists = true
	if err != nil {
		facts.Problem = probes.Unread[string](err.Error())
		facts.UID, facts.GID = probes.Unread[int](err.Error()), probes.Unread[int](err.Error())
		facts.Empty, facts.CRLF = probes.Unread[bool](err.Error()), probes.Unread[bool](err.Error())
		return facts, true
	}
	facts.Mode = fmt.Sprintf("%04o", fi.Mode.Perm())
	facts.UID, facts.GID, facts.Empty = probes.Some(fi.UID), probes.Some(fi.GID), probes.Some(fi.Size == 0)
	problem := k.problem(&fi)
	facts.Problem = probes.Some(problem)
	if problem != "" {
		facts.GoodMode = k.good
	}
	b, err := h.ReadFile(k.path)
	if err != nil {
		facts.CRLF = probes.Unread[bool](err.Error())
		return facts, true
	}
	facts.CRLF = probes.Some(bytes.Contains(b, []byte("\r\n")))
	switch {
	case k.path == "/etc/ld.so.preload":
		f.preload(h, string(b))
	case strings.HasPrefix(k.path, "/etc/pam.d/"):
		f.includes(h, k.path, string(b))
	}
	return facts, true
}

func (k *keyFile) problem(fi *host.FileInfo) string {
	switch perm := fi.Mode.Perm(); {
	case !fi.Mode.IsRegular():
		return "not a regular file"
	case fi.UID != 0:
		return "not owned by root"
	case perm&0o002 != 0:
		return "everyone may write it"
	case perm&0o020 != 0 && fi.GID != 0:
		return "a group other than root's may write it"
	case k.secret && perm&0o004 != 0:
		return "everyone may read it"
	case k.readable && perm&0o044 != 0o044:
		return "not everyone may read it"
	}
	return ""
}

// preload reads ld.so.preload: names between white space or colons, # begins a comment (ld.so(8)).
func (f *systemFilesFacts) preload(h host.Files, text string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for _, name := range strings.FieldsFunc(line, func(r rune) bool { return r == ':' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
			lib := preloadFile{Path: name}
			if strings.HasPrefix(name, "/") && !strings.Contains(name, "$") { // $LIB and plain names are searched for
				lib.Exists = exists(h, name)
				if there, _ := lib.Exists.Get(); there {
					lib.Packaged = packaged(h, name)
				}
			}
			f.Preload = append(f.Preload, lib)
		}
	}
}

// packaged looks for a file in dpkg's lists of what each package brought. Where /lib is a link to /usr/lib a list may have either name.
func packaged(h host.Files, name string) probes.Opt[bool] {
	entries, err := h.ReadDir(dpkgInfo)
	if errors.Is(err, fs.ErrNotExist) {
		return probes.None[bool]()
	}
	if err != nil {
		return probes.Unread[bool](err.Error())
	}
	short := strings.TrimPrefix(path.Clean(name), "/usr")
	one, other := []byte("\n"+short+"\n"), []byte("\n/usr"+short+"\n")
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, ".list") {
			continue
		}
		b, err := h.ReadFile(dpkgInfo + e.Name)
		if err != nil {
			return probes.Unread[bool](err.Error())
		}
		if bytes.Contains(b, one) || bytes.Contains(b, other) {
			return probes.Some(true)
		}
	}
	return probes.Some(false)
}

// includes adds the files that a PAM file wants and that are not there: @include NAME, or TYPE include|substack NAME (pam.d(5)).
func (f *systemFilesFacts) includes(h host.Files, from, text string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		name := ""
		switch {
		case len(fields) >= 2 && fields[0] == "@include":
			name = fields[1]
		case len(fields) >= 3 && !strings.HasPrefix(fields[0], "-") && !strings.HasPrefix(fields[0], "#") && (fields[1] == "include" || fields[1] == "substack"):
			name = fields[2]
		default:
			continue
		}
		file := name
		if !strings.HasPrefix(name, "/") {
			file = "/etc/pam.d/" + name
		}
		if there, known := exists(h, file).Get(); !known || there || slices.ContainsFunc(f.Files.All, func(ff fileFacts) bool { return ff.Path == file }) {
			continue
		}
		f.Files.All = append(f.Files.All, fileFacts{Path: file, Required: true, NeededBy: from})
	}
}

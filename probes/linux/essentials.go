package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Essentials looks at what every program takes for granted.
var Essentials = probes.Define(probes.Probe[host.Host]{
	Name: "essentials",
	Doc: `What every program takes for granted

Looks at the device nodes that everybody uses (/dev/null and its like), the directories that all share (/, /tmp, /var/tmp, /dev/shm) or pass through (/etc, /usr, /var, …), the
dynamic loader, sshd's program, those that need to be set-uid, and the attributes that keep even root from changing the account files (chattr(1)). Costs 0.1 ms.`,
	Every: 5 * time.Minute,
}, essentials)

type essentialsFacts struct {
	Devices     []deviceNode     `fact:"devices" doc:"/dev/null, zero, full, random, urandom, tty"`
	Directories []sharedDir      `fact:"directories" doc:"/, /tmp, /var/tmp, /dev/shm, /etc, /usr, /usr/bin, /usr/lib, /usr/share, /var, /var/lib, /run, /home, /dev, those of them that exist"`
	Loaders     []loaderFile     `fact:"loaders" doc:"The dynamic loaders that this distribution has or ought to have"`
	SSHD        probes.Opt[bool] `fact:"sshd_missing" doc:"An SSH server is enabled and its program is not there; absent where none is enabled"`
	Setuid      []setuidProgram  `fact:"setuid" doc:"sudo and su, which are set-uid root"`
	Attributes  []fileAttributes `fact:"attributes" doc:"Account files and root's keys: whether they may be changed at all"`
}

type deviceNode struct {
	Path    string `fact:"path,key" doc:"The device"`
	Problem string `fact:"problem" doc:"What is wrong with it; empty if nothing is"`
	Mode    string `fact:"mode" doc:"Permission bits: \"0666\"; empty if it does not exist"`
}

type sharedDir struct {
	Path    string `fact:"path,key" doc:"The directory"`
	Problem string `fact:"problem" doc:"What is wrong with it; empty if nothing is"`
	Mode    string `fact:"mode" doc:"Permission bits with the sticky one: \"1777\""`
	Good    string `fact:"good_mode" doc:"The mode that it should have"`
	UID     int    `fact:"uid" unit:"uid" doc:"Owner"`
	Locked  bool   `fact:"locked" doc:"Others than root cannot use it"`
}

type setuidProgram struct {
	Path   string `fact:"path,key" doc:"The program"`
	Nosuid string `fact:"nosuid_mount" doc:"The mount point whose option nosuid takes root's rights from it; empty if none does"`
}

type loaderFile struct {
	Path   string `fact:"path,key" doc:"The loader, which nearly every program names"`
	Exists bool   `fact:"exists" doc:"It is there, and so is what it links to"`
}

type fileAttributes struct {
	Path       string           `fact:"path,key" doc:"The file"`
	Immutable  probes.Opt[bool] `fact:"immutable" doc:"Nobody may change, replace or delete it (chattr +i); absent where the file system has no attributes"`
	AppendOnly probes.Opt[bool] `fact:"append_only" doc:"It may only grow (chattr +a)"`
	Mounted    probes.Opt[bool] `fact:"mounted" doc:"Something is mounted on the file itself: it cannot be replaced, which is how passwords and accounts are changed. Absent if not"`
}

func essentials(_ context.Context, h host.Host) (essentialsFacts, error) {
	f := essentialsFacts{Devices: []deviceNode{}, Directories: []sharedDir{}, Loaders: []loaderFile{}, Attributes: []fileAttributes{}}
	if _, err := h.Stat("/"); err != nil {
		return f, err
	}
	for _, name := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"} {
		if err := f.device(h, name); err != nil {
			return f, err
		}
	}
	for _, name := range []string{"/", "/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr", "/usr/bin", "/usr/lib", "/usr/share", "/var", "/var/lib", "/run", "/home", "/dev"} {
		if err := f.directory(h, name); err != nil {
			return f, err
		}
	}
	f.dockerSocket(h)
	f.loaders(h)
	f.SSHD = sshdMissing(h)
	f.setuid(h)
	for _, name := range []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/root/.ssh", "/root/.ssh/authorized_keys"} {
		f.attributes(h, name)
	}
	return f, nil
}

// setuid looks at where the programs lie that give their users root's rights; their modes are binaries.broken's.
func (f *essentialsFacts) setuid(h host.Files) {
	f.Setuid = []setuidProgram{}
	mounts, err := h.ReadFile("/proc/self/mountinfo")
	for _, name := range []string{"/usr/bin/sudo", "/usr/bin/su", "/bin/su"} {
		fi, err2 := h.Lstat(name)
		if err == nil && err2 == nil && fi.Mode.IsRegular() && fi.Mode&fs.ModeSetuid != 0 {
			f.Setuid = append(f.Setuid, setuidProgram{name, nosuidMount(string(mounts), name)})
		}
	}
}

// nosuidMount is the mount point over a file if it has the option nosuid.
func nosuidMount(mounts, name string) string {
	at, options := "", ""
	for line := range strings.Lines(mounts) {
		w := strings.SplitN(line, " ", 7)
		if len(w) == 7 && (w[4] == "/" || strings.HasPrefix(name, w[4]+"/")) && len(w[4]) >= len(at) {
			at, options = w[4], w[5]
		}
	}
	if slices.Contains(strings.Split(options, ","), "nosuid") {
		return at
	}
	return ""
}

// sshdMissing looks for the program that the enabled unit of the SSH server starts. What a drop-in makes of that is not followed.
func sshdMissing(h host.Files) probes.Opt[bool] {
	for _, unit := range []string{"ssh.service", "sshd.service"} {
		text, err := h.ReadFile("/etc/systemd/system/multi-user.target.wants/" + unit)
		if err != nil || isThere(h, "/etc/systemd/system/"+unit+".d") {
			continue // not enabled, or its package is gone and has left the link
		}
		for line := range strings.Lines(string(text)) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=")
			words := strings.Fields(strings.TrimLeft(command, "-@:+!"))
			if !ok || len(words) == 0 || !strings.HasPrefix(words[0], "/") {
				continue
			}
			there, known := exists(h, words[0]).Get()
			if !known {
				return probes.Unread[bool]("looking for " + words[0])
			}
			return probes.Some(!there)
		}
	}
	return probes.None[bool]()
}

// device looks at a node. A file in the place of /dev/null is what `mv x /dev/null` as root leaves; /dev/full is missing in some containers.
func (f *essentialsFacts) device(h host.Files, name string) error {
	d := deviceNode{Path: name}
	fi, err := h.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (name == "/dev/full" || name == "/dev/tty"):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		d.Problem = "it does not exist"
	case err != nil:
		return err
	default:
		d.Mode = fmt.Sprintf("%04o", fi.Mode.Perm())
		switch {
		case fi.Mode&fs.ModeCharDevice == 0:
			d.Problem = "it is no device"
		case fi.Mode.Perm()&0o006 != 0o006 && name != "/dev/random" && name != "/dev/urandom" && name != "/dev/tty":
			d.Problem = "not everybody may read and write it"
		case fi.Mode.Perm()&0o004 == 0:
			d.Problem = "not everybody may read it"
		}
	}
	f.Devices = append(f.Devices, d)
	return nil
}

func (f *essentialsFacts) directory(h host.Files, name string) error {
	good := "01777"
	if name == "/" || isPassage(name) {
		good = "0755"
	}
	fi, err := h.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && name != "/tmp" {
		return nil
	}
	d := sharedDir{Path: name, Good: good}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.Problem, d.Locked = "it does not exist", true
	case err != nil:
		return err
	default:
		d.UID = fi.UID
		perm, sticky := fi.Mode.Perm(), fi.Mode&fs.ModeSticky != 0
		d.Mode = fmt.Sprintf("%04o", perm)
		if sticky {
			d.Mode = fmt.Sprintf("1%03o", perm)
		}
		d.Problem, d.Locked = dirProblem(name, &fi, sticky)
	}
	f.Directories = append(f.Directories, d)
	return nil
}

// dockerSocket: who is in the group docker, if there is one, is to use it. dockerd makes the socket so at each start.
func (f *essentialsFacts) dockerSocket(h host.Files) {
	const name = "/run/docker.sock"
	fi, err := h.Stat(name)
	groups, _, groupErr := readColons(h, "/etc/group", 4)
	if err != nil || groupErr != nil || fi.Mode.Type() != fs.ModeSocket {
		return
	}
	for _, g := range groups {
		if g[0] != "docker" || g[3] == "" || fmt.Sprint(fi.GID) == g[2] && fi.Mode.Perm()&0o060 == 0o060 || fi.Mode.Perm()&0o006 == 0o006 {
			continue
		}
		f.Directories = append(f.Directories, sharedDir{
			Path: name, Mode: octal(fi.Mode), UID: fi.UID, Good: "0660",
			Problem: fmt.Sprintf("it belongs to group %d, and the group docker (%s) may not use it", fi.GID, g[3]),
		})
	}
}

// isPassage tells directories that everybody only passes through; what lies in them has modes of its own.
func isPassage(name string) bool {
	return name != "/" && !strings.HasSuffix(name, "tmp") && name != "/dev/shm"
}

func dirProblem(name string, fi *host.FileInfo, sticky bool) (problem string, locked bool) {
	perm := fi.Mode.Perm()
	switch {
	case !fi.Mode.IsDir():
		return "it is no directory", true
	case (name == "/" || isPassage(name)) && perm&0o001 == 0:
		return "only root may enter it", true
	case (name == "/" || isPassage(name)) && perm&0o002 != 0 && !sticky:
		return "everybody may write it", false
	case name == "/" && fi.UID != 0:
		return "it does not belong to root", false // sshd then believes no keys: safe_path of misc.c
	case isPassage(name) || name == "/":
	case perm&0o003 != 0o003:
		return "not everybody may write it", true
	case !sticky:
		return "everybody may delete the files of others: the sticky bit is missing", false
	}
	return "", false
}

// dynamicLoader is a dynamic loader, and the C library that comes with it.
type dynamicLoader struct {
	path      string
	libraries []string
}

// dynamicLoaders are the names that programs ask for (the ABI's documents), and where distributions keep the library.
var dynamicLoaders = []dynamicLoader{
	{"/lib64/ld-linux-x86-64.so.2", []string{"/usr/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"}},
	{"/lib/ld-linux-aarch64.so.1", []string{"/usr/lib/aarch64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"}},
}

// loaders looks for the loader of each C library that is there. RHEL keeps libraries of every architecture in /lib64: nothing is said of it
// unless its loader is found.
func (f *essentialsFacts) loaders(h host.Files) {
	for _, l := range dynamicLoaders {
		there, known := exists(h, l.path).Get()
		if known && (there || slices.ContainsFunc(l.libraries, func(name string) bool { return isThere(h, name) })) {
			f.Loaders = append(f.Loaders, loaderFile{l.path, there})
		}
	}
}

func (f *essentialsFacts) attributes(h host.Files, name string) {
	a, err := h.Attributes(name)
	mounts, _ := h.ReadFile("/proc/self/mountinfo")
	facts := fileAttributes{Path: name, Immutable: probes.Some(a.Immutable), AppendOnly: probes.Some(a.AppendOnly)}
	if strings.HasPrefix(name, "/etc/") && strings.Contains(string(mounts), " "+name+" ") {
		facts.Mounted = probes.Some(true)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ELOOP): // a symbolic link
		return
	case errors.Is(err, host.ErrUnsupported):
		facts.Immutable, facts.AppendOnly = probes.None[bool](), probes.None[bool]()
	case err != nil:
		facts.Immutable, facts.AppendOnly = probes.Unread[bool](err.Error()), probes.Unread[bool](err.Error())
	}
	f.Attributes = append(f.Attributes, facts)
}

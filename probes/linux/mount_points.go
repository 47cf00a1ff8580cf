package linux

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// MountPoints looks for mounts that hide something or keep programs from what they need.
var MountPoints = probes.Define(probes.Probe[host.Host]{
	Name: "mount_points",
	Doc: `Mounts that are in the way

Reads /proc/self/mountinfo for mounts that lie over others, and for options (noexec, nosuid, nodev, ro) that keep from working what lies there. Of a mount
that neither /etc/fstab nor a unit asks for, outside /mnt, /media, /run and what container runtimes keep, it looks what the mount point holds
without it: open_tree(2) clones the mount below for that, and nobody else sees the clone. Where a data file system is mounted noexec, the commands of
units in /etc/systemd/system and of crontabs are looked through for programs on it. Costs 0.2 ms on most hosts, and 0.1 ms for each mount that was made by hand.`,
	Every: time.Minute,
}, mountPoints)

type mountPointsFacts struct {
	Hiding []hidingMount `fact:"hiding" doc:"Mounts that hide what is at their place"`
	Barred []barredPath  `fact:"barred" doc:"What a mount's options keep from working"`
}

type hidingMount struct {
	Mount  string           `fact:"mount,key" doc:"Where it is mounted"`
	Device string           `fact:"device" doc:"What is mounted: /dev/vdc1, tmpfs, or the directory of a bind mount"`
	FSType string           `fact:"fstype" doc:"ext4, tmpfs, …"`
	Hides  string           `fact:"hides" doc:"What it hides, for people: the file system /dev/vdb on /data, or the first names in the directory"`
	Over   string           `fact:"over" doc:"mount: it lies over another file system; directory: over a directory that is not empty; file: over a file"`
	Asked  bool             `fact:"asked" doc:"/etc/fstab or a unit asks for it"`
	Empty  probes.Opt[bool] `fact:"empty" doc:"It holds nothing itself"`
	Fitted bool             `fact:"fitted" doc:"It holds something, and its directory has the mode of the one below and an owner other than root: somebody prepared it to take that one's place"`
}

type barredPath struct {
	Path   string             `fact:"path,key" doc:"The program or directory"`
	Mount  string             `fact:"mount" doc:"The mount that it lies on"`
	Option string             `fact:"option" doc:"noexec: it cannot be run; nosuid: it runs without its owner's rights; nodev: it is no device there; ro: it cannot be written"`
	By     string             `fact:"by" doc:"Who needs it: a unit, a crontab and line, or a word"`
	Unit   probes.Opt[string] `fact:"unit" doc:"The unit, if it is one"`
}

func mountPoints(_ context.Context, h host.Host) (mountPointsFacts, error) {
	f := mountPointsFacts{Hiding: []hidingMount{}, Barred: []barredPath{}}
	all, err := readAllMounts(h)
	if err != nil {
		return f, err
	}
	t := newMountTable(h, all)
	for i := range all {
		t.hides(&f, &all[i])
	}
	for i := range t.visible {
		t.bars(&f, t.visible[i])
	}
	return f, nil
}

// mountTable is what is mounted, and what was asked for.
type mountTable struct {
	h       host.Host
	all     []mount
	visible []*mount
	on      map[[2]string]*mount // by parent and place
	fstab   map[string]bool
}

func newMountTable(h host.Host, all []mount) *mountTable {
	t := &mountTable{h: h, all: all, on: make(map[[2]string]*mount, len(all)), fstab: map[string]bool{}}
	for i := range all {
		t.on[[2]string{all[i].parent, all[i].point}] = &all[i]
	}
	if text, err := h.ReadFile(fstabFile); err == nil {
		for _, e := range parseFstab(string(text)).Entries {
			t.fstab[e.Mount] = true
		}
	}
	for i := range all {
		if t.cover(&all[i]) == nil {
			t.visible = append(t.visible, &all[i])
		}
	}
	return t
}

// cover is the mount that hides another: it lies on it at the same place, or on the directory that its place is in.
func (t *mountTable) cover(m *mount) *mount {
	if c := t.on[[2]string{m.id, m.point}]; c != nil && c.id != m.id {
		return c
	}
	for dir := path.Dir(m.point); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if c := t.on[[2]string{m.parent, dir}]; c != nil {
			return c
		}
	}
	return nil
}

// elsewhere are places at which runtimes, the system and people mount as it suits them, and nothing is meant to be found below.
var elsewhere = []string{
	"/proc", "/sys", "/dev", "/run", "/mnt", "/media", "/snap", "/boot", "/efi", "/var/run", "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/kubelet",
	"/var/lib/lxc", "/var/lib/lxd", "/var/lib/lxcfs", "/var/lib/incus", "/var/lib/nfs", "/var/snap", "/var/lib/snapd", "/var/lib/machines", "/var/lib/libvirt", "/tmp", "/var/tmp",
	"/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/machine-id", "/etc/mtab",
}

func within(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

func isElsewhere(point string) bool {
	return point == "/" || slices.ContainsFunc(elsewhere, func(dir string) bool { return within(point, dir) })
}

// hides looks whether a mount hides another file system, or what is at its place.
func (t *mountTable) hides(f *mountPointsFacts, m *mount) {
	if isElsewhere(m.point) || m.fstype == "autofs" {
		return
	}
	if c := t.cover(m); c != nil {
		// A directory that is mounted on itself shows the same.
		if holdsFiles(m) && t.cover(c) == nil && (c.dev != m.dev || c.root != m.root) && c.fstype != "autofs" && !isElsewhere(c.point) {
			over := t.describe(c)
			over.Over, over.Hides = "mount", m.source+" on "+m.point
			f.add(&over)
		}
		return
	}
	if t.asked(m.point) || strings.HasPrefix(m.fstype, "fuse") || slices.Contains(networkTypes, m.fstype) || m.fstype == "overlay" {
		return
	}
	if parent := t.holder(path.Dir(m.point)); parent == nil || !holdsFiles(parent) && parent.fstype != "overlay" || isFUSE(parent) || slices.Contains(networkTypes, parent.fstype) {
		return
	} else if parent.dev == m.dev && path.Join(parent.root, strings.TrimPrefix(m.point, strings.TrimSuffix(parent.point, "/"))) == m.root {
		return // on itself, with other options
	}
	below, err := t.h.Beneath(m.point)
	if err != nil {
		return // this kernel, or the container, does not let us
	}
	names := slices.DeleteFunc(below.Entries, func(s string) bool {
		return s == "lost+found" || strings.HasPrefix(s, ".nfs") || s == ".keep" || s == ".gitkeep"
	})
	d := t.describe(m)
	switch {
	case below.Mode.IsDir() && len(names) > 0:
		d.Over, d.Hides = "directory", strings.Join(names[:min(len(names), 5)], ", ")
		fi, err := t.h.Stat(m.point)
		d.Fitted = err == nil && fi.UID != 0 && fi.Mode.Perm() == below.Mode.Perm() && d.Empty == probes.Some(false)
	case below.Mode.IsRegular() && below.Size > 0:
		d.Over, d.Hides = "file", "the file "+m.point
	default:
		return
	}
	f.add(&d)
}

func (f *mountPointsFacts) add(d *hidingMount) {
	if !slices.ContainsFunc(f.Hiding, func(h hidingMount) bool { return h.Mount == d.Mount }) {
		f.Hiding = append(f.Hiding, *d)
	}
}

func (t *mountTable) describe(m *mount) hidingMount {
	d := hidingMount{Mount: m.point, Device: m.source, FSType: m.fstype, Asked: t.asked(m.point), Empty: t.empty(m.point)}
	if m.root != "/" {
		d.Device = m.root + " of " + m.source
	}
	return d
}

// empty tells whether there is nothing at a place: a directory without entries, a file without content, a device.
func (t *mountTable) empty(name string) probes.Opt[bool] {
	fi, err := t.h.Stat(name)
	if err != nil {
		return probes.Unread[bool](err.Error())
	}
	if !fi.Mode.IsDir() {
		return probes.Some(fi.Size == 0 || !fi.Mode.IsRegular())
	}
	entries, err := t.h.ReadDir(name)
	if err != nil {
		return probes.Unread[bool](err.Error())
	}
	return probes.Some(!slices.ContainsFunc(entries, func(e host.DirEntry) bool { return e.Name != "lost+found" }))
}

// asked reports whether fstab or a unit mounts something there.
func (t *mountTable) asked(point string) bool {
	if t.fstab[point] {
		return true
	}
	unit := unitOfPath(point) + ".mount"
	return slices.ContainsFunc([]string{"/etc/systemd/system/", "/run/systemd/generator/", "/run/systemd/transient/", "/usr/lib/systemd/system/", "/lib/systemd/system/"}, func(dir string) bool {
		return isThere(t.h, dir+unit)
	})
}

// unitOfPath is systemd-escape --path.
func unitOfPath(name string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i, c := range []byte(strings.Trim(name, "/")) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == ':' || c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.WriteString(`\x` + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return b.String()
}

// holder is the mount that a path lies on.
func (t *mountTable) holder(name string) *mount {
	var best *mount
	for _, m := range t.visible {
		if (m.point == "/" || within(name, m.point)) && (best == nil || len(m.point) >= len(best.point)) {
			best = m
		}
	}
	return best
}

// bars looks what the options of a mount keep from working.
func (t *mountTable) bars(f *mountPointsFacts, m *mount) {
	has := func(option string) bool {
		return slices.Contains(m.options, option) || option == "ro" && slices.Contains(m.super, option)
	}
	if has("nosuid") {
		for _, name := range []string{"/usr/bin/sudo", "/usr/bin/su", "/usr/bin/passwd"} {
			if fi, err := t.h.Stat(name); err == nil && fi.Mode&fs.ModeSetuid != 0 && t.holder(name) == m {
				f.Barred = append(f.Barred, barredPath{Path: name, Mount: m.point, Option: "nosuid", By: "everybody who is to become root"})
				break
			}
		}
	}
	if fi, err := t.h.Stat("/dev/null"); has("nodev") && err == nil && fi.Mode&fs.ModeCharDevice != 0 && t.holder("/dev/null") == m {
		f.Barred = append(f.Barred, barredPath{Path: "/dev/null", Mount: m.point, Option: "nodev", By: "every program"})
	}
	if has("noexec") && !isElsewhere(m.point) {
		t.barsPrograms(f, m)
	}
	if has("ro") && !t.fstab[m.point] { // what fstab wants writable is the matter of the probe filesystems
		t.barsDirectories(f, m)
	}
}

const maxServiceDirectories = 200 // entries of /var/lib that are looked at

// writable are directories that the system itself, or nearly every service, writes. Not /usr and /etc: there are hosts that are never written there.
var writable = []string{"/tmp", "/var/tmp", "/var/log", "/var/lib", "/var/spool", "/run", "/dev/shm", "/var/cache"}

// barsDirectories looks at a read-only mount by hand: it must not be what programs write, the account of a service (its home) for one. A root file system that is
// never written is somebody's choice, and one that became so the business of the probe filesystems.
func (t *mountTable) barsDirectories(f *mountPointsFacts, m *mount) {
	if slices.Contains(imageTypes, m.fstype) || m.point == "/" || m.fstype == "autofs" {
		return
	}
	i := slices.Index(writable, m.point)
	if i >= 0 {
		f.Barred = append(f.Barred, barredPath{Path: m.point, Mount: m.point, Option: "ro", By: "every program"})
		return
	}
	for _, d := range serviceDirectories(t.h) {
		if within(d.path, m.point) {
			f.Barred = append(f.Barred, barredPath{Path: d.path, Mount: m.point, Option: "ro", By: d.by})
			return
		}
	}
}

// serviceDirectory is a directory in /var/lib that a service writes.
type serviceDirectory struct{ path, by string }

// serviceDirectories are the homes that accounts have in /var/lib, and what there is not root's: MariaDB's account has no home.
func serviceDirectories(h host.Host) (list []serviceDirectory) {
	names := map[int]string{}
	passwd, _ := h.ReadFile("/etc/passwd") // without it, owners go by their numbers
	for line := range strings.Lines(string(passwd)) {
		fields := strings.Split(line, ":")
		if len(fields) < 7 {
			continue
		}
		if uid, err := strconv.Atoi(fields[2]); err == nil {
			names[uid] = "the account " + fields[0]
		}
		if home := path.Clean(fields[5]); strings.HasPrefix(home, "/var/lib/") && isThere(h, home) {
			list = append(list, serviceDirectory{home, "the account " + fields[0]})
		}
	}
	entries, _ := h.ReadDir("/var/lib")
	for _, e := range entries[:min(len(entries), maxServiceDirectories)] {
		name := "/var/lib/" + e.Name
		if !e.Type.IsDir() || slices.ContainsFunc(list, func(d serviceDirectory) bool { return d.path == name }) {
			continue
		}
		if fi, err := h.Stat(name); err == nil && fi.UID != 0 {
			list = append(list, serviceDirectory{name, cmp.Or(names[fi.UID], "the user "+strconv.Itoa(fi.UID))})
		}
	}
	return list
}

// barsPrograms looks for commands of units and crontabs on a mount that nothing may be run from.
func (t *mountTable) barsPrograms(f *mountPointsFacts, m *mount) {
	entries, _ := t.h.ReadDir("/etc/systemd/system")
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".service") && e.Type.IsRegular() {
			t.barsCommands(f, m, "/etc/systemd/system/"+e.Name, e.Name)
		}
	}
	for _, dir := range []string{"/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron"} {
		tabs, _ := t.h.ReadDir(dir)
		for _, e := range tabs {
			if e.Type.IsRegular() {
				t.barsCommands(f, m, dir+"/"+e.Name, "")
			}
		}
	}
	t.barsCommands(f, m, "/etc/crontab", "")
}

func (t *mountTable) barsCommands(f *mountPointsFacts, m *mount, file, unit string) {
	text, err := t.h.ReadFile(file)
	if err != nil || !strings.Contains(string(text), m.point+"/") {
		return
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		command, ok := line, unit == ""
		if !ok {
			command, ok = strings.CutPrefix(line, "Exec") // ExecStart=, ExecStartPre=, ExecReload=, …
			_, command, _ = strings.Cut(command, "=")
			command = strings.TrimLeft(command, "-@:+!")
		} else if i := strings.Index(line, " /"); i >= 0 { // after the five fields and the user
			command = line[i+1:]
		}
		words := strings.Fields(command)
		if !ok || strings.HasPrefix(line, "#") || len(words) == 0 || t.holder(words[0]) != m || slices.ContainsFunc(f.Barred, func(b barredPath) bool { return b.Path == words[0] }) {
			continue
		}
		if fi, err := t.h.Stat(words[0]); errors.Is(err, fs.ErrNotExist) || err == nil && (!fi.Mode.IsRegular() || fi.Mode&0o111 == 0) {
			continue // it has another trouble
		}
		b := barredPath{Path: words[0], Mount: m.point, Option: "noexec", By: file}
		if unit != "" {
			b.By, b.Unit = unit, probes.Some(unit)
		}
		f.Barred = append(f.Barred, b)
	}
}

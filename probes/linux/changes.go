package linux

import (
	"cmp"
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

// Changes finds what was changed on the host of late.
var Changes = probes.Define(probes.Probe[host.Host]{
	Name: "changes",
	Doc: `What was changed of late

Reads the ends of the package managers' logs (dpkg, dnf, yum, zypper) and when the files were last written that decide how a host behaves:
unit files, accounts, sysctl, cron, SSH, PAM, fstab, names, network, and the settings of common servers. Costs 1 ms. A change of the
last 30 days is listed, the newest first; many packages at once are one row. Files are not opened: that one was written says not what was changed,
nor by whom, and one that was written with the same content counts. What was written in the five minutes around the making of the image or the
first boot (the times of machine-id and the SSH host keys) is not a change. What is changed at run time only (sysctl -w, ip route) leaves no trace.`,
	Every: 5 * time.Minute,
}, changes)

type changesFacts struct {
	Recent probes.Cut[change] `fact:"recent" doc:"Changes of the last 30 days, newest first, at most 40"`
}

type change struct {
	What   string        `fact:"what,key" doc:"kind and name: package nginx, key-file /etc/fstab; for packages by the dozen their number and when"`
	Kind   string        `fact:"kind" doc:"package, unit, key-file, sysctl, account, kernel, cron or config"`
	Name   string        `fact:"name" doc:"The package, unit or file"`
	Action string        `fact:"action" doc:"installed, upgraded, downgraded, removed, written or booted"`
	Age    time.Duration `fact:"age" doc:"How long ago"`
	Detail string        `fact:"detail" doc:"Versions, or the names of some of many packages; empty where there is no more to say"`
}

const (
	changesWindow = 30 * 24 * time.Hour
	maxChanges    = 40
	aroundBirth   = 5 * time.Minute
	// A log's tail of 128 KiB holds about 1,500 lines, which an upgrade of 250 packages writes to dpkg.log.
	changesTail = 128 << 10
	// Directories are listed no further than this; /etc/systemd/system of a host with many units has about 200 entries.
	maxChangeFiles = 400
)

func changes(_ context.Context, h host.Host) (changesFacts, error) {
	s := changeSearch{h: h, now: h.Now(), room: maxChangeFiles}
	s.births()
	for _, w := range watchedFiles {
		s.look(w.path, w.kind)
	}
	for _, log := range packageLogs {
		s.packages(log)
	}
	s.kernels()
	list := s.found
	slices.SortStableFunc(list, func(a, b change) int { return cmp.Compare(a.Age, b.Age) })
	seen := map[string]bool{}
	list = slices.DeleteFunc(list, func(c change) bool {
		again := seen[c.What]
		seen[c.What] = true
		return again
	})
	f := changesFacts{}
	f.Recent.More = max(0, len(list)-maxChanges)
	f.Recent.All = list[:min(len(list), maxChanges)]
	if s.err != nil {
		f.Recent.Why = s.err.Error()
		f.Recent.More += min(len(list), 1) // what could not be seen at all is unknown
	}
	return f, nil
}

// watchedFiles decide how a host behaves. A path that ends in / is a directory whose files count, and those of its directories.
var watchedFiles = []struct{ path, kind string }{
	{"/etc/systemd/system/", "unit"},
	{"/usr/local/lib/systemd/system/", "unit"},
	{"/etc/passwd", "account"},
	{"/etc/group", "account"},
	{"/etc/shadow", "account"},
	{"/etc/sudoers", "account"},
	{"/etc/sudoers.d/", "account"},
	{"/root/.ssh/authorized_keys", "account"},
	{"/etc/sysctl.conf", "sysctl"},
	{"/etc/sysctl.d/", "sysctl"},
	{"/etc/crontab", "cron"},
	{"/etc/cron.d/", "cron"},
	{"/var/spool/cron/", "cron"},
	{"/etc/ssh/sshd_config", "key-file"},
	{"/etc/ssh/sshd_config.d/", "key-file"},
	{"/etc/fstab", "key-file"},
	{"/etc/hosts", "key-file"},
	{"/etc/hosts.allow", "key-file"},
	{"/etc/hosts.deny", "key-file"},
	{"/etc/resolv.conf", "key-file"},
	{"/etc/nsswitch.conf", "key-file"},
	{"/etc/ld.so.preload", "key-file"},
	{"/etc/ld.so.conf.d/", "key-file"},
	{"/etc/profile", "key-file"},
	{"/etc/environment", "key-file"},
	{"/etc/pam.d/", "key-file"},
	{"/etc/security/limits.conf", "key-file"},
	{"/etc/security/limits.d/", "key-file"},
	{"/etc/nologin", "key-file"},
	{"/etc/selinux/config", "key-file"},
	{"/etc/default/grub", "key-file"},
	{"/etc/network/interfaces", "key-file"},
	{"/etc/netplan/", "key-file"},
	{"/etc/sysconfig/network-scripts/", "key-file"},
	{"/etc/NetworkManager/system-connections/", "key-file"},
	{"/etc/nftables.conf", "key-file"},
	{"/etc/sysconfig/iptables", "key-file"},
	{"/etc/iptables/", "key-file"},
	{"/etc/chrony.conf", "config"},
	{"/etc/chrony/chrony.conf", "config"},
	{"/etc/logrotate.d/", "config"},
	{"/etc/nginx/", "config"},
	{"/etc/httpd/conf.d/", "config"},
	{"/etc/apache2/sites-enabled/", "config"},
	{"/etc/haproxy/", "config"},
	{"/etc/redis/", "config"},
	{"/etc/redis.conf", "config"},
	{"/etc/mysql/", "config"},
	{"/etc/my.cnf", "config"},
	{"/etc/my.cnf.d/", "config"},
	{"/etc/postgresql/", "config"},
	{"/etc/docker/daemon.json", "config"},
	{"/etc/containerd/config.toml", "config"},
}

type changeSearch struct {
	h     host.Host
	now   time.Time
	born  []time.Time // when the image was made and when it first booted
	room  int         // files that may still be looked at
	found []change
	err   error // the first that hid something
}

// births finds when the image and the host were made: whoever makes them writes these files, and nobody afterwards.
func (s *changeSearch) births() {
	for _, name := range []string{
		"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key", "/var/lib/cloud/instance/boot-finished",
		"/var/log/installer", "/lost+found", "/root/anaconda-ks.cfg",
	} {
		if fi, err := s.h.Lstat(name); err == nil {
			s.born = append(s.born, fi.ModTime)
		}
	}
}

func (s *changeSearch) look(name, kind string) {
	dir, isDir := strings.CutSuffix(name, "/")
	if !isDir {
		if fi, err := s.h.Lstat(name); err == nil {
			s.file(name, kind, &fi)
		} else {
			s.hidden(err)
		}
		return
	}
	s.directory(dir, kind, 2)
}

func (s *changeSearch) directory(dir, kind string, depth int) {
	entries, err := s.h.ReadDir(dir)
	if err != nil {
		s.hidden(err)
		return
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		switch {
		case s.room <= 0:
			s.hidden(fmt.Errorf("listing %s: it holds more files than are looked at", dir))
			return
		case e.Type&fs.ModeSymlink != 0: // when a link was made is told by its directory's time
		case e.Type.IsDir():
			if kind == "unit" && (strings.HasSuffix(name, ".wants") || strings.HasSuffix(name, ".requires")) {
				s.links(name)
			} else if depth > 0 {
				s.directory(name, kind, depth-1)
			}
		default:
			s.room--
			if fi, err := s.h.Lstat(name); err == nil {
				s.file(name, kind, &fi)
			}
		}
	}
}

// hidden remembers why something could not be seen. A file that does not exist is nothing to see.
func (s *changeSearch) hidden(err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		s.err = cmp.Or(s.err, err)
	}
}

// links looks at a directory of links that systemctl makes and removes.
func (s *changeSearch) links(dir string) {
	if fi, err := s.h.Lstat(dir); err == nil {
		s.add(change{Kind: "unit", Name: dir, Action: "written", Detail: "units were enabled or disabled"}, fi.ModTime)
	}
}

func (s *changeSearch) file(name, kind string, fi *host.FileInfo) {
	if fi.Mode&fs.ModeSymlink != 0 || strings.HasSuffix(name, "~") || strings.HasPrefix(path.Base(name), ".") {
		return // a link, whose time a capture does not keep; an editor's copy
	}
	s.add(change{Kind: kind, Name: name, Action: "written"}, fi.ModTime)
}

func (s *changeSearch) add(c change, at time.Time) {
	c.Age = s.now.Sub(at)
	if c.Age < 0 || c.Age > changesWindow || slices.ContainsFunc(s.born, func(b time.Time) bool { return at.Sub(b).Abs() < aroundBirth }) {
		return
	}
	c.Age = c.Age.Truncate(time.Second)
	c.What = cmp.Or(c.What, c.Kind+" "+c.Name)
	s.found = append(s.found, c)
}

// kernels says when the running kernel booted, and which were installed since.
func (s *changeSearch) kernels() {
	up, err := readUptime(s.h)
	if err != nil {
		s.hidden(err)
		return
	}
	release, _ := readLine(s.h, "/proc/sys/kernel/osrelease")
	if up <= changesWindow {
		s.found = append(s.found, change{What: "kernel boot", Kind: "kernel", Name: release, Action: "booted", Age: up.Truncate(time.Second)})
	}
	entries, err := s.h.ReadDir("/boot")
	if err != nil {
		s.hidden(err)
		return
	}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name, "initrd.img-"); ok && name != release {
			s.kernel("/boot/"+e.Name, name)
		} else if name, ok := strings.CutPrefix(e.Name, "initramfs-"); ok && !strings.Contains(name, "rescue") && !strings.Contains(name, "kdump") {
			s.kernel("/boot/"+e.Name, strings.TrimSuffix(name, ".img"))
		}
	}
}

func (s *changeSearch) kernel(file, release string) {
	if fi, err := s.h.Lstat(file); err == nil {
		s.add(change{Kind: "kernel", Name: release, Action: "installed", Detail: file}, fi.ModTime)
	}
}

// packageEvent is one line of a package manager's log.
type packageEvent struct {
	at                   time.Time
	action, name, detail string
}

// packageLogs are where package managers write what they did, and how a line is read. Times without a zone are local.
var packageLogs = []struct {
	path  string
	parse func(line string, now time.Time) (packageEvent, bool)
}{
	{"/var/log/dpkg.log", parseDpkgLog},
	{"/var/log/dnf.rpm.log", parseDNFLog},
	{"/var/log/yum.log", parseYumLog},
	{"/var/log/zypp/history", parseZyppHistory},
}

func (s *changeSearch) packages(log struct {
	path  string
	parse func(line string, now time.Time) (packageEvent, bool)
},
) {
	tail, err := s.h.ReadTail(log.path, changesTail)
	if err != nil {
		s.hidden(err)
		return
	}
	var run []packageEvent
	for line := range strings.Lines(string(tail)) {
		e, ok := log.parse(strings.TrimSuffix(line, "\n"), s.now)
		if !ok {
			continue
		}
		if len(run) > 0 && e.at.Sub(run[len(run)-1].at) > aroundBirth {
			s.packageRun(run)
			run = nil
		}
		run = append(run, e)
	}
	s.packageRun(run)
}

// packageRun adds what was installed in one go: by name, or more than a handful in one row.
func (s *changeSearch) packageRun(run []packageEvent) {
	const handful = 5
	byAction := map[string][]packageEvent{}
	for _, e := range run {
		byAction[e.action] = append(byAction[e.action], e)
	}
	for _, action := range []string{"installed", "upgraded", "downgraded", "removed"} {
		events := byAction[action]
		if len(events) <= handful {
			for _, e := range events {
				s.add(change{Kind: "package", Name: e.name, Action: action, Detail: e.detail}, e.at)
			}
			continue
		}
		last := events[len(events)-1].at
		var names []string
		for _, e := range events[:handful] {
			names = append(names, e.name)
		}
		s.add(change{
			What: fmt.Sprintf("%d packages %s %s", len(events), action, last.Format("2006-01-02 15:04")),
			Kind: "package", Name: fmt.Sprintf("%d packages", len(events)), Action: action, Detail: strings.Join(names, ", ") + ", …",
		}, last)
	}
}

// parseDpkgLog reads "2026-11-20 10:11:12 upgrade nginx:amd64 1.22.1-9 1.24.0-1". Configuring, triggers and states are no events.
func parseDpkgLog(line string, now time.Time) (packageEvent, bool) {
	f := strings.Fields(line)
	if len(f) != 6 {
		return packageEvent{}, false
	}
	at, err := time.ParseInLocation(time.DateTime, f[0]+" "+f[1], now.Location())
	e := packageEvent{at: at, detail: f[4] + " → " + f[5]}
	e.name, _, _ = strings.Cut(f[3], ":")
	switch f[2] {
	case "install":
		e.action, e.detail = "installed", f[5]
	case "upgrade":
		e.action = "upgraded"
	case "remove":
		e.action, e.detail = "removed", f[4]
	default:
		return e, false
	}
	return e, err == nil
}

// rpmActions are dnf's and yum's words.
var rpmActions = map[string]string{
	"Installed:": "installed", "Upgraded:": "", "Upgrade:": "upgraded", "Updated:": "upgraded", "Downgrade:": "downgraded", "Removed:": "removed", "Erased:": "removed", "Erase:": "removed",
}

// parseDNFLog reads "2026-11-20T10:11:12+0800 SUBDEBUG Upgrade: nginx-1:1.24.0-1.x86_64". Upgraded is the old package of an Upgrade.
func parseDNFLog(line string, _ time.Time) (packageEvent, bool) {
	f := strings.Fields(line)
	if len(f) != 4 || rpmActions[f[2]] == "" {
		return packageEvent{}, false
	}
	at, err := time.Parse("2006-01-02T15:04:05Z0700", f[0])
	return rpmEvent(at, f[2], f[3]), err == nil
}

// parseYumLog reads "Nov 20 10:11:12 Updated: nginx-1.24.0-1.x86_64". It tells no year: the last one that is not in the future.
func parseYumLog(line string, now time.Time) (packageEvent, bool) {
	f := strings.Fields(line)
	if len(f) != 5 || rpmActions[f[3]] == "" {
		return packageEvent{}, false
	}
	at, err := time.ParseInLocation("2006 Jan 2 15:04:05", fmt.Sprintf("%d %s %s %s", now.Year(), f[0], f[1], f[2]), now.Location())
	if at.After(now) {
		at = at.AddDate(-1, 0, 0)
	}
	return rpmEvent(at, f[3], f[4]), err == nil
}

// rpmEvent splits "nginx-1:1.24.0-1.el9.x86_64" before the version, which is the last part but one.
func rpmEvent(at time.Time, action, nevra string) packageEvent {
	e := packageEvent{at: at, action: rpmActions[action], name: nevra}
	if i := strings.LastIndexByte(nevra, '-'); i > 0 {
		if j := strings.LastIndexByte(nevra[:i], '-'); j > 0 {
			e.name, e.detail = nevra[:j], nevra[j+1:]
		}
	}
	if epoch, name, ok := strings.Cut(e.name, ":"); ok && strings.Trim(epoch, "0123456789") == "" { // yum writes the epoch first
		e.name = name
	}
	return e
}

// parseZyppHistory reads "2026-11-20 10:11:12|install|nginx|1.24.0-1.1|x86_64|root@web-1|…".
func parseZyppHistory(line string, now time.Time) (packageEvent, bool) {
	f := strings.Split(line, "|")
	if len(f) < 4 {
		return packageEvent{}, false
	}
	action := map[string]string{"install": "installed", "remove": "removed"}[strings.TrimSpace(f[1])]
	at, err := time.ParseInLocation(time.DateTime, f[0], now.Location())
	return packageEvent{at: at, action: action, name: f[2], detail: f[3]}, err == nil && action != ""
}

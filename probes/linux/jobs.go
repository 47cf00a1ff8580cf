package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Jobs reads what keeps cron and the package manager from working.
var Jobs = probes.Define(probes.Probe[host.Host]{
	Name: "jobs",
	Doc: `Scheduled jobs and the package manager

Looks at the owner, the mode and the last byte of crontabs, as cron does before it reads them, then at each line: its time, its user, its program and where its output
goes; at the scripts of cron.daily and the like; and at the lock files and the journal of dpkg and rpm.
Costs 0.5 ms. The rules are those that Debian's cron and cronie share, except where Debian's is known to run. Of a job no more is told than its place, its program and its
output file, for its command may hold secrets; what its script does is not judged.`,
	Every: time.Minute,
}, jobs)

type jobsFacts struct {
	Ignored []ignoredCrontab          `fact:"ignored_crontabs" doc:"Crontabs that cron does not heed"`
	Broken  []brokenJob               `fact:"broken" doc:"Jobs that cannot run, or not as they are meant"`
	Denied  []deniedTool              `fact:"denied" doc:"Tools that schedule jobs and that turn ordinary accounts away"`
	Own     int                       `fact:"users_crontabs" unit:"count" doc:"Crontabs of people, with at least one job"`
	Files   int                       `fact:"crontabs" unit:"count" doc:"The system's crontabs: /etc/crontab and those in /etc/cron.d"`
	Dpkg    probes.Opt[int]           `fact:"dpkg_journal" unit:"count" doc:"Files in dpkg's journal, which a dpkg that ran to its end has emptied; absent without dpkg"`
	Lock    probes.Opt[string]        `fact:"package_lock" doc:"The lock file of the package manager that somebody holds; absent if nobody does"`
	Holder  probes.Opt[string]        `fact:"lock_holder" doc:"Who holds it: command and pid"`
	Held    probes.Opt[time.Duration] `fact:"lock_held" doc:"How long that process has been running"`
	Halted  probes.Opt[bool]          `fact:"lock_holder_stopped" doc:"That process is stopped by a signal, as by Ctrl-Z"`
	Script  probes.Opt[string]        `fact:"lock_script" doc:"The package's script that it waits for: agent.postinst; absent if it waits for none"`
	Waits   probes.Opt[time.Duration] `fact:"lock_script_runs" doc:"How long that script has been running"`
}

type ignoredCrontab struct {
	File string `fact:"file,key" doc:"The file"`
	Why  string `fact:"why" doc:"owner: not root's; mode: others may write it; newline: its last line has no end, which cron takes for an error in the file; time, user, command: a line whose time cron does not understand, whose user does not exist, or that has no command, for which cron drops the whole file; name: it has a dot in its name, and Debian's cron passes it over; own-mode: somebody's own crontab with a mode that cron refuses; orphan: the user is gone"`
	Mode string `fact:"mode" doc:"Its permissions, as 0644"`
	UID  int    `fact:"uid" unit:"user id" doc:"Its owner"`
	// Of a line:
	Where string `fact:"where" doc:"File and line, for time, user and command; else empty"`
	What  string `fact:"what" doc:"The field or the user; else empty"`
}

func jobs(ctx context.Context, h host.Host) (jobsFacts, error) {
	f := jobsFacts{Ignored: []ignoredCrontab{}, Broken: []brokenJob{}, Denied: []deniedTool{}}
	files := []string{"/etc/crontab"}
	entries, err := h.ReadDir("/etc/cron.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	for _, e := range entries {
		if !strings.ContainsAny(e.Name, ".~#") { // neither what run-parts leaves out nor what an editor or a package left
			files = append(files, path.Join("/etc/cron.d", e.Name))
		}
	}
	for _, file := range files {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		if err := f.crontab(h, file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	f.readCrontabs(h, files)
	f.packages(h)
	return f, nil
}

func (f *jobsFacts) crontab(h host.Files, file string) error {
	fi, err := h.Stat(file)
	if err != nil || !fi.Mode.IsRegular() {
		return err
	}
	f.Files++
	job := ignoredCrontab{File: file, Mode: fmt.Sprintf("%04o", fi.Mode.Perm()), UID: fi.UID}
	switch {
	case fi.UID != 0:
		job.Why = "owner"
	case fi.Mode.Perm()&0o022 != 0:
		job.Why = "mode"
	default:
		b, err := h.ReadFile(file)
		if errors.Is(err, fs.ErrPermission) { // it may be closed to all but root
			return nil
		}
		if err != nil {
			return err
		}
		if len(b) > 0 && b[len(b)-1] != '\n' && !lastIsComment(string(b)) {
			job.Why = "newline"
		}
	}
	if job.Why != "" {
		f.Ignored = append(f.Ignored, job)
	}
	return nil
}

func lastIsComment(text string) bool {
	last := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	return last == "" || strings.HasPrefix(last, "#")
}

// packageLocks are what package managers lock while they change something. yum's is a file with a pid, which it checks by itself.
var packageLocks = []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"}

func (f *jobsFacts) packages(h host.Host) {
	if entries, err := h.ReadDir("/var/lib/dpkg/updates"); err == nil {
		n := 0
		for _, e := range entries {
			if _, err := strconv.Atoi(e.Name); err == nil { // as dpkg itself tells them, lib/dpkg/dbmodify.c
				n++
			}
		}
		f.Dpkg = probes.Some(n)
	} else if !errors.Is(err, fs.ErrNotExist) {
		f.Dpkg = probes.Unread[int](err.Error())
	}
	inodes := map[uint64]string{}
	for _, name := range packageLocks {
		if fi, err := h.Stat(name); err == nil {
			inodes[fi.Inode] = name
		}
	}
	if len(inodes) == 0 {
		return
	}
	text, err := h.ReadFile("/proc/locks")
	if err != nil {
		f.Lock = probes.Unread[string](err.Error())
		return
	}
	for line := range strings.Lines(string(text)) {
		if f.lock(h, strings.Fields(line), inodes) {
			return
		}
	}
}

// lock reads a line of /proc/locks: "1: POSIX ADVISORY WRITE 123 fd:00:456 0 EOF". Another file system's inode of the same number is told apart
// by the process, which is a package manager's if it has the file open.
func (f *jobsFacts) lock(h host.Files, fields []string, inodes map[uint64]string) bool {
	if len(fields) < 8 || fields[3] != "WRITE" {
		return false
	}
	pid, err := strconv.Atoi(fields[4])
	place := strings.Split(fields[5], ":")
	inode, notNumber := strconv.ParseUint(place[len(place)-1], 10, 64)
	if err != nil || notNumber != nil || inodes[inode] == "" || pid < 1 || !hasOpen(h, pid, inodes[inode]) {
		return false
	}
	line, err := readLine(h, fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	p, err := parseProcess(line)
	if err != nil {
		return false
	}
	f.Lock, f.Holder = probes.Some(inodes[inode]), probes.Some(fmt.Sprintf("%s (pid %d)", p.command, pid))
	f.Halted = probes.Some(p.state == 'T')
	if up, err := readUptime(h); err == nil {
		f.Held = probes.Some(max(0, up-time.Duration(p.started)*time.Second/userHZ))
		f.script(h, pid, up, maxLockChildren)
	}
	return true
}

// maxLockChildren bounds how far down a package manager's children are followed: apt, dpkg, a shell, the script.
const maxLockChildren = 5

// packageScript is how dpkg calls what a package brings to be run.
var packageScript = regexp.MustCompile(`/var/lib/dpkg/(?:info|tmp\.ci)/(?:([^/\x00:]+)(?::\w+)?\.)?(preinst|postinst|prerm|postrm|config)\x00`)

// script looks among the holder's children for a package's script.
func (f *jobsFacts) script(h host.Files, pid int, up time.Duration, deep int) {
	for _, child := range children(h, pid) {
		if _, known := f.Script.Get(); known || deep == 0 {
			return
		}
		cmdline, err := h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		if err != nil {
			continue
		}
		if m := packageScript.FindSubmatch(append(cmdline, 0)); m != nil {
			f.Script = probes.Some(strings.TrimPrefix(string(m[1])+"."+string(m[2]), "."))
			if line, err := readLine(h, fmt.Sprintf("/proc/%d/stat", child)); err == nil {
				if p, err := parseProcess(line); err == nil {
					f.Waits = probes.Some(max(0, up-time.Duration(p.started)*time.Second/userHZ))
				}
			}
			return
		}
		f.script(h, child, up, deep-1)
	}
}

func children(h host.Files, pid int) []int {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for word := range strings.FieldsSeq(string(b)) {
		if n, err := strconv.Atoi(word); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

func hasOpen(h host.Files, pid int, name string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := h.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds[:min(len(fds), maxDescriptorsPerProcess)] {
		if target, err := h.Readlink(dir + "/" + fd.Name); err == nil && target == name {
			return true
		}
	}
	return false
}

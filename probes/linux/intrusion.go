package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Intrusion looks for processes that hide or pretend.
var Intrusion = probes.Define(probes.Probe[host.Host]{
	Name: "intrusion",
	Doc: `Signs of compromise: processes

Asks of every process which program it runs, and of the newest 1000 what they call themselves: programs in directories that everybody may
write or in memory alone, programs under the name of a kernel thread, directories in /proc that something is mounted on, and processes that
the kernel counts and /proc does not list. Each alone is weak: installers run in /tmp, container runtimes in memory. It changes nothing and
reads no memory, and leaves itself out. Costs 2 ms on a host with 200 processes. A module in the kernel can hide from all of this. Needs root.`,
	Needs: probes.Root,
	Every: 5 * time.Minute,
}, intrusion)

type intrusionFacts struct {
	Checked  int                         `fact:"checked" unit:"count" doc:"Processes whose program was asked for"`
	Suspects probes.Cut[suspectProcess]  `fact:"suspects" doc:"Processes that are unusual; at most 20"`
	Mounted  []string                    `fact:"mounted_over" doc:"Directories of processes in /proc on which something is mounted, so that no tool shows them"`
	Unlisted probes.Opt[int]             `fact:"unlisted" unit:"count" doc:"Processes that the kernel counts and that /proc does not list; absent in a container, where the counts are of different things"`
	Setuid   probes.Cut[setuidTemporary] `fact:"setuid" doc:"Programs in /tmp, /var/tmp and /dev/shm, and in the directories right in them, that run as root whoever starts them"`
}

type suspectProcess struct {
	Program   string              `fact:"program,key" doc:"The program's file, with its name as a process where that differs"`
	Name      string              `fact:"name" doc:"What it calls itself, the first 60 characters"`
	PID       int                 `fact:"pid" unit:"pid" doc:"One of them"`
	Count     int                 `fact:"count" unit:"count" doc:"Processes of this kind"`
	UID       probes.Opt[int]     `fact:"uid" unit:"uid" doc:"Whose it is"`
	Imitates  bool                `fact:"imitates_kernel" doc:"It calls itself what only kernel threads are called, and is none"`
	Temporary bool                `fact:"temporary" doc:"Its file is in a directory that everybody may write: /tmp, /var/tmp, /dev/shm"`
	Memory    bool                `fact:"in_memory" doc:"Its file never was on a file system: memfd_create(2)"`
	Deleted   bool                `fact:"deleted" doc:"Its file was deleted"`
	CPU       probes.Opt[float64] `fact:"cpu_pct" unit:"%" doc:"CPU time since it started, in percent of one core; absent in its first minute"`
	Listens   probes.Opt[bool]    `fact:"listens" doc:"It listens for others on a TCP port"`
	Pool      probes.Opt[bool]    `fact:"pool" doc:"It has a connection to a port that mining pools use: 3333, 4444, 5555, 7777, 14444"`
	Unit      probes.Opt[string]  `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
}

type setuidTemporary struct {
	Path string `fact:"path,key" doc:"The program"`
	Mode string `fact:"mode" doc:"Permission bits: \"4755\""`
}

const (
	maxSuspects = 20
	maxTitles   = 1000 // 10 µs each
	hiddenLooks = 4    // at /proc, where the first one shows that a process is missing
)

func intrusion(ctx context.Context, h host.Host) (intrusionFacts, error) {
	var f intrusionFacts
	entries, unlisted, err := listProcesses(h)
	if err != nil {
		return f, err
	}
	// A process that begins or ends between two looks may be missed by one of them; one that hides is missing each time.
	f.Unlisted = unlisted
	n, _ := unlisted.Get()
	for looks := 1; n > 0 && looks < hiddenLooks; looks++ {
		_, again, err := listProcesses(h)
		if err != nil {
			return f, err
		}
		if m, ok := again.Get(); ok && m < n {
			n, f.Unlisted = m, again
		}
	}
	self, _ := h.Readlink("/proc/self")
	slices.SortFunc(entries, func(a, b host.DirEntry) int { // a miner began long after the system
		return cmp.Or(cmp.Compare(len(b.Name), len(a.Name)), cmp.Compare(b.Name, a.Name))
	})
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name); err == nil && e.Name != self {
			if ctx.Err() != nil {
				return f, ctx.Err()
			}
			f.process(h, pid)
		}
	}
	if err := f.mounts(h); err != nil {
		return f, err
	}
	f.sockets(ctx, h)
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		f.setuid(h, dir)
	}
	return f, nil
}

// listProcesses reads /proc, and tells how many processes the kernel counts that are not in it.
func listProcesses(h host.Files) ([]host.DirEntry, probes.Opt[int], error) {
	before, beforeErr := h.Stat("/proc")
	entries, err := h.ReadDir("/proc")
	if err != nil {
		return nil, probes.None[int](), err
	}
	after, afterErr := h.Stat("/proc")
	pids, dirs, files := 0, 0, 0
	for _, e := range entries {
		_, err := strconv.Atoi(e.Name)
		switch {
		case err == nil:
			pids++
		case e.Type.IsDir():
			dirs++
		case e.Name != "self" && e.Name != "thread-self": // those two are made up by each look
			files++
		}
	}
	if pids == 0 {
		return nil, probes.None[int](), errors.New("reading /proc: there is no process in it")
	}
	namespace, err := h.Readlink("/proc/self/ns/pid")
	if err := errors.Join(beforeErr, afterErr, err); err != nil {
		return entries, probes.Unread[int](err.Error()), nil
	}
	// A container has another namespace than PROC_PID_INIT_INO, and what is mounted with subset=pid shows nothing but processes.
	if namespace != "pid:[4026531836]" || files == 0 {
		return entries, probes.None[int](), nil
	}
	// The kernel makes /proc's link count of its own directories and the processes (proc_root_getattr in fs/proc/root.c). What is there
	// only before or after the listing began or ended in between.
	unlisted := int(min(before.Links, after.Links)) - 2 - dirs - pids
	// Linux 6.1 counts its files as it does directories (proc_register in fs/proc/generic.c), 6.18 does not. They are some 45; a process
	// that just began or ended must not tell one kernel from the other.
	if unlisted*4 > files*3 {
		unlisted -= files
	}
	return entries, probes.Some(max(0, unlisted)), nil
}

// kernelNames are what kernel threads are called; programs like celery put their names in brackets too.
var kernelNames = regexp.MustCompile(`^\[?(kworker|ksoftirqd|migration|rcu_|kthreadd|kswapd|kcompactd|khugepaged|kauditd|kdevtmpfs|kblockd|kintegrityd|kthrotld|khungtaskd|jbd2|watchdogd?|cpuhp|idle_inject|netns|scsi_|xfs|irq/|md\d|bioset|writeback|oom_reaper|ksmd|kpsmoused|ipv6_addrconf|kstrp|edac-poller|devfreq_wq|kaluad)`)

// process asks for a process's program and its name. A kernel thread has no program.
func (f *intrusionFacts) process(h host.Files, pid int) {
	dir := "/proc/" + strconv.Itoa(pid)
	exe, err := h.Readlink(dir + "/exe")
	if err != nil || exe == "" {
		return
	}
	f.Checked++
	s := suspectProcess{Program: exe, PID: pid, Count: 1}
	s.Program, s.Deleted = strings.CutSuffix(exe, " (deleted)")
	s.Memory = strings.HasPrefix(exe, "/memfd:") && !strings.HasPrefix(exe, "/memfd:runc") && !strings.HasPrefix(exe, "/memfd:crun")
	for _, dir := range []string{"/tmp/", "/var/tmp/", "/dev/shm/"} {
		s.Temporary = s.Temporary || strings.HasPrefix(exe, dir) && !strings.HasPrefix(exe, "/tmp/.mount_") // an AppImage
	}
	odd := s.Memory || s.Temporary
	if !odd && f.Checked > maxTitles {
		f.Suspects.More++
		f.Suspects.Why = fmt.Sprintf("only the newest %d processes were asked for their names", maxTitles)
		return
	}
	b, err := h.ReadFile(dir + "/cmdline")
	if err != nil {
		return
	}
	name, _, _ := strings.Cut(string(b), "\x00")
	s.Imitates = strings.HasPrefix(name, "[") && kernelNames.MatchString(name)
	if !odd && !s.Imitates {
		return
	}
	s.Name = strings.ToValidUTF8(name[:min(len(name), 60)], "\uFFFD")
	if s.Imitates {
		s.Program += " as " + s.Name
	}
	if i := slices.IndexFunc(f.Suspects.All, func(o suspectProcess) bool { return o.Program == s.Program }); i >= 0 {
		f.Suspects.All[i].Count++
		return
	}
	if len(f.Suspects.All) == maxSuspects {
		f.Suspects.More++
		return
	}
	s.details(h, dir)
	f.Suspects.All = append(f.Suspects.All, s)
}

func (s *suspectProcess) details(h host.Files, dir string) {
	if fi, err := h.Stat(dir); err == nil {
		s.UID = probes.Some(fi.UID)
	} else {
		s.UID = probes.Unread[int](err.Error())
	}
	s.Unit = processUnit(h, s.PID)
	up, err1 := readUptime(h)
	line, err2 := readLine(h, dir+"/stat")
	if err := errors.Join(err1, err2); err != nil {
		s.CPU = probes.Unread[float64](err.Error())
		return
	}
	p, err := parseProcess(line)
	if err != nil {
		s.CPU = probes.Unread[float64](err.Error())
		return
	}
	if age := up.Seconds() - float64(p.started)/userHZ; age >= 60 {
		s.CPU = probes.Some(percent(float64(p.ticks)/userHZ, age))
	}
}

// poolPorts are the ports of mining pools that Alibaba Cloud's procedure for a CPU that is too busy names.
var poolPorts = []uint16{3333, 4444, 5555, 7777, 14444}

// maxSuspectFiles bounds how many descriptors of a suspect are looked at.
const maxSuspectFiles = 256

// sockets looks what the suspects listen on and where they are connected to.
func (f *intrusionFacts) sockets(ctx context.Context, h host.Host) {
	if len(f.Suspects.All) == 0 {
		return
	}
	listening, pooled := map[uint32]bool{}, map[uint32]bool{}
	err := h.Sockets(ctx, host.SocketQuery{States: 1<<host.TCPListen | 1<<host.TCPEstablished}, func(s *host.Socket) error {
		switch {
		case s.State == host.TCPListen:
			listening[s.Inode] = !s.Local.Addr().IsLoopback()
		case slices.Contains(poolPorts, s.Remote.Port()):
			pooled[s.Inode] = true
		}
		return nil
	})
	for i := range f.Suspects.All {
		s := &f.Suspects.All[i]
		dir := fmt.Sprintf("/proc/%d/fd", s.PID)
		fds, readErr := h.ReadDir(dir)
		if err := errors.Join(err, readErr); err != nil {
			s.Listens, s.Pool = probes.Unread[bool](err.Error()), probes.Unread[bool](err.Error())
			continue
		}
		listens, pool := false, false
		for _, fd := range fds[:min(len(fds), maxSuspectFiles)] {
			target, _ := h.Readlink(dir + "/" + fd.Name)
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				n, _ := strconv.ParseUint(strings.TrimSuffix(inode, "]"), 10, 32)
				listens, pool = listens || listening[uint32(n)], pool || pooled[uint32(n)]
			}
		}
		s.Listens, s.Pool = probes.Some(listens), probes.Some(pool)
	}
}

var procMount = regexp.MustCompile(`^/proc/\d+(/|$)`)

func (f *intrusionFacts) mounts(h host.Files) error {
	mounts, err := readAllMounts(h)
	if err != nil {
		return err
	}
	f.Mounted = []string{}
	for i := range mounts {
		if procMount.MatchString(mounts[i].point) {
			f.Mounted = append(f.Mounted, mounts[i].point)
		}
	}
	return nil
}

// maxTemporary and maxTemporaryDirs bound how many files and directories of a temporary directory are looked at.
const (
	maxTemporary     = 300
	maxTemporaryDirs = 50
)

// setuid looks at the files of a temporary directory and of the directories right in it. Deeper lies, rightly, the su of an unpacked root file system.
func (f *intrusionFacts) setuid(h host.Files, dir string) {
	left := maxTemporary
	inner := f.setuidFiles(h, dir, dir, &left)
	if n := len(inner); n > maxTemporaryDirs {
		f.Setuid.More++
		f.Setuid.Why = fmt.Sprintf("only the first %d directories of %s were looked at", maxTemporaryDirs, dir)
		inner = inner[:maxTemporaryDirs]
	}
	for _, d := range inner {
		f.setuidFiles(h, dir, d, &left)
	}
}

// setuidFiles looks at a directory's files, and returns the directories in it.
func (f *intrusionFacts) setuidFiles(h host.Files, root, dir string, left *int) (inner []string) {
	entries, err := h.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.Setuid.More, f.Setuid.Why = f.Setuid.More+1, err.Error()
		}
		return nil
	}
	for _, e := range entries {
		name := dir + "/" + e.Name
		if e.Type.IsDir() {
			inner = append(inner, name)
		}
		if !e.Type.IsRegular() || *left < 0 {
			continue
		}
		if *left--; *left < 0 {
			f.Setuid.More++
			f.Setuid.Why = fmt.Sprintf("only the first %d files of %s were looked at", maxTemporary, root)
			continue
		}
		fi, err := h.Lstat(name)
		if err == nil && fi.Mode&fs.ModeSetuid != 0 && fi.UID == 0 && fi.Mode&0o111 != 0 {
			f.Setuid.All = append(f.Setuid.All, setuidTemporary{name, fmt.Sprintf("4%03o", fi.Mode.Perm())})
		}
	}
	return inner
}

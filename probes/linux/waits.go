package linux

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Waits looks for services that stand still since another process does not do its part.
var Waits = probes.Define(probes.Probe[host.Host]{
	Name: "waits",
	Doc: `Services that wait for another process

Reads where the processes of services wait in the kernel (/proc/PID/wchan), who waits for a file's lock (/proc/locks), and whether connections wait to be accepted
(INET_DIAG, /proc/net/unix). Costs 10 µs a process, 300 processes at most. Only where something of that looks like standing still does it look again after 0.7 s: listed is what had not moved at all
in between, neither the one that waits nor the queue. Then it looks also for who has the other end, among 2,000 descriptors a process. Of a program with many
threads only the first one is seen. Where the kernel does not tell where processes wait, locks and connections are seen only.`,
	Needs: probes.Root,
	Every: 30 * time.Second,
}, waits)

type waitsFacts struct {
	List []waitingService `fact:"list" doc:"Services that had not moved; twenty at most"`
}

type waitingService struct {
	Who     string             `fact:"who,key" doc:"The service, or what it waits on of several in one"`
	Unit    string             `fact:"unit" doc:"The systemd service"`
	Command string             `fact:"command" doc:"Command name of its process that waits"`
	PID     int                `fact:"pid" unit:"pid" doc:"That process"`
	Main    bool               `fact:"main" doc:"It was started by the service manager itself, not by another process"`
	Kind    string             `fact:"kind" doc:"pipe, socket: it writes, and the other end does not read; fifo: it opened one that has no other end; queue: its message queue is full; lock: another has locked the file; accept: it accepts no connections, though some wait"`
	On      string             `fact:"on" doc:"The file, queue, pipe or listener"`
	Count   int                `fact:"count" unit:"count" doc:"Processes that wait for that lock; connections that wait to be accepted"`
	By      probes.Opt[string] `fact:"by" doc:"Who holds the lock or should read: command, pid and unit; absent if nobody was found"`
	Still   bool               `fact:"still" doc:"That one did nothing in between either"`
	Within  string             `fact:"within" doc:"Of accept: the kernel function in which its process waits; empty if it is not known"`
	File    string             `fact:"file" doc:"Of accept: a semaphore that it has mapped or what its process waits to read from; empty if there is none"`
}

// waitKinds are the kernel's functions in which a process stands that writes to somebody who does not read: fs/pipe.c, fs/fifo.c, ipc/msg.c,
// ipc/mqueue.c, net/unix/af_unix.c, net/core/sock.c. Those who wait to be given something are idle, and in other functions.
var waitKinds = map[string]string{
	"pipe_write": "pipe", "anon_pipe_write": "pipe", "wait_for_partner": "fifo", "fifo_open": "fifo", "do_msgsnd": "queue", "wq_sleep": "mqueue",
	"unix_wait_for_peer": "socket", "sock_alloc_send_pskb": "socket",
}

const (
	waitsApart = 700 * time.Millisecond
	maxWaits   = 20
)

// waitSign is one thing that looks like standing still.
type waitSign struct {
	w       waitingService
	wchan   string
	holder  int
	before  string // what must not change
	holding string // the same of the holder
}

func waits(ctx context.Context, h host.Host) (waitsFacts, error) {
	f := waitsFacts{List: []waitingService{}}
	signs := append(stuckWriters(h), lockWaiters(h)...)
	queued, err := queuedListeners(ctx, h)
	if err != nil {
		return f, err
	}
	if len(signs) == 0 && len(queued) == 0 {
		return f, nil
	}
	for i := range queued {
		queued[i].before = ticksOf(h, queued[i].w.PID)
	}
	if err := h.Sleep(ctx, waitsApart); err != nil {
		return f, err
	}
	for _, s := range signs {
		if s.before != "" && voluntarySwitches(h, s.w.PID) == s.before && (s.wchan == "" || kernelWait(h, s.w.PID) == s.wchan) {
			f.add(s.look(h))
		}
	}
	later, err := queuedListeners(ctx, h)
	if err != nil {
		return f, err
	}
	for _, s := range queued {
		i := slices.IndexFunc(later, func(l waitSign) bool { return l.w.On == s.w.On && l.w.Count >= s.w.Count })
		if i >= 0 && s.before != "" && ticksOf(h, s.w.PID) == s.before && !slices.ContainsFunc(f.List, func(w waitingService) bool { return w.Unit == s.w.Unit }) {
			f.add(s.look(h))
		}
	}
	return f, nil
}

// add keeps one entry a service and cause, and counts the others.
func (f *waitsFacts) add(w waitingService) {
	for i := range f.List {
		if old := &f.List[i]; old.Unit == w.Unit && old.Kind == w.Kind && old.On == w.On {
			old.Count += w.Count
			return
		}
	}
	w.Who = w.Unit
	if slices.ContainsFunc(f.List, func(o waitingService) bool { return o.Who == w.Who }) {
		w.Who = w.Unit + " " + w.On
	}
	if len(f.List) < maxWaits && !slices.ContainsFunc(f.List, func(o waitingService) bool { return o.Who == w.Who }) {
		f.List = append(f.List, w)
	}
}

func kernelWait(h host.Files, pid int) string {
	name, _ := waitChannel(h, pid).Get()
	name, _, _ = strings.Cut(name, ".") // "wq_sleep.constprop.0"
	return name
}

// stuckWriters are the processes of services that stand where waitKinds says.
func stuckWriters(h host.Host) (signs []waitSign) {
	for _, pid := range serviceProcesses(h) {
		wchan := kernelWait(h, pid)
		if kind := waitKinds[wchan]; kind != "" && len(signs) < maxWaits {
			signs = append(signs, waitSign{w: waitingService{PID: pid, Kind: kind, Count: 1}, wchan: wchan, before: voluntarySwitches(h, pid)})
		}
	}
	return signs
}

// lockWaiters reads /proc/locks, where who waits for a lock stands behind it: "1: FLOCK ADVISORY WRITE 7 fd:00:456 0 EOF", then
// "1: -> FLOCK ADVISORY WRITE 9 fd:00:456 0 EOF".
func lockWaiters(h host.Host) (signs []waitSign) {
	b, err := h.ReadFile("/proc/locks")
	if err != nil || !strings.Contains(string(b), " -> ") {
		return nil
	}
	holder := map[string]int{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 8 && fields[1] != "->":
			holder[fields[0]], _ = strconv.Atoi(fields[4])
		case len(fields) >= 9 && len(signs) < maxWaits:
			pid, err := strconv.Atoi(fields[5])
			unit, _ := processUnit(h, pid).Get()
			if err != nil || pid <= 0 || !isService(unit) {
				continue
			}
			s := waitSign{w: waitingService{PID: pid, Kind: "lock", On: fields[6], Count: 1}, holder: holder[fields[0]], before: voluntarySwitches(h, pid)}
			if s.holder > 0 {
				s.holding = voluntarySwitches(h, s.holder)
			}
			signs = append(signs, s)
		}
	}
	return signs
}

func isService(unit string) bool {
	return strings.HasSuffix(unit, ".service") && !strings.HasPrefix(unit, "user@")
}

// queuedListeners are the listeners of services, TCP and Unix, at which connections wait.
func queuedListeners(ctx context.Context, h host.Host) (signs []waitSign, err error) {
	inodes := []uint32{}
	err = h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		if s.RQueue > 0 && len(signs) < maxWaits {
			signs = append(signs, waitSign{w: waitingService{Kind: "accept", On: s.Local.String(), Count: int(s.RQueue)}})
			inodes = append(inodes, s.Inode)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	local, owners := queuedUnix(h), map[uint32]owner{}
	if len(signs) > 0 {
		all, err := listenerOwners(ctx, h)
		if err != nil {
			return nil, err
		}
		maps.Copy(owners, all)
	}
	if len(local) > 0 {
		asked := map[uint32]bool{}
		for _, l := range local {
			signs = append(signs, waitSign{w: waitingService{Kind: "accept", On: l.path, Count: l.queued}})
			inodes = append(inodes, l.inode)
			asked[l.inode] = true
		}
		own, err := findOwners(ctx, h, asked)
		if err != nil {
			return nil, err
		}
		maps.Copy(owners, own)
	}
	kept := signs[:0]
	for i, s := range signs {
		if o, ok := owners[inodes[i]]; ok && isService(o.unit) {
			s.w.PID, s.w.Unit = o.pid, o.unit
			kept = append(kept, s)
		}
	}
	return kept, nil
}

type unixListener struct {
	path   string
	inode  uint32
	queued int
}

// queuedUnix reads from /proc/net/unix at which listeners connections wait. One that nobody has accepted yet is a row of its own under the
// listener's path, without a socket: state 2, SS_CONNECTING (unix_seq_show in net/unix/af_unix.c). Who listens has the flag __SO_ACCEPTCON.
func queuedUnix(h host.Files) (found []unixListener) {
	text, err := readText(h, "/proc/net/unix")
	if err != nil {
		return nil
	}
	queued := map[string]int{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // Num RefCount Protocol Flags Type St Inode Path
		switch {
		case len(f) < 8:
		case f[5] == "02":
			queued[f[7]]++
		case f[3] == "00010000":
			if inode, err := strconv.ParseUint(f[6], 10, 32); err == nil {
				found = append(found, unixListener{path: f[7], inode: uint32(inode)})
			}
		}
	}
	for i := range found {
		found[i].queued = queued[found[i].path]
	}
	found = slices.DeleteFunc(found, func(l unixListener) bool { return l.queued == 0 })
	return found[:min(len(found), maxWaits)]
}

// ticksOf is what all processes of a service have used of the CPU; empty if one cannot be read, runs, waits for a disk, or is stopped, which others tell.
func ticksOf(h host.Files, pid int) string {
	var total uint64
	for _, p := range sessionProcesses(h, pid) {
		line, err := readLine(h, fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			return ""
		}
		s, err := parseProcess(line)
		if err != nil || s.state != 'S' {
			return ""
		}
		total += s.ticks
	}
	return strconv.FormatUint(total, 10)
}

// look finds out what a sign is about, once it is certain that nothing moves.
func (s waitSign) look(h host.Host) waitingService {
	w := s.w
	if w.Kind == "accept" {
		w.PID, w.Within = waitingProcess(h, w.PID)
		w.File = awaited(h, w.PID, w.Within)
	}
	if line, err := readLine(h, fmt.Sprintf("/proc/%d/stat", w.PID)); err == nil {
		if p, err := parseProcess(line); err == nil {
			w.Command, w.Main = p.command, p.ppid == 1
		}
	}
	w.Unit = cmp.Or(w.Unit, unitName(h, w.PID))
	fd, target := callTarget(h, w.PID)
	switch w.Kind {
	case "lock":
		if name := lockedFile(h, s.holder, w.On); name != "" {
			w.On = name
		}
		if s.holder > 0 {
			w.By = probes.Some(ownerText(h, s.holder))
			w.Still = voluntarySwitches(h, s.holder) == s.holding
		}
	case "pipe":
		w.On = target
		if pid := otherEnd(h, w.PID, target); pid > 0 {
			w.By = probes.Some(ownerText(h, pid))
		}
		w.On = cmp.Or(w.On, "a pipe")
	case "socket":
		if w.On = "a local socket"; fd == "1" || fd == "2" {
			w.On = "its standard output, which the journal reads"
		}
	case "fifo":
		w.On = "a FIFO"
	case "queue":
		w.On = messageQueue(h, fd)
		if w.On == "" {
			w.On = "a System V message queue"
		}
	case "mqueue":
		w.Kind, w.On = "queue", "POSIX message queue "+target
	}
	return w
}

func unitName(h host.Files, pid int) string {
	unit, _ := processUnit(h, pid).Get()
	return unit
}

func ownerText(h host.Files, pid int) string {
	command, err := readLine(h, fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		command = "?"
	}
	return owner{pid, command, unitName(h, pid)}.String()
}

// callTarget reads the first argument of the system call that a process is in, "1 0x3 0x7f…", as a descriptor, and where that points.
func callTarget(h host.Files, pid int) (fd, target string) {
	line, err := readLine(h, fmt.Sprintf("/proc/%d/syscall", pid))
	fields := strings.Fields(line)
	if err != nil || len(fields) < 2 {
		return "", ""
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(fields[1], "0x"), 16, 31)
	if err != nil {
		return "", ""
	}
	fd = strconv.FormatUint(n, 10)
	target, _ = h.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd))
	return fd, target
}

// otherEnd finds another process that has the pipe open to read from it, those of the same service first.
func otherEnd(h host.Host, pid int, target string) int {
	if target == "" {
		return 0
	}
	for _, p := range slices.Concat(sessionProcesses(h, pid), serviceProcesses(h)) {
		if p == pid {
			continue
		}
		dir := fmt.Sprintf("/proc/%d/fd", p)
		fds, _ := h.ReadDir(dir)
		for _, fd := range fds[:min(len(fds), maxDescriptorsPerProcess)] {
			if to, err := h.Readlink(dir + "/" + fd.Name); err != nil || to != target {
				continue
			}
			if info, err := readText(h, fmt.Sprintf("/proc/%d/fdinfo/%s", p, fd.Name)); err == nil && !writesOnly(info) {
				return p
			}
		}
	}
	return 0
}

// writesOnly reads the flags of /proc/PID/fdinfo/FD, octal: O_WRONLY is 1.
func writesOnly(info string) bool {
	for line := range strings.Lines(info) {
		if flags, ok := strings.CutPrefix(line, "flags:"); ok {
			return strings.HasSuffix(strings.TrimSpace(flags), "1")
		}
	}
	return false
}

// lockedFile finds the name of a locked file, "08:01:4711", among what its holder has open.
func lockedFile(h host.Files, pid int, place string) string {
	inode, err := strconv.ParseUint(place[strings.LastIndexByte(place, ':')+1:], 10, 64)
	if err != nil || pid <= 0 {
		return ""
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, _ := h.ReadDir(dir)
	for _, fd := range fds[:min(len(fds), maxDescriptorsPerProcess)] {
		target, err := h.Readlink(dir + "/" + fd.Name)
		if err != nil || !strings.HasPrefix(target, "/") {
			continue
		}
		if fi, err := h.Stat(target); err == nil && fi.Inode == inode {
			return target
		}
	}
	return ""
}

// messageQueue says of a System V queue which one it is: key, what it holds, and who read of it last.
func messageQueue(h host.Files, id string) string {
	text, err := readText(h, "/proc/sysvipc/msg")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // key msqid perms cbytes qnum lspid lrpid …
		if len(f) < 7 || f[1] != id {
			continue
		}
		reader := "nobody has ever read from it"
		if f[6] != "0" {
			reader = "last read by pid " + f[6]
		}
		key, _ := strconv.ParseInt(f[0], 10, 64)
		return fmt.Sprintf("System V message queue %s (key 0x%x): %s messages of %s bytes, %s", id, uint32(key), f[4], f[3], reader)
	}
	return ""
}

// waitingProcess chooses the process of a service that shows what it waits for: not one that supervises others or sleeps in its event loop.
func waitingProcess(h host.Files, owner int) (pid int, wchan string) {
	for _, p := range sessionProcesses(h, owner) {
		switch w := kernelWait(h, p); {
		case w == "", strings.Contains(w, "epoll"), strings.HasPrefix(w, "ep_"), strings.Contains(w, "sigsuspend"), strings.Contains(w, "sigtimedwait"), strings.Contains(w, "do_wait"), strings.Contains(w, "accept"):
		default:
			return p, w
		}
	}
	return owner, kernelWait(h, owner)
}

// awaited names what a process that accepts nothing waits for, where it can be known: the named semaphore that it has mapped, or the socket that it reads.
func awaited(h host.Files, pid int, wchan string) string {
	if strings.Contains(wchan, "futex") {
		return mappedSemaphore(h, pid)
	}
	if _, target := callTarget(h, pid); strings.HasPrefix(target, "/") {
		return target
	}
	return ""
}

// mappedSemaphore finds the named semaphore that a process has mapped, by its inode: sem_open(3) makes the file by another name.
func mappedSemaphore(h host.Files, pid int) string {
	maps, err := h.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	entries, _ := h.ReadDir("/dev/shm")
	if err != nil {
		return ""
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name, "sem.")
		if !ok {
			continue
		}
		fi, err := h.Stat("/dev/shm/" + e.Name)
		if err == nil && strings.Contains(string(maps), fmt.Sprintf(" %d ", fi.Inode)) {
			return "semaphore /" + name
		}
	}
	return ""
}

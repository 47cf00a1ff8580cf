package linux

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Processes reads what the processes do and what they use.
var Processes = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "processes",
	Doc: `Processes

Reads /proc/PID/stat of every process twice, and a little more of the few that are listed. Costs 10 µs a process. Processes are put
together by command name, which is at most 15 characters long and which a program may choose; command lines, which hold passwords, are not
read. Of a program with many threads only the first thread's state is seen: tasks that wait for I/O are counted fully by load.blocked_io.
Memory that processes share is counted in each of them. A process that came and went between the samples is missed.
Where /proc is mounted with hidepid, only root sees other users' processes; then the probe fails rather than count half.`,
	Every: 30 * time.Second,
}, processesSample, processes)

type processesFacts struct {
	Total    int             `fact:"total" unit:"count" doc:"Processes, kernel threads among them"`
	Running  int             `fact:"running" unit:"count" doc:"Running or ready to run; state R"`
	Sleeping int             `fact:"sleeping" unit:"count" doc:"Waiting for something that can be interrupted, or idle kernel threads; states S and I"`
	Blocked  int             `fact:"blocked" unit:"count" doc:"In uninterruptible sleep, which nothing can end; state D"`
	Stuck    probes.Opt[int] `fact:"stuck" unit:"count" doc:"Of these, those that were so at both samples and did not wake up in between: the kernel counted no context switch; absent until there are two samples"`
	Zombies  int             `fact:"zombies" unit:"count" doc:"Ended, but not yet asked for by their parent; state Z"`
	Stopped  int             `fact:"stopped" unit:"count" doc:"Stopped by a signal or a debugger; states T and t"`
	Threads  int             `fact:"threads" unit:"count" doc:"Threads of all processes"`

	BlockedBy probes.Cut[blockedCommand] `fact:"blocked_commands" doc:"Who is in uninterruptible sleep, by command name, most first"`
	ZombiesOf probes.Cut[zombieParent]   `fact:"zombie_parents" doc:"Whose ended children are zombies, by the parent's command name, most first"`
	TopCPU    probes.Cut[commandCPU]     `fact:"top_cpu" doc:"The 10 command names that used most CPU between the samples; the others are left out, those that used none count as none"`
	TopMemory probes.Cut[commandMemory]  `fact:"top_memory" doc:"The 10 command names that hold most memory; the others are left out"`

	TopThreads  []commandThreads            `fact:"top_threads" doc:"The 5 command names with most threads"`
	TopChildren probes.Cut[commandChildren] `fact:"top_children" doc:"The 5 command names whose ended children used most CPU: who starts programs that are gone before anybody sees them"`
	TopIO       probes.Cut[commandIO]       `fact:"top_io" doc:"The 10 command names that read and wrote most, by /proc/PID/io; looked for only if at both samples a process was blocked or tasks waited for disks of late (/proc/pressure/io), else empty"`

	StoppedBy probes.Cut[stoppedCommand] `fact:"stopped_commands" doc:"Who is stopped by a signal, by command name; not who is watched by a debugger"`
	Traced    []tracedProcess            `fact:"traced" doc:"Services' processes that strace, gdb or the like are attached to; ten at most"`
	Starved   []starvedService           `fact:"starved" doc:"Services that may use some cores only, or have a low priority, while others had at least 90 % of the time of the cores that they may use, or as many as there are such cores ran without a pause; ten at most"`
}

type stoppedCommand struct {
	Command string             `fact:"command,key" doc:"Command name"`
	Count   int                `fact:"count" unit:"count" doc:"Processes of that name in state T"`
	PID     int                `fact:"pid" unit:"pid" doc:"One of them"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
}

type commandThreads struct {
	Command string             `fact:"command,key" doc:"Command name"`
	Threads int                `fact:"threads" unit:"count" doc:"Threads of all of that name"`
	Count   int                `fact:"count" unit:"count" doc:"Processes of that name"`
	PID     int                `fact:"pid" unit:"pid" doc:"The one with most threads"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
	Parent  probes.Opt[string] `fact:"parent" doc:"Command name of its parent; absent if that is gone"`
}

type commandChildren struct {
	Command string             `fact:"command,key" doc:"Command name of the parent"`
	CPU     float64            `fact:"cpu_pct" unit:"%" doc:"CPU time of its children that ended between the samples, and of theirs, in percent of one core; of a child that ran for hours all of it"`
	PID     int                `fact:"pid" unit:"pid" doc:"The parent with most of it"`
	Age     time.Duration      `fact:"age" doc:"How long ago that parent started"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
	Parent  probes.Opt[string] `fact:"parent" doc:"Command name of its own parent; absent if that is gone"`
}

type commandIO struct {
	Command string             `fact:"command,key" doc:"Command name"`
	Read    float64            `fact:"read_per_s" unit:"bytes/s" doc:"Bytes that were read from disks for it"`
	Written float64            `fact:"written_per_s" unit:"bytes/s" doc:"Bytes that it gave to be written to disks"`
	Mean    float64            `fact:"mean_per_s" unit:"bytes/s" doc:"Bytes that it has read and written since it started, for each second of its life: of one that waits for a slow disk while the samples are taken, this tells more"`
	PID     int                `fact:"pid" unit:"pid" doc:"The one with most of it"`
	Age     time.Duration      `fact:"age" doc:"How long ago that one started"`
	Nice    int                `fact:"nice" unit:"level" doc:"Its nice value, from which the kernel also takes its I/O priority unless ionice(1) set another"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
	Parent  probes.Opt[string] `fact:"parent" doc:"Command name of its parent; absent if that is gone"`
}

type blockedCommand struct {
	Command string             `fact:"command,key" doc:"Command name; of kernel threads the part before the slash"`
	Count   int                `fact:"count" unit:"count" doc:"Processes of that name in state D"`
	Stuck   probes.Opt[int]    `fact:"stuck" unit:"count" doc:"Of these, those that were so at both samples and did not wake up in between: the kernel counted no context switch; absent until there are two samples"`
	PID     int                `fact:"pid" unit:"pid" doc:"One of them"`
	Kernel  bool               `fact:"kernel_thread" doc:"They are kernel threads"`
	Wait    probes.Opt[string] `fact:"wchan" doc:"The kernel function in which that one waits; needs root, absent if the kernel does not say"`
}

type zombieParent struct {
	Command string             `fact:"command,key" doc:"Command name of the parent"`
	Count   int                `fact:"count" unit:"count" doc:"Its zombies"`
	PID     int                `fact:"pid" unit:"pid" doc:"The parent; of several by that name the one with the lowest pid"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that the parent runs in; absent outside of any"`
}

type commandCPU struct {
	Command  string              `fact:"command,key" doc:"Command name; of kernel threads the part before the slash"`
	CPU      float64             `fact:"cpu_pct" unit:"%" doc:"CPU time of all of that name between the samples, in percent of one core"`
	Lifetime probes.Opt[float64] `fact:"lifetime_pct" unit:"%" doc:"CPU time of the busiest one since it started, in percent of one core; absent in its first second"`
	Age      time.Duration       `fact:"age" doc:"How long ago the busiest one started"`
	Count    int                 `fact:"count" unit:"count" doc:"Processes of that name"`
	PID      int                 `fact:"pid" unit:"pid" doc:"The busiest one"`
	Nice     int                 `fact:"nice" unit:"level" doc:"Nice value of the busiest one: 19 yields to everybody, -20 to nobody"`
	Policy   string              `fact:"policy" doc:"Scheduling policy of the busiest one: normal, batch, idle, fifo, rr, deadline"`
	Waits    bool                `fact:"waits" doc:"The busiest one, or its first thread, waited for something between the samples; a loop without end never does, however little CPU others leave it"`
	Kernel   bool                `fact:"kernel_thread" doc:"They are kernel threads"`
	Unit     probes.Opt[string]  `fact:"unit" doc:"The systemd service or scope that the busiest one runs in; absent outside of any"`
	Parent   probes.Opt[string]  `fact:"parent" doc:"Command name of its parent; absent if that is gone"`
}

type commandMemory struct {
	Command string             `fact:"command,key" doc:"Command name"`
	Memory  int                `fact:"memory" unit:"bytes" doc:"Resident memory of all of that name; what they share is counted in each"`
	Count   int                `fact:"count" unit:"count" doc:"Processes of that name"`
	PID     int                `fact:"pid" unit:"pid" doc:"The biggest one"`
	Age     time.Duration      `fact:"age" doc:"How long ago the biggest one started"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that the biggest one runs in; absent outside of any"`
	Parent  probes.Opt[string] `fact:"parent" doc:"Command name of its parent; absent if that is gone"`
}

// How many command names are listed; what is beyond is counted.
const (
	topCommands = 10
	maxCommands = 50
)

// userHZ is the unit of times in /proc, 1/100 s on every architecture that Go and ECS have (USER_HZ in the kernel's
// include/asm-generic/param.h).
const userHZ = 100

// process is /proc/PID/stat.
type process struct {
	pid, ppid int
	command   string
	state     byte
	kernel    bool
	ticks     uint64 // user and system time
	reaped    uint64 // the same of children that ended and were waited for
	started   uint64 // ticks after boot; with the pid it identifies a process
	threads   int
	pages     int // resident
	nice      int
	policy    int
	core      int // that it ran on last
}

type processTable struct {
	list []process     // by pid
	up   time.Duration // of the machine when it was read, or what is known to be less
	page int           // bytes in one; 0 if that could not be found out

	// Of the processes that may be listed there is more, by pid: where those in state D wait, how many context switches they and those in
	// state R had, and which unit the others belong to.
	wchan    map[int]probes.Opt[string]
	switches map[int]switches
	unit     map[int]probes.Opt[string]
	io       map[int]ioCounts // of all processes, if any was blocked
	traced   []tracedProcess
	allowed  map[int]string // of services' processes, the cores that they may use, if any process ran
}

// ioCounts are read_bytes and write_bytes of /proc/PID/io: what went to and from disks, not the page cache.
type ioCounts struct{ read, written int }

func processesSample(ctx context.Context, h host.Host) (processTable, error) {
	t := processTable{wchan: map[int]probes.Opt[string]{}, switches: map[int]switches{}, unit: map[int]probes.Opt[string]{}}
	var err error
	if t.up, err = readUptime(h); err != nil {
		return t, err
	}
	if t.page, err = pageSize(h); err != nil {
		return t, err
	}
	pids, err := processIDs(h)
	if err != nil {
		return t, err
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return t, ctx.Err()
		}
		file := "/proc/" + strconv.Itoa(pid) + "/stat"
		line, err := readLine(h, file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) { // it ended meanwhile
			continue
		}
		if err != nil {
			return t, err
		}
		p, err := parseProcess(line)
		if err != nil || p.pid != pid {
			return t, fmt.Errorf("reading %s: process %d: %w", file, p.pid, err)
		}
		t.list = append(t.list, p)
		// Nobody starts in the future: then the uptime is a container's, made up by lxcfs, and the start times are the machine's.
		t.up = max(t.up, time.Duration(p.started)*time.Second/userHZ)
	}
	slices.SortFunc(t.list, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	if len(t.list) == 0 || t.list[0].pid != 1 {
		return t, errors.New("reading /proc: process 1 is not in it: other users' processes are hidden (hidepid)")
	}
	t.lookCloser(h)
	return t, nil
}

// parseProcess parses "1234 (comm) S 1 …" of proc_pid_stat(5). The name may hold spaces and parentheses.
func parseProcess(line string) (process, error) {
	var p process
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return p, fmt.Errorf("%.80q has no command name", line)
	}
	f := strings.Fields(line[end+1:]) // f[0] is field 3
	if len(f) < 39 || len(f[0]) != 1 {
		return p, fmt.Errorf("%.80q has %d fields, not at least 41", line, len(f)+2)
	}
	p.command, p.state = strings.ToValidUTF8(line[open+1:end], "\uFFFD"), f[0][0]
	var flags, user, system, children, childrenSystem, rss int
	for _, x := range []struct {
		into *int
		text string
	}{
		{&p.pid, strings.TrimSpace(line[:open])},
		{&p.ppid, f[1]},
		{&flags, f[6]},
		{&user, f[11]},
		{&system, f[12]},
		{&children, f[13]},
		{&childrenSystem, f[14]},
		{&p.nice, f[16]},
		{&p.threads, f[17]},
		{&rss, f[21]},
		{&p.policy, f[38]},
		{&p.core, f[36]},
	} {
		var err error
		if *x.into, err = strconv.Atoi(x.text); err != nil {
			return p, err
		}
	}
	started, err := strconv.ParseUint(f[19], 10, 64)
	const kernelThread = 0x00200000 // PF_KTHREAD of the kernel's include/linux/sched.h
	p.kernel = flags&kernelThread != 0
	if p.kernel {
		p.command, _, _ = strings.Cut(p.command, "/") // "kworker/0:1-events"
	}
	p.ticks, p.started, p.pages = uint64(user)+uint64(system), started, max(0, rss)
	p.reaped = uint64(max(0, children)) + uint64(max(0, childrenSystem))
	return p, err
}

// pageSize finds AT_PAGESZ in the auxiliary vector that the kernel gave this process (getauxval(3)).
func pageSize(h host.Files) (int, error) {
	b, err := h.ReadFile("/proc/self/auxv")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	const tagPageSize, word = 6, 8
	for ; len(b) >= 2*word; b = b[2*word:] {
		if binary.LittleEndian.Uint64(b) == tagPageSize {
			return int(binary.LittleEndian.Uint64(b[word:])), nil
		}
	}
	return 0, errors.New("reading /proc/self/auxv: no page size in it")
}

// lookCloser asks of the processes that may be listed where they wait and which unit they belong to: those in state D or R, the parents
// of zombies, and the biggest consumers so far.
func (t *processTable) lookCloser(h host.Files) {
	pids := map[int]bool{}
	blocked := 0
	for _, p := range t.list {
		switch p.state {
		case 'D':
			if blocked++; blocked <= maxCommands {
				t.wchan[p.pid] = waitChannel(h, p.pid)
				t.countSwitches(h, p.pid)
			}
		case 'R':
			pids[p.pid] = true
			t.countSwitches(h, p.pid)
		case 'Z':
			pids[p.ppid] = true
		case 'T':
			pids[p.pid] = true
		}
	}
	byUse := slices.Clone(t.list)
	slices.SortFunc(byUse, func(a, b process) int { return cmp.Compare(b.ticks, a.ticks) })
	for _, p := range byUse[:min(2*topCommands, len(byUse))] {
		pids[p.pid] = true
	}
	slices.SortFunc(byUse, func(a, b process) int { return cmp.Compare(b.pages, a.pages) })
	for _, p := range byUse[:min(2*topCommands, len(byUse))] {
		pids[p.pid] = true
	}
	for _, measure := range []func(process) uint64{func(p process) uint64 { return p.reaped }, func(p process) uint64 { return uint64(p.threads) }} {
		slices.SortFunc(byUse, func(a, b process) int { return cmp.Compare(measure(b), measure(a)) })
		for _, p := range byUse[:min(topCommands, len(byUse))] {
			pids[p.pid] = true
		}
	}
	if blocked > 0 || disksAwaited(h) {
		t.countIO(h, pids)
	}
	t.lookAtServices(h, pids)
	for pid := range pids {
		t.unit[pid] = processUnit(h, pid)
	}
}

// disksAwaited reports whether tasks waited for disks more than now and then in the last ten seconds.
func disksAwaited(h host.Files) bool {
	text, err := readText(h, "/proc/pressure/io")
	if err != nil {
		return false
	}
	s, err := parseStalls(text)
	return err == nil && s.Some10 >= 5
}

// maxIO is of how many processes the I/O is counted; the file costs 10 µs.
const maxIO = 500

// countIO reads how much each process has read and written, and adds those with most to pids.
func (t *processTable) countIO(h host.Files, pids map[int]bool) {
	t.io = map[int]ioCounts{}
	var most []int
	for _, p := range t.list {
		if p.kernel || len(t.io) >= maxIO {
			continue
		}
		fields, err := readAmounts(h, fmt.Sprintf("/proc/%d/io", p.pid))
		if err != nil { // it ended, or is another user's
			continue
		}
		t.io[p.pid] = ioCounts{fields["read_bytes"], fields["write_bytes"]}
		most = append(most, p.pid)
	}
	slices.SortFunc(most, func(a, b int) int {
		return cmp.Compare(t.io[b].read+t.io[b].written, t.io[a].read+t.io[a].written)
	})
	for _, pid := range most[:min(2*topCommands, len(most))] {
		pids[pid] = true
	}
}

// readAmounts reads lines like "read_bytes: 4096".
func readAmounts(h host.Files, name string) (map[string]int, error) {
	text, err := readText(h, name)
	if err != nil {
		return nil, err
	}
	m := map[string]int{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if n, err := parseCount(strings.TrimSpace(value)); err == nil {
			m[key] = n
		}
	}
	return m, nil
}

// waitChannel is the kernel function in which a process waits. The kernel says 0 where it does not know, and to those who may not.
func waitChannel(h host.Files, pid int) probes.Opt[string] {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
	switch name := strings.TrimSpace(string(b)); {
	case errors.Is(err, fs.ErrNotExist), err == nil && (name == "0" || name == ""):
		return probes.None[string]()
	case err != nil:
		return probes.Unread[string](err.Error())
	default:
		return probes.Some(name)
	}
}

// switches is how often a process began to wait, and how often another took its place. One that waits for a disk which works wakes up
// many times a second, even if it uses no CPU that the clock's ticks would show.
type switches struct{ voluntary, forced int }

func (t *processTable) countSwitches(h host.Files, pid int) {
	text, err := readText(h, fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	var s switches
	found := 0
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		into := &s.voluntary
		switch key {
		case "nonvoluntary_ctxt_switches":
			into = &s.forced
		case "voluntary_ctxt_switches":
		default:
			continue
		}
		if *into, err = parseCount(strings.TrimSpace(value)); err != nil {
			return
		}
		found++
	}
	if found == 2 {
		t.switches[pid] = s
	}
}

// processUnit is the unit that a process's control group belongs to: in the unified hierarchy, or in systemd's own of the old ones.
func processUnit(h host.Files, pid int) probes.Opt[string] {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return probes.None[string]()
	}
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		if controllers != "" && controllers != "name=systemd" {
			continue
		}
		if unit := unitOf(group); unit != probes.None[string]() {
			return unit
		}
	}
	return probes.None[string]()
}

func (t *processTable) unitOf(p process) probes.Opt[string] {
	if u, ok := t.unit[p.pid]; ok || p.kernel {
		return u
	}
	return probes.Unread[string]("it was not among the biggest when the processes were read")
}

func processes(cur processTable, prev *processTable, dt time.Duration) (processesFacts, error) {
	f := processesFacts{Total: len(cur.list)}
	for _, p := range cur.list {
		f.Threads += p.threads
		switch p.state {
		case 'R':
			f.Running++
		case 'S', 'I':
			f.Sleeping++
		case 'D':
			f.Blocked++
		case 'Z':
			f.Zombies++
		case 'T', 't':
			f.Stopped++
		}
	}
	before := prev.byPID()
	f.Stuck, f.BlockedBy = cur.blocked(prev, before)
	f.ZombiesOf, f.StoppedBy, f.Traced = cur.zombies(), cur.stopped(), cur.traced
	f.Starved = cur.starved(prev, before, dt)
	f.TopCPU = cur.topCPU(prev, before, dt)
	f.TopMemory = cur.topMemory()
	f.TopThreads = cur.topThreads()
	f.TopChildren = cur.topChildren(before, dt)
	f.TopIO = cur.topIO(prev, before, dt)
	return f, nil
}

// parentOf is the command name of a process's parent.
func (t *processTable) parentOf(p process) probes.Opt[string] {
	i, ok := slices.BinarySearchFunc(t.list, p.ppid, func(o process, pid int) int { return cmp.Compare(o.pid, pid) })
	if !ok {
		return probes.None[string]()
	}
	return probes.Some(t.list[i].command)
}

func (t *processTable) topThreads() []commandThreads {
	groups, biggest := map[string]*commandThreads{}, map[string]int{}
	for _, p := range t.list {
		if p.kernel {
			continue
		}
		g := groups[p.command]
		if g == nil {
			g = &commandThreads{Command: p.command}
			groups[p.command] = g
		}
		g.Count++
		g.Threads += p.threads
		if p.threads > biggest[p.command] {
			biggest[p.command] = p.threads
			g.PID, g.Unit, g.Parent = p.pid, t.unitOf(p), t.parentOf(p)
		}
	}
	return most(groups, topCommands/2, func(g *commandThreads) (int, string) { return g.Threads, g.Command }).All
}

// topChildren adds up the CPU time of children that were waited for between the samples. Nobody else accounts for a program that
// lives for milliseconds.
func (t *processTable) topChildren(before map[int]process, dt time.Duration) probes.Cut[commandChildren] {
	if before == nil || dt <= 0 {
		return probes.Cut[commandChildren]{Why: "there is only one sample"}
	}
	groups, biggest, total := map[string]*commandChildren{}, map[string]uint64{}, map[string]uint64{}
	for _, p := range t.list {
		old, ok := before[p.pid]
		if !ok || old.started != p.started || p.reaped <= old.reaped {
			continue
		}
		used := p.reaped - old.reaped
		g := groups[p.command]
		if g == nil {
			g = &commandChildren{Command: p.command}
			groups[p.command] = g
		}
		total[p.command] += used
		if used > biggest[p.command] {
			biggest[p.command] = used
			g.PID, g.Unit, g.Parent = p.pid, t.unitOf(p), t.parentOf(p)
			g.Age, _ = t.lifetime(p)
		}
	}
	for name, g := range groups {
		g.CPU = 100 * float64(total[name]) / userHZ / dt.Seconds()
	}
	top := most(groups, topCommands/2, func(g *commandChildren) (int, string) { return int(total[g.Command]), g.Command })
	return probes.Cut[commandChildren]{All: top.All}
}

// topIO adds up what was read and written between the samples.
func (t *processTable) topIO(prev *processTable, before map[int]process, dt time.Duration) probes.Cut[commandIO] {
	if prev == nil || dt <= 0 {
		return probes.Cut[commandIO]{Why: "there is only one sample"}
	}
	groups, biggest := map[string]*commandIO{}, map[string]int{}
	for _, p := range t.list {
		now, ok := t.io[p.pid]
		then, was := prev.io[p.pid]
		age, _ := t.lifetime(p)
		if was = was && before[p.pid].started == p.started; !was {
			then = ioCounts{}
		}
		if !ok || !was && age > dt {
			continue
		}
		read, written := max(0, now.read-then.read), max(0, now.written-then.written)
		if read+written == 0 && p.state != 'D' {
			continue
		}
		g := groups[p.command]
		if g == nil {
			g = &commandIO{Command: p.command}
			groups[p.command] = g
		}
		g.Read += float64(read) / dt.Seconds()
		g.Written += float64(written) / dt.Seconds()
		g.Mean += float64(now.read+now.written) / max(1, age.Seconds())
		if read+written > biggest[p.command] || g.PID == 0 {
			biggest[p.command] = read + written
			g.PID, g.Age, g.Nice, g.Unit, g.Parent = p.pid, age, p.nice, t.unitOf(p), t.parentOf(p)
		}
	}
	top := most(groups, topCommands, func(g *commandIO) (int, string) { return int(g.Read + g.Written), g.Command })
	return probes.Cut[commandIO]{All: top.All}
}

// byPID indexes a sample; nil of no sample.
func (t *processTable) byPID() map[int]process {
	if t == nil {
		return nil
	}
	m := make(map[int]process, len(t.list))
	for _, p := range t.list {
		m[p.pid] = p
	}
	return m
}

// blocked groups the processes in uninterruptible sleep.
func (t *processTable) blocked(prev *processTable, before map[int]process) (probes.Opt[int], probes.Cut[blockedCommand]) {
	groups := map[string]*blockedCommand{}
	stuckIn := map[string]int{}
	stuck := 0
	for _, p := range t.list {
		if p.state != 'D' {
			continue
		}
		g := groups[p.command]
		if g == nil {
			g = &blockedCommand{Command: p.command, PID: p.pid, Kernel: p.kernel, Wait: t.wchan[p.pid]}
			groups[p.command] = g
		}
		g.Count++
		if old, ok := before[p.pid]; ok && old.started == p.started && old.state == 'D' && t.slept(prev, p.pid) {
			stuck++
			stuckIn[p.command]++
			if stuckIn[p.command] == 1 { // one that is stuck is the better example
				g.PID, g.Wait = p.pid, t.wchan[p.pid]
			}
		}
	}
	if prev == nil {
		return probes.None[int](), most(groups, maxCommands, func(g *blockedCommand) (int, string) { return g.Count, g.Command })
	}
	for name, g := range groups {
		g.Stuck = probes.Some(stuckIn[name])
	}
	return probes.Some(stuck), most(groups, maxCommands, func(g *blockedCommand) (int, string) { return g.Count, g.Command })
}

// slept reports whether a process that was in state D at both samples did not wake up in between.
func (t *processTable) slept(prev *processTable, pid int) bool {
	now, ok := t.switches[pid]
	then, known := prev.switches[pid]
	return ok && known && now == then
}

// waited reports whether a process waited for something between the samples, which is taken to be so unless the contrary is certain.
func (t *processTable) waited(prev *processTable, p, old process) bool {
	now, ok := t.switches[p.pid]
	then, known := prev.switches[p.pid]
	return !ok || !known || old.started != p.started || old.state != 'R' || p.state != 'R' || now.voluntary != then.voluntary
}

// stopped groups those that a signal has stopped.
func (t *processTable) stopped() probes.Cut[stoppedCommand] {
	groups := map[string]*stoppedCommand{}
	for _, p := range t.list {
		if p.state != 'T' {
			continue
		}
		g := groups[p.command]
		if g == nil {
			g = &stoppedCommand{Command: p.command, PID: p.pid, Unit: t.unitOf(p)}
			groups[p.command] = g
		}
		g.Count++
	}
	return most(groups, maxCommands, func(g *stoppedCommand) (int, string) { return g.Count, g.Command })
}

// zombies groups the processes that ended by the parent that has not asked for them.
func (t *processTable) zombies() probes.Cut[zombieParent] {
	all := t.byPID()
	groups := map[string]*zombieParent{}
	for _, p := range t.list {
		if p.state != 'Z' {
			continue
		}
		parent, ok := all[p.ppid]
		if !ok { // it ended while the processes were read
			continue
		}
		g := groups[parent.command]
		if g == nil {
			g = &zombieParent{Command: parent.command, PID: parent.pid, Unit: t.unitOf(parent)}
			groups[parent.command] = g
		}
		g.Count++
		if parent.pid < g.PID {
			g.PID, g.Unit = parent.pid, t.unitOf(parent)
		}
	}
	return most(groups, maxCommands, func(g *zombieParent) (int, string) { return g.Count, g.Command })
}

// topCPU adds up the CPU time that was used between the samples.
func (t *processTable) topCPU(prev *processTable, before map[int]process, dt time.Duration) probes.Cut[commandCPU] {
	if prev == nil || dt <= 0 {
		return probes.Cut[commandCPU]{Why: "there is only one sample"}
	}
	groups := map[string]*commandCPU{}
	busiest, total := map[string]uint64{}, map[string]uint64{}
	for _, p := range t.list {
		used := p.ticks // of one that started in between, all
		if old, ok := before[p.pid]; ok && old.started == p.started {
			used = p.ticks - min(p.ticks, old.ticks)
		}
		g := groups[p.command]
		if g == nil {
			g = &commandCPU{Command: p.command, Kernel: p.kernel}
			groups[p.command] = g
		}
		g.Count++
		total[p.command] += used
		if g.PID == 0 || used > busiest[p.command] {
			busiest[p.command] = used
			g.PID, g.Nice, g.Policy, g.Unit = p.pid, p.nice, policyName(p.policy), t.unitOf(p)
			g.Age, g.Lifetime = t.lifetime(p)
			g.Parent = t.parentOf(p)
			g.Waits = t.waited(prev, p, before[p.pid])
		}
	}
	for name, g := range groups {
		if total[name] == 0 {
			delete(groups, name)
			continue
		}
		g.CPU = 100 * float64(total[name]) / userHZ / dt.Seconds()
	}
	top := most(groups, topCommands, func(g *commandCPU) (int, string) { return int(total[g.Command]), g.Command })
	return probes.Cut[commandCPU]{All: top.All} // the biggest, all of them: nothing was cut
}

// lifetime is a process's age and the CPU that it has used in it, in percent of a core.
func (t *processTable) lifetime(p process) (time.Duration, probes.Opt[float64]) {
	age := max(0, t.up-time.Duration(p.started)*time.Second/userHZ)
	if age < time.Second {
		return age, probes.None[float64]()
	}
	return age, probes.Some(100 * float64(p.ticks) / userHZ / age.Seconds())
}

func policyName(policy int) string {
	names := [...]string{"normal", "fifo", "rr", "batch", "iso", "idle", "deadline", "ext"} // include/uapi/linux/sched.h
	if policy >= 0 && policy < len(names) {
		return names[policy]
	}
	return strconv.Itoa(policy)
}

// topMemory adds up resident memory.
func (t *processTable) topMemory() probes.Cut[commandMemory] {
	if t.page == 0 {
		return probes.Cut[commandMemory]{Why: "the page size is not known: there is no /proc/self/auxv"}
	}
	groups := map[string]*commandMemory{}
	biggest := map[string]int{}
	for _, p := range t.list {
		if p.pages == 0 {
			continue
		}
		g := groups[p.command]
		if g == nil {
			g = &commandMemory{Command: p.command}
			groups[p.command] = g
		}
		g.Count++
		g.Memory += p.pages * t.page
		if p.pages > biggest[p.command] {
			biggest[p.command] = p.pages
			g.PID, g.Unit, g.Parent = p.pid, t.unitOf(p), t.parentOf(p)
			g.Age, _ = t.lifetime(p)
		}
	}
	top := most(groups, topCommands, func(g *commandMemory) (int, string) { return g.Memory, g.Command })
	return probes.Cut[commandMemory]{All: top.All} // the biggest, all of them: nothing was cut
}

// most lists the n groups with the highest measure, by name where it is the same.
func most[T any](groups map[string]*T, n int, measure func(*T) (int, string)) probes.Cut[T] {
	list := make([]*T, 0, len(groups))
	for _, g := range groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *T) int {
		ma, na := measure(a)
		mb, nb := measure(b)
		return cmp.Or(cmp.Compare(mb, ma), cmp.Compare(na, nb))
	})
	var c probes.Cut[T]
	for _, g := range list[:min(n, len(list))] {
		c.All = append(c.All, *g)
	}
	c.More = len(list) - len(c.All)
	return c
}

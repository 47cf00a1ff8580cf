package linux

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

type tracedProcess struct {
	Unit    string `fact:"unit,key" doc:"The systemd service"`
	Command string `fact:"command" doc:"Command name of its process"`
	PID     int    `fact:"pid" unit:"pid" doc:"That process"`
	Tracer  string `fact:"tracer" doc:"Command name of the program that is attached to it"`
	By      int    `fact:"tracer_pid" unit:"pid" doc:"That program"`
	Injects string `fact:"injects" doc:"What strace was told to make of its system calls (-e inject=…); empty if it only looks on"`
}

type starvedService struct {
	Unit    string  `fact:"unit,key" doc:"The systemd service"`
	Command string  `fact:"command" doc:"Command name of its first process"`
	PID     int     `fact:"pid" unit:"pid" doc:"That process"`
	Why     string  `fact:"why" doc:"cores: it may not use all of them; policy: it runs only if nobody else wants to (SCHED_IDLE); nice: its priority is low"`
	Cores   string  `fact:"cores" doc:"Those that it may use, as in 0-1,4"`
	Nice    int     `fact:"nice" unit:"level" doc:"Its nice value"`
	Others  float64 `fact:"others_pct" unit:"%" doc:"CPU time that others used on these cores, in percent of them"`
	Most    string  `fact:"most" doc:"Who used most of it: command, pid, CPU time"`
	MostOf  string  `fact:"most_command" doc:"Its command name"`
	Wants   bool    `fact:"wants" doc:"It was ready to run at both samples"`
	Own     float64 `fact:"used_pct" unit:"%" doc:"What it used itself, in percent of one core"`
}

// tracers are the programs that attach to others and slow each of their system calls down, or stop them.
var tracers = []string{"strace", "ltrace", "gdb", "gdbserver", "lldb-server", "dlv", "rr", "perf-trace", "valgrind", "uftrace", "reptyr"}

const (
	maxServiceProcesses = 60
	maxOfServices       = 10
	lowNice             = 10 // Nice= that is meant to yield; systemd's own batch jobs have 19
	starvedPct          = 90
)

// lookAtServices asks more of the processes of services where something on the host tells that it may be worth it: a tracer that runs, or any program
// that does, without which nobody takes the CPU from anybody.
func (t *processTable) lookAtServices(h host.Files, pids map[int]bool) {
	t.allowed = map[int]string{}
	runs, tracing := 0, false
	for _, p := range t.list {
		if p.state == 'R' && !p.kernel && p.pid != os.Getpid() {
			runs++
		}
		tracing = tracing || slices.Contains(tracers, p.command)
	}
	if runs == 0 && !tracing {
		return
	}
	served := serviceProcesses(h)
	for _, pid := range append([]int{1}, served[:min(len(served), maxServiceProcesses)]...) {
		text, err := readText(h, fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			switch key, value, _ := strings.Cut(line, ":"); key {
			case "Cpus_allowed_list":
				t.allowed[pid] = strings.TrimSpace(value)
			case "TracerPid":
				if by, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && by > 0 {
					t.trace(h, pid, by)
				}
			}
		}
	}
	for pid, cores := range t.allowed {
		if i := t.index(pid); i >= 0 && (cores != t.allowed[1] || t.list[i].nice >= lowNice || t.list[i].policy == policyIdle) {
			pids[pid] = true
		}
	}
}

// injects is what strace(1) takes to tamper with system calls.
var injects = regexp.MustCompile(`\x00(?:-e|--inject|--fault)?\x00?=?((?:inject|fault)=[^\x00]+)`)

func (t *processTable) trace(h host.Files, pid, by int) {
	unit, _ := processUnit(h, pid).Get()
	i, j := t.index(pid), t.index(by)
	if i < 0 || j < 0 || !isService(unit) || len(t.traced) >= maxOfServices || slices.ContainsFunc(t.traced, func(o tracedProcess) bool { return o.Unit == unit }) {
		return
	}
	if tracing, _ := processUnit(h, by).Get(); tracing == unit { // it watches its own: a sandbox, a test
		return
	}
	p := tracedProcess{Unit: unit, Command: t.list[i].command, PID: pid, Tracer: t.list[j].command, By: by}
	if b, err := h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", by)); err == nil {
		if m := injects.FindSubmatch(b); m != nil {
			p.Injects = string(m[1])
		}
	}
	t.traced = append(t.traced, p)
}

func (t *processTable) index(pid int) int {
	i, ok := slices.BinarySearchFunc(t.list, pid, func(p process, pid int) int { return cmp.Compare(p.pid, pid) })
	if !ok {
		return -1
	}
	return i
}

const policyIdle = 5 // SCHED_IDLE

// starved finds the services that may use only cores which others had for themselves between the samples, or that yield to others.
func (t *processTable) starved(prev *processTable, before map[int]process, dt time.Duration) []starvedService {
	list := []starvedService{}
	if before == nil || dt <= 0 {
		return list
	}
	for _, pid := range slices.Sorted(maps.Keys(t.allowed)) {
		i := t.index(pid)
		unit, known := t.unit[pid].Get()
		if i < 0 || !known || !isService(unit) || len(list) >= maxOfServices || slices.ContainsFunc(list, func(s starvedService) bool { return s.Unit == unit }) {
			continue
		}
		p := t.list[i]
		s := starvedService{Unit: unit, Command: p.command, PID: pid, Cores: t.allowed[pid], Nice: p.nice}
		switch {
		case s.Cores != t.allowed[1]:
			s.Why = "cores"
		case p.policy == policyIdle:
			s.Why = "policy"
		case p.nice >= lowNice:
			s.Why = "nice"
		default:
			continue
		}
		if s.judge(t, prev, before, dt) {
			list = append(list, s)
		}
	}
	return list
}

// judge adds up who used the cores, and tells whether they had all of them: nearly all of the time, or so many that never wait as there are cores,
// for in a container or under a hypervisor even those may get little. A process counts for the core that it ran on last.
func (s *starvedService) judge(t, prev *processTable, before map[int]process, dt time.Duration) bool {
	cores := coreSet(s.Cores)
	var total, most uint64
	spin := 0
	for _, p := range t.list {
		old, ok := before[p.pid]
		if !ok || old.started != p.started || !cores[p.core] {
			continue
		}
		used := p.ticks - min(p.ticks, old.ticks)
		if unit, known := t.unit[p.pid].Get(); known && unit == s.Unit {
			s.Wants = s.Wants || p.pid == s.PID && p.state == 'R' && old.state == 'R'
			s.Own += 100 * float64(used) / userHZ / dt.Seconds()
			continue
		}
		if s.Why != "cores" && (p.nice >= s.Nice && p.policy == policyIdle || p.nice >= s.Nice && s.Why == "nice") { // they yield to it, too
			continue
		}
		if !t.waited(prev, p, old) {
			spin++
		}
		if total += used; used > most {
			most = used
			s.MostOf = p.command
			s.Most = fmt.Sprintf("%s (pid %d), %.0f %% of a core", p.command, p.pid, 100*float64(used)/userHZ/dt.Seconds())
		}
	}
	s.Others = 100 * float64(total) / userHZ / dt.Seconds() / max(1, float64(len(cores)))
	return s.Others >= starvedPct || spin > 0 && spin >= len(cores)
}

// coreSet reads a list of /proc/PID/status: 0-1,4.
func coreSet(list string) map[int]bool {
	set := map[int]bool{}
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(low)
		b := a
		if isRange && err == nil {
			b, err = strconv.Atoi(high)
		}
		if err != nil || b-a > 1<<13 {
			continue
		}
		for ; a <= b; a++ {
			set[a] = true
		}
	}
	return set
}

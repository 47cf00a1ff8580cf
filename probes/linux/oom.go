package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// OOM reads whom the kernel killed for want of memory.
var OOM = probes.Define(probes.Probe[host.Host]{
	Name: "oom",
	Doc: `Processes killed for want of memory

Reads the kernel's messages (/dev/kmsg, or the journal of this boot) and the counter in /proc/vmstat. Costs 1 µs a message. The
messages are lost when the buffer wraps or the host restarts, the counter only when it restarts: a counter above the number of
messages means older kills. Daemons that kill by themselves (systemd-oomd, earlyoom) are not seen. Without root and without the
journal the victims are not known, the counter is. A container has its own count, if it has no log.`,
	Every: 30 * time.Second,
}, oom)

type oomFacts struct {
	SinceBoot probes.Opt[int]           `fact:"since_boot" unit:"count" doc:"Processes killed since boot; oom_kill of /proc/vmstat, absent before Linux 4.13"`
	Logged    probes.Opt[int]           `fact:"logged" unit:"count" doc:"Kills that the kernel's log still shows"`
	LastAge   probes.Opt[time.Duration] `fact:"last_age" doc:"Time since the latest of them; absent if there is none"`
	Container probes.Opt[int]           `fact:"in_container" unit:"count" doc:"Processes killed in the control group that this host is, where there is no kernel log to read: memory.events, in version 1 memory.oom_control, which leaves groups within it out; absent otherwise"`
	Victims   probes.Cut[oomVictim]     `fact:"victims" doc:"Who was killed, by command name, latest first"`
}

type oomVictim struct {
	Name   string             `fact:"name,key" doc:"Command name of the process, at most 15 characters"`
	Kills  int                `fact:"kills" unit:"count" doc:"How often one of that name was killed"`
	Age    time.Duration      `fact:"last_age" doc:"Time since the latest kill"`
	Host   bool               `fact:"host_wide" doc:"The latest kill was for want of memory on the whole machine, not within a control group's limit"`
	Memory int                `fact:"memory" unit:"bytes" doc:"What the latest one held: anonymous, file and shared pages together"`
	Cgroup probes.Opt[string] `fact:"cgroup" doc:"Its control group; absent before Linux 5.0, which does not log it"`
	Unit   probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that the control group belongs to"`
}

func oom(ctx context.Context, h host.Host) (oomFacts, error) {
	var f oomFacts
	counters, err := vmstatSample(ctx, h)
	if err != nil {
		return f, err
	}
	if n, ok := counters["oom_kill"]; ok {
		f.SinceBoot = probes.Some(int(n))
		if n == 0 { // then no log has anything to add
			f.Logged = probes.Some(0)
			return f, nil
		}
	}
	log, err := readKernelLog(ctx, h)
	if errors.Is(err, probes.ErrNoData) {
		var kills int
		if kills, err = containerOOMKills(h); errors.Is(err, fs.ErrNotExist) {
			return f, probes.NoData("there is no kernel log here, and no control group that counts")
		}
		if err == nil {
			f.Container = probes.Some(kills)
			if kills > 0 {
				err = fmt.Errorf("there is no kernel log here; its control group counts %d kills", kills)
			}
		}
	}
	if err != nil {
		why := err.Error()
		f.Logged, f.LastAge, f.Victims.Why = probes.Unread[int](why), probes.Unread[time.Duration](why), why
		return f, nil
	}
	kills := 0
	f.Victims.All, kills = oomVictims(log)
	f.Logged = probes.Some(kills)
	if kills > 0 {
		f.LastAge = probes.Some(f.Victims.All[0].Age)
	}
	return f, nil
}

// The kernel says in three lines what happened, in mm/oom_kill.c. All versions since 2.6.32 have the last one:
//
//	oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),…,oom_memcg=/a,task_memcg=/a/b,task=java,pid=7,uid=0     since 5.0
//	Memory cgroup out of memory: Kill process 7 (java) score 9 or sacrifice child                                 before 5.0
//	Killed process 7 (java) total-vm:…kB, anon-rss:…kB, file-rss:…kB, shmem-rss:…kB
//
// Since 5.0 the last begins with "Out of memory: " or "Memory cgroup out of memory: "; some versions have ", UID 0," behind the pid.
var (
	oomKilled = regexp.MustCompile(`Killed process (\d+),? (?:UID \d+, )?\((.*)\) total-vm:\d+kB, anon-rss:(\d+)kB, file-rss:(\d+)kB(?:, shmem-rss:(\d+)kB)?`)
	oomTask   = regexp.MustCompile(`task_memcg=(.*),task=.*,pid=(\d+),uid=`)
)

// oomVictims finds the kills in a log, and counts them.
func oomVictims(log []kernelRecord) ([]oomVictim, int) {
	var found []oomVictim
	kills := 0
	inCgroup, cgroup := false, map[string]string{} // by pid, until it was killed
	for _, r := range log {
		inCgroup = inCgroup || strings.HasPrefix(r.text, "Memory cgroup out of memory: ")
		if m := oomTask.FindStringSubmatch(r.text); m != nil {
			cgroup[m[2]] = m[1]
		}
		m := oomKilled.FindStringSubmatch(r.text)
		if m == nil {
			continue
		}
		v := oomVictim{Name: m[2], Kills: 1, Age: r.age, Host: !inCgroup}
		for _, kb := range m[3:] {
			n, _ := strconv.Atoi(kb) // shmem-rss is not there before Linux 4.5
			v.Memory += n * 1024
		}
		if g, ok := cgroup[m[1]]; ok {
			v.Cgroup, v.Unit = probes.Some(g), unitOf(g)
		}
		inCgroup = false
		delete(cgroup, m[1])
		kills++
		if i := slices.IndexFunc(found, func(o oomVictim) bool { return o.Name == v.Name }); i >= 0 {
			v.Kills += found[i].Kills
			found[i] = v
		} else {
			found = append(found, v)
		}
	}
	slices.SortStableFunc(found, func(a, b oomVictim) int { return cmp.Compare(a.Age, b.Age) })
	return found, kills
}

// containerOOMKills reads the count of the control group that a container sees as its root.
func containerOOMKills(h host.Files) (int, error) {
	name := "/sys/fs/cgroup/memory.events"
	text, err := readText(h, name)
	if errors.Is(err, fs.ErrNotExist) {
		name = "/sys/fs/cgroup/memory/memory.oom_control"
		text, err = readText(h, name)
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			kills, err := parseCount(n)
			if err != nil {
				return 0, fmt.Errorf("reading %s: %w", name, err)
			}
			return kills, nil
		}
	}
	return 0, fmt.Errorf("reading %s: %w: no oom_kill, as before Linux 4.13", name, fs.ErrNotExist)
}

// unitOf is the systemd unit that a control group's path names: the innermost service or scope.
func unitOf(cgroup string) probes.Opt[string] {
	for dir := cgroup; dir != "/" && dir != "."; dir = path.Dir(dir) {
		if name := path.Base(dir); strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope") {
			return probes.Some(name)
		}
	}
	return probes.None[string]()
}

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
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Cgroups reads which control groups run into their limits.
var Cgroups = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "cgroups",
	Doc: `Control groups at their limits

Reads cpu.stat, memory.events and pids.events of each control group under /sys/fs/cgroup (in the first version cpu.stat, memory.failcnt and
pids.events) twice, and the limits of those whose counters are not zero: only these are listed. Units and containers are such groups. Costs
about 30 µs a group; it looks at 300 groups, 6 levels deep. In a container the group "/" is the container itself, as its host limits it.`,
	Every:   30 * time.Second,
	Timeout: 5 * time.Second, // a hundred small files, which a host whose processors are busy reads slowly, when they matter most
}, sampleCgroups, cgroups)

type cgroupsFacts struct {
	Dying  probes.Opt[int]        `fact:"dying" unit:"count" doc:"Control groups that were removed and still hold memory; nr_dying_descendants of the root's cgroup.stat, absent in the first version"`
	Limits probes.Cut[cgroupFact] `fact:"limits" doc:"Groups that were ever held back by a limit of theirs"`
}

type cgroupFact struct {
	Group string             `fact:"group,key" doc:"Path under /sys/fs/cgroup: /system.slice/nginx.service"`
	Unit  probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it is; absent for others"`

	CPUs         probes.Opt[float64] `fact:"cpus" unit:"cores" doc:"CPU time that it may use, in cores; absent without a quota"`
	ThrottledPct probes.Opt[float64] `fact:"throttled_pct" unit:"%" doc:"Share of the periods between the samples in which it had used up its quota; absent without a quota or a period"`

	Memory      probes.Opt[int]     `fact:"memory" unit:"bytes" doc:"Memory charged to it, page cache included"`
	MemoryMax   probes.Opt[int]     `fact:"memory_max" unit:"bytes" doc:"Its hard limit; absent without one"`
	MemoryHigh  probes.Opt[int]     `fact:"memory_high" unit:"bytes" doc:"Limit above which it is slowed down: memory.high; absent without one, and in the first version"`
	HighPerS    probes.Opt[float64] `fact:"memory_high_per_s" unit:"1/s" doc:"How often it was slowed down for being above memory_high"`
	AtMaxPerS   probes.Opt[float64] `fact:"memory_max_per_s" unit:"1/s" doc:"How often it hit memory_max and had to reclaim; page cache alone does that too"`
	OOMKills    int                 `fact:"oom_kills" unit:"count" doc:"Processes killed in it for want of memory since it was made; 0 in the first version"`
	FullPct     probes.Opt[float64] `fact:"memory_full_pct" unit:"%" doc:"Share of the last 10 s in which all its tasks waited for memory; memory.pressure, absent without PSI"`
	Tasks       probes.Opt[int]     `fact:"tasks" unit:"tasks" doc:"Threads in it; pids.current"`
	TasksMax    probes.Opt[int]     `fact:"tasks_max" unit:"tasks" doc:"How many there may be; pids.max, absent without a limit"`
	Refused     int                 `fact:"forks_refused" unit:"count" doc:"Forks refused for that limit since the group was made"`
	RefusedPerS probes.Opt[float64] `fact:"forks_refused_per_s" unit:"1/s" doc:"The same between the samples"`
}

const (
	maxCgroups     = 300
	maxCgroupDepth = 6
)

// cgroupSample is what one group's counters were.
type cgroupSample struct {
	cgroupFact
	periods, throttled, high, max, refused uint64
}

type cgroupsSample struct {
	dying  probes.Opt[int]
	groups []cgroupSample
	more   int
}

func sampleCgroups(ctx context.Context, h host.Host) (cgroupsSample, error) {
	const root = "/sys/fs/cgroup"
	var s cgroupsSample
	v2 := true
	if _, err := h.Stat(root + "/cgroup.controllers"); errors.Is(err, fs.ErrNotExist) {
		v2 = false
	} else if err != nil {
		return s, err
	}
	roots := []string{root}
	if v2 {
		s.dying = dyingGroups(h, root)
	} else {
		roots = nil
		for _, controller := range []string{"cpu", "memory", "pids"} {
			if _, err := h.Stat(root + "/" + controller); err == nil {
				roots = append(roots, root+"/"+controller)
			}
		}
		if len(roots) == 0 {
			return s, probes.NoData("no control groups are mounted at /sys/fs/cgroup")
		}
	}
	for _, r := range roots {
		w := cgroupWalk{ctx: ctx, h: h, root: r, v2: v2, s: &s}
		w.walk("/", 0)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
	}
	return s, nil
}

func dyingGroups(h host.Files, root string) probes.Opt[int] {
	stat, err := readKeyed(h, root+"/cgroup.stat")
	if errors.Is(err, fs.ErrNotExist) {
		return probes.None[int]()
	}
	if err != nil {
		return probes.Unread[int](err.Error())
	}
	return probes.Some(int(stat["nr_dying_descendants"]))
}

// readKeyed reads lines of a name and a number.
func readKeyed(h host.Files, name string) (map[string]uint64, error) {
	text, err := readText(h, name)
	if err != nil {
		return nil, err
	}
	m := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := parseCount(number); err == nil {
			m[key] = uint64(n)
		}
	}
	return m, nil
}

type cgroupWalk struct {
	ctx  context.Context
	h    host.Host
	root string // of the hierarchy
	v2   bool
	s    *cgroupsSample
	seen int
}

func (w *cgroupWalk) walk(group string, depth int) {
	if w.seen >= maxCgroups || w.ctx.Err() != nil {
		w.s.more++
		return
	}
	w.seen++
	w.look(group)
	if depth >= maxCgroupDepth {
		return
	}
	entries, err := w.h.ReadDir(w.root + group)
	if err != nil {
		return // it was removed meanwhile
	}
	for _, e := range entries {
		if e.Type.IsDir() {
			w.walk(path.Join(group, e.Name), depth+1)
		}
	}
}

func (w *cgroupWalk) look(group string) {
	dir := path.Join(w.root, group)
	cpu, pids, memory := w.counters(dir+"/cpu.stat"), w.counters(dir+"/pids.events"), w.counters(dir+"/memory.events")
	if !w.v2 {
		memory = map[string]uint64{}
		if n, err := readInt(w.h, dir+"/memory.failcnt"); err == nil {
			memory["max"] = uint64(n)
		}
	}
	c := cgroupSample{
		periods: cpu["nr_periods"], throttled: cpu["nr_throttled"],
		high: memory["high"], max: memory["max"], refused: pids["max"],
	}
	c.OOMKills = int(memory["oom_kill"])
	if c.throttled+c.high+c.max+c.refused == 0 && c.OOMKills == 0 {
		return
	}
	i := slices.IndexFunc(w.s.groups, func(g cgroupSample) bool { return g.Group == group })
	if i < 0 {
		c.Group, c.Unit = group, unitOf(group)
		w.s.groups = append(w.s.groups, c)
		i = len(w.s.groups) - 1
	} else { // another controller's tree of the first version
		g := &w.s.groups[i]
		g.periods, g.throttled, g.max, g.refused = g.periods+c.periods, g.throttled+c.throttled, g.max+c.max, g.refused+c.refused
	}
	w.limits(dir, &w.s.groups[i].cgroupFact)
}

// counters reads a group's counters; none if the group has no such controller or was removed meanwhile.
func (w *cgroupWalk) counters(name string) map[string]uint64 {
	c, err := readKeyed(w.h, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		w.s.more++
	}
	return c
}

// limits reads the limits of a group that has run into one. What a controller's tree of the first version lacks another has read.
func (w *cgroupWalk) limits(dir string, f *cgroupFact) {
	number := func(name string) probes.Opt[int] {
		line, err := readLine(w.h, dir+"/"+name)
		if err != nil || line == "max" {
			return probes.None[int]()
		}
		n, err := parseCount(line)
		if err != nil || n >= 1<<60 { // the first version writes the largest multiple of a page for "none"
			return probes.None[int]()
		}
		return probes.Some(n)
	}
	set := func(into *probes.Opt[int], name string) {
		if v := number(name); v != probes.None[int]() {
			*into = v
		}
	}
	set(&f.Tasks, "pids.current")
	set(&f.TasksMax, "pids.max")
	if !w.v2 {
		set(&f.Memory, "memory.usage_in_bytes")
		set(&f.MemoryMax, "memory.limit_in_bytes")
		quota, ok1 := number("cpu.cfs_quota_us").Get()
		period, ok2 := number("cpu.cfs_period_us").Get()
		if ok1 && ok2 && period > 0 {
			f.CPUs = probes.Some(float64(quota) / float64(period))
		}
		return
	}
	set(&f.Memory, "memory.current")
	set(&f.MemoryMax, "memory.max")
	set(&f.MemoryHigh, "memory.high")
	if n, err := readNumbers(w.h, dir+"/cpu.max", 2); err == nil && n[1] > 0 { // "max 100000" is no number
		f.CPUs = probes.Some(float64(n[0]) / float64(n[1]))
	}
	if text, err := readText(w.h, dir+"/memory.pressure"); err == nil {
		for line := range strings.Lines(text) {
			var avg float64
			if _, err := fmt.Sscanf(line, "full avg10=%f", &avg); err == nil {
				f.FullPct = probes.Some(avg)
			}
		}
	}
}

func cgroups(cur cgroupsSample, prev *cgroupsSample, dt time.Duration) (cgroupsFacts, error) {
	f := cgroupsFacts{Dying: cur.dying}
	f.Limits.More = cur.more
	for _, g := range cur.groups {
		g.Refused = int(g.refused)
		if prev != nil {
			// A group that was not listed before had all its counters at zero.
			var old cgroupSample
			if i := slices.IndexFunc(prev.groups, func(p cgroupSample) bool { return p.Group == g.Group }); i >= 0 {
				old = prev.groups[i]
			}
			g.HighPerS, g.AtMaxPerS, g.RefusedPerS = rate(g.high, old.high, dt), rate(g.max, old.max, dt), rate(g.refused, old.refused, dt)
			if periods := g.periods - old.periods; g.periods > old.periods && g.throttled >= old.throttled && old.Group != "" {
				g.ThrottledPct = probes.Some(percent(float64(g.throttled-old.throttled), float64(periods)))
			}
		}
		f.Limits.All = append(f.Limits.All, g.cgroupFact)
	}
	slices.SortStableFunc(f.Limits.All, func(a, b cgroupFact) int { return cmp.Compare(a.Group, b.Group) })
	return f, nil
}

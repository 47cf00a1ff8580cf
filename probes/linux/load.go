package linux

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Load reads how many tasks wanted to run.
var Load = probes.Define(probes.Probe[host.Host]{
	Name: "load",
	Doc: `Load average

Reads /proc/loadavg, and from /proc/stat the number of cores that are online and of tasks that wait for I/O. Costs 0.1 ms.
Linux counts tasks in uninterruptible sleep as load, so a high load on idle cores means a stuck disk or network file system
and not a lack of CPU. In a container the figures are the whole machine's, unless lxcfs replaces the file.`,
	Every: 10 * time.Second,
}, load)

type loadFacts struct {
	Load1     float64 `fact:"load1" unit:"tasks" doc:"Runnable and uninterruptible tasks, damped average over 1 minute; /proc/loadavg"`
	Load5     float64 `fact:"load5" unit:"tasks" doc:"The same over 5 minutes"`
	Load15    float64 `fact:"load15" unit:"tasks" doc:"The same over 15 minutes"`
	PerCPU1   float64 `fact:"per_cpu1" unit:"tasks" doc:"load1 divided by the cores that are online"`
	PerCPU5   float64 `fact:"per_cpu5" unit:"tasks" doc:"load5 divided by the cores that are online"`
	PerCPU15  float64 `fact:"per_cpu15" unit:"tasks" doc:"load15 divided by the cores that are online"`
	Runnable  int     `fact:"runnable" unit:"tasks" doc:"Tasks that run or could run now, this process among them; /proc/loadavg"`
	BlockedIO int     `fact:"blocked_io" unit:"tasks" doc:"Tasks that wait for block I/O now; procs_blocked of /proc/stat"`
	Tasks     int     `fact:"tasks" unit:"tasks" doc:"Threads that exist; /proc/loadavg"`
}

func load(_ context.Context, h host.Host) (loadFacts, error) {
	line, err := readLine(h, "/proc/loadavg")
	if err != nil {
		return loadFacts{}, err
	}
	f, err := parseLoadavg(line)
	if err != nil {
		return loadFacts{}, fmt.Errorf("reading /proc/loadavg: %w", err)
	}
	s, err := readStat(h)
	if err != nil {
		return loadFacts{}, err
	}
	cpus := float64(len(s.cores))
	f.PerCPU1, f.PerCPU5, f.PerCPU15 = f.Load1/cpus, f.Load5/cpus, f.Load15/cpus
	f.BlockedIO = s.blocked
	return f, nil
}

// parseLoadavg parses "0.20 0.18 0.12 1/80 11206": three averages, runnable/all tasks, the last pid.
func parseLoadavg(line string) (loadFacts, error) {
	var f loadFacts
	fields := strings.Fields(line)
	if len(fields) < 4 {
		return f, fmt.Errorf("%.80q has %d fields, not 5", line, len(fields))
	}
	for i, avg := range []*float64{&f.Load1, &f.Load5, &f.Load15} {
		x, err := strconv.ParseFloat(fields[i], 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
			return f, fmt.Errorf("%.40q is not a load average", fields[i])
		}
		*avg = x
	}
	runnable, tasks, _ := strings.Cut(fields[3], "/")
	var err error
	if f.Runnable, err = parseCount(runnable); err != nil {
		return f, err
	}
	f.Tasks, err = parseCount(tasks)
	return f, err
}

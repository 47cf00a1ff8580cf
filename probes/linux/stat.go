package linux

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

// kernelStat is /proc/stat, which the probes cpu, host and load read.
type kernelStat struct {
	total    cpuTimes
	cores    []coreTimes // those that are online, in the file's order
	switches uint64      // context switches since boot
	forks    uint64      // processes and threads started since boot
	boot     time.Time
	running  int
	blocked  int
	counters int // how many of statCounters were there
}

// statCounters are the single counters that every kernel since 2.6 has.
var statCounters = [...]string{"ctxt", "btime", "processes", "procs_running", "procs_blocked"}

type coreTimes struct {
	name string // "cpu0"
	cpuTimes
}

// cpuTimes counts ticks since boot: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice. Guest
// time is part of user time, and guest_nice of nice (account_guest_time in the kernel's kernel/sched/cputime.c).
type cpuTimes [10]uint64

const (
	cpuUser = iota
	cpuNice
	cpuSystem
	cpuIdle
	cpuIOWait
	cpuIRQ
	cpuSoftIRQ
	cpuSteal
	cpuGuest
	cpuGuestNice
)

// readStat reads /proc/stat. Kernels before 2.6.11 have no steal and before 2.6.33 no guest_nice column; none of them
// has more than is known here, and a later one may.
func readStat(h host.Files) (kernelStat, error) {
	const name = "/proc/stat"
	text, err := readText(h, name)
	if err != nil {
		return kernelStat{}, err
	}
	var s kernelStat
	n := 0
	for line := range strings.Lines(text) {
		n++
		if err := s.parseLine(strings.TrimSuffix(line, "\n")); err != nil {
			return kernelStat{}, fmt.Errorf("reading %s: line %d: %w", name, n, err)
		}
	}
	if len(s.cores) == 0 || s.counters != len(statCounters) {
		return kernelStat{}, fmt.Errorf("reading %s: %d cores and %d of the counters %s in %d lines", name, len(s.cores), s.counters,
			strings.Join(statCounters[:], ", "), n)
	}
	return s, nil
}

func (s *kernelStat) parseLine(line string) error {
	key, rest, _ := strings.Cut(line, " ")
	if strings.HasPrefix(key, "cpu") {
		times, err := parseCPUTimes(rest)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if key == "cpu" {
			s.total = times
		} else {
			s.cores = append(s.cores, coreTimes{key, times})
		}
		return nil
	}
	if !slices.Contains(statCounters[:], key) { // "intr" and "softirq" are long lines of counters per source
		return nil
	}
	v, err := parseCount(rest)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	s.counters++
	switch key {
	case "ctxt":
		s.switches = uint64(v)
	case "processes":
		s.forks = uint64(v)
	case "btime":
		s.boot = time.Unix(int64(v), 0)
	case "procs_running":
		s.running = v
	case "procs_blocked":
		s.blocked = v
	}
	return nil
}

func parseCPUTimes(s string) (cpuTimes, error) {
	var t cpuTimes
	fields := strings.Fields(s)
	if len(fields) < 4 {
		return t, fmt.Errorf("%d columns, not at least 4", len(fields))
	}
	for i, f := range fields[:min(len(fields), len(t))] {
		v, err := parseCount(f)
		if err != nil {
			return t, err
		}
		t[i] = uint64(v)
	}
	return t, nil
}

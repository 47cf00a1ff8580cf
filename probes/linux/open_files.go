package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// OpenFiles reads which processes come near their own limit of open files.
var OpenFiles = probes.Define(probes.Probe[host.Host]{
	Name: "open_files",
	Doc: `Processes near their limit of open files

Asks for the size of /proc/PID/fd of every process, which since Linux 6.2 is the count: 3 µs a process. Before, it reads FDSize in /proc/PID/status: the
room in its table of descriptors, which grows by doubling and so is never less than what is open. Only where that comes to half of the soft limit of
/proc/PID/limits are the descriptors counted: 20 µs a process and 1 µs a descriptor that is counted. A table does not shrink again, which is why it is not taken for the count. Needs root to
count those of other users' processes.`,
	Every:   5 * time.Minute,
	Timeout: 5 * time.Second,
}, openFiles)

type openFilesFacts struct {
	Near probes.Cut[openFilesNear] `fact:"near_limit" doc:"Processes with half of their limit open, or more, and at least 16 files (before Linux 6.2 at least 65); of each command name the one nearest to its limit, fullest first"`
}

type openFilesNear struct {
	Command string             `fact:"command,key" doc:"Command name"`
	PID     int                `fact:"pid" unit:"pid" doc:"The process nearest to its limit"`
	Open    int                `fact:"open" unit:"count" doc:"Files and sockets that it has open"`
	Limit   int                `fact:"limit" unit:"count" doc:"How many it may have open: the soft limit, RLIMIT_NOFILE"`
	Pct     float64            `fact:"pct" unit:"%" doc:"open, as part of limit"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
}

func openFiles(ctx context.Context, h host.Host) (openFilesFacts, error) {
	var f openFilesFacts
	pids, err := processIDs(h)
	if err != nil {
		return f, err
	}
	look := nearLimit
	if fi, err := h.Stat("/proc/self/fd"); err == nil && fi.Size > 0 { // since Linux 6.2: proc_readfd_count in fs/proc/fd.c
		look = nearCounted
	}
	groups := map[string]*openFilesNear{}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		n, err := look(h, pid)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH): // it ended meanwhile
			continue
		case errors.Is(err, fs.ErrPermission):
			f.Near.Why = err.Error()
			return f, nil
		case err != nil:
			return f, err
		}
		if g := groups[n.Command]; n.Pct >= 50 && (g == nil || n.Pct > g.Pct) {
			groups[n.Command] = &n
		}
	}
	if len(pids) == 0 {
		return f, errors.New("reading /proc: there are no processes in it")
	}
	f.Near = most(groups, maxCommands, func(g *openFilesNear) (int, string) { return int(g.Pct), g.Command })
	for i := range f.Near.All {
		f.Near.All[i].Unit = processUnit(h, f.Near.All[i].PID)
	}
	return f, nil
}

// nearCounted is nearLimit where the kernel counts what a process has open, as the size of its /proc/PID/fd.
func nearCounted(h host.Files, pid int) (openFilesNear, error) {
	n := openFilesNear{PID: pid}
	fi, err := h.Stat(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil || fi.Size < leastOpen {
		return n, err
	}
	if n.Limit, err = softNofile(h, pid); err != nil || n.Limit == 0 {
		return n, err
	}
	n.Open = int(fi.Size)
	n.Pct = percent(float64(n.Open), float64(n.Limit))
	n.Command, err = readLine(h, fmt.Sprintf("/proc/%d/comm", pid))
	return n, err
}

// nearLimit counts what a process has open if that may be half of its limit. Otherwise the answer has Pct 0.
func nearLimit(h host.Files, pid int) (openFilesNear, error) {
	n := openFilesNear{PID: pid}
	name := fmt.Sprintf("/proc/%d/status", pid)
	status, err := readText(h, name)
	if err != nil {
		return n, err
	}
	room := -1 // a zombie has no table
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); key {
		case "Name":
			n.Command = value
		case "FDSize":
			if room, err = parseCount(value); err != nil {
				return n, fmt.Errorf("reading %s: %w", name, err)
			}
		}
	}
	if room < leastTable {
		return n, nil
	}
	if n.Limit, err = softNofile(h, pid); err != nil || n.Limit == 0 || 2*room < n.Limit {
		return n, err
	}
	open, err := h.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return n, err
	}
	n.Open = len(open)
	n.Pct = percent(float64(n.Open), float64(n.Limit))
	return n, nil
}

// Reading the limits of every process doubles the cost, so those are left out that have few files open: leastOpen where the kernel
// counts them; where it does not, a table of leastTable, the smallest that has grown (alloc_fdtable in fs/file.c; each begins with 64).
const (
	leastOpen  = 16
	leastTable = 128
)

// softNofile reads the line "Max open files            1024                 524288               files"; 0 means unlimited.
func softNofile(h host.Files, pid int) (int, error) {
	name := fmt.Sprintf("/proc/%d/limits", pid)
	text, err := readText(h, name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		if !ok {
			continue
		}
		soft, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if soft == "unlimited" {
			return 0, nil
		}
		n, err := parseCount(soft)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", name, err)
		}
		return n, nil
	}
	return 0, fmt.Errorf("reading %s: no open files in it", name)
}

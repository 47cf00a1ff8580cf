package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Mappings looks for processes that have as many memory mappings as the kernel lets one have.
var Mappings = probes.Define(probes.Probe[host.Host]{
	Name: "mappings",
	Doc: `Memory mappings of processes

Compares vm.max_map_count with how many mappings the kernel keeps in all (/sys/kernel/slab/vm_area_struct). Only where these are enough for a process to have reached
the limit does it count those of the processes that are large enough for it, four at most (/proc/PID/maps, about 30 ms each). Costs 0.05 ms on other hosts. No data where
the kernel does not tell how many there are.`,
	Needs: probes.Root,
	Every: time.Minute,
}, mappings)

type mappingsFacts struct {
	Max   int           `fact:"max" unit:"count" doc:"How many a process may have; vm.max_map_count"`
	Total int           `fact:"total" unit:"count" doc:"About how many all processes have; an upper bound"`
	Full  []fullMapping `fact:"full" doc:"Processes that have nearly as many as they may"`
}

type fullMapping struct {
	Who     string             `fact:"who,key" doc:"Its unit, or command name and process id outside of any"`
	PID     int                `fact:"pid" unit:"pid" doc:"The process"`
	Command string             `fact:"command" doc:"Its command name"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
	Count   int                `fact:"count" unit:"count" doc:"Mappings that it has"`
}

const (
	maxMapped  = 4  // processes whose mappings are counted
	mappedFull = 98 // percent of the limit: a program gives some back when it is refused
)

func mappings(ctx context.Context, h host.Host) (mappingsFacts, error) {
	f := mappingsFacts{Full: []fullMapping{}}
	line, err := readLine(h, "/sys/kernel/slab/vm_area_struct/total_objects")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	number, _, _ := strings.Cut(line, " ") // "6804 N0=6804"
	if f.Total, err = parseCount(number); err != nil {
		return f, probes.NoData("the kernel does not tell how many mappings there are")
	}
	if f.Max, err = readInt(h, "/proc/sys/vm/max_map_count"); err != nil {
		return f, err
	}
	least := f.Max * mappedFull / 100
	if f.Total < least {
		return f, nil
	}
	large, err := largeProcesses(ctx, h, least)
	if err != nil {
		return f, err
	}
	for _, pid := range large[:min(len(large), maxMapped)] {
		if n := countMappings(h, pid); n >= least {
			command, _ := readLine(h, fmt.Sprintf("/proc/%d/comm", pid))
			unit := processUnit(h, pid)
			who, inUnit := unit.Get()
			if !inUnit || slices.ContainsFunc(f.Full, func(o fullMapping) bool { return o.Who == who }) {
				who = fmt.Sprintf("%s (pid %d)", command, pid)
			}
			f.Full = append(f.Full, fullMapping{who, pid, command, unit, n})
		}
	}
	return f, nil
}

// largeProcesses lists who maps so many pages, those that map least first.
func largeProcesses(ctx context.Context, h host.Files, pages int) (found []int, err error) {
	pids, err := processIDs(h)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	mapped := map[int]int{}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		line, err := readLine(h, fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue // it has ended
		}
		text, _, _ := strings.Cut(line, " ")
		size, err := strconv.Atoi(text)
		if err != nil || size == 0 { // a thread of the kernel
			continue
		}
		if mapped[pid] = size; size >= pages {
			found = append(found, pid)
		}
	}
	// What maps little more than a page with each mapping is likelier than what maps terabytes at once.
	slices.SortFunc(found, func(a, b int) int { return cmp.Compare(mapped[a], mapped[b]) })
	return found, nil
}

// countMappings counts the lines of maps; 0 where the process has ended, or where they are more text than may be read (8 MiB: 80,000 files
// with long names), for what the others leave over would be a guess.
func countMappings(h host.Files, pid int) int {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0
	}
	return strings.Count(string(b), "\n")
}

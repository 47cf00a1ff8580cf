package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Terminals reads how many pseudo-terminals are left.
var Terminals = probes.Define(probes.Probe[host.Host]{
	Name: "terminals",
	Doc: `Pseudo-terminals

Reads kernel.pty.nr and kernel.pty.max, and where /dev/pts is mounted with a limit of its own (max=) that is lower, how many are there. Costs 0.05 ms. Only where nine of ten are in use the descriptors of all processes (see inotify) say who has most of
them open. A login over SSH, screen, script, a terminal in a browser and docker -t take one each.`,
	Every: time.Minute,
}, terminals)

type terminalsFacts struct {
	Used   int                `fact:"used" unit:"count" doc:"Pseudo-terminals that exist; kernel.pty.nr"`
	Max    int                `fact:"max" unit:"count" doc:"How many there may be: kernel.pty.max, or a lower max= of /dev/pts"`
	Mount  bool               `fact:"of_mount" doc:"It is the mount option of /dev/pts that limits them, not kernel.pty.max"`
	Pct    float64            `fact:"used_pct" unit:"%" doc:"used, as part of max"`
	Holder probes.Opt[string] `fact:"holder" doc:"Command name of the process that has most of them open; absent while there are enough, and if nobody could be found"`
	PID    probes.Opt[int]    `fact:"pid" unit:"pid" doc:"That process"`
	Unit   probes.Opt[string] `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
	Held   probes.Opt[int]    `fact:"held" unit:"count" doc:"How many it has open"`
}

// ptyScarce is the percentage from which on it is asked who has them.
const ptyScarce = 90

func terminals(ctx context.Context, h host.Host) (terminalsFacts, error) {
	var f terminalsFacts
	var err error
	if f.Used, err = readInt(h, "/proc/sys/kernel/pty/nr"); errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("the kernel has no pseudo-terminals")
	} else if err != nil {
		return f, err
	}
	if f.Max, err = readInt(h, "/proc/sys/kernel/pty/max"); err != nil {
		return f, err
	}
	if limit := ptyMountLimit(h); limit > 0 && limit < f.Max {
		entries, err := h.ReadDir("/dev/pts")
		if err != nil {
			return f, fmt.Errorf("listing pseudo-terminals: %w", err)
		}
		f.Used, f.Max, f.Mount = max(len(entries)-1, 0), limit, true // without ptmx
	}
	f.Pct = percent(float64(f.Used), float64(f.Max))
	if f.Pct < ptyScarce {
		return f, nil
	}
	all, err := allDescriptors(ctx, h)
	if err != nil {
		f.Holder = probes.Unread[string](err.Error())
		return f, nil
	}
	most := processDescriptors{}
	for _, d := range all {
		if d.terminals > most.terminals {
			most = d
		}
	}
	if most.terminals == 0 {
		return f, nil
	}
	f.PID, f.Held, f.Unit = probes.Some(most.pid), probes.Some(most.terminals), processUnit(h, most.pid)
	if name, err := readLine(h, fmt.Sprintf("/proc/%d/comm", most.pid)); err == nil {
		f.Holder = probes.Some(name)
	}
	return f, nil
}

// ptyMountLimit is the option max= of /dev/pts; 0 where it has none.
func ptyMountLimit(h host.Files) int {
	text, err := readText(h, "/proc/mounts")
	if err != nil {
		return 0
	}
	limit := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=000,max=64 0 0
		if len(f) < 4 || f[1] != "/dev/pts" {
			continue
		}
		limit = 0 // a later mount hides the one before
		for option := range strings.SplitSeq(f[3], ",") {
			if value, ok := strings.CutPrefix(option, "max="); ok {
				limit, _ = strconv.Atoi(value)
			}
		}
	}
	return limit
}

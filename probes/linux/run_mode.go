package linux

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// RunMode reads whether the system runs, still starts, or has stopped at a rescue shell.
var RunMode = probes.Define(probes.Probe[host.Host]{
	Name: "run_mode",
	Doc: `Whether the system runs, starts, or waits at a rescue shell

Looks for the control groups of rescue.service and emergency.service, and in the first ten minutes after the kernel started asks
"systemctl is-system-running" (5 ms). Costs 0.05 ms after that. A system of which a job hangs for longer than ten minutes counts as
running: what it lacks it will not get by waiting. In a container uptime is the machine's, so that its own start is not seen.`,
	Every: 30 * time.Second,
}, runMode)

type runModeFacts struct {
	Name string `fact:"name" doc:"running, starting, stopping, or rescue: the rescue or the emergency shell of systemd"`
}

// startingFor is how long a start may take before what is missing counts: systemd gives a device 90 s and a job 90 s by default
// (DefaultTimeoutStartSec of systemd-system.conf(5)), and a few of them may follow each other.
const startingFor = 10 * time.Minute

// rescueGroups are where the shells' control groups lie: version 2, and systemd's own hierarchy of version 1.
var rescueGroups = []string{
	"/sys/fs/cgroup/system.slice/emergency.service", "/sys/fs/cgroup/system.slice/rescue.service",
	"/sys/fs/cgroup/systemd/system.slice/emergency.service", "/sys/fs/cgroup/systemd/system.slice/rescue.service",
}

func runMode(ctx context.Context, h host.Host) (runModeFacts, error) {
	if booted, known := exists(h, "/run/systemd/system").Get(); known && !booted {
		return runModeFacts{}, probes.NoData("systemd is not the service manager")
	}
	for _, group := range rescueGroups {
		if there, _ := exists(h, group).Get(); there {
			return runModeFacts{Name: "rescue"}, nil
		}
	}
	up, err := readUptime(h)
	if err != nil {
		return runModeFacts{}, err
	}
	if up > startingFor {
		return runModeFacts{Name: "running"}, nil
	}
	// It exits with 1 for all but "running"; "degraded" runs too.
	out, err := h.Run(ctx, "systemctl", "is-system-running")
	if err != nil {
		return runModeFacts{}, fmt.Errorf("asking systemctl is-system-running: %w", err)
	}
	switch said := strings.TrimSpace(string(out.Stdout)); said {
	case "running", "degraded":
		return runModeFacts{Name: "running"}, nil
	case "initializing", "starting":
		return runModeFacts{Name: "starting"}, nil
	case "maintenance":
		return runModeFacts{Name: "rescue"}, nil
	case "stopping":
		return runModeFacts{Name: said}, nil
	default: // "offline", "unknown": the manager does not answer
		return runModeFacts{}, fmt.Errorf("systemctl is-system-running: %.80q", said)
	}
}

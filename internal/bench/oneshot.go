package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const runs = 10 // of the one-shot; each takes more than a second by design

// oneShot runs a diagnosis some times and picks what is asked of it.
func oneShot(pick func([]usage) row) func(*machine) (row, error) {
	return func(m *machine) (row, error) {
		all, err := m.oneShots()
		if err != nil {
			return row{}, err
		}
		r := pick(all)
		r.ok = true
		return r, nil
	}
}

// oneShots are measured once for three figures.
func (m *machine) oneShots() ([]usage, error) {
	if m.diagnoses == nil {
		all, err := m.repeat(runs, m.binary, "diagnose", "-o", "json")
		if err != nil {
			return nil, err
		}
		m.diagnoses = all
	}
	return m.diagnoses, nil
}

func oneShotWall(all []usage) row {
	walls := column(all, func(u usage) float64 { return u.wall.Seconds() })
	return row{measured: median(walls), note: fmt.Sprintf("median of %d; slowest %.3g s", len(walls), walls[len(walls)-1])}
}

func oneShotCPU(all []usage) row {
	cpus := column(all, func(u usage) float64 { return u.cpu.Seconds() * 1000 })
	return row{measured: median(cpus), note: fmt.Sprintf("median of %d; most %.3g ms", len(cpus), cpus[len(cpus)-1])}
}

func oneShotPeak(all []usage) row {
	peaks := column(all, func(u usage) float64 { return float64(u.peak) / (1 << 20) })
	return row{measured: peaks[len(peaks)-1], note: fmt.Sprintf("largest of %d; median %.3g MiB", len(peaks), median(peaks))}
}

// deadRemotes diagnoses in a network namespace whose gateway, resolvers and everything else swallow each packet.
func deadRemotes(m *machine) (row, error) {
	if err := needRoot(); err != nil {
		return row{}, err
	}
	ns, cleanup, err := blackHole()
	defer cleanup()
	if err != nil {
		return row{}, err
	}
	all, err := m.repeat(3, "ip", "netns", "exec", ns, m.binary, "diagnose", "-o", "json")
	if err != nil {
		return row{}, err
	}
	walls := column(all, func(u usage) float64 { return u.wall.Seconds() })
	median(walls)
	return row{measured: walls[len(walls)-1], ok: true, note: "slowest of 3, in a namespace where every packet vanishes"}, nil
}

// blackHole makes a network namespace with a default route to a gateway that does not exist, and resolvers behind it.
func blackHole() (ns string, cleanup func(), err error) {
	ns = fmt.Sprintf("hostmend-bench-%d", os.Getpid())
	etc := "/etc/netns/" + ns
	cleanup = func() {
		_ = exec.Command("ip", "netns", "del", ns).Run() //nolint:noctx // it must run after the context has ended
		_ = os.RemoveAll(etc)
		_ = os.Remove("/etc/netns") // only if it is empty
	}
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return ns, cleanup, err
	}
	if err := os.WriteFile(etc+"/resolv.conf", []byte("nameserver 192.0.2.53\nnameserver 192.0.2.54\n"), 0o644); err != nil {
		return ns, cleanup, err
	}
	for _, line := range []string{
		"netns add " + ns,
		"-n " + ns + " link set lo up",
		"-n " + ns + " link add eth0 type veth peer name hole",
		"-n " + ns + " addr add 192.0.2.2/24 dev eth0",
		"-n " + ns + " link set eth0 up",
		"-n " + ns + " link set hole up",
		"-n " + ns + " neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0",
		"-n " + ns + " neigh add 192.0.2.53 lladdr 02:00:00:00:00:02 dev eth0",
		"-n " + ns + " neigh add 192.0.2.54 lladdr 02:00:00:00:00:03 dev eth0",
		"-n " + ns + " route add default via 192.0.2.1",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil { //nolint:noctx // milliseconds
			return ns, cleanup, fmt.Errorf("ip %s: %s", line, firstLine(string(out)))
		}
	}
	return ns, cleanup, nil
}

// size measures a stripped static binary for an architecture.
func size(arch string) func(*machine) (row, error) {
	return func(m *machine) (row, error) {
		dir, err := os.MkdirTemp("", "hostmend-bench")
		if err != nil {
			return row{}, err
		}
		defer os.RemoveAll(dir)
		cmd := exec.CommandContext(m.ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/hostmend", "./cmd/hostmend")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return row{}, fmt.Errorf("building: %s", firstLine(string(out)))
		}
		fi, err := os.Stat(dir + "/hostmend")
		if err != nil {
			return row{}, err
		}
		return row{measured: float64(fi.Size()) / 1e6, ok: true, note: fmt.Sprintf("CGO off; built in %.0f s", time.Since(began).Seconds())}, nil
	}
}

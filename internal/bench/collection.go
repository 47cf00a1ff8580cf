package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/probes/linux"
)

// shared are the probes of the facts that node_exporter reads with its default collectors too (cpu, stat, loadavg, meminfo, pressure,
// vmstat, diskstats, filesystem, netdev and netclass, arp, conntrack, netstat, softnet, sockstat, filefd, uname, os and dmi).
var shared = []string{
	"cpu", "load", "memory", "pressure", "vmstat", "disks", "filesystems", "interfaces", "neighbours", "conntrack", "tcp_stats",
	"softnet", "limits", "host",
}

const scrapes = 50

// gcPercent is as cmd/hostmend has it.
const gcPercent = 400

// rounds of both, in turn, since the speed of a shared machine changes by half within a minute.
const rounds = 5

// collection compares one collection of the shared facts with one scrape of node_exporter, both in processes that are
// warm, as CPU time.
func collection(m *machine) (row, error) {
	var ratios, ours, theirs []float64
	var version string
	for range rounds {
		our, err := m.collect()
		if err != nil {
			return row{}, err
		}
		their, v, err := m.scrape()
		if err != nil {
			return row{}, fmt.Errorf("ours takes %.3g ms; node_exporter: %w", our, err)
		}
		ratios, ours, theirs, version = append(ratios, our/their), append(ours, our), append(theirs, their), v
	}
	ratio := median(ratios)
	return row{
		measured: ratio, ok: true,
		peers: []string{fmt.Sprintf("%s: %.3g ms CPU a scrape", version, median(theirs))},
		note: fmt.Sprintf("%.3g ms CPU a collection; medians of %d rounds of %d, ratios from %.3g to %.3g", median(ours), rounds, scrapes,
			ratios[0], ratios[rounds-1]),
	}, nil
}

// collect returns the CPU milliseconds of one collection.
func (m *machine) collect() (float64, error) {
	local := &host.Local{}
	r := probes.Runner[host.Host]{Source: local, Probes: linux.Probes(), Can: probes.Root}
	want := probes.Want{}
	for _, name := range shared {
		want[name] = nil
	}
	for _, o := range r.Run(m.ctx, want).Observations {
		if o.Status == probes.Failed {
			return 0, fmt.Errorf("probe %s: %s", o.Probe, o.Reason)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	before := cpuSelf()
	for range scrapes {
		r.Run(m.ctx, want)
	}
	return (cpuSelf() - before).Seconds() * 1000 / scrapes, nil
}

func cpuSelf() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// scrape starts node_exporter on a free port of the loopback and returns the CPU milliseconds that a scrape costs it.
func (m *machine) scrape() (ms float64, version string, err error) {
	program, err := exec.LookPath("prometheus-node-exporter")
	if err != nil {
		return 0, "", errors.New("prometheus-node-exporter is not installed")
	}
	l, err := (&net.ListenConfig{}).Listen(m.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, "", err
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.CommandContext(m.ctx, program, "--web.listen-address="+address)
	if err := cmd.Start(); err != nil {
		return 0, "", err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	get := func() error {
		req, err := http.NewRequestWithContext(m.ctx, http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); get() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return 0, "", errors.New("it does not answer")
		}
	}
	before, err := cpuOf(cmd.Process.Pid)
	if err != nil {
		return 0, "", err
	}
	for range scrapes {
		if err := get(); err != nil {
			return 0, "", err
		}
	}
	after, err := cpuOf(cmd.Process.Pid)
	out, _ := exec.CommandContext(m.ctx, program, "--version").CombinedOutput()
	words := strings.Fields(string(out))
	version = "node_exporter"
	if len(words) > 2 {
		version += " " + strings.TrimSuffix(words[2], ",")
	}
	return (after - before).Seconds() * 1000 / scrapes, version, err
}

// cpuOf reads what the threads of another process have used, in nanoseconds (schedstat), since stat's ticks of 10 ms are too coarse.
func cpuOf(pid int) (time.Duration, error) {
	tasks := fmt.Sprintf("/proc/%d/task", pid)
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, e := range entries {
		data, err := os.ReadFile(tasks + "/" + e.Name() + "/schedstat")
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(data), &ns); err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

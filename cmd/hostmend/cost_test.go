package main

import (
	"io"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// cpuUsed is the CPU time of this process and of the commands that it ran.
func cpuUsed(tb testing.TB) time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			tb.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// BenchmarkProbes is what each probe costs on this host: the least CPU time of some runs, both samples of a rate and the commands
// that it starts with it.
func BenchmarkProbes(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	local := &host.Local{}
	for _, p := range hostProbes() {
		b.Run(p.Name, func(b *testing.B) {
			least, most := time.Hour, time.Duration(0)
			for b.Loop() {
				r := &probes.Runner[host.Host]{
					Source: host.Redacted(local), Probes: []probes.Probe[host.Host]{p}, Can: needs(local.Can()), Interval: time.Millisecond,
				}
				before := cpuUsed(b)
				r.Run(b.Context(), nil)
				used := cpuUsed(b) - before
				least, most = min(least, used), max(most, used)
			}
			b.ReportMetric(float64(least.Microseconds())/1e3, "ms-CPU")
			b.ReportMetric(float64(most.Microseconds())/1e3, "ms-CPU-most")
		})
	}
}

// BenchmarkDiagnose is all that a diagnosis does but the second that it waits for rates.
func BenchmarkDiagnose(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	least := time.Hour
	for b.Loop() {
		before := cpuUsed(b)
		p := &program{Stdout: io.Discard, Stderr: io.Discard}
		p.run(b.Context(), []string{"diagnose", "-o", "json"})
		least = min(least, cpuUsed(b)-before)
	}
	b.ReportMetric(float64(least.Microseconds())/1e3, "ms-CPU")
}

// BenchmarkLibrary loads the shipped playbooks.
func BenchmarkLibrary(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	b.ReportAllocs()
	least := time.Hour
	for b.Loop() {
		before := cpuUsed(b)
		if _, err := (&program{}).loadLibrary(); err != nil {
			b.Fatal(err)
		}
		least = min(least, cpuUsed(b)-before)
	}
	b.ReportMetric(float64(least.Microseconds())/1e3, "ms-CPU")
}

package host

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// loopbacks are n addresses that this host answers itself.
func loopbacks(n int) []netip.Addr {
	list := make([]netip.Addr, n)
	for i := range list {
		list[i] = netip.AddrFrom4([4]byte{127, 0, byte(1 + i/250), byte(1 + i%250)})
	}
	return list
}

func newSweep(t testing.TB, targets []netip.Addr) *Sweep {
	t.Helper()
	s, err := (&Local{}).NewSweep(targets)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkSweep1000(b *testing.B) {
	const n = 1000
	targets := loopbacks(n)
	b.Run("sweep", func(b *testing.B) {
		s := newSweep(b, targets)
		b.ReportAllocs()
		lost, sum := 0, time.Duration(0)
		before := cpuTime(unix.RUSAGE_SELF)
		for b.Loop() {
			echoes, err := s.Round(b.Context(), time.Second)
			if err != nil {
				b.Fatal(err)
			}
			for _, e := range echoes {
				if !e.Answered {
					lost++
				}
				sum += e.RTT
			}
		}
		probes := float64(n * b.N)
		b.ReportMetric(float64((cpuTime(unix.RUSAGE_SELF)-before).Nanoseconds())/1000/probes, "µs-cpu/probe")
		b.ReportMetric(float64(sum.Nanoseconds())/1000/probes, "µs-rtt/probe")
		b.ReportMetric(float64(lost), "lost")
		if lost > 0 {
			b.Errorf("%d of %d pings of loopback were lost", lost, n*b.N)
		}
	})
	b.Run("fping", func(b *testing.B) {
		if _, err := exec.LookPath("fping"); err != nil {
			b.Skip("fping is not installed (Debian: apt-get install fping)")
		}
		var names strings.Builder
		for _, a := range targets {
			fmt.Fprintln(&names, a)
		}
		before := cpuTime(unix.RUSAGE_CHILDREN)
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), "fping", "-q", "-c", "1", "-i", "1", "-t", "1000")
			cmd.Stdin = strings.NewReader(names.String())
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
		b.ReportMetric(float64((cpuTime(unix.RUSAGE_CHILDREN)-before).Nanoseconds())/1000/float64(n*b.N), "µs-cpu/probe")
	})
}

func cpuTime(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

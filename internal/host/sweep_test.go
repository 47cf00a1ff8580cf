package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host/nettest"
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

func TestSweep(t *testing.T) {
	targets := append(loopbacks(1000), netip.MustParseAddr("::1"))
	s := newSweep(t, targets)
	for round := range 5 {
		echoes, err := s.Round(t.Context(), 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range echoes {
			if v6Down := targets[i].Is6() && e.Errno != 0; !v6Down && (!e.Answered || e.RTT > time.Second) {
				t.Errorf("round %d, %s: %+v", round, targets[i], e)
			}
		}
	}
	alone := newSweep(t, targets[:1000])
	allocs := testing.AllocsPerRun(20, func() {
		if _, err := alone.Round(t.Context(), 2*time.Second); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1 { // of a thousand pings
		t.Errorf("a round makes %.0f allocations", allocs)
	}
}

func TestSweepOfSilence(t *testing.T) { nettest.Run(t, sweepOfSilence) }

// sweepOfSilence has a neighbour that answers pings to one of its addresses only, and an address without a route.
func sweepOfSilence(t *testing.T) {
	other := nettest.New(t)
	nettest.Wire(t, "eth0", other, "eth0", 1500)
	nettest.Up(t, "eth0", netip.MustParsePrefix("10.1.0.1/24"))
	other.Do(t, func() error {
		nettest.Up(t, "eth0", netip.MustParsePrefix("10.1.0.2/24"))
		return nil
	})
	s := newSweep(t, []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.3"), netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("127.0.0.1")})
	// A machine that is busy may be late in one round, not in twenty.
	const tries, wait = 20, 300 * time.Millisecond
	for try := 1; ; try++ {
		began := time.Now()
		echoes, err := s.Round(t.Context(), wait)
		took := time.Since(began)
		if err != nil {
			t.Fatal(err)
		}
		if took < wait || echoes[1].Answered || echoes[2].Errno != unix.ENETUNREACH {
			t.Fatalf("after %s: %+v", took, echoes)
		}
		// Nobody has the silent one's address: after three questions for it, 3 s, the kernel may say so.
		if echoes[0].Answered && echoes[3].Answered && echoes[1].Errno == 0 && took < 2*wait {
			break
		}
		if try == tries {
			t.Fatalf("the last of %d rounds: after %s: %+v", tries, took, echoes)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	began := time.Now()
	if _, err := s.Round(ctx, time.Hour); !errors.Is(err, context.Canceled) { // else the test is ended from outside
		t.Errorf("cancelled: %v after %s", err, time.Since(began))
	}
}

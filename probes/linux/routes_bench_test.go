package linux

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
)

// manyRoutes puts the test, on a thread that ends with it, into a network namespace of its own with n IPv4 routes through a veth pair.
func manyRoutes(t testing.TB, n int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("unshare: %v", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "left"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "right"}); err != nil {
		t.Skipf("a veth pair: %v", err)
	}
	left, err := netlink.LinkByName("left")
	if err != nil {
		t.Fatal(err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}
	if err = netlink.AddrAdd(left, address); err == nil {
		err = netlink.LinkSetUp(left)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		dst := &net.IPNet{IP: net.IPv4(10, byte(i>>8), byte(i), 0).To4(), Mask: net.CIDRMask(24, 32)}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: left.Attrs().Index, Dst: dst, Gw: net.IPv4(192, 0, 2, 254)}); err != nil {
			t.Fatalf("route %d: %v", i, err)
		}
	}
}

// cpuOf is the least CPU time of this thread in some runs of f: what the work takes, without what disturbed it.
func cpuOf(t testing.TB, runs int, f func()) time.Duration {
	t.Helper()
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	least := time.Duration(1<<63 - 1)
	for range runs {
		before := used()
		f()
		least = min(least, used()-before)
	}
	return least
}

const tenThousand = 10000

func probeRoutes(t testing.TB) {
	f, err := routes(t.Context(), &host.Local{})
	if err != nil || f.IPv4 < tenThousand {
		t.Fatalf("%d routes, %v", f.IPv4, err)
	}
}

// BenchmarkRoutes10k is the whole probe on 10,000 real routes, and beside it a library that only lists them.
func BenchmarkRoutes10k(b *testing.B) {
	manyRoutes(b, tenThousand)
	library := cpuOf(b, 3, func() {
		if all, err := netlink.RouteList(nil, netlink.FAMILY_ALL); err != nil || len(all) < tenThousand {
			b.Fatalf("%d routes, %v", len(all), err)
		}
	})
	var ours time.Duration
	for b.Loop() {
		ours = cpuOf(b, 9, func() { probeRoutes(b) })
	}
	b.ReportMetric(float64(ours.Microseconds())/1e3, "ms-CPU")
	b.ReportMetric(float64(library.Microseconds())/1e3, "vishvananda-ms-CPU")
}

// TestRoutesCost holds the probe to the figure of 10 ms, with room for a machine that does other things meanwhile.
func TestRoutesCost(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 10,000 routes")
	}
	manyRoutes(t, tenThousand)
	ours := cpuOf(t, 9, func() { probeRoutes(t) })
	t.Logf("%d routes: %s", tenThousand, ours)
	if ours > 20*time.Millisecond {
		t.Errorf("%s for %d routes, more than twice the 10 ms that it may take", ours, tenThousand)
	}
}

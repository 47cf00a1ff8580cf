package host

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/hostmend/hostmend/internal/host/nettest"
)

func TestPing(t *testing.T) {
	for _, p := range []Ping{
		{Dst: netip.MustParseAddr("127.0.0.1")},
		{Dst: netip.MustParseAddr("127.1.2.3"), Size: 1500, DF: true},
		{Dst: netip.MustParseAddr("127.1.2.3"), Size: 65535}, // in fragments
		{Dst: netip.MustParseAddr("127.0.0.1"), Size: 28},
	} {
		pong, err := (&Local{}).Ping(t.Context(), p)
		if errors.Is(err, fs.ErrPermission) {
			t.Skip(err)
		}
		if err != nil || pong.RTT <= 0 || pong.RTT > time.Second || pong.TooBig != 0 {
			t.Errorf("%+v: %+v, %v", p, pong, err)
		}
	}
	if _, err := (&Local{}).Ping(t.Context(), Ping{Dst: netip.MustParseAddr("127.0.0.1"), Size: 20}); err == nil {
		t.Error("a packet without room for its header was sent")
	}
	if _, err := (&Local{Offline: true}).Ping(t.Context(), Ping{Dst: netip.MustParseAddr("127.0.0.1")}); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
}

// TestPingThroughARouter has a router between this host and another, whose far link takes 1400 bytes.
func TestPingThroughARouter(t *testing.T) { nettest.Run(t, pingThroughARouter) }

func pingThroughARouter(t *testing.T) {
	far4, far6 := netip.MustParseAddr("10.2.0.2"), netip.MustParseAddr("fd02::2")
	router, other := nettest.New(t), nettest.New(t)
	nettest.Wire(t, "eth0", router, "near", 1500)
	nettest.Up(t, "eth0", netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd01::2/64"))
	nettest.Route(t, netip.Prefix{}, netip.MustParseAddr("10.1.0.1"))
	router.Do(t, func() error {
		nettest.Wire(t, "far", other, "eth0", 1400)
		nettest.Up(t, "near", netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("fd01::1/64"))
		nettest.Up(t, "far", netip.MustParsePrefix("10.2.0.1/24"), netip.MustParsePrefix("fd02::1/64"))
		nettest.Sysctl(t, "ipv4.ip_forward", "1")
		nettest.Sysctl(t, "ipv6.conf.all.forwarding", "1")
		nettest.Sysctl(t, "ipv4.icmp_ratelimit", "0")
		return nil
	})
	other.Do(t, func() error {
		nettest.Up(t, "eth0", netip.MustParsePrefix("10.2.0.2/24"), netip.MustParsePrefix("fd02::2/64"))
		nettest.Route(t, netip.Prefix{}, netip.MustParseAddr("10.2.0.1"))
		nettest.Route(t, netip.MustParsePrefix("fd01::/64"), netip.MustParseAddr("fd02::1"))
		return nil
	})
	nettest.Route(t, netip.MustParsePrefix("fd02::/64"), netip.MustParseAddr("fd01::1"))

	for _, tt := range []struct {
		name   string
		ping   Ping
		tooBig int
		err    error
	}{
		{"small", Ping{Dst: far4}, 0, nil},
		{"fits", Ping{Dst: far4, Size: 1400, DF: true}, 0, nil},
		{"the router says what would fit", Ping{Dst: far4, Size: 1401, DF: true}, 1400, nil},
		{"and again: what the kernel remembers is not asked", Ping{Dst: far4, Size: 1500, DF: true}, 1400, nil},
		{"the interface says what would fit", Ping{Dst: far4, Size: 1501, DF: true}, 1500, nil},
		{"in fragments", Ping{Dst: far4, Size: 4000}, 0, nil},
		{"small, IPv6", Ping{Dst: far6}, 0, nil},
		{"fits, IPv6", Ping{Dst: far6, Size: 1400, DF: true}, 0, nil},
		{"the router says what would fit, IPv6", Ping{Dst: far6, Size: 1401, DF: true}, 1400, nil},
		{"nobody has that address", Ping{Dst: netip.MustParseAddr("10.1.0.77")}, 0, syscall.EHOSTUNREACH},
		{"the router knows no way", Ping{Dst: netip.MustParseAddr("10.3.0.1")}, 0, syscall.ENETUNREACH},
		{"no route", Ping{Dst: netip.MustParseAddr("fd03::1")}, 0, syscall.ENETUNREACH},
	} {
		pong, err := (&Local{}).Ping(t.Context(), tt.ping) // waits up to five seconds: ARP gives up after three
		if pong.TooBig != tt.tooBig || !errors.Is(err, tt.err) || err == nil && tt.tooBig == 0 && pong.RTT <= 0 {
			t.Errorf("%s: %+v, %v; want too big %d, %v", tt.name, pong, err, tt.tooBig, tt.err)
		}
	}

	cancelled, stop := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, stop)
	began := time.Now()
	if _, err := (&Local{}).Ping(cancelled, Ping{Dst: netip.MustParseAddr("10.1.0.78")}); !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
		t.Errorf("cancelled: %v after %s", err, time.Since(began))
	}

	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("nft is not installed (Debian: apt-get install nftables)")
	}
	rules := func(text ...string) func() error {
		return func() error { return exec.Command(nft, text...).Run() }
	}
	// A black hole: the router's messages are dropped on their way out.
	router.Do(t, rules("add table ip t; add chain ip t o { type filter hook output priority 0; }; add rule ip t o icmp type destination-unreachable drop"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if pong, err := (&Local{}).Ping(ctx, Ping{Dst: far4, Size: 1401, DF: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("black hole: %+v, %v; want silence", pong, err)
	}
	if pong, err := (&Local{}).Ping(t.Context(), Ping{Dst: far4, Size: 1400, DF: true}); err != nil {
		t.Errorf("beside the black hole: %+v, %v", pong, err)
	}
	// A rule of this host's own that drops what leaves.
	if err := rules("add table ip t; add chain ip t o { type filter hook output priority 0; }; add rule ip t o ip daddr 10.2.0.2 drop")(); err != nil {
		t.Fatal(err)
	}
	if pong, err := (&Local{}).Ping(t.Context(), Ping{Dst: far4}); !errors.Is(err, syscall.EPERM) {
		t.Errorf("own firewall: %+v, %v; want EPERM", pong, err)
	}
}

// TestPingSocket pings without root, as a group within net.ipv4.ping_group_range may.
func TestPingSocket(t *testing.T) {
	const child = "HOSTMEND_TEST_UNPRIVILEGED"
	if os.Getenv(child) != "" {
		pong, err := (&Local{}).Ping(t.Context(), Ping{Dst: netip.MustParseAddr("127.0.0.1")})
		t.Logf("%+v, %v", pong, err)
		s, sweepErr := (&Local{}).NewSweep([]netip.Addr{netip.MustParseAddr("127.0.0.1")})
		if os.Getenv(child) == "denied" {
			if !errors.Is(err, fs.ErrPermission) || !errors.Is(sweepErr, fs.ErrPermission) {
				t.Errorf("%v, %v; want both not permitted", err, sweepErr)
			}
			return
		}
		if err != nil || pong.RTT <= 0 || sweepErr != nil {
			t.Fatal(err, sweepErr)
		}
		defer s.Close()
		for range 3 {
			if echoes, err := s.Round(t.Context(), time.Second); err != nil || !echoes[0].Answered || s.Raw() {
				t.Errorf("sweep: %+v, %v, raw %t", echoes, err, s.Raw())
			}
		}
		return
	}
	nettest.Run(t, func(t *testing.T) {
		for _, tt := range []struct{ groups, want string }{{"1 0", "denied"}, {"0 65534", "granted"}} {
			nettest.Sysctl(t, "ipv4.ping_group_range", tt.groups)
			// By this name, for the directory of the test's program lets in its owner only.
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestPingSocket$", "-test.v")
			cmd.Env = append(os.Environ(), child+"="+tt.want)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("ping_group_range %s: %v\n%s", tt.groups, err, out)
			}
		}
	})
}

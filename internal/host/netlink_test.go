package host

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace puts the test, on a thread that ends with it, into a network namespace of its own whose loopback is up. The namespace
// and all that was made in it goes with the thread and the sockets.
func namespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("unshare: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pair makes two ends of a cable that are up and have an address each.
func pair(t testing.TB) (a, b netlink.Link) {
	t.Helper()
	la := netlink.NewLinkAttrs()
	la.Name, la.MTU, la.HardwareAddr = "left", 1400, net.HardwareAddr{2, 0, 0, 0, 0, 1}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "right"}); err != nil {
		t.Skipf("a veth pair: %v", err)
	}
	ends := make([]netlink.Link, 2)
	for i, name := range []string{"left", "right"} {
		var err error
		if ends[i], err = netlink.LinkByName(name); err != nil {
			t.Fatal(err)
		}
		addr, err := netlink.ParseAddr([]string{"192.0.2.1/24", "198.51.100.1/25"}[i])
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			addr.ValidLft, addr.PreferedLft = 1000, 500
		}
		if err := errors.Join(netlink.AddrAdd(ends[i], addr), netlink.LinkSetUp(ends[i])); err != nil {
			t.Fatal(err)
		}
	}
	// The kernel's link watch moves the state some time after both ends are up.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left, err := netlink.LinkByName("left")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("left does not come up: %v", err)
		}
		if left.Attrs().OperState == netlink.OperUp {
			return ends[0], ends[1]
		}
	}
}

func TestLinksAndAddrs(t *testing.T) {
	namespace(t)
	left, right := pair(t)
	links, err := (&Local{}).Links(t.Context())
	if err != nil || len(links) < 3 {
		t.Fatalf("%d links, %v", len(links), err)
	}
	byName := map[string]Link{}
	for _, l := range links {
		byName[l.Name] = l
	}
	got := byName["left"]
	if got.Index != left.Attrs().Index || got.Kind != "veth" || got.MTU != 1400 || got.MAC != "02:00:00:00:00:01" || got.OperState != "up" ||
		got.Flags&unix.IFF_RUNNING == 0 || got.TxQueues != left.Attrs().NumTxQueues {
		t.Errorf("left: %+v", got)
	}
	if lo := byName["lo"]; lo.Flags&unix.IFF_LOOPBACK == 0 || lo.Kind != "" || lo.MTU != 65536 {
		t.Errorf("lo: %+v", lo)
	}
	addrs, err := (&Local{}).Addrs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(addrs, func(a Addr) bool { return a.Link == right.Attrs().Index && a.Prefix.Addr().Is4() })
	if i < 0 {
		t.Fatalf("no address on right among %v", addrs)
	}
	a := addrs[i]
	if a.Prefix != netip.MustParsePrefix("198.51.100.1/25") || a.Scope != "global" || a.ValidFor < 990*time.Second || a.ValidFor > 1000*time.Second {
		t.Errorf("right's address: %+v", a)
	}
	if addrs[0].Prefix != netip.MustParsePrefix("127.0.0.1/8") || addrs[0].Scope != "host" || addrs[0].ValidFor != 0 {
		t.Errorf("lo's address: %+v", addrs[0])
	}
}

func ipnet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

func routes(t testing.TB) []Route {
	t.Helper()
	var all []Route
	if err := (&Local{}).Routes(t.Context(), func(r *Route) error { all = append(all, *r); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// prefixes and addresses compare by value.
var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func TestRoutes(t *testing.T) {
	namespace(t)
	left, right := pair(t)
	l, r := left.Attrs().Index, right.Attrs().Index
	gw, gw2 := net.IPv4(192, 0, 2, 254), net.IPv4(198, 51, 100, 126)
	for _, route := range []*netlink.Route{
		{LinkIndex: l, Gw: gw, Priority: 100, MTU: 1300, Protocol: unix.RTPROT_DHCP},
		{Dst: ipnet("203.0.113.0/24"), Type: unix.RTN_BLACKHOLE, Table: 1000},
		{Dst: ipnet("10.0.0.0/8"), MultiPath: []*netlink.NexthopInfo{{LinkIndex: l, Gw: gw}, {LinkIndex: r, Gw: gw2}}},
		{Dst: ipnet("172.16.0.0/12"), LinkIndex: r, Src: net.IPv4(198, 51, 100, 1), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC},
	} {
		if err := netlink.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
	}
	all := routes(t)
	for _, want := range []Route{
		{
			Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.254"), Link: l, Table: 254, Type: "unicast",
			Protocol: "dhcp", Scope: "global", Metric: 100, MTU: 1300,
		},
		{Dst: netip.MustParsePrefix("203.0.113.0/24"), Table: 1000, Type: "blackhole", Protocol: "boot", Scope: "global"},
		{
			Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("192.0.2.254"), Link: l, Table: 254, Type: "unicast",
			Protocol: "boot", Scope: "global", NextHops: 2,
		},
		{
			Dst: netip.MustParsePrefix("172.16.0.0/12"), PrefSrc: netip.MustParseAddr("198.51.100.1"), Link: r, Table: 254, Type: "unicast",
			Protocol: "static", Scope: "link",
		},
		{
			Dst: netip.MustParsePrefix("127.0.0.0/8"), PrefSrc: netip.MustParseAddr("127.0.0.1"), Link: 1, Table: 255, Type: "local",
			Protocol: "kernel", Scope: "host",
		},
	} {
		i := slices.IndexFunc(all, func(r Route) bool { return r.Dst == want.Dst && r.Table == want.Table })
		if i < 0 {
			t.Errorf("no route to %s in %v", want.Dst, all)
			continue
		}
		if diff := cmp.Diff(want, all[i], comparers); diff != "" {
			t.Errorf("route to %s, wanted (-), got (+):\n%s", want.Dst, diff)
		}
	}

	to, err := (&Local{}).RouteTo(t.Context(), netip.MustParseAddr("100.100.100.200"))
	if err != nil || to.Link != l || to.Gateway != netip.MustParseAddr("192.0.2.254") || to.PrefSrc != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("route to 100.100.100.200: %+v, %v", to, err)
	}
	if _, err := (&Local{}).RouteTo(t.Context(), netip.MustParseAddr("2001:db8::1")); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("route to where there is none: %v", err)
	}
	stop := errors.New("enough")
	n := 0
	if err := (&Local{}).Routes(t.Context(), func(*Route) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("a callback's error after %d rows: %v", n, err)
	}
}

func TestRules(t *testing.T) {
	namespace(t)
	mask := uint32(0xff)
	add := netlink.NewRule()
	add.Priority, add.Table, add.Src, add.Mark, add.Mask, add.Invert, add.IifName = 500, 1000, ipnet("192.0.2.0/24"), 7, &mask, true, "lo"
	if err := netlink.RuleAdd(add); err != nil {
		t.Fatal(err)
	}
	rules, err := (&Local{}).Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Family: 4, Priority: 0, Table: 255, Action: "lookup"},
		{
			Family: 4, Priority: 500, Src: netip.MustParsePrefix("192.0.2.0/24"), IifName: "lo", Mark: 7, Mask: 0xff, Invert: true,
			Table: 1000, Action: "lookup",
		},
		{Family: 4, Priority: 32766, Table: 254, Action: "lookup"},
		{Family: 4, Priority: 32767, Table: 253, Action: "lookup"},
	}
	four := slices.DeleteFunc(rules, func(r Rule) bool { return r.Family != 4 })
	if diff := cmp.Diff(want, four, comparers); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
}

func TestNeighbours(t *testing.T) {
	namespace(t)
	left, _ := pair(t)
	link := left.Attrs().Index
	for ip, state := range map[string]int{"192.0.2.9": unix.NUD_PERMANENT, "192.0.2.10": unix.NUD_FAILED, "2001:db8::9": unix.NUD_STALE} {
		n := &netlink.Neigh{LinkIndex: link, IP: net.ParseIP(ip), State: state}
		if state != unix.NUD_FAILED {
			n.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 9}
		}
		if err := netlink.NeighAdd(n); err != nil {
			t.Fatal(err)
		}
	}
	var all []Neighbour
	err := (&Local{}).Neighbours(t.Context(), func(n *Neighbour) error {
		if n.State != "noarp" {
			all = append(all, *n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b Neighbour) int { return a.IP.Compare(b.IP) })
	want := []Neighbour{
		{Link: link, IP: netip.MustParseAddr("192.0.2.9"), MAC: "02:00:00:00:00:09", State: "permanent"},
		{Link: link, IP: netip.MustParseAddr("192.0.2.10"), State: "failed"},
		{Link: link, IP: netip.MustParseAddr("2001:db8::9"), MAC: "02:00:00:00:00:09", State: "stale"},
	}
	if diff := cmp.Diff(want, all, comparers); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
}

func TestQdiscs(t *testing.T) {
	namespace(t)
	left, _ := pair(t)
	err := netlink.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: left.Attrs().Index, Handle: netlink.MakeHandle(0x8001, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       1e6, Limit: 10000, Buffer: 100000,
	})
	if err != nil {
		t.Skipf("a tbf qdisc: %v", err)
	}
	qdiscs, err := (&Local{}).Qdiscs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(qdiscs, func(q Qdisc) bool { return q.Link == left.Attrs().Index })
	want := Qdisc{Link: left.Attrs().Index, Kind: "tbf", Parent: "root", Handle: "8001:", Options: "rate 8 Mbit/s"}
	if i < 0 {
		t.Fatalf("no qdisc on left among %v", qdiscs)
	}
	if diff := cmp.Diff(want, qdiscs[i], cmpopts.IgnoreFields(Qdisc{}, "Packets", "Drops", "Overlimits", "Backlog")); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
}

// sockets dumps with a query.
func sockets(t testing.TB, q SocketQuery) []Socket {
	t.Helper()
	var all []Socket
	if err := (&Local{}).Sockets(t.Context(), q, func(s *Socket) error { all = append(all, *s); return nil }); err != nil {
		if errors.Is(err, ErrUnsupported) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return all
}

func TestSockets(t *testing.T) {
	namespace(t)
	listen := func(network, address string) net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	four, six := listen("tcp4", "127.0.0.1:0"), listen("tcp", "[::]:0")
	port4, port6 := four.Addr().(*net.TCPAddr).AddrPort().Port(), six.Addr().(*net.TCPAddr).AddrPort().Port()
	conns := make([]net.Conn, 3)
	for i := range conns {
		var err error
		if conns[i], err = new(net.Dialer).DialContext(t.Context(), "tcp", four.Addr().String()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conns[i].Close() })
	}

	listeners := sockets(t, SocketQuery{States: 1 << TCPListen})
	if len(listeners) != 2 {
		t.Fatalf("%d listeners: %+v", len(listeners), listeners)
	}
	if l := listeners[0]; l.Local != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port4) || l.RQueue != 3 || l.WQueue == 0 || l.V6 {
		t.Errorf("IPv4 listener with three waiting: %+v", l)
	}
	if l := listeners[1]; l.Local != netip.AddrPortFrom(netip.IPv6Unspecified(), port6) || !l.V6 || l.V6Only {
		t.Errorf("IPv6 listener for both: %+v", l)
	}
	for range conns {
		c, err := four.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	established := sockets(t, SocketQuery{States: 1 << TCPEstablished})
	if len(established) != 6 {
		t.Errorf("%d established: %+v", len(established), established)
	}
	mine := conns[0].LocalAddr().(*net.TCPAddr).AddrPort()
	i := slices.IndexFunc(established, func(s Socket) bool { return s.Local == mine })
	if i < 0 || established[i].Remote != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port4) || established[i].Inode == 0 {
		t.Errorf("no socket of %s, or not as it is: %+v", mine, established)
	}
	conns[0].Close()
	waitFor(t, "a closing socket", func() bool { return len(sockets(t, SocketQuery{States: 1 << TCPCloseWait})) == 1 })
	if got := len(sockets(t, SocketQuery{})); got != 8 {
		t.Errorf("%d sockets in all states, want 8", got)
	}

	udp, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if err := udp.(*net.UDPConn).SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	sender, err := new(net.Dialer).DialContext(t.Context(), "udp4", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for range 20 {
		if _, err := sender.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	datagrams := sockets(t, SocketQuery{UDP: true})
	i = slices.IndexFunc(datagrams, func(s Socket) bool { return s.Local == udp.LocalAddr().(*net.UDPAddr).AddrPort() })
	if i < 0 || datagrams[i].Drops == 0 || datagrams[i].RQueue == 0 {
		t.Errorf("a UDP socket that is too small: %+v", datagrams)
	}
}

func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

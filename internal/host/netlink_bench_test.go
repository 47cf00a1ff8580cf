package host

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// threadCPU is what the calling thread has used; benchmarks are locked to theirs.
func threadCPU(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf is the least CPU time of some runs of f: what the work takes, without what disturbed it.
func cpuOf(t testing.TB, runs int, f func() error) time.Duration {
	t.Helper()
	least := time.Duration(1<<63 - 1)
	for range runs {
		before := threadCPU(t)
		if err := f(); err != nil {
			t.Fatal(err)
		}
		least = min(least, threadCPU(t)-before)
	}
	return least
}

// connections makes n TCP sockets on the loopback of the test's own network namespace: both ends of n/2 connections. They are parked in
// the buffer of a Unix socket, so that no limit on open files stands in the way, and go with it. Raw descriptors are used, for the
// runtime's poller would wake other threads.
func connections(t testing.TB, n int) {
	t.Helper()
	parking, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(parking[0]); unix.Close(parking[1]) })
	const perMessage, perListener = 200, 20000 // SCM_MAX_FD is 253; a client's address has 28,232 ports for one destination
	var fds []int
	park := func() {
		err := unix.Sendmsg(parking[0], []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT)
		for _, fd := range fds {
			unix.Close(fd)
		}
		fds = fds[:0]
		if err != nil {
			t.Fatalf("parking sockets: %v", err)
		}
	}
	for made := 0; made < n; {
		listener, address := listener(t)
		for i := 0; i < perListener && made < n; i++ {
			client, server := connection(t, listener, address)
			if fds = append(fds, client, server); len(fds) >= perMessage {
				park()
			}
			made += 2
		}
	}
	if len(fds) > 0 {
		park()
	}
}

func listener(t testing.TB) (fd int, address unix.Sockaddr) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { unix.Close(fd) })
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(fd, 128)
	}
	if err == nil {
		address, err = unix.Getsockname(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, address
}

func connection(t testing.TB, listener int, address unix.Sockaddr) (client, server int) {
	t.Helper()
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(client, address)
	}
	if err == nil {
		server, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
	}
	if err == nil { // a reset leaves nothing in TIME_WAIT
		err = unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// rawSocketDump sends the same request as Sockets and walks the headers of the answer: what any reader must spend.
func rawSocketDump() (int, error) {
	s, err := openNetlink(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, err
	}
	defer s.close()
	n := 0
	buf := make([]byte, 64<<10)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		req := make([]byte, sizeofDiagReq)
		req[0], req[1] = family, unix.IPPROTO_TCP
		copy(req[4:], "\xff\xff\xff\xff")
		if err := s.request(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, req); err != nil {
			return 0, err
		}
		for done := false; !done; {
			size, _, err := unix.Recvfrom(s.fd, buf, 0)
			if err != nil {
				return 0, err
			}
			for b := buf[:size]; len(b) > 0; {
				m, rest, err := nextMessage(b)
				if err != nil {
					return 0, err
				}
				if done = m.kind == unix.NLMSG_DONE || m.kind == unix.NLMSG_ERROR; !done {
					n++
				}
				b = rest
			}
		}
	}
	return n, nil
}

func ourSocketDump(t testing.TB) (n int, err error) {
	err = (&Local{}).Sockets(t.Context(), SocketQuery{}, func(s *Socket) error {
		if s.Local.Port() != 0 {
			n++
		}
		return nil
	})
	return n, err
}

// counted makes a run of which the number of rows must be at least what was made.
func counted(least int, dump func() (int, error)) func() error {
	return func() error {
		n, err := dump()
		if err == nil && n < least {
			err = fmt.Errorf("%d rows, want at least %d", n, least)
		}
		return err
	}
}

// BenchmarkSockets50k compares the dump of 50,000 real TCP sockets with the least that any reader could spend, and with a library.
func BenchmarkSockets50k(b *testing.B) {
	const sockets = 50000
	namespace(b)
	connections(b, sockets)
	raw := cpuOf(b, 9, counted(sockets, rawSocketDump))
	library := cpuOf(b, 3, counted(sockets, func() (int, error) {
		all, err := netlink.SocketDiagTCPInfo(unix.AF_INET)
		return len(all), err
	}))
	var ours time.Duration
	for b.Loop() {
		ours = cpuOf(b, 9, counted(sockets, func() (int, error) { return ourSocketDump(b) }))
	}
	b.ReportMetric(float64(ours)/float64(raw), "x-raw")
	b.ReportMetric(float64(ours.Microseconds())/1e3, "ms-CPU")
	b.ReportMetric(float64(raw.Microseconds())/1e3, "raw-ms-CPU")
	b.ReportMetric(float64(library.Microseconds())/1e3, "vishvananda-ms-CPU")
}

// TestSocketDumpCost holds the reader to the figure, with room for a machine that does other things meanwhile.
func TestSocketDumpCost(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 10,000 sockets")
	}
	const sockets = 10000
	namespace(t)
	connections(t, sockets)
	raw := cpuOf(t, 9, counted(sockets, rawSocketDump))
	ours := cpuOf(t, 9, counted(sockets, func() (int, error) { return ourSocketDump(t) }))
	t.Logf("%d sockets: ours %s, raw %s", sockets, ours, raw)
	if ours > 2*raw {
		t.Errorf("%s for %d sockets, and a raw dump takes %s", ours, sockets, raw)
	}
	allocs := testing.AllocsPerRun(3, func() {
		if _, err := ourSocketDump(t); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > sockets/100 {
		t.Errorf("%.0f allocations for %d sockets", allocs, sockets)
	}
}

// FuzzMessages feeds the parsers what no kernel sends: lengths that lie, and messages cut short. They must end, and without a panic.
func FuzzMessages(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 200))
	f.Add([]byte{20, 0, 0, 0, 24, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 24, 0, 0})
	f.Add([]byte{44, 0, 0, 0, 24, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 33, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 0, 8, 0, 9, 0, 0, 0, 0, 0})
	parsers := []func([]byte) error{
		func(b []byte) error { _, err := new(Route).parse(b); return err },
		func(b []byte) error { _, err := new(Neighbour).parse(b); return err },
		func(b []byte) error { return new(Socket).parse(b, true) },
		func(b []byte) error { return new(Socket).parse(b, false) },
		func(b []byte) error { _, _, err := parseLink(b); return err },
		func(b []byte) error { _, _, err := parseAddr(b); return err },
		func(b []byte) error { _, _, err := parseRule(b); return err },
		func(b []byte) error { _, _, err := parseQdisc(b); return err },
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bodies := [][]byte{b}
		for rest := b; len(rest) > 0; {
			m, next, err := nextMessage(rest)
			if err != nil {
				break
			}
			if len(next) >= len(rest) {
				t.Fatal("no progress")
			}
			bodies, rest = append(bodies, m.body), next
			_, _ = m.end()
		}
		for _, body := range bodies {
			for _, parse := range parsers {
				if err := parse(body); err != nil && !errors.Is(err, errMessage) {
					t.Errorf("%v", err)
				}
			}
		}
		_ = netemOptions(b)
		_ = tbfOptions(b)
	})
}

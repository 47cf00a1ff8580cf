// Package nettest gives tests network namespaces of their own, which end with the test's process.
package nettest

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside marks the process that a test runs in a namespace.
const inside = "HOSTMEND_TEST_NETNS"

// Run runs f in a copy of the test's process that has a network namespace to itself, with only loopback in it, up. The calling test does
// nothing else. It needs root.
func Run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) != "" {
		Up(t, "lo")
		f(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, why, ok := strings.Cut(string(out), "--- SKIP: "+t.Name()); ok {
		t.Skip(why)
	}
	t.Logf("%s", out)
}

// Namespace is a further network namespace.
type Namespace struct{ fd int }

// New makes a namespace with loopback up.
func New(t *testing.T) Namespace {
	t.Helper()
	made := make(chan error)
	n := Namespace{}
	onThread(func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
	})
	if err := <-made; err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(n.fd) })
	n.Do(t, func() error { Up(t, "lo"); return nil })
	return n
}

// onThread runs f on a thread of its own, which ends with it. The process's first thread must stay where it is: /proc/self/net, and with
// it /proc/net, is that one's.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			elsewhere := make(chan struct{})
			go func() { defer close(elsewhere); onThread(f) }()
			<-elsewhere
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
}

// Do runs f on a thread in the namespace: sockets that it opens, commands that it starts and files under /proc/sys/net are of there.
func (n Namespace) Do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	onThread(func() {
		err := unix.Setns(n.fd, unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Wire joins the namespace that it is called in with another by a veth pair. Neither end has addresses yet.
func Wire(t *testing.T, here string, to Namespace, there string, mtu int) {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: here, MTU: mtu}, PeerName: there, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(to.fd)}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
}

// Up brings an interface of the namespace that it is called in up, with addresses.
func Up(t *testing.T, name string, prefixes ...netip.Prefix) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	// A router looks for a neighbour by its link-local address, and not at all while duplicate detection runs for that (ndisc_send_ns in
	// net/ipv6/ndisc.c): on a busy machine longer than the three seconds after which it gives up.
	Sysctl(t, "ipv6.conf."+name+".accept_dad", "0")
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	for _, p := range prefixes {
		addr, err := netlink.ParseAddr(p.String())
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatal(err)
		}
	}
}

// Route adds a route through a gateway in the namespace that it is called in; the zero prefix is the default route.
func Route(t *testing.T, dst netip.Prefix, gateway netip.Addr) {
	t.Helper()
	r := &netlink.Route{Gw: gateway.AsSlice()}
	if dst.IsValid() {
		var err error
		if r.Dst, err = netlink.ParseIPNet(dst.String()); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.RouteAdd(r); err != nil {
		t.Fatal(err)
	}
}

// Sysctl sets a parameter below net in the namespace that it is called in.
func Sysctl(t *testing.T, name, value string) {
	t.Helper()
	file := "/proc/sys/net/" + strings.ReplaceAll(name, ".", "/")
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		t.Skipf("cannot set %s: %v", name, err)
	}
}

package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Routes dumps the routing tables of IPv4 and IPv6, the local one too, in one request.
func (*Local) Routes(ctx context.Context, each func(*Route) error) error {
	var r Route
	err := dump(ctx, unix.NETLINK_ROUTE, unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg), func(m message) error {
		ok, err := r.parse(m.body)
		if err != nil || !ok || cloned(m.body) {
			return err
		}
		return each(&r)
	})
	if err != nil {
		return fmt.Errorf("dumping routes: %w", err)
	}
	return nil
}

// RouteTo asks for the way of one packet.
func (*Local) RouteTo(ctx context.Context, dst netip.Addr) (Route, error) {
	var r Route
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[1] = unix.AF_INET, 32
	if dst = dst.Unmap(); dst.Is6() {
		body[0], body[1] = unix.AF_INET6, 128
	}
	body = binary.NativeEndian.AppendUint16(body, uint16(unix.SizeofRtAttr+dst.BitLen()/8))
	body = binary.NativeEndian.AppendUint16(body, unix.RTA_DST)
	body = append(body, dst.AsSlice()...)
	s, err := openNetlink(unix.NETLINK_ROUTE)
	if err != nil {
		return r, err
	}
	defer s.close()
	if err = s.request(unix.RTM_GETROUTE, 0, body); err == nil {
		err = s.receive(ctx, func(m message) error { _, err := r.parse(m.body); return err })
	}
	if err != nil {
		return r, fmt.Errorf("route to %s: %w", dst, err)
	}
	return r, nil
}

// cloned says whether a struct rtmsg is a copy that the kernel made for one destination: IPv6 lists them before Linux 4.2.
func cloned(b []byte) bool { return binary.NativeEndian.Uint32(b[8:])&unix.RTM_F_CLONED != 0 }

// parse fills r from a struct rtmsg and its attributes; false for another family's.
func (r *Route) parse(b []byte) (bool, error) {
	if len(b) < unix.SizeofRtMsg {
		return false, errMessage
	}
	family, flags := b[0], binary.NativeEndian.Uint32(b[8:])
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return false, nil
	}
	*r = Route{
		Table: int(b[4]), Protocol: name(routeProtocols[:], b[5]), Scope: name(routeScopes[:], b[6]), Type: name(routeTypes[:], b[7]),
		Dead: flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0,
	}
	dst, src := unspecified(family), netip.Addr{}
	a := attributes{rest: b[unix.SizeofRtMsg:]}
	for a.next() {
		switch a.kind {
		case unix.RTA_DST:
			dst = a.address()
		case unix.RTA_SRC:
			src = a.address()
		case unix.RTA_PREFSRC:
			r.PrefSrc = a.address()
		case unix.RTA_GATEWAY:
			r.Gateway = a.address()
		case unix.RTA_VIA:
			r.Gateway = a.via()
		case unix.RTA_OIF:
			r.Link = int(a.u32())
		case unix.RTA_TABLE:
			r.Table = int(a.u32())
		case unix.RTA_PRIORITY:
			r.Metric = int(a.u32())
		case unix.RTA_METRICS:
			r.metrics(&a)
		case unix.RTA_MULTIPATH:
			r.nextHops(&a)
		}
	}
	r.Dst = prefix(dst, b[1], &a)
	if src.IsValid() {
		r.Src = prefix(src, b[2], &a)
	}
	return true, a.err()
}

func (r *Route) metrics(a *attributes) {
	nested := attributes{rest: a.value}
	for nested.next() {
		if nested.kind == unix.RTAX_MTU {
			r.MTU = int(nested.u32())
		}
	}
	a.bad = a.bad || nested.bad
}

// nextHops reads a list of struct rtnexthop with attributes of their own. The route's own gateway and interface are the first's
// then, and it is dead only if all of them are.
func (r *Route) nextHops(a *attributes) {
	dead := 0
	for b := a.value; len(b) > 0; r.NextHops++ {
		if len(b) < unix.SizeofRtNexthop {
			a.bad = true
			return
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			a.bad = true
			return
		}
		if b[2]&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0 {
			dead++
		}
		if r.NextHops == 0 {
			r.Link = int(binary.NativeEndian.Uint32(b[4:]))
			hop := attributes{rest: b[unix.SizeofRtNexthop:size]}
			for hop.next() {
				switch hop.kind {
				case unix.RTA_GATEWAY:
					r.Gateway = hop.address()
				case unix.RTA_VIA:
					r.Gateway = hop.via()
				}
			}
			a.bad = a.bad || hop.bad
		}
		b = b[min(align(size), len(b)):]
	}
	r.Dead = r.NextHops > 0 && dead == r.NextHops
}

// address reads the value as an IPv4 or IPv6 address.
func (a *attributes) address() netip.Addr {
	switch len(a.value) {
	case 4:
		return netip.AddrFrom4([4]byte(a.value))
	case 16:
		return netip.AddrFrom16([16]byte(a.value))
	}
	a.bad = true
	return netip.Addr{}
}

// via reads a struct rtvia: an address of another family, as IPv4 routes through an IPv6 neighbour have.
func (a *attributes) via() netip.Addr {
	if len(a.value) < 2 {
		a.bad = true
		return netip.Addr{}
	}
	inner := attributes{value: a.value[2:]}
	addr := inner.address()
	a.bad = a.bad || inner.bad
	return addr
}

func unspecified(family byte) netip.Addr {
	if family == unix.AF_INET {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// prefix makes a prefix of an address and a length that a message gave.
func prefix(addr netip.Addr, bits byte, a *attributes) netip.Prefix {
	p := netip.PrefixFrom(addr, int(bits))
	if !p.IsValid() {
		a.bad = true
	}
	return p
}

// Names as iproute2 prints them; the numbers are those of include/uapi/linux/rtnetlink.h.
var (
	routeTypes = [...]string{
		"unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve",
	}
	routeProtocols = [...]string{
		0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt",
		11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted", 18: "keepalived", 42: "babel",
		99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
	}
	routeScopes = [...]string{0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
)

// name looks a number up; one without a name is written as it is.
func name(names []string, n byte) string {
	if int(n) < len(names) && names[n] != "" {
		return names[n]
	}
	return strconv.Itoa(int(n))
}

// Neighbours dumps the ARP and the NDP table in one request.
func (*Local) Neighbours(ctx context.Context, each func(*Neighbour) error) error {
	var n Neighbour
	err := dump(ctx, unix.NETLINK_ROUTE, unix.RTM_GETNEIGH, make([]byte, unix.SizeofNdMsg), func(m message) error {
		ok, err := n.parse(m.body)
		if err != nil || !ok {
			return err
		}
		return each(&n)
	})
	if err != nil {
		return fmt.Errorf("dumping neighbours: %w", err)
	}
	return nil
}

// neighbourStates are the NUD_ bits in include/uapi/linux/neighbour.h.
var neighbourStates = []struct {
	bit  uint16
	name string
}{
	{unix.NUD_INCOMPLETE, "incomplete"},
	{unix.NUD_REACHABLE, "reachable"},
	{unix.NUD_STALE, "stale"},
	{unix.NUD_DELAY, "delay"},
	{unix.NUD_PROBE, "probe"},
	{unix.NUD_FAILED, "failed"},
	{unix.NUD_NOARP, "noarp"},
	{unix.NUD_PERMANENT, "permanent"},
}

// parse fills n from a struct ndmsg and its attributes; false for a row of another family's table.
func (n *Neighbour) parse(b []byte) (bool, error) {
	if len(b) < unix.SizeofNdMsg {
		return false, errMessage
	}
	if b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return false, nil
	}
	*n = Neighbour{Link: int(binary.NativeEndian.Uint32(b[4:])), State: "none"}
	state := binary.NativeEndian.Uint16(b[8:])
	for _, s := range neighbourStates {
		if state&s.bit != 0 {
			n.State = s.name
			break
		}
	}
	a := attributes{rest: b[unix.SizeofNdMsg:]}
	for a.next() {
		switch a.kind {
		case unix.NDA_DST:
			n.IP = a.address()
		case unix.NDA_LLADDR:
			n.MAC = net.HardwareAddr(a.value).String()
		}
	}
	return true, a.err()
}

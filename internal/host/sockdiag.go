package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sockets dumps TCP or UDP sockets of IPv4 and then of IPv6; each family is a request of its own.
func (*Local) Sockets(ctx context.Context, q SocketQuery, each func(*Socket) error) error {
	s, err := openNetlink(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer s.close()
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		err := s.sockets(ctx, family, q, each)
		if family == unix.AF_INET6 && errors.Is(err, ErrUnsupported) {
			break // IPv4 could be dumped, so it is IPv6 that is not there
		}
		if err != nil {
			return fmt.Errorf("dumping sockets: %w", err)
		}
	}
	return nil
}

// Parts of struct inet_diag_req_v2 and inet_diag_msg in include/uapi/linux/inet_diag.h.
const (
	sizeofDiagReq = 56
	sizeofDiagMsg = 72

	diagSkMemInfo = 7  // INET_DIAG_SKMEMINFO
	diagV6Only    = 11 // INET_DIAG_SKV6ONLY

	skMemInfoDrops = 8 // SK_MEMINFO_DROPS, the index of a word
)

func (s *netlinkSocket) sockets(ctx context.Context, family byte, q SocketQuery, each func(*Socket) error) error {
	req := make([]byte, sizeofDiagReq)
	req[0], req[1] = family, unix.IPPROTO_TCP
	if q.UDP {
		// Only UDP is asked for an extension: its drops stand nowhere else. Every extension costs for each socket.
		req[1], req[2] = unix.IPPROTO_UDP, 1<<(diagSkMemInfo-1)
	}
	states := q.States
	if states == 0 {
		states = ^uint32(0)
	}
	binary.NativeEndian.PutUint32(req[4:], states)
	if err := s.request(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, req); err != nil {
		return err
	}
	var sock Socket
	return s.receive(ctx, func(m message) error {
		if err := sock.parse(m.body, q.UDP); err != nil {
			return err
		}
		return each(&sock)
	})
}

// parse fills s from a struct inet_diag_msg. Its attributes cost as much as the rest, so they are read only where they say
// something: of listeners and of UDP.
func (s *Socket) parse(b []byte, udp bool) error {
	if len(b) < sizeofDiagMsg {
		return errMessage
	}
	*s = Socket{
		State:  b[1],
		V6:     b[0] == unix.AF_INET6,
		RQueue: binary.NativeEndian.Uint32(b[56:]), WQueue: binary.NativeEndian.Uint32(b[60:]),
		UID: binary.NativeEndian.Uint32(b[64:]), Inode: binary.NativeEndian.Uint32(b[68:]),
	}
	s.Local = endpoint(b[0], b[8:24], b[4:6])
	if remote := endpoint(b[0], b[24:40], b[6:8]); remote.Port() != 0 {
		s.Remote = remote
	}
	if !udp && s.State != TCPListen {
		return nil
	}
	a := attributes{rest: b[sizeofDiagMsg:]}
	for a.next() {
		switch {
		case a.kind == diagV6Only && len(a.value) > 0:
			s.V6Only = a.value[0] != 0
		case a.kind == diagSkMemInfo && len(a.value) >= 4*(skMemInfoDrops+1):
			s.Drops = binary.NativeEndian.Uint32(a.value[4*skMemInfoDrops:])
		}
	}
	return a.err()
}

// endpoint reads an address, in the first bytes of addr, and a port in network order.
func endpoint(family byte, addr, port []byte) netip.AddrPort {
	p := binary.BigEndian.Uint16(port)
	if family == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(addr)).Unmap(), p)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), p)
}

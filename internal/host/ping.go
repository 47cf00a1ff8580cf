package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ICMP as in RFC 792 and RFC 4443: an echo is type, code, checksum, identifier, sequence number, payload.
const (
	icmpHeader  = 8
	echoReply   = 0
	echoRequest = 8
	echo6Ask    = 128
	echo6Reply  = 129

	pingPayload = 56 // what ping(8) sends
)

// Ping sends one ICMP echo from a socket of its own: a raw one, or without the right to that a ping socket, which the kernel
// grants to the groups of net.ipv4.ping_group_range.
func (l *Local) Ping(ctx context.Context, p Ping) (Pong, error) {
	ctx, cancel, err := l.asking(ctx)
	if err != nil {
		return Pong{}, fmt.Errorf("pinging %s: %w", p.Dst, err)
	}
	defer cancel()
	pong, err := ping(ctx, p)
	if err != nil {
		return Pong{}, fmt.Errorf("pinging %s: %w", p.Dst, err)
	}
	return pong, nil
}

func ping(ctx context.Context, p Ping) (Pong, error) {
	v6 := p.Dst.Is6()
	header := 20 + icmpHeader
	if v6 {
		header = 40 + icmpHeader
	}
	payload := pingPayload
	if p.Size != 0 {
		payload = p.Size - header
	}
	if payload < 0 || payload+header > 65535 {
		return Pong{}, fmt.Errorf("there is no echo of %d bytes", p.Size)
	}
	s, err := openICMP(v6)
	if err != nil {
		return Pong{}, err
	}
	file := os.NewFile(uintptr(s.fd), "icmp") // registered with the runtime's poller, as the socket does not block
	defer file.Close()
	defer context.AfterFunc(ctx, func() { _ = file.SetDeadline(time.Unix(1, 0)) })()
	if err := s.aim(p); err != nil {
		return Pong{}, err
	}
	id, seq := uint16(rand.Uint32()), uint16(rand.Uint32())
	packet := makeEcho(v6, id, seq, make([]byte, payload))
	began := time.Now()
	if _, err := file.Write(packet); err != nil && !errors.Is(err, unix.EMSGSIZE) {
		return Pong{}, cause(ctx, err)
	}
	return s.await(ctx, file, id, seq, began)
}

// icmpSocket is a socket for echoes, which does not block.
type icmpSocket struct {
	fd  int
	v6  bool
	raw bool // as opposed to a ping socket, which writes its own identifier
	buf []byte
	oob []byte
}

func openICMP(v6 bool) (*icmpSocket, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if v6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(family, unix.SOCK_RAW|flags, proto)
	raw := err == nil
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		fd, err = unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		// Not the errno itself: a write to the socket says EPERM when a firewall rule drops the packet.
		return nil, fmt.Errorf("opening an ICMP socket takes root, or a group within net.ipv4.ping_group_range: %w", fs.ErrPermission)
	}
	if err != nil {
		return nil, fmt.Errorf("opening an ICMP socket: %w", err)
	}
	s := &icmpSocket{fd: fd, v6: v6, raw: raw}
	if !raw {
		return s, nil
	}
	// A raw socket gets every ICMP packet of the machine; these let only echo replies through (a set bit blocks).
	if v6 {
		filter := &unix.ICMPv6Filter{}
		for i := range filter.Data {
			filter.Data[i] = ^uint32(0)
		}
		filter.Data[echo6Reply>>5] &^= 1 << (echo6Reply & 31)
		err = unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, filter)
	} else {
		const icmpFilter = 1 // ICMP_FILTER of SOL_RAW, linux/icmp.h
		err = unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(^uint32(1<<echoReply)))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("filtering an ICMP socket: %w", err)
	}
	return s, nil
}

// aim connects the socket, so that only what comes from there is heard, and asks for the errors that routers send.
func (s *icmpSocket) aim(p Ping) error {
	fd := s.fd
	if s.v6 {
		discover := unix.IPV6_PMTUDISC_DONT
		if p.DF {
			discover = unix.IPV6_PMTUDISC_PROBE
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 1),
			unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, discover),
			unix.Connect(fd, sockaddr(p.Dst)))
	}
	// PROBE sets DF and does not look at what the kernel remembers of the path: a remembered MTU would answer for a hole.
	discover := unix.IP_PMTUDISC_DONT
	if p.DF {
		discover = unix.IP_PMTUDISC_PROBE
	}
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1),
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, discover),
		unix.Connect(fd, sockaddr(p.Dst)))
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() || a.Is4In6() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: scope(a)}
}

// scope is the index of the interface that a link-local address belongs to; 0 without one.
func scope(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	ifi, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0
	}
	return uint32(ifi.Index)
}

// await reads until the reply to one echo, or an error that is about it, has come.
func (s *icmpSocket) await(ctx context.Context, file *os.File, id, seq uint16, began time.Time) (Pong, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return Pong{}, err
	}
	s.buf, s.oob = make([]byte, 1024), make([]byte, 512) // only the headers are looked at; what is longer is cut off
	var pong Pong
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		for {
			n, _, _, _, err := unix.Recvmsg(int(fd), s.buf, nil, 0)
			if err == nil {
				if s.isReply(s.buf[:n], id, seq) {
					pong.RTT = time.Since(began)
					return true
				}
				continue
			}
			if errors.Is(err, unix.EINTR) {
				continue
			}
			// The error itself is only a hint that the queue holds one: it may be about somebody else's packet to the same host.
			tooBig, about, queueErr := s.readError(int(fd), id, seq)
			switch {
			case errors.Is(queueErr, unix.EAGAIN) && errors.Is(err, unix.EAGAIN):
				return false
			case queueErr == nil && about == unix.EMSGSIZE && tooBig > 0:
				pong.TooBig = tooBig
				return true
			case queueErr == nil && about != 0:
				failed = about
				return true
			case queueErr != nil && !errors.Is(queueErr, unix.EAGAIN):
				failed = queueErr
				return true
			}
		}
	})
	if failed == nil && err != nil {
		failed = cause(ctx, err)
	}
	return pong, failed
}

// isReply reports whether a received packet answers the echo with this identifier and sequence number.
func (s *icmpSocket) isReply(b []byte, id, seq uint16) bool {
	if s.raw && !s.v6 { // an IPv4 raw socket hands over the IP header too
		if len(b) < 1 || len(b) < int(b[0]&15)*4 {
			return false
		}
		b = b[int(b[0]&15)*4:]
	}
	reply := byte(echoReply)
	if s.v6 {
		reply = echo6Reply
	}
	return len(b) >= icmpHeader && b[0] == reply && s.isOurs(b, id, seq)
}

// isOurs compares identifier and sequence number. A ping socket has put its own identifier there and hears only its own.
func (s *icmpSocket) isOurs(b []byte, id, seq uint16) bool {
	return len(b) >= icmpHeader && binary.BigEndian.Uint16(b[6:]) == seq && (!s.raw || binary.BigEndian.Uint16(b[4:]) == id)
}

// readError takes one entry off the socket's error queue. about is 0 if it is not about our echo; mtu is what a
// fragmentation-needed message, or the local interface, says would fit.
func (s *icmpSocket) readError(fd int, id, seq uint16) (mtu int, about unix.Errno, err error) {
	n, oobn, _, _, err := unix.Recvmsg(fd, s.buf, s.oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return 0, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(s.oob[:oobn])
	if err != nil {
		return 0, 0, err
	}
	for _, m := range messages {
		if m.Header.Type != unix.IP_RECVERR && m.Header.Type != unix.IPV6_RECVERR || len(m.Data) < 16 {
			continue
		}
		// struct sock_extended_err: errno u32, origin, type, code, pad u8, info u32, data u32
		errno, origin, info := binary.NativeEndian.Uint32(m.Data), m.Data[4], binary.NativeEndian.Uint32(m.Data[8:])
		// A local error (the packet does not fit the interface) was raised by our one write; what a router returns carries the
		// beginning of the packet that it is about.
		if origin == unix.SO_EE_ORIGIN_LOCAL || s.isOurs(s.buf[:n], id, seq) {
			return int(info), unix.Errno(errno), nil
		}
	}
	return 0, 0, nil
}

// makeEcho writes an echo request around a payload.
func makeEcho(v6 bool, id, seq uint16, payload []byte) []byte {
	b := make([]byte, icmpHeader+len(payload))
	b[0] = echoRequest
	if v6 {
		b[0] = echo6Ask // the kernel fills in ICMPv6 checksums, for they cover the source address
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	copy(b[icmpHeader:], payload)
	if !v6 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// checksum is the Internet checksum of RFC 1071 over data whose checksum field is zero.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sweep pings many addresses at once, again and again, from one socket for each address family. Datagrams go out and come in by the
// batch (sendmmsg, recvmmsg), times are the kernel's (SO_TIMESTAMPING: when the packet was handed to the interface, when its reply was
// taken from it), and a round allocates nothing for its packets.
type Sweep struct {
	families []*sweepFamily
	echoes   []Echo
}

// Echo is what became of one ping of a round.
type Echo struct {
	RTT      time.Duration
	Answered bool
	Errno    syscall.Errno // why it could not be sent; 0 if it was
}

const (
	// sweepBatch is how many packets one system call takes. Larger ones gain nothing: at 64 the call itself is 1 % of the cost.
	sweepBatch = 64
	// sweepPause between two batches bounds the rate at 64,000 packets a second, and gives time to read answers.
	sweepPause = time.Millisecond
	// sweepBuffer holds the answers to some 10,000 pings, for a reader that is not scheduled for a while.
	sweepBuffer = 8 << 20

	// The payload: who asked (so that another program's echoes with the same identifier are not ours), the round, the target.
	sweepCookie, sweepRound, sweepIndex = icmpHeader, icmpHeader + 8, icmpHeader + 12
	sweepPacket                         = icmpHeader + pingPayload
)

// NewSweep opens the sockets. It takes root, or a group within net.ipv4.ping_group_range.
func (l *Local) NewSweep(targets []netip.Addr) (*Sweep, error) {
	if l.Offline {
		return nil, ErrOffline
	}
	if len(targets) == 0 {
		return nil, errors.New("there is nothing to ping")
	}
	s := &Sweep{echoes: make([]Echo, len(targets))}
	for _, v6 := range []bool{false, true} {
		var list []netip.Addr
		var index []int
		for i, a := range targets {
			if a.Unmap().Is6() == v6 {
				list, index = append(list, a.Unmap()), append(index, i)
			}
		}
		if len(list) == 0 {
			continue
		}
		f, err := newSweepFamily(v6, list)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		f.index = index
		s.families = append(s.families, f)
	}
	return s, nil
}

// Close closes the sockets.
func (s *Sweep) Close() error {
	var errs []error
	for _, f := range s.families {
		errs = append(errs, unix.Close(f.fd))
	}
	return errors.Join(errs...)
}

// Raw reports whether the sweep uses raw sockets, as opposed to ping sockets.
func (s *Sweep) Raw() bool { return s.families[0].raw }

// Round pings every target once and waits for answers until all are there, but not longer than wait after the last packet was sent.
// The echoes, in the targets' order, are valid until the next round.
func (s *Sweep) Round(ctx context.Context, wait time.Duration) ([]Echo, error) {
	clear(s.echoes)
	if len(s.families) == 1 {
		return s.echoes, s.families[0].round(ctx, s.echoes, wait)
	}
	errs := make([]error, len(s.families))
	var all sync.WaitGroup
	for i, f := range s.families {
		all.Go(func() { errs[i] = f.round(ctx, s.echoes, wait) })
	}
	all.Wait()
	return s.echoes, errors.Join(errs...)
}

// mmsghdr is struct mmsghdr of sendmmsg(2), which x/sys does not have.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// sweepFamily is the part of a sweep that one socket carries.
type sweepFamily struct {
	*icmpSocket
	index   []int // of each target among the sweep's
	cookie  uint64
	id      uint16
	stamped bool // the kernel tells when packets were sent

	names   [][unix.SizeofSockaddrInet6]byte
	packets [][sweepPacket]byte
	out     []mmsghdr // one for each target
	outVec  []unix.Iovec

	in     [sweepBatch]mmsghdr
	inVec  [sweepBatch]unix.Iovec
	inBuf  [sweepBatch][60 + sweepPacket]byte // an IPv4 header has at most 60 bytes
	inFrom [sweepBatch][unix.SizeofSockaddrInet6]byte
	inOOB  [sweepBatch][128]byte

	// Of the round that is under way:
	number  uint32
	sent    []time.Duration // since the epoch, by the real-time clock
	firstID uint32          // number of the first packet of the round, as the kernel counts them
	nextID  uint32
	order   []int32 // target of each packet, by its number less firstID
	pending int
	echoes  []Echo
	ready   [1]unix.PollFd
}

func newSweepFamily(v6 bool, targets []netip.Addr) (*sweepFamily, error) {
	socket, err := openICMP(v6)
	if err != nil {
		return nil, err
	}
	f := &sweepFamily{
		icmpSocket: socket, cookie: rand.Uint64(), id: uint16(rand.Uint32()),
		names: make([][unix.SizeofSockaddrInet6]byte, len(targets)), packets: make([][sweepPacket]byte, len(targets)),
		out: make([]mmsghdr, len(targets)), outVec: make([]unix.Iovec, len(targets)),
		sent: make([]time.Duration, len(targets)), order: make([]int32, 0, len(targets)),
	}
	// The larger of what root may ask for and what everybody may.
	if unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, sweepBuffer) != nil {
		_ = unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, sweepBuffer)
	}
	const stamps = unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE
	// OPT_TSONLY (Linux 4.0): the time alone comes back, not the packet with it. Without it only arrivals are stamped.
	const both = stamps | unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY
	if f.stamped = unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, both) == nil; !f.stamped {
		if err := unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamps); err != nil {
			return nil, errors.Join(fmt.Errorf("asking for timestamps: %w", err), unix.Close(f.fd))
		}
	}
	for i, a := range targets {
		f.prepare(i, a)
	}
	for i := range f.in {
		f.inVec[i].Base = &f.inBuf[i][0]
		f.inVec[i].SetLen(len(f.inBuf[i]))
	}
	return f, nil
}

// prepare writes a target's packet, but for what changes each round.
func (f *sweepFamily) prepare(i int, a netip.Addr) {
	n := uint32(unix.SizeofSockaddrInet4)
	if f.v6 {
		n = unix.SizeofSockaddrInet6
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&f.names[i]))
		sa.Family, sa.Addr = unix.AF_INET6, a.As16()
		sa.Scope_id = scope(a)
	} else {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&f.names[i]))
		sa.Family, sa.Addr = unix.AF_INET, a.As4()
	}
	copy(f.packets[i][:], makeEcho(f.v6, f.id, 0, nil))
	binary.BigEndian.PutUint64(f.packets[i][sweepCookie:], f.cookie)
	binary.BigEndian.PutUint32(f.packets[i][sweepIndex:], uint32(i))
	f.outVec[i].Base = &f.packets[i][0]
	f.outVec[i].SetLen(sweepPacket)
	h := &f.out[i].hdr
	h.Name, h.Namelen = &f.names[i][0], n
	h.Iov = &f.outVec[i]
	h.SetIovlen(1)
}

func (f *sweepFamily) round(ctx context.Context, echoes []Echo, wait time.Duration) error {
	f.echoes, f.pending = echoes, 0
	f.number++
	f.firstID, f.order = f.nextID, f.order[:0]
	for from := 0; from < len(f.out); {
		to := min(from+sweepBatch, len(f.out))
		for i := from; i < to; i++ {
			f.address(i)
		}
		if err := f.send(ctx, from, to); err != nil {
			return err
		}
		if from = to; from < len(f.out) {
			if err := f.collect(ctx, sweepPause); err != nil {
				return err
			}
		}
	}
	return f.collect(ctx, wait)
}

// address fills in what a packet has of this round: its sequence number and the round's.
func (f *sweepFamily) address(i int) {
	p := f.packets[i][:]
	binary.BigEndian.PutUint16(p[6:], uint16(f.number))
	binary.BigEndian.PutUint32(p[sweepRound:], f.number)
	if !f.v6 {
		p[2], p[3] = 0, 0
		binary.BigEndian.PutUint16(p[2:], checksum(p))
	}
}

// collect reads answers for a while, or until none is missing.
func (f *sweepFamily) collect(ctx context.Context, wait time.Duration) error {
	for end := time.Now().Add(wait); f.pending > 0; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if err := f.poll(ctx, unix.POLLIN, left); err != nil {
			return err
		}
		if err := errors.Join(f.readStamps(), f.drain()); err != nil {
			return err
		}
	}
	return nil
}

// poll waits until the socket is ready. It blocks its thread: the runtime's poller would wake another one for every packet, which
// costs a fifth of the sweep. So it looks at the context now and then.
func (f *sweepFamily) poll(ctx context.Context, events int16, wait time.Duration) error {
	const patience = 50 * time.Millisecond
	ts := unix.NsecToTimespec(int64(min(wait, patience)))
	f.ready[0] = unix.PollFd{Fd: int32(f.fd), Events: events}
	if _, err := unix.Ppoll(f.ready[:], &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("waiting for echoes: %w", err)
	}
	return ctx.Err()
}

// send hands packets to the kernel.
func (f *sweepFamily) send(ctx context.Context, from, to int) error {
	for from < to {
		now := realTime()
		n, errno := mmsg(unix.SYS_SENDMMSG, f.fd, f.out[from:to], unix.MSG_DONTWAIT)
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if err := f.poll(ctx, unix.POLLOUT, time.Second); err != nil {
				return err
			}
			continue
		case unix.EBADF, unix.ENOTSOCK, unix.EFAULT:
			return fmt.Errorf("sending echoes: %w", errno)
		default: // about the first packet: no route, a firewall rule that drops it, no buffer
			f.echoes[f.index[from]].Errno = errno
			from++
			continue
		}
		for i := from; i < from+n; i++ {
			f.sent[i] = now
			f.order = append(f.order, int32(i))
		}
		from += n
		f.nextID += uint32(n)
		f.pending += n
		if err := errors.Join(f.readStamps(), f.drain()); err != nil { // so that neither queue fills up
			return err
		}
	}
	return ctx.Err()
}

func mmsg(call uintptr, fd int, list []mmsghdr, flags uintptr) (int, syscall.Errno) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), flags, 0, 0)
	return int(n), errno
}

func realTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &ts)
	return time.Duration(ts.Nano())
}

// receive gets a batch off the socket's queue, or its error queue.
func (f *sweepFamily) receive(flags uintptr) (int, error) {
	for {
		for i := range f.in {
			h := &f.in[i].hdr
			h.Name, h.Namelen = &f.inFrom[i][0], uint32(len(f.inFrom[i]))
			h.Iov = &f.inVec[i]
			h.SetIovlen(1)
			h.Control = &f.inOOB[i][0]
			h.SetControllen(len(f.inOOB[i]))
		}
		n, errno := mmsg(unix.SYS_RECVMMSG, f.fd, f.in[:], flags|unix.MSG_DONTWAIT)
		switch errno {
		case 0:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, fmt.Errorf("receiving echoes: %w", errno)
		}
	}
}

// readStamps reads when packets were handed to the interface.
func (f *sweepFamily) readStamps() error {
	if !f.stamped {
		return nil
	}
	for n := sweepBatch; n == sweepBatch; {
		var err error
		if n, err = f.receive(unix.MSG_ERRQUEUE); err != nil {
			return err
		}
		for i := range n {
			at, id := f.control(i)
			if k := id - f.firstID; at != 0 && k < uint32(len(f.order)) {
				f.sent[f.order[k]] = at
			}
		}
	}
	return nil
}

// drain reads replies.
func (f *sweepFamily) drain() error {
	for n := sweepBatch; n == sweepBatch && f.pending > 0; {
		var err error
		if n, err = f.receive(0); err != nil {
			return err
		}
		for i := range n {
			if t, ok := f.matches(i); ok {
				at, _ := f.control(i)
				if at == 0 { // stamping was switched on a moment ago and is not in force yet
					at = realTime()
				}
				// Both times are of the real-time clock: a step of it between them must not make a time negative.
				f.echoes[f.index[t]] = Echo{RTT: max(0, at-f.sent[t]), Answered: true}
				f.pending--
			}
		}
	}
	return nil
}

// matches reports whether received packet i is the first reply to this round's echo, and which target's.
func (f *sweepFamily) matches(i int) (int, bool) {
	b := f.inBuf[i][:min(int(f.in[i].len), len(f.inBuf[i]))]
	reply := byte(echo6Reply)
	if !f.v6 {
		reply = echoReply
		if f.raw { // with its IP header
			if len(b) < 20 || len(b) < int(b[0]&15)*4 {
				return 0, false
			}
			b = b[int(b[0]&15)*4:]
		}
	}
	if len(b) < sweepPacket || b[0] != reply || binary.BigEndian.Uint64(b[sweepCookie:]) != f.cookie ||
		binary.BigEndian.Uint32(b[sweepRound:]) != f.number {
		return 0, false
	}
	t := binary.BigEndian.Uint32(b[sweepIndex:])
	if int(t) >= len(f.out) || f.echoes[f.index[t]].Answered {
		return 0, false
	}
	return int(t), f.isFrom(i, int(t))
}

// isFrom compares the sender's address with the target's.
func (f *sweepFamily) isFrom(i, t int) bool {
	if f.v6 {
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(&f.inFrom[i]))
		b := (*unix.RawSockaddrInet6)(unsafe.Pointer(&f.names[t]))
		return a.Addr == b.Addr
	}
	a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&f.inFrom[i]))
	b := (*unix.RawSockaddrInet4)(unsafe.Pointer(&f.names[t]))
	return a.Addr == b.Addr
}

// control reads the control messages of received packet i: the time (struct scm_timestamping, the first of its three), and from the
// error queue the number of the packet that it is about (struct sock_extended_err).
func (f *sweepFamily) control(i int) (at time.Duration, id uint32) {
	oob := f.inOOB[i][:min(int(f.in[i].hdr.Controllen), len(f.inOOB[i]))]
	for len(oob) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(oob) {
			break
		}
		data := oob[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPING && len(data) >= 16:
			at = time.Duration(binary.NativeEndian.Uint64(data))*time.Second + time.Duration(binary.NativeEndian.Uint64(data[8:]))
		case (h.Level == unix.SOL_IP || h.Level == unix.SOL_IPV6) && len(data) >= 16:
			id = binary.NativeEndian.Uint32(data[12:])
		}
		oob = oob[min(len(oob), unix.CmsgSpace(n-unix.CmsgLen(0))):]
	}
	return at, id
}

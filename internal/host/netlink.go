package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The readers below speak netlink themselves. What grows with the host (sockets, routes, neighbours) must not allocate for each row,
// and once there is a reader for those, the short lists need only their own attributes: one way to fail, to time out and to be
// interrupted, and one parser to hold against hostile lengths.

// errMessage is what a malformed netlink message gives. The kernel sends none; a parser bug and a hostile test do.
var errMessage = errors.New("malformed netlink message")

// dumpBuffers are for answers. The kernel fills at most 32 KiB of a dump at once, however large the buffer (netlink_dump in
// net/netlink/af_netlink.c, since 4.4); a larger one would not save a system call.
var dumpBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// netlinkPatience is how long the kernel may keep us waiting for a part of an answer: a big change of routes holds the lock.
const netlinkPatience = 5 * time.Second

// message is one netlink message: type, flags and what follows the header.
type message struct {
	kind  uint16
	flags uint16
	seq   uint32
	body  []byte
}

// nextMessage cuts the first message off b.
func nextMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return m, nil, errMessage
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < unix.NLMSG_HDRLEN || size > len(b) {
		return m, nil, errMessage
	}
	m = message{
		kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]), seq: binary.NativeEndian.Uint32(b[8:]),
		body: b[unix.NLMSG_HDRLEN:size],
	}
	return m, b[min(align(size), len(b)):], nil
}

// attributes walks the attributes of a message: for a.next() { a.kind, a.value }. A length that makes no sense ends the walk and
// sets bad.
type attributes struct {
	rest  []byte
	kind  uint16
	value []byte
	bad   bool
}

func (a *attributes) next() bool {
	if len(a.rest) < unix.SizeofRtAttr {
		a.bad = a.bad || len(a.rest) > 0
		return false
	}
	size := int(binary.NativeEndian.Uint16(a.rest))
	if size < unix.SizeofRtAttr || size > len(a.rest) {
		a.bad = true
		return false
	}
	a.kind = binary.NativeEndian.Uint16(a.rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	a.value = a.rest[unix.SizeofRtAttr:size]
	a.rest = a.rest[min(align(size), len(a.rest)):]
	return true
}

// u32 reads the value as a number; a shorter one makes the message bad.
func (a *attributes) u32() uint32 {
	if len(a.value) < 4 {
		a.bad = true
		return 0
	}
	return binary.NativeEndian.Uint32(a.value)
}

// text reads the value as a string that ends in a zero.
func (a *attributes) text() string {
	for i, c := range a.value {
		if c == 0 {
			return string(a.value[:i])
		}
	}
	return string(a.value)
}

func (a *attributes) err() error {
	if a.bad {
		return errMessage
	}
	return nil
}

// align rounds up to the four bytes that messages and attributes begin at.
func align(n int) int { return (n + 3) &^ 3 }

// netlinkSocket is a connection to one family of the kernel's netlink.
type netlinkSocket struct {
	fd  int
	seq uint32
}

func openNetlink(family int) (*netlinkSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", netlinkError(err))
	}
	s := &netlinkSocket{fd: fd}
	tv := unix.NsecToTimeval(int64(netlinkPatience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		s.close()
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return s, nil
}

func (s *netlinkSocket) close() { _ = unix.Close(s.fd) }

// request sends a request whose body is the family's header and its attributes.
func (s *netlinkSocket) request(kind, flags uint16, body []byte) error {
	s.seq++
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags|unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], s.seq)
	return unix.Sendto(s.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive hands each message of the answer to f until the answer is complete. If what is dumped changed meanwhile it still
// hands out everything, and returns ErrInterrupted at the end.
func (s *netlinkSocket) receive(ctx context.Context, f func(m message) error) error {
	p := dumpBuffers.Get().(*[]byte)
	defer dumpBuffers.Put(p)
	interrupted := false
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, flags, err := s.read(*p)
		if err != nil {
			return err
		}
		if flags&unix.MSG_TRUNC != 0 {
			return fmt.Errorf("a message of more than %d bytes: %w", len(*p), errMessage)
		}
		for rest := (*p)[:n]; len(rest) > 0; {
			var m message
			if m, rest, err = nextMessage(rest); err != nil {
				return err
			}
			if m.seq != s.seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			done, err := m.end()
			if err == nil && !done {
				err = f(m)
			}
			switch {
			case err != nil:
				return err
			case done && interrupted:
				return ErrInterrupted
			case done, m.flags&unix.NLM_F_MULTI == 0:
				return nil
			}
		}
	}
}

func (s *netlinkSocket) read(b []byte) (n, flags int, err error) {
	for {
		n, _, flags, _, err = unix.Recvmsg(s.fd, b, nil, 0)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN: // SO_RCVTIMEO
			return 0, 0, context.DeadlineExceeded
		}
		return n, flags, err
	}
}

// end says whether m ends the answer, and with which error. NLMSG_DONE carries one too: that of a dump which broke off.
func (m message) end() (done bool, err error) {
	if m.kind != unix.NLMSG_ERROR && m.kind != unix.NLMSG_DONE {
		return false, nil
	}
	if len(m.body) < 4 {
		if m.kind == unix.NLMSG_DONE {
			return true, nil
		}
		return true, errMessage
	}
	if code := int32(binary.NativeEndian.Uint32(m.body)); code < 0 {
		return true, netlinkError(unix.Errno(-code))
	}
	return true, nil
}

// netlinkError adds what the kernel's numbers mean here: ENOENT and EPROTONOSUPPORT that a module is not there (inet_diag_handler
// lookup, net/ipv4/inet_diag.c), EOPNOTSUPP and EAFNOSUPPORT that the kernel was built or booted without it.
func netlinkError(err error) error {
	errno, _ := errors.AsType[unix.Errno](err)
	switch errno {
	case unix.ENOENT, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT:
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}

// dump asks for all objects of a kind and hands them to f.
func dump(ctx context.Context, family int, kind uint16, header []byte, f func(m message) error) error {
	s, err := openNetlink(family)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.request(kind, unix.NLM_F_DUMP, header); err != nil {
		return err
	}
	return s.receive(ctx, f)
}

// list dumps a short list of objects, once more if it changed while it was read.
func list[T any](ctx context.Context, what string, kind uint16, header []byte, parse func(body []byte) (T, bool, error)) ([]T, error) {
	var all []T
	read := func() error {
		all = nil
		return dump(ctx, unix.NETLINK_ROUTE, kind, header, func(m message) error {
			v, ok, err := parse(m.body)
			if ok && err == nil {
				all = append(all, v)
			}
			return err
		})
	}
	err := read()
	if errors.Is(err, ErrInterrupted) {
		err = read()
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", what, err)
	}
	return all, nil
}

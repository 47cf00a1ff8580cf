package host

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nlmsg makes a message of the answer to request 1.
func nlmsg(kind, flags uint16, body ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, 1)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, body...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// attr makes an attribute.
func attr(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func u64(n uint64) []byte { return binary.NativeEndian.AppendUint64(nil, n) }

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// TestReceive plays the kernel's part on the other end of a socket.
func TestReceive(t *testing.T) {
	const row = unix.RTM_NEWROUTE
	more, done := uint16(unix.NLM_F_MULTI), nlmsg(unix.NLMSG_DONE, unix.NLM_F_MULTI, 0, 0, 0, 0)
	code := func(e unix.Errno) []byte { return u32(uint32(-int32(e))) }
	foreign := nlmsg(row, more)
	foreign[8] = 9 // another request's
	for _, tt := range []struct {
		name      string
		datagrams [][]byte
		rows      int
		err       error
	}{
		{"a dump in two parts", [][]byte{join(nlmsg(row, more, 1), nlmsg(row, more, 1)), join(nlmsg(row, more), done)}, 3, nil},
		{"a single answer", [][]byte{nlmsg(row, 0)}, 1, nil},
		{"an acknowledgement", [][]byte{nlmsg(unix.NLMSG_ERROR, 0, 0, 0, 0, 0)}, 0, nil},
		{"an older kernel ends without a code", [][]byte{nlmsg(row, more), nlmsg(unix.NLMSG_DONE, more)}, 1, nil},
		{"somebody else's answer", [][]byte{foreign, done}, 0, nil},
		{"changed meanwhile", [][]byte{nlmsg(row, more|unix.NLM_F_DUMP_INTR), nlmsg(row, more), done}, 2, ErrInterrupted},
		{"not allowed", [][]byte{nlmsg(unix.NLMSG_ERROR, 0, code(unix.EPERM)...)}, 0, fs.ErrPermission},
		{"no module", [][]byte{nlmsg(unix.NLMSG_ERROR, 0, code(unix.ENOENT)...)}, 0, ErrUnsupported},
		{"no route", [][]byte{nlmsg(unix.NLMSG_ERROR, 0, code(unix.ENETUNREACH)...)}, 0, syscall.ENETUNREACH},
		{"it broke off", [][]byte{nlmsg(row, more), nlmsg(unix.NLMSG_DONE, more, code(unix.ENOMEM)...)}, 1, syscall.ENOMEM},
		{"an error without its number", [][]byte{nlmsg(unix.NLMSG_ERROR, 0)}, 0, errMessage},
		{"cut short", [][]byte{nlmsg(row, more)[:10]}, 0, errMessage},
		{"longer than what came", [][]byte{{255, 0, 0, 0, row, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}}, 0, errMessage},
		{"shorter than its head", [][]byte{{8, 0, 0, 0, row, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}}, 0, errMessage},
		{"larger than the buffer", [][]byte{make([]byte, 70<<10)}, 0, errMessage},
		{"silence", nil, 0, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fds[1])
			s := &netlinkSocket{fd: fds[0], seq: 1}
			defer s.close()
			patience := unix.NsecToTimeval(int64(20 * time.Millisecond))
			if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
				t.Fatal(err)
			}
			for _, d := range tt.datagrams {
				if err := unix.Send(fds[1], d, 0); err != nil {
					t.Fatal(err)
				}
			}
			rows := 0
			err = s.receive(t.Context(), func(message) error { rows++; return nil })
			if rows != tt.rows || !errors.Is(err, tt.err) {
				t.Errorf("%d rows, %v; want %d, %v", rows, err, tt.rows, tt.err)
			}
		})
	}
}

func TestDumpHeedsItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Local{}).Routes(ctx, func(*Route) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want it cancelled", err)
	}
}

func TestParseRouteRefuses(t *testing.T) {
	rtmsg := func(family, bits byte) []byte { return []byte{family, bits, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0} }
	for _, tt := range []struct {
		name string
		body []byte
	}{
		{"no header", rtmsg(unix.AF_INET, 0)[:11]},
		{"an address of five bytes", join(rtmsg(unix.AF_INET, 24), attr(unix.RTA_DST, 10, 0, 0, 0, 1))},
		{"a prefix of 40 bits", join(rtmsg(unix.AF_INET, 40), attr(unix.RTA_DST, 10, 0, 0, 0))},
		{"a number of two bytes", join(rtmsg(unix.AF_INET, 0), attr(unix.RTA_OIF, 1, 0))},
		{"an attribute that claims more", join(rtmsg(unix.AF_INET, 0), []byte{200, 0, unix.RTA_OIF, 0, 1, 0, 0, 0})},
		{"an attribute that claims less", join(rtmsg(unix.AF_INET, 0), []byte{2, 0, unix.RTA_OIF, 0, 1, 0, 0, 0})},
		{"bytes left over", join(rtmsg(unix.AF_INET, 0), []byte{1, 2, 3})},
		{"a next hop of no length", join(rtmsg(unix.AF_INET, 0), attr(unix.RTA_MULTIPATH, 0, 0, 0, 0, 0, 0, 0, 0))},
		{"half a next hop", join(rtmsg(unix.AF_INET, 0), attr(unix.RTA_MULTIPATH, 8, 0, 0))},
		{"a gateway of no family", join(rtmsg(unix.AF_INET, 0), attr(unix.RTA_VIA, 10))},
	} {
		if _, err := new(Route).parse(tt.body); !errors.Is(err, errMessage) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if ok, err := new(Route).parse(rtmsg(unix.AF_MPLS, 20)); ok || err != nil {
		t.Errorf("an MPLS route: %v, %v; want it passed over", ok, err)
	}

	// An IPv4 route through an IPv6 neighbour, all of whose two next hops are dead.
	hop := func(flags byte) []byte {
		via := attr(unix.RTA_VIA, append([]byte{unix.AF_INET6, 0}, netip.MustParseAddr("fe80::1").AsSlice()...)...)
		return append([]byte{byte(unix.SizeofRtNexthop + len(via)), 0, flags, 0, 3, 0, 0, 0}, via...)
	}
	var r Route
	body := join(rtmsg(unix.AF_INET, 0), attr(unix.RTA_MULTIPATH, append(hop(unix.RTNH_F_DEAD), hop(unix.RTNH_F_LINKDOWN)...)...))
	if _, err := r.parse(body); err != nil || !r.Dead || r.NextHops != 2 || r.Link != 3 || r.Gateway != netip.MustParseAddr("fe80::1") {
		t.Errorf("%+v, %v", r, err)
	}
	body = join(rtmsg(unix.AF_INET, 0), attr(unix.RTA_MULTIPATH, append(hop(unix.RTNH_F_DEAD), hop(0)...)...))
	if _, err := r.parse(body); err != nil || r.Dead {
		t.Errorf("one next hop is alive: %+v, %v", r, err)
	}
}

// TestQdiscOptions has what the kernel sends for `tc qdisc add dev eth0 root netem …` and `… tbf …`, for not every kernel has them.
func TestQdiscOptions(t *testing.T) {
	pct := func(p float64) []byte { return u32(uint32(p / 100 * (1<<32 - 1))) }
	qopt := func(latency, jitter uint32, loss, duplicate float64) []byte {
		return join(u32(latency), u32(1000), pct(loss), u32(0), pct(duplicate), u32(jitter))
	}
	ms := func(n int64) uint32 { return uint32(n * int64(time.Millisecond) >> 6) }
	for _, tt := range []struct {
		kind    string
		options []byte
		want    string
	}{
		{"netem", qopt(ms(100), ms(10), 5, 0), "delay 100ms, jitter 10ms, loss 5%"},
		{"netem", qopt(0, 0, 0, 1), "duplicate 1%"},
		{"netem", join(qopt(ms(1), 0, 0, 0), attr(netemLatency64, u64(uint64(400*time.Second))...), attr(netemJitter64, u64(1e6)...)), "delay 6m40s, jitter 1ms"},
		{"netem", join(qopt(0, 0, 0, 0), attr(netemReorder, join(pct(25), u32(0))...), attr(netemCorrupt, join(pct(0.1), u32(0))...)), "reorder 25%, corrupt 0.1%"},
		{"netem", join(qopt(0, 0, 0, 0), attr(netemLoss, 1, 2, 3, 4), attr(netemRate, u32(125000)...)), "loss by a model, rate 1 Mbit/s"},
		{"netem", qopt(0, 0, 0, 0), ""},
		{"netem", nil, ""},
		{"tbf", attr(tbfParms, make([]byte, 36)...), ""},
		{"tbf", join(attr(tbfParms, join(make([]byte, 8), u32(1e6))...), attr(tbfRate64, u64(5e9)...)), "rate 4e+04 Mbit/s"},
		{"fq_codel", qopt(ms(100), 0, 5, 0), ""},
	} {
		body := join(make([]byte, 8), u32(0x80010000), u32(0xffffffff), u32(0), attr(unix.TCA_KIND, append([]byte(tt.kind), 0)...), attr(unix.TCA_OPTIONS, tt.options...))
		q, _, err := parseQdisc(body)
		if err != nil || q.Options != tt.want || q.Kind != tt.kind || q.Handle != "8001:" || q.Parent != "root" {
			t.Errorf("%+v, %v; want the options %q", q, err, tt.want)
		}
	}
	stats := attr(unix.TCA_STATS2, join(attr(1, join(u64(9000), u32(7), u32(0))...), attr(3, join(u32(1), u32(1500), u32(4), u32(0), u32(5))...), attr(8, u64(1<<33)...))...)
	q, _, err := parseQdisc(join(make([]byte, sizeofTcMsg), stats))
	if err != nil || q.Packets != 1<<33 || q.Backlog != 1500 || q.Drops != 4 || q.Overlimits != 5 {
		t.Errorf("%+v, %v", q, err)
	}
}

package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Links lists the interfaces of this network namespace.
func (l *Local) Links(ctx context.Context) ([]Link, error) {
	links, err := list(ctx, "interfaces", unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), parseLink)
	if err != nil {
		return nil, err
	}
	for i := range links {
		if links[i].Kind == "" && links[i].Flags&unix.IFF_LOOPBACK == 0 {
			l.hardware(&links[i])
		}
	}
	return links, nil
}

// operStates are RFC 2863's, as include/uapi/linux/if.h numbers them.
var operStates = [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}

// parseLink reads a struct ifinfomsg and its attributes.
func parseLink(b []byte) (l Link, ok bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return l, false, errMessage
	}
	l.Index, l.Flags = int(binary.NativeEndian.Uint32(b[4:])), binary.NativeEndian.Uint32(b[8:])
	a := attributes{rest: b[unix.SizeofIfInfomsg:]}
	for a.next() {
		switch a.kind {
		case unix.IFLA_IFNAME:
			l.Name = a.text()
		case unix.IFLA_ADDRESS:
			if len(a.value) > 0 {
				l.MAC = net.HardwareAddr(a.value).String()
			}
		case unix.IFLA_MTU:
			l.MTU = int(a.u32())
		case unix.IFLA_MASTER:
			l.Master = int(a.u32())
		case unix.IFLA_OPERSTATE:
			if len(a.value) > 0 {
				l.OperState = name(operStates[:], a.value[0])
			}
		case unix.IFLA_NUM_TX_QUEUES:
			l.TxQueues = int(a.u32())
		case unix.IFLA_NUM_RX_QUEUES:
			l.RxQueues = int(a.u32())
		case unix.IFLA_LINKINFO:
			for info := (attributes{rest: a.value}); info.next(); {
				if info.kind == unix.IFLA_INFO_KIND {
					l.Kind = info.text()
				}
			}
		case unix.IFLA_STATS64:
			l.Stats = linkStats(a.value)
		}
	}
	return l, true, a.err()
}

// linkStats reads a struct rtnl_link_stats64. Older kernels send a shorter one (rx_nohandler came with Linux 4.6).
func linkStats(b []byte) LinkStats {
	at := func(i int) uint64 {
		if len(b) < 8*(i+1) {
			return 0
		}
		return binary.NativeEndian.Uint64(b[8*i:])
	}
	return LinkStats{
		RxPackets: at(0), TxPackets: at(1), RxBytes: at(2), TxBytes: at(3), RxErrors: at(4), TxErrors: at(5), RxDropped: at(6),
		TxDropped: at(7), Collisions: at(9), RxFIFO: at(14), RxMissed: at(15), TxCarrier: at(17), TxFIFO: at(18), RxNoHandler: at(23),
	}
}

// hardware adds what netlink does not tell: the driver, the speed and the channels. An interface that does not have them, or that
// went away meanwhile, is left as it is.
func (l *Local) hardware(link *Link) {
	dir := "/sys/class/net/" + link.Name
	if target, err := l.Readlink(dir + "/device/driver"); err == nil {
		link.Driver = path.Base(target)
	}
	if b, err := l.ReadFile(dir + "/speed"); err == nil { // EINVAL while it is down, -1 where the driver does not know
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n > 0 {
			link.SpeedMbit = n
		}
	}
	link.QueuesMax, link.Queues = channels(link.Name)
}

// channels asks the driver for its combined channels with the ethtool ioctl, which netlink has only since Linux 5.6.
func channels(link string) (most, now int) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0
	}
	defer unix.Close(fd)
	// struct ethtool_channels: cmd, then the maxima of rx, tx, other, combined, then the four that are in use.
	answer := [9]uint32{unix.ETHTOOL_GCHANNELS}
	var ifreq struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the union
	}
	if len(link) >= len(ifreq.name) {
		return 0, 0
	}
	copy(ifreq.name[:], link)
	ifreq.data = unsafe.Pointer(&answer)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return 0, 0
	}
	return int(answer[4]), int(answer[8])
}

// Addrs lists the addresses of all interfaces.
func (*Local) Addrs(ctx context.Context) ([]Addr, error) {
	return list(ctx, "addresses", unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), parseAddr)
}

// parseAddr reads a struct ifaddrmsg and its attributes; false for another family's.
func parseAddr(b []byte) (addr Addr, ok bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return addr, false, errMessage
	}
	if b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return addr, false, nil
	}
	addr = Addr{Link: int(binary.NativeEndian.Uint32(b[4:])), Scope: name(routeScopes[:], b[3]), Flags: uint32(b[2])}
	var local, address netip.Addr
	a := attributes{rest: b[unix.SizeofIfAddrmsg:]}
	for a.next() {
		switch a.kind {
		case unix.IFA_LOCAL:
			local = a.address()
		case unix.IFA_ADDRESS: // of a point-to-point link, the other end
			address = a.address()
		case unix.IFA_FLAGS:
			addr.Flags = a.u32()
		case unix.IFA_CACHEINFO: // struct ifa_cacheinfo: preferred, valid; seconds, all ones forever
			if len(a.value) < 8 {
				a.bad = true
			} else if valid := binary.NativeEndian.Uint32(a.value[4:]); valid != ^uint32(0) {
				addr.ValidFor = time.Duration(valid) * time.Second
			}
		}
	}
	if !local.IsValid() {
		local = address
	}
	addr.Prefix = prefix(local, b[1], &a)
	return addr, true, a.err()
}

// Rules lists the policy-routing rules of IPv4 and IPv6.
func (*Local) Rules(ctx context.Context) ([]Rule, error) {
	return list(ctx, "rules", unix.RTM_GETRULE, make([]byte, unix.SizeofRtMsg), parseRule)
}

// ruleActions are FR_ACT_ in include/uapi/linux/fib_rules.h.
var ruleActions = [...]string{
	unix.FR_ACT_UNSPEC: "unspec", unix.FR_ACT_TO_TBL: "lookup", unix.FR_ACT_GOTO: "goto", unix.FR_ACT_NOP: "nop",
	unix.FR_ACT_BLACKHOLE: "blackhole", unix.FR_ACT_UNREACHABLE: "unreachable", unix.FR_ACT_PROHIBIT: "prohibit",
}

// parseRule reads a struct fib_rule_hdr, which has rtmsg's layout, and its attributes; false for another family's.
func parseRule(b []byte) (r Rule, ok bool, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, false, errMessage
	}
	switch b[0] {
	case unix.AF_INET:
		r.Family = 4
	case unix.AF_INET6:
		r.Family = 6
	default:
		return r, false, nil
	}
	r.Table, r.Action = int(b[4]), name(ruleActions[:], b[7])
	r.Invert = binary.NativeEndian.Uint32(b[8:])&unix.FIB_RULE_INVERT != 0
	a := attributes{rest: b[unix.SizeofRtMsg:]}
	for a.next() {
		switch a.kind {
		case unix.FRA_DST:
			r.Dst = prefix(a.address(), b[1], &a)
		case unix.FRA_SRC:
			r.Src = prefix(a.address(), b[2], &a)
		case unix.FRA_IIFNAME:
			r.IifName = a.text()
		case unix.FRA_OIFNAME:
			r.OifName = a.text()
		case unix.FRA_PRIORITY:
			r.Priority = int(a.u32())
		case unix.FRA_FWMARK:
			r.Mark = a.u32()
		case unix.FRA_FWMASK:
			r.Mask = a.u32()
		case unix.FRA_TABLE:
			r.Table = int(a.u32())
		}
	}
	return r, true, a.err()
}

// Qdiscs lists the queueing disciplines of all interfaces, the nested ones too.
func (*Local) Qdiscs(ctx context.Context) ([]Qdisc, error) {
	return list(ctx, "queueing disciplines", unix.RTM_GETQDISC, make([]byte, sizeofTcMsg), parseQdisc)
}

// sizeofTcMsg is that of struct tcmsg: family, interface, handle, parent, info.
const sizeofTcMsg = 20

// parseQdisc reads a struct tcmsg and its attributes.
func parseQdisc(b []byte) (q Qdisc, ok bool, err error) {
	if len(b) < sizeofTcMsg {
		return q, false, errMessage
	}
	q.Link = int(binary.NativeEndian.Uint32(b[4:]))
	q.Handle = handle(binary.NativeEndian.Uint32(b[8:]))
	q.Parent = handle(binary.NativeEndian.Uint32(b[12:]))
	var options []byte
	a := attributes{rest: b[sizeofTcMsg:]}
	for a.next() {
		switch a.kind {
		case unix.TCA_KIND:
			q.Kind = a.text()
		case unix.TCA_OPTIONS:
			options = a.value
		case unix.TCA_STATS2:
			q.statistics(&a)
		}
	}
	switch q.Kind {
	case "netem":
		q.Options = netemOptions(options)
	case "tbf":
		q.Options = tbfOptions(options)
	}
	return q, true, a.err()
}

// handle writes a number as tc does.
func handle(n uint32) string {
	switch n {
	case 0xffffffff: // TC_H_ROOT
		return "root"
	case 0xfffffff1: // TC_H_INGRESS
		return "ingress"
	}
	if n&0xffff == 0 {
		return fmt.Sprintf("%x:", n>>16)
	}
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

// statistics reads TCA_STATS2: struct gnet_stats_basic {bytes u64, packets u32} and gnet_stats_queue {qlen, backlog, drops, requeues,
// overlimits u32}; include/uapi/linux/gen_stats.h.
func (q *Qdisc) statistics(a *attributes) {
	const basic, queue, packets64 = 1, 3, 8 // TCA_STATS_BASIC, TCA_STATS_QUEUE, TCA_STATS_PKT64
	nested := attributes{rest: a.value}
	for nested.next() {
		v := nested.value
		switch {
		case nested.kind == basic && len(v) >= 12 && q.Packets == 0:
			q.Packets = uint64(binary.NativeEndian.Uint32(v[8:]))
		case nested.kind == packets64 && len(v) >= 8: // since Linux 5.5, beside the other once it does not fit
			q.Packets = binary.NativeEndian.Uint64(v)
		case nested.kind == queue && len(v) >= 20:
			q.Backlog = uint64(binary.NativeEndian.Uint32(v[4:]))
			q.Drops = uint64(binary.NativeEndian.Uint32(v[8:]))
			q.Overlimits = uint64(binary.NativeEndian.Uint32(v[16:]))
		}
	}
	a.bad = a.bad || nested.bad
}

// Attributes of netem and tbf in include/uapi/linux/pkt_sched.h.
const (
	netemReorder   = 3  // struct tc_netem_reorder {probability, correlation u32}
	netemCorrupt   = 4  // struct tc_netem_corrupt, the same
	netemLoss      = 5  // a loss model with a state
	netemRate      = 6  // struct tc_netem_rate {rate u32, …}, bytes a second
	netemLatency64 = 10 // nanoseconds, since Linux 4.15
	netemJitter64  = 11

	tbfParms  = 1 // struct tc_tbf_qopt, which begins with a struct tc_ratespec; its third word is bytes a second
	tbfRate64 = 4 // beside it from 4 GiB a second on
)

// netemOptions tells what a netem does to packets: struct tc_netem_qopt {latency, limit, loss, gap, duplicate, jitter u32}, then
// attributes. Its times are in ticks of 64 ns (PSCHED_SHIFT in include/net/pkt_sched.h), its probabilities parts of 2³².
func netemOptions(b []byte) string {
	const qopt = 24
	if len(b) < qopt {
		return ""
	}
	at := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
	latency, jitter := time.Duration(at(0))<<6, time.Duration(at(5))<<6
	var reorder, corrupt, rate uint32
	model := false
	for a := (attributes{rest: b[qopt:]}); a.next(); {
		switch {
		case a.kind == netemLatency64 && len(a.value) >= 8:
			latency = time.Duration(binary.NativeEndian.Uint64(a.value))
		case a.kind == netemJitter64 && len(a.value) >= 8:
			jitter = time.Duration(binary.NativeEndian.Uint64(a.value))
		case a.kind == netemReorder:
			reorder = a.u32()
		case a.kind == netemCorrupt:
			corrupt = a.u32()
		case a.kind == netemRate:
			rate = a.u32()
		case a.kind == netemLoss:
			model = true
		}
	}
	var words []string
	if latency > 0 {
		words = append(words, "delay "+latency.Round(10*time.Microsecond).String())
	}
	if jitter > 0 {
		words = append(words, "jitter "+jitter.Round(10*time.Microsecond).String())
	}
	for _, p := range []struct {
		name string
		part uint32
	}{{"loss", at(2)}, {"duplicate", at(4)}, {"reorder", reorder}, {"corrupt", corrupt}} {
		if p.part > 0 {
			words = append(words, fmt.Sprintf("%s %.3g%%", p.name, 100*float64(p.part)/(1<<32-1)))
		}
	}
	if model {
		words = append(words, "loss by a model")
	}
	if rate > 0 {
		words = append(words, rateOption(uint64(rate)))
	}
	return strings.Join(words, ", ")
}

func rateOption(bytesPerSecond uint64) string {
	return fmt.Sprintf("rate %.4g Mbit/s", float64(bytesPerSecond)*8/1e6)
}

// tbfOptions tells a token bucket's rate.
func tbfOptions(b []byte) string {
	var rate uint64
	for a := (attributes{rest: b}); a.next(); {
		switch {
		case a.kind == tbfParms && len(a.value) >= 12 && rate == 0:
			rate = uint64(binary.NativeEndian.Uint32(a.value[8:]))
		case a.kind == tbfRate64 && len(a.value) >= 8:
			rate = binary.NativeEndian.Uint64(a.value)
		}
	}
	if rate == 0 {
		return ""
	}
	return rateOption(rate)
}

package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// TCPStats reads the protocols' counters.
var TCPStats = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "tcp_stats",
	Doc: `TCP, UDP and IP counters

Reads /proc/net/snmp, snmp6 and netstat twice. Costs 0.2 ms. Only this network namespace is counted. The rates are of one second in
a single diagnosis: on a quiet host one retransmission is already a high share, so ask for a number a second as well. What the names
mean: https://docs.kernel.org/networking/snmp_counter.html.`,
	Every: 10 * time.Second,
}, tcpStatsSample, tcpStats)

type tcpStatsFacts struct {
	OutSegs      probes.Opt[float64] `fact:"out_segs_per_s" unit:"1/s" doc:"TCP segments sent, without retransmitted ones; OutSegs. Absent, as all rates, until there are two samples"`
	Retrans      probes.Opt[float64] `fact:"retrans_per_s" unit:"1/s" doc:"TCP segments sent again; RetransSegs"`
	RetransPct   probes.Opt[float64] `fact:"retrans_pct" unit:"%" doc:"retrans_per_s, as part of out_segs_per_s; absent while nothing is sent"`
	InSegs       probes.Opt[float64] `fact:"in_segs_per_s" unit:"1/s" doc:"TCP segments received, damaged ones among them; InSegs"`
	HostQueue    probes.Opt[float64] `fact:"host_queue_retrans_per_s" unit:"1/s" doc:"TCP segments that were to be sent again and were not, since they still waited in this host's own queues; TCPSpuriousRtxHostQueues, absent in old kernels"`
	SynRetrans   probes.Opt[float64] `fact:"syn_retrans_per_s" unit:"1/s" doc:"Of these, first segments of connections; TCPSynRetrans"`
	Timeouts     probes.Opt[float64] `fact:"timeouts_per_s" unit:"1/s" doc:"Retransmission timers that ran out; TCPTimeouts"`
	InErrs       probes.Opt[float64] `fact:"in_errors_per_s" unit:"1/s" doc:"TCP segments received in error; InErrs"`
	Checksum     probes.Opt[float64] `fact:"checksum_errors_per_s" unit:"1/s" doc:"TCP segments with a wrong checksum; InCsumErrors, absent before Linux 3.10"`
	ActiveOpens  probes.Opt[float64] `fact:"active_opens_per_s" unit:"1/s" doc:"Connections opened from here; ActiveOpens"`
	PassiveOpens probes.Opt[float64] `fact:"passive_opens_per_s" unit:"1/s" doc:"Connections accepted; PassiveOpens"`
	AttemptFails probes.Opt[float64] `fact:"attempt_fails_per_s" unit:"1/s" doc:"Connections that failed to open; AttemptFails"`
	EstabResets  probes.Opt[float64] `fact:"established_resets_per_s" unit:"1/s" doc:"Open connections that were reset; EstabResets"`
	OutRsts      probes.Opt[float64] `fact:"resets_sent_per_s" unit:"1/s" doc:"Resets sent, as for a port on which nothing listens; OutRsts"`

	ListenOverflows probes.Opt[float64] `fact:"listen_overflows_per_s" unit:"1/s" doc:"Connections refused because a listener's accept queue was full; ListenOverflows"`
	ListenDrops     probes.Opt[float64] `fact:"listen_drops_per_s" unit:"1/s" doc:"Connections dropped by a listener for any reason; ListenDrops"`
	ReqQueueFull    probes.Opt[float64] `fact:"syn_queue_drops_per_s" unit:"1/s" doc:"SYNs dropped because the queue of half-open connections was full and SYN cookies are off; TCPReqQFullDrop"`
	SynCookies      probes.Opt[float64] `fact:"syn_cookies_per_s" unit:"1/s" doc:"SYN cookies sent because that queue was full; SyncookiesSent"`
	TimeWaitOver    probes.Opt[float64] `fact:"time_wait_overflows_per_s" unit:"1/s" doc:"Sockets closed without TIME_WAIT because there were tcp_max_tw_buckets; TCPTimeWaitOverflow"`
	Backlog         probes.Opt[float64] `fact:"backlog_drops_per_s" unit:"1/s" doc:"Segments dropped because the socket was busy and its backlog full; TCPBacklogDrop"`
	Pruned          probes.Opt[float64] `fact:"prunes_per_s" unit:"1/s" doc:"Times that a full receive buffer was compacted; PruneCalled"`
	RcvPruned       probes.Opt[float64] `fact:"receive_drops_per_s" unit:"1/s" doc:"Segments dropped because a receive buffer was full; RcvPruned and TCPRcvQDrop"`
	OfoPruned       probes.Opt[float64] `fact:"out_of_order_prunes_per_s" unit:"1/s" doc:"Times that data which had come too early was thrown away for want of room; OfoPruned"`
	ZeroWindow      probes.Opt[float64] `fact:"zero_window_drops_per_s" unit:"1/s" doc:"Segments dropped because the window was closed; TCPZeroWindowDrop"`
	Memory          probes.Opt[float64] `fact:"memory_pressures_per_s" unit:"1/s" doc:"Times that TCP came under memory pressure; TCPMemoryPressures"`
	ReserveDrops    probes.Opt[float64] `fact:"memory_reserve_drops_per_s" unit:"1/s" doc:"Packets dropped since they lay in the memory that is kept for emergencies; PFMemallocDrop, absent in old kernels"`
	AbortOnMemory   probes.Opt[float64] `fact:"aborts_on_memory_per_s" unit:"1/s" doc:"Connections cut for want of memory or too many orphans; TCPAbortOnMemory"`
	PAWS            probes.Opt[float64] `fact:"paws_drops_per_s" unit:"1/s" doc:"Segments dropped for an old timestamp; PAWSEstab and PAWSActive"`
	PAWSPassive     probes.Opt[float64] `fact:"paws_passive_per_s" unit:"1/s" doc:"SYNs dropped for an old timestamp, as tcp_tw_recycle does to clients behind NAT; PAWSPassive, absent since Linux 4.12"`
	ReversePath     probes.Opt[float64] `fact:"reverse_path_drops_per_s" unit:"1/s" doc:"Packets dropped by rp_filter; IPReversePathFilter"`

	UDPIn        probes.Opt[float64] `fact:"udp_in_per_s" unit:"1/s" doc:"Datagrams delivered, IPv4 and IPv6; InDatagrams"`
	UDPRcvbuf    probes.Opt[float64] `fact:"udp_receive_buffer_errors_per_s" unit:"1/s" doc:"Datagrams dropped because the socket's receive buffer was full, IPv4 and IPv6; RcvbufErrors"`
	UDPRcvbufPct probes.Opt[float64] `fact:"udp_receive_buffer_errors_pct" unit:"%" doc:"These, as part of all that were to be delivered"`
	UDPOut       probes.Opt[float64] `fact:"udp_out_per_s" unit:"1/s" doc:"Datagrams sent, IPv4 and IPv6; OutDatagrams"`
	UDPChecksum  probes.Opt[float64] `fact:"udp_checksum_errors_per_s" unit:"1/s" doc:"Datagrams with a wrong checksum, IPv4 and IPv6; InCsumErrors, absent before Linux 3.10"`
	UDPMemory    probes.Opt[float64] `fact:"udp_memory_errors_per_s" unit:"1/s" doc:"Datagrams dropped since all of UDP had its memory, IPv4 and IPv6; MemErrors, absent in older kernels"`
	UDPSndbuf    probes.Opt[float64] `fact:"udp_send_buffer_errors_per_s" unit:"1/s" doc:"Datagrams not sent for want of room in a buffer, IPv4 and IPv6; SndbufErrors"`
	UDPNoPort    probes.Opt[float64] `fact:"udp_no_port_per_s" unit:"1/s" doc:"Datagrams to ports that nobody serves, IPv4 and IPv6; NoPorts"`

	InDiscards  probes.Opt[float64] `fact:"ip_in_discards_per_s" unit:"1/s" doc:"IPv4 packets received and dropped, as for want of memory; InDiscards"`
	OutDiscards probes.Opt[float64] `fact:"ip_out_discards_per_s" unit:"1/s" doc:"IPv4 packets not sent, as for want of memory; OutDiscards"`
	NoRoutes    probes.Opt[float64] `fact:"ip_no_route_per_s" unit:"1/s" doc:"IPv4 packets for which there was no route; OutNoRoutes"`
	ReasmFails  probes.Opt[float64] `fact:"ip_reassembly_fails_per_s" unit:"1/s" doc:"IPv4 packets whose fragments did not all come in time; ReasmFails"`
	FragFails   probes.Opt[float64] `fact:"ip_fragmentation_fails_per_s" unit:"1/s" doc:"IPv4 packets too large for the way that must not be cut up; FragFails"`

	ReversePathSinceBoot probes.Opt[int] `fact:"reverse_path_drops" unit:"count" doc:"IPReversePathFilter since boot"`
	OverflowsSinceBoot   int             `fact:"listen_overflows" unit:"count" doc:"ListenOverflows since boot"`
	DropsSinceBoot       int             `fact:"listen_drops" unit:"count" doc:"ListenDrops since boot"`
}

// netCounters are the kernel's counters, some 450. Their names are parts of the text that was read.
type netCounters map[counter]uint64

// counter is a counter's name and its protocol; in /proc/net/snmp6 the name begins with it.
type counter struct{ proto, name string }

// counterOf splits "TcpExt ListenDrops"; "Udp6RcvbufErrors" has no protocol of its own.
func counterOf(key string) counter {
	if proto, name, ok := strings.Cut(key, " "); ok {
		return counter{proto, name}
	}
	return counter{name: key}
}

func tcpStatsSample(_ context.Context, h host.Host) (netCounters, error) {
	c := make(netCounters, 512)
	for _, name := range []string{"/proc/net/snmp", "/proc/net/netstat"} {
		text, err := readText(h, name)
		if err != nil {
			return nil, err
		}
		if err := c.pairs(text); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	for _, key := range []string{"Tcp OutSegs", "Tcp RetransSegs", "Udp RcvbufErrors", "TcpExt ListenOverflows", "TcpExt ListenDrops"} {
		if _, ok := c[counterOf(key)]; !ok {
			return nil, fmt.Errorf("reading /proc/net/snmp and netstat: no %s", key)
		}
	}
	const six = "/proc/net/snmp6"
	text, err := readText(h, six)
	if errors.Is(err, fs.ErrNotExist) { // IPv6 is off
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			return nil, fmt.Errorf("reading %s: %.40q is not a name and a number", six, line)
		}
		name, value := line[:end], strings.TrimSpace(line[end:])
		if c[counter{name: name}], err = strconv.ParseUint(value, 10, 64); err != nil {
			return nil, fmt.Errorf("reading %s: %s: %.20q is not a count", six, name, value)
		}
	}
	return c, nil
}

// pairs reads lines that come in twos: the names, then the values.
func (c netCounters) pairs(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines)%2 != 0 {
		return fmt.Errorf("%d lines, which are not pairs of names and values", len(lines))
	}
	for i := 0; i < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || len(names) != len(values) || names[0] != values[0] {
			return fmt.Errorf("lines %d and %d do not belong together", i+1, i+2)
		}
		proto := strings.TrimSuffix(names[0], ":")
		for j := 1; j < len(names); j++ {
			n, err := strconv.ParseInt(values[j], 10, 64) // MaxConn is -1
			if err != nil {
				if u, uerr := strconv.ParseUint(values[j], 10, 64); uerr == nil {
					c[counter{proto, names[j]}] = u
					continue
				}
				return fmt.Errorf("line %d: %s: %.20q is not a number", i+2, names[j], values[j])
			}
			c[counter{proto, names[j]}] = uint64(n)
		}
	}
	return nil
}

func tcpStats(cur netCounters, prev *netCounters, dt time.Duration) (tcpStatsFacts, error) {
	f := tcpStatsFacts{OverflowsSinceBoot: int(cur[counterOf("TcpExt ListenOverflows")]), DropsSinceBoot: int(cur[counterOf("TcpExt ListenDrops")])}
	if n, ok := cur[counterOf("TcpExt IPReversePathFilter")]; ok {
		f.ReversePathSinceBoot = probes.Some(int(n))
	}
	if prev == nil {
		return f, nil
	}
	// per sums up the counters that this kernel has.
	per := func(keys ...string) probes.Opt[float64] {
		var now, before uint64
		there := false
		for _, key := range keys {
			c, ok := cur[counterOf(key)]
			p, was := (*prev)[counterOf(key)]
			if ok && was {
				now, before, there = now+c, before+p, true
			}
		}
		if !there {
			return probes.None[float64]()
		}
		return rate(now, before, dt)
	}
	f.OutSegs, f.Retrans, f.SynRetrans, f.Timeouts = per("Tcp OutSegs"), per("Tcp RetransSegs"), per("TcpExt TCPSynRetrans"), per("TcpExt TCPTimeouts")
	if sent, ok := f.OutSegs.Get(); ok && sent > 0 {
		if again, ok := f.Retrans.Get(); ok {
			f.RetransPct = probes.Some(percent(again, sent))
		}
	}
	f.InSegs, f.HostQueue = per("Tcp InSegs"), per("TcpExt TCPSpuriousRtxHostQueues")
	f.InErrs, f.Checksum = per("Tcp InErrs"), per("Tcp InCsumErrors")
	f.ActiveOpens, f.PassiveOpens, f.AttemptFails = per("Tcp ActiveOpens"), per("Tcp PassiveOpens"), per("Tcp AttemptFails")
	f.EstabResets, f.OutRsts = per("Tcp EstabResets"), per("Tcp OutRsts")
	f.ListenOverflows, f.ListenDrops = per("TcpExt ListenOverflows"), per("TcpExt ListenDrops")
	f.ReqQueueFull, f.SynCookies = per("TcpExt TCPReqQFullDrop"), per("TcpExt SyncookiesSent")
	f.TimeWaitOver, f.Backlog = per("TcpExt TCPTimeWaitOverflow"), per("TcpExt TCPBacklogDrop")
	f.Pruned, f.RcvPruned = per("TcpExt PruneCalled"), per("TcpExt RcvPruned", "TcpExt TCPRcvQDrop")
	f.OfoPruned, f.ZeroWindow, f.ReserveDrops = per("TcpExt OfoPruned"), per("TcpExt TCPZeroWindowDrop"), per("TcpExt PFMemallocDrop")
	f.Memory, f.AbortOnMemory = per("TcpExt TCPMemoryPressures"), per("TcpExt TCPAbortOnMemory")
	f.PAWS, f.PAWSPassive = per("TcpExt PAWSEstab", "TcpExt PAWSActive"), per("TcpExt PAWSPassive")
	f.ReversePath = per("TcpExt IPReversePathFilter")
	f.UDPIn, f.UDPRcvbuf = per("Udp InDatagrams", "Udp6InDatagrams"), per("Udp RcvbufErrors", "Udp6RcvbufErrors")
	f.UDPRcvbufPct = share(f.UDPIn, f.UDPRcvbuf)
	f.UDPOut, f.UDPChecksum = per("Udp OutDatagrams", "Udp6OutDatagrams"), per("Udp InCsumErrors", "Udp6InCsumErrors")
	f.UDPMemory = per("Udp MemErrors", "Udp6MemErrors")
	f.UDPSndbuf, f.UDPNoPort = per("Udp SndbufErrors", "Udp6SndbufErrors"), per("Udp NoPorts", "Udp6NoPorts")
	f.InDiscards, f.OutDiscards, f.NoRoutes = per("Ip InDiscards"), per("Ip OutDiscards"), per("Ip OutNoRoutes")
	f.ReasmFails, f.FragFails = per("Ip ReasmFails"), per("Ip FragFails")
	return f, nil
}

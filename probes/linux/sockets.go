package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Sockets counts the TCP sockets and what they hold.
var Sockets = probes.Define(probes.Probe[host.Host]{
	Name: "sockets",
	Doc: `TCP sockets

Dumps all TCP sockets by INET_DIAG, and reads /proc/net/sockstat and the limits in /proc/sys/net/ipv4. Costs 0.2 to 2 ms, for the
kernel walks its whole hash table, which grows with memory, and about 1 µs for each socket. Only this network namespace is seen: a
container's sockets are not, though tcp_mem and tcp_max_orphans are limits for all together. Ports held by bind(2) alone, before
connect, are not seen.`,
	Every: 10 * time.Second,
}, sockets)

type socketsFacts struct {
	All         int `fact:"tcp" unit:"sockets" doc:"TCP sockets in every state"`
	Established int `fact:"established" unit:"sockets" doc:"Connections that are open"`
	SynSent     int `fact:"syn_sent" unit:"sockets" doc:"Connections that wait for the other end's first answer"`
	SynRecv     int `fact:"syn_recv" unit:"sockets" doc:"Connections that wait for the last part of the handshake"`
	FinWait     int `fact:"fin_wait" unit:"sockets" doc:"Closed here, FIN_WAIT1 and FIN_WAIT2"`
	TimeWait    int `fact:"time_wait" unit:"sockets" doc:"Closed at both ends, and kept for 60 s in case packets come late"`
	CloseWait   int `fact:"close_wait" unit:"sockets" doc:"Closed at the other end; the program here has yet to close: many that stay are a leak"`
	LastAck     int `fact:"last_ack" unit:"sockets" doc:"Closed at both ends, waiting for the last acknowledgement; LAST_ACK and CLOSING"`
	Listen      int `fact:"listen" unit:"sockets" doc:"Listeners"`

	TimeWaitMax probes.Opt[int]     `fact:"time_wait_max" unit:"sockets" doc:"net.ipv4.tcp_max_tw_buckets: beyond it sockets are closed without TIME_WAIT"`
	TimeWaitPct probes.Opt[float64] `fact:"time_wait_pct" unit:"%" doc:"time_wait, as part of time_wait_max"`
	Orphans     int                 `fact:"orphans" unit:"sockets" doc:"Sockets that no program holds any more; /proc/net/sockstat"`
	OrphansMax  probes.Opt[int]     `fact:"orphans_max" unit:"sockets" doc:"net.ipv4.tcp_max_orphans; absent in a container, which cannot see it"`
	OrphansPct  probes.Opt[float64] `fact:"orphans_pct" unit:"%" doc:"orphans, as part of orphans_max"`
	Memory      int                 `fact:"memory" unit:"pages" doc:"Held in the buffers of TCP, all network namespaces together; /proc/net/sockstat"`
	MemoryPress probes.Opt[int]     `fact:"memory_pressure" unit:"pages" doc:"Above it the kernel saves buffers; second number of net.ipv4.tcp_mem"`
	MemoryMax   probes.Opt[int]     `fact:"memory_max" unit:"pages" doc:"Above it packets are dropped; third number of net.ipv4.tcp_mem"`
	MemoryPct   probes.Opt[float64] `fact:"memory_pct" unit:"%" doc:"memory, as part of memory_max"`
	UDPMemory   int                 `fact:"udp_memory" unit:"pages" doc:"Held in the buffers of UDP"`
	UDPMax      probes.Opt[int]     `fact:"udp_memory_max" unit:"pages" doc:"First number of net.ipv4.udp_mem: UDP heeds no pressure, and beyond this the kernel leaves a socket its smallest buffer only (__sk_mem_raise_allocated)"`
	UDPPct      probes.Opt[float64] `fact:"udp_memory_pct" unit:"%" doc:"udp_memory, as part of udp_memory_max"`

	Ports       probes.Opt[int]     `fact:"ephemeral_ports" unit:"ports" doc:"Ports that connections from here may use; net.ipv4.ip_local_port_range without those of net.ipv4.ip_local_reserved_ports"`
	PortsUsed   int                 `fact:"ephemeral_used" unit:"ports" doc:"Connections from here to the destination that has the most, each of which needs a port of its own; or, if those are more, the ports on which programs listen"`
	PortsTarget probes.Opt[string]  `fact:"ephemeral_target" doc:"That destination, as in 192.0.2.1 → 198.51.100.7:443; or 'anybody: programs listen on them'; absent without any"`
	PortsOwner  probes.Opt[string]  `fact:"ephemeral_owner" doc:"Who holds most of the connections there that are open, or of the listeners, its process and its unit; asked for from half of the ports on. Absent if all of them are closed, or nobody's"`
	PortsPct    probes.Opt[float64] `fact:"ephemeral_used_pct" unit:"%" doc:"ephemeral_used, as part of ephemeral_ports"`
}

// flow is what a connection's own port must be unique within.
type flow struct {
	local  netip.Addr
	remote netip.AddrPort
}

func (a flow) compare(b flow) int {
	return cmp.Or(a.local.Compare(b.local), a.remote.Compare(b.remote))
}

func sockets(ctx context.Context, h host.Host) (socketsFacts, error) {
	var f socketsFacts
	low, high, err := portRange(h)
	if err != nil {
		return f, err
	}
	states, flows, listened, err := countSockets(ctx, h, low, high)
	if err != nil {
		return f, err
	}
	for state, n := range states {
		f.All += n
		switch state {
		case host.TCPEstablished:
			f.Established = n
		case host.TCPSynSent:
			f.SynSent = n
		case host.TCPSynRecv, host.TCPNewSynRecv:
			f.SynRecv += n
		case host.TCPFinWait1, host.TCPFinWait2:
			f.FinWait += n
		case host.TCPTimeWait:
			f.TimeWait = n
		case host.TCPCloseWait:
			f.CloseWait = n
		case host.TCPLastAck, host.TCPClosing:
			f.LastAck += n
		case host.TCPListen:
			f.Listen = n
		}
	}
	// A host with few ports for connections may well listen on some of them.
	const manyListeners = 1000
	var busiest flow
	for to, n := range flows {
		// Of equals the lowest, so that the same sockets make the same facts.
		if n > f.PortsUsed || n == f.PortsUsed && to.compare(busiest) < 0 {
			f.PortsUsed, busiest = n, to
		}
	}
	if f.PortsUsed > 0 {
		f.PortsTarget = probes.Some(fmt.Sprintf("%s → %s", busiest.local, busiest.remote))
	}
	if listened > f.PortsUsed && listened > manyListeners {
		f.PortsUsed, busiest, f.PortsTarget = listened, flow{}, probes.Some("anybody: programs listen on them")
	}
	if high >= low && high > 0 {
		ports, err := unreserved(h, low, high)
		if err != nil {
			return f, err
		}
		share := 100.0
		if ports > 0 {
			share = percent(float64(f.PortsUsed), float64(ports))
		}
		f.Ports, f.PortsPct = probes.Some(ports), probes.Some(share)
		if share >= 50 {
			f.PortsOwner = flowOwner(ctx, h, busiest)
		}
	}
	return f, f.limits(h)
}

// flowSample is how many connections are traced to their process: with several programs the one that has most is likely to be the most of them.
const flowSample = 64

// flowOwner finds who has opened connections, or without a flow who listens. One that is in TIME-WAIT has no owner any more.
func flowOwner(ctx context.Context, h host.Host, to flow) probes.Opt[string] {
	inodes := map[uint32]bool{}
	states := uint32(1<<host.TCPEstablished | 1<<host.TCPSynSent | 1<<host.TCPCloseWait)
	if to == (flow{}) {
		states = 1 << host.TCPListen
	}
	err := h.Sockets(ctx, host.SocketQuery{States: states}, func(s *host.Socket) error {
		if s.Inode != 0 && (to == (flow{}) || s.Local.Addr() == to.local && s.Remote == to.remote) && len(inodes) < flowSample {
			inodes[s.Inode] = true
		}
		return nil
	})
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	if len(inodes) == 0 {
		return probes.None[string]()
	}
	owners, err := findOwners(ctx, h, inodes)
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	held := map[owner]int{}
	var most owner
	for _, o := range owners {
		if held[o]++; held[o] > held[most] || held[o] == held[most] && o.pid < most.pid {
			most = o
		}
	}
	if most.pid == 0 {
		return probes.None[string]()
	}
	return probes.Some(most.String())
}

// countSockets counts by state, and connections by flow: those from a port of the range on which nothing listens here, for the other
// ones were opened by the other end; and the ports of the range on which something listens. The kernel dumps listeners first.
func countSockets(ctx context.Context, h host.Kernel, low, high int) (states [host.TCPNewSynRecv + 1]int, flows map[flow]int, listened int, err error) {
	var listening [1 << 16 / 64]uint64
	flows = map[flow]int{}
	var last flow
	run := 0
	err = h.Sockets(ctx, host.SocketQuery{}, func(s *host.Socket) error {
		if int(s.State) >= len(states) {
			return nil
		}
		states[s.State]++
		port := int(s.Local.Port())
		if s.State == host.TCPListen {
			if listening[port/64]&(1<<(port%64)) == 0 && low <= port && port <= high {
				listened++
			}
			listening[port/64] |= 1 << (port % 64)
			return nil
		}
		if port < low || port > high || listening[port/64]&(1<<(port%64)) != 0 {
			return nil
		}
		to := flow{s.Local.Addr(), s.Remote}
		if to != last {
			flows[last] += run
			last, run = to, 0
		}
		run++
		return nil
	})
	flows[last] += run
	delete(flows, flow{})
	return states, flows, listened, err
}

// portRange is where the kernel takes the ports of outgoing connections from; without the file there is none.
func portRange(h host.Files) (low, high int, err error) {
	numbers, err := readInts(h, "/proc/sys/net/ipv4/ip_local_port_range")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, -1, nil
	case err != nil:
		return 0, 0, err
	case len(numbers) != 2:
		return 0, 0, fmt.Errorf("reading net.ipv4.ip_local_port_range: %d numbers, not 2", len(numbers))
	}
	return numbers[0], numbers[1], nil
}

// unreserved counts the ports of a range that net.ipv4.ip_local_reserved_ports, as in 8080,9148-9200, leaves.
func unreserved(h host.Files, low, high int) (int, error) {
	const file = "/proc/sys/net/ipv4/ip_local_reserved_ports"
	text, err := h.ReadFile(file) // where nothing is reserved there is nothing but a line's end
	if errors.Is(err, fs.ErrNotExist) {
		return high - low + 1, nil
	}
	if err != nil {
		return 0, err
	}
	left := high - low + 1
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		if part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := parseNumber(first)
		to, err2 := parseNumber(last)
		if err := errors.Join(err1, err2); err != nil {
			return 0, fmt.Errorf("reading %s: %w", file, err)
		}
		left -= max(0, min(to, high)-max(from, low)+1)
	}
	return left, nil
}

// readInts reads a file of numbers with white space between them.
func readInts(h host.Files, name string) ([]int, error) {
	line, err := readLine(h, name)
	if err != nil {
		return nil, err
	}
	var all []int
	for f := range strings.FieldsSeq(line) {
		n, err := parseNumber(f)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		all = append(all, n)
	}
	return all, nil
}

// limits adds what /proc/net/sockstat counts, and the limits.
func (f *socketsFacts) limits(h host.Files) error {
	stat, err := readSockstat(h)
	if err != nil {
		return err
	}
	f.Orphans, f.Memory, f.UDPMemory = stat["TCP orphan"], stat["TCP mem"], stat["UDP mem"]
	for _, l := range []struct {
		name string
		at   int
		used int
		most *probes.Opt[int]
		pct  *probes.Opt[float64]
	}{
		{"tcp_max_tw_buckets", 0, f.TimeWait, &f.TimeWaitMax, &f.TimeWaitPct},
		{"tcp_max_orphans", 0, f.Orphans, &f.OrphansMax, &f.OrphansPct},
		{"tcp_mem", 1, f.Memory, &f.MemoryPress, nil},
		{"tcp_mem", 2, f.Memory, &f.MemoryMax, &f.MemoryPct},
		{"udp_mem", 0, f.UDPMemory, &f.UDPMax, &f.UDPPct},
	} {
		numbers, err := readInts(h, "/proc/sys/net/ipv4/"+l.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if l.at >= len(numbers) {
			return fmt.Errorf("reading net.ipv4.%s: %d numbers", l.name, len(numbers))
		}
		limit := numbers[l.at]
		*l.most = probes.Some(limit)
		if l.pct != nil && limit > 0 {
			*l.pct = probes.Some(percent(float64(l.used), float64(limit)))
		}
	}
	return nil
}

// readSockstat reads lines such as "TCP: inuse 1 orphan 0 tw 0 alloc 7 mem 168" into "TCP orphan": 0, ….
func readSockstat(h host.Files) (map[string]int, error) {
	const name = "/proc/net/sockstat"
	text, err := readText(h, name)
	if err != nil {
		return nil, err
	}
	all := map[string]int{}
	for line := range strings.Lines(text) {
		proto, rest, _ := strings.Cut(line, ":")
		words := strings.Fields(rest)
		for i := 0; i+1 < len(words); i += 2 {
			if all[proto+" "+words[i]], err = strconv.Atoi(words[i+1]); err != nil {
				return nil, fmt.Errorf("reading %s: %s %s: %.20q is not a number", name, proto, words[i], words[i+1])
			}
		}
	}
	for _, key := range []string{"TCP orphan", "TCP mem", "UDP mem"} {
		if _, ok := all[key]; !ok {
			return nil, fmt.Errorf("reading %s: no %s", name, key)
		}
	}
	return all, nil
}

package linux

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Listeners reads which ports are served.
var Listeners = probes.Define(probes.Probe[host.Host]{
	Name: "listeners",
	Doc: `Listening ports

Dumps TCP listeners and UDP sockets by INET_DIAG. Costs 0.1 ms. Only this network namespace is seen. backlog is a momentary value: a queue
that overflows in bursts looks empty in between, so judge it together with tcp_stats.listen_overflows_per_s. A UDP socket's drops
are those of its whole life. Whose a TCP listener is, is found among the descriptors of the processes (0.5 ms): services first, then 20,000
descriptors of all, at most 2,000 a process, so on a host with more outside of services it may stay unknown. Of the usual servers that listen on loopback
alone it reads the configuration (0.2 ms each), and for each Unix socket that somebody listens on whether its file is there (0.2 ms).`,
	Every: 10 * time.Second,
}, listeners)

type listenersFacts struct {
	TCP []tcpListener           `fact:"tcp" doc:"TCP listeners, by port"`
	UDP probes.Cut[udpListener] `fact:"udp" doc:"UDP sockets that serve any sender, by port; at most 500"`

	Local []loopbackOnly `fact:"loopback_only" doc:"Databases, HAProxy, rsyslog and the like that listen on loopback alone, and where their configuration says so"`
	Lost  []lostSocket   `fact:"lost_sockets" doc:"Unix sockets on which services listen, and whose file is not there any more; 20 at most"`
}

type tcpListener struct {
	Where      string  `fact:"where,key" doc:"As in tcp 0.0.0.0:22 or tcp [::]:80"`
	Address    string  `fact:"address" doc:"The address it is bound to; 0.0.0.0 and :: are any"`
	Port       int     `fact:"port" unit:"port" doc:"The port"`
	Loopback   bool    `fact:"loopback" doc:"Only this host can reach it"`
	Both       bool    `fact:"serves_ipv4" doc:"It serves IPv4: bound to an IPv4 address, or to :: without IPV6_V6ONLY"`
	Sockets    int     `fact:"sockets" unit:"sockets" doc:"How many share it by SO_REUSEPORT; backlog is the fullest one's"`
	Backlog    int     `fact:"backlog" unit:"connections" doc:"Connections that wait to be accepted"`
	BacklogMax int     `fact:"backlog_max" unit:"connections" doc:"How many may wait: the smaller of listen(2)'s argument and net.core.somaxconn at that time"`
	BacklogPct float64 `fact:"backlog_pct" unit:"%" doc:"backlog, as part of backlog_max; it overflows above 100"`
	UID        int     `fact:"uid" unit:"user id" doc:"Whose it is"`

	Process probes.Opt[string] `fact:"process" doc:"Name of the process that has it; absent if it was not found, as for the kernel's own"`
	PID     probes.Opt[int]    `fact:"pid" unit:"pid" doc:"Its process id; of several that share it the lowest that was found"`
	Unit    probes.Opt[string] `fact:"unit" doc:"The systemd service or scope of that process; absent outside of any"`
}

type udpListener struct {
	Where    string `fact:"where,key" doc:"As in udp 0.0.0.0:53"`
	Address  string `fact:"address" doc:"The address it is bound to"`
	Port     int    `fact:"port" unit:"port" doc:"The port"`
	Loopback bool   `fact:"loopback" doc:"Only this host can reach it"`
	Sockets  int    `fact:"sockets" unit:"sockets" doc:"How many share it"`
	Queued   int    `fact:"queued" unit:"bytes" doc:"Received and not yet read"`
	Drops    int    `fact:"drops" unit:"count" doc:"Datagrams dropped since it was made, for want of room in its buffer"`
	UID      int    `fact:"uid" unit:"user id" doc:"Whose it is"`
}

// maxUDP is more than the services of a host; a resolver may have thousands of sockets that wait for answers.
const maxUDP = 500

func listeners(ctx context.Context, h host.Host) (listenersFacts, error) {
	var f listenersFacts
	tcp, socket := map[string]*tcpListener{}, map[string]uint32{}
	err := h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		where := "tcp " + s.Local.String()
		l := tcp[where]
		if l == nil {
			addr := s.Local.Addr()
			l = &tcpListener{
				Where: where, Address: addr.String(), Port: int(s.Local.Port()), Loopback: addr.IsLoopback(), UID: int(s.UID),
				Both: addr.Is4() || addr.IsUnspecified() && !s.V6Only, BacklogPct: -1,
			}
			tcp[where], socket[where] = l, s.Inode
		}
		l.Sockets++
		if pct := percent(float64(s.RQueue), float64(s.WQueue)); pct > l.BacklogPct {
			l.Backlog, l.BacklogMax, l.BacklogPct = int(s.RQueue), int(s.WQueue), pct
		}
		return nil
	})
	if err != nil {
		return f, err
	}
	owners, err := listenerOwners(ctx, h)
	for where, l := range tcp {
		l.setOwner(owners, socket[where], err)
	}
	f.TCP = sorted(tcp, func(a, b tcpListener) int { return cmp.Or(a.Port-b.Port, cmp.Compare(a.Where, b.Where)) })

	udp := map[string]*udpListener{}
	err = h.Sockets(ctx, host.SocketQuery{UDP: true}, func(s *host.Socket) error {
		if s.Remote.IsValid() || s.Local.Port() == 0 {
			return nil
		}
		where := "udp " + s.Local.String()
		l := udp[where]
		switch {
		case l == nil && len(udp) == maxUDP:
			f.UDP.More++
			return nil
		case l == nil:
			addr := s.Local.Addr()
			l = &udpListener{Where: where, Address: addr.String(), Port: int(s.Local.Port()), Loopback: addr.IsLoopback(), UID: int(s.UID)}
			udp[where] = l
		}
		l.Sockets++
		l.Queued += int(s.RQueue)
		l.Drops += int(s.Drops)
		return nil
	})
	switch {
	case errors.Is(err, host.ErrUnsupported):
		f.UDP.Why = err.Error() // CONFIG_INET_UDP_DIAG is an option of its own
	case err != nil:
		return f, err
	default:
		f.UDP.All = sorted(udp, func(a, b udpListener) int { return cmp.Or(a.Port-b.Port, cmp.Compare(a.Where, b.Where)) })
	}
	f.Local = findLoopbackOnly(h, &f)
	f.Lost = lostSockets(ctx, h)
	return f, nil
}

func sorted[T any](m map[string]*T, order func(a, b T) int) []T {
	all := make([]T, 0, len(m))
	for _, v := range m {
		all = append(all, *v)
	}
	slices.SortFunc(all, order)
	return all
}

// setOwner says whose a listener is.
func (l *tcpListener) setOwner(owners map[uint32]owner, inode uint32, err error) {
	o, ok := owners[inode]
	switch {
	case err != nil:
		l.Process, l.PID, l.Unit = probes.Unread[string](err.Error()), probes.Unread[int](err.Error()), probes.Unread[string](err.Error())
	case ok:
		l.Process, l.PID = probes.Some(o.command), probes.Some(o.pid)
		if o.unit != "" {
			l.Unit = probes.Some(o.unit)
		}
	}
}

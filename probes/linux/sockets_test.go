package linux

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host/hosttest"
)

const socketFiles = `
-- /proc/net/sockstat --
sockets: used 29
TCP: inuse 1 orphan 512 tw 0 alloc 7 mem 168
UDP: inuse 0 mem 5
FRAG: inuse 0 memory 0
-- /proc/sys/net/ipv4/ip_local_port_range --
40000	40099
-- /proc/sys/net/ipv4/tcp_mem --
100	168	336
-- /proc/sys/net/ipv4/udp_mem --
100	200	1000
-- /proc/sys/net/ipv4/tcp_max_tw_buckets --
8
`

func socketLines() string {
	var b strings.Builder
	b.WriteString("-- tcp --\n")
	line := func(state int, local, remote string) {
		fmt.Fprintf(&b, `{"state":%d,"local":%q,"remote":%q,"rq":0,"wq":0,"uid":0,"ino":0}`+"\n", state, local, remote)
	}
	b.WriteString(`{"state":10,"local":"0.0.0.0:40050","rq":0,"wq":128,"uid":0,"ino":1}` + "\n")
	for i := range 30 { // connections from here to one destination, some on their way out
		line([]int{1, 1, 6}[i%3], fmt.Sprintf("192.0.2.1:%d", 40000+i), "198.51.100.7:443")
	}
	for i := range 20 { // clients of the listener, whose port is in the range too
		line(1, "192.0.2.1:40050", fmt.Sprintf("203.0.113.1:%d", 50000+i))
	}
	line(1, "192.0.2.1:22", "203.0.113.9:5555")
	line(8, "192.0.2.1:40090", "198.51.100.8:443")
	line(3, "[2001:db8::1]:40050", "[2001:db8::2]:1")
	line(12, "[2001:db8::1]:40050", "[2001:db8::2]:2")
	line(200, "192.0.2.1:1", "192.0.2.2:1")
	return b.String()
}

// heldSockets are more than half of the ports, held by one process if OWNER is the link to one of them.
func heldSockets() string {
	var b strings.Builder
	b.WriteString("-- /proc/77/fd/3 -> OWNER --\n-- /proc/77/comm --\ncrawler\n-- /proc/77/cgroup --\n0::/system.slice/crawler.service\n-- tcp --\n")
	for i := range 60 {
		fmt.Fprintf(&b, `{"state":1,"local":"192.0.2.1:%d","remote":"198.51.100.7:443","rq":0,"wq":0,"uid":0,"ino":%d}`+"\n", 40000+i, 7000+i)
	}
	return b.String()
}

func TestSockets(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"a busy host", socketFiles + socketLines(), map[string]string{
			"tcp": "55", "established": "41", "time_wait": "10", "time_wait_max": "8", "time_wait_pct": "125", "listen": "1", "close_wait": "1",
			"syn_recv": "2", "ephemeral_ports": "100", "ephemeral_used": "30", "ephemeral_used_pct": "30",
			"ephemeral_target": `"192.0.2.1 → 198.51.100.7:443"`, "orphans": "512", "orphans_max": "null", "orphans_pct": "null",
			"memory": "168", "memory_pressure": "168", "memory_max": "336", "memory_pct": "50", "udp_memory_pct": "5",
		}},
		{"a busy host whose connections have an owner", socketFiles + strings.Replace(heldSockets(), "OWNER", "socket:[7001]", 1), map[string]string{
			"ephemeral_used": "60", "ephemeral_owner": `"crawler (pid 77, crawler.service)"`,
		}},
		{"connections that nobody owns", socketFiles + strings.Replace(heldSockets(), "OWNER", "socket:[9]", 1), map[string]string{"ephemeral_used": "60", "ephemeral_owner": "null"}},
		{"programs listen on the ports for connections", strings.Replace(socketFiles, "40099", "43099", 1) + "-- tcp --\n" + listenersAt(40000, 2600), map[string]string{
			"ephemeral_used": "2600", "ephemeral_target": `"anybody: programs listen on them"`, "ephemeral_owner": "null",
		}},
		{"nothing connected", socketFiles + "-- tcp --\n", map[string]string{
			"tcp": "0", "ephemeral_used": "0", "ephemeral_target": "null", "ephemeral_used_pct": "0",
		}},
		{"destinations with as many each", socketFiles + `-- tcp --
{"state":1,"local":"192.0.2.1:40001","remote":"198.51.100.9:443"}
{"state":1,"local":"192.0.2.1:40002","remote":"198.51.100.8:443"}
{"state":1,"local":"192.0.2.1:40003","remote":"198.51.100.8:80"}
{"state":1,"local":"192.0.2.1:40004","remote":"198.51.100.9:80"}
`, map[string]string{"ephemeral_used": "1", "ephemeral_target": `"192.0.2.1 → 198.51.100.8:80"`}},
		{"a container without the limits", `-- tcp --
-- /proc/net/sockstat --
TCP: inuse 1 orphan 0 tw 0 alloc 7 mem 168
UDP: inuse 0 mem 5
`, map[string]string{"time_wait_max": "null", "time_wait_pct": "null", "memory_pct": "null", "ephemeral_ports": "null", "ephemeral_used_pct": "null"}},
		{"nothing is reserved", socketFiles + "-- tcp --\n-- /proc/sys/net/ipv4/ip_local_reserved_ports --\n\n", map[string]string{"ephemeral_ports": "100"}},
		{"most of the range is reserved", socketFiles + "-- tcp --\n-- /proc/sys/net/ipv4/ip_local_reserved_ports --\n22,32768-40089,40098-65000\n", map[string]string{"ephemeral_ports": "8"}},
		{"a range that is none", socketFiles + "-- tcp --\n-- /proc/sys/net/ipv4/ip_local_port_range @0s --\n32768\n", map[string]string{"(reason)": "1 numbers, not 2"}},
		{"sockstat cut short", "-- tcp --\n-- /proc/net/sockstat --\nTCP: inuse 1 orphan\n", map[string]string{"(reason)": "no TCP orphan"}},
		{"the kernel cannot dump", socketFiles + "-- tcp --\n!unsupported\n", map[string]string{"(reason)": "not supported by this kernel"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Sockets, observe(t, Sockets, c.capture), c.want) })
	}
}

// TestFlowsOfClients: a server has as many flows as clients, so they are not kept.
// listenersAt are n sockets that listen, from a port on.
func listenersAt(port, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"state\":10,\"local\":\"0.0.0.0:%d\"}\n", port+i)
	}
	return b.String()
}

func TestFlowsOfClients(t *testing.T) {
	h, err := hosttest.Parse([]byte(socketLines()))
	if err != nil {
		t.Fatal(err)
	}
	_, flows, _, err := countSockets(t.Context(), h, 40000, 40099)
	if err != nil || len(flows) != 2 {
		t.Errorf("%d flows, %v; want the two destinations: %v", len(flows), err, flows)
	}
}

func TestListeners(t *testing.T) {
	const tcp = `
-- tcp --
{"state":10,"local":"0.0.0.0:80","rq":5,"wq":511,"uid":33,"ino":1}
{"state":10,"local":"0.0.0.0:80","rq":600,"wq":511,"uid":33,"ino":2}
{"state":1,"local":"192.0.2.1:80","remote":"203.0.113.9:5555","rq":0,"wq":0,"uid":0,"ino":3}
{"state":10,"local":"[::]:22","rq":0,"wq":128,"uid":0,"ino":4,"v6":true}
{"state":10,"local":"[::1]:25","rq":0,"wq":100,"uid":0,"ino":5,"v6":true,"v6only":true}
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"TCP and UDP", tcp + `
-- udp --
{"state":7,"local":"0.0.0.0:53","rq":1000,"wq":0,"uid":101,"ino":6,"drops":7}
{"state":7,"local":"0.0.0.0:53","rq":500,"wq":0,"uid":101,"ino":7,"drops":3}
{"state":1,"local":"192.0.2.1:5353","remote":"192.0.2.2:53","rq":0,"wq":0,"uid":0,"ino":8}
`, map[string]string{
			"tcp[tcp 0.0.0.0:80].sockets": "2", "tcp[tcp 0.0.0.0:80].backlog": "600", "tcp[tcp 0.0.0.0:80].backlog_max": "511",
			"tcp[tcp 0.0.0.0:80].uid": "33", "tcp[tcp [::]:22].serves_ipv4": "true", "udp[udp 0.0.0.0:53].drops": "10",
			"udp[udp 0.0.0.0:53].queued": "1500", "udp[udp 192.0.2.1:5353]": "none",
		}},
		{"no module for UDP", tcp + "-- udp --\n!unsupported\n", map[string]string{
			"tcp[tcp 0.0.0.0:80].port": "80", "udp": `{"unreadable":"udp: not supported by this kernel"}`,
		}},
		{"nothing listens", "-- tcp --\n-- udp --\n", map[string]string{"tcp": "[]", "udp": "[]"}},
		{"no answer", "", map[string]string{"(reason)": "tcp: not in the capture"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Listeners, observe(t, Listeners, c.capture), c.want) })
	}

	o := observe(t, Listeners, tcp+"-- udp --\n")
	for i, want := range []string{"tcp [::]:22", "tcp [::1]:25", "tcp 0.0.0.0:80"} {
		l := o.Facts.At(0).At(i)
		if got := l.At(0).Str(); got != want {
			t.Errorf("listener %d is %s, want %s", i, got, want)
		}
		if serves := l.At(4).Bool(); serves != (want != "tcp [::1]:25") {
			t.Errorf("%s: serves IPv4: %v", want, serves)
		}
	}
	var many strings.Builder
	many.WriteString("-- udp --\n")
	for i := range maxUDP + 3 {
		fmt.Fprintf(&many, `{"state":7,"local":"0.0.0.0:%d","rq":0,"wq":0,"uid":0,"ino":0}`+"\n", 1000+i)
	}
	o = observe(t, Listeners, tcp+many.String())
	if udp := o.Facts.At(1); udp.Len() != maxUDP || udp.More() != 3 {
		t.Errorf("%d UDP sockets and %d more", udp.Len(), udp.More())
	}
}

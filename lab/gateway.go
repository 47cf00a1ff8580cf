package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// What surrounds a host, with the addresses that an Alibaba Cloud VPC has: the vSwitch's gateway, the metadata service, the
// two resolvers, a time server. A client lives behind the gateway, so that its packets take the default route.
const (
	hostAddr     = "172.16.0.10"
	gatewayAddr  = "172.16.0.253"
	hostMAC      = "00:16:3e:00:00:10" // Alibaba Cloud's prefix
	clientAddr   = "203.0.113.10"      // TEST-NET-3, RFC 5737
	metadataAddr = "100.100.100.200"
	ntpAddr      = "100.100.61.88"
	ntpName      = "ntp.cloud.aliyuncs.com."
)

var resolverAddrs = []string{"100.100.2.136", "100.100.2.138"}

// roleEnv makes this program, or its test, serve as a gateway instead: see main and TestMain.
const roleEnv = "HOSTMEND_LAB_GATEWAY_OF"

// tapCable is the launcher of a host that is no process: its cable is a TAP device.
const tapCable = "tap"

// serveGateway is the process that owns the gateway's network namespace. It makes the cable to the namespace of the process
// launcher, or for QEMU to hold, serves, prints "ready", and ends with its standard input, that is with the lab, however that ends.
func serveGateway(ctx context.Context, launcher string) error {
	link := "link add lab0 type veth peer name eth0 address " + hostMAC + " netns /proc/" + launcher + "/ns/net" // a PID namespace of its own has other numbers
	if launcher == tapCable {
		link = "tuntap add dev lab0 mode tap"
	}
	cable := []string{
		"link set lo up",
		link,
		"addr add " + gatewayAddr + "/24 dev lab0",
	}
	for _, addr := range append([]string{clientAddr, metadataAddr, ntpAddr}, resolverAddrs...) {
		cable = append(cable, "addr add "+addr+"/32 dev lo")
	}
	if err := ipBatch(exec.CommandContext(ctx, "ip", "-batch", "-"), append(cable, "link set lab0 up")...); err != nil {
		return err
	}
	failed := make(chan error)
	var listen net.ListenConfig
	for _, addr := range resolverAddrs {
		for port, answer := range nameServers {
			if err := serveNames(addr+port, answer, failed); err != nil {
				return err
			}
		}
	}
	metadata, err := listen.Listen(ctx, "tcp", metadataAddr+":80")
	if err != nil {
		return fmt.Errorf("serving metadata: %w", err)
	}
	go func() { failed <- http.Serve(metadata, newMetadata()) }()
	clock, err := listen.ListenPacket(ctx, "udp", ntpAddr+":123")
	if err != nil {
		return fmt.Errorf("serving time: %w", err)
	}
	go func() { failed <- serveTime(clock) }()
	fmt.Println("ready")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	return <-failed
}

// ipBatch feeds lines to an `ip -batch -` command.
func ipBatch(ip *exec.Cmd, lines ...string) error {
	ip.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := ip.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// nameServers are what each resolver's address offers: the real one, and at ports of their own such as are sick in some way. A fault
// leads questions there: nft add rule … ip daddr 100.100.2.136 udp dport 53 dnat to 100.100.2.136:5303.
var nameServers = map[string]func(q dns.Question) (rcode int, addr string){
	":53":   resolve,
	":5302": func(dns.Question) (int, string) { return dns.RcodeServerFailure, "" },
	":5303": func(dns.Question) (int, string) { return dns.RcodeNameError, "" },
	":5305": func(dns.Question) (int, string) { return dns.RcodeRefused, "" },
	":5300": func(dns.Question) (int, string) { return dns.RcodeSuccess, "192.0.2.80" }, // one address for whatever name
}

// serveNames starts a name server and returns once it serves.
func serveNames(addr string, answer func(dns.Question) (int, string), failed chan<- error) error {
	handle := func(w dns.ResponseWriter, q *dns.Msg) {
		if len(q.Question) != 1 || inZone(q.Question[0].Name, silentZone) {
			return
		}
		m, question := new(dns.Msg), q.Question[0]
		rcode, a := answer(question)
		m.SetRcode(q, rcode)
		m.RecursionAvailable = true
		if a != "" && question.Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.ParseIP(a),
			})
		}
		_ = w.WriteMsg(m)
	}
	for _, network := range []string{"udp", "tcp"} {
		ended, started := make(chan error, 1), make(chan struct{})
		server := &dns.Server{Addr: addr, Net: network, Handler: dns.HandlerFunc(handle), NotifyStartedFunc: func() { close(started) }}
		go func() { ended <- server.ListenAndServe() }()
		select {
		case <-started:
			go func() { failed <- <-ended }()
		case err := <-ended:
			return fmt.Errorf("serving DNS: %w", err)
		}
	}
	return nil
}

// silentZone is one whose name servers are gone: a recursive server that is asked for it has nothing to say for many seconds.
const silentZone = "silent.example."

func inZone(name, zone string) bool {
	return strings.HasSuffix("."+strings.ToLower(name), "."+zone)
}

// resolve knows every name that has a dot and is not reserved (RFC 6761): the time server's with the time server's address, others
// with the client's.
func resolve(q dns.Question) (rcode int, addr string) {
	switch {
	case q.Name == ".":
		return dns.RcodeSuccess, ""
	case dns.CountLabel(q.Name) == 1 || inZone(q.Name, "invalid."):
		return dns.RcodeNameError, ""
	case strings.EqualFold(q.Name, ntpName):
		return dns.RcodeSuccess, ntpAddr
	}
	return dns.RcodeSuccess, clientAddr
}

// metadata answers like an instance's metadata service: plain text under /latest/meta-data/, tokens for the hardened mode. A PUT from
// the gateway's side sets an item, by which a fault changes what the cloud says of the host.
type metadata struct {
	mu    sync.Mutex
	items map[string]string
}

func newMetadata() *metadata {
	nic := "network/interfaces/macs/" + hostMAC + "/"
	return &metadata{items: map[string]string{
		"":                           "dns-conf/\nhostname\ninstance-id\nmac\nnetwork/\nntp-conf/\nprivate-ipv4\nregion-id\nzone-id",
		"hostname":                   "web-1",
		"instance-id":                "i-bp1lab0000000000000",
		"instance/instance-type":     "ecs.g7.large",
		"mac":                        hostMAC,
		"network/interfaces/macs/":   hostMAC + "/",
		nic + "network-interface-id": "eni-bp1lab0000000000000",
		nic + "primary-ip-address":   hostAddr,
		nic + "private-ipv4s":        `["` + hostAddr + `"]`,
		nic + "netmask":              "255.255.255.0",
		nic + "vswitch-cidr-block":   "172.16.0.0/24",
		nic + "gateway":              gatewayAddr,
		"dns-conf/nameservers":       strings.Join(resolverAddrs, "\n"),
		"ntp-conf/ntp-servers":       strings.TrimSuffix(ntpName, "."),
		"private-ipv4":               hostAddr,
		"region-id":                  "cn-hangzhou",
		"zone-id":                    "cn-hangzhou-h",
	}}
}

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
		fmt.Fprint(w, "lab-token")
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/latest/meta-data/")
	item, ok := m.items[name]
	switch {
	case r.Method == http.MethodPut && !strings.HasPrefix(r.RemoteAddr, hostAddr+":"):
		value, _ := io.ReadAll(r.Body)
		m.items[name] = string(value)
	case ok:
		fmt.Fprint(w, item)
	default:
		http.NotFound(w, r)
	}
}

// serveTime is a stratum 2 time server with the machine's own clock (RFC 5905, figure 8).
func serveTime(conn net.PacketConn) error {
	packet := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(packet)
		received := time.Now()
		if err != nil {
			return err
		}
		const client, server = 3, 4
		if n < 48 || packet[0]&7 != client {
			continue
		}
		reply := make([]byte, 48)
		reply[0] = packet[0]&0x38 | server // no leap second, the client's version
		reply[1] = 2                       // stratum
		reply[2] = packet[2]               // the client's poll
		reply[3] = 0xec                    // precision 2^-20 s
		copy(reply[12:], []byte{10, 0, 0, 1})
		putTime(reply[16:], received.Add(-time.Second)) // last set
		copy(reply[24:32], packet[40:48])               // the client's transmit time comes back as origin
		putTime(reply[32:], received)
		putTime(reply[40:], time.Now())
		if _, err := conn.WriteTo(reply, from); err != nil && !errors.Is(err, net.ErrClosed) {
			continue // a client that is cut off must not end the service
		}
	}
}

// putTime writes an NTP timestamp: seconds since 1900 and their fraction.
func putTime(b []byte, t time.Time) {
	const since1900 = 2208988800
	binary.BigEndian.PutUint32(b, uint32(t.Unix()+since1900))
	binary.BigEndian.PutUint32(b[4:], uint32(uint64(t.Nanosecond())<<32/1e9))
}

// enter is a program to run in the network of one process and in the PID namespace of another, its first process: with that one
// the kernel ends the program and whatever it left running.
func enter(ctx context.Context, network, first *exec.Cmd, argv ...string) *exec.Cmd {
	of := func(cmd *exec.Cmd, kind string) string {
		return fmt.Sprintf("--%s=/proc/%d/ns/%[1]s", kind, cmd.Process.Pid)
	}
	return tame(exec.CommandContext(ctx, "nsenter", append([]string{of(network, "net"), of(first, "pid"), "--"}, argv...)...))
}

// startGateway runs this program again as the gateway of launcher; see serveGateway.
func startGateway(ctx context.Context, launcher string, log io.Writer) (*exec.Cmd, error) {
	gateway := exec.Command("/proc/self/exe") //nolint:noctx // the host's Close ends it in the right order
	gateway.Env = append(os.Environ(), roleEnv+"="+launcher)
	gateway.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL, Setpgid: true,
	}
	gateway.Stderr = log
	if _, err := gateway.StdinPipe(); err != nil { // held open: the gateway ends when it closes
		return nil, err
	}
	ready, err := gateway.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := gateway.Start(); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = gateway.Process.Kill() })
	defer stop()
	return gateway, awaitReady(ready)
}

// awaitReady reads the line that serveGateway prints.
func awaitReady(r io.Reader) error {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || line != "ready\n" {
		return fmt.Errorf("the gateway did not start: %q %w", line, err)
	}
	return nil
}

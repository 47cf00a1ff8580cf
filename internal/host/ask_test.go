package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := netip.MustParseAddrPort(l.Addr().String())
	if took, err := (&Local{}).Connect(t.Context(), open); err != nil || took <= 0 || took > time.Second {
		t.Errorf("open port: %s, %v", took, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Local{}).Connect(t.Context(), open); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v; want it refused", err)
	}
	full := deaf(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (&Local{}).Connect(ctx, full); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent port: %v; want the deadline", err)
	}
	if _, err := (&Local{Offline: true}).Connect(t.Context(), open); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
}

// deaf is a TCP port that does not answer: its queue is full, so that the kernel drops further SYNs.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port))
	for range 16 {
		c, err := net.DialTimeout("tcp", address.String(), 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill up")
	return address
}

func TestGet(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/id", http.StatusFound)
		case "/large":
			fmt.Fprint(w, strings.Repeat("x", maxBody+1))
		case "/slow":
			w.(http.Flusher).Flush()
			<-release
		case "/denied":
			http.Error(w, "token, please", http.StatusForbidden)
		default:
			fmt.Fprintf(w, "i-1 %s", r.Header.Get("X-Token"))
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // must not be asked
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	for _, tt := range []struct {
		url, body string
		status    int
		err       error
	}{
		{server.URL + "/id", "i-1 secret", 200, nil},
		{server.URL + "/redirect", "", 302, nil},
		{server.URL + "/denied", "token, please\n", 403, nil},
		{server.URL + "/large", "", 0, ErrTooLarge},
		{server.URL + "/slow", "", 0, context.DeadlineExceeded},
		{"http://" + deaf(t).String() + "/", "", 0, context.DeadlineExceeded},
		{"http://127.0.0.1:1/", "", 0, syscall.ECONNREFUSED},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		got, err := (&Local{}).Get(ctx, tt.url, map[string]string{"X-Token": "secret"})
		cancel()
		if got.Status != tt.status || tt.status != 302 && got.Body != tt.body || !errors.Is(err, tt.err) {
			t.Errorf("Get(%s) = %d %.40q, %v; want %d %q, %v", tt.url, got.Status, got.Body, err, tt.status, tt.body, tt.err)
		}
	}
	if _, err := (&Local{}).Get(t.Context(), "http://localhost"+port+"/", nil); err == nil || !strings.Contains(err.Error(), "not an address") {
		t.Errorf("a name: %v; want it refused", err)
	}
}

// nameServer answers by the name that is asked for, over UDP and TCP on one port.
func nameServer(t *testing.T) netip.AddrPort {
	t.Helper()
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		_, overTCP := w.RemoteAddr().(*net.TCPAddr)
		switch name := q.Question[0].Name; {
		case name == "silent.":
			return
		case name == "broken.":
			m.Rcode = dns.RcodeServerFailure
		case name == "none.":
			m.Rcode = dns.RcodeNameError
		case name == "large." && !overTCP:
			m.Truncated = true
		default:
			rr, err := dns.NewRR(name + " 60 IN A 192.0.2.7")
			if err != nil {
				t.Error(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Skipf("the port is taken for TCP: %v", err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: answer}, {Listener: l, Handler: answer}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			if err := s.ActivateAndServe(); err != nil {
				t.Error(err)
			}
		}()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
		})
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

func TestQuery(t *testing.T) {
	server := nameServer(t)
	for _, tt := range []struct {
		name, rcode, answers string
		truncated            bool
		err                  error
	}{
		{"www.example.", "NOERROR", "192.0.2.7", false, nil},
		{"large.", "NOERROR", "192.0.2.7", true, nil},
		{"none.", "NXDOMAIN", "", false, nil},
		{"broken.", "SERVFAIL", "", false, nil},
		{"silent.", "", "", false, context.DeadlineExceeded},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		got, err := (&Local{}).Query(ctx, DNSQuery{Server: server, Name: tt.name, Type: "A"})
		cancel()
		if got.RCode != tt.rcode || strings.Join(got.Answers, " ") != tt.answers || got.Truncated != tt.truncated || !errors.Is(err, tt.err) {
			t.Errorf("%s: %+v, %v; want %s %s %t, %v", tt.name, got, err, tt.rcode, tt.answers, tt.truncated, tt.err)
		}
		if err == nil && (got.RTT <= 0 || got.RTT > 300*time.Millisecond) {
			t.Errorf("%s took %s", tt.name, got.RTT)
		}
	}
	closed := netip.MustParseAddrPort("127.0.0.1:9")
	if _, err := (&Local{}).Query(t.Context(), DNSQuery{Server: closed, Name: ".", Type: "NS"}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v; want it refused", err)
	}
	if _, err := (&Local{}).Query(t.Context(), DNSQuery{Server: server, Name: ".", Type: "XYZ"}); err == nil {
		t.Error("a record type that does not exist was asked for")
	}
}

// timeServer is an SNTP server whose clock is ahead. The first questions are lost.
func timeServer(t *testing.T, ahead time.Duration, stratum byte, lost int) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	stamp := func(b []byte) { // RFC 5905: seconds since 1900, and a binary fraction
		now := time.Now().Add(ahead)
		binary.BigEndian.PutUint32(b, uint32(now.Unix()+2208988800))
		binary.BigEndian.PutUint32(b[4:], uint32(uint64(now.Nanosecond())<<32/1e9))
	}
	go func() {
		q := make([]byte, 128)
		for {
			n, from, err := pc.ReadFrom(q)
			if err != nil {
				return
			}
			if n < 48 {
				continue
			}
			if lost > 0 {
				lost--
				continue
			}
			a := make([]byte, 48)
			a[0], a[1] = 4<<3|4, stratum // version 4, server
			copy(a[24:32], q[40:48])
			stamp(a[16:])
			stamp(a[32:])
			stamp(a[40:])
			if _, err := pc.WriteTo(a, from); err != nil {
				return
			}
		}
	}()
	return pc.LocalAddr().String()
}

func TestSNTP(t *testing.T) {
	for _, tt := range []struct {
		ahead   time.Duration
		stratum byte
		lost    int
	}{{0, 2, 0}, {90 * time.Second, 3, 0}, {-36 * time.Hour, 16, 0}, {time.Hour, 2, 1}} {
		got, err := (&Local{}).SNTP(t.Context(), timeServer(t, tt.ahead, tt.stratum, tt.lost))
		if err != nil || got.Stratum != int(tt.stratum) || (got.Offset-tt.ahead).Abs() > 100*time.Millisecond || got.RTT < 0 || got.RTT > time.Second {
			t.Errorf("ahead %s, stratum %d: %+v, %v", tt.ahead, tt.stratum, got, err)
		}
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (&Local{}).SNTP(ctx, silent.LocalAddr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v; want the deadline", err)
	}
	if _, err := (&Local{}).SNTP(t.Context(), "127.0.0.1:9"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v; want it refused", err)
	}
}

// Whoever asks must not wait longer than their context, and nothing may be left behind.
func TestAskingStops(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	server := netip.MustParseAddrPort(silent.LocalAddr().String())
	for what, ask := range map[string]func(context.Context) error{
		"DNS": func(ctx context.Context) error {
			_, err := (&Local{}).Query(ctx, DNSQuery{Server: server, Name: ".", Type: "NS"})
			return err
		},
		"SNTP": func(ctx context.Context) error { _, err := (&Local{}).SNTP(ctx, server.String()); return err },
		"HTTP": func(ctx context.Context) error {
			_, err := (&Local{}).Get(ctx, "http://"+deaf(t).String()+"/", nil)
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(200*time.Millisecond, cancel)
		began := time.Now()
		err := ask(ctx)
		if took := time.Since(began); took > 2*time.Second || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled: %v after %s", what, err, took)
		}
	}
}

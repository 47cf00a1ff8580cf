package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/beevik/ntp"
	"github.com/miekg/dns"
)

// ErrOffline is the answer to every question that would send a packet from a [Local] that is Offline.
var ErrOffline = errors.New("sending packets is switched off")

// maxBody is the most that Get reads of a response: any document of a metadata service is smaller.
const maxBody = 64 << 10

// defaultWait bounds a question whose context has no deadline.
const defaultWait = 5 * time.Second

// Connect opens and closes a TCP connection.
func (l *Local) Connect(ctx context.Context, address netip.AddrPort) (time.Duration, error) {
	ctx, cancel, err := l.asking(ctx)
	if err != nil {
		return 0, fmt.Errorf("connecting to %s: %w", address, err)
	}
	defer cancel()
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address.String())
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("connecting to %s: %w", address, cause(ctx, err))
	}
	return took, conn.Close()
}

// Get fetches a URL with a connection of its own. The host must be an address: a name would make the answer depend on the resolver.
func (l *Local) Get(ctx context.Context, rawURL string, header map[string]string) (HTTPAnswer, error) {
	ctx, cancel, err := l.asking(ctx)
	if err != nil {
		return HTTPAnswer{}, fmt.Errorf("getting %s: %w", rawURL, err)
	}
	defer cancel()
	u, err := url.Parse(rawURL)
	if err != nil {
		return HTTPAnswer{}, err
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		return HTTPAnswer{}, fmt.Errorf("getting %s: its host is not an address", rawURL)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return HTTPAnswer{}, err
	}
	for k, v := range header {
		if k == "Host" { // the request has it elsewhere
			req.Host = v
		}
		req.Header.Set(k, v)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true}, // Proxy nil: none
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return HTTPAnswer{}, fmt.Errorf("getting %s: %w", rawURL, cause(ctx, err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return HTTPAnswer{}, fmt.Errorf("getting %s: %w", rawURL, cause(ctx, err))
	case len(body) > maxBody:
		return HTTPAnswer{}, fmt.Errorf("getting %s: its body is %w of %d bytes", rawURL, ErrTooLarge, maxBody)
	}
	return HTTPAnswer{Status: resp.StatusCode, Body: string(body), Took: time.Since(began)}, nil
}

// Query sends one datagram and, if the answer says that it was cut short, asks again over TCP. It does not repeat a question
// that stays unanswered: how often to ask is the caller's decision.
func (l *Local) Query(ctx context.Context, q DNSQuery) (DNSAnswer, error) {
	ctx, cancel, err := l.asking(ctx)
	if err != nil {
		return DNSAnswer{}, fmt.Errorf("asking %s: %w", q.Server, err)
	}
	defer cancel()
	qtype, ok := dns.StringToType[q.Type]
	if !ok {
		return DNSAnswer{}, fmt.Errorf("asking %s for %s: there is no record type %q", q.Server, q.Name, q.Type)
	}
	// Without EDNS(0), as the resolvers of glibc and musl ask: what answers them answers this.
	msg := new(dns.Msg).SetQuestion(dns.Fqdn(q.Name), qtype)
	resp, rtt, err := exchange(ctx, "udp", msg, q.Server)
	answer := DNSAnswer{RTT: rtt}
	if err == nil && resp.Truncated {
		answer.Truncated = true
		resp, rtt, err = exchange(ctx, "tcp", msg, q.Server)
		answer.RTT += rtt
	}
	if err != nil {
		return DNSAnswer{}, fmt.Errorf("asking %s for %s %s: %w", q.Server, q.Name, q.Type, cause(ctx, err))
	}
	answer.RCode = dns.RcodeToString[resp.Rcode]
	for _, rr := range resp.Answer {
		answer.Answers = append(answer.Answers, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return answer, nil
}

// exchange asks over a connection that it dials itself: the package's own heeds a context's deadline, but not its end before that.
func exchange(ctx context.Context, network string, msg *dns.Msg, server netip.AddrPort) (*dns.Msg, time.Duration, error) {
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	defer heed(ctx, conn)()
	deadline, _ := ctx.Deadline()
	client := dns.Client{Timeout: time.Until(deadline)} // or the package waits for two seconds
	resp, _, err := client.ExchangeWithConnContext(ctx, msg, &dns.Conn{Conn: conn})
	return resp, time.Since(began), err
}

// heed lets nobody wait for a connection any longer once ctx has ended. The package that asks sets the connection's deadline itself, to
// that of ctx; this is for an end before.
func heed(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// sntpAgain is when a time server that has not answered is asked once more: one datagram is easily lost.
const sntpAgain = time.Second

// SNTP asks one time server, given as a name or an address, with a port or without. The first answer counts, to whichever question.
func (l *Local) SNTP(ctx context.Context, server string) (SNTPAnswer, error) {
	ctx, cancel, err := l.asking(ctx)
	if err != nil {
		return SNTPAnswer{}, fmt.Errorf("asking %s the time: %w", server, err)
	}
	defer cancel()
	type reply struct {
		answer SNTPAnswer
		err    error
	}
	var all sync.WaitGroup
	defer all.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	replies := make(chan reply, 2)
	ask := func() {
		a, err := askTime(ctx, server)
		replies <- reply{a, err}
	}
	all.Go(ask)
	again := time.NewTimer(sntpAgain)
	defer again.Stop()
	for open := 1; ; {
		select {
		case r := <-replies:
			if open--; r.err == nil {
				return r.answer, nil
			} else if open == 0 {
				return SNTPAnswer{}, fmt.Errorf("asking %s the time: %w", server, cause(ctx, r.err))
			}
		case <-again.C:
			open++
			all.Go(ask)
		}
	}
}

func askTime(ctx context.Context, server string) (SNTPAnswer, error) {
	deadline, _ := ctx.Deadline()
	stop := func() bool { return true }
	defer func() { stop() }()
	resp, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout: time.Until(deadline),
		Dialer: func(_, remote string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "udp", remote)
			if err == nil {
				stop = heed(ctx, conn)
			}
			return conn, err
		},
	})
	if err != nil {
		return SNTPAnswer{}, err
	}
	return SNTPAnswer{Offset: resp.ClockOffset, RTT: resp.RTT, Stratum: int(resp.Stratum)}, nil
}

// Lookup finds the addresses of a name; an address is its own.
func (l *Local) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel, err := l.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", name, err)
	}
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", name, cause(ctx, err))
	}
	return addrs, nil
}

// asking begins a question to the network: it makes sure that one may be asked, and that waiting for the answer ends.
func (l *Local) asking(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if l.Offline {
		return nil, nil, ErrOffline
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, defaultWait)
	return ctx, cancel, nil
}

// cause names what a failed exchange comes down to: silence is context.DeadlineExceeded, whoever ran out of patience first (the
// context, the socket's deadline, or the kernel after its last SYN).
func cause(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return context.DeadlineExceeded
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return name
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

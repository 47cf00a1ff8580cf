package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// maxWait bounds a question whatever ctx allows: a service that is well answers a greeting within milliseconds.
const maxWait = time.Second

// Exchange asks a service of this machine one question.
func (*Local) Exchange(ctx context.Context, q Question) (Reply, error) {
	fail := func(err error) (Reply, error) { return Reply{}, fmt.Errorf("asking %s: %w", q.Socket, cause(ctx, err)) }
	network := "unix"
	if !strings.HasPrefix(q.Socket, "/") {
		network = "tcp"
		if a, err := netip.ParseAddrPort(q.Socket); err != nil || !a.Addr().IsLoopback() {
			return fail(errors.New("it is neither the path of a socket nor a loopback address"))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, network, q.Socket)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	defer heed(ctx, conn)()
	_, _ = io.WriteString(conn, q.Say) // one that refuses may have closed already, and what it said is still there
	answer, err := listen(conn, q.UntilClose)
	if len(answer) == 0 && err != nil {
		return fail(err)
	}
	return Reply{Text: strings.ToValidUTF8(string(answer), "\uFFFD"), Took: time.Since(began)}, nil
}

// listen reads the first that somebody says, or all of it up to maxBody. An error after some of it is the answer's end: a service that
// refuses somebody may reset the connection behind its refusal.
func listen(r io.Reader, all bool) ([]byte, error) {
	if all {
		return io.ReadAll(io.LimitReader(r, maxBody))
	}
	first := make([]byte, 4<<10)
	n, err := r.Read(first)
	return first[:n], err
}

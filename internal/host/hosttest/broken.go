package hosttest

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

// Empty is a machine that has nothing: no file, no command, no answer to any question.
func Empty() host.Host {
	h, err := Parse(nil)
	if err != nil {
		panic(err) // nothing cannot be wrong
	}
	return h
}

// Denied is a machine that answers every question with fs.ErrPermission.
func Denied() host.Host { return denied{Empty()} }

type denied struct{ host.Host }

func deny[T any](what string) (T, error) {
	var zero T
	return zero, fmt.Errorf("%s: %w", what, fs.ErrPermission)
}

func (denied) ReadFile(name string) ([]byte, error)        { return deny[[]byte]("open " + name) }
func (denied) ReadTail(name string, _ int) ([]byte, error) { return deny[[]byte]("open " + name) }
func (denied) ReadDir(name string) ([]host.DirEntry, error) {
	return deny[[]host.DirEntry]("open " + name)
}

func (denied) Stat(name string) (host.FileInfo, error) { return deny[host.FileInfo]("stat " + name) }

func (denied) Lstat(name string) (host.FileInfo, error) { return deny[host.FileInfo]("lstat " + name) }

func (denied) Readlink(name string) (string, error)         { return deny[string]("readlink " + name) }
func (denied) Links(context.Context) ([]host.Link, error)   { return deny[[]host.Link]("links") }
func (denied) Addrs(context.Context) ([]host.Addr, error)   { return deny[[]host.Addr]("addresses") }
func (denied) Rules(context.Context) ([]host.Rule, error)   { return deny[[]host.Rule]("rules") }
func (denied) Qdiscs(context.Context) ([]host.Qdisc, error) { return deny[[]host.Qdisc]("qdiscs") }
func (denied) Clock() (host.Clock, error)                   { return deny[host.Clock]("clock") }
func (denied) Machine(context.Context) (host.Machine, error) {
	return deny[host.Machine]("machine")
}

func (denied) SNTP(context.Context, string) (host.SNTPAnswer, error) {
	return deny[host.SNTPAnswer]("sntp")
}

func (denied) Attributes(name string) (host.Attributes, error) {
	return deny[host.Attributes]("attributes of " + name)
}

func (denied) Beneath(name string) (host.Beneath, error) {
	return deny[host.Beneath]("beneath " + name)
}

func (denied) MD5(name string) (string, error) { return deny[string]("open " + name) }

func (denied) Exchange(context.Context, host.Question) (host.Reply, error) {
	return deny[host.Reply]("ask")
}

func (denied) ReadCertificate(string, string) (host.KeyPair, error) {
	return deny[host.KeyPair]("certificate")
}

func (denied) Statfs(_ context.Context, name string) (host.Statfs, error) {
	return deny[host.Statfs]("statfs " + name)
}

func (denied) Run(_ context.Context, argv ...string) (host.Output, error) {
	return deny[host.Output]("running " + argv[0])
}

func (denied) Routes(context.Context, func(*host.Route) error) error {
	_, err := deny[int]("routes")
	return err
}

func (denied) Neighbours(context.Context, func(*host.Neighbour) error) error {
	_, err := deny[int]("neighbours")
	return err
}

func (denied) Sockets(context.Context, host.SocketQuery, func(*host.Socket) error) error {
	_, err := deny[int]("sockets")
	return err
}

func (denied) Ping(context.Context, host.Ping) (host.Pong, error) { return deny[host.Pong]("ping") }

func (denied) Connect(context.Context, netip.AddrPort) (time.Duration, error) {
	return deny[time.Duration]("connect")
}

func (denied) Get(context.Context, string, map[string]string) (host.HTTPAnswer, error) {
	return deny[host.HTTPAnswer]("get")
}

func (denied) Check(context.Context, host.Check) (host.CheckAnswer, error) {
	return deny[host.CheckAnswer]("check")
}

func (denied) Query(context.Context, host.DNSQuery) (host.DNSAnswer, error) {
	return deny[host.DNSAnswer]("dns")
}

func (denied) RouteTo(context.Context, netip.Addr) (host.Route, error) {
	return deny[host.Route]("route")
}

// Truncated is a machine of which every file and every command's output ends after keep of a thousand parts, as a read that was
// interrupted or a disk that is full leaves it.
func Truncated(h host.Host, keep int) host.Host { return truncated{h, keep} }

type truncated struct {
	host.Host
	keep int
}

func (t truncated) cut(b []byte) []byte { return b[:len(b)*t.keep/1000] }

func (t truncated) ReadFile(name string) ([]byte, error) {
	b, err := t.Host.ReadFile(name)
	return t.cut(b), err
}

func (t truncated) ReadTail(name string, limit int) ([]byte, error) {
	b, err := t.Host.ReadTail(name, limit)
	return t.cut(b), err
}

func (t truncated) Run(ctx context.Context, argv ...string) (host.Output, error) {
	out, err := t.Host.Run(ctx, argv...)
	out.Stdout, out.Stderr = t.cut(out.Stdout), t.cut(out.Stderr)
	return out, err
}

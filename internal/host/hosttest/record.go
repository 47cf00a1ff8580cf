package hosttest

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

// Record wraps a machine and notes every question and its answer, so that [Recorder.Format] can write a capture from which the same
// questions get the same answers.
//
// While it records, its clock stands still but for Sleep, and a question that is asked again before the next Sleep gets the answer
// that it had: what probes see of the Recorder is exactly what they will see of the capture.
func Record(h host.Host) *Recorder {
	return &Recorder{h: h, at: h.Now(), answers: map[asked]*answer{}}
}

// Recorder is the Host that Record makes.
type Recorder struct {
	h  host.Host
	at time.Time

	mu      sync.Mutex
	elapsed time.Duration
	answers map[asked]*answer
	order   []asked
}

var _ host.Host = (*Recorder)(nil)

// asked is a question at a time.
type asked struct {
	kind kind
	what string // a path, a command line, the words of a capture's section
	at   time.Duration
}

type kind uint8

const (
	kindRead kind = iota
	kindTail
	kindDir
	kindStat
	kindLstat
	kindLink
	kindRun
	kindOther // what names a section by itself
)

type answer struct {
	once  sync.Once
	value any
	err   error
}

// remember asks a question unless it has been asked at this time.
func remember[T any](r *Recorder, k kind, what string, ask func() (T, error)) (T, error) {
	r.mu.Lock()
	key := asked{k, what, r.elapsed}
	a := r.answers[key]
	if a == nil {
		a = &answer{}
		r.answers[key] = a
		r.order = append(r.order, key)
	}
	r.mu.Unlock()
	a.once.Do(func() {
		v, err := ask()
		r.mu.Lock() // Format may look meanwhile, where a question has not come back
		defer r.mu.Unlock()
		a.value, a.err = v, err
	})
	v, _ := a.value.(T)
	return v, a.err
}

// Now is the time at which the recording began, moved on by Sleep.
func (r *Recorder) Now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at.Add(r.elapsed)
}

// Sleep lets time pass, for the machine and for the capture.
func (r *Recorder) Sleep(ctx context.Context, d time.Duration) error {
	err := r.h.Sleep(ctx, d)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.elapsed += d
	return err
}

// Can reports what the machine allows.
func (r *Recorder) Can() host.Capabilities { return r.h.Can() }

// ReadFile records a file.
func (r *Recorder) ReadFile(name string) ([]byte, error) {
	return remember(r, kindRead, name, func() ([]byte, error) { return r.h.ReadFile(name) })
}

// ReadTail records the end of a file, as far as it was asked for.
func (r *Recorder) ReadTail(name string, limit int) ([]byte, error) {
	return remember(r, kindTail, name+"\x00"+strconv.Itoa(limit), func() ([]byte, error) { return r.h.ReadTail(name, limit) })
}

// ReadDir records a listing, and where the symbolic links in it lead: a capture cannot tell of a link without its target.
func (r *Recorder) ReadDir(name string) ([]host.DirEntry, error) {
	entries, err := remember(r, kindDir, name, func() ([]host.DirEntry, error) { return r.h.ReadDir(name) })
	for _, e := range entries {
		if e.Type&fs.ModeSymlink != 0 {
			_, _ = r.Readlink(path.Join(name, e.Name)) // an error is noted as an answer
		}
	}
	return entries, err
}

// Stat records what there is to know of a file.
func (r *Recorder) Stat(name string) (host.FileInfo, error) {
	return remember(r, kindStat, name, func() (host.FileInfo, error) { return r.h.Stat(name) })
}

// Lstat records what there is to know of a file, or of a symbolic link and where it leads.
func (r *Recorder) Lstat(name string) (host.FileInfo, error) {
	fi, err := remember(r, kindLstat, name, func() (host.FileInfo, error) { return r.h.Lstat(name) })
	if fi.Mode&fs.ModeSymlink != 0 {
		_, _ = r.Readlink(name)
	}
	return fi, err
}

// Readlink records where a symbolic link leads.
func (r *Recorder) Readlink(name string) (string, error) {
	return remember(r, kindLink, name, func() (string, error) { return r.h.Readlink(name) })
}

// Run records a command.
func (r *Recorder) Run(ctx context.Context, argv ...string) (host.Output, error) {
	return remember(r, kindRun, strings.Join(argv, " "), func() (host.Output, error) { return r.h.Run(ctx, argv...) })
}

// body is an answer as the text of its section.
type body string

// question records an answer that is one JSON object.
func question[T any](r *Recorder, words string, ask func() (T, error)) (T, error) {
	return remember(r, kindOther, words, ask)
}

// dump records a list, line by line, and hands it out after it is complete: the machine may answer with fewer elements, and an error,
// when it is stopped in between.
func dump[T any](r *Recorder, words string, ask func(each func(*T) error) error, each func(*T) error) error {
	text, err := remember(r, kindOther, words, func() (body, error) {
		var b strings.Builder
		err := ask(func(v *T) error {
			line, err := json.Marshal(v)
			b.Write(line)
			b.WriteByte('\n')
			return err
		})
		return body(b.String()), err
	})
	if err != nil {
		return err
	}
	return lines(string(text), each)
}

// all records a list that is not long.
func all[T any](r *Recorder, words string, ask func() ([]T, error)) ([]T, error) {
	var list []T
	err := dump(r, words, func(each func(*T) error) error {
		list, err := ask()
		for i := range list {
			if err := each(&list[i]); err != nil {
				return err
			}
		}
		return err
	}, func(v *T) error { list = append(list, *v); return nil })
	return list, err
}

// Statfs records the state of a file system.
func (r *Recorder) Statfs(ctx context.Context, name string) (host.Statfs, error) {
	return question(r, "statfs "+name, func() (host.Statfs, error) { return r.h.Statfs(ctx, name) })
}

// Attributes records what chattr(1) set.
func (r *Recorder) Attributes(name string) (host.Attributes, error) {
	return question(r, "attributes "+name, func() (host.Attributes, error) { return r.h.Attributes(name) })
}

// Beneath records what a mount hides.
func (r *Recorder) Beneath(name string) (host.Beneath, error) {
	return question(r, "beneath "+name, func() (host.Beneath, error) { return r.h.Beneath(name) })
}

// MD5 records a file's digest.
func (r *Recorder) MD5(name string) (string, error) {
	return question(r, "md5 "+name, func() (string, error) { return r.h.MD5(name) })
}

// Clock records the state of the kernel's clock.
func (r *Recorder) Clock() (host.Clock, error) { return question(r, "clock", r.h.Clock) }

// Machine records what the kernel runs on.
func (r *Recorder) Machine(ctx context.Context) (host.Machine, error) {
	return question(r, "machine", func() (host.Machine, error) { return r.h.Machine(ctx) })
}

// Links records the interfaces.
func (r *Recorder) Links(ctx context.Context) ([]host.Link, error) {
	return all(r, "links", func() ([]host.Link, error) { return r.h.Links(ctx) })
}

// Addrs records the addresses.
func (r *Recorder) Addrs(ctx context.Context) ([]host.Addr, error) {
	return all(r, "addrs", func() ([]host.Addr, error) { return r.h.Addrs(ctx) })
}

// Rules records the routing rules.
func (r *Recorder) Rules(ctx context.Context) ([]host.Rule, error) {
	return all(r, "rules", func() ([]host.Rule, error) { return r.h.Rules(ctx) })
}

// Qdiscs records the queueing disciplines.
func (r *Recorder) Qdiscs(ctx context.Context) ([]host.Qdisc, error) {
	return all(r, "qdiscs", func() ([]host.Qdisc, error) { return r.h.Qdiscs(ctx) })
}

// Routes records the routing tables.
func (r *Recorder) Routes(ctx context.Context, each func(*host.Route) error) error {
	return dump(r, "routes", func(f func(*host.Route) error) error { return r.h.Routes(ctx, f) }, each)
}

// Neighbours records the neighbour tables.
func (r *Recorder) Neighbours(ctx context.Context, each func(*host.Neighbour) error) error {
	return dump(r, "neighbours", func(f func(*host.Neighbour) error) error { return r.h.Neighbours(ctx, f) }, each)
}

// Sockets records all sockets of a protocol, whichever are wanted: one section holds them all.
func (r *Recorder) Sockets(ctx context.Context, q host.SocketQuery, each func(*host.Socket) error) error {
	words, every := "tcp", q
	if q.UDP {
		words = "udp"
	}
	every.States = 0
	return dump(r, words, func(f func(*host.Socket) error) error { return r.h.Sockets(ctx, every, f) }, func(s *host.Socket) error {
		if q.States != 0 && q.States&(1<<s.State) == 0 {
			return nil
		}
		return each(s)
	})
}

// Ping records an echo.
func (r *Recorder) Ping(ctx context.Context, p host.Ping) (host.Pong, error) {
	return question(r, pingQuestion(p), func() (host.Pong, error) { return r.h.Ping(ctx, p) })
}

// Connect records whether a connection came about.
func (r *Recorder) Connect(ctx context.Context, address netip.AddrPort) (time.Duration, error) {
	return question(r, "connect "+address.String(), func() (time.Duration, error) { return r.h.Connect(ctx, address) })
}

// Get records an HTTP answer.
func (r *Recorder) Get(ctx context.Context, url string, header map[string]string) (host.HTTPAnswer, error) {
	return question(r, "get "+url, func() (host.HTTPAnswer, error) { return r.h.Get(ctx, url, header) })
}

// Query records a DNS answer.
func (r *Recorder) Query(ctx context.Context, q host.DNSQuery) (host.DNSAnswer, error) {
	return question(r, dnsQuestion(q), func() (host.DNSAnswer, error) { return r.h.Query(ctx, q) })
}

// SNTP records a time server's answer.
func (r *Recorder) SNTP(ctx context.Context, server string) (host.SNTPAnswer, error) {
	return question(r, "sntp "+server, func() (host.SNTPAnswer, error) { return r.h.SNTP(ctx, server) })
}

// RouteTo records how the kernel would send a packet.
func (r *Recorder) RouteTo(ctx context.Context, dst netip.Addr) (host.Route, error) {
	return question(r, "route-to "+dst.String(), func() (host.Route, error) { return r.h.RouteTo(ctx, dst) })
}

// Check records the answer to an operator's own question.
func (r *Recorder) Check(ctx context.Context, c host.Check) (host.CheckAnswer, error) {
	return question(r, checkQuestion(c), func() (host.CheckAnswer, error) { return r.h.Check(ctx, c) })
}

func checkQuestion(c host.Check) string { return "check " + c.Name + " " + c.Digest() }

// Exchange records what a service said.
func (r *Recorder) Exchange(ctx context.Context, q host.Question) (host.Reply, error) {
	return question(r, "ask "+q.Socket, func() (host.Reply, error) { return r.h.Exchange(ctx, q) })
}

// ReadCertificate records what there is to know of a certificate.
func (r *Recorder) ReadCertificate(name, key string) (host.KeyPair, error) {
	return question(r, "certificate "+name, func() (host.KeyPair, error) { return r.h.ReadCertificate(name, key) })
}

func dnsQuestion(q host.DNSQuery) string {
	words := fmt.Sprintf("dns %s %s %s", q.Server, q.Name, q.Type)
	if q.Again > 0 {
		words += fmt.Sprintf(" again %d", q.Again)
	}
	return words
}

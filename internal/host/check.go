package host

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"sync/atomic"
	"syscall"
	"time"
)

// Check is a question that an operator declared for his own hosts. Exactly one of the pointers and Command is set. Secrets are in it by
// name only, so that it can be shown, and a capture be keyed by it.
type Check struct {
	Name    string        `json:"name"`
	Timeout time.Duration `json:"timeout"` // to give up after this time is an answer: CheckAnswer.Error
	Limit   int           `json:"limit"`   // bytes that are read of the text
	// Pattern is a regular expression for the text: the body, the file, the output, the banner. It is applied behind the door, on a text
	// without its secrets; nothing but what its named groups hold comes out.
	Pattern string `json:"pattern,omitempty"`

	HTTP        *HTTPCheck        `json:"http,omitempty"`
	TCP         string            `json:"tcp,omitempty"` // HOST:PORT
	File        *FileCheck        `json:"file,omitempty"`
	Certificate *CertificateCheck `json:"certificate,omitempty"`
	Command     []string          `json:"command,omitempty"` // which the operator's list must allow
	Prometheus  *PrometheusCheck  `json:"prometheus,omitempty"`
}

// HTTPCheck fetches a URL.
type HTTPCheck struct {
	URL       string            `json:"url"`
	Method    string            `json:"method"` // GET or HEAD
	Header    map[string]Header `json:"header,omitempty"`
	Redirects int               `json:"redirects,omitempty"` // that are followed
	CA        string            `json:"ca,omitempty"`        // file of certificates to trust instead of the system's
}

// Header is the value of a header: Text, and after it the secret of that name.
type Header struct {
	Text   string `json:"text,omitempty"`
	Secret string `json:"secret,omitempty"`
}

// FileCheck reads a file.
type FileCheck struct {
	Path string `json:"path"`
	Tail bool   `json:"tail,omitempty"` // its end, if it is longer than Limit
}

// CertificateCheck looks at the certificate in a file, or at that which a server shows.
type CertificateCheck struct {
	File    string `json:"file,omitempty"`
	Address string `json:"address,omitempty"` // HOST:PORT
	Name    string `json:"name,omitempty"`    // that it must be for; default: HOST
	CA      string `json:"ca,omitempty"`
}

// PrometheusCheck asks a Prometheus server for the value of an expression now.
type PrometheusCheck struct {
	HTTPCheck
	Query string `json:"query"`
}

// CheckAnswer is what was found. Which fields are set depends on the kind of question.
type CheckAnswer struct {
	// Error is why the thing asked for does not answer, where that is the answer: refused, no such name, a certificate that is not
	// trusted, nothing within Timeout.
	Error       string            `json:"error,omitempty"`
	Took        time.Duration     `json:"took,omitempty"`
	Size        int64             `json:"size,omitempty"`
	Cut         bool              `json:"cut,omitempty"` // the text has more than Limit bytes
	Count       int               `json:"count,omitempty"`
	Groups      map[string]string `json:"groups,omitempty"` // of the first match, those that took part in it
	Status      int               `json:"status,omitempty"`
	Exit        int               `json:"exit,omitempty"`
	File        *FileInfo         `json:"file,omitempty"`
	Certificate *Certificate      `json:"certificate,omitempty"`
	Samples     []Sample          `json:"samples,omitempty"`
	More        int               `json:"more,omitempty"` // samples left out
}

// Certificate is what an X.509 certificate says of itself, and whether it is to be believed.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Untrusted string    `json:"untrusted,omitempty"` // why no chain leads from it to a trusted one, or not for this name
	NoRoots   bool      `json:"no_roots,omitempty"`  // the machine has no list of trusted certificates
}

// Sample is one series' value.
type Sample struct {
	Labels map[string]string `json:"labels,omitempty"`
	Value  string            `json:"value"`
}

// Digest names the question: another URL, pattern or limit is another question.
func (c *Check) Digest() string {
	b, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// errOwnLimit ends a question that took longer than its own Timeout.
var errOwnLimit = errors.New("the check's own time limit")

// Check asks a question that an operator declared. An error means that it could not be asked; that nobody answered is an answer.
func (l *Local) Check(ctx context.Context, c Check) (CheckAnswer, error) {
	pattern, err := regexp.Compile(c.Pattern)
	if err != nil {
		return CheckAnswer{}, fmt.Errorf("check %s: %w", c.Name, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, errOwnLimit)
	defer cancel()
	began := time.Now()
	q := &checking{Local: l, Check: c, pattern: pattern}
	a, err := giveUp(ctx, l, "check "+c.Name+" "+c.Digest(), waitDelay, func() (CheckAnswer, error) { return q.ask(ctx) })
	if q.counting.Load() && ownLimit(ctx) { // whoever was asked has answered
		return CheckAnswer{}, fmt.Errorf("check %s: match takes longer on this text than the check's timeout, %s", c.Name, c.Timeout)
	}
	if err != nil {
		if why := q.failed(ctx, err); why != "" {
			a, err = CheckAnswer{Error: why}, nil
		}
	} else if ctx.Err() != nil && !ownLimit(ctx) {
		err = ctx.Err()
	}
	if err != nil {
		return CheckAnswer{}, concealed{l.Conceal(err.Error()), err}
	}
	if a.Took == 0 {
		a.Took = time.Since(began)
	}
	a.clean(l.Conceal)
	return a, nil
}

func ownLimit(ctx context.Context) bool {
	return context.Cause(ctx) == errOwnLimit //nolint:errorlint // it is this very value
}

// concealed is an error whose text holds no secret.
type concealed struct {
	text string
	err  error
}

func (c concealed) Error() string { return c.text }
func (c concealed) Unwrap() error { return c.err }

// checking is a question on its way.
type checking struct {
	*Local
	Check
	pattern  *regexp.Regexp
	counting atomic.Bool
}

func (q *checking) ask(ctx context.Context) (CheckAnswer, error) {
	switch {
	case q.HTTP != nil:
		return q.askHTTP(ctx, q.HTTP)
	case q.Prometheus != nil:
		return q.askPrometheus(ctx)
	case q.TCP != "":
		return q.askTCP(ctx)
	case q.File != nil:
		return q.readFile(ctx)
	case q.Certificate != nil:
		return q.askCertificate(ctx)
	}
	return q.run(ctx)
}

// unanswered is what the other side did, or did not do: an answer of its own.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

// failed says in words why nobody answered, where the reason is not this process: then it is empty.
func (q *checking) failed(ctx context.Context, err error) string {
	if ownLimit(ctx) && q.File == nil && (q.Certificate == nil || q.Certificate.File == "") {
		return fmt.Sprintf("no answer within %s", q.Timeout)
	}
	u, ok := errors.AsType[unanswered](err)
	if !ok || ctx.Err() != nil {
		return ""
	}
	for _, ours := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, ours) {
			return ""
		}
	}
	return plainCause(u.error)
}

// plainCause is an error without the words that net and net/http put before it, which hold the URL and this machine's port.
func plainCause(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer"
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return cmp.Or(e.Err, "no such host") + ": " + e.Name
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	return err.Error()
}

// readable is a text without everything that looks like a secret: what a pattern is after may be one.
func (q *checking) readable(text string, before, after bool) string {
	if q.Pattern == "" {
		return ""
	}
	return q.concealCut(Redact(text), before, after)
}

// match looks for the pattern in a readable text, once.
func (q *checking) match(a *CheckAnswer, text string) {
	if q.Pattern == "" {
		return
	}
	at := q.pattern.FindStringSubmatchIndex(text)
	if at == nil {
		return
	}
	a.Count = 1
	for i, name := range q.pattern.SubexpNames() {
		if name == "" || at[2*i] < 0 {
			continue
		}
		if a.Groups == nil {
			a.Groups = map[string]string{}
		}
		group := text[at[2*i]:at[2*i+1]]
		if len(group) > maxGroup {
			group = group[:maxGroup]
		}
		a.Groups[name] = group
	}
}

// count counts the matches. One takes time in proportion to the text, all of them perhaps in proportion to its square, and regexp
// cannot be told to stop. Of its functions only ReplaceAllStringFunc says when it has found one; a panic leads out of it.
func (q *checking) count(ctx context.Context, a *CheckAnswer, text string) {
	if a.Count == 0 {
		return
	}
	type enough struct{}
	defer func() {
		if r := recover(); r != nil && r != any(enough{}) {
			panic(r)
		}
	}()
	q.counting.Store(true)
	n := 0
	q.pattern.ReplaceAllStringFunc(text, func(string) string {
		if ctx.Err() != nil {
			panic(enough{}) // still counting
		}
		if n++; n == maxMatches {
			a.Count = n
			q.counting.Store(false)
			panic(enough{})
		}
		return ""
	})
	a.Count = n
	q.counting.Store(false)
}

const (
	maxMatches = 100_000 // counted
	maxGroup   = 1024    // bytes kept of a group
)

// texts are those of an answer that somebody else wrote.
func (a *CheckAnswer) texts() []*string {
	list := []*string{&a.Error}
	if c := a.Certificate; c != nil {
		list = append(list, &c.Subject, &c.Issuer, &c.Untrusted)
		for i := range c.Names {
			list = append(list, &c.Names[i])
		}
	}
	return list
}

// clean applies a redaction to every text of an answer.
func (a *CheckAnswer) clean(redact func(string) string) {
	for _, text := range a.texts() {
		*text = redact(*text)
	}
	for k, v := range a.Groups {
		a.Groups[k] = redact(v)
	}
	for _, s := range a.Samples {
		for k, v := range s.Labels {
			s.Labels[k] = redact(v)
		}
	}
}

package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxHeader is the most that a server may say before the body.
const maxHeader = 64 << 10

// askHTTP fetches a URL. It knows no proxy and no cookies, and follows no more redirects than it was told.
func (q *checking) askHTTP(ctx context.Context, h *HTTPCheck) (CheckAnswer, error) {
	a, _, err := q.fetch(ctx, h)
	return a, err
}

// fetch fetches a URL and returns the body beside the answer.
func (q *checking) fetch(ctx context.Context, h *HTTPCheck) (CheckAnswer, string, error) {
	if q.Offline {
		return CheckAnswer{}, "", ErrOffline
	}
	req, err := http.NewRequestWithContext(ctx, h.Method, h.URL, nil)
	if err != nil {
		return CheckAnswer{}, "", err
	}
	secret, err := q.setHeader(req, h.Header)
	if err != nil {
		return CheckAnswer{}, "", err
	}
	roots, err := q.roots(h.CA)
	if err != nil {
		return CheckAnswer{}, "", err
	}
	client := http.Client{
		Transport: &http.Transport{ // Proxy nil: none
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) > h.Redirects {
				return http.ErrUseLastResponse
			}
			// net/http itself only keeps back Authorization and Cookie.
			if first := via[0].URL; next.URL.Host != first.Host || next.URL.Scheme != first.Scheme {
				for _, name := range secret {
					next.Header.Del(name)
				}
			}
			return nil
		},
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return CheckAnswer{}, "", unanswered{err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(q.Limit)+1))
	if err != nil {
		return CheckAnswer{}, "", unanswered{fmt.Errorf("its answer breaks off: %w", err)}
	}
	a := CheckAnswer{Status: resp.StatusCode, Took: time.Since(began), Size: int64(len(body))}
	if len(body) > q.Limit {
		body, a.Cut, a.Size = body[:q.Limit], true, max(a.Size, resp.ContentLength)
	}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		a.Certificate = describe(resp.TLS.PeerCertificates[0])
	}
	text := string(body)
	if givesCredentials(resp.Request.URL.String()) { // the cloud's metadata service
		text = ""
	}
	q.match(&a, q.readable(text, false, a.Cut))
	return a, text, nil
}

// setHeader fills in the headers and returns the names of those that hold a secret.
func (q *checking) setHeader(req *http.Request, header map[string]Header) (secret []string, err error) {
	req.Header.Set("User-Agent", "hostmend")
	for name, h := range header {
		value := h.Text
		if h.Secret != "" {
			s, err := q.secret(h.Secret)
			if err != nil {
				return nil, err
			}
			value += s
			secret = append(secret, name)
		}
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	return secret, nil
}

// roots are the certificates to trust; nil: the system's.
func (q *checking) roots(ca string) (*x509.CertPool, error) {
	if ca == "" {
		return nil, nil
	}
	data, _, _, err := readRegular(ca, maxCertificates, false)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", ca)
	}
	return pool, nil
}

// maxCertificates is more than the bundle of a distribution has, 220 KiB.
const maxCertificates = 1 << 20

// maxSamples are kept of what a Prometheus server answers.
const maxSamples = 1000

// askPrometheus asks for an expression's value: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
func (q *checking) askPrometheus(ctx context.Context) (CheckAnswer, error) {
	h := q.Prometheus.HTTPCheck
	h.Method = http.MethodGet
	h.URL = strings.TrimSuffix(h.URL, "/") + "/api/v1/query?" + url.Values{"query": {q.Prometheus.Query}}.Encode()
	a, body, err := q.fetch(ctx, &h)
	if err != nil {
		return a, err
	}
	var reply struct {
		Status, Error string
		Data          struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		}
	}
	if a.Cut {
		return a, fmt.Errorf("its answer is %w of %d bytes", ErrTooLarge, q.Limit)
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil || reply.Status != "success" {
		a.Error = fmt.Sprintf("HTTP status %d", a.Status)
		if reply.Error != "" {
			a.Error += ": " + firstLine(q.Conceal(reply.Error)) // before it is cut, so that half a secret is none
		} else if a.Status == http.StatusOK {
			a.Error = "this is no answer of Prometheus"
		}
		return a, nil
	}
	a.Samples, err = samples(reply.Data.ResultType, reply.Data.Result)
	if err != nil {
		a.Error = err.Error()
	}
	if n := len(a.Samples); n > maxSamples {
		a.Samples, a.More = a.Samples[:maxSamples], n-maxSamples
	}
	return a, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line[:min(len(line), 200)]
}

// samples reads a vector or a scalar. A value is [time, "text"].
func samples(kind string, result json.RawMessage) ([]Sample, error) {
	text := func(v []json.RawMessage) string {
		s := ""
		if len(v) == 2 {
			_ = json.Unmarshal(v[1], &s) // what is no text is no number either
		}
		return s
	}
	switch kind {
	case "scalar":
		var v []json.RawMessage
		err := json.Unmarshal(result, &v)
		return []Sample{{Value: text(v)}}, err
	case "vector":
		var list []struct {
			Metric map[string]string
			Value  []json.RawMessage
		}
		err := json.Unmarshal(result, &list)
		out := make([]Sample, len(list))
		for i, s := range list {
			out[i] = Sample{Labels: s.Metric, Value: text(s.Value)}
		}
		return out, err
	}
	return nil, fmt.Errorf("the expression gives a %s, and a check wants an instant vector or a scalar", kind)
}

// askTCP opens a connection, sends nothing, and listens for what the pattern wants.
func (q *checking) askTCP(ctx context.Context) (CheckAnswer, error) {
	conn, a, err := q.dial(ctx, q.TCP)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	defer heed(ctx, conn)()
	text := make([]byte, 0, 512)
	buf := make([]byte, 512)
	looked := 0
	for end := q.Pattern == ""; !end && a.Count == 0; {
		n, err := conn.Read(buf)
		text = append(text, buf[:n]...)
		a.Cut = len(text) >= q.Limit
		end = err != nil || a.Cut
		if end || len(text) < greeting || len(text) >= 2*looked {
			looked = len(text)
			q.match(&a, q.readable(string(text), false, true))
		}
	}
	a.Size = int64(len(text))
	return a, nil
}

// greeting is more than a server says before it waits for us. Up to there every piece is looked at, beyond it only what is twice as long as
// the last: to look at all of it each time takes the square of its length.
const greeting = 4 << 10

func (q *checking) dial(ctx context.Context, address string) (net.Conn, CheckAnswer, error) {
	if q.Offline {
		return nil, CheckAnswer{}, ErrOffline
	}
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, CheckAnswer{}, unanswered{err}
	}
	return conn, CheckAnswer{Took: time.Since(began)}, nil
}

// askCertificate looks at a certificate. Of a file that also holds a key nothing but the certificates is taken.
func (q *checking) askCertificate(ctx context.Context) (CheckAnswer, error) {
	c := q.Certificate
	roots, err := q.roots(c.CA)
	if err != nil {
		return CheckAnswer{}, err
	}
	if c.File != "" {
		data, _, _, err := readRegular(c.File, maxCertificates, true)
		if err != nil {
			return CheckAnswer{}, err
		}
		chain, err := parseCertificates(data)
		if err != nil {
			return CheckAnswer{Error: err.Error()}, nil
		}
		return CheckAnswer{Certificate: judge(chain, c.Name, roots)}, nil
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return CheckAnswer{}, err
	}
	name := c.Name
	if name == "" {
		name = host
	}
	conn, a, err := q.dial(ctx, c.Address)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	defer heed(ctx, conn)()
	var chain []*x509.Certificate
	// Whether it is to be believed is judged below; a server that wants a certificate of ours breaks off after it has shown its own.
	err = tls.Client(conn, &tls.Config{
		ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			for _, der := range raw {
				if cert, err := x509.ParseCertificate(der); err == nil {
					chain = append(chain, cert)
				}
			}
			return nil
		},
	}).HandshakeContext(ctx)
	if len(chain) == 0 {
		if err == nil {
			err = errors.New("it shows no certificate")
		}
		return CheckAnswer{}, unanswered{err}
	}
	a.Certificate = judge(chain, name, roots)
	return a, nil
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	isPEM := false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		isPEM = true
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if !isPEM {
		if cert, err := x509.ParseCertificate(data); err == nil {
			chain = append(chain, cert)
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate is in it")
	}
	return chain, nil
}

// judge describes the first certificate and tries to find a chain from it, by way of the others, to a trusted one.
func judge(chain []*x509.Certificate, name string, roots *x509.CertPool) *Certificate {
	c := describe(chain[0])
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if _, none := errors.AsType[x509.SystemRootsError](err); none {
		c.NoRoots = true
	} else if err != nil {
		c.Untrusted = strings.TrimPrefix(err.Error(), "x509: ")
	}
	return c
}

func describe(cert *x509.Certificate) *Certificate {
	c := &Certificate{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Names: append([]string{}, cert.DNSNames...),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
	}
	for _, ip := range cert.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	return c
}

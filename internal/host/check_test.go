package host

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const canary = "canary-7f3a/91+xQ"

// operator is a machine with an operator's directory in it.
func operator(t *testing.T, files map[string]string) *Local {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the operator's files must be root's")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &Local{OperatorDir: dir}
}

func mustCheck(t *testing.T, l *Local, c Check) CheckAnswer {
	t.Helper()
	a, err := l.Check(t.Context(), bounded(c))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// bounded gives a check the limits that every loaded one has.
func bounded(c Check) Check {
	if c.Name == "" {
		c.Name = "test"
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Limit == 0 {
		c.Limit = 64 << 10
	}
	return c
}

func TestCheckHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			fmt.Fprintf(w, `{"version": "1.4.2", "queue": 17, "token": "%s"}`, canary)
		case "/hop":
			http.Redirect(w, r, "/health", http.StatusFound)
		case "/long":
			w.Header().Set("Content-Length", "4000")
			_, _ = w.Write([]byte(strings.Repeat("x", 4000)))
		case "/slow":
			<-r.Context().Done()
		default:
			http.Error(w, "gone", http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	ask := func(path string, redirects int) Check {
		return Check{Pattern: `"version": "(?P<version>[^"]+)", "queue": (?P<queue>\d+), "token": "(?P<token>[^"]*)"`, HTTP: &HTTPCheck{URL: srv.URL + path, Method: "GET", Redirects: redirects}}
	}
	l := &Local{}
	a := mustCheck(t, l, ask("/health", 0))
	if a.Status != 200 || a.Count != 1 || a.Groups["version"] != "1.4.2" || a.Groups["queue"] != "17" || a.Took == 0 || a.Error != "" {
		t.Errorf("%+v", a)
	}
	if a.Groups["token"] != gone {
		t.Errorf("a pattern took %q out of the body", a.Groups["token"])
	}
	if a := mustCheck(t, l, ask("/hop", 0)); a.Status != 302 {
		t.Errorf("a redirect was followed: %+v", a)
	}
	if a := mustCheck(t, l, ask("/hop", 1)); a.Status != 200 || a.Count != 1 {
		t.Errorf("a redirect was not followed: %+v", a)
	}
	if a := mustCheck(t, l, ask("/other", 0)); a.Status != 503 || a.Count != 0 {
		t.Errorf("%+v", a)
	}
	long := ask("/long", 0)
	long.Limit = 1024
	if a := mustCheck(t, l, long); !a.Cut || a.Size != 4000 || a.Count != 0 {
		t.Errorf("%+v", a)
	}
	slow := ask("/slow", 0)
	slow.Timeout = 100 * time.Millisecond
	if a := mustCheck(t, l, slow); a.Error != "no answer within 100ms" {
		t.Errorf("%+v", a)
	}
	srv.Close()
	if a := mustCheck(t, l, ask("/health", 0)); a.Error != "connection refused" {
		t.Errorf("%+v", a)
	}
	if _, err := (&Local{Offline: true}).Check(t.Context(), bounded(ask("/health", 0))); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a, err := l.Check(ctx, bounded(ask("/slow", 0))); err == nil {
		t.Errorf("cancelled, it says %+v", a)
	}
}

// A secret reaches its server and nobody else, and comes out nowhere, whatever the server sends back.
func TestCheckSecret(t *testing.T) {
	l := operator(t, map[string]string{"secrets/token": canary + "\n"})
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, fmt.Sprint(r.Header))
	}))
	defer other.Close()
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("X-Api-Key")
		if r.URL.Path == "/away" {
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
			return
		}
		fmt.Fprintf(w, "you said %s or %s end", got, base64.StdEncoding.EncodeToString([]byte(canary)))
	}))
	defer srv.Close()
	c := Check{Pattern: "you said (?P<said>.*) end", HTTP: &HTTPCheck{URL: srv.URL, Method: "GET", Redirects: 1, Header: map[string]Header{"X-Api-Key": {Secret: "token"}}}}
	a := mustCheck(t, l, c)
	if got != canary {
		t.Errorf("the server got %q", got)
	}
	if a.Groups["said"] != gone+" or "+gone {
		t.Errorf("out came %q", a.Groups["said"])
	}
	c.HTTP.URL = srv.URL + "/away"
	if mustCheck(t, l, c); len(elsewhere) != 1 || strings.Contains(elsewhere[0], "canary") {
		t.Errorf("another server got %q", elsewhere)
	}
	if s := Redacted(l).text("log", "key is "+canary, (*scrubber).lines); strings.Contains(s, canary) {
		t.Errorf("another answer holds it: %s", s)
	}
	for mode, want := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false} {
		if err := os.Chmod(l.operatorFile("secrets/token"), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := l.secret("token"); (err == nil) != want {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, name := range []string{"../commands.yaml", "", "a/b", ".."} {
		if _, err := l.secret(name); err == nil || !strings.Contains(err.Error(), "is no name of a secret") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// testCA makes an authority and a server's certificate of it.
func testCA(t *testing.T, until time.Time) (ca, cert, key []byte) {
	t.Helper()
	issue := func(tmpl, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer, parent = k, tmpl
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &k.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, k
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER, rootKey := issue(root, nil, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "shop"}, DNSNames: []string{"shop.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
	}
	leafDER, leafKey := issue(leaf, root, rootKey)
	k, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(typ string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}) }
	return block("CERTIFICATE", rootDER), block("CERTIFICATE", leafDER), block("EC PRIVATE KEY", k)
}

func TestCheckTLS(t *testing.T) {
	until := time.Now().Add(240 * time.Hour).Truncate(time.Second)
	ca, cert, key := testCA(t, until)
	dir := t.TempDir()
	caFile, pair := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "pair.crt")
	if err := errors.Join(os.WriteFile(caFile, ca, 0o644), os.WriteFile(pair, append(cert, key...), 0o600)); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.TLS = tlsConfig(t, cert, key)
	srv.Config.ErrorLog = discard
	srv.StartTLS()
	defer srv.Close()
	l := &Local{}
	a := mustCheck(t, l, Check{HTTP: &HTTPCheck{URL: srv.URL, Method: "GET", CA: caFile}})
	if a.Status != 200 || a.Certificate == nil || !a.Certificate.NotAfter.Equal(until) {
		t.Errorf("%+v", a)
	}
	if a := mustCheck(t, l, Check{HTTP: &HTTPCheck{URL: srv.URL, Method: "GET"}}); !strings.Contains(a.Error, "certificate") {
		t.Errorf("an authority that nobody trusts: %+v", a)
	}
	address := srv.Listener.Addr().String()
	a = mustCheck(t, l, Check{Certificate: &CertificateCheck{Address: address, CA: caFile}})
	if c := a.Certificate; c == nil || c.Untrusted != "" || c.Subject != "CN=shop" || c.Issuer != "CN=test authority" || len(c.Names) != 2 {
		t.Errorf("%+v %+v", a, a.Certificate)
	}
	a = mustCheck(t, l, Check{Certificate: &CertificateCheck{Address: address, CA: caFile, Name: "other.test"}})
	if c := a.Certificate; c == nil || !strings.Contains(c.Untrusted, "not other.test") {
		t.Errorf("%+v %+v", a, a.Certificate)
	}
	a = mustCheck(t, l, Check{Certificate: &CertificateCheck{File: pair, CA: caFile, Name: "shop.test"}})
	if c := a.Certificate; c == nil || c.Untrusted != "" {
		t.Errorf("a file with its key in it: %+v", a)
	}
	a = mustCheck(t, l, Check{Certificate: &CertificateCheck{File: "/etc/hostname", CA: caFile}})
	if a.Error != "no certificate is in it" {
		t.Errorf("%+v", a)
	}
	if _, err := l.Check(t.Context(), bounded(Check{File: &FileCheck{Path: pair}, Pattern: "(?P<all>.*)"})); !errors.Is(err, ErrForbidden) {
		t.Errorf("a file check read a key: %v", err)
	}
}

func TestCheckExpired(t *testing.T) {
	ca, cert, _ := testCA(t, time.Now().Add(-time.Hour))
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/ca", ca, 0o644), os.WriteFile(dir+"/cert", cert, 0o644)); err != nil {
		t.Fatal(err)
	}
	a := mustCheck(t, &Local{}, Check{Certificate: &CertificateCheck{File: dir + "/cert", CA: dir + "/ca"}})
	if a.Certificate == nil || !strings.Contains(a.Certificate.Untrusted, "expired") {
		t.Errorf("%+v", a.Certificate)
	}
}

func TestCheckTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 mail."))
			_, _ = conn.Write([]byte("test ESMTP\r\n"))
			defer conn.Close()
		}
	}()
	l := &Local{}
	a := mustCheck(t, l, Check{TCP: listener.Addr().String(), Pattern: `^220 (?P<name>\S+) `})
	if a.Count != 1 || a.Groups["name"] != "mail.test" {
		t.Errorf("%+v", a)
	}
	a = mustCheck(t, l, Check{TCP: listener.Addr().String(), Pattern: `^554`, Timeout: 200 * time.Millisecond})
	if a.Count != 0 || a.Error != "" {
		t.Errorf("another greeting: %+v", a)
	}
	listener.Close()
	if a := mustCheck(t, l, Check{TCP: listener.Addr().String()}); a.Error != "connection refused" {
		t.Errorf("%+v", a)
	}
	if a := mustCheck(t, l, Check{TCP: "shop.invalid:80"}); a.Error == "" {
		t.Errorf("%+v", a)
	}
}

func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "app.conf")
	if err := os.WriteFile(name, []byte("workers = 8\npassword = hunter2hunter2\nworkers = 9\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	l := &Local{}
	a := mustCheck(t, l, Check{File: &FileCheck{Path: name}, Pattern: `(?m)^workers = (?P<n>\d+)$`})
	if a.File == nil || a.File.Mode.Perm() != 0o640 || a.Count != 2 || a.Groups["n"] != "8" {
		t.Errorf("%+v", a)
	}
	if a := mustCheck(t, l, Check{File: &FileCheck{Path: name}, Pattern: `password = (?P<p>.*)`}); a.Groups["p"] != gone {
		t.Errorf("a pattern took %q out of a file", a.Groups["p"])
	}
	if a := mustCheck(t, l, Check{File: &FileCheck{Path: name, Tail: true}, Limit: 14, Pattern: `workers = (?P<n>\d+)`}); a.Groups["n"] != "9" || a.Cut {
		t.Errorf("the end: %+v", a)
	}
	if a := mustCheck(t, l, Check{File: &FileCheck{Path: dir + "/none"}, Pattern: "x"}); a.File != nil || a.Error != "" {
		t.Errorf("no file: %+v", a)
	}
	if err := errors.Join(syscall.Mkfifo(dir+"/fifo", 0o600), os.Symlink("/etc/shadow", dir+"/link"), os.Symlink("/proc/self/environ", dir+"/env")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"/etc/shadow", "/etc/shadow-", "/proc/self/environ", "/proc/1/environ", "/proc/kmsg", "/dev/null", "/dev/kmsg", dir + "/fifo", dir, dir + "/link", dir + "/env",
		"/etc/hostmend/secrets/x", "/etc/ssh/ssh_host_rsa_key", "/root/.ssh/id_ed25519", "/root/.pgpass", "/etc/ssl/private/shop.key",
	} {
		if a, err := l.Check(t.Context(), bounded(Check{File: &FileCheck{Path: name}, Pattern: "."})); !errors.Is(err, ErrForbidden) && a.File != nil {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
	for _, name := range []string{
		"/var/lib/docker/overlay2/0a/diff/etc/shadow", "/srv/chroot/etc/gshadow-", "/srv/chroot/etc/security/opasswd", "/run/secrets/db", "/run/credentials/app.service/key",
		"/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets/kubernetes.io/serviceaccount/..2026_11/token", "/etc/kubernetes/admin.conf", "/root/.kube/config",
		"/var/lib/kubelet/pods/1/volumes/kubernetes.io~secret/db/password", "/var/lib/kubelet/pods/1/volumes/kubernetes.io~projected/api/..1/token", "/var/lib/kubelet/kubeconfig",
		"/etc/rancher/k3s/k3s.yaml", "/etc/NetworkManager/system-connections/wlan.nmconnection", "/etc/ppp/chap-secrets", "/etc/wireguard/wg0.conf", "/srv/app/.env", "/srv/app/.env.production",
	} {
		if Forbidden(name) == "" {
			t.Errorf("%s may be read", name)
		}
	}
	for _, name := range []string{
		"/etc/ssh/ssh_host_rsa_key.pub", "/root/.ssh/authorized_keys", "/proc/meminfo", "/proc/1/status", "/etc/keyboard", "/srv/app/environment", "/etc/kubernetes/manifests/etcd.yaml",
		"/var/lib/kubelet/pods/1/volumes/kubernetes.io~projected/api/ca.crt", "/etc/NetworkManager/NetworkManager.conf", "/run/secretsfile", "/etc/ppp/options",
	} {
		if why := Forbidden(name); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
}

// The kernel's files are the same wherever they are mounted.
func TestCheckKernelFileElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	dir := filepath.Join(t.TempDir(), "a b")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(dir+"/proc", 0o700), os.Mkdir(dir+"/one", 0o700), os.WriteFile(dir+"/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	self := fmt.Sprintf("/proc/%d", os.Getpid())
	mount := func(source, target, kind string, flags uintptr) {
		t.Helper()
		if err := syscall.Mount(source, target, kind, flags, ""); err != nil {
			t.Skipf("mounting %s: %v", target, err) // a container without the right to
		}
		t.Cleanup(func() { _ = syscall.Unmount(target, syscall.MNT_DETACH) })
	}
	mount("proc", dir+"/proc", "proc", 0)
	mount(self, dir+"/one", "", syscall.MS_BIND)
	mount(self+"/environ", dir+"/file", "", syscall.MS_BIND)
	for _, name := range []string{dir + "/proc/self/environ", dir + "/proc" + "/1/environ", dir + "/one/environ", dir + "/file", dir + "/proc/keys"} {
		if a, err := (&Local{}).Check(t.Context(), bounded(Check{File: &FileCheck{Path: name}, Pattern: "."})); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
	for _, name := range []string{dir + "/proc/meminfo", dir + "/one/status"} {
		if a := mustCheck(t, &Local{}, Check{File: &FileCheck{Path: name}, Pattern: "."}); a.Count == 0 {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// Where each match looks to the end of the text, all of them take its square. That is no answer, and nothing goes on behind it.
func TestCheckPatternIsStopped(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, []byte(strings.Repeat("a", 300_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &Local{}
	began := time.Now()
	_, err := l.Check(t.Context(), bounded(Check{File: &FileCheck{Path: name}, Limit: 1 << 20, Timeout: 200 * time.Millisecond, Pattern: `a.*z|(?P<q>a)`}))
	if err == nil || !strings.Contains(err.Error(), "match takes longer on this text") {
		t.Errorf("it says %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	for range 100 {
		l.mu.Lock()
		left := len(l.stuck)
		l.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the search goes on")
}

// A server may send a secret back in any writing, and a text may end in the middle of it.
func TestConcealForms(t *testing.T) {
	l := operator(t, map[string]string{
		"secrets/token": `can/ary<7>"f3a'91&` + "\n", "secrets/basic": base64.StdEncoding.EncodeToString([]byte("monitor:canary-password")) + "\n",
	})
	l.Secrets = []string{"token", "basic"}
	for _, text := range []string{
		`{"key": "can/ary<7>\"f3a'91&"}`, `{"key": "can\/ary<7>\"f3a'91&"}`, `{"key": "can/ary\u003c7\u003e\"f3a'91\u0026"}`, "<p>can/ary&lt;7&gt;&#34;f3a&#39;91&amp;</p>",
		"<p>can/ary&lt;7&gt;&quot;f3a&#x27;91&amp;</p>", "<p>can/ary&lt;7&gt;&quot;f3a'91&amp;</p>", "user monitor:canary-password is wrong", "password canary-password is wrong",
	} {
		if got := l.Conceal(text); !strings.Contains(got, gone) || strings.Contains(got, "ary") || strings.Contains(got, "91") {
			t.Errorf("%s: %s", text, got)
		}
	}
	for _, c := range []struct {
		text          string
		before, after bool
		want          string
	}{
		{"it said canary-pass", false, true, "it said "},
		{"ary-password, it said", true, false, ", it said"},
		{"it said can", false, true, "it said can"},
		{"it said canary-pass", false, false, "it said canary-pass"},
		{"canary-pass", true, true, ""},
	} {
		if got := l.concealCut(c.text, c.before, c.after); got != c.want {
			t.Errorf("%q becomes %q", c.text, got)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("x", 1014)+"canary-password")
	}))
	defer srv.Close()
	a := mustCheck(t, l, Check{Pattern: "x(?P<said>[^x]*)$", Limit: 1024, HTTP: &HTTPCheck{URL: srv.URL, Method: "GET"}})
	if a.Groups["said"] != "" || !a.Cut {
		t.Errorf("the half of a secret: %+v", a)
	}
}

func TestSecretsBelowWhatIsNotRoots(t *testing.T) {
	l := operator(t, map[string]string{"secrets/token": canary + "\n"})
	if err := os.Chmod(l.OperatorDir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := l.secret("token"); err == nil || !strings.Contains(err.Error(), "lets others in") {
		t.Errorf("it says %v", err)
	}
}

func TestCheckCommand(t *testing.T) {
	l := operator(t, map[string]string{"commands.yaml": `commands:
  - argv: [/usr/bin/printf, "%s queued\n", {match: "[0-9]{1,3}"}]
  - argv: [/bin/sh, -c, "exit 3"]
  - argv: [/usr/bin/env]
  - argv: [/usr/bin/sleep, "60"]
  - argv: [/usr/bin/absent]
`})
	a := mustCheck(t, l, Check{Command: []string{"/usr/bin/printf", "%s queued\n", "17"}, Pattern: `^(?P<n>\d+) queued`})
	if a.Exit != 0 || a.Groups["n"] != "17" {
		t.Errorf("%+v", a)
	}
	if a := mustCheck(t, l, Check{Command: []string{"/bin/sh", "-c", "exit 3"}}); a.Exit != 3 {
		t.Errorf("%+v", a)
	}
	t.Setenv("CANARY", canary)
	if a := mustCheck(t, l, Check{Command: []string{"/usr/bin/env"}, Pattern: "CANARY"}); a.Count != 0 {
		t.Error("the environment went along")
	}
	if a := mustCheck(t, l, Check{Command: []string{"/usr/bin/sleep", "60"}, Timeout: 200 * time.Millisecond}); a.Error != "no answer within 200ms" {
		t.Errorf("%+v", a)
	}
	if _, err := l.Check(t.Context(), bounded(Check{Command: []string{"/usr/bin/absent"}})); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	for _, argv := range [][]string{
		{"/usr/bin/printf", "%s queued\n", "1234"}, {"/usr/bin/printf", "%s queued\n", "17\n"}, {"/usr/bin/printf", "%s queued\n"}, {"/usr/bin/env", "x"}, {"env"},
	} {
		if _, err := l.Check(t.Context(), bounded(Check{Command: argv})); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%q: %v", argv, err)
		}
	}
	spoilt := filepath.Join(t.TempDir(), "tool") // below a directory that everybody may write to
	if err := os.Symlink("/usr/bin/printf", spoilt); err != nil {
		t.Fatal(err)
	}
	list := l.operatorFile("commands.yaml")
	if err := trustProgram(spoilt); err == nil || !strings.Contains(err.Error(), "lets others in") {
		t.Errorf("a program in /tmp: %v", err)
	}
	for _, spoil := range []func() error{
		func() error { return os.Chmod(list, 0o622) },
		func() error { return errors.Join(os.Chmod(list, 0o600), os.Chown(list, 1, 0)) },
		func() error { return errors.Join(os.Chown(list, 0, 0), os.Chmod(filepath.Dir(list), 0o777)) },
		func() error { return errors.Join(os.Chmod(filepath.Dir(list), 0o700), os.Remove(list)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Check(t.Context(), bounded(Check{Command: []string{"/bin/sh", "-c", "exit 3"}})); err == nil {
			t.Error("it ran by a list that others may write")
		}
	}
}

func TestParseCommands(t *testing.T) {
	for _, bad := range []string{
		"commands: [{argv: []}]", "commands: [{argv: [sh]}]", "commands: [{argv: [/bin/x, {match: ''}]}]", "commands: [{argv: [/bin/x, {match: '('}]}]",
		"commands: [{argv: [/bin/x], shell: true}]", "command: []", "commands: [{argv: [/bin/../x]}]", "commands: [{argv: [{match: .*}]}]",
		"commands: [{argv: [/bin/x, {match: 'a)|(?:b'}]}]",
	} {
		if _, err := ParseCommands([]byte(bad)); err == nil {
			t.Errorf("%s is taken for a list of commands", bad)
		}
	}
}

// A server speaks as Prometheus does: https://prometheus.io/docs/prometheus/latest/querying/api/
func TestCheckPrometheus(t *testing.T) {
	answers := map[string]string{
		"up":    `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1763.781,"1"]},{"metric":{"job":"b"},"value":[1763.781,"NaN"]}]}}`,
		"1":     `{"status":"success","data":{"resultType":"scalar","result":[1763.781,"1"]}}`,
		"up[1]": `{"status":"success","data":{"resultType":"matrix","result":[]}}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := answers[r.URL.Query().Get("query")]
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			a = `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:1: parse error"}`
		}
		_, _ = w.Write([]byte(a))
	}))
	defer srv.Close()
	ask := func(query string) CheckAnswer {
		p := &PrometheusCheck{Query: query}
		p.URL = srv.URL + "/"
		return mustCheck(t, &Local{}, Check{Prometheus: p})
	}
	if a := ask("up"); len(a.Samples) != 2 || a.Samples[0].Labels["job"] != "a" || a.Samples[0].Value != "1" || a.Samples[1].Value != "NaN" {
		t.Errorf("%+v", a)
	}
	if a := ask("1"); len(a.Samples) != 1 || a.Samples[0].Value != "1" {
		t.Errorf("%+v", a)
	}
	if a := ask("up[1]"); !strings.Contains(a.Error, "matrix") {
		t.Errorf("%+v", a)
	}
	if a := ask("("); !strings.Contains(a.Error, "HTTP status 400: invalid parameter") {
		t.Errorf("%+v", a)
	}
}

var discard = log.New(io.Discard, "", 0) // the server's complaints about our refusals

func tlsConfig(t *testing.T, cert, key []byte) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// The real one, where it is installed (Debian: prometheus); PROMETHEUS names it elsewhere.
func TestCheckRealPrometheus(t *testing.T) {
	program := os.Getenv("PROMETHEUS")
	if program == "" {
		program = "prometheus"
	}
	program, err := exec.LookPath(program)
	if err != nil {
		t.Skip("prometheus is not installed; PROMETHEUS may name it")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	config := "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: self, static_configs: [{targets: ['" + address + "']}]}]\n"
	if err := os.WriteFile(dir+"/prometheus.yml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	ask := func(query string) CheckAnswer {
		p := &PrometheusCheck{Query: query}
		p.URL = "http://" + address
		return mustCheck(t, &Local{}, Check{Prometheus: p})
	}
	a := ask("up")
	for range 150 { // 30 s
		if len(a.Samples) > 0 {
			break
		}
		time.Sleep(200 * time.Millisecond)
		a = ask("up")
	}
	if len(a.Samples) != 1 || a.Samples[0].Value != "1" || a.Samples[0].Labels["job"] != "self" {
		t.Fatalf("up: %+v", a)
	}
	if a := ask("6 * 7"); len(a.Samples) != 1 || a.Samples[0].Value != "42" {
		t.Errorf("a scalar: %+v", a)
	}
	if a := ask("up == 2"); a.Error != "" || len(a.Samples) != 0 {
		t.Errorf("no samples: %+v", a)
	}
	if a := ask("up[5m]"); !strings.Contains(a.Error, "matrix") {
		t.Errorf("a range: %+v", a)
	}
	if a := ask("sum("); !strings.Contains(a.Error, "parse error") {
		t.Errorf("no expression: %+v", a)
	}
}

// A metadata service takes every spelling of its paths.
func TestGivesCredentials(t *testing.T) {
	const base = "http://100.100.100.200/latest/"
	for p, want := range map[string]bool{
		"meta-data/ram/security-credentials/role": true, "meta-data/ram/security%2Dcredentials/role": true, "meta-data/ram//security-credentials//role": true,
		"meta-data/ram/x/../security-credentials/role?a": true, "meta-data/ram/security-credentials%2Frole/": true, "user%2ddata": true, "./user-data": true, "%zz": true,
		"meta-data/ram/security-credentials/": false, "meta-data/user-data-source": false, "meta-data/instance-id": false,
	} {
		if givesCredentials(base+p) != want {
			t.Errorf("%s: %t", p, !want)
		}
	}
}

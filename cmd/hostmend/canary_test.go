package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
)

// canaries are lines as files, logs and programs have them, each with a secret between « and », which are not part of it. They are
// put together of pieces so that no scanner takes them for real ones.
func canaries() []string {
	b64 := func(n int) string { // bytes as of a key, in base64
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		var b strings.Builder
		for i, x := 0, uint32(n)*2654435761; i < n; i++ {
			x = x*1664525 + 1013904223
			b.WriteByte(digits[x>>26])
		}
		return b.String()
	}
	return []string{
		"DB_PASSWORD=«canary-01»",
		"db password: «canary-02»",
		`{"user": "bob", "password": "«canary-03 with space»", "n": 1}`,
		`{"m": "{\"client_secret\": \"«canary-04»\"}"}`,
		"app --password «canary-05» --port 80",
		"app --api-key=«canary-06» --port 80",
		"app --db-passwd '«canary 07»' --port 80",
		"export MYSQL_PWD=«canary-08»",
		"PGPASSWORD='«canary 09»' psql",
		"secret_access_key = «canary-10»",
		"aws_session_token=«canary-11»",
		"accessKeySecret: «canary-12»",
		"the password for bob was set to «canary-13x»",
		`wrong password "«canary-14»" for bob`,
		"<password>«canary-15»</password>",
		"CREATE USER bob IDENTIFIED BY '«canary-16»'",
		"requirepass «canary-17»",
		"GET https://bob:«canary-18»@example.com/ 200",
		"connecting to postgres://bob:«canary/19»@db/shop",
		"redis://:«canary-20»@cache:6379",
		"dsn bob:«canary-21»@tcp(db:3306)/shop",
		"mongodb+srv://bob:«canary-22»@c.example.com/",
		"GET /o?Expires=1&OSSAccessKeyId=x&Signature=«canary-23»",
		"GET /o?sig=«canary-24»",
		"Authorization: Basic «Y2FuYXJ5OjI1»",
		"Authorization: «canary-26»",
		"proxy-authorization: Digest username=bob, response=«canary-27»",
		"sent Bearer «canary-28»",
		"Cookie: sid=«canary-29»",
		"Set-Cookie: session=«canary-30»; Path=/",
		"X-Auth-Token: «canary-31»",
		"token=«ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkzMiJ9.c2lnbmF0dXJlMzI»",
		"got «ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkzMyJ9.c2lnbmF0dXJlMzM» from the server",
		"key «AK" + "IACANARY34CANARY34»",
		"key «LT" + "AI5tCanary35Canary35»",
		"key «ST" + "S.NTCanary36Canary36Canary36»",
		"clone with «gh" + "p_Canary37Canary37Canary37Canary37»",
		"clone with «gl" + "pat-Canary38Canary38Canary»",
		"slack «xo" + "xb-39-canary39-canary39»",
		"stripe «sk_" + "live_Canary40Canary40»",
		"vault «hv" + "s.Canary41Canary41Canary41»",
		"npm «np" + "m_Canary42Canary42Canary42Canary42»",
		"google «AI" + "zaCanary43Canary43Canary43Canary43Cana»",
		"hash $6$salt$«Canary44Canary44Canary44/.»",
		"hash $y$j9T$salt$«Canary45Canary45Canary45»",
		"hash $2b$12$«Canary46Canary46Canary46Canary46Canary46Canary46»",
		"htpasswd bob:$apr1$salt$«Canary47Canary47»",
		"userPassword: {SSHA}«Canary48Canary48Canary48»",
		"-----BEGIN OPENSSH PRIVATE KEY-----\\n«" + b64(49) + "»\\n-----END OPENSSH PRIVATE KEY-----",
		"-----BEGIN EC PRIVATE KEY----- «Canary50Canary50» -----END EC PRIVATE KEY-----",
		"ssh-rsa AAAA«" + b64(51) + "» bob@home",
		"seed «" + b64(52) + "»",
		"wg PrivateKey = «" + b64(43) + "=»",
		"AGE-SECRET-KEY-1«CANARY54CANARY54»",
		"azure AccountKey=«" + b64(86) + "==»;EndpointSuffix=x",
		"Environment=A=1 B=«canary-56»",
		"docker login -u bob --password=«canary-57»",
		"sshpass -p «canary-58» ssh db",
		"mysqldump -u bob -p«canary-61» shop",
		"mariadb -p«canary-62» shop",
		"lftp -u bob,«canary-63» files",
		"JAVA_OPTS=-Djavax.net.ssl.keyStorePassword=«canary-59»",
		"login bob password «canary-60»",
	}
}

var marked = regexp.MustCompile("«([^»]*)»")

// planted is a host on which every text holds all canaries: files, logs, commands, the metadata service.
type planted struct {
	host.Host
	lines []string
}

func (p *planted) text() string { return strings.Join(p.lines, "\n") + "\n" }

func (p *planted) ReadFile(name string) ([]byte, error) {
	b, err := p.Host.ReadFile(name)
	switch {
	case strings.HasPrefix(name, "/proc/") || strings.HasPrefix(name, "/sys/"):
	case name == "/dev/kmsg":
		for i, line := range p.lines {
			b = fmt.Appendf(b, "3,%d,%d,-;planted %s\n", 100+i, 1000000+i, line)
		}
	default:
		b = append(b, p.text()...)
	}
	return b, err
}

func (p *planted) ReadTail(name string, _ int) ([]byte, error) { return p.ReadFile(name) }

func (p *planted) Run(_ context.Context, argv ...string) (host.Output, error) {
	switch strings.Join(argv[:min(2, len(argv))], " ") {
	case "systemctl list-units":
		return host.Output{Stdout: []byte("app.service loaded failed failed A service\ndb.service loaded failed failed A service\n")}, nil
	case "systemctl show":
		var b strings.Builder
		for _, unit := range []string{"app.service", "db.service"} {
			fmt.Fprintf(&b, "Id=%s\nDescription=%s\nLoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nType=simple\nExecMainCode=1\n"+
				"ExecMainStatus=1\nNRestarts=3\nUnitFileState=enabled\nConditionResult=yes\nStateChangeTimestamp=Wed 2025-12-31 23:00:00 UTC\n\n", unit, p.lines[0])
		}
		return host.Output{Stdout: []byte(b.String())}, nil
	}
	return host.Output{Stdout: []byte(p.text()), Stderr: []byte(p.text()), Exit: 1}, nil
}

func (p *planted) Get(context.Context, string, map[string]string) (host.HTTPAnswer, error) {
	return host.HTTPAnswer{Status: 200, Body: p.text()}, nil
}

// plantedHost is a small host with canaries all over it, and what the command lines of its processes would give away.
func plantedHost(t *testing.T) host.Host {
	t.Helper()
	base, err := hosttest.Open("testdata/shop.txtar")
	if err != nil {
		t.Fatal(err)
	}
	p := &planted{Host: base}
	for _, c := range canaries() {
		p.lines = append(p.lines, marked.ReplaceAllString(c, "$1"))
	}
	return p
}

func secretsOf(t *testing.T) []string {
	t.Helper()
	var secrets []string
	for _, c := range canaries() {
		m := marked.FindStringSubmatch(c)
		if m == nil || slices.Contains(secrets, m[1]) {
			t.Fatalf("%q has no secret of its own", c)
		}
		secrets = append(secrets, m[1])
	}
	if len(secrets) < 40 {
		t.Fatalf("there are only %d canaries", len(secrets))
	}
	return secrets
}

// No output holds a secret, whatever the format.
func TestNoSecretComesOut(t *testing.T) {
	secrets := secretsOf(t)
	dir := t.TempDir()
	book := filepath.Join(dir, "echo.yaml")
	// A playbook that says all that was in the logs, and is about objects named by it.
	const echo = `id: echo
title: {en: "{first(map(kernel_log.lines, .text))}", zh: x}
area: kernel
severity: critical
covers: [doc/echo]
let: {lines: "map(kernel_log.lines, .text)"}
when: kernel_log.records > 0 and any(kernel_log.lines, .text contains "planted") and count(units.list, len(.log) > 0) >= 0
evidence: ["{lines}", "{map(units.list, .description)}", "{map(units.list, .name)}"]
manual: {en: "{lines}", zh: "{lines}"}
`
	if err := os.WriteFile(book, []byte(echo), 0o600); err != nil {
		t.Fatal(err)
	}
	capture := filepath.Join(dir, "case.txtar")
	for _, args := range []string{
		"capture", // first: it is replayed below
		"diagnose --playbooks BOOK -o text", "diagnose --playbooks BOOK -o brief", "diagnose --playbooks BOOK -o json", "diagnose --playbooks BOOK -o yaml",
		"diagnose --playbooks BOOK -o markdown", "diagnose --playbooks BOOK -o html", "diagnose --playbooks BOOK -o text --lang zh -v",
		"facts", "facts -o json", "facts -o yaml", "probe kernel_log", "probe units", "probe sshd", "probe accounts", "probe processes", "probe units -o json",
		"playbook explain BOOK", "playbook explain BOOK --replay CASE", "replay CASE --playbooks BOOK -o json",
	} {
		args = strings.NewReplacer("BOOK", book, "CASE", capture).Replace(args)
		var out, errs bytes.Buffer
		p := &program{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: plantedHost(t)}
		if code := p.run(t.Context(), strings.Fields(args)); code == exitFailed {
			t.Fatalf("%s: %s", args, errs.String())
		}
		if args == "capture" {
			if err := os.WriteFile(capture, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "<redacted"); n < 2*len(secrets) {
				t.Errorf("the capture holds %d marks of something removed: the canaries were not planted", n)
			}
			for _, want := range []string{"removed: password hash, ", "removed: PEM block, ", "removed: secret value, "} {
				if !strings.Contains(errs.String(), want) || !strings.Contains(out.String(), want) {
					t.Errorf("neither standard error nor the header says %q:\n%s", want, errs.String())
				}
			}
		} else if !strings.Contains(out.String(), "redacted") && !strings.Contains(args, "accounts") && !strings.Contains(args, "processes") {
			t.Errorf("%s: nothing was redacted, so it shows nothing of what was planted:\n%.500s", args, out.String())
		}
		for _, secret := range secrets {
			for _, text := range []string{secret, strings.ReplaceAll(secret, "+", "&#43;")} {
				if strings.Contains(out.String()+errs.String(), text) {
					all := out.String() + errs.String()
					at := strings.Index(all, text)
					t.Errorf("%s: %q comes out: %q", args, secret, all[max(0, at-100):min(len(all), at+40)])
				}
			}
		}
	}
}

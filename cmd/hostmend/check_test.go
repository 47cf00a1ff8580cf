package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
)

// A secret that a check sends comes out nowhere, even if the server sends all of it back and the check asks for just that.
func TestNoSecretOfACheckComesOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("secrets must be root's")
	}
	const secret = "canary-70/plain+text"
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") == "v1 "+secret {
			asked++
		}
		fmt.Fprintf(w, "got %s and %s end\n", r.Header, base64.StdEncoding.EncodeToString([]byte(secret)))
	}))
	defer srv.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"secrets/key": secret + "\n",
		"checks.yaml": "echo: {doc: x, http: {url: \"" + srv.URL + "\", headers: {X-Key: {text: \"v1 \", secret: key}}, match: \"got (?P<said>.*) end\", values: {said: text}}}\n" +
			"bad: {doc: x, http: {url: \"" + srv.URL + "\", headers: {X-Key: {secret: key}}, match: \"got (?P<said>.*) end\", values: {said: number}}}\n",
		"echo.yaml": "id: echo\ntitle: \"{site.echo.said}\"\narea: services\nseverity: critical\nwhen: site.echo.said contains \"got\" or site.echo.ok or site.bad.said > 1\n" +
			"evidence: [\"{site.echo.said} {site.bad.said}\"]\nmanual: \"{site.echo.said}\"\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	capture := filepath.Join(dir, "case.txtar")
	for _, args := range []string{
		"capture --checks CHECKS", "diagnose --checks CHECKS --playbooks BOOK -o text -v", "diagnose --checks CHECKS --playbooks BOOK -o json",
		"diagnose --checks CHECKS --playbooks BOOK -o html", "diagnose --checks CHECKS --playbooks BOOK -o markdown", "facts --checks CHECKS site.echo site.bad -v",
		"facts --checks CHECKS site.echo site.bad -o json", "probe --checks CHECKS site.bad", "playbook explain BOOK --checks CHECKS",
		"replay CASE --checks CHECKS --playbooks BOOK -o json", "playbook docs --checks CHECKS BOOK",
	} {
		var out, errs bytes.Buffer
		p := &program{
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: &host.Local{OperatorDir: dir, Secrets: []string{"key"}},
		}
		line := strings.NewReplacer("BOOK", dir+"/echo.yaml", "CASE", capture, "CHECKS", dir+"/checks.yaml").Replace(args)
		if code := p.run(t.Context(), strings.Fields(line)); code == exitFailed {
			t.Fatalf("%s: %s", args, errs.String())
		}
		all := out.String() + errs.String()
		for _, form := range []string{secret, "canary-70", base64.StdEncoding.EncodeToString([]byte(secret))} {
			if at := strings.Index(all, form); at >= 0 {
				t.Errorf("%s: out comes %q", args, all[max(0, at-100):min(len(all), at+60)])
			}
		}
		if strings.HasPrefix(args, "capture") {
			if err := os.WriteFile(capture, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if asked == 0 {
		t.Error("the server was never sent the secret, so this proves nothing")
	}
}

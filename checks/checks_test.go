package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

func load(t *testing.T, text string) *Set {
	t.Helper()
	set, err := Load([]playbooks.File{{Name: "test.yaml", Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := probes.Validate(set.Probes()); err != nil {
		t.Fatal(err)
	}
	return set
}

// observe asks everything and returns each check's facts as JSON, or its status and reason.
func observe(t *testing.T, set *Set, h host.Host, can probes.Needs) map[string]string {
	t.Helper()
	list := set.Probes()
	snap := (&probes.Runner[host.Host]{Source: h, Probes: list, Clock: h, Can: can}).Run(t.Context(), nil)
	out := map[string]string{}
	for i, o := range snap.Observations {
		out[o.Probe] = o.Status.String() + ": " + o.Reason
		if o.Status == probes.OK {
			out[o.Probe] = string(list[i].Info().Facts.AppendJSON(nil, &o.Facts))
		}
	}
	return out
}

const all = probes.Root | probes.Network

// Every kind's beginning is a check that loads and that the schema knows.
func TestSkeletons(t *testing.T) {
	schema := compileSchema(t)
	for _, kind := range Kinds() {
		text := Skeleton("name", kind)
		set := load(t, string(text))
		if set.Len() != 1 || set.Probes()[0].Name != "site.name" {
			t.Errorf("%s: %+v", kind, set)
		}
		var doc any
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(plain(t, doc)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if Skeleton("name", "shell") != nil {
		t.Error("there is a skeleton of no kind")
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("checks.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("checks.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func plain(t *testing.T, doc any) any {
	t.Helper()
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A valid check, and what one change makes of it.
func TestLint(t *testing.T) {
	const good = "shop:\n  doc: A shop\n  http:\n    url: https://shop.test/\n"
	load(t, good)
	for _, c := range []struct{ text, want string }{
		{"Shop: {doc: x, tcp: {address: a:1}}", `1:1: "Shop" is no name for a check`},
		{"shop: {tcp: {address: a:1}}", "1:7: a check lacks doc"},
		{"shop: {doc: A shop., tcp: {address: a:1}}", "doc is one line"},
		{"shop: {doc: x}", "says not what it asks"},
		{"shop: {doc: x, tpc: {address: a:1}}", `a check has no key "tpc"; did you mean "tcp"?`},
		{"shop: {doc: x, tcp: {address: a:1}, unit: {name: a.service}}", "asks tcp and unit"},
		{"shop: {doc: x, tcp: {address: a}}", "address is HOST:PORT"},
		{"shop: {doc: x, tcp: [a]}", "tcp is a mapping"},
		{"shop: {doc: x, every: 1s, tcp: {address: a:1}}", "every is a duration from 10s"},
		{"shop: {doc: x, timeout: 31s, tcp: {address: a:1}}", "timeout is a duration from 100ms to 30s"},
		{"shop: {doc: x, limit: 5000000, tcp: {address: a:1}}", "limit is a whole number from 1024 to 4194304"},
		{"shop: {doc: x, http: {url: ftp://a}}", "url is a URL"},
		{"shop: {doc: x, http: {url: 'https://bob@a/'}}", "holds a user's name"},
		{"shop: {doc: x, http: {url: 'https://bob:hunter22@a/'}}", "seems to hold a secret"},
		{"shop: {doc: x, http: {url: 'https://a/?token=abcdefgh1234'}}", "seems to hold a secret"},
		{"shop: {doc: x, http: {url: 'https://a/', method: POST}}", "method is GET or HEAD"},
		{"shop: {doc: x, http: {url: 'https://a/', redirects: 6}}", "redirects is a whole number"},
		{"shop: {doc: x, http: {url: 'https://a/', headers: {Authorization: Bearer abcdefgh1234}}}", "{secret: NAME}"},
		{"shop: {doc: x, http: {url: 'https://a/', headers: {X-Key: {secret: ../x}}}}", "is no name of a secret"},
		{"shop: {doc: x, http: {url: 'http://a/', headers: {X-Key: {secret: key}}}}", "to everybody on the way"},
		{"shop: {doc: x, prometheus: {url: 'http://127.0.0.1.example.com/', query: up, headers: {X-Key: {secret: key}}}}", "to everybody on the way"},
		{"shop: {doc: x, http: {url: 'https://a/', headers: {X-Key: {text: abc}}}}", "a header lacks secret"},
		{"shop: {doc: x, http: {url: 'https://a/', headers: {'X: y': z}}}", "is no name of a header"},
		{"shop: {doc: x, http: {url: 'https://a/', match: '('}}", "is no regular expression"},
		{"shop: {doc: x, http: {url: 'https://a/', match: '(?P<v>a)'}}", `the group "v" lacks its type`},
		{"shop: {doc: x, http: {url: 'https://a/', match: 'a', values: {v: text}}}", "match has no group (?P<v>"},
		{"shop: {doc: x, http: {url: 'https://a/', match: '(?P<ok>a)', values: {ok: text}}}", "is a fact of every http check"},
		{"shop: {doc: x, http: {url: 'https://a/', match: '(?P<v>a)', values: {v: integer}}}", `"integer" is no type`},
		{"shop: {doc: x, http: {url: 'https://a/', match: '(?P<v>a)', values: {v: {type: text, unit: '%'}}}}", "only a number"},
		{"shop: {doc: x, dns: {name: 'a b'}}", "is no domain name"},
		{"shop: {doc: x, dns: {name: a, type: ANY}}", "is no record type"},
		{"shop: {doc: x, dns: {name: a, server: ns1}}", "server is an address"},
		{"shop: {doc: x, file: {path: /etc/shadow}}", "it holds password hashes"},
		{"shop: {doc: x, file: {path: etc/x}}", "a whole path"},
		{"shop: {doc: x, file: {path: /a/../etc/shadow}}", "a whole path"},
		{"shop: {doc: x, unit: {name: nginx}}", "write its suffix"},
		{"shop: {doc: x, unit: {name: --all.service}}", "is no unit"},
		{"shop: {doc: x, certificate: {file: /a, address: 'a:1'}}", "one of the two"},
		{"shop: {doc: x, certificate: {}}", "one of the two"},
		{"shop: {doc: x, command: {argv: [redis-cli]}}", "whole path of a program"},
		{"shop: {doc: x, command: {argv: []}}", "argv is a list"},
		{"shop: {doc: x, command: {argv: [/usr/bin/mysql, --password=hunter22]}}", "ps"},
		{"shop: {doc: x, prometheus: {url: 'http://a/?x', query: up}}", "the server's address alone"},
		{"shop: &a {doc: x, tcp: {address: a:1}}", "anchor"},
		{"shop: {doc: x, tcp: {address: a:1}}\nshop: {doc: x, tcp: {address: a:1}}", "given twice"},
		{"- a", "a mapping of names to checks"},
		{"shop:\n\tdoc: x", "tab"},
	} {
		_, err := Load([]playbooks.File{{Name: "test.yaml", Data: []byte(c.text)}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "test.yaml:") {
			t.Errorf("%s\nwant %s\nhave %v", c.text, c.want, err)
		}
	}
	for _, fine := range []string{
		"http: {url: 'http://localhost:8080/', headers: {X-Key: {secret: key}}}", "prometheus: {url: 'http://[::1]:9090', query: up, headers: {X-Key: {secret: key}}}",
		"http: {url: 'http://127.0.0.2/', headers: {X-Key: {secret: key}}}", "http: {url: 'http://a/', plain: true, headers: {X-Key: {secret: key}}}", "http: {url: 'http://a/', headers: {X-Key: open}}",
	} {
		load(t, "shop: {doc: x, "+fine+"}")
	}
	two := []playbooks.File{{Name: "a.yaml", Data: []byte(good)}, {Name: "b.yaml", Data: []byte(good)}}
	if _, err := Load(two); err == nil || !strings.Contains(err.Error(), `b.yaml:1:1: the check "shop" is already in a.yaml`) {
		t.Error(err)
	}
}

// All problems are told at once, and the checks of the files without any remain.
func TestLoadTellsAll(t *testing.T) {
	set, err := Load([]playbooks.File{
		{Name: "bad.yaml", Data: []byte("a: {doc: x., tcp: {address: a}}\nb: {}\n")},
		{Name: "good.yaml", Data: []byte("c: {doc: x, tcp: {address: a:1}}\n")},
	})
	if problems, _ := errors.AsType[playbooks.Problems](err); len(problems) != 4 {
		t.Errorf("%v", err)
	}
	if set.Len() != 1 {
		t.Errorf("%d checks are left", set.Len())
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct{ typ, text, want string }{
		{"text", "a b", `"a b"`},
		{"number", " 12.5 ", "12.5"},
		{"number", "12 apples", `{"unreadable":"\"12 apples\" is no number"}`},
		{"number", "NaN", `{"unreadable":"\"NaN\" is no number"}`},
		{"number", "", `{"unreadable":"\"\" is no number"}`},
		{"duration", "1.5 ms", `"1.5ms"`},
		{"duration", "5", `{"unreadable":"\"5\" is no duration"}`},
		{"bytes", "4096", "4096"},
		{"bytes", "12 kB", "12288"},
		{"bytes", "1.5GiB", "1610612736"},
		{"bytes", "2M", "2097152"},
		{"bytes", "2 bits", `{"unreadable":"\"2 bits\" is no byte"}`},
		{"bytes", "-1", `{"unreadable":"\"-1\" is no byte"}`},
		{"bool", "On", "true"},
		{"bool", "0", "false"},
		{"bool", "2", `{"unreadable":"\"2\" is no bool"}`},
		{"text", "<redacted>", `{"unreadable":"what was found looks like a secret"}`},
	} {
		v := value{name: "v", typ: c.typ}
		got := v.of(&host.CheckAnswer{Count: 1, Groups: map[string]string{"v": c.text}})
		f := v.field()
		if text := string(f.Type.AppendJSON(nil, &got)); text != c.want {
			t.Errorf("%s %q: %s, want %s", c.typ, c.text, text, c.want)
		}
	}
	v := value{name: "v", typ: "text"}
	for want, a := range map[probes.Kind]host.CheckAnswer{
		probes.Absent: {}, probes.Unreadable: {Cut: true},
	} {
		if got := v.of(&a); got.Kind() != want {
			t.Errorf("%+v: %s", a, got.Kind())
		}
	}
}

// The facts of each kind, of answers as a capture holds them. What nobody answered is unknown; that nobody did is known.
func TestFacts(t *testing.T) {
	const file = `
up: {doc: x, http: {url: "http://a/", match: "v=(?P<v>.*)", values: {v: number}}}
down: {doc: x, http: {url: "http://a/", match: "v=(?P<v>.*)", values: {v: number}}}
old: {doc: x, certificate: {address: "a:1"}}
closed: {doc: x, certificate: {address: "a:1"}}
gone: {doc: x, file: {path: /a, match: x}}
long: {doc: x, file: {path: /a, match: x}}
one: {doc: x, prometheus: {url: "http://a", query: up}}
two: {doc: x, prometheus: {url: "http://a", query: up}}
none: {doc: x, prometheus: {url: "http://a", query: up}}
later: {doc: x, tcp: {address: "a:1"}}
`
	set := load(t, file)
	var capture strings.Builder
	capture.WriteString("at: 2026-01-11T00:00:00Z\n")
	for name, answer := range map[string]string{
		"up":     `{"status": 200, "took": 1000000, "size": 9, "count": 1, "groups": {"v": "17"}}`,
		"down":   `{"error": "connection refused", "took": 1000000}`,
		"old":    `{"certificate": {"subject": "CN=a", "issuer": "CN=b", "not_before": "2025-01-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z", "untrusted": "expired"}}`,
		"closed": `{"error": "connection refused"}`,
		"gone":   `{}`,
		"long":   `{"cut": true, "file": {"mode": 420, "uid": 7, "size": 99999, "mtime": "2026-01-10T23:00:00Z", "gid": 0, "blocks": 0, "ino": 0, "dev": 0, "nlink": 1}}`,
		"one":    `{"samples": [{"value": "2.5"}]}`,
		"two":    `{"samples": [{"labels": {"job": "a"}, "value": "1"}, {"labels": {"job": "b"}, "value": "NaN"}]}`,
		"none":   `{}`,
	} {
		for _, c := range set.checks {
			if c.name == name {
				capture.WriteString("-- check " + name + " " + c.ask.Digest() + " --\n" + answer + "\n")
			}
		}
	}
	h, err := hosttest.Parse([]byte(capture.String()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"site.up":     `{"ok":true,"error":null,"status":200,"took":"1ms","size":9,"matched":true,"cert_days":null,"v":17}`,
		"site.down":   `{"ok":false,"error":"connection refused","status":{"unreadable":"connection refused"},"took":{"unreadable":"connection refused"},"size":{"unreadable":"connection refused"},"matched":{"unreadable":"connection refused"},"cert_days":null,"v":{"unreadable":"connection refused"}}`,
		"site.old":    `{"ok":true,"error":null,"days_left":-10,"begun":true,"subject":"CN=a","issuer":"CN=b","names":[],"trusted":false,"untrusted":"expired"}`,
		"site.closed": `{"ok":false,"error":"connection refused","days_left":{"unreadable":"connection refused"},"begun":{"unreadable":"connection refused"},"subject":{"unreadable":"connection refused"},"issuer":{"unreadable":"connection refused"},"names":{"unreadable":"connection refused"},"trusted":{"unreadable":"connection refused"},"untrusted":{"unreadable":"connection refused"}}`,
		"site.gone":   `{"exists":false,"size":null,"age":null,"mode":null,"owner":null,"matched":null,"count":null}`,
		"site.long":   `{"exists":true,"size":99999,"age":"1h0m0s","mode":"0644","owner":7,"matched":{"unreadable":"` + cutShort + `"},"count":{"unreadable":"` + cutShort + `"}}`,
		"site.one":    `{"ok":true,"error":null,"value":2.5,"samples":[{"name":"{}","labels":{},"value":2.5}]}`,
		"site.two":    `{"ok":true,"error":null,"value":null,"samples":[{"name":"{job=\"a\"}","labels":{"job":"a"},"value":1},{"name":"{job=\"b\"}","labels":{"job":"b"},"value":{"unreadable":"its value is \"NaN\""}}]}`,
		"site.none":   `{"ok":true,"error":null,"value":null,"samples":[]}`,
	}
	got := observe(t, set, h, all)
	if !strings.HasPrefix(got["site.later"], "failed: not in the capture: ") {
		t.Errorf("a check that the capture does not have: %s", got["site.later"])
	}
	delete(got, "site.later")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, o := range observe(t, set, h, probes.Root) {
		if network := name != "site.gone" && name != "site.long"; network != (o == "skipped: needs network") {
			t.Errorf("without the network %s: %s", name, o)
		}
	}
	for name, o := range observe(t, set, hosttest.Denied(), all) {
		if !strings.HasPrefix(o, "failed: ") {
			t.Errorf("%s on a host that permits nothing: %s", name, o)
		}
	}
}

// What is asked of a live host while it is recorded is what its capture answers, and the capture holds nothing but what was declared.
func TestRecordAndReplay(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("v=17\nnot to be kept\n"))
	}))
	defer srv.Close()
	server, stop := nameServer(t)
	defer stop()
	set := load(t, `
page: {doc: x, http: {url: "`+srv.URL+`/unmentioned", match: "v=(?P<v>[0-9]+)", values: {v: number}}}
zone: {doc: x, dns: {name: shop.test, server: "`+server+`"}}
missing: {doc: x, dns: {name: other.test, server: "`+server+`"}}
silent: {doc: x, timeout: 200ms, dns: {name: silent.test, server: "`+server+`"}}
file: {doc: x, file: {path: /proc/version, match: "^Linux version (?P<version>[0-9.]+)", values: {version: text}}}
`)
	recorder := hosttest.Record(host.Redacted(&host.Local{}))
	live := observe(t, set, recorder, all)
	for name, want := range map[string]string{
		"site.page": `"v":17`, "site.zone": `"rcode":"NOERROR","answers":["192.0.2.1"]`, "site.missing": `"rcode":"NXDOMAIN","answers":[]`,
		"site.silent": `"error":"no answer within 200ms","server":"` + server + `","rcode":{"unreadable":`, "site.file": `"matched":true`,
	} {
		if !strings.Contains(live[name], want) {
			t.Errorf("%s: %s", name, live[name])
		}
	}
	capture := recorder.Format()
	for _, secret := range []string{"not to be kept", "unmentioned"} {
		if bytes.Contains(capture, []byte(secret)) {
			t.Errorf("the capture holds %q:\n%s", secret, capture)
		}
	}
	h, err := hosttest.Parse(capture)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(live, observe(t, set, h, all)); diff != "" {
		t.Errorf("live and replayed differ:\n%s", diff)
	}
}

// nameServer is a name server on loopback that knows one name, and is silent about another.
func nameServer(t *testing.T) (address string, stop func()) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		switch q.Question[0].Name {
		case "shop.test.":
			rr, err := dns.NewRR("shop.test. 60 IN A 192.0.2.1")
			if err != nil {
				return
			}
			reply.Answer = append(reply.Answer, rr)
		case "silent.test.":
			return
		default:
			reply.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(reply) // whoever asked has given up
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ActivateAndServe() // it ends when it is stopped
	}()
	return conn.LocalAddr().String(), func() {
		_ = srv.ShutdownContext(context.Background())
		conn.Close()
		<-done
	}
}

func TestUnit(t *testing.T) {
	const show = "$ systemctl show --no-pager --property=LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,StateChangeTimestamp -- "
	h, err := hosttest.Parse([]byte("at: 2026-01-01T12:00:00Z\n-- /run/systemd/system/ --\n-- " + show + `a.service --
Result=success
NRestarts=2
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
StateChangeTimestamp=Thu 2026-01-01 11:00:00 UTC
-- ` + show + `b.timer --
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
StateChangeTimestamp=
-- ` + show + `c.mount [exit 1] --
`))
	if err != nil {
		t.Fatal(err)
	}
	set := load(t, "a: {doc: x, unit: {name: a.service}}\nb: {doc: x, unit: {name: b.timer}}\nc: {doc: x, unit: {name: c.mount}}\n")
	got := observe(t, set, h, 0)
	for name, want := range map[string]string{
		"site.a": `{"exists":true,"active":"active","sub":"running","enabled":"enabled","result":"success","restarts":2,"since":"1h0m0s"}`,
		"site.b": `{"exists":false,"active":"inactive","sub":"dead","enabled":"","result":"","restarts":null,"since":null}`,
		"site.c": `failed: systemctl show c.mount: exit status 1: `,
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	if got := observe(t, set, hosttest.Empty(), 0)["site.a"]; got != "no data: systemd is not the service manager" {
		t.Error(got)
	}
}

// The loader survives every text, says where what is wrong is, and makes only probes that are whole.
func FuzzLoad(f *testing.F) {
	for _, kind := range Kinds() {
		f.Add(Skeleton("name", kind))
	}
	if example, err := os.ReadFile("../docs/examples/site/checks/shop.yaml"); err == nil {
		f.Add(example)
	}
	f.Add([]byte("a: {doc: x, http: {url: 'http://[::1'}, values: {a: }}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Load([]playbooks.File{{Name: "fuzz.yaml", Data: data}})
		if err != nil && set.Len() > 0 {
			t.Errorf("%v, and yet %d checks", err, set.Len())
		}
		if err == nil {
			if err := probes.Validate(set.Probes()); err != nil {
				t.Error(err)
			}
			observe(t, set, hosttest.Empty(), all)
		}
	})
}

package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// kind is one kind of check. Its keys are those under its name in a file.
type kind struct {
	name  string
	doc   string // what is asked, what it costs, when its answer misleads
	keys  []key
	read  func(*reader, *check)
	probe func(*check) probes.Probe[host.Host]
	own   []string // the names of its facts, which a value must not take
	needs func(*check) probes.Needs
}

func always(n probes.Needs) func(*check) probes.Needs { return func(*check) probes.Needs { return n } }

// kinds lists what may be asked.
func kinds() []*kind {
	return []*kind{
		{
			name: "http", keys: httpKeys, read: readHTTP, needs: always(probes.Network), own: probes.FieldNames[httpFacts](),
			doc: `Fetches a URL, with a connection of its own, without proxy and cookies. Redirects are followed only as far as redirects says; a
secret is not sent on to another server. That nobody answers, or with a certificate that is not to be trusted, is a fact: ok is false and error says why.`,
			probe: func(c *check) probes.Probe[host.Host] { return behind(c, httpAnswer) },
		},
		{
			name: "tcp", keys: tcpKeys, read: readTCP, needs: always(probes.Network), own: probes.FieldNames[tcpFacts](),
			doc:   `Opens a connection, sends nothing, and reads what match looks for, if there is one. That nobody answers is a fact.`,
			probe: func(c *check) probes.Probe[host.Host] { return behind(c, tcpAnswer) },
		},
		{
			name: "dns", keys: dnsKeys, read: readDNS, needs: always(probes.Network), own: probes.FieldNames[dnsFacts](),
			doc: `Asks one name server, by default the first of /etc/resolv.conf, for exactly this name: search domains, /etc/hosts and nsswitch.conf
play no part. That it does not answer is a fact.`,
			probe: func(c *check) probes.Probe[host.Host] { return probe(c, c.askDNS) },
		},
		{
			name: "file", keys: fileKeys, read: readFile, needs: always(0), own: probes.FieldNames[fileFacts](),
			doc: `Looks at a regular file and, with match, reads it. Devices, private keys, password files, process memory and environments are not read,
whoever asks. What looks like a secret is replaced before match sees it. That there is no such file is a fact.`,
			probe: func(c *check) probes.Probe[host.Host] { return behind(c, fileAnswer) },
		},
		{
			name: "unit", keys: unitKeys, read: readUnit, needs: always(0), own: probes.FieldNames[unitFacts](),
			doc:   "Asks systemd about one unit (`systemctl show`, 5 ms). That there is no such unit is a fact.",
			probe: func(c *check) probes.Probe[host.Host] { return probe(c, c.askUnit) },
		},
		{
			name: "certificate", keys: certificateKeys, read: readCertificate, needs: certificateNeeds, own: probes.FieldNames[certificateFacts](),
			doc: `Looks at the first certificate in a file (PEM or DER; of a key beside it nothing is taken), or at that which a server shows.
Whether it is to be trusted is judged by this host's list of authorities, or by ca.`,
			probe: func(c *check) probes.Probe[host.Host] { return behind(c, certificateAnswer) },
		},
		{
			name: "command", keys: commandKeys, read: readCommand, needs: always(probes.Root), own: probes.FieldNames[commandFacts](),
			doc: `Runs a program without a shell, with an empty environment but for PATH, LC_ALL and TZ. The host's own list /etc/hostmend/commands.yaml must
allow exactly these words, and list and program must belong to root and be writable by nobody else. It must only read: hostmend cannot see to that, the list's author can.`,
			probe: func(c *check) probes.Probe[host.Host] { return behind(c, commandAnswer) },
		},
		{
			name: "prometheus", keys: prometheusKeys, read: readPrometheus, needs: always(probes.Network), own: probes.FieldNames[prometheusFacts](),
			doc:   `Asks a Prometheus server for the value of an expression now (/api/v1/query). That it does not answer, or with an error, is a fact.`,
			probe: func(c *check) probes.Probe[host.Host] { return behind(c, prometheusAnswer) },
		},
	}
}

// probe makes a check's probe of the function that asks.
func probe[T any](c *check, ask func(context.Context, host.Host) (T, []probes.Value, error)) probes.Probe[host.Host] {
	more := make([]probes.Field, len(c.values))
	for i := range c.values {
		more[i] = c.values[i].field()
	}
	return probes.DefineWith(probes.Probe[host.Host]{
		Name: probes.Site + "." + c.name, Doc: c.text(), Needs: c.kind.needs(c), Every: c.every, Timeout: c.timeout + grace, Waits: true,
	}, more, ask)
}

// behind makes the probe of a check that is answered behind the door as a whole; facts are made of the answer.
func behind[T any](c *check, facts func(*check, host.CheckAnswer, host.Host) T) probes.Probe[host.Host] {
	return probe(c, func(ctx context.Context, h host.Host) (f T, values []probes.Value, err error) {
		a, err := h.Check(ctx, c.ask)
		if errors.Is(err, host.ErrNotCaptured) {
			return f, nil, fmt.Errorf("%w: it was made without this check, or before the check was changed", host.ErrNotCaptured)
		}
		if err != nil {
			return f, nil, err
		}
		for i := range c.values {
			values = append(values, c.values[i].of(&a))
		}
		return facts(c, a, h), values, nil
	})
}

type httpFacts struct {
	OK       bool                      `fact:"ok" doc:"A server answered, with whatever status"`
	Error    probes.Opt[string]        `fact:"error" doc:"Why none did: refused, no such host, no answer in time, a certificate that is not trusted"`
	Status   probes.Opt[int]           `fact:"status" unit:"status" doc:"The answer's status: 200, 404, 503"`
	Took     probes.Opt[time.Duration] `fact:"took" doc:"From the name's look-up to the end of the body, or of its part that was read"`
	Size     probes.Opt[int]           `fact:"size" unit:"bytes" doc:"Of the body; of one longer than limit what its header says, at least limit"`
	Matched  probes.Opt[bool]          `fact:"matched" doc:"match is found in the body; absent without match and without an answer"`
	CertDays probes.Opt[float64]       `fact:"cert_days" unit:"days" doc:"Until the server's certificate expires, negative once it has; absent without TLS"`
}

func httpAnswer(c *check, a host.CheckAnswer, h host.Host) httpFacts {
	f := httpFacts{
		OK: a.Error == "", Error: trouble(&a), Status: answered(&a, a.Status), Took: answered(&a, a.Took), Size: answered(&a, int(a.Size)), Matched: matched(c, &a),
	}
	if a.Certificate != nil {
		f.CertDays = probes.Some(days(a.Certificate.NotAfter.Sub(h.Now())))
	}
	return f
}

type tcpFacts struct {
	OK      bool                      `fact:"ok" doc:"The connection was accepted"`
	Error   probes.Opt[string]        `fact:"error" doc:"Why not"`
	Took    probes.Opt[time.Duration] `fact:"took" doc:"Until it was accepted, with the look-up of the name"`
	Matched probes.Opt[bool]          `fact:"matched" doc:"match is found in what the server says first; absent without match"`
}

func tcpAnswer(c *check, a host.CheckAnswer, _ host.Host) tcpFacts {
	return tcpFacts{OK: a.Error == "", Error: trouble(&a), Took: answered(&a, a.Took), Matched: matched(c, &a)}
}

type dnsFacts struct {
	OK      bool                      `fact:"ok" doc:"The server answered, with whatever code"`
	Error   probes.Opt[string]        `fact:"error" doc:"Why it did not"`
	Server  string                    `fact:"server" doc:"That was asked, ADDRESS:PORT"`
	RCode   probes.Opt[string]        `fact:"rcode" doc:"NOERROR, NXDOMAIN, SERVFAIL, REFUSED, …"`
	Answers probes.Cut[string]        `fact:"answers" doc:"Records as zone files have them: 192.0.2.1, 10 mail.example.com. Names of other types on the way are among them"`
	Took    probes.Opt[time.Duration] `fact:"took" doc:"Until the answer came"`
}

func (c *check) askDNS(whole context.Context, h host.Host) (f dnsFacts, _ []probes.Value, err error) {
	ctx, cancel := context.WithTimeout(whole, c.timeout)
	defer cancel()
	f.Server = c.dns.server
	if f.Server == "" {
		if f.Server, err = firstResolver(h); err != nil {
			return f, nil, err
		}
	}
	server, err := netip.ParseAddrPort(f.Server)
	if err != nil {
		return f, nil, err
	}
	a, err := h.Query(ctx, host.DNSQuery{Server: server, Name: strings.TrimSuffix(c.dns.name, ".") + ".", Type: c.dns.recordType})
	switch {
	case unusable(err), errors.Is(err, fs.ErrPermission):
		return f, nil, err
	case whole.Err() != nil: // everybody's time is up, and not this check's
		return f, nil, whole.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return unansweredDNS(f, fmt.Sprintf("no answer within %s", c.timeout)), nil, nil
	case err != nil:
		text := err.Error()
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			text = errno.Error()
		}
		return unansweredDNS(f, text), nil, nil
	}
	slices.Sort(a.Answers) // servers turn them round
	f.OK, f.RCode, f.Answers.All, f.Took = true, probes.Some(a.RCode), a.Answers, probes.Some(a.RTT)
	return f, nil, nil
}

func unansweredDNS(f dnsFacts, why string) dnsFacts {
	f.Error, f.RCode, f.Answers.Why, f.Took = probes.Some(why), probes.Unread[string](why), why, probes.Unread[time.Duration](why)
	return f
}

// firstResolver is the name server that resolv.conf(5) names first.
func firstResolver(h host.Files) (string, error) {
	text, err := h.ReadFile("/etc/resolv.conf")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			if addr, err := netip.ParseAddr(f[1]); err == nil {
				return netip.AddrPortFrom(addr, 53).String(), nil
			}
		}
	}
	return "", probes.NoData("/etc/resolv.conf names no server")
}

type fileFacts struct {
	Exists  bool                      `fact:"exists" doc:"There is such a file"`
	Size    probes.Opt[int]           `fact:"size" unit:"bytes" doc:"Its length"`
	Age     probes.Opt[time.Duration] `fact:"age" doc:"Since it was last written; negative if that lies ahead"`
	Mode    probes.Opt[string]        `fact:"mode" doc:"Its permissions in octal digits, 0644"`
	Owner   probes.Opt[int]           `fact:"owner" unit:"uid" doc:"Its owner's number"`
	Matched probes.Opt[bool]          `fact:"matched" doc:"match is found in it; absent without match"`
	Count   probes.Opt[int]           `fact:"count" unit:"count" doc:"How often, 100000 at most; absent without match"`
}

func fileAnswer(c *check, a host.CheckAnswer, h host.Host) fileFacts {
	i := a.File
	if i == nil {
		return fileFacts{}
	}
	f := fileFacts{
		Exists: true, Size: probes.Some(int(i.Size)), Age: probes.Some(h.Now().Sub(i.ModTime)), Mode: probes.Some(fmt.Sprintf("%04o", i.Mode.Perm())),
		Owner: probes.Some(i.UID), Matched: matched(c, &a), Count: given(a.Count, c.ask.Pattern != ""),
	}
	if a.Cut && c.ask.Pattern != "" {
		f.Count = probes.Unread[int](cutShort)
	}
	return f
}

type unitFacts struct {
	Exists   bool                      `fact:"exists" doc:"systemd knows such a unit"`
	Active   string                    `fact:"active" doc:"active, reloading, inactive, failed, activating, deactivating"`
	Sub      string                    `fact:"sub" doc:"Finer than active: running, exited, dead, auto-restart, …"`
	Enabled  string                    `fact:"enabled" doc:"enabled, disabled, static, masked, …; empty for what has no file"`
	Result   string                    `fact:"result" doc:"How its last run ended: success, exit-code, signal, timeout, oom-kill, …"`
	Restarts probes.Opt[int]           `fact:"restarts" unit:"count" doc:"Automatic restarts since it was last started by hand; absent before systemd 235 and for what is no service"`
	Since    probes.Opt[time.Duration] `fact:"since" doc:"Time since its state last changed"`
}

func (c *check) askUnit(ctx context.Context, h host.Host) (f unitFacts, _ []probes.Value, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if _, err := h.Stat("/run/systemd/system"); errors.Is(err, fs.ErrNotExist) { // sd_booted(3)
		return f, nil, probes.NoData("systemd is not the service manager")
	}
	out, err := h.Run(ctx, "systemctl", "show", "--no-pager",
		"--property=LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,StateChangeTimestamp", "--", c.unit)
	if err != nil {
		return f, nil, err
	}
	p := map[string]string{}
	for line := range strings.Lines(string(out.Stdout)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		p[key] = value
	}
	if out.Exit != 0 || p["LoadState"] == "" || p["ActiveState"] == "" {
		return f, nil, fmt.Errorf("systemctl show %s: exit status %d: %.200s", c.unit, out.Exit, strings.TrimSpace(string(out.Stderr)))
	}
	f = unitFacts{Exists: p["LoadState"] != "not-found", Active: p["ActiveState"], Sub: p["SubState"], Enabled: p["UnitFileState"], Result: p["Result"]}
	if n, err := strconv.Atoi(p["NRestarts"]); err == nil {
		f.Restarts = probes.Some(n)
	}
	if at, err := time.Parse("Mon 2006-01-02 15:04:05 MST", p["StateChangeTimestamp"]); err == nil {
		f.Since = probes.Some(max(0, h.Now().Sub(at)))
	}
	return f, nil, nil
}

type certificateFacts struct {
	OK        bool                `fact:"ok" doc:"There is a certificate to look at"`
	Error     probes.Opt[string]  `fact:"error" doc:"Why not: refused, no answer in time, no TLS, no certificate in the file"`
	DaysLeft  probes.Opt[float64] `fact:"days_left" unit:"days" doc:"Until it expires, negative once it has"`
	Begun     probes.Opt[bool]    `fact:"begun" doc:"Its first day has come"`
	Subject   probes.Opt[string]  `fact:"subject" doc:"Whose it is: CN=shop.example.com"`
	Issuer    probes.Opt[string]  `fact:"issuer" doc:"Who signed it"`
	Names     probes.Cut[string]  `fact:"names" doc:"The names and addresses that it is for"`
	Trusted   probes.Opt[bool]    `fact:"trusted" doc:"A chain leads from it to a trusted authority, and it is for this name now; unreadable where the host has no list of authorities"`
	Untrusted probes.Opt[string]  `fact:"untrusted" doc:"Why it is not trusted"`
}

func certificateNeeds(c *check) probes.Needs {
	if c.ask.Certificate.File != "" {
		return 0
	}
	return probes.Network
}

func certificateAnswer(_ *check, a host.CheckAnswer, h host.Host) certificateFacts {
	c := a.Certificate
	if c == nil {
		f := certificateFacts{Error: trouble(&a), DaysLeft: probes.Unread[float64](a.Error), Begun: probes.Unread[bool](a.Error), Trusted: probes.Unread[bool](a.Error)}
		f.Subject, f.Issuer, f.Untrusted, f.Names.Why = probes.Unread[string](a.Error), probes.Unread[string](a.Error), probes.Unread[string](a.Error), a.Error
		return f
	}
	f := certificateFacts{
		OK: true, DaysLeft: probes.Some(days(c.NotAfter.Sub(h.Now()))), Begun: probes.Some(!h.Now().Before(c.NotBefore)), Subject: probes.Some(c.Subject),
		Issuer: probes.Some(c.Issuer), Names: probes.Cut[string]{All: c.Names}, Trusted: probes.Some(c.Untrusted == ""), Untrusted: given(c.Untrusted, c.Untrusted != ""),
	}
	if c.NoRoots {
		f.Trusted = probes.Unread[bool]("this host has no list of authorities")
	}
	return f
}

type commandFacts struct {
	OK      bool                      `fact:"ok" doc:"It ran to its end in time, with whatever exit status"`
	Error   probes.Opt[string]        `fact:"error" doc:"Why not"`
	Exit    probes.Opt[int]           `fact:"exit" unit:"status" doc:"Its exit status; 128 and the signal's number if it was killed"`
	Took    probes.Opt[time.Duration] `fact:"took" doc:"How long it ran"`
	Size    probes.Opt[int]           `fact:"size" unit:"bytes" doc:"Of its standard output"`
	Matched probes.Opt[bool]          `fact:"matched" doc:"match is found in its standard output; absent without match"`
}

func commandAnswer(c *check, a host.CheckAnswer, _ host.Host) commandFacts {
	return commandFacts{
		OK: a.Error == "", Error: trouble(&a), Exit: answered(&a, a.Exit), Took: answered(&a, a.Took), Size: answered(&a, int(a.Size)), Matched: matched(c, &a),
	}
}

type prometheusFacts struct {
	OK      bool                    `fact:"ok" doc:"The server answered, and the expression has a value"`
	Error   probes.Opt[string]      `fact:"error" doc:"Why not"`
	Value   probes.Opt[float64]     `fact:"value" unit:"number" doc:"The only sample's value; absent if there is none or more than one, unreadable if it is NaN or infinite"`
	Samples probes.Cut[sampleFacts] `fact:"samples" doc:"All of them"`
}

type sampleFacts struct {
	Name   string              `fact:"name,key" doc:"Its labels as Prometheus writes them"`
	Labels map[string]string   `fact:"labels" doc:"Its labels"`
	Value  probes.Opt[float64] `fact:"value" unit:"number" doc:"Its value; unreadable if it is NaN or infinite"`
}

func prometheusAnswer(_ *check, a host.CheckAnswer, _ host.Host) prometheusFacts {
	f := prometheusFacts{OK: a.Error == "", Error: trouble(&a)}
	if a.Error != "" {
		f.Value, f.Samples.Why = probes.Unread[float64](a.Error), a.Error
		return f
	}
	f.Samples.More = a.More
	for _, s := range a.Samples {
		f.Samples.All = append(f.Samples.All, sampleFacts{Name: labelText(s.Labels), Labels: s.Labels, Value: sampleValue(s.Value)})
	}
	if len(f.Samples.All) == 1 {
		f.Value = f.Samples.All[0].Value
	}
	return f
}

func sampleValue(text string) probes.Opt[float64] {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return probes.Unread[float64](fmt.Sprintf("its value is %.40q", text))
	}
	return probes.Some(v)
}

func labelText(labels map[string]string) string {
	var b strings.Builder
	b.WriteString(labels["__name__"] + "{")
	for i, name := range slices.DeleteFunc(slices.Sorted(maps.Keys(labels)), func(n string) bool { return n == "__name__" }) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name + "=" + strconv.Quote(labels[name]))
	}
	return b.String() + "}"
}

// hostPort reports whether an address is HOST:PORT.
func hostPort(s string) bool {
	h, p, err := net.SplitHostPort(s)
	n, bad := strconv.Atoi(p)
	return err == nil && h != "" && bad == nil && n > 0 && n < 1<<16 && !strings.ContainsAny(h, "/@ ")
}

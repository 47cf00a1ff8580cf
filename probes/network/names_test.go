package network

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

func TestNames(t *testing.T) {
	file := func(name, text string) string { return "-- " + name + " --\n" + text }
	dns := func(server, name, kind, answer string) string {
		return "-- dns " + server + ":53 " + name + " " + kind + " --\n" + answer + "\n"
	}
	const (
		known    = `{"rcode":"NOERROR","answers":["198.41.0.4"],"rtt":1000000}`
		unknown  = `{"rcode":"NXDOMAIN","rtt":1000000}`
		stranger = `{"rcode":"NOERROR","answers":["192.0.2.80"],"rtt":1000000}`
	)
	server := func(addr, real, bogus string) string {
		return dns(addr, existingName, "A", real) + dns(addr, bogusName, "A", bogus)
	}
	base := machine + file("/proc/sys/kernel/hostname", "web-1\n")
	hosts := file("/etc/hosts", "127.0.0.1 localhost\n10.0.0.5 web-1\n")
	nsswitch := file("/etc/nsswitch.conf", "passwd: files\nhosts: files dns # as Debian has it\n")
	both := server("10.0.0.2", known, unknown) + server("10.0.0.3", known, unknown) + dns("10.0.0.2", "example.com.", "A", unknown)
	silent := "!timeout"
	check(t, Names, []row{
		{"in order", base + hosts + nsswitch + both, probes.OK, []string{
			`"localhost":["127.0.0.1"],"localhost_ok":true,"order":["files","dns"],"asks_files":true,"asks_dns":true,"asks_others":false,"dns_first":false,"hidden":[]`,
			`"hostname":"web-1","hostname_resolves":true,"known_name":"a.root-servers.net."`,
			`{"address":"10.0.0.2","rcode":"NOERROR","knows":true,"gave":"198.41.0.4","denies":false,"invents":false,"invented":null}`,
			`"search":[{"domain":"example.com","answered":true,"rcode":"NXDOMAIN"}]`,
		}},
		{"one denies, one invents", base + hosts + server("10.0.0.2", unknown, unknown) + server("10.0.0.3", stranger, stranger) + dns("10.0.0.3", "example.com.", "A", unknown), probes.OK, []string{
			`"address":"10.0.0.2","rcode":"NXDOMAIN","knows":false,"gave":null,"denies":true,"invents":false`,
			`"address":"10.0.0.3","rcode":"NOERROR","knows":true,"gave":"192.0.2.80","denies":false,"invents":true,"invented":"192.0.2.80"`,
		}},
		{"nobody answers", base + file("/etc/hosts", "10.0.0.9 shop.example.com\n") + server("10.0.0.2", silent, silent) + server("10.0.0.3", silent, silent), probes.OK, []string{
			`"localhost_ok":{"unreadable":"no name server answers"}`, `"hostname_resolves":{"unreadable":"no name server answers"}`,
			`"search":[{"domain":"example.com","answered":{"unreadable":"no name server answers"},"rcode":null}]`, `"overrides":{"unreadable":"no name server answers"`,
			`"address":"10.0.0.2","rcode":null,"knows":null`,
		}},
		{"a dead search domain", base + hosts + server("10.0.0.2", known, unknown) + server("10.0.0.3", known, unknown) + dns("10.0.0.2", "example.com.", "A", silent), probes.OK, []string{
			`"search":[{"domain":"example.com","answered":false,"rcode":null}]`,
		}},
		{
			"a pinned name, and names that are blocked",
			base + file("/etc/hosts", "127.0.0.1 localhost web-1\n10.0.0.9 shop.example.com shop\n0.0.0.0 ads.example.net\n198.41.0.4 same.example.com\n10.0.0.8 only.here.internal\n127.0.0.1 apt.example.com\n") + both +
				dns("10.0.0.2", "shop.example.com.", "A", `{"rcode":"NOERROR","answers":["shop.example.net.","203.0.113.7"],"rtt":1000000}`) +
				dns("10.0.0.2", "same.example.com.", "A", known) + dns("10.0.0.2", "ads.example.net.", "A", unknown) + dns("10.0.0.2", "apt.example.com.", "A", `{"rcode":"NOERROR","answers":["203.0.113.7"],"rtt":1000000}`) +
				"-- connect 127.0.0.1:443 --\n!refused\n-- connect 127.0.0.1:80 --\n!refused\n-- connect 127.0.0.1:22 --\n!refused\n-- ping 127.0.0.1 --\n!timeout\n" + file("/etc/apt/sources.list", "# deb http://old/ x\ndeb http://apt.example.com/debian bookworm main\n") + dns("10.0.0.2", "only.here.internal.", "A", unknown) +
				"-- ping 10.0.0.9 --\n!timeout\n-- connect 10.0.0.9:443 --\n!timeout\n-- connect 10.0.0.9:80 --\n!timeout\n-- connect 10.0.0.9:22 --\n!timeout\n" +
				"-- ping 203.0.113.7 --\n!timeout\n-- connect 203.0.113.7:443 --\n!refused\n-- connect 203.0.113.7:80 --\n!timeout\n-- connect 203.0.113.7:22 --\n!timeout\n",
			probes.OK,
			[]string{`"overrides":[{"name":"shop.example.com","address":"10.0.0.9","dns":["203.0.113.7"],"alive":false,"dns_alive":true,"here":false,"needed_by":""},{"name":"apt.example.com","address":"127.0.0.1","dns":["203.0.113.7"],"alive":true,"dns_alive":true,"here":true,"needed_by":"/etc/apt/sources.list"}]`, `"blocked_names":2`},
		},
		{
			"neither localhost nor its own name", base + file("/etc/hosts", "") + both + dns("10.0.0.2", "localhost.", "A", unknown) +
				dns("10.0.0.2", "web-1.", "A", unknown) + dns("10.0.0.2", "web-1.example.com.", "A", unknown),
			probes.OK,
			[]string{`"localhost":[],"localhost_ok":false`, `"hostname_resolves":false`},
		},
		{"localhost elsewhere", base + file("/etc/hosts", "10.0.0.5 localhost web-1\n") + both, probes.OK, []string{`"localhost":["10.0.0.5"],"localhost_ok":false`}},
		{"files alone", base + hosts + file("/etc/nsswitch.conf", "hosts: files [NOTFOUND=return] dns\n") + both, probes.OK, []string{`"order":["files"],"asks_files":true,"asks_dns":false`}},
		{"its name is not captured", machine + hosts, probes.Failed, []string{"/proc/sys/kernel/hostname"}},
	})
}

func TestHostsOrder(t *testing.T) {
	for line, want := range map[string][]string{
		"":           {"files", "dns"},
		"hosts: dns": {"dns"},
		"hosts: files mdns4_minimal [NOTFOUND=return] dns":      {"files", "mdns4_minimal", "dns"},
		"hosts: files resolve [!UNAVAIL=return] dns":            {"files", "resolve", "dns"},
		"hosts: files [NOTFOUND=return] dns":                    {"files"},
		"hosts:files[SUCCESS=return NOTFOUND=return]dns":        {"files"},
		"hosts: files [SUCCESS=return] dns myhostname # [more]": {"files", "dns", "myhostname"},
		"hosts: files [ NOTFOUND=return":                        {"files"},
	} {
		if got := hostsOrder(line + "\n"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// lossyHost loses the first question for each name.
type lossyHost struct {
	host.Host
	asked sync.Map
}

func (l *lossyHost) Query(ctx context.Context, q host.DNSQuery) (host.DNSAnswer, error) {
	if _, again := l.asked.LoadOrStore(q.Name, true); !again {
		return host.DNSAnswer{}, os.ErrDeadlineExceeded
	}
	return host.DNSAnswer{RCode: "NXDOMAIN"}, nil
}

func TestSearchDomainIsAskedTwice(t *testing.T) {
	var f namesFacts
	f.askSearch(t.Context(), &lossyHost{}, netip.MustParseAddr("10.0.0.2"), []string{"example.com"})
	if answered, ok := f.Search[0].Answered.Get(); !answered || !ok {
		t.Errorf("%+v; the second question was answered", f.Search[0])
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

func runLatency(ctx context.Context, t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	p := &program{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &err, Env: []string{"LC_ALL=C.UTF-8"}}
	code = p.run(ctx, append([]string{"latency"}, args...))
	return code, out.String(), err.String()
}

func TestLatency(t *testing.T) {
	if s, err := (&host.Local{}).NewSweep([]netip.Addr{netip.MustParseAddr("127.0.0.1")}); err != nil {
		t.Skip(err)
	} else if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := runLatency(t.Context(), t, "--targets", "127.0.0.8/30,127.0.0.1", "--interval", "10ms", "--count", "4", "-o", "json")
	var got struct {
		Rounds  int
		Targets []struct {
			Name       string
			Sent, Lost int
		}
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s", code, err, stderr)
	}
	if got.Rounds != 4 || len(got.Targets) != 3 || got.Targets[2].Name != "127.0.0.1" || got.Targets[0].Sent != 4 || got.Targets[0].Lost != 0 {
		t.Errorf("%+v", got)
	}
	if code, out, _ = runLatency(t.Context(), t, "--targets", "127.0.0.1", "--interval", "10ms", "--count", "2", "--watch", "-o", "json"); code != 0 || strings.Count(out, `"rtt_ms":{"127.0.0.1":`) != 2 {
		t.Errorf("a line for each round: exit %d\n%s", code, out)
	}
	if code, out, _ = runLatency(t.Context(), t, "--targets", "127.0.0.1", "--interval", "10ms", "--duration", "30ms"); code != 0 || !strings.Contains(out, "1 target, 3 rounds in ") || strings.Contains(out, "\x1b") {
		t.Errorf("as text: exit %d\n%s", code, out)
	}
	// Whoever stops it sees what there is.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if code, out, _ = runLatency(ctx, t, "--targets", "127.0.0.1", "--interval", "20ms", "--count", "100000"); code != 0 || !strings.Contains(out, "127.0.0.1") {
		t.Errorf("interrupted: exit %d\n%s", code, out)
	}
}

func TestLatencyRefuses(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--targets 127.0.0.1 --interval 1ms", "at least 10ms"},
		{"--targets 10.0.0.0/8", "at most 65536 addresses"},
		{"--targets 127.0.0.1 --watch -o html", "the other formats are written once"},
		{"--targets 127.0.0.1 --count 2 --duration 1s", "none of the others can be"},
		{"--targets 127.0.0.1 --count -1", "not negative"},
		{"--targets no.such.name.invalid", "looking up no.such.name.invalid"},
		{"--targets 127.0.0.1 -o markdown", "the formats of"},
	} {
		if code, _, stderr := runLatency(t.Context(), t, strings.Fields(tt.args)...); code != exitFailed || !strings.Contains(stderr, tt.want) {
			t.Errorf("latency %s: exit %d: %s; want %q", tt.args, code, stderr, tt.want)
		}
	}
}

func TestEachHost(t *testing.T) {
	for _, tt := range []struct{ network, want string }{
		{"192.0.2.5/30", "192.0.2.5 192.0.2.6"},
		{"192.0.2.4/31", "192.0.2.4 192.0.2.5"},
		{"192.0.2.4/32", "192.0.2.4"},
		{"2001:db8::/127", "2001:db8:: 2001:db8::1"},
		{"255.255.255.252/30", "255.255.255.253 255.255.255.254"},
	} {
		var got []string
		if err := eachHost(netip.MustParsePrefix(tt.network), func(a netip.Addr) { got = append(got, a.String()) }); err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.network, got, err, tt.want)
		}
	}
}

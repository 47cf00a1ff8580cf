package hosttest

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hostmend/hostmend/internal/host"
)

// changing is a machine that has everything a capture can tell of, also what is awkward to write down.
const changing = machine + `-- /proc/1/stat --
1 (init) S
-- /proc/7/stat --
7 (sleep) S
-- /proc/7/ !notexist @1s --
-- /proc/8/ @1s --
-- /proc/8/stat --
8 (new) R
-- /proc/9/stat !ESRCH --
-- /proc/9/fd/3 -> "/var/log/big one (deleted)" --
-- /proc/9/fd/4 -> "socket:[77]" --
-- /proc/9/fd/5 -> !permission --
-- "/var/log/big one (deleted)" nlink=0 size=4096 blocks=8 dev=254:1 --
-- /sys/class/net/eth0 -> ../../devices/pci0/net/eth0 --
-- /sys/devices/pci0/net/eth0/speed --
1000
-- "/data/a\x5bquoted] \n-- x --" [quoted] --
"-- /etc/shadow --\n"
"!timeout"
-- /root/ 0700 0:0 !permission --
-- /root/.ssh stat!permission --
-- /run/empty/ 01777 0:0 --
-- /usr/bin/su 04755 0:0 mtime=2026-01-02T03:04:05Z --
ELF
-- /etc/crlf [quoted] --
"a\r\n"
"\xff\x00"
-- $ systemctl is-system-running [exit 1] --
degraded
-- $ systemctl is-system-running @1s --
running
-- $ chronyc -n -c tracking [quoted] --
"!timeout\n"
-- attributes "/data/with space" --
{"immutable": true}
-- beneath "/data/with space" --
{"mode": 420, "size": 3}
-- md5 /bin/ls --
"9a03"
-- statfs "/data/with space" --
{"size": 7}
-- clock --
{"synchronised": true, "max_error": 1000000}
-- machine --
{"virtualization": "kvm", "role": "guest"}
-- links --
{"index":1,"name":"lo","mtu":65536,"flags":9,"oper":"unknown","stats":{}}
-- links @1s --
{"index":1,"name":"lo","mtu":65536,"flags":9,"oper":"unknown","stats":{"rx_bytes":9}}
-- udp --
! the kernel has no udp_diag
`

// interview asks a machine everything, now and a second later, and returns the answers as text.
func interview(t *testing.T, h host.Host) []string {
	t.Helper()
	ctx := t.Context()
	var said []string
	say := func(question string, answer any, err error) {
		words := ""
		if err != nil {
			words = errorWord(err)
		}
		said = append(said, question+": "+cmp.Diff(nil, answer)+" "+words)
	}
	for range 2 {
		say("now", h.Now(), nil)
		paths := []string{"/"}
		for i := 0; i < len(paths); i++ { // everything below /, by listings
			name := paths[i]
			lstat, err := h.Lstat(name)
			if name != "/" { // what nobody asked about the root is not worth a section
				say("lstat "+name, lstat, err)
			}
			if lstat.Mode.IsDir() {
				entries, err := h.ReadDir(name)
				say("dir "+name, entries, err)
				for _, e := range entries {
					paths = append(paths, strings.TrimSuffix(name, "/")+"/"+e.Name)
				}
				continue
			}
			target, err := h.Readlink(name)
			if lstat.Mode&fs.ModeSymlink != 0 {
				say("link "+name, target, err)
			}
			if strings.Contains(target, ":[") { // nobody looks behind such a link
				continue
			}
			b, err := h.ReadFile(name)
			say("file "+name, string(b), err)
			fi, err := h.Stat(name)
			say("stat "+name, fi, err)
		}
		for _, name := range []string{"/sys/class/net/eth0/speed", "/etc/missing", "/proc/8/stat", "/root/.ssh"} {
			b, err := h.ReadFile(name)
			say("file "+name, string(b), err)
		}
		b, err := h.ReadTail("/proc/stat", 3)
		say("tail", string(b), err)
		for _, argv := range [][]string{{"sshd", "-t"}, {"nft", "-j", "list", "ruleset"}, {"chronyc", "-n", "-c", "tracking"}, {"systemctl", "is-system-running"}, {"sshd", "-T"}} {
			out, err := h.Run(ctx, argv...)
			say(strings.Join(argv, " "), []string{string(out.Stdout), string(out.Stderr), string(rune('0' + out.Exit%10))}, err)
		}
		for _, name := range []string{"/", "/data/with space", "/other"} {
			st, err := h.Statfs(ctx, name)
			say("statfs "+name, st, err)
			a, err := h.Attributes(name)
			say("attributes "+name, a, err)
			below, err := h.Beneath(name)
			say("beneath "+name, below, err)
		}
		sum, err := h.MD5("/bin/ls")
		say("md5", sum, err)
		clock, err := h.Clock()
		say("clock", clock, err)
		machine, err := h.Machine(ctx)
		say("machine", machine, err)
		links, err := h.Links(ctx)
		say("links", links, err)
		addrs, err := h.Addrs(ctx)
		say("addrs", addrs, err)
		for _, q := range []host.SocketQuery{{}, {States: 1 << host.TCPListen}, {UDP: true}} {
			var all []host.Socket
			err := h.Sockets(ctx, q, func(s *host.Socket) error { all = append(all, *s); return nil })
			say("sockets", all, err)
		}
		var routes []host.Route
		err = h.Routes(ctx, func(r *host.Route) error { routes = append(routes, *r); return nil })
		say("routes", routes, err)
		pong, err := h.Ping(ctx, host.Ping{Dst: netip.MustParseAddr("10.0.0.1"), Size: 1500, DF: true})
		say("ping", pong, err)
		took, err := h.Connect(ctx, netip.MustParseAddrPort("10.0.0.9:443"))
		say("connect", took, err)
		answer, err := h.Query(ctx, host.DNSQuery{Server: netip.MustParseAddrPort("10.0.0.2:53"), Name: "example.com.", Type: "A"})
		say("dns", answer, err)
		say("sleep", nil, h.Sleep(ctx, time.Second))
	}
	return said
}

func TestReplayAnswersWhatTheMachineAnswered(t *testing.T) {
	parse := func(text string) *Host {
		t.Helper()
		h, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	recorder := Record(parse(changing))
	during := interview(t, recorder)
	capture := string(recorder.Format("For a test"))
	if !strings.HasPrefix(capture, "hostmend capture 1\nFor a test\nat: 2026-11-21T07:00:00Z\nroot: no\nnetwork: yes\n") {
		t.Errorf("the capture begins with %.200q", capture)
	}
	if diff := cmp.Diff(interview(t, parse(changing)), during); diff != "" {
		t.Errorf("the recorder does not pass on what the machine says (-machine +recorder):\n%s", diff)
	}
	if diff := cmp.Diff(during, interview(t, parse(capture))); diff != "" {
		t.Errorf("the capture says something else (-recorded +replayed):\n%s\n%s", diff, capture)
	}
	if _, err := Read([]byte(capture)); err != nil {
		t.Error(err)
	}
	for n := range len(capture) - 1 { // without the last line feed it is still whole
		if _, err := Read([]byte(capture[:n])); err == nil {
			t.Fatalf("the first %d bytes of %d pass for the capture", n, len(capture))
		}
	}
	if _, err := Read([]byte(changing + lastLine + "\n")); err == nil {
		t.Error("what nobody recorded passes for a capture")
	}
	again := Record(parse(capture))
	interview(t, again)
	if diff := cmp.Diff(capture, string(again.Format("For a test"))); diff != "" {
		t.Errorf("a capture of the capture is another one:\n%s", diff)
	}
}

func TestRecorderAnswersOnce(t *testing.T) {
	h := &counting{Host: Empty()}
	r := Record(h)
	for range 3 {
		_, _ = r.ReadFile("/proc/stat")
	}
	_ = r.Sleep(t.Context(), time.Second)
	_, _ = r.ReadFile("/proc/stat")
	if h.reads != 2 {
		t.Errorf("the machine was asked %d times, not once before and once after Sleep", h.reads)
	}
}

type counting struct {
	host.Host
	reads int
}

func (c *counting) ReadFile(name string) ([]byte, error) {
	c.reads++
	return c.Host.ReadFile(name)
}

// A question that hangs when the capture is written is one that was not answered in time.
func TestRecorderWhileAQuestionHangs(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	h := &hanging{Host: Empty(), asked: make(chan struct{}), block: block}
	r := Record(h)
	go func() { _, _ = r.Statfs(context.Background(), "/mnt/dead") }()
	<-h.asked
	replay, err := Parse(r.Format())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replay.Statfs(t.Context(), "/mnt/dead"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("statfs of a mount that hung: %v", err)
	}
}

type hanging struct {
	host.Host
	asked chan struct{}
	block chan struct{}
}

func (h *hanging) Statfs(context.Context, string) (host.Statfs, error) {
	close(h.asked)
	<-h.block
	return host.Statfs{}, nil
}

// Whatever a file is called and holds, it comes back as it was.
func TestAnyFileComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.StringMatching(`[^/\x00]{1,20}`).Filter(func(s string) bool { return s != "." && s != ".." }).Draw(t, "name")
		content := rapid.String().Draw(t, "content")
		h := &oneFile{Host: Empty(), name: "/data/" + base, content: content}
		r := Record(h)
		_, _ = r.ReadFile(h.name)
		_, _ = r.ReadDir("/data")
		capture := r.Format()
		replay, err := Parse(capture)
		if err != nil {
			t.Fatalf("%v\n%s", err, capture)
		}
		b, err := replay.ReadFile(h.name)
		if err != nil || string(b) != content {
			t.Fatalf("%q holds %q, %v; not %q\n%s", h.name, b, err, content, capture)
		}
		entries, err := replay.ReadDir("/data")
		if err != nil || len(entries) != 1 || entries[0].Name != base {
			t.Fatalf("the directory holds %v, %v\n%s", entries, err, capture)
		}
	})
}

type oneFile struct {
	host.Host
	name, content string
}

func (h *oneFile) ReadFile(string) ([]byte, error) { return []byte(h.content), nil }
func (h *oneFile) ReadDir(string) ([]host.DirEntry, error) {
	return []host.DirEntry{{Name: strings.TrimPrefix(h.name, "/data/")}}, nil
}

package hosttest

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hostmend/hostmend/internal/host"
)

const machine = `A small machine.
at: 2026-11-21T07:00:00Z
root: no
-- /proc/stat --
cpu 1
-- /proc/stat @1s --
cpu 2
-- /etc/shadow 0640 0:42 --
root:*:1::::::
-- /etc/secret !permission --
-- /etc/resolv.conf -> ../run/resolv.conf --
-- /etc/loop -> loop --
-- /run/resolv.conf --
nameserver 10.0.0.2
-- /var/empty/sshd/ 0711 0:0 --
-- "/data/with space" 0600 --
x
-- /dev/vda 060660 0:6 --
-- /proc/7/cmdline [quoted] --
"sleep\x00"
"9\x00"
-- $ sshd -t [exit 255] [stderr] --
/etc/ssh/sshd_config: line 3: Bad configuration option: Prot
-- $ nft -j list ruleset --
!timeout
-- statfs / --
{"size": 100, "free": 40}
-- attributes "/etc/with space" --
{"immutable": true}
-- md5 /bin/ls --
"9a03"
-- routes --
{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "link": 2, "table": 254, "type": "unicast"}
{"dst": "10.0.0.0/24", "link": 2, "table": 254, "type": "unicast"}
-- tcp --
{"state": 10, "local": "0.0.0.0:22", "rq": 0, "wq": 128, "uid": 0, "ino": 5}
{"state": 1, "local": "10.0.0.5:22", "remote": "10.0.0.9:40000", "rq": 0, "wq": 0, "uid": 0, "ino": 6}
-- ping 10.0.0.1 1500 df --
{"rtt": 300000}
-- connect 10.0.0.9:443 --
!refused
-- dns 10.0.0.2:53 example.com. A --
! the answer was for another question
`

func open(t *testing.T) *Host {
	t.Helper()
	h, err := Parse([]byte(machine))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFiles(t *testing.T) {
	h := open(t)
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"/proc/stat", "cpu 1\n", nil},
		{"/etc/resolv.conf", "nameserver 10.0.0.2\n", nil},
		{"/etc/../run/resolv.conf", "nameserver 10.0.0.2\n", nil},
		{"/data/with space", "x\n", nil},
		{"/proc/7/cmdline", "sleep\x009\x00", nil},
		{"/etc/secret", "", fs.ErrPermission},
		{"/etc/missing", "", fs.ErrNotExist},
		{"/etc/shadow/x", "", syscall.ENOTDIR},
		{"/etc/loop", "", syscall.ELOOP},
		{"/etc", "", syscall.EISDIR},
	} {
		got, err := h.ReadFile(tt.name)
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ReadFile(%s) = %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
	if err := h.Sleep(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.ReadFile("/proc/stat"); string(got) != "cpu 2\n" {
		t.Errorf("one second later /proc/stat is %q", got)
	}
	if got := h.Now(); !got.Equal(time.Date(2026, 11, 21, 7, 0, 1, 0, time.UTC)) {
		t.Errorf("one second later it is %s", got)
	}
}

func TestStat(t *testing.T) {
	h := open(t)
	for _, tt := range []struct {
		name string
		mode fs.FileMode
		gid  int
	}{
		{"/etc/shadow", 0o640, 42},
		{"/var/empty/sshd", fs.ModeDir | 0o711, 0},
		{"/dev/vda", fs.ModeDevice | 0o660, 6},
		{"/etc/resolv.conf", 0o644, 0},
		{"/var", fs.ModeDir | 0o755, 0},
	} {
		if fi, err := h.Stat(tt.name); err != nil || fi.Mode != tt.mode || fi.GID != tt.gid {
			t.Errorf("Stat(%s) = %v gid %d, %v; want %v gid %d", tt.name, fi.Mode, fi.GID, err, tt.mode, tt.gid)
		}
	}
	if fi, _ := h.Lstat("/etc/resolv.conf"); fi.Mode&fs.ModeSymlink == 0 {
		t.Error("Lstat follows a symbolic link")
	}
	if got, _ := h.Readlink("/etc/resolv.conf"); got != "../run/resolv.conf" {
		t.Errorf("Readlink = %q", got)
	}
	entries, err := h.ReadDir("/etc")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if want := []string{"loop", "resolv.conf", "secret", "shadow"}; err != nil || !cmp.Equal(names, want) {
		t.Errorf("ReadDir = %v, %v; want %v", names, err, want)
	}
}

func TestQuestions(t *testing.T) {
	h, ctx := open(t), t.Context()
	if h.Can().Root || !h.Can().Network {
		t.Errorf("capabilities %+v; want the network only", h.Can())
	}
	out, err := h.Run(ctx, "sshd", "-t")
	if err != nil || out.Exit != 255 || !strings.Contains(string(out.Stderr), "line 3") || len(out.Stdout) != 0 {
		t.Errorf("sshd -t: %+v, %v", out, err)
	}
	if _, err := h.Run(ctx, "nft", "-j", "list", "ruleset"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nft: %v; want the time-out", err)
	}
	if _, err := h.Run(ctx, "chronyc"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a command that is not installed: %v", err)
	}
	if st, err := h.Statfs(ctx, "/"); err != nil || st.Free != 40 {
		t.Errorf("statfs: %+v, %v", st, err)
	}
	if a, err := h.Attributes("/etc/with space"); err != nil || !a.Immutable || a.AppendOnly {
		t.Errorf("attributes: %+v, %v", a, err)
	}
	if sum, err := h.MD5("/bin/ls"); err != nil || sum != "9a03" {
		t.Errorf("md5: %s, %v", sum, err)
	}
	n := 0
	err = h.Routes(ctx, func(*host.Route) error { n++; return nil })
	if err != nil || n != 2 {
		t.Errorf("%d routes, %v", n, err)
	}
	var listening []uint16
	err = h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		listening = append(listening, s.Local.Port())
		return nil
	})
	if err != nil || !cmp.Equal(listening, []uint16{22}) {
		t.Errorf("listeners %v, %v", listening, err)
	}
	if pong, err := h.Ping(ctx, host.Ping{Dst: netip.MustParseAddr("10.0.0.1"), Size: 1500, DF: true}); err != nil || pong.RTT != 300*time.Microsecond {
		t.Errorf("ping: %+v, %v", pong, err)
	}
	if _, err := h.Connect(ctx, netip.MustParseAddrPort("10.0.0.9:443")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect: %v", err)
	}
	q := host.DNSQuery{Server: netip.MustParseAddrPort("10.0.0.2:53"), Name: "example.com.", Type: "A"}
	if _, err := h.Query(ctx, q); err == nil || !strings.Contains(err.Error(), "another question") {
		t.Errorf("dns: %v", err)
	}
	if _, err := h.Machine(ctx); !errors.Is(err, host.ErrNotCaptured) {
		t.Errorf("machine: %v", err)
	}
	if _, err := h.Links(ctx); !errors.Is(err, host.ErrNotCaptured) {
		t.Errorf("a question that nobody asked: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"-- /etc/x !sleepy --\n", "no error is called !sleepy"},
		{"-- /etc/x rw --\n", `"rw" is no attribute of a file`},
		{"-- /x --\n-- /x/y --\n", "/x is no directory"},
		{"-- /x -> y --\n-- /x/y/z --\n", "/x is no directory"},
		{strings.Repeat("-- weather --\n", 50), "and more, 50 in all"},
		{"-- /x stat!x --\n", "no error is called stat!x"},
		{"-- routes --\n{\"destination\": \"10.0.0.0/8\"}\n", "unknown field"},
		{"-- /x [quoted] --\nplain\n", "invalid syntax"},
		{"-- weather --\nfine\n", `no question begins with "weather"`},
		{"at: noon\n-- /x --\n", "cannot parse"},
	} {
		if _, err := Parse([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q): %v; want %q", tt.text, err, tt.want)
		}
	}
}

func TestBroken(t *testing.T) {
	if _, err := Empty().ReadFile("/proc/stat"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty: %v", err)
	}
	if _, err := Denied().ReadDir("/proc"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("denied: %v", err)
	}
	if b, _ := Truncated(open(t), 500).ReadFile("/proc/stat"); string(b) != "cpu" {
		t.Errorf("truncated: %q", b)
	}
}

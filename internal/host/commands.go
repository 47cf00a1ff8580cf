package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const commandPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// maxOutput is the most that a command may say on each of its outputs; `systemctl show` of 2,000 units is 1 MiB.
const maxOutput = 4 << 20

// allowed lists every command that may run, by the words it must begin with. All of them only read. A command that ends in "…" may
// be followed by further words.
var allowed = [][]string{
	{"blkid", "-c", "/dev/null", "-o", "export"},
	{"chronyc", "-n", "-c", "tracking"},
	{"chronyc", "-n", "-c", "sources"},
	{"ip6tables-legacy-save"},
	{"ip6tables-nft-save"},
	{"ip6tables-save"},
	{"iptables-legacy-save"},
	{"iptables-nft-save"},
	{"iptables-save"},
	{"ipset", "save"},
	{"ip", "xfrm", "policy"},
	{"journalctl", "-k", "…"},
	{"journalctl", "-u", "…"},
	{"nft", "-j", "list", "ruleset"},
	{"sshd", "-T", "…"},
	{"sshd", "-t"},
	{"stat", "-f", "-c", "…"},
	{"systemctl", "is-system-running"},
	{"systemctl", "list-units", "…"},
	{"systemctl", "show", "…"},
	{"timedatectl", "show"},
	{"visudo", "-c"},
}

func isAllowed(argv []string) bool {
	return slices.ContainsFunc(allowed, func(words []string) bool {
		if n := len(words) - 1; words[n] == "…" {
			return len(argv) >= n && slices.Equal(argv[:n], words[:n])
		}
		return slices.Equal(argv, words)
	})
}

// Run runs an allowed command. Its children die with it: they share a process group that is killed when time is up.
func (l *Local) Run(ctx context.Context, argv ...string) (Output, error) {
	if !isAllowed(argv) {
		return Output{}, fmt.Errorf("running %q: %w", argv, ErrNotAllowed)
	}
	path, err := lookPath(argv[0])
	if err != nil {
		return Output{}, err
	}
	// A process in D state does not even die of SIGKILL, and waiting for it would never end.
	return giveUp(ctx, l, fmt.Sprintf("running %q", argv), 2*waitDelay, func() (Output, error) { return execute(ctx, path, maxOutput, argv[1:]...) })
}

// waitDelay is for a grandchild that keeps a killed command's pipes open.
const waitDelay = 200 * time.Millisecond

func execute(ctx context.Context, path string, limit int, args ...string) (Output, error) {
	stdout, stderr := &limited{max: limit}, &limited{max: limit}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + commandPath, "LC_ALL=C", "TZ=UTC0", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	argv := append([]string{filepath.Base(path)}, args...) // as it was asked, and as a replay says it
	err := cmd.Run()
	switch {
	case stdout.over || stderr.over:
		return Output{}, fmt.Errorf("running %q: its output is %w of %d bytes", argv, ErrTooLarge, limit)
	case ctx.Err() != nil:
		return Output{}, fmt.Errorf("running %q: %w", argv, ctx.Err())
	}
	out := Output{Stdout: stdout.buf.Bytes(), Stderr: stderr.buf.Bytes()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		out.Exit = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			out.Exit = 128 + int(ws.Signal())
		}
		return out, nil
	}
	if err != nil {
		return Output{}, fmt.Errorf("running %q: %w", argv, err)
	}
	return out, nil
}

// limited is a buffer that breaks the pipe once it holds too much, so that the command ends.
type limited struct {
	max  int
	buf  bytes.Buffer
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.buf.Len()+len(p) > l.max {
		l.over = true
		return 0, ErrTooLarge
	}
	return l.buf.Write(p)
}

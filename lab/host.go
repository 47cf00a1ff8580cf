package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Host is a disposable Linux machine behind a gateway of its own, with the addresses in gateway.go.
type Host interface {
	// Command is a program to run inside, as root. It ends as a whole with its context, and with the lab.
	Command(ctx context.Context, argv ...string) *exec.Cmd
	// AtGateway is a program to run in the gateway's network, with what oracle.sh needs in its environment.
	AtGateway(ctx context.Context, argv ...string) *exec.Cmd
	// Shell is an interactive shell inside.
	Shell(ctx context.Context) *exec.Cmd
	// Entrance says how to enter it from elsewhere.
	Entrance() string
	// Pace is how many times as long as in a container everything may take.
	Pace() time.Duration
	// Close ends the host and removes all that it was made of.
	Close() error
}

// What a host can be.
const (
	Container = "container" // see container; it boots in seconds
	VM        = "vm"        // with a kernel of its own
)

// Where a script runs.
const (
	inHost    = "host"    // inside the host, as root
	atGateway = "gateway" // in the gateway's network, with the functions of oracle.sh
)

//go:embed oracle.sh
var oracleScript string

// Run executes the script and returns its output; the error holds it too.
func (s Script) Run(ctx context.Context, h Host) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, h.Pace()*scriptTimeout)
	defer cancel()
	var cmd *exec.Cmd
	switch s.Where {
	case inHost:
		cmd = h.Command(ctx, "sh", "-eu", "-c", s.Text)
	case atGateway:
		cmd = h.AtGateway(ctx, "bash", "-eu", "-o", "pipefail", "-c", oracleScript+s.Text)
	default:
		return "", fmt.Errorf("a script cannot run in %q", s.Where)
	}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("gave up after %s: %w", h.Pace()*scriptTimeout, ctx.Err())
	}
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// scriptTimeout is far more than any step needs, so that a hanging one fails by name.
const scriptTimeout = 30 * time.Second

// tame makes a command end as a whole: by its process group, when the context is done or the lab dies.
func tame(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second // a child that it left behind may hold its output open
	return cmd
}

//go:embed healthy.sh
var healthyScript string

// Healthy is nil if a client finds everything in order: the login, the application, its data, every unit.
func Healthy(ctx context.Context, h Host) error {
	_, err := Script{Where: atGateway, Text: healthyScript}.Run(ctx, h)
	return err
}

// State describes how the host is set up, in lines that are the same before a fault and after it was cleared.
func State(ctx context.Context, h Host) (string, error) {
	return Script{Where: inHost, Text: stateScript}.Run(ctx, h)
}

// stateScript leaves out what changes by itself: lifetimes, counters, times, /etc's caches and the last but one passwd-.
const stateScript = `
cd /
find etc root/.ssh home -xdev ! -name '*-' -printf '%p %M %U:%G %l\n' | sort
find etc root/.ssh home -xdev -type f ! -name '*-' -print0 | sort -z | xargs -0 sha256sum
ip -o -4 addr | sed 's/valid_lft.*//'
ip route
ip rule
nft list ruleset
findmnt -rn -o TARGET,SOURCE,FSTYPE,OPTIONS | grep -v '^/run/\(user\|credentials\)' | sort
systemctl list-units --plain --no-legend --all --type=service,timer,socket | awk '$2 == "loaded" && $1 !~ /^(user|session|systemd-|run-)/ {print $1, $3, $4}'
sysctl -a 2>/dev/null | grep -v -e '^net.netfilter.nf_conntrack_count' -e '^fs\.' -e '^kernel\.' -e '^vm\.' -e '^dev\.'
ls -A /data
`

// permanent marks an error that waiting will not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// until calls f, with short pauses, until it succeeds, fails for good, or the time is over.
func until(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		err := f()
		if err == nil {
			return nil
		}
		if p := (permanent{}); errors.As(err, &p) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not after %s: %w", limit, err)
		case <-time.After(pause):
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func copyFile(from, to string, mode os.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

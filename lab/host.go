package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Host is a disposable Linux machine: a systemd-nspawn container with its own processes, mounts, network, journal, users
// and services on this machine's kernel, behind a gateway of its own. See serveGateway for what surrounds it.
//
// Nothing that it is made of outlives the lab, however that ends. The launcher, which becomes systemd-nspawn, runs in new PID,
// mount and network namespaces and dies with its parent; with it the kernel ends every process in the container, unmounts
// the overlay and drops the network. The loop device clears itself when the last user closes it. What remains after
// SIGKILL, an empty control group and a directory, is removed by the next run: see sweep.
type Host struct {
	dir      string // everything this host writes on the machine, and its lock
	lock     *os.File
	disk     *os.File // the loop device that is its /dev/vdb
	launcher *exec.Cmd
	gateway  *exec.Cmd
	leader   int // its PID 1, as this machine numbers it
	key      string
	console  bytes.Buffer
}

// memory is what one host may use. lxcfs shows it as the host's MemTotal.
const memory = 1 << 30

//go:embed launch.sh
var launchScript string

// Boot starts a host from image, with the file hostmend as its /usr/local/bin/hostmend unless that is empty, and waits until
// everything on it runs. Close must be called even after an error.
func Boot(ctx context.Context, image Image, hostmend string) (*Host, error) {
	h := &Host{key: image.Key}
	if err := h.boot(ctx, image, hostmend); err != nil {
		return h, fmt.Errorf("booting a host: %w\n%s", err, lastLines(h.console.String(), 20))
	}
	return h, nil
}

func (h *Host) boot(ctx context.Context, image Image, hostmend string) error {
	if err := h.prepare(ctx, image, hostmend); err != nil {
		return err
	}
	groups, err := h.makeGroups()
	if err != nil {
		return err
	}
	args := append([]string{"-c", launchScript, "launch", image.Root, h.dir}, groups...)
	h.launcher = exec.Command("sh", args...) //nolint:noctx // Close ends it in the right order
	h.launcher.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS, // Unshareflags also makes the mounts private
		Pdeathsig: unix.SIGKILL,
		Setpgid:   true, // the terminal's Ctrl-C is for the lab, which then ends its hosts
	}
	h.launcher.Stdout, h.launcher.Stderr = &h.console, &h.console
	networked, err := h.launcher.StdinPipe()
	if err != nil {
		return err
	}
	if err := h.launcher.Start(); err != nil {
		return fmt.Errorf("starting the launcher: %w", err)
	}
	launcher := strconv.Itoa(h.launcher.Process.Pid)
	if err := h.startGateway(ctx, launcher); err != nil {
		return err
	}
	if err := ipBatch(exec.CommandContext(ctx, "nsenter", "--target="+launcher, "--net", "ip", "-batch", "-"),
		"link set lo up",
		"link set eth0 address 00:16:3e:00:00:10",
		"addr add "+hostAddr+"/24 dev eth0",
		"link set eth0 up",
		"route add default via "+gatewayAddr,
	); err != nil {
		return err
	}
	if _, err := io.WriteString(networked, "go\n"); err != nil {
		return fmt.Errorf("starting the container: %w", err)
	}
	if err := until(ctx, 20*time.Second, h.findLeader); err != nil {
		return err
	}
	if err := until(ctx, 10*time.Second, func() error { return h.furnish(ctx) }); err != nil { // systemd makes its mounts meanwhile
		return err
	}
	return until(ctx, 60*time.Second, func() error { return h.Healthy(ctx) })
}

// prepare makes the host's directory, its data disk and the files that differ from the image.
func (h *Host) prepare(ctx context.Context, image Image, hostmend string) error {
	making, err := lockHosts(ctx, filepath.Dir(image.Root))
	if err != nil {
		return err
	}
	defer making.Close()
	if h.dir, err = os.MkdirTemp(filepath.Dir(image.Root), hostPrefix); err != nil {
		return err
	}
	if h.lock, err = lockFile(filepath.Join(h.dir, "lock")); err != nil {
		return err
	}
	for _, d := range []string{"upper/usr/local/bin", "upper/etc", "work", "root", "lxcfs"} {
		if err := os.MkdirAll(filepath.Join(h.dir, d), 0o755); err != nil {
			return err
		}
	}
	// An overlay shows the upper directory's owner and mode.
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	if err := os.WriteFile(filepath.Join(h.dir, "upper/etc/machine-id"), fmt.Appendf(nil, "%x\n", id), 0o444); err != nil {
		return err
	}
	if hostmend != "" {
		if err := copyFile(hostmend, filepath.Join(h.dir, "upper/usr/local/bin/hostmend"), 0o755); err != nil {
			return err
		}
	}
	return h.makeDisk(ctx)
}

// makeDisk makes a 64 MiB ext4 with few inodes, on a loop device that vanishes with its last user.
func (h *Host) makeDisk(ctx context.Context) error {
	file := filepath.Join(h.dir, "vdb")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-N", "4096", "-L", "data", file).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	for range 10 { // another process may take the free number first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("finding a free loop device: %w", err)
		}
		if h.disk, err = os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0); err != nil {
			return err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		copy(config.Info.File_name[:], file)
		if err = unix.IoctlLoopConfigure(int(h.disk.Fd()), &config); err == nil {
			return nil
		}
		h.disk.Close()
		h.disk = nil
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("setting up a loop device: %w", err)
		}
	}
	return errors.New("no free loop device after 10 tries")
}

// startGateway runs this program again as the gateway.
func (h *Host) startGateway(ctx context.Context, launcher string) error {
	h.gateway = exec.Command("/proc/self/exe") //nolint:noctx // Close ends it in the right order
	h.gateway.Env = append(os.Environ(), roleEnv+"="+launcher)
	h.gateway.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL, Setpgid: true}
	h.gateway.Stderr = &h.console
	if _, err := h.gateway.StdinPipe(); err != nil { // held open: the gateway ends when it closes
		return err
	}
	ready, err := h.gateway.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.gateway.Start(); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = h.gateway.Process.Kill() })
	defer stop()
	return awaitReady(ready)
}

// findLeader looks for the container's PID 1: the launcher's child that is process 1 two PID namespaces down.
func (h *Host) findLeader() error {
	pid := h.launcher.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return permanent{fmt.Errorf("the container ended: %w", err)}
	}
	for child := range strings.FieldsSeq(string(children)) {
		status, _ := os.ReadFile("/proc/" + child + "/status")
		_, ids, _ := strings.Cut(string(status), "\nNSpid:")
		ids, _, _ = strings.Cut(ids, "\n")
		if f := strings.Fields(ids); len(f) > 1 && f[len(f)-1] == "1" {
			h.leader, err = strconv.Atoi(child)
			return err
		}
	}
	return errors.New("the container has no PID 1 yet")
}

//go:embed furnish.sh
var furnishScript string

// furnish does what can only be done once the host has its own /dev and /proc.
func (h *Host) furnish(ctx context.Context) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(h.disk.Fd()), &st); err != nil {
		return err
	}
	device := fmt.Sprintf("major=%d minor=%d\n", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	_, err := h.run(ctx, Script{Where: inHost, Text: device + furnishScript})
	return err
}

// Close ends the host and removes all that it was made of.
func (h *Host) Close() error {
	var errs []error
	for _, cmd := range []*exec.Cmd{h.launcher, h.gateway} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill() // PID 1 of its namespace: the kernel ends everything in it before Wait returns
			_ = cmd.Wait()
		}
	}
	if h.disk != nil {
		errs = append(errs, h.disk.Close())
	}
	if h.dir != "" {
		errs = append(errs, removeGroups(filepath.Base(h.dir)), os.RemoveAll(h.dir))
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}

// Where a script runs.
const (
	inHost    = "host"    // inside the host, as root, in its control groups
	atGateway = "gateway" // in the gateway's network, with the functions of oracle.sh
)

//go:embed oracle.sh
var oracleScript string

// run executes a script and returns its output; the error holds it too.
func (h *Host) run(ctx context.Context, s Script) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, scriptTimeout)
	defer cancel()
	var cmd *exec.Cmd
	switch s.Where {
	case inHost:
		cmd = h.Command(ctx, "sh", "-eu", "-c", s.Text)
	case atGateway:
		cmd = exec.CommandContext(ctx, "nsenter", "--target="+strconv.Itoa(h.gateway.Process.Pid), "--net",
			"bash", "-eu", "-o", "pipefail", "-c", oracleScript+s.Text)
		cmd.Env = append(os.Environ(), "LEADER="+strconv.Itoa(h.leader), "KEY="+h.key, "HOST="+hostAddr, "CLIENT="+clientAddr,
			"GROUP="+filepath.Base(h.dir), "DISK="+filepath.Base(h.disk.Name()))
	default:
		return "", fmt.Errorf("a script cannot run in %q", s.Where)
	}
	h.tame(cmd)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("gave up after %s: %w", scriptTimeout, ctx.Err())
	}
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// scriptTimeout is far more than any step needs, so that a hanging one fails by name.
const scriptTimeout = 30 * time.Second

// Command is a program to run inside the host, in its control groups, so that what it uses is charged to the host.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	enter := []string{"-c", enterScript, "enter", filepath.Base(h.dir), strconv.Itoa(h.leader)}
	cmd := exec.CommandContext(ctx, "sh", append(enter, argv...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"}
	h.tame(cmd)
	return cmd
}

// tame makes a command end as a whole: by its process group, when the context is done or the lab dies.
func (h *Host) tame(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second // a child that it left behind may hold its output open
}

// enterScript joins a host: its control groups first, which nsenter leaves out, then its namespaces. In the second version of
// control groups only leaves take processes; supervisor is the one that nspawn made for itself.
const enterScript = `
group=$1 leader=$2
shift 2
for g in /sys/fs/cgroup/*/"$group" /sys/fs/cgroup/"$group"/supervisor; do
  [ ! -e "$g/cgroup.procs" ] || echo 0 >"$g/cgroup.procs"
done
exec nsenter --target="$leader" --all -- env --chdir=/ "$@"
`

//go:embed healthy.sh
var healthyScript string

// Healthy is nil if a client finds everything in order: the login, the application, its data, every unit.
func (h *Host) Healthy(ctx context.Context) error {
	_, err := h.run(ctx, Script{Where: atGateway, Text: healthyScript})
	return err
}

// State describes how the host is set up, in lines that are the same before a fault and after it was cleared.
func (h *Host) State(ctx context.Context) (string, error) {
	return h.run(ctx, Script{Where: inHost, Text: stateScript})
}

// stateScript leaves out what changes by itself: lifetimes, counters, times, /etc's caches.
const stateScript = `
cd /
find etc root/.ssh home -xdev -printf '%p %M %U:%G %l\n' | sort
find etc root/.ssh home -xdev -type f -print0 | sort -z | xargs -0 sha256sum
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

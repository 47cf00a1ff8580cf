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

// A container is a systemd-nspawn container with its own processes, mounts, network, journal, users and services on this
// machine's kernel, behind a gateway of its own. See serveGateway for what surrounds it.
//
// Nothing that it is made of outlives the lab, however that ends. The launcher, which becomes systemd-nspawn, runs in new PID,
// mount and network namespaces and dies with its parent; with it the kernel ends every process in the container, unmounts
// the overlay and drops the network. The loop device clears itself when the last user closes it. What remains after
// SIGKILL, an empty control group and a directory, is removed by the next run: see sweep.
type container struct {
	dir             string // everything this host writes on the machine, and its lock
	lock            *os.File
	disk            *os.File // the loop device that is its /dev/vdb
	launcher        *exec.Cmd
	gateway         *exec.Cmd
	leader          int    // its PID 1, as this machine numbers it
	leaderAtGateway string // the same, as the launcher's PID namespace numbers it
	key             string
	console         bytes.Buffer
}

// memory is what one host may use. lxcfs shows it as the host's MemTotal.
const memory = 1 << 30

//go:embed launch.sh
var launchScript string

// bootContainer starts a container from image, with the file hostmend as its /usr/local/bin/hostmend unless that is empty, and
// waits until everything on it runs. Close must be called even after an error.
func bootContainer(ctx context.Context, image Image, hostmend string) (*container, error) {
	c := &container{key: image.Key}
	if err := c.boot(ctx, image, hostmend); err != nil {
		return c, fmt.Errorf("booting a container: %w\n%s", err, lastLines(c.console.String(), 20))
	}
	return c, nil
}

func (c *container) boot(ctx context.Context, image Image, hostmend string) error {
	if err := c.prepare(ctx, image, hostmend); err != nil {
		return err
	}
	groups, err := makeGroups(filepath.Base(c.dir), memory, 10) // so that what else the machine does hardly shows
	if err != nil {
		return err
	}
	args := append([]string{"-c", launchScript, "launch", image.Root, c.dir}, groups...)
	c.launcher = exec.Command("sh", args...) //nolint:noctx // Close ends it in the right order
	c.launcher.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS, // Unshareflags also makes the mounts private
		Pdeathsig: unix.SIGKILL,
		Setpgid:   true, // the terminal's Ctrl-C is for the lab, which then ends its hosts
	}
	c.launcher.Stdout, c.launcher.Stderr = &c.console, &c.console
	networked, err := c.launcher.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.launcher.Start(); err != nil {
		return fmt.Errorf("starting the launcher: %w", err)
	}
	launcher := strconv.Itoa(c.launcher.Process.Pid)
	if c.gateway, err = startGateway(ctx, launcher, &c.console); err != nil {
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
	if err := until(ctx, 20*time.Second, c.findLeader); err != nil {
		return err
	}
	if err := until(ctx, 10*time.Second, func() error { return c.furnish(ctx) }); err != nil { // systemd makes its mounts meanwhile
		return err
	}
	return until(ctx, 60*time.Second, func() error { return Healthy(ctx, c) })
}

// prepare makes the host's directory, its data disk and the files that differ from the image.
func (c *container) prepare(ctx context.Context, image Image, hostmend string) error {
	var err error
	if c.dir, c.lock, err = makeHostDir(ctx, filepath.Dir(image.Root)); err != nil {
		return err
	}
	for _, d := range []string{"upper/usr/local/bin", "upper/etc", "work", "root", "lxcfs"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o755); err != nil {
			return err
		}
	}
	// An overlay shows the upper directory's owner and mode.
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	if err := os.WriteFile(filepath.Join(c.dir, "upper/etc/machine-id"), fmt.Appendf(nil, "%x\n", id), 0o444); err != nil {
		return err
	}
	if hostmend != "" {
		if err := copyFile(hostmend, filepath.Join(c.dir, "upper/usr/local/bin/hostmend"), 0o755); err != nil {
			return err
		}
	}
	return c.makeDisk(ctx)
}

// makeDisk makes a 64 MiB ext4 with few inodes, on a loop device that vanishes with its last user.
func (c *container) makeDisk(ctx context.Context) error {
	file := filepath.Join(c.dir, "vdb")
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
		if c.disk, err = os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0); err != nil {
			return err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		copy(config.Info.File_name[:], file)
		if err = unix.IoctlLoopConfigure(int(c.disk.Fd()), &config); err == nil {
			return nil
		}
		c.disk.Close()
		c.disk = nil
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("setting up a loop device: %w", err)
		}
	}
	return errors.New("no free loop device after 10 tries")
}

// findLeader looks for the container's PID 1: the launcher's child that is process 1 two PID namespaces down.
func (c *container) findLeader() error {
	pid := c.launcher.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return permanent{fmt.Errorf("the container ended: %w", err)}
	}
	for child := range strings.FieldsSeq(string(children)) {
		status, _ := os.ReadFile("/proc/" + child + "/status")
		_, ids, _ := strings.Cut(string(status), "\nNSpid:")
		ids, _, _ = strings.Cut(ids, "\n")
		if f := strings.Fields(ids); len(f) > 1 && f[len(f)-1] == "1" {
			c.leaderAtGateway = f[len(f)-2]
			c.leader, err = strconv.Atoi(child)
			return err
		}
	}
	return errors.New("the container has no PID 1 yet")
}

//go:embed furnish.sh
var furnishScript string

// furnish does what can only be done once the host has its own /dev and /proc.
func (c *container) furnish(ctx context.Context) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(c.disk.Fd()), &st); err != nil {
		return err
	}
	device := fmt.Sprintf("major=%d minor=%d\n", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	_, err := Script{Where: inHost, Text: device + furnishScript}.Run(ctx, c)
	return err
}

// Close ends the host and removes all that it was made of.
func (c *container) Close() error {
	var errs []error
	for _, cmd := range []*exec.Cmd{c.launcher, c.gateway} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill() // PID 1 of its namespace: the kernel ends everything in it before Wait returns
			_ = cmd.Wait()
		}
	}
	if c.disk != nil {
		errs = append(errs, c.disk.Close())
	}
	if c.dir != "" {
		errs = append(errs, removeGroups(filepath.Base(c.dir)), os.RemoveAll(c.dir))
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
	}
	return errors.Join(errs...)
}

// Command is a program to run inside the container, in its control groups, so that what it uses is charged to it.
func (c *container) Command(ctx context.Context, argv ...string) *exec.Cmd {
	enter := []string{"-c", enterScript, "enter", filepath.Base(c.dir), strconv.Itoa(c.leader)}
	cmd := tame(exec.CommandContext(ctx, "sh", append(enter, argv...)...))
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"}
	return cmd
}

// AtGateway is a program to run in the network of the container's gateway, and in the launcher's PID namespace: it can enter the
// container's from there.
func (c *container) AtGateway(ctx context.Context, argv ...string) *exec.Cmd {
	leader := strconv.Itoa(c.leader)
	cmd := enter(ctx, c.gateway, c.launcher, argv...)
	cmd.Env = append(os.Environ(), "ENTER=nsenter --target="+leader+enterNamespaces, "KEY="+c.key, "HOST="+hostAddr,
		"CLIENT="+clientAddr, "LEADER="+c.leaderAtGateway, "GROUP="+filepath.Base(c.dir), "PACE=1", "DISK="+filepath.Base(c.disk.Name()))
	return cmd
}

// enterScript joins a host: its niceness of 0, whatever the lab's own is (who yields to others is no runaway), its control groups, which
// nsenter leaves out, then its namespaces. In the second version of control groups only leaves take processes; supervisor is the one
// that nspawn made for itself.
const enterScript = `
group=$1 leader=$2
shift 2
renice 0 $$ >/dev/null
for g in /sys/fs/cgroup/*/"$group" /sys/fs/cgroup/"$group"/supervisor; do
  [ ! -e "$g/cgroup.procs" ] || echo 0 >"$g/cgroup.procs"
done
exec nsenter --target="$leader"` + enterNamespaces + ` "$@"
`

// enterNamespaces are all that a container has. With nsenter's own --all it looks by its process id, in /proc, which of them it is in
// already; at the gateway it has another id.
const enterNamespaces = " --mount --uts --ipc --net --pid --cgroup -- env --chdir=/"

// Pace is 1: a container is as fast as the machine.
func (c *container) Pace() time.Duration { return 1 }

// Shell is a login shell in the container.
func (c *container) Shell(ctx context.Context) *exec.Cmd { return c.Command(ctx, "bash", "-l") }

// Entrance names the processes whose namespaces are the container and the gateway's network.
func (c *container) Entrance() string {
	return fmt.Sprintf("To enter it from elsewhere: nsenter -t %d -a; its gateway's network: nsenter -t %d -n", c.leader, c.gateway.Process.Pid)
}

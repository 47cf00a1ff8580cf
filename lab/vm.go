package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A vm is a virtual machine: QEMU without KVM, which runs anywhere, with Debian's stock cloud kernel. It has what a container
// lacks, its own kernel log, sysctls, modules, devices and clock, and everything in it takes ten to twenty times as long. So it
// is booted once, when its image is made; a trial resumes that moment.
//
// QEMU dies with the lab. The TAP device is the gateway's, in whose network
// QEMU runs. What remains after SIGKILL, an empty control group and a directory, is removed by the next run: see sweep.
type vm struct {
	dir     string // its sockets, its console, and its lock
	lock    *os.File
	gateway *exec.Cmd
	qemu    *exec.Cmd
	key     string
	log     bytes.Buffer
}

// vmPace allows for emulation on two processors that others use too.
const vmPace = 10

// Sizes of a virtual machine, and what QEMU may use for one: the guest's memory, translated code, devices.
const (
	vmMemory   = 1 << 30
	qemuMemory = 2 << 30
)

// resumeVM resumes a virtual machine from its image, with the file hostmend as its /usr/local/bin/hostmend unless that is empty.
// Close must be called even after an error.
func resumeVM(ctx context.Context, image VMImage, hostmend string) (*vm, error) {
	v := &vm{key: image.Key}
	err := v.start(ctx, image, "-incoming", "exec:cat '"+image.file("state")+"'")
	if err == nil {
		err = v.wake(ctx, hostmend)
	}
	if err != nil {
		return v, fmt.Errorf("resuming a virtual machine: %w\n%s", err, v.trail())
	}
	return v, nil
}

// start runs QEMU; with -incoming it has a saved state and throws away what is written to its disks.
func (v *vm) start(ctx context.Context, image VMImage, more ...string) error {
	var err error
	if v.dir, v.lock, err = makeHostDir(ctx, filepath.Dir(image.Dir)); err != nil {
		return err
	}
	groups, err := makeGroups(filepath.Base(v.dir), qemuMemory, 3) // less than a container: emulation would starve the others
	if err != nil {
		return err
	}
	if v.gateway, err = startGateway(ctx, tapCable, &v.log); err != nil {
		return err
	}
	disks := "file=%s,format=raw,if=none,id=%s,cache=unsafe"
	if len(more) > 0 {
		disks += ",snapshot=on"
	}
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(vmMemory >> 20),
		"-no-user-config", "-nodefaults", "-display", "none", "-rtc", "base=utc",
		"-kernel", image.file("vmlinuz"), "-initrd", image.file("initrd"),
		"-append", "root=UUID=6d1f3c1e-52f5-4b0a-9d3b-2f6d8c1a7e10 rw console=ttyS0 net.ifnames=0 quiet",
		"-smbios", "type=1,manufacturer=Alibaba Cloud,product=Alibaba Cloud ECS", // as dmidecode shows on an instance
		"-serial", "file:" + filepath.Join(v.dir, "console"),
		"-monitor", "unix:" + filepath.Join(v.dir, "monitor") + ",server=on,wait=off",
		"-drive", fmt.Sprintf(disks, image.file("root.img"), "root"), "-device", "virtio-blk-pci,drive=root",
		"-drive", fmt.Sprintf(disks, image.file("data.img"), "data"), "-device", "virtio-blk-pci,drive=data,serial=d-bp1lab",
		"-netdev", "tap,id=net,ifname=lab0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=net,mac=" + hostMAC,
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-device", "pcie-root-port,id=spare1,chassis=1", "-device", "pcie-root-port,id=spare2,chassis=2", // for what is plugged in later
	}
	for i := range controlPorts {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=lab%d,path=%s/lab.%d,server=on,wait=off", i, v.dir, i),
			"-device", fmt.Sprintf("virtserialport,chardev=lab%d,name=lab.%d", i, i))
	}
	// As for a container: the control groups first, then the network.
	enter := `n=$1; shift; for g in $n; do echo 0 >"$g/cgroup.procs"; done; exec "$@"`
	v.qemu = exec.Command("sh", append([]string{"-eu", "-c", enter, "enter", strings.Join(groups, " "), //nolint:noctx // Close ends it
		"nsenter", "--target=" + strconv.Itoa(v.gateway.Process.Pid), "--net", "qemu-system-x86_64"}, append(args, more...)...)...)
	v.qemu.Env = append(os.Environ(), "TMPDIR="+v.dir) // what is written to its disks
	v.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	v.qemu.Stdout, v.qemu.Stderr = &v.log, &v.log
	if err := v.qemu.Start(); err != nil {
		return fmt.Errorf("starting QEMU: %w", err)
	}
	return nil
}

//go:embed vm-wake.sh
var wakeScript string

// wake lets a resumed machine run on, tells it the time, and waits until it is healthy.
func (v *vm) wake(ctx context.Context, hostmend string) error {
	if err := v.await(ctx, "info status", "VM status: paused\r", time.Minute); err != nil { // not "(inmigrate)"
		return err
	}
	if _, err := v.monitor(ctx, "cont"); err != nil {
		return err
	}
	now := strconv.FormatFloat(float64(time.Now().UnixMilli())/1000, 'f', 3, 64)
	if _, err := (Script{Where: inHost, Text: "now=" + now + "\n" + wakeScript}).Run(ctx, v); err != nil {
		return err
	}
	if hostmend != "" {
		if err := v.install(ctx, hostmend); err != nil {
			return err
		}
	}
	return until(ctx, 2*time.Minute, func() error { return Healthy(ctx, v) })
}

// install copies the program under test into the machine.
func (v *vm) install(ctx context.Context, hostmend string) error {
	program, err := os.Open(hostmend)
	if err != nil {
		return err
	}
	defer program.Close()
	cmd := v.Command(ctx, "sh", "-c", "cat >/usr/local/bin/hostmend && chmod 755 /usr/local/bin/hostmend")
	cmd.Stdin = program
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copying hostmend: %w: %s", err, out)
	}
	return nil
}

// await repeats a monitor command until its answer holds text.
func (v *vm) await(ctx context.Context, command, text string, limit time.Duration) error {
	return until(ctx, limit, func() error {
		if err := v.qemu.Process.Signal(syscall.Signal(0)); err != nil {
			return permanent{fmt.Errorf("QEMU: %w", err)}
		}
		answer, err := v.monitor(ctx, command)
		if err == nil && !strings.Contains(answer, text) {
			err = fmt.Errorf("QEMU says %q", answer)
		}
		return err
	})
}

// monitor gives QEMU's monitor a command and returns what it says.
func (v *vm) monitor(ctx context.Context, command string) (string, error) {
	return askMonitor(ctx, v.dir, command)
}

// monitorEnv makes this program give its arguments to the monitor of the virtual machine in that directory: for scripts at the gateway.
const monitorEnv = "HOSTMEND_LAB_MONITOR"

func askMonitor(ctx context.Context, dir, command string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "monitor"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	const prompt = "\r\n(qemu) "
	if _, err := readUntil(conn, "\n(qemu) "); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", err
	}
	answer, err := readUntil(conn, prompt)
	_, answer, _ = strings.Cut(answer, "\r\n") // the echo of the command
	return strings.TrimSuffix(answer, prompt[2:]), err
}

// readUntil reads until what it read ends in end.
func readUntil(r io.Reader, end string) (string, error) {
	var text []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(text, []byte(end)) {
		if _, err := io.ReadFull(r, one); err != nil {
			return string(text), fmt.Errorf("QEMU's monitor: %w", err)
		}
		text = append(text, one...)
	}
	return string(text), nil
}

// Command is a program to run inside the machine: see enterVM.
func (v *vm) Command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := tame(exec.CommandContext(ctx, "/proc/self/exe", argv...))
	cmd.Env = append(os.Environ(), enterEnv+"="+v.dir)
	return cmd
}

// AtGateway is a program to run in the network of the machine's gateway.
func (v *vm) AtGateway(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := enter(ctx, v.gateway, v.gateway, argv...)
	cmd.Env = append(os.Environ(), "ENTER=env "+enterEnv+"="+v.dir+" "+self(), "MONITOR=env "+monitorEnv+"="+v.dir+" "+self(),
		"KEY="+v.key, "HOST="+hostAddr, "CLIENT="+clientAddr, "PACE="+strconv.Itoa(vmPace))
	return cmd
}

// Pace says how slow emulation is.
func (v *vm) Pace() time.Duration { return vmPace }

// trail is what there is to say about a machine that failed.
func (v *vm) trail() string {
	console, _ := os.ReadFile(filepath.Join(v.dir, "console"))
	return lastLines(v.log.String()+string(console), 20)
}

// Close ends the machine and removes all that it was made of.
func (v *vm) Close() error {
	for _, cmd := range []*exec.Cmd{v.qemu, v.gateway} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	var errs []error
	if v.dir != "" {
		errs = append(errs, removeGroups(filepath.Base(v.dir)), os.RemoveAll(v.dir))
	}
	if v.lock != nil {
		errs = append(errs, v.lock.Close())
	}
	return errors.Join(errs...)
}

// vmPossible says why this machine can have no virtual machines, or nil.
func vmPossible() error {
	for _, program := range []string{"qemu-system-x86_64", "sfdisk"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %s is not installed, `make packages` does that on Debian", errNoMachine, program)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("%w: no cable for it: %w", errNoMachine, err)
	}
	return nil
}

// self is this program, by a name that other processes can use.
func self() string {
	file, err := os.Executable()
	if err != nil {
		return "/proc/self/exe"
	}
	return file
}

const keysScript = `saved=$(stty -g)
trap 'stty "$saved"' EXIT
stty raw -echo
"$0" script --quiet --command 'bash -l' /dev/null
`

// Shell is a login shell in the machine; on a terminal it has one there too, and this one passes every key on.
func (v *vm) Shell(ctx context.Context) *exec.Cmd {
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err != nil {
		return v.Command(ctx, "bash", "-l")
	}
	cmd := v.Command(ctx)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", keysScript, self()}
	return cmd
}

// Entrance says what plays the part of nsenter, and names the process whose network is the gateway's.
func (v *vm) Entrance() string {
	return fmt.Sprintf("To enter it from elsewhere: %s=%s go run ./lab COMMAND; its gateway's network: nsenter -t %d -n", enterEnv, v.dir, v.gateway.Process.Pid)
}

package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Host reads what kind of machine this is.
var Host = probes.Define(probes.Probe[host.Host]{
	Name: "host",
	Doc: `The machine, its kernel and its distribution

Reads /proc/sys/kernel, /etc/os-release, /proc/uptime, /proc/stat, the clock sources and the firmware's DMI strings in /sys, and
asks gopsutil for the traces of hypervisors. Costs 0.3 ms, and the first time 0.4 ms more where there is no kvm-clock. In a container
the kernel, the cores and the DMI strings are the machine's that it runs on; "container" tells. A hypervisor may put what it
likes into DMI, and some virtual machines have none. Traces of a hypervisor that gopsutil does not know are not found: a machine without
"virtual_role" is not proved to be bare metal.`,
	Every: 10 * time.Minute,
}, hostProbe)

type hostFacts struct {
	Hostname  string             `fact:"hostname" doc:"Name of the host; /proc/sys/kernel/hostname"`
	OS        probes.Opt[string] `fact:"os" doc:"Distribution: ID of os-release, as in debian, alinux, centos; absent without the file"`
	OSVersion probes.Opt[string] `fact:"os_version" doc:"Its version: VERSION_ID of os-release; absent in rolling ones"`
	OSLike    []string           `fact:"os_like" doc:"Distributions it resembles: ID_LIKE of os-release"`
	OSName    probes.Opt[string] `fact:"os_name" doc:"Its name for people: PRETTY_NAME of os-release"`

	Kernel      string             `fact:"kernel" doc:"Release of the kernel; /proc/sys/kernel/osrelease"`
	KernelMajor int                `fact:"kernel_major" unit:"count" doc:"First number of the release"`
	KernelMinor int                `fact:"kernel_minor" unit:"count" doc:"Second number of the release"`
	KernelCode  int                `fact:"kernel_code" unit:"count" doc:"Release for comparing: 1000 × major + minor, 4012 for 4.12"`
	Arch        probes.Opt[string] `fact:"arch" doc:"Architecture as uname says it; /proc/sys/kernel/arch since Linux 6.1, before that from the name of the dynamic loader"`
	CrashKernel probes.Opt[string] `fact:"crash_kernel" doc:"What the kernel's command line reserves for a crash kernel: crashkernel=; absent if it reserves nothing"`

	CPUs     int                `fact:"cpus" unit:"cores" doc:"Cores that are online"`
	Uptime   time.Duration      `fact:"uptime" doc:"Time since the kernel started; /proc/uptime"`
	BootedAt string             `fact:"booted_at" doc:"When the kernel started, RFC 3339; btime of /proc/stat"`
	Vendor   probes.Opt[string] `fact:"vendor" doc:"DMI system vendor, as in Alibaba Cloud; absent without DMI"`
	Product  probes.Opt[string] `fact:"product" doc:"DMI product, as in Alibaba Cloud ECS; absent without DMI"`

	Virtualization probes.Opt[string] `fact:"virtualization" doc:"Kind of hypervisor or container manager, as in kvm, xen, hyperv, vmware, docker, lxc: kvm where the kernel has kvm-clock, else what gopsutil recognises; absent on bare metal and where it knows no trace"`
	VirtualRole    probes.Opt[string] `fact:"virtual_role" doc:"Which end of it this is: guest, or host of others; absent as virtualization is, which may also be absent alone"`

	Container     bool               `fact:"container" doc:"Runs in a container: many facts are then those of the machine around it"`
	ContainerKind probes.Opt[string] `fact:"container_kind" doc:"What made the container, as in docker, podman, systemd-nspawn, kubernetes, lxc; absent outside of one"`
	Systemd       bool               `fact:"systemd" doc:"systemd is the service manager: /run/systemd/system exists, as sd_booted(3) asks"`
	Init          probes.Opt[string] `fact:"init" doc:"Command name of process 1"`
}

func hostProbe(ctx context.Context, h host.Host) (hostFacts, error) {
	var f hostFacts
	var err error
	if f.Hostname, err = readLine(h, "/proc/sys/kernel/hostname"); err != nil {
		return f, err
	}
	if f.Kernel, err = readLine(h, "/proc/sys/kernel/osrelease"); err != nil {
		return f, err
	}
	if f.KernelMajor, f.KernelMinor, err = kernelVersion(f.Kernel); err != nil {
		return f, fmt.Errorf("reading /proc/sys/kernel/osrelease: %w", err)
	}
	f.KernelCode = 1000*f.KernelMajor + f.KernelMinor
	if f.Uptime, err = readUptime(h); err != nil {
		return f, err
	}
	s, err := readStat(h)
	if err != nil {
		return f, err
	}
	f.CPUs, f.BootedAt = len(s.cores), s.boot.UTC().Format(time.RFC3339)
	f.distribution(h)
	f.Arch, f.CrashKernel = arch(h), crashKernel(h)
	f.Vendor, f.Product = dmi(h, "sys_vendor"), dmi(h, "product_name")
	f.Init = optionalLine(h, "/proc/1/comm")
	f.ContainerKind = containerKind(h)
	_, f.Container = f.ContainerKind.Get()
	f.virtualization(ctx, h)
	info, err := h.Stat("/run/systemd/system")
	f.Systemd = err == nil && info.Mode.IsDir()
	return f, nil
}

// kernelVersion takes the numbers off "3.10.0-1160.el7.x86_64" and "6.18-rc1".
func kernelVersion(release string) (major, minor int, err error) {
	a, rest, _ := strings.Cut(release, ".")
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		rest = rest[:i]
	}
	major, errA := strconv.Atoi(a)
	minor, errB := strconv.Atoi(rest)
	if errA != nil || errB != nil || minor > 999 {
		return 0, 0, fmt.Errorf("%.80q does not begin with a version", release)
	}
	return major, minor, nil
}

// readUptime reads how long ago the kernel started, suspended time included.
func readUptime(h host.Files) (time.Duration, error) {
	line, err := readLine(h, "/proc/uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(line, " ")
	s, err := strconv.ParseFloat(first, 64)
	if err != nil || math.IsNaN(s) || s < 0 || s > math.MaxInt32 {
		return 0, fmt.Errorf("reading /proc/uptime: %.40q is not a number of seconds", first)
	}
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond), nil
}

func crashKernel(h host.Files) probes.Opt[string] {
	line := optionalLine(h, "/proc/cmdline")
	words, ok := line.Get()
	if !ok {
		return line
	}
	for word := range strings.FieldsSeq(words) {
		if size, ok := strings.CutPrefix(word, "crashkernel="); ok {
			return probes.Some(size)
		}
	}
	return probes.None[string]()
}

// distribution reads os-release(5): the file in /etc wins.
func (f *hostFacts) distribution(h host.Files) {
	b, err := h.ReadFile("/etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		b, err = h.ReadFile("/usr/lib/os-release")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		f.OS, f.OSVersion, f.OSName = probes.Unread[string](err.Error()), probes.Unread[string](err.Error()), probes.Unread[string](err.Error())
		return
	}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		if !ok || value == "" {
			continue
		}
		switch key {
		case "ID":
			f.OS = probes.Some(value)
		case "VERSION_ID":
			f.OSVersion = probes.Some(value)
		case "ID_LIKE":
			f.OSLike = strings.Fields(value)
		case "PRETTY_NAME":
			f.OSName = probes.Some(value)
		}
	}
}

// loaders are the dynamic loaders of the architectures that ECS has, as their ABIs name them.
var loaders = []struct{ path, arch string }{
	{"/lib64/ld-linux-x86-64.so.2", "x86_64"},
	{"/lib/ld-linux-aarch64.so.1", "aarch64"},
}

func arch(h host.Files) probes.Opt[string] {
	if line, err := readLine(h, "/proc/sys/kernel/arch"); err == nil {
		return probes.Some(line)
	}
	for _, l := range loaders {
		if _, err := h.Stat(l.path); err == nil {
			return probes.Some(l.arch)
		}
	}
	return probes.Unread[string]("the kernel is older than 6.1 and no dynamic loader tells")
}

func dmi(h host.Files, name string) probes.Opt[string] {
	return optionalLine(h, "/sys/class/dmi/id/"+name)
}

// containerManagers are those that gopsutil takes for a kind of virtualization.
var containerManagers = []string{"docker", "lxc", "openvz", "linux-vserver", "rkt"}

// virtualization believes the kernel first, which has kvm-clock only as a guest of KVM (it sees it in CPUID, see
// https://docs.kernel.org/virt/kvm/x86/cpuid.html), then what gopsutil recognises. It goes by marks such as /.dockerenv, which a
// virtual machine has too that was made of a container's image; they hide what it really is.
func (f *hostFacts) virtualization(ctx context.Context, h host.Host) {
	clocks, err := readLine(h, "/sys/devices/system/clocksource/clocksource0/available_clocksource")
	if err == nil && slices.Contains(strings.Fields(clocks), "kvm-clock") {
		f.Virtualization, f.VirtualRole = probes.Some("kvm"), probes.Some("guest")
		return
	}
	m, err := h.Machine(ctx)
	if err == nil && !f.Container && m.Role == "guest" && slices.Contains(containerManagers, m.Virtualization) {
		err = fmt.Errorf("it has the marks of %s, but is no container", m.Virtualization)
	}
	if err != nil {
		f.Virtualization, f.VirtualRole = probes.Unread[string](err.Error()), probes.Unread[string](err.Error())
		return
	}
	f.Virtualization, f.VirtualRole = unlessEmpty(m.Virtualization), unlessEmpty(m.Role)
}

func unlessEmpty(s string) probes.Opt[string] {
	if s == "" {
		return probes.None[string]()
	}
	return probes.Some(s)
}

// containerKind looks at what container managers leave behind for systemd-detect-virt(1) and others to see:
// https://systemd.io/CONTAINER_INTERFACE
func containerKind(h host.Files) probes.Opt[string] {
	// A container has processes of its own; only the machine shows its kernel threads. A virtual machine that was made of a
	// container's image has the marks as well.
	if name, err := readLine(h, "/proc/2/comm"); err == nil && name == "kthreadd" {
		return probes.None[string]()
	}
	if kind, err := readLine(h, "/run/systemd/container"); err == nil {
		return probes.Some(kind)
	}
	for _, mark := range []struct{ path, kind string }{
		{"/var/run/secrets/kubernetes.io", "kubernetes"}, {"/run/.containerenv", "podman"}, {"/.dockerenv", "docker"},
	} {
		if _, err := h.Lstat(mark.path); err == nil {
			return probes.Some(mark.kind)
		}
	}
	// Root can also ask process 1 what it was started with; whoever cannot has the marks above.
	env, err := h.ReadFile("/proc/1/environ")
	if err != nil {
		return probes.None[string]()
	}
	for word := range strings.SplitSeq(string(env), "\x00") {
		if kind, ok := strings.CutPrefix(word, "container="); ok && kind != "" {
			return probes.Some(kind)
		}
	}
	return probes.None[string]()
}

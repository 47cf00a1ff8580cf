package linux

import (
	"fmt"
	"strings"
	"testing"
)

const hostCapture = `
-- /proc/sys/kernel/hostname --
web-1
-- /proc/sys/kernel/osrelease --
4.19.91-26.al7.x86_64
-- /proc/uptime --
3600.50 7000.00
-- /proc/stat --
cpu0 1 2 3 4
cpu1 1 2 3 4
` + statTail + `-- /proc/cmdline --
BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 crashkernel=auto
`

func clocks(names string) string {
	return "-- /sys/devices/system/clocksource/clocksource0/available_clocksource --\n" + names + "\n"
}

func machine(virtualization, role string) string {
	return fmt.Sprintf("-- machine --\n{\"virtualization\": %q, \"role\": %q}\n", virtualization, role)
}

func TestHost(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"Alibaba Cloud Linux 2", hostCapture + `
-- /etc/os-release --
NAME="Alibaba Cloud Linux (Aliyun Linux)"
VERSION_ID="2.1903"
ID="alinux"
ID_LIKE="rhel fedora centos anolis"
PRETTY_NAME="Alibaba Cloud Linux (Aliyun Linux) 2.1903 LTS (Hunting Beagle)"
-- /sys/class/dmi/id/sys_vendor --
Alibaba Cloud
-- /sys/class/dmi/id/product_name --
Alibaba Cloud ECS
-- /lib64/ld-linux-x86-64.so.2 --
-- /proc/1/comm --
systemd
-- /proc/2/comm --
kthreadd
-- /run/systemd/system/ --
`, map[string]string{
			"hostname": `"web-1"`, "os": `"alinux"`, "os_version": `"2.1903"`, "os_like": `["rhel","fedora","centos","anolis"]`,
			"kernel_major": "4", "kernel_minor": "19", "kernel_code": "4019", "arch": `"x86_64"`, "cpus": "2", "uptime": `"1h0m0.5s"`,
			"booted_at": `"2026-11-21T06:47:07Z"`, "vendor": `"Alibaba Cloud"`, "product": `"Alibaba Cloud ECS"`, "crash_kernel": `"auto"`,
			"container": "false", "container_kind": "null", "systemd": "true", "init": `"systemd"`,
		}},
		{"bare", strings.Replace(hostCapture, "crashkernel=auto", "quiet", 1) + "-- /sys/class/dmi/id/product_name --\n\n", map[string]string{
			"os": "null", "os_like": "[]", "arch": `{"unreadable":"the kernel is older than 6.1 and no dynamic loader tells"}`,
			"product": "null", "crash_kernel": "null", "container": "false", "systemd": "false", "init": "null",
		}},
		{"in systemd-nspawn", hostCapture + "-- /run/systemd/container --\nsystemd-nspawn\n-- /proc/sys/kernel/arch --\naarch64\n", map[string]string{
			"container": "true", "container_kind": `"systemd-nspawn"`, "arch": `"aarch64"`,
		}},
		{
			"in a container that only its environment tells", hostCapture + "-- /proc/1/environ [quoted] --\n" + quote("A=b\x00container=lxc\x00"),
			map[string]string{"container_kind": `"lxc"`},
		},
		{
			"a virtual machine made of an image of Docker's", hostCapture + "-- /.dockerenv --\n-- /proc/2/comm --\nkthreadd\n",
			map[string]string{"container": "false"},
		},
		{
			"a guest of KVM with modules of its own", hostCapture + clocks("kvm-clock tsc acpi_pm") + machine("kvm", "host"),
			map[string]string{"virtualization": `"kvm"`, "virtual_role": `"guest"`},
		},
		{
			"a guest of VMware", hostCapture + clocks("tsc acpi_pm") + machine("vmware", "guest"),
			map[string]string{"virtualization": `"vmware"`, "virtual_role": `"guest"`},
		},
		{
			"a guest of nobody knows what", hostCapture + machine("", "guest"),
			map[string]string{"virtualization": "null", "virtual_role": `"guest"`},
		},
		{
			"a host of others", hostCapture + clocks("tsc") + machine("kvm", "host"),
			map[string]string{"virtualization": `"kvm"`, "virtual_role": `"host"`},
		},
		{"bare metal", hostCapture + clocks("tsc hpet") + machine("", ""), map[string]string{"virtualization": "null", "virtual_role": "null"}},
		{
			"a container of Docker's", hostCapture + "-- /.dockerenv --\n" + machine("docker", "guest"),
			map[string]string{"virtualization": `"docker"`, "virtual_role": `"guest"`},
		},
		{
			"marks of Docker's outside of a container", hostCapture + "-- /.dockerenv --\n-- /proc/2/comm --\nkthreadd\n" + machine("docker", "guest"),
			map[string]string{
				"virtualization": `{"unreadable":"it has the marks of docker, but is no container"}`,
				"virtual_role":   `{"unreadable":"it has the marks of docker, but is no container"}`,
			},
		},
		{
			"a capture that was not asked", hostCapture,
			map[string]string{
				"virtualization": `{"unreadable":"machine: not in the capture"}`, "virtual_role": `{"unreadable":"machine: not in the capture"}`, "cpus": "2",
			},
		},
		{"a kernel without a version", hostCapture + "-- /proc/sys/kernel/osrelease --\nlinux\n", map[string]string{"(reason)": "does not begin with a version"}},
		{"an absurd uptime", hostCapture + "-- /proc/uptime --\n-5 1\n", map[string]string{"(reason)": "reading /proc/uptime"}},
		{
			"os-release denied", hostCapture + "-- /etc/os-release !permission --\n",
			map[string]string{"os": `{"unreadable":"open /etc/os-release: permission denied"}`, "cpus": "2"},
		},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Host, observe(t, Host, c.capture), c.want) })
	}
}

func TestKernelVersion(t *testing.T) {
	for _, c := range []struct {
		release      string
		major, minor int
		ok           bool
	}{
		{"3.10.0-1160.el7.x86_64", 3, 10, true},
		{"6.18-rc1", 6, 18, true},
		{"2.6.32", 2, 6, true},
		{"6.18", 6, 18, true},
		{"", 0, 0, false},
		{"six.1", 0, 0, false},
		{"6", 0, 0, false},
		{"6.1000", 0, 0, false},
	} {
		major, minor, err := kernelVersion(c.release)
		if major != c.major || minor != c.minor || (err == nil) != c.ok {
			t.Errorf("kernelVersion(%q) = %d, %d, %v", c.release, major, minor, err)
		}
	}
}

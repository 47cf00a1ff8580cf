// Package linux holds the probes that ask the kernel and the files.
package linux

import (
	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Probes lists every probe of this package.
func Probes() []probes.Probe[host.Host] {
	return []probes.Probe[host.Host]{
		Accounts,
		Addressing,
		Binaries,
		Boot,
		Certificates,
		Cgroups,
		Changes,
		Conntrack,
		CPU,
		Daemons,
		DeletedFiles,
		DiskHealth,
		Disks,
		Essentials,
		Filesystems,
		Firewall,
		Fstab,
		Host,
		Inotify,
		Interfaces,
		Intrusion,
		IPC,
		Jobs,
		KernelLog,
		KnownIssues,
		Limits,
		Listeners,
		Load,
		Memory,
		Neighbours,
		NextBoot,
		Nginx,
		OOM,
		OpenFiles,
		PAM,
		Pressure,
		Processes,
		Qdiscs,
		Routes,
		Rules,
		RunMode,
		Schedules,
		Sockets,
		Softnet,
		Sshd,
		StartupFiles,
		Sudo,
		Sysctl,
		SysctlList,
		SysctlText,
		SystemFiles,
		TCPStats,
		TimeSync,
		Units,
		Usage,
		VMStat,
	}
}

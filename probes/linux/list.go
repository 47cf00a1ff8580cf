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
		CPU,
		DeletedFiles,
		Disks,
		Filesystems,
		Fstab,
		Host,
		KernelLog,
		Limits,
		Load,
		Memory,
		OOM,
		Pressure,
		Processes,
		Sshd,
		SystemFiles,
		TimeSync,
		Units,
		VMStat,
	}
}

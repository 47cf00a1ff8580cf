// Package linux declares what can be done to a Linux host: for each action its arguments, its risk and what it writes. Playbooks
// name actions in `fix:`; lint holds them to these declarations.
package linux

import (
	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// Actions lists the actions, by name.
func Actions() []playbooks.Action {
	return []playbooks.Action{
		ConntrackLimit, FileCRLF, FileMode, FilePackageRestore, FSGrow, FSMount, FstabComment, HugePagesSet, InterfaceQueues,
		JournalVacuum, LimitsNofile, LogrotateForce, NologinRemove, PackageCacheClean, QdiscDelete, ResolverServers, RouteAdd,
		RouteDelete, ServiceReload, ServiceRestart, ServiceStart, SSHHostKeys, SSHPrivilegeSeparation, SysctlSet, TimeServers, TimeStep,
		TruncateOpen, UnitQuota, FirewallAccept, DHCPRenew,
	}
}

// Patterns that several actions hold their arguments to. They keep anything that a shell, an option parser or a path walk
// could misread from ever being an argument.
const (
	patternUnit      = `[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|target|mount)`
	patternPath      = `/[^\x00-\x1f]*`
	patternInterface = `[A-Za-z0-9_.-]{1,15}`
	patternSysctl    = `[a-z0-9_]+(\.[A-Za-z0-9_*/-]+)+`
	patternAddress   = `[0-9a-fA-F:.]+`
	patternPrefix    = `[0-9a-fA-F:.]+/[0-9]{1,3}`
)

// SysctlSet sets a kernel parameter.
var SysctlSet = playbooks.Action{
	Name: "sysctl.set",
	Doc: `Set a kernel parameter, now and at every boot

Writes /proc/sys and a line in the drop-in that wins at boot.`,
	Args: []playbooks.Arg{
		{Name: "key", Doc: "the parameter, with dots", Kind: probes.String, Required: true, Pattern: patternSysctl},
		{Name: "value", Doc: "its value; several numbers are separated by a space", Kind: probes.String, Required: true, Pattern: `[0-9A-Za-z_.-]+( [0-9A-Za-z_.-]+)*`},
	},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"sysctl:{key}"},
}

// ConntrackLimit enlarges the connection-tracking table.
var ConntrackLimit = playbooks.Action{
	Name: "conntrack.limit",
	Doc: `Enlarge the connection-tracking table

Sets nf_conntrack_max and the number of buckets to a quarter of it, now and at boot, after the module is loaded.`,
	Args: []playbooks.Arg{{Name: "max", Doc: "entries", Kind: probes.Int, Required: true, Min: 1024, Max: 16 << 20}},
	Risk: playbooks.Reversible, Undo: true,
	Writes: []string{"sysctl:net.netfilter.nf_conntrack_max", "sysctl:net.netfilter.nf_conntrack_buckets"},
}

// FileMode sets a file's mode and owner.
var FileMode = playbooks.Action{
	Name: "file.mode",
	Doc: `Set the mode and the owner of a file or directory

Follows no symbolic link.`,
	Args: []playbooks.Arg{
		{Name: "path", Doc: "the file", Kind: probes.String, Required: true, Pattern: patternPath},
		{Name: "mode", Doc: "octal, as in 0600", Kind: probes.String, Required: true, Pattern: `0[0-7]{3,4}`},
		{Name: "owner", Doc: "user and group, as in root:root", Kind: probes.String, Pattern: `[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*`},
	},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:{path}"},
}

// FileCRLF turns DOS line ends into Unix ones.
var FileCRLF = playbooks.Action{
	Name: "file.crlf",
	Doc: `Turn a text file's CR LF line ends into LF

Keeps a copy; refuses a file that holds a CR anywhere else.`,
	Args: []playbooks.Arg{{Name: "path", Doc: "the file", Kind: probes.String, Required: true, Pattern: patternPath}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:{path}"},
}

// FilePackageRestore brings a file back as its package shipped it.
var FilePackageRestore = playbooks.Action{
	Name: "file.package-restore",
	Doc: `Bring a missing file back as its package shipped it

Takes it from the package manager's cache or repository; refuses a file that exists.`,
	Args: []playbooks.Arg{{Name: "path", Doc: "the file", Kind: probes.String, Required: true, Pattern: patternPath}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:{path}"},
}

// TruncateOpen empties a deleted file that a process still writes.
var TruncateOpen = playbooks.Action{
	Name: "file.truncate-open",
	Doc: `Empty a log file that was deleted while a process still has it open

Frees its space without touching the process; what was in it is lost. Only for append-only files under /var/log.`,
	Args: []playbooks.Arg{
		{Name: "mount", Doc: "the file system to free", Kind: probes.String, Required: true, Pattern: patternPath},
	},
	Risk: playbooks.Destructive, Writes: []string{"fs:{mount}"},
}

// FSMount mounts what fstab lists.
var FSMount = playbooks.Action{
	Name: "mount.fstab",
	Doc: `Mount a file system that /etc/fstab lists

Refuses a mount point that is not empty.`,
	Args: []playbooks.Arg{{Name: "mount", Doc: "the mount point", Kind: probes.String, Required: true, Pattern: patternPath}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"mount:{mount}"},
}

// FSGrow grows a partition and its file system to the size of the disk.
var FSGrow = playbooks.Action{
	Name: "fs.grow",
	Doc: `Grow the last partition and its file system to the size of the disk

Online, for ext4, xfs and btrfs. A file system cannot be shrunk back.`,
	Args: []playbooks.Arg{{Name: "disk", Doc: "the disk's name, as in vda", Kind: probes.String, Required: true, Pattern: `[a-z0-9]+`}},
	Risk: playbooks.Reversible, Writes: []string{"disk:{disk}"},
}

// FstabComment comments out an entry of fstab.
var FstabComment = playbooks.Action{
	Name: "fstab.comment",
	Doc: `Comment out an entry of /etc/fstab

Verified by findmnt --verify; the entry stays readable.`,
	Args: []playbooks.Arg{{Name: "mount", Doc: "the entry's mount point", Kind: probes.String, Required: true, Pattern: `/[^\x00-\x1f]*|none|swap`}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:/etc/fstab"},
}

// HugePagesSet sets the number of persistent huge pages.
var HugePagesSet = playbooks.Action{
	Name: "hugepages.set",
	Doc: `Set the number of persistent huge pages

Sets vm.nr_hugepages now and at boot; pages in use stay.`,
	Args: []playbooks.Arg{{Name: "pages", Doc: "how many", Kind: probes.Int, Required: true, Min: 0, Max: 1 << 24}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"sysctl:vm.nr_hugepages"},
}

// InterfaceQueues sets the number of an interface's queues.
var InterfaceQueues = playbooks.Action{
	Name: "interface.queues",
	Doc: `Set the number of combined queues of a network interface

Some drivers drop packets for some milliseconds while they do it.`,
	Args: []playbooks.Arg{
		{Name: "interface", Doc: "its name", Kind: probes.String, Required: true, Pattern: patternInterface},
		{Name: "queues", Doc: "how many", Kind: probes.Int, Required: true, Min: 1, Max: 256},
	},
	Risk: playbooks.Disruptive, Undo: true, Writes: []string{"interface:{interface}"},
}

// JournalVacuum deletes the oldest archived journal files.
var JournalVacuum = playbooks.Action{
	Name: "journal.vacuum",
	Doc: `Delete the oldest archived journal files of systemd

Does nothing if the journal is not on the file system named.`,
	Args: []playbooks.Arg{{Name: "mount", Doc: "the file system to free", Kind: probes.String, Required: true, Pattern: patternPath}},
	Risk: playbooks.Harmless, Writes: []string{"journal"},
}

// LogrotateForce rotates logs now.
var LogrotateForce = playbooks.Action{
	Name: "logrotate.force",
	Doc: `Rotate and compress logs now, by the host's own logrotate rules

Does nothing if /var/log is not on the file system named.`,
	Args: []playbooks.Arg{{Name: "mount", Doc: "the file system to free", Kind: probes.String, Required: true, Pattern: patternPath}},
	Risk: playbooks.Harmless, Writes: []string{"logs"},
}

// PackageCacheClean deletes downloaded packages.
var PackageCacheClean = playbooks.Action{
	Name: "package.cache-clean",
	Doc: `Delete the package manager's downloaded packages

They are fetched again when they are needed. Does nothing if the cache is not on the file system named.`,
	Args: []playbooks.Arg{{Name: "mount", Doc: "the file system to free", Kind: probes.String, Required: true, Pattern: patternPath}},
	Risk: playbooks.Harmless, Writes: []string{"package-cache"},
}

// LimitsNofile lowers a limit on open files that forbids every login.
var LimitsNofile = playbooks.Action{
	Name: "limits.nofile",
	Doc: `Lower nofile limits in limits.conf to what the kernel allows

A limit above fs.nr_open makes pam_limits refuse every login.`,
	Args: []playbooks.Arg{{Name: "max", Doc: "the limit to write; fs.nr_open", Kind: probes.Int, Required: true, Min: 1024, Max: 1 << 31}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:/etc/security/limits.conf", "file:/etc/security/limits.d"},
}

// NologinRemove moves a nologin file aside.
var NologinRemove = playbooks.Action{
	Name: "nologin.remove",
	Doc: `Move a nologin file aside, so that users may log in again

Refuses while a shutdown is under way.`,
	Args: []playbooks.Arg{{Name: "path", Doc: "the file", Kind: probes.String, Required: true, Enum: []string{"/etc/nologin", "/run/nologin"}}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:{path}"},
}

// QdiscDelete removes a root queueing discipline.
var QdiscDelete = playbooks.Action{
	Name: "qdisc.delete",
	Doc: `Remove the root queueing discipline of an interface

The kernel puts its default in its place.`,
	Args: []playbooks.Arg{
		{Name: "interface", Doc: "its name", Kind: probes.String, Required: true, Pattern: patternInterface},
		{Name: "kind", Doc: "what is to be removed; another one is left alone", Kind: probes.String, Required: true, Enum: []string{"netem", "tbf"}},
	},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"qdisc:{interface}"},
}

// ResolverServers sets the name servers.
var ResolverServers = playbooks.Action{
	Name: "resolver.servers",
	Doc: `Set the name servers, through whatever owns /etc/resolv.conf

systemd-resolved, NetworkManager and netplan are told; a plain file is edited.`,
	Args: []playbooks.Arg{{Name: "servers", Doc: "their addresses, first asked first", Kind: probes.List, Required: true, Pattern: patternAddress}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:/etc/resolv.conf"},
}

// RouteAdd adds a route.
var RouteAdd = playbooks.Action{
	Name: "route.add",
	Doc: `Add a route, now and at boot through whatever owns the network

Refuses if there is one for the same destination.`,
	Args: []playbooks.Arg{
		{Name: "dst", Doc: "the destination: a prefix, or default", Kind: probes.String, Required: true, Pattern: patternPrefix + "|default"},
		{Name: "gateway", Doc: "the next hop", Kind: probes.String, Pattern: patternAddress},
		{Name: "interface", Doc: "the interface", Kind: probes.String, Pattern: patternInterface},
	},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"route:{dst}"},
}

// RouteDelete removes a route.
var RouteDelete = playbooks.Action{
	Name: "route.delete",
	Doc: `Remove a route, now and at boot through whatever owns the network

Never the default route.`,
	Args: []playbooks.Arg{
		{Name: "dst", Doc: "the destination", Kind: probes.String, Required: true, Pattern: patternPrefix},
		{Name: "interface", Doc: "the interface it goes through", Kind: probes.String, Pattern: patternInterface},
	},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"route:{dst}"},
}

// ServiceStart starts a unit.
var ServiceStart = playbooks.Action{
	Name: "service.start",
	Doc: `Start a unit, after its configuration test where there is one

Does nothing to a unit that runs.`,
	Args: []playbooks.Arg{{Name: "unit", Doc: "its name, with the suffix", Kind: probes.String, Required: true, Pattern: patternUnit}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"unit:{unit}"},
}

// ServiceReload makes a unit read its configuration again.
var ServiceReload = playbooks.Action{
	Name: "service.reload",
	Doc: `Make a unit read its configuration again, after its configuration test where there is one

What it had before cannot be brought back by this step alone.`,
	Args: []playbooks.Arg{{Name: "unit", Doc: "its name, with the suffix", Kind: probes.String, Required: true, Pattern: patternUnit}},
	Risk: playbooks.Harmless, Writes: []string{"unit:{unit}"},
}

// ServiceRestart restarts a unit.
var ServiceRestart = playbooks.Action{
	Name: "service.restart",
	Doc: `Restart a unit, after its configuration test where there is one

Its users are interrupted. It runs at most once.`,
	Args: []playbooks.Arg{{Name: "unit", Doc: "its name, with the suffix", Kind: probes.String, Required: true, Pattern: patternUnit}},
	Risk: playbooks.Disruptive, Writes: []string{"unit:{unit}"},
}

// SSHHostKeys makes the host keys that are missing.
var SSHHostKeys = playbooks.Action{
	Name: "ssh.host-keys",
	Doc: `Make the SSH host keys that are missing

Keys that exist are kept; clients that knew a lost one will ask.`,
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:/etc/ssh"},
}

// SSHPrivilegeSeparation makes sshd's privilege-separation directory.
var SSHPrivilegeSeparation = playbooks.Action{
	Name: "ssh.privilege-separation",
	Doc: `Make sshd's privilege-separation directory, empty and owned by root

The directory that the sshd at hand was built with: /run/sshd or /var/empty/sshd.`,
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"file:/run/sshd", "file:/var/empty/sshd"},
}

// TimeServers sets the time servers.
var TimeServers = playbooks.Action{
	Name: "time.servers",
	Doc: `Set the time servers of the daemon in use, enable it and start it

chronyd, systemd-timesyncd or ntpd.`,
	Args: []playbooks.Arg{{Name: "servers", Doc: "their names", Kind: probes.List, Required: true, Pattern: `[a-z0-9.-]+`}},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"time-sync"},
}

// TimeStep steps the clock.
var TimeStep = playbooks.Action{
	Name: "time.step",
	Doc: `Step the clock to the time servers' time

Programs that measure with the wall clock see a jump.`,
	Risk: playbooks.Disruptive, Writes: []string{"clock"},
}

// UnitQuota limits the CPU of a unit.
var UnitQuota = playbooks.Action{
	Name: "unit.quota",
	Doc: `Limit the CPU time of a unit until the next boot

systemctl set-property --runtime CPUQuota=.`,
	Args: []playbooks.Arg{
		{Name: "unit", Doc: "its name, with the suffix", Kind: probes.String, Required: true, Pattern: patternUnit},
		{Name: "cpu_pct", Doc: "percent of one core", Kind: probes.Int, Required: true, Min: 1, Max: 100000},
	},
	Risk: playbooks.Disruptive, Undo: true, Writes: []string{"unit:{unit}"},
}

// FirewallAccept inserts a rule that accepts a port.
var FirewallAccept = playbooks.Action{
	Name: "firewall.accept",
	Doc: `Insert a rule that accepts new connections to a port, before the one that blocks them

In the front end that owns the rules (firewalld, ufw) or in the chain itself; never a flush.`,
	Args: []playbooks.Arg{
		{Name: "protocol", Doc: "tcp or udp", Kind: probes.String, Required: true, Enum: []string{"tcp", "udp"}},
		{Name: "port", Doc: "the port", Kind: probes.Int, Required: true, Min: 1, Max: 65535},
	},
	Risk: playbooks.Reversible, Undo: true, Writes: []string{"firewall:input"},
}

// DHCPRenew asks for an address again.
var DHCPRenew = playbooks.Action{
	Name: "dhcp.renew",
	Doc: `Start the network service that owns an interface and ask for a lease again

NetworkManager, systemd-networkd, netplan or dhclient.`,
	Args: []playbooks.Arg{{Name: "interface", Doc: "its name", Kind: probes.String, Required: true, Pattern: patternInterface}},
	Risk: playbooks.Disruptive, Writes: []string{"interface:{interface}"},
}

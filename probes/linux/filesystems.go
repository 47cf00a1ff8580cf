package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Filesystems reads how full the file systems are, and whether they answer.
var Filesystems = probes.Define(probes.Probe[host.Host]{
	Name: "filesystems",
	Doc: `File systems

Reads /proc/self/mountinfo and asks statfs(2) of every file system that holds files, each with a limit of half a second and all at once,
so that one dead NFS server or FUSE daemon does not hide the others. A file system that is mounted at several places is listed once.
Left out are the kernel's own (proc, cgroup, …), automount points, which asking would mount, and overlays other than the root, which
repeat the file system under them. Costs about 0.02 ms a file system; a FUSE one is asked by stat(1) in a process of its own, 3 ms. On btrfs and ZFS free space is an estimate; XFS and btrfs make
inodes as they need them, and btrfs reports none.`,
	Every: 30 * time.Second,
}, filesystems)

type filesystemsFacts struct {
	Mounts []filesystemFacts `fact:"mounts" doc:"One entry a file system, in the order of mounting"`
}

type filesystemFacts struct {
	Mount   string `fact:"mount,key" doc:"Where it is mounted; of several places the one that shows the whole of it"`
	Device  string `fact:"device" doc:"What is mounted: /dev/vda1, server:/export, tmpfs"`
	FSType  string `fact:"fstype" doc:"ext4, xfs, nfs4, tmpfs, …"`
	Network bool   `fact:"network" doc:"Lives on another machine: NFS, SMB, Ceph, …"`
	Image   bool   `fact:"image" doc:"Read-only by its kind: squashfs, iso9660, erofs, …"`
	Hung    bool   `fact:"hung" doc:"statfs(2) gave no answer within half a second; its numbers are unreadable then"`

	ReadOnly      bool               `fact:"read_only" doc:"Mounted read-only, for whatever reason; /proc/self/mountinfo"`
	ReadOnlyError bool               `fact:"read_only_error" doc:"The kernel made the file system read-only (or shut it down) after an error: its own options say so while those of all its mounts say rw"`
	Errors        probes.Opt[int]    `fact:"errors" unit:"count" doc:"Errors that the file system has recorded since the last fsck; ext4 alone counts them: /sys/fs/ext4/*/errors_count"`
	Block         probes.Opt[string] `fact:"block" doc:"Of an ext4 file system: the kernel's name of its device, as its log has it: vdb1, dm-0"`

	Size       probes.Opt[int]     `fact:"size" unit:"bytes" doc:"Size without the file system's own overhead; statfs(2)"`
	BytesFree  probes.Opt[int]     `fact:"bytes_free" unit:"bytes" doc:"What users other than root may still write"`
	Used       probes.Opt[float64] `fact:"used_pct" unit:"%" doc:"Used share of what users other than root may use, as df prints it"`
	Inodes     probes.Opt[int]     `fact:"inodes" unit:"count" doc:"Inodes in all; absent where they have no fixed number"`
	InodesUsed probes.Opt[float64] `fact:"inodes_used_pct" unit:"%" doc:"Used share of the inodes; absent where they have no fixed number"`
	DeviceSize probes.Opt[int]     `fact:"device_size" unit:"bytes" doc:"Size of the block device; much more than size after the device was grown and the file system was not. Absent without a block device"`
}

// statfsLimit is what a file system has to answer within. A local one takes microseconds and an NFS server in the same city a few
// milliseconds; the whole probe must stay under its two seconds.
const statfsLimit = 500 * time.Millisecond

func filesystems(ctx context.Context, h host.Host) (filesystemsFacts, error) {
	mounts, err := readFilesystems(h)
	if err != nil {
		return filesystemsFacts{}, err
	}
	facts := filesystemsFacts{Mounts: make([]filesystemFacts, len(mounts))}
	ctx, cancel := context.WithTimeout(ctx, statfsLimit)
	defer cancel()
	var wg sync.WaitGroup
	all, err := readMounts(h)
	if err != nil {
		return filesystemsFacts{}, err
	}
	for i := range mounts {
		wg.Go(func() { facts.Mounts[i] = readFilesystem(ctx, h, &mounts[i], all) })
	}
	wg.Wait()
	return facts, nil
}

// readFilesystems picks one mount of every file system that holds files.
func readFilesystems(h host.Files) ([]mount, error) {
	mounts, err := readMounts(h)
	if err != nil {
		return nil, err
	}
	var list []mount
	for _, m := range mounts {
		if !holdsFiles(&m) {
			continue
		}
		if m.root != "/" && !isFUSE(&m) && !slices.Contains(networkTypes, m.fstype) {
			if fi, err := h.Stat(m.point); err == nil && !fi.Mode.IsDir() {
				continue // a single file that a container was given
			}
		}
		i := slices.IndexFunc(list, func(l mount) bool { return l.dev == m.dev })
		switch {
		case i < 0:
			list = append(list, m)
		case betterMount(&m, &list[i]):
			list[i] = m
		}
	}
	return list, nil
}

// The kinds of file systems that need telling apart; all others without a block device are the kernel's own.
var (
	networkTypes = []string{"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "fuse.glusterfs", "fuse.ceph", "lustre", "afs", "9p", "beegfs", "gpfs"}
	imageTypes   = []string{"squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs", "fuse.snapfuse", "fuse.squashfuse"}
	memoryTypes  = []string{"tmpfs", "ramfs", "virtiofs", "zfs", "ubifs", "jffs2", "bcachefs"} // no block device, yet files
)

func holdsFiles(m *mount) bool {
	switch {
	case m.fstype == "overlay":
		return m.point == "/"
	case m.fstype == "fuse.lxcfs", m.fstype == "fuse.gvfsd-fuse", m.fstype == "fuse.portal":
		return false // the kernel's tables in another's words, or a view of what is mounted elsewhere
	case (m.fstype == "tmpfs" || m.fstype == "ramfs") && (strings.HasPrefix(m.point, "/sys/") || m.point == "/sys" || strings.HasPrefix(m.point, "/proc/") || strings.HasPrefix(m.point, "/run/credentials/")):
		return false // lids that containers and systemd put over something
	case isFUSE(m):
		return true
	}
	return strings.HasPrefix(m.source, "/dev/") && m.fstype != "devtmpfs" ||
		slices.Contains(networkTypes, m.fstype) || slices.Contains(imageTypes, m.fstype) || slices.Contains(memoryTypes, m.fstype)
}

func isFUSE(m *mount) bool {
	return m.fstype == "fuse" || m.fstype == "fuseblk" || strings.HasPrefix(m.fstype, "fuse.")
}

// statInProcess asks by stat(1). A thread whose request a FUSE daemon has taken and does not answer cannot be killed (request_wait_answer
// in fs/fuse/dev.c), and keeps its whole process, its pipes and who waits for it, from ending; so it had better not be ours. NFS
// has no such case: its waits are TASK_KILLABLE.
func statInProcess(ctx context.Context, h host.Host, name string) (host.Statfs, error) {
	out, err := h.Run(ctx, "stat", "-f", "-c", "%t %S %b %f %a %c %d", name)
	if err != nil {
		return host.Statfs{}, err
	}
	if out.Exit != 0 {
		return host.Statfs{}, fmt.Errorf("stat -f: %.200s", strings.TrimSpace(string(out.Stderr)))
	}
	var st host.Statfs
	var unit uint64
	if _, err := fmt.Sscanf(string(out.Stdout), "%x %d %d %d %d %d %d", &st.Type, &unit, &st.Size, &st.Free, &st.Avail, &st.Files, &st.FilesFree); err != nil {
		return host.Statfs{}, fmt.Errorf("stat -f: %.80q: %w", out.Stdout, err)
	}
	st.Size, st.Free, st.Avail = st.Size*unit, st.Free*unit, st.Avail*unit
	return st, nil
}

// betterMount reports whether m shows more of a file system than the mount that was found before. The root always does: in a chroot,
// and in containers of some kinds, it is a bind mount like others.
func betterMount(m, before *mount) bool {
	if root := m.point == "/"; root != (before.point == "/") {
		return root
	}
	whole := func(m *mount) int {
		if m.root == "/" {
			return 0
		}
		return len(m.root)
	}
	if c := cmp.Compare(whole(m), whole(before)); c != 0 {
		return c < 0
	}
	return slices.Contains(before.options, "ro") && slices.Contains(m.options, "rw")
}

func readFilesystem(ctx context.Context, h host.Host, m *mount, all []mount) filesystemFacts {
	f := filesystemFacts{
		Mount: m.point, Device: m.source, FSType: m.fstype,
		Network: slices.Contains(networkTypes, m.fstype), Image: slices.Contains(imageTypes, m.fstype),
	}
	f.ReadOnlyError = madeReadOnly(m, all) && !f.Image
	f.ReadOnly = f.ReadOnlyError || slices.Contains(m.options, "ro") || slices.Contains(m.super, "ro")
	f.readDevice(h, m)
	ask := h.Statfs
	if isFUSE(m) {
		ask = func(ctx context.Context, name string) (host.Statfs, error) { return statInProcess(ctx, h, name) }
	}
	st, err := ask(ctx, m.point)
	if err != nil {
		f.Hung = errors.Is(err, context.DeadlineExceeded)
		why := err.Error()
		f.Size, f.BytesFree, f.Inodes = probes.Unread[int](why), probes.Unread[int](why), probes.Unread[int](why)
		f.Used, f.InodesUsed = probes.Unread[float64](why), probes.Unread[float64](why)
		return f
	}
	f.numbers(&st)
	return f
}

// madeReadOnly tells an emergency from a choice. `mount -o ro` sets both the mount's and the file system's flag; an error sets the
// file system's alone, as does the emergency remount of SysRq-u. Since Linux 6.12 ext4 leaves that flag alone, and since 6.15 says
// emergency_ro or shutdown among its options instead (https://lkml.iu.edu/hypermail/linux/kernel/2501.2/06382.html); in between
// nothing in this file tells, and the playbook asks the kernel's log (Debian's 6.1 has the change of 6.12, too). Who remounts one mount of several read-only, as util-linux's remount,ro does, sets the file system's flag
// and that mount's, and the others, the bind mounts of chroots and containers, keep rw: that is a choice too.
func madeReadOnly(m *mount, all []mount) bool {
	has := func(option string) bool { return slices.Contains(m.super, option) }
	if has("emergency_ro") || has("shutdown") {
		return true
	}
	chosen := slices.ContainsFunc(all, func(o mount) bool { return o.dev == m.dev && slices.Contains(o.options, "ro") })
	return has("ro") && slices.Contains(m.options, "rw") && !chosen
}

// readDevice reads what the kernel's own files say of the file system and the block device under it.
func (f *filesystemFacts) readDevice(h host.Files, m *mount) {
	name, ok := strings.CutPrefix(m.source, "/dev/")
	if !ok || m.fstype == "overlay" {
		return
	}
	if sectors, err := readInt(h, "/sys/dev/block/"+m.dev+"/size"); err == nil { // btrfs has no device number of its own
		f.DeviceSize = probes.Some(sectors * sector)
	}
	if m.fstype != "ext4" {
		return
	}
	if target, err := h.Readlink("/sys/dev/block/" + m.dev); err == nil { // /dev/mapper/data is dm-0 here
		name = target[strings.LastIndexByte(target, '/')+1:]
	}
	f.Block = probes.Some(name)
	if n, err := readInt(h, "/sys/fs/ext4/"+name+"/errors_count"); err == nil {
		f.Errors = probes.Some(n)
	}
}

// numbers fills in sizes. df's percentage leaves out of the whole what is reserved for root, so it is not 1 - free/size.
func (f *filesystemFacts) numbers(st *host.Statfs) {
	if st.Size == 0 {
		return // ramfs and FUSE file systems without a size
	}
	f.Size, f.BytesFree = probes.Some(int(st.Size)), probes.Some(int(st.Avail))
	if used := float64(st.Size) - float64(st.Free); used >= 0 && used+float64(st.Avail) > 0 {
		f.Used = probes.Some(percent(used, used+float64(st.Avail)))
	}
	if st.Files > 0 && st.FilesFree <= st.Files {
		f.Inodes = probes.Some(int(st.Files))
		f.InodesUsed = probes.Some(percent(float64(st.Files-st.FilesFree), float64(st.Files)))
	}
}

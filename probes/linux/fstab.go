package linux

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Fstab compares /etc/fstab with the devices and mounts that there are.
var Fstab = probes.Define(probes.Probe[host.Host]{
	Name: "fstab",
	Doc: `File systems to mount at boot

Reads /etc/fstab, /proc/self/mountinfo and /proc/swaps, and looks for each entry's device: a path as it is, UUID= and the like under
/dev/disk. Where nothing keeps that directory (a container, a system without udev) one run of blkid takes its place (5 ms); else it
costs 0.1 ms. The rules are fstab(5)'s. Passwords in options are replaced by ***. A network file system's server is not asked.`,
	Every: time.Minute,
}, fstab)

type fstabFacts struct {
	Entries  []fstabEntry   `fact:"entries" doc:"Lines that could be understood, in the file's order"`
	Problems []fstabProblem `fact:"problems" doc:"Lines that break fstab(5)'s rules, which mount and systemd ignore or misread; and those whose next mount fails, for the type is not what is mounted there now or an option is mistyped"`
}

type fstabEntry struct {
	Entry        string           `fact:"entry,key" doc:"Where it is mounted; of swap, and of a second entry for one place, with the line's number: \"swap (line 9)\""`
	Line         int              `fact:"line" unit:"line" doc:"Line of /etc/fstab, from 1"`
	Device       string           `fact:"device" doc:"As written: UUID=…, /dev/vdb1, server:/export"`
	Mount        string           `fact:"mount" doc:"As written, escapes undone; \"none\" for swap"`
	FSType       string           `fact:"fstype" doc:"As written: ext4, swap, nfs, auto"`
	Options      string           `fact:"options" doc:"As written, but passwords; \"defaults\" where there are none"`
	Swap         bool             `fact:"swap" doc:"Swap space, not a file system"`
	Network      bool             `fact:"network" doc:"Lives on another machine"`
	Auto         bool             `fact:"auto" doc:"To be there after boot: neither noauto nor x-systemd.automount"`
	Nofail       bool             `fact:"nofail" doc:"The boot goes on without it; without nofail systemd stops in emergency mode after 90 s"`
	ReadOnly     bool             `fact:"read_only" doc:"To be mounted read-only"`
	DeviceExists probes.Opt[bool] `fact:"device_exists" doc:"The device, file or directory to mount is there; absent for what has none (network, tmpfs)"`
	Mounted      bool             `fact:"mounted" doc:"Something is mounted there now; of swap, the device is in use"`
	Helper       string           `fact:"helper_missing" doc:"The program that mounts file systems of its type, if that is not there: /sbin/mount.nfs; else empty"`
	PointExists  probes.Opt[bool] `fact:"mount_point_exists" doc:"The directory to mount it on is there; absent for swap"`
}

type fstabProblem struct {
	Where   string `fact:"where,key" doc:"\"/etc/fstab:7\""`
	Line    int    `fact:"line" unit:"line" doc:"Line of /etc/fstab, from 1"`
	Problem string `fact:"problem" doc:"What is wrong with it"`
}

const fstabFile = "/etc/fstab"

func fstab(ctx context.Context, h host.Host) (fstabFacts, error) {
	b, err := h.ReadFile(fstabFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fstabFacts{}, probes.NoData("there is no " + fstabFile)
	}
	if err != nil {
		return fstabFacts{}, fmt.Errorf("reading %s: %w", fstabFile, err)
	}
	facts := parseFstab(string(b))
	state, err := readFstabState(ctx, h, facts.Entries)
	if err != nil {
		return fstabFacts{}, err
	}
	for i := range facts.Entries {
		e := &facts.Entries[i]
		if problem := cmp.Or(state.otherType(e), mistypedOption(e)); problem != "" {
			facts.Problems = append(facts.Problems, fstabProblem{Where: fmt.Sprintf("%s:%d", fstabFile, e.Line), Line: e.Line, Problem: problem})
		}
		e.DeviceExists = state.deviceExists(e)
		e.Mounted = state.mounted(e)
		if !e.Swap && !e.Mounted {
			e.PointExists = exists(h, e.Mount)
			e.Helper = missingHelper(h, e.FSType)
		} else if !e.Swap {
			e.PointExists = probes.Some(true)
		}
	}
	return facts, nil
}

// helped are types that the kernel cannot mount by itself, because a server's name is looked up or a password is asked for first, or a program serves them.
var helped = []string{"nfs", "nfs4", "cifs", "smb3", "glusterfs", "ceph", "davfs", "fuse", "fuse.sshfs", "fuse.s3fs", "fuse.ossfs", "ntfs-3g", "vboxsf"}

func missingHelper(h host.Files, fstype string) string {
	kind, _, _ := strings.Cut(fstype, ".")
	name := "/sbin/mount." + kind
	if !slices.Contains(helped, fstype) || !gone(h, name) || !gone(h, "/usr"+name) {
		return ""
	}
	return name
}

func parseFstab(text string) fstabFacts {
	var f fstabFacts
	taken := map[string]bool{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		e, problem := parseFstabEntry(fields)
		if problem != "" {
			f.Problems = append(f.Problems, fstabProblem{Where: fmt.Sprintf("%s:%d", fstabFile, n), Line: n, Problem: problem})
			continue
		}
		e.Line, e.Entry = n, e.Mount
		if e.Swap || taken[e.Entry] {
			e.Entry = fmt.Sprintf("%s (line %d)", e.FSType, n)
		}
		taken[e.Entry] = true
		f.Entries = append(f.Entries, e)
	}
	return f
}

// parseFstabEntry parses "UUID=… /data ext4 defaults,nofail 0 2": fstab(5). Options and the two numbers may be missing.
func parseFstabEntry(fields []string) (fstabEntry, string) {
	switch n := len(fields); {
	case strings.HasSuffix(fields[n-1], "\r"):
		return fstabEntry{}, `the line ends in a carriage return (a DOS line end), which becomes part of its last field`
	case n < 3:
		return fstabEntry{}, fmt.Sprintf("%d fields; at least device, mount point and type are needed", n)
	case n > 6 && !strings.HasPrefix(fields[6], "#"):
		return fstabEntry{}, fmt.Sprintf("%d fields, more than six; a space in a name is written \\040", n)
	}
	for i, name := range []string{"dump", "pass"} {
		if len(fields) > 4+i && !isNumber(fields[4+i]) {
			return fstabEntry{}, fmt.Sprintf("the %s field is %.40q, not a number", name, fields[4+i])
		}
	}
	if problem := shiftedFields(fields); problem != "" {
		return fstabEntry{}, problem
	}
	e := fstabEntry{Device: unescapeMount(fields[0]), Mount: unescapeMount(fields[1]), FSType: fields[2], Options: "defaults"}
	if len(fields) > 3 {
		e.Options = redactOptions(fields[3])
	}
	options := strings.Split(e.Options, ",")
	has := func(o string) bool { return slices.Contains(options, o) }
	e.Swap = e.FSType == "swap"
	e.Network = has("_netdev") || slices.Contains(networkTypes, e.FSType)
	e.Auto = !has("noauto") && !has("x-systemd.automount") && !has("comment=systemd.automount")
	e.Nofail = has("nofail")
	e.ReadOnly = has("ro")
	if !e.Swap {
		if !strings.HasPrefix(e.Mount, "/") {
			return e, fmt.Sprintf("the mount point is %.80q, not an absolute path", e.Mount)
		}
		e.Mount = path.Clean(e.Mount)
	}
	return e, ""
}

// generalOptions are mount(8)'s own, which are the name of no file system.
var generalOptions = strings.Fields(`defaults rw ro noatime relatime nodiratime nofail noauto user users nouser exec noexec dev nodev suid nosuid sync async _netdev discard`)

// shiftedFields finds a separator that is lost: the options stand in the type's field, where a list of types may stand (mount(8)), or a number in theirs.
func shiftedFields(fields []string) string {
	for word := range strings.SplitSeq(fields[2], ",") {
		if slices.Contains(generalOptions, word) {
			return fmt.Sprintf("the type is %.60q, but %s is an option: a separator or the type is missing", fields[2], word)
		}
	}
	if len(fields) > 3 && isNumber(fields[3]) {
		return fmt.Sprintf("the options are %.40q: they, or a separator before them, are missing", fields[3])
	}
	return ""
}

// diskTypes are file systems of which each can only be mounted as what it is.
var diskTypes = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat"}

// diskOptions are options of the usual file systems and of systemd, without their values: mount(8), ext4(5), xfs(5), btrfs(5), systemd.mount(5).
var diskOptions = append(strings.Fields(`auto strictatime lazytime nolazytime iversion noiversion remount bind rbind owner group dirsync silent loud mand nomand context fscontext
	defcontext rootcontext seclabel acl noacl user_xattr nouser_xattr bsddf minixdf debug errors data barrier nobarrier journal_checksum journal_async_commit commit delalloc nodelalloc
	quota noquota usrquota grpquota prjquota usrjquota grpjquota jqfmt uquota gquota pquota uqnoenforce gqnoenforce pqnoenforce resuid resgid stripe inode_readahead_blks
	max_batch_time min_batch_time journal_ioprio init_itable noinit_itable nodiscard noload norecovery discard dioread_nolock dioread_lock orlov oldalloc auto_da_alloc
	noauto_da_alloc bigalloc i_version dax inode64 inode32 largeio nolargeio logbufs logbsize logdev rtdev noalign swalloc sunit swidth attr2 noattr2 ikeep noikeep wsync
	filestreams allocsize compress compress-force subvol subvolid space_cache nospace_cache ssd nossd ssd_spread autodefrag noautodefrag degraded device datacow nodatacow
	datasum nodatasum flushoncommit treelog notreelog recovery rescue thread_pool max_inline metadata_ratio umask dmask fmask uid gid codepage iocharset shortname utf8 mode comment
	nr_inodes size loop offset sizelimit encryption helper prjjquota nombcache mb_optimize_scan abort grpid nogrpid bsdgroups sysvgroups sb journal_path journal_dev`), generalOptions...)

// mistypedOption finds an option that the kernel does not know and that is one letter away from one that it does. What is quite unknown may be a newer kernel's.
func mistypedOption(e *fstabEntry) string {
	if !slices.Contains(diskTypes, e.FSType) {
		return ""
	}
	for option := range strings.SplitSeq(e.Options, ",") {
		word, _, _ := strings.Cut(option, "=")
		if len(word) < 4 || strings.HasPrefix(word, "x-") || strings.HasPrefix(word, "X-") || slices.Contains(diskOptions, word) {
			continue
		}
		if i := slices.IndexFunc(diskOptions, func(known string) bool { return len(known) > 3 && oneSlip(word, known) }); i >= 0 {
			return fmt.Sprintf("there is no option %.40q; %s is probably meant. The next mount, at boot, fails", word, diskOptions[i])
		}
	}
	return ""
}

// oneSlip reports whether a word becomes another by one letter: put in, left out, or wrong; or by two neighbours in the wrong order.
func oneSlip(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

var secretOption = regexp.MustCompile(`(^|,)((?:pass|password|passwd|secret|pwd)[a-z0-9]*)=[^,]*`)

// redactOptions hides what CIFS and Ceph take on the command line.
func redactOptions(s string) string { return secretOption.ReplaceAllString(s, "$1$2=***") }

// fstabState is what there is to compare with.
type fstabState struct {
	h      host.Host
	points map[string]string // the type that is mounted there
	swaps  map[string]bool
	blkid  map[string]string // "UUID=…" → /dev/…; nil where udev knows
	why    string            // why neither knows
}

func readFstabState(ctx context.Context, h host.Host, entries []fstabEntry) (*fstabState, error) {
	mounts, err := readMounts(h)
	if err != nil {
		return nil, err
	}
	s := &fstabState{h: h, points: map[string]string{}, swaps: map[string]bool{}}
	for _, m := range mounts {
		s.points[m.point] = m.fstype
	}
	b, err := h.ReadFile("/proc/swaps")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without swap
		return nil, fmt.Errorf("reading /proc/swaps: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			s.swaps[unescapeMount(fields[0])] = true
		}
	}
	tagged := slices.ContainsFunc(entries, func(e fstabEntry) bool { return tagOf(e.Device) != "" })
	if _, err := h.Stat("/dev/disk"); tagged && errors.Is(err, fs.ErrNotExist) {
		s.askBlkid(ctx)
	}
	return s, nil
}

// tags are the ways to name a device by what is on it, and where udev links them.
var tags = map[string]string{
	"UUID": "/dev/disk/by-uuid/", "LABEL": "/dev/disk/by-label/", "PARTUUID": "/dev/disk/by-partuuid/",
	"PARTLABEL": "/dev/disk/by-partlabel/", "ID": "/dev/disk/by-id/",
}

func tagOf(device string) string {
	if tag, _, ok := strings.Cut(device, "="); ok && tags[tag] != "" {
		return tag
	}
	return ""
}

// askBlkid asks `blkid -c /dev/null -o export` (no cache): blocks of KEY=value lines, a block a device.
func (s *fstabState) askBlkid(ctx context.Context) {
	out, err := s.h.Run(ctx, "blkid", "-c", "/dev/null", "-o", "export")
	if err == nil && out.Exit != 0 && out.Exit != 2 { // 2: no device at all
		err = fmt.Errorf("exit status %d: %.200s", out.Exit, bytes.TrimSpace(out.Stderr))
	}
	if err != nil {
		s.why = fmt.Sprintf("there is no /dev/disk, and asking blkid: %s", err)
		return
	}
	s.blkid = map[string]string{}
	device := ""
	for line := range strings.Lines(string(out.Stdout)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "DEVNAME" {
			device = value
		}
		s.blkid[key+"="+strings.ReplaceAll(value, `\`, "")] = device
	}
}

// device is the path that the entry's device stands for; ok is false where that cannot be found out. An empty path is no device.
func (s *fstabState) device(e *fstabEntry) (name string, ok bool) {
	tag := tagOf(e.Device)
	if tag == "" {
		return e.Device, true
	}
	value := strings.Trim(strings.TrimPrefix(e.Device, tag+"="), `"`)
	switch {
	case s.why != "":
		return "", false
	case s.blkid != nil:
		return s.blkid[tag+"="+value], true
	case tag == "PARTUUID": // udev's are in lower case, mount takes both
		value = strings.ToLower(value)
	}
	return tags[tag] + udevEscape(value), true
}

// udevEscape writes a label as udev names its link: what is not plain becomes \xNN (encode_devnode_name in systemd).
func udevEscape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("#+-.:=@_", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

func (s *fstabState) deviceExists(e *fstabEntry) probes.Opt[bool] {
	name, ok := s.device(e)
	switch {
	case !ok:
		return probes.Unread[bool](s.why)
	case name == "":
		return probes.Some(false)
	case e.Network && !strings.HasPrefix(name, "/dev/"), !strings.HasPrefix(name, "/"), strings.HasPrefix(name, "//"):
		return probes.None[bool]()
	}
	return exists(s.h, name)
}

// mountedType is the type of the file system at the entry's place; empty if there is none.
func (s *fstabState) mountedType(e *fstabEntry) string {
	return cmp.Or(s.points[e.Mount], s.points[s.resolve(e.Mount)])
}

// otherType finds a type that is not the mounted file system's: the next mount, at boot, fails. The ext family mounts one another.
func (s *fstabState) otherType(e *fstabEntry) string {
	is := s.mountedType(e)
	family := func(t string) string { return strings.TrimRight(t, "234") }
	if e.Swap || !slices.Contains(diskTypes, e.FSType) || !slices.Contains(diskTypes, is) || family(e.FSType) == family(is) {
		return ""
	}
	return fmt.Sprintf("the type is %s, but %s is mounted on %s: the next mount, at boot, fails with \"wrong fs type\"", e.FSType, is, e.Mount)
}

func (s *fstabState) mounted(e *fstabEntry) bool {
	if !e.Swap {
		return s.mountedType(e) != ""
	}
	name, _ := s.device(e)
	return s.swaps[name] || s.swaps[s.resolve(name)]
}

// resolve follows the symbolic links in a path, as mount does before it mounts.
func (s *fstabState) resolve(name string) string {
	done, rest := "/", strings.Split(strings.Trim(name, "/"), "/")
	for hops := 0; len(rest) > 0; {
		next := path.Join(done, rest[0])
		rest = rest[1:]
		target, err := s.h.Readlink(next)
		if err != nil {
			done = next
			continue
		}
		if hops++; hops > 40 { // MAXSYMLINKS of Linux
			return name
		}
		if strings.HasPrefix(target, "/") {
			done = "/"
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return done
}

// exists reports whether there is something at a path.
func exists(h host.Files, name string) probes.Opt[bool] {
	_, err := h.Stat(name)
	switch {
	case err == nil:
		return probes.Some(true)
	case errors.Is(err, fs.ErrNotExist):
		return probes.Some(false)
	}
	return probes.Unread[bool](err.Error())
}

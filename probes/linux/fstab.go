package linux

import (
	"bytes"
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
	Problems []fstabProblem `fact:"problems" doc:"Lines that break fstab(5)'s rules; mount and systemd ignore or misread them"`
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
		e.DeviceExists = state.deviceExists(e)
		e.Mounted = state.mounted(e)
		if !e.Swap && !e.Mounted {
			e.PointExists = exists(h, e.Mount)
		} else if !e.Swap {
			e.PointExists = probes.Some(true)
		}
	}
	return facts, nil
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
	points map[string]bool
	swaps  map[string]bool
	blkid  map[string]string // "UUID=…" → /dev/…; nil where udev knows
	why    string            // why neither knows
}

func readFstabState(ctx context.Context, h host.Host, entries []fstabEntry) (*fstabState, error) {
	mounts, err := readMounts(h)
	if err != nil {
		return nil, err
	}
	s := &fstabState{h: h, points: map[string]bool{}, swaps: map[string]bool{}}
	for _, m := range mounts {
		s.points[m.point] = true
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

func (s *fstabState) mounted(e *fstabEntry) bool {
	if !e.Swap {
		return s.points[e.Mount] || s.points[s.resolve(e.Mount)]
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

package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// NextBoot reads whether the host would start again, and what the last crash left.
var NextBoot = probes.Define(probes.Probe[host.Host]{
	Name: "next_boot",
	Doc: `Starting again

Reads systemd's default target, SELinux's configuration, whether a kernel for crash dumps is loaded, udev's rules for network cards, whether the former system was shut down (the end of /var/log/wtmp), and what crashes left in /var/crash and
in the firmware's memory (pstore). Nothing is run. Costs 0.2 ms. The boot loader's files are the probe boot's.`,
	Every: 5 * time.Minute,
}, nextBoot)

type nextBootFacts struct {
	Target   probes.Opt[string]     `fact:"default_target" doc:"What systemd starts: multi-user.target, graphical.target; absent if nothing is set"`
	TargetOK probes.Opt[bool]       `fact:"default_target_exists" doc:"The unit is there"`
	SELinux  probes.Opt[string]     `fact:"selinux" doc:"enforcing, permissive or disabled, as /etc/selinux/config has it; absent without it"`
	Policy   probes.Opt[bool]       `fact:"selinux_policy" doc:"The policy that SELINUXTYPE names is installed; absent where SELinux is off or not there"`
	Kdump    probes.Opt[bool]       `fact:"crash_kernel_loaded" doc:"A kernel that would save a dump is loaded; /sys/kernel/kexec_crash_loaded"`
	Reserved probes.Opt[int]        `fact:"crash_kernel_bytes" unit:"bytes" doc:"Memory that is kept for it; /sys/kernel/kexec_crash_size"`
	Unclean  probes.Opt[bool]       `fact:"unclean" doc:"The system that ran before this one was not shut down: it crashed, hung and was reset, or lost its power. Absent where /var/log/wtmp does not reach back to it, or does not know this start"`
	NetRules probes.Cut[netRule]    `fact:"net_rules" doc:"Names that /etc/udev/rules.d/70-persistent-net.rules gives to network cards by their address"`
	Crashes  probes.Cut[crashTrace] `fact:"crashes" doc:"What crashes left: directories of dumps in /var/crash, records in /sys/fs/pstore and /var/lib/systemd/pstore; the newest 20"`
}

type netRule struct {
	Name    string `fact:"name,key" doc:"The interface's name"`
	MAC     string `fact:"mac" doc:"The card's address"`
	Present bool   `fact:"present" doc:"There is a card with this address"`
}

type crashTrace struct {
	Path string        `fact:"path,key" doc:"What there is"`
	Age  time.Duration `fact:"age" doc:"Time since it was written"`
}

func nextBoot(_ context.Context, h host.Host) (nextBootFacts, error) {
	var f nextBootFacts
	if _, err := h.Stat("/etc"); err != nil {
		return f, err
	}
	f.target(h)
	f.selinux(h)
	f.Kdump = optionalYes(h, "/sys/kernel/kexec_crash_loaded")
	f.Reserved = optionalInt(h, "/sys/kernel/kexec_crash_size")
	f.Unclean = uncleanStart(h)
	f.netRules(h)
	for _, dir := range []string{"/var/crash", "/sys/fs/pstore", "/var/lib/systemd/pstore"} {
		f.crashes(h, dir)
	}
	slices.SortFunc(f.Crashes.All, func(a, b crashTrace) int { return int((a.Age - b.Age) / time.Second) })
	if n := len(f.Crashes.All); n > maxCrashes {
		f.Crashes.All, f.Crashes.More = f.Crashes.All[:maxCrashes], n-maxCrashes
	}
	return f, nil
}

// optionalYes is whether a file's number is 1; absent if there is no such file.
func optionalYes(h host.Files, name string) probes.Opt[bool] {
	n, err := readInt(h, name)
	switch {
	case err == nil:
		return probes.Some(n == 1)
	case errors.Is(err, fs.ErrNotExist):
		return probes.None[bool]()
	}
	return probes.Unread[bool](err.Error())
}

const maxCrashes = 20

func (f *nextBootFacts) target(h host.Files) {
	for _, dir := range []string{"/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		target, err := h.Readlink(dir + "default.target")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			f.Target, f.TargetOK = probes.Unread[string](err.Error()), probes.Unread[bool](err.Error())
			return
		}
		f.Target = probes.Some(path.Base(target))
		f.TargetOK = exists(h, dir+"default.target")
		return
	}
}

// selinux reads what the next boot will do: with a policy that is not there and SELinux not off, systemd stops ("Failed to load SELinux policy").
func (f *nextBootFacts) selinux(h host.Files) {
	b, err := h.ReadFile("/etc/selinux/config")
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		f.SELinux, f.Policy = probes.Unread[string](err.Error()), probes.Unread[bool](err.Error())
		return
	}
	mode, policy := "", "targeted"
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.TrimSpace(key) {
		case "SELINUX":
			mode = strings.ToLower(strings.TrimSpace(value))
		case "SELINUXTYPE":
			policy = strings.TrimSpace(value)
		}
	}
	if f.SELinux = probes.Some(mode); mode == "enforcing" || mode == "permissive" {
		f.Policy = exists(h, path.Join("/etc/selinux", policy, "policy"))
	}
}

// wtmpLayouts are the sizes of a record of wtmp(5) and where its time stands: as on x86-64, and with a 64-bit time as on arm64.
var wtmpLayouts = []struct{ size, time int }{{384, 340}, {400, 344}}

// wtmpTail is a multiple of both sizes, some 400 logins.
const wtmpTail = 16 * 9600

const (
	wtmpRunLevel = 1
	wtmpBoot     = 2
	wtmpUser     = 44 // where its name stands
	maxWtmpType  = 9
	// The clock may be set right between the kernel's start and the record.
	bootTolerance = 10 * time.Minute
)

// uncleanStart looks in wtmp for this start and for a shutdown before it: systemd and sysvinit write a record "shutdown" when they end.
func uncleanStart(h host.Host) probes.Opt[bool] {
	up, err := readUptime(h)
	if err != nil {
		return probes.Unread[bool](err.Error())
	}
	log, err := h.ReadTail("/var/log/wtmp", wtmpTail)
	if errors.Is(err, fs.ErrNotExist) {
		return probes.None[bool]()
	}
	if err != nil {
		return probes.Unread[bool](err.Error())
	}
	for _, l := range wtmpLayouts {
		if len(log)%l.size != 0 || len(log) == 0 {
			continue
		}
		if unclean, ok := judgeWtmp(log, l.size, l.time, h.Now().Add(-up)); ok {
			return unclean
		}
	}
	return probes.None[bool]()
}

// judgeWtmp says what came before the last start; not ok if the records are not of this layout.
func judgeWtmp(log []byte, size, at int, booted time.Time) (unclean probes.Opt[bool], ok bool) {
	before, shutdown := 0, false
	for ; len(log) > 0; log = log[size:] {
		kind := binary.NativeEndian.Uint16(log)
		if kind > maxWtmpType {
			return probes.None[bool](), false
		}
		user, _, _ := strings.Cut(string(log[wtmpUser:wtmpUser+32]), "\x00")
		switch {
		case kind == wtmpRunLevel && user == "shutdown":
			shutdown = true
		case kind == wtmpBoot:
			unclean = probes.None[bool]()
			written := time.Unix(int64(binary.NativeEndian.Uint32(log[at:])), 0)
			if written.Sub(booted).Abs() < bootTolerance && before > 0 {
				unclean = probes.Some(!shutdown)
			}
			shutdown = false
		}
		before++
	}
	return unclean, true
}

var netRuleParts = regexp.MustCompile(`(?i)^[^#]*ATTR\{address\}=="([0-9a-f:]{17})".*\bNAME="([^"]+)"`)

// netRules reads the rules that udev of systemd before 209 wrote by itself, and that an image takes along to other hosts.
func (f *nextBootFacts) netRules(h host.Host) {
	unread := func(err error) { f.NetRules.More, f.NetRules.Why = 1, err.Error() }
	text, err := h.ReadFile("/etc/udev/rules.d/70-persistent-net.rules")
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		unread(err)
		return
	}
	cards, err := h.ReadDir("/sys/class/net")
	if err != nil {
		unread(err)
		return
	}
	present := map[string]bool{}
	for _, c := range cards {
		if mac, err := readLine(h, "/sys/class/net/"+c.Name+"/address"); err == nil {
			present[mac] = true
		}
	}
	for line := range strings.Lines(string(text)) {
		m := netRuleParts.FindStringSubmatch(line)
		if m == nil || slices.ContainsFunc(f.NetRules.All, func(r netRule) bool { return r.Name == m[2] }) {
			continue
		}
		mac := strings.ToLower(m[1])
		f.NetRules.All = append(f.NetRules.All, netRule{m[2], mac, present[mac]})
	}
}

func (f *nextBootFacts) crashes(h host.Host, dir string) {
	entries, err := h.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.Crashes.More, f.Crashes.Why = f.Crashes.More+1, err.Error()
		}
		return
	}
	for _, e := range entries {
		// In /var/crash lie dumps in directories by date; Ubuntu's apport keeps reports of programs there too.
		if dir == "/var/crash" && (!e.Type.IsDir() || !strings.ContainsAny(e.Name, "0123456789")) {
			continue
		}
		if fi, err := h.Stat(dir + "/" + e.Name); err == nil {
			f.Crashes.All = append(f.Crashes.All, crashTrace{dir + "/" + e.Name, max(0, h.Now().Sub(fi.ModTime))})
		}
	}
}

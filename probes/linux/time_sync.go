package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// TimeSync reads whether the clock is being kept right.
var TimeSync = probes.Define(probes.Probe[host.Host]{
	Name: "time_sync",
	Doc: `Time synchronisation

Asks the kernel (adjtimex) whether anything disciplines its clock, looks which time daemons are there, and asks chronyd with two runs of
chronyc if it runs (5 ms each). Reads the clock sources in /sys/devices/system/clocksource, /etc/adjtime and the time zone's files. In a container the kernel's
clock is the machine's, and it is the machine that keeps it. How far the clock is off is what ntp_offset measures.`,
	Every: time.Minute,
}, timeSync)

type timeSyncFacts struct {
	Synchronised probes.Opt[bool]          `fact:"synchronised" doc:"The clock is held to a reference: what chronyd says if it runs, else the kernel (STA_UNSYNC is off)"`
	Kernel       bool                      `fact:"kernel_synchronised" doc:"The kernel's flag alone; adjtimex(2)"`
	MaxError     time.Duration             `fact:"max_error" doc:"The kernel's bound of the clock's error; it grows by 0.5 ms a second while nobody corrects it, up to 16 s"`
	Daemons      []timeDaemon              `fact:"daemons" doc:"Time daemons that are installed"`
	Running      int                       `fact:"running" unit:"count" doc:"How many of them run; with two they fight over the clock"`
	Sources      probes.Opt[int]           `fact:"sources" unit:"count" doc:"Time sources that chronyd has; absent if it does not run"`
	Reachable    probes.Opt[int]           `fact:"sources_reachable" unit:"count" doc:"Those that answered one of the last eight times"`
	HeldOff      probes.Opt[string]        `fact:"held_off" doc:"If chronyd follows none: the line of its configuration that keeps it from them (noselect, offline, minsources, maxdistance), as FILE:LINE: TEXT; absent if there is none"`
	Stratum      probes.Opt[int]           `fact:"stratum" unit:"count" doc:"Distance from a reference clock, as chronyd has it; 0 if it follows nothing"`
	Offset       probes.Opt[time.Duration] `fact:"offset" doc:"How far chronyd thinks the clock is off now, without its sign"`
	ClockSource  string                    `fact:"clocksource" doc:"The kernel's clock source: kvm-clock, tsc; empty where /sys does not say"`
	Available    []string                  `fact:"clocksources" doc:"Clock sources that the kernel could use"`
	Zone         probes.Opt[string]        `fact:"zone" doc:"The time zone that /etc/localtime leads to: Asia/Shanghai; absent where it is no link"`
	ZoneNamed    probes.Opt[string]        `fact:"zone_named" doc:"The one that /etc/timezone names, which Debian's family has and some programs go by; absent without it"`
	ZonesApart   probes.Opt[time.Duration] `fact:"zones_apart" doc:"How far the two are from each other, now or half a year later, whichever is more; absent where one is missing or unknown"`
	RTCLocal     probes.Opt[bool]          `fact:"rtc_local" doc:"The hardware clock is kept in local time, which jumps with summer time; /etc/adjtime, absent without it"`
}

type timeDaemon struct {
	Name    string `fact:"name,key" doc:"chronyd, systemd-timesyncd, ntpd, openntpd or ntpd-rs"`
	Running bool   `fact:"running" doc:"It runs"`
}

// timeDaemons says where each daemon is installed and what is there only while it runs: a file with its process id, or, for those
// that have none, the runtime directory (RuntimeDirectory=) or the control group of its unit.
var timeDaemons = []struct {
	name, comm string
	programs   []string
	pidfiles   []string
	runtime    []string
}{
	{"chronyd", "chronyd", []string{"/usr/sbin/chronyd", "/usr/bin/chronyd"}, []string{"/run/chrony/chronyd.pid", "/run/chronyd.pid", "/var/run/chronyd.pid"}, nil},
	{"systemd-timesyncd", "", []string{"/usr/lib/systemd/systemd-timesyncd", "/lib/systemd/systemd-timesyncd"}, nil, []string{"/run/systemd/timesync"}},
	{"ntpd", "ntpd", []string{"/usr/sbin/ntpd", "/usr/bin/ntpd"}, []string{"/run/ntpd.pid", "/var/run/ntpd.pid"}, nil},
	{"openntpd", "", []string{"/usr/sbin/ntpctl", "/usr/bin/ntpctl"}, nil, []string{
		"/sys/fs/cgroup/system.slice/openntpd.service", "/sys/fs/cgroup/systemd/system.slice/openntpd.service",
	}},
	{"ntpd-rs", "", []string{"/usr/bin/ntp-daemon", "/usr/local/bin/ntp-daemon"}, nil, []string{"/run/ntpd-rs"}},
}

func timeSync(ctx context.Context, h host.Host) (timeSyncFacts, error) {
	clock, err := h.Clock()
	if err != nil {
		return timeSyncFacts{}, fmt.Errorf("asking for the clock's state: %w", err)
	}
	f := timeSyncFacts{Kernel: clock.Synchronised, Synchronised: probes.Some(clock.Synchronised), MaxError: clock.MaxError}
	for _, d := range timeDaemons {
		installed := false
		for _, program := range d.programs {
			_, err := h.Stat(program)
			installed = installed || err == nil
		}
		if !installed {
			continue
		}
		running := slices.ContainsFunc(d.runtime, func(name string) bool { return isThere(h, name) })
		for _, file := range d.pidfiles {
			running = running || pidfileHolds(h, file, d.comm)
		}
		f.Daemons = append(f.Daemons, timeDaemon{d.name, running})
		if running {
			f.Running++
		}
		if running && d.name == "chronyd" {
			f.askChrony(ctx, h)
		}
	}
	f.clockSource(h)
	f.zones(h)
	return f, f.adjtime(h)
}

// zones compares the two files that say where this host is. The C library reads /etc/localtime; Java's runtime on Debian, tzlocal for Python and
// others go by the name in /etc/timezone.
func (f *timeSyncFacts) zones(h host.Host) {
	const zoneinfo = "/usr/share/zoneinfo/"
	if target, err := h.Readlink("/etc/localtime"); err == nil {
		if _, name, ok := strings.Cut(target, "/zoneinfo/"); ok {
			f.Zone = probes.Some(name)
		}
	}
	f.ZoneNamed = optionalLine(h, "/etc/timezone")
	name, ok := f.ZoneNamed.Get()
	if !ok || strings.Contains(name, "..") {
		return
	}
	here, err1 := readZone(h, "/etc/localtime")
	named, err2 := readZone(h, zoneinfo+name)
	if err1 != nil || err2 != nil {
		return // what a program makes of a zone that is not there is up to it
	}
	apart := 0
	for _, at := range []time.Time{h.Now(), h.Now().AddDate(0, 6, 0)} {
		_, a := at.In(here).Zone()
		_, b := at.In(named).Zone()
		apart = max(apart, a-b, b-a)
	}
	f.ZonesApart = probes.Some(time.Duration(apart) * time.Second)
}

func readZone(h host.Files, file string) (*time.Location, error) {
	b, err := h.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return time.LoadLocationFromTZData(file, b)
}

func isThere(h host.Files, name string) bool {
	_, err := h.Stat(name)
	return err == nil
}

// pidfileHolds reports whether a file names a process of that name; a daemon that was killed leaves its file behind.
func pidfileHolds(h host.Files, file, comm string) bool {
	pid, err := readInt(h, file)
	if err != nil {
		return false
	}
	name, err := readLine(h, fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && name == comm
}

func (f *timeSyncFacts) askChrony(ctx context.Context, h host.Host) {
	tracking, err := chronyc(ctx, h, "tracking")
	if err == nil && (len(tracking) != 1 || len(tracking[0]) < 14) {
		err = errors.New("chronyc -c tracking: not one line of 14 fields")
	}
	if err != nil {
		f.Synchronised = probes.Unread[bool](err.Error())
		f.Stratum, f.Offset = probes.Unread[int](err.Error()), probes.Unread[time.Duration](err.Error())
	} else {
		f.tracking(tracking[0])
	}
	sources, err := chronyc(ctx, h, "sources")
	if err != nil {
		f.Sources, f.Reachable = probes.Unread[int](err.Error()), probes.Unread[int](err.Error())
		return
	}
	reachable := 0
	for _, s := range sources {
		if len(s) > 5 && s[5] != "0" { // the reach register: eight bits in octal, one for each of the last requests
			reachable++
		}
	}
	f.Sources, f.Reachable = probes.Some(len(sources)), probes.Some(reachable)
	if synchronised, known := f.Synchronised.Get(); known && !synchronised {
		f.HeldOff = chronyHeldOff(h)
	}
}

// holdsOff are chrony.conf(5)'s directives with which no source may ever be followed.
var holdsOff = regexp.MustCompile(`(?i)^\s*(?:(?:server|pool|peer)\s.*\s(?:noselect|offline)\b|minsources\s+(?:[2-9]|\d\d)|maxdistance\s+0?\.0)`)

func chronyHeldOff(h host.Files) probes.Opt[string] {
	files := []string{"/etc/chrony/chrony.conf", "/etc/chrony.conf"}
	for _, dir := range []string{"/etc/chrony/conf.d", "/etc/chrony/sources.d", "/etc/chrony.d"} {
		entries, _ := h.ReadDir(dir)
		for _, e := range entries[:min(len(entries), 20)] {
			files = append(files, dir+"/"+e.Name)
		}
	}
	for _, file := range files {
		text, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			if n++; holdsOff.MatchString(line) {
				return probes.Some(fmt.Sprintf("%s:%d: %.120s", file, n, strings.TrimSpace(line)))
			}
		}
	}
	return probes.None[string]()
}

func chronyc(ctx context.Context, h host.Host, report string) ([][]string, error) {
	out, err := h.Run(ctx, "chronyc", "-n", "-c", report)
	if err != nil {
		return nil, err
	}
	if out.Exit != 0 {
		return nil, fmt.Errorf("chronyc %s: %.200s", report, strings.TrimSpace(string(out.Stdout)+string(out.Stderr)))
	}
	var rows [][]string
	for line := range strings.Lines(string(out.Stdout)) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), ","))
	}
	return rows, nil
}

// tracking reads the fields of the tracking report in the order of chronyc(1): reference id, its name, stratum, reference time,
// system time's offset in seconds, …, leap status.
func (f *timeSyncFacts) tracking(t []string) {
	f.Synchronised = probes.Some(t[13] != "Not synchronised")
	if n, err := strconv.Atoi(t[2]); err == nil {
		f.Stratum = probes.Some(n)
	} else {
		f.Stratum = probes.Unread[int](err.Error())
	}
	if s, err := strconv.ParseFloat(t[4], 64); err == nil && math.Abs(s) < 1e9 {
		f.Offset = probes.Some(time.Duration(math.Abs(s) * float64(time.Second)))
	} else {
		f.Offset = probes.Unread[time.Duration](fmt.Sprintf("%.40q is no number of seconds", t[4]))
	}
}

func (f *timeSyncFacts) clockSource(h host.Files) {
	const dir = "/sys/devices/system/clocksource/clocksource0/"
	if name, err := readLine(h, dir+"current_clocksource"); err == nil {
		f.ClockSource = name
	}
	if names, err := readLine(h, dir+"available_clocksource"); err == nil {
		f.Available = strings.Fields(names)
	}
}

// adjtime reads the third line of /etc/adjtime: UTC or LOCAL (hwclock(8)).
func (f *timeSyncFacts) adjtime(h host.Files) error {
	b, err := h.ReadFile("/etc/adjtime")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading /etc/adjtime: %w", err)
	}
	if lines := strings.Split(string(b), "\n"); len(lines) >= 3 {
		f.RTCLocal = probes.Some(strings.TrimSpace(lines[2]) == "LOCAL")
	}
	return nil
}

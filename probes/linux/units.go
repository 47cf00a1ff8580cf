package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Units reads which units of systemd have failed, restart again and again, or are not there though they should be.
var Units = probes.Define(probes.Probe[host.Host]{
	Name: "units",
	Doc: `systemd units

Runs ` + "`systemctl list-units`" + ` (6 ms), ` + "`systemctl show`" + ` for the services that run or should (about 0.6 ms each), and ` + "`journalctl -u`" + ` for the
last run's log of up to three that are in trouble, of which it reads the likely reason; for those it also looks at the program's file, at its commands' results, at what its unit
forbids it and, if something kills it, at the jobs and scripts that do such things (some 20 ms each). Whether the processes of running services are
stopped is read from /proc/PID/stat, 10 µs each. Only units worth a look are listed: failed, restarting, restarted, enabled but stopped,
halted, outdated,
and those that a host is reached and kept by (SSH, cron, time, network). restarts counts since the unit was last started by hand
or at boot. What looks like a password or token in a log line is replaced by ***.`,
	Every:   30 * time.Second,
	Timeout: 15 * time.Second, // systemd answers slowly on a host that is overloaded, when it matters most; 5 s were not enough on an emulated one
}, units)

type unitsFacts struct {
	Loaded int                   `fact:"loaded" unit:"count" doc:"Services, sockets, mounts, swaps and timers that systemd has loaded"`
	Failed int                   `fact:"failed" unit:"count" doc:"How many of them have failed"`
	List   probes.Cut[unitFacts] `fact:"list" doc:"Those worth a look"`
}

type unitFacts struct {
	Name        string                    `fact:"name,key" doc:"With its suffix: ssh.service"`
	Description string                    `fact:"description" doc:"What it says of itself"`
	Load        string                    `fact:"load" doc:"loaded, not-found, bad-setting, error, masked"`
	Active      string                    `fact:"active" doc:"active, reloading, inactive, failed, activating, deactivating"`
	Sub         string                    `fact:"sub" doc:"Finer than active: running, exited, dead, auto-restart, …"`
	Result      string                    `fact:"result" doc:"How its last run ended: success, exit-code, signal, core-dump, timeout, oom-kill, start-limit-hit, …"`
	ExitCode    probes.Opt[int]           `fact:"exit_code" unit:"status" doc:"Exit status of its main process; absent if it was not that which ended it"`
	Restarts    int                       `fact:"restarts" unit:"count" doc:"Automatic restarts since it was last started by hand or at boot; 0 before systemd 235, which does not count"`
	Enabled     string                    `fact:"enabled" doc:"enabled, disabled, static, masked, generated, …; empty for what has no file"`
	Since       probes.Opt[time.Duration] `fact:"since" doc:"Time since its state last changed"`
	Running     bool                      `fact:"running" doc:"active and alive"`
	Stopped     bool                      `fact:"stopped" doc:"Enabled, meant to stay, its conditions met, and yet neither running nor failed: somebody stopped it, or it ended by itself"`
	ByHand      bool                      `fact:"stopped_by_hand" doc:"Enabled (or masked while it was), ran in this boot, and was stopped on demand: it did not end by itself"`
	Log         []string                  `fact:"log" doc:"Its last log lines, five at most; empty for a unit that is in no trouble"`
	Reason      string                    `fact:"reason" doc:"Why it is in trouble, as its exit status, its result, its last run's log or its program's file says: port-taken, address-missing, program-missing, program-unusable, library-missing, user-missing, directory-missing, environment-missing, key-too-open, host-key-changed, host-key-unknown, key-refused, file-missing, permission-denied, read-only, config-invalid, data-damaged, disk-full, limit-reached, dependency-refused, name-unresolved, certificate-refused, access-refused, namespace, pre-start, killed, oom-kill, watchdog, timeout, start-limit; empty where nothing says"`
	Sign        string                    `fact:"sign" doc:"The log line that says so; empty where the exit status or the result does"`
	Detail      string                    `fact:"detail" doc:"What was found out besides: what is wrong with its program's file, which of its commands failed, which time limit it met, where systemd cannot read its unit file; empty where there is nothing"`
	Object      string                    `fact:"object" doc:"The file, directory, library, user, group, name or HOST:PORT that the reason is about, where that is known; else empty"`
	Signal      string                    `fact:"signal" doc:"The signal that ended its main process last: KILL, SEGV; empty if it ended by itself"`
	Killer      probes.Opt[string]        `fact:"killer" doc:"Of a unit that is killed: the file and line of a job, a unit or a running script of this host that kills it; absent if none was found"`
	Sandbox     []string                  `fact:"sandbox" doc:"Settings of its unit in /etc or /run that forbid it what its log complains of, as SETTING (FILE:LINE)"`
	Port        probes.Opt[int]           `fact:"port" unit:"port" doc:"The port that it wanted, where its log names one"`
	Holder      probes.Opt[string]        `fact:"holder" doc:"Who listens on that port: command, pid and unit; absent if nobody does now"`
	NeededBy    string                    `fact:"needed_by" doc:"Of one that does not run: who needs it, as a running or enabled unit that requires it, or a program that is refused where it should serve; empty if nobody is known"`
	Starts      string                    `fact:"starts" doc:"Of a timer: the service that it starts, by its name; empty for others"`
	Idle        bool                      `fact:"idle" doc:"Of a timer that was written on this host: it was never enabled and does not run"`
	Unmet       bool                      `fact:"unmet" doc:"It is needed and was not started because a condition of its unit did not hold"`
	Ailing      bool                      `fact:"ailing" doc:"It runs, and what is behind nginx there answers 500 or more lately: reason and sign are then what it says of that"`
	Halted      string                    `fact:"halted" doc:"signal: all its processes are stopped by a signal or a debugger; freezer: its control group is frozen; else empty"`
	Outdated    bool                      `fact:"outdated" doc:"Its unit file changed on disk and systemd has not read it again (NeedDaemonReload)"`
	ReloadBad   bool                      `fact:"reload_failed" doc:"Its last reload failed: it runs on with its former configuration"`
}

// vital are the units that a host is reached and kept by, under the names that distributions give them.
var vital = []string{
	"ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "cron.service", "crond.service", "chrony.service", "chronyd.service",
	"systemd-timesyncd.service", "ntp.service", "ntpd.service", "ntpsec.service", "systemd-networkd.service", "NetworkManager.service",
	"networking.service", "network.service", "systemd-resolved.service", "systemd-journald.service", "rsyslog.service", "dbus.service",
	"systemd-logind.service", "aliyun.service", "cloud-init.service",
}

const unitProperties = "Id,Description,LoadState,ActiveState,SubState,Result,Type,ExecMainCode,ExecMainStatus,NRestarts,UnitFileState," +
	"ConditionResult,StateChangeTimestamp,MainPID,ControlGroup,NeedDaemonReload,ReloadResult,FreezerState"

const (
	maxUnits     = 100 // asked for
	maxUnitLogs  = 3   // read; journalctl takes 10 ms and more each
	unitLogLines = 5   // kept
	unitLogRead  = 20  // looked at: systemd itself adds five lines to every restart
)

func units(ctx context.Context, h host.Host) (unitsFacts, error) {
	if _, err := h.Stat("/run/systemd/system"); errors.Is(err, fs.ErrNotExist) { // sd_booted(3)
		return unitsFacts{}, probes.NoData("systemd is not the service manager")
	} else if err != nil {
		return unitsFacts{}, fmt.Errorf("looking for systemd: %w", err)
	}
	web, _ := nginx(ctx, h) // what it could not tell is its own probe's to say
	f, names, idle, err := listUnits(ctx, h)
	for unit := range neededUnits(&web, idle) {
		if !slices.Contains(names, unit) && len(names) < maxUnits {
			names = append(names, unit)
		}
	}
	if err != nil || len(names) == 0 {
		return f, err
	}
	blocks, err := systemctl(ctx, h, append([]string{"show", "--no-pager", "--property=" + unitProperties, "--"}, names...)...)
	if err != nil {
		return f, err
	}
	needs, ordered := neededUnits(&web, idle), ownOrder(h)
	for block := range strings.SplitSeq(strings.TrimSpace(blocks), "\n\n") {
		u, p, err := parseUnit(block, h.Now())
		if err != nil {
			return f, fmt.Errorf("systemctl show: %w", err)
		}
		if u.Running {
			u.Halted = halted(h, p)
		}
		u.Ailing = u.Running && slices.ContainsFunc(web.Failing, func(a failingApp) bool { return a.servedBy(u.Name) })
		if by := needs[u.Name]; u.Running && by != "" { // it runs, and is not where nginx looks for it
			u.Ailing, u.Reason, u.Sign = true, "dependency-refused", "connections are refused to "+by
		} else {
			u.NeededBy = by
		}
		u.Unmet = u.Active == "inactive" && p["ConditionResult"] == "no" && u.NeededBy != "" && conditionAsked(ctx, h, u.Name)
		if u.NeededBy == "" && u.Active == "inactive" && (u.Stopped || u.Load == "masked") && u.Starts == "" {
			u.askStopped(ctx, h)
		}
		if after := ordered[u.Name]; u.NeededBy == "" && u.ByHand && after != "" {
			u.NeededBy = after + ", which starts after it"
		}
		if strings.HasSuffix(u.Name, ".timer") {
			u.asTimer(h)
		} else {
			u.lacksRequired(h)
		}
		if u.notable() {
			f.List.All = append(f.List.All, u)
		}
	}
	f.readLogs(ctx, h, web.Failing)
	return f, f.addNeeded(ctx, h, idle)
}

func systemctl(ctx context.Context, h host.Host, args ...string) (string, error) {
	out, err := h.Run(ctx, append([]string{"systemctl"}, args...)...)
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("systemctl %s: exit status %d: %.200s", args[0], out.Exit, strings.TrimSpace(string(out.Stderr)))
	}
	return string(out.Stdout), err
}

// listUnits counts the units and picks those that are worth asking for, which is what costs: those in trouble, running services (only
// systemd knows whether they were restarted), those that matter, and those that are enabled and do not run. idle are all services that do not run.
func listUnits(ctx context.Context, h host.Host) (f unitsFacts, names, idle []string, err error) {
	table, err := systemctl(ctx, h, "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return f, nil, nil, err
	}
	enabled := enabledUnits(h)
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "        ") || line == "\n" {
			continue // a description may have more lines, as systemd-run makes them of a script; systemctl indents them
		}
		fields := strings.Fields(line)
		if len(fields) > 4 && slices.Contains([]string{"●", "*", "x", "×", "↻", "○"}, fields[0]) {
			fields = fields[1:] // a mark that older versions print in spite of --plain
		}
		if len(fields) < 4 {
			return f, nil, nil, fmt.Errorf("systemctl list-units: %.80q is not UNIT LOAD ACTIVE SUB", line)
		}
		name, load, active, sub := fields[0], fields[1], fields[2], fields[3]
		kind := name[strings.LastIndexByte(name, '.')+1:]
		if load == "not-found" || !slices.Contains([]string{"service", "socket", "mount", "swap", "timer"}, kind) {
			continue
		}
		f.Loaded++
		failed := active == "failed"
		if failed {
			f.Failed++
		}
		running := kind == "service" && (sub == "running" || active == "activating" || active == "deactivating")
		if kind == "service" && active == "inactive" {
			idle = append(idle, name)
		}
		switch {
		case !failed && !running && !slices.Contains(vital, name) && (active != "inactive" || !enabled[name]):
		case len(names) == maxUnits:
			f.List.More++
		default:
			names = append(names, name)
		}
	}
	if f.Loaded == 0 {
		return f, nil, nil, errors.New("systemctl list-units: it lists nothing")
	}
	for _, name := range ownTimers(h, table) {
		if !slices.Contains(names, name) && len(names) < maxUnits {
			names = append(names, name)
		}
	}
	return f, names, idle, nil
}

// ownTimers are timers that were written on this host and do not run; systemd has not loaded those that nobody wants.
func ownTimers(h host.Files, table string) (names []string) {
	entries, _ := h.ReadDir("/etc/systemd/system")
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".timer") && e.Type.IsRegular() && !strings.Contains(table, e.Name+" loaded active") && len(names) < maxOwnTimers {
			names = append(names, e.Name)
		}
	}
	return names
}

const maxOwnTimers = 10

var timerUnit = regexp.MustCompile(`(?m)^\s*Unit\s*=\s*(\S+)`)

// asTimer looks at the file of a timer that was written on this host and does not run: whether what it starts is there, and whether it was never put to use.
func (u *unitFacts) asTimer(h host.Files) {
	text, err := h.ReadFile("/etc/systemd/system/" + u.Name)
	if err != nil || u.Active != "inactive" || u.Load != "loaded" {
		return
	}
	if m := timerUnit.FindSubmatch(text); m != nil {
		u.Starts = string(m[1])
	}
	name, instance, _ := strings.Cut(u.Starts, "@")
	if instance != "" {
		name += "@" + instance[max(0, strings.LastIndexByte(instance, '.')):]
	} else {
		name = u.Starts
	}
	u.Idle = u.Enabled == "disabled" && strings.Contains(string(text), "[Install]")
	if noUnitFile(h, name) && noUnitFile(h, u.Starts) {
		u.Reason, u.Object = "file-missing", u.Starts
	}
}

func noUnitFile(h host.Files, name string) bool {
	return !slices.ContainsFunc([]string{"/etc", "/run", "/run/systemd/generator", "/usr/local/lib", "/usr/lib", "/lib"}, func(dir string) bool {
		if !strings.HasSuffix(dir, "generator") {
			dir += "/systemd/system"
		}
		return isThere(h, dir+"/"+name)
	})
}

var requiredUnits = regexp.MustCompile(`(?m)^\s*(?:Requires|BindsTo|Requisite)\s*=\s*(.+)$`)

// lacksRequired looks at an enabled service that was never started since the boot: systemd does not even try it if what it requires has no unit file. Devices and
// mounts are made without one.
func (u *unitFacts) lacksRequired(h host.Files) {
	if _, changed := u.Since.Get(); changed || u.Active != "inactive" || u.Enabled != "enabled" || u.Load != "loaded" {
		return
	}
	text, err := h.ReadFile("/etc/systemd/system/" + u.Name)
	if err != nil {
		return
	}
	for _, m := range requiredUnits.FindAllSubmatch(text, -1) {
		for name := range strings.FieldsSeq(string(m[1])) {
			if strings.HasSuffix(name, ".service") && !strings.ContainsAny(name, "@%") && noUnitFile(h, name) {
				u.Reason, u.Object = "file-missing", name
				u.Detail = "it requires " + name + ", of which there is no unit file, so that systemd does not start it"
				return
			}
		}
	}
}

// enabledUnits are the units that another one wants or requires by a link under /etc/systemd/system.
func enabledUnits(h host.Files) map[string]bool {
	const dir = "/etc/systemd/system"
	enabled := map[string]bool{}
	entries, _ := h.ReadDir(dir) // none is enabled where there is none
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, ".wants") && !strings.HasSuffix(e.Name, ".requires") {
			continue
		}
		links, _ := h.ReadDir(dir + "/" + e.Name)
		for _, link := range links {
			enabled[link.Name] = true
		}
	}
	return enabled
}

// parseUnit parses the KEY=value lines of one unit.
func parseUnit(block string, now time.Time) (u unitFacts, p map[string]string, err error) {
	p = map[string]string{}
	for line := range strings.Lines(block) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			return u, p, fmt.Errorf("%.80q is not KEY=value", line)
		}
		p[key] = value
	}
	for _, key := range []string{"Id", "LoadState", "ActiveState", "SubState"} {
		if p[key] == "" {
			return u, p, fmt.Errorf("no %s for unit %.80q", key, p["Id"])
		}
	}
	u = unitFacts{
		Name: p["Id"], Description: p["Description"], Load: p["LoadState"], Active: p["ActiveState"], Sub: p["SubState"],
		Result: p["Result"], Enabled: p["UnitFileState"], // A masked unit's file is /dev/null, whose time says nothing.
		Outdated:  p["NeedDaemonReload"] == "yes" && p["LoadState"] != "masked",
		ReloadBad: p["ReloadResult"] != "" && p["ReloadResult"] != "success",
	}
	u.Reason, u.Signal = reasonOfStatus(p), signalOf(p)
	if n, err := strconv.Atoi(p["NRestarts"]); err == nil {
		u.Restarts = n
	}
	if p["ExecMainCode"] == "1" { // CLD_EXITED of waitid(2); 2 and 3 are a signal
		if n, err := strconv.Atoi(p["ExecMainStatus"]); err == nil {
			u.ExitCode = probes.Some(n)
		}
	}
	if at, err := time.Parse("Mon 2006-01-02 15:04:05 MST", p["StateChangeTimestamp"]); err == nil {
		u.Since = probes.Some(max(0, now.Sub(at)))
	}
	u.Running = u.Active == "active" && u.Sub != "exited"
	u.Stopped = u.Active == "inactive" && u.Enabled == "enabled" && u.Load == "loaded" && p["ConditionResult"] == "yes" && p["Type"] != "" && p["Type"] != "oneshot"
	if timed, ok := strings.CutSuffix(u.Name, ".timer"); ok {
		// A timer that was not started since the boot has no time of a change: its target may not be one of this boot's.
		_, started := u.Since.Get()
		u.Stopped = u.Active == "inactive" && u.Enabled == "enabled" && u.Load == "loaded" && p["ConditionResult"] == "yes" && started
		u.Starts = timed + ".service"
	}
	return u, p, nil
}

func (u *unitFacts) troubled() bool {
	return u.Active == "failed" || u.Sub == "auto-restart" || u.Restarts > 0
}

func (u *unitFacts) notable() bool {
	return u.troubled() || u.Idle || u.Object != "" || u.Ailing || u.NeededBy != "" || u.Stopped || u.ByHand || u.Halted != "" || u.Outdated || u.ReloadBad && u.Running || u.Active == "activating" || u.Load != "loaded" && u.Load != "masked" || slices.Contains(vital, u.Name)
}

// readLogs reads the last words of the units in trouble; those that are failed now come first. A log that cannot be read (no journal,
// not root) stays empty, for the unit's state does not depend on it.
func (f *unitsFacts) readLogs(ctx context.Context, h host.Host, failing []failingApp) {
	left := maxUnitLogs
	for _, failed := range []bool{true, false} {
		for i := range f.List.All {
			u := &f.List.All[i]
			if i := slices.IndexFunc(failing, func(a failingApp) bool { return a.servedBy(u.Name) }); u.Ailing && !u.troubled() && !failed {
				if i >= 0 {
					u.Reason, u.Sign = failing[i].Reason, failing[i].Says
				}
				u.lookAtSandbox(ctx, h)
			}
			if left == 0 || !u.troubled() || (u.Active == "failed") != failed {
				continue
			}
			left--
			u.investigate(ctx, h)
		}
	}
}

// lastWords keeps the end of a unit's log: what its own processes said, and only where they said nothing what systemd says of it.
func lastWords(unit, text string) []string {
	var own, all []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		all = append(all, line)
		if !strings.HasPrefix(line, unit+": ") && !ofSystemd.MatchString(line) {
			own = append(own, line)
		}
	}
	if len(own) == 0 {
		own = all
	}
	var words []string
	for _, line := range own[max(0, len(own)-unitLogLines):] {
		words = append(words, redactLine(line))
	}
	return words
}

// ofSystemd are its job messages: "Started ssh.service - OpenBSD Secure Shell server." (src/core/job.c and unit.c).
var ofSystemd = regexp.MustCompile(`^(Starting|Started|Stopping|Stopped|Reloading|Reloaded|Finished|Failed to start|Scheduled restart job) .*\S\.(\.\.)?$`)

// What a log line may give away: name=value and "name: value" of what is called a secret, credentials in URLs, tokens of the usual
// providers' form, and long runs of base64 or hexadecimal digits.
var secrets = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`(?i)((?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key(?:[_-]?(?:id|secret))?|private[_-]?key|credential|cookie)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|\S+)`), "${1}***"},
	{regexp.MustCompile(`(?i)(authorization["']?\s*[=:]\s*).*`), "${1}***"},
	{regexp.MustCompile(`(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}`), "${1} ***"},
	{regexp.MustCompile(`([a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@`), "${1}***@"},
	{regexp.MustCompile(`[A-Za-z0-9+_-]{40,}=*`), "***"},
}

// maxLogLine is enough for a message's beginning, which says what is wrong.
const maxLogLine = 300

// redactLine hides secrets in a line that a program wrote.
func redactLine(s string) string {
	for _, secret := range secrets {
		s = secret.pattern.ReplaceAllString(s, secret.by)
	}
	if len(s) > maxLogLine {
		s = strings.ToValidUTF8(s[:maxLogLine], "") + "…"
	}
	return s
}

package linux

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// troubleProperties are asked of units in trouble only. InvocationID came with systemd 232.
const troubleProperties = "InvocationID,ExecStart,ExecStartPre,FragmentPath,DropInPaths,TimeoutStartUSec,WatchdogUSec,RuntimeMaxUSec,Type,LoadError," +
	"EnvironmentFiles,WorkingDirectory,RootDirectory,User,Group,AmbientCapabilities"

// investigate finds out why a unit is in trouble.
func (u *unitFacts) investigate(ctx context.Context, h host.Host) {
	p := askTrouble(ctx, h, u.Name)
	one := func(key string) string { return strings.Join(p[key], " ") }
	log := u.lastLog(ctx, h, one("InvocationID"))
	u.Log = lastWords(u.Name, log)
	if u.again() { // what systemd knew of the run before is in the log only
		u.Signal, u.Reason = lastSignal(log), lastResult(log)
	}
	if from := signalFromOutside(u.Signal); from && u.Reason != "oom-kill" && u.Reason != "timeout" && u.Reason != "watchdog" {
		u.Reason = "killed"
	}
	u.explain(log)
	if (u.Sign == "" || !spoke(u.Name, u.Log)) && !u.again() && u.Signal == "" {
		if own := ownLog(h, u.Name, u.Since); own != "" {
			u.Log = lastWords(u.Name, own)
			u.explain(own)
		}
	}
	program := programOf(p["ExecStart"])
	if u.Reason == "" && u.Signal == "" && (u.exited(255) || sshCommand.MatchString(one("ExecStart"))) {
		u.lookAtClientKeys(h, one("ExecStart"), unitFilesOf(p))
	}
	switch {
	case u.Load == "bad-setting" || u.Load == "error":
		u.Detail = redactLine(one("LoadError"))
	case u.Reason == "program-missing" || u.Reason == "permission-denied" && u.exited(203) || u.Reason == "" && (u.exited(126) || u.exited(127)) || u.Reason == "file-missing" && u.exited(127):
		u.lookAtProgram(h, program)
	case u.Reason == "timeout", u.Reason == "watchdog":
		u.Detail = timeLimit(u.Reason, log, one)
	case u.Reason == "killed":
		u.Killer = findKiller(ctx, h, u.Name, program)
	case u.Reason == "" && u.Restarts > 1 && strings.Contains(log, u.Name+": Deactivated successfully"):
		// TERM is a clean end for systemd, which does not tell it from one of the program's own.
		if u.Killer = findKiller(ctx, h, u.Name, program); u.Killer != probes.None[string]() {
			u.Reason, u.Signal = "killed", "TERM"
		}
	}
	if command, status := failedCommand(p["ExecStartPre"]); command != "" {
		u.Detail = fmt.Sprintf("ExecStartPre=%s ended with status %s", redactLine(command), status)
		program, _, _ := strings.Cut(command, " ")
		switch {
		case status == "203" && !isThere(h, program):
			u.Reason = "program-missing"
		case u.Reason == "" || u.Reason == "start-limit":
			u.Reason = cmp.Or(reasonOfManager(status), "pre-start")
		}
	}
	u.findSandbox(h, unitFilesOf(p))
	u.nameObject(h, one)
	switch u.Reason {
	case "dependency-refused", "name-unresolved", "certificate-refused":
		u.nameAsked(ctx, h, one("ExecStart"))
	case "permission-denied":
		u.lowPort(h, one)
	}
	if port, ok := u.Port.Get(); ok {
		u.Holder = holderOf(ctx, h, port)
	}
}

// lookAtSandbox is for a unit that runs and says that something is forbidden to it.
func (u *unitFacts) lookAtSandbox(ctx context.Context, h host.Host) {
	u.findSandbox(h, unitFilesOf(askTrouble(ctx, h, u.Name)))
}

// sandboxIsNew is how young a drop-in must be to be blamed for a trouble that nobody knows the reason of.
const sandboxIsNew = 24 * time.Hour

func (u *unitFacts) findSandbox(h host.Host, files []string) {
	if u.Reason == "" && u.Signal == "" {
		files = slices.DeleteFunc(files, func(file string) bool {
			fi, err := h.Stat(file)
			return err != nil || !strings.Contains(file, ".service.d/") || h.Now().Sub(fi.ModTime) > sandboxIsNew
		})
	}
	u.Sandbox = sandboxOf(h, files, u.Reason, u.Signal)
}

func askTrouble(ctx context.Context, h host.Host, unit string) map[string][]string {
	p := map[string][]string{}
	text, err := systemctl(ctx, h, "show", "--no-pager", "--property="+troubleProperties, "--", unit)
	if err != nil {
		return p
	}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			p[key] = append(p[key], value)
		}
	}
	return p
}

// unitFilesOf are the unit's file and its drop-ins.
func unitFilesOf(p map[string][]string) []string {
	return strings.Fields(strings.Join(append(slices.Clone(p["FragmentPath"]), p["DropInPaths"]...), " "))
}

// again reports whether a further run has begun since the one that ended.
func (u *unitFacts) again() bool {
	return u.Running || u.Active == "activating" && u.Sub != "auto-restart" && u.Restarts > 0
}

func (u *unitFacts) exited(status int) bool {
	n, ok := u.ExitCode.Get()
	return ok && n == status
}

// lastLog is what the unit's last run said and what systemd said of it. A unit that runs again said why before that, so all its last lines count.
func (u *unitFacts) lastLog(ctx context.Context, h host.Host, invocation string) string {
	ask := []string{"journalctl", "-u", u.Name, "-n", strconv.Itoa(unitLogRead), "-o", "cat", "--no-pager", "-q"}
	if invocation != "" && !u.again() {
		out, err := h.Run(ctx, append(slices.Clone(ask), "_SYSTEMD_INVOCATION_ID="+invocation, "+", "INVOCATION_ID="+invocation)...)
		// The journal does not always know any more whose line it was that a program wrote just before it ended.
		if text := string(out.Stdout); err == nil && out.Exit == 0 && spoke(u.Name, lastWords(u.Name, text)) {
			return text
		}
	}
	out, err := h.Run(ctx, ask...)
	if err != nil || out.Exit != 0 {
		return ""
	}
	return string(out.Stdout)
}

// spoke reports whether the unit's own processes have said anything, and not only systemd of them.
func spoke(unit string, words []string) bool {
	return slices.ContainsFunc(words, func(line string) bool {
		return !strings.HasPrefix(line, unit+": ") && !ofSystemd.MatchString(line)
	})
}

const (
	ownLogTail = 4 << 10
	maxOwnLogs = 15
)

// ownLog is the end of the log files of a daemon that says nothing to the journal, as redis, PostgreSQL, MariaDB and nginx do: those below the directory of
// /var/log that is named like it, written since a minute before its state changed.
func ownLog(h host.Host, unit string, since probes.Opt[time.Duration]) string {
	age, ok := since.Get()
	name, _, _ := strings.Cut(strings.TrimSuffix(unit, ".service"), "@")
	dirs := []string{"/var/log/" + name}
	if short, _, ok := strings.Cut(name, "-"); ok {
		dirs = append(dirs, "/var/log/"+short)
	}
	if name == "mariadb" || name == "mysqld" {
		dirs = append(dirs, "/var/log/mysql")
	}
	if !ok {
		return ""
	}
	var newest time.Time
	text := ""
	for _, dir := range dirs {
		entries, err := h.ReadDir(dir)
		if err != nil {
			continue
		}
		left := maxOwnLogs
		for _, e := range entries {
			if left--; left < 0 {
				break
			}
			if !strings.HasSuffix(e.Name, ".log") && !strings.HasSuffix(e.Name, ".err") {
				continue
			}
			fi, err := h.Stat(dir + "/" + e.Name)
			if err != nil || h.Now().Sub(fi.ModTime) > age+time.Minute || !fi.ModTime.After(newest) {
				continue
			}
			if b, err := h.ReadTail(dir+"/"+e.Name, ownLogTail); err == nil {
				newest, text = fi.ModTime, string(b)
			}
		}
	}
	return text
}

// signalNames are those of signal(7) on the usual architectures; what a program brings upon itself is marked.
var signalNames = map[string]string{
	"1": "HUP", "2": "INT", "3": "QUIT", "4": "ILL", "5": "TRAP", "6": "ABRT", "7": "BUS", "8": "FPE", "9": "KILL", "10": "USR1", "11": "SEGV", "12": "USR2",
	"13": "PIPE", "14": "ALRM", "15": "TERM", "24": "XCPU", "25": "XFSZ", "31": "SYS",
}

func signalOf(p map[string]string) string {
	if p["ExecMainCode"] != "2" && p["ExecMainCode"] != "3" { // CLD_KILLED and CLD_DUMPED of waitid(2)
		return ""
	}
	if name, ok := signalNames[p["ExecMainStatus"]]; ok {
		return name
	}
	return p["ExecMainStatus"]
}

func signalFromOutside(name string) bool {
	return slices.Contains([]string{"HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "ALRM"}, name)
}

var exitLine = regexp.MustCompile(`(?m)^\S+: Main process exited, code=(\w+), status=\d+/(\w+)`)

// lastSignal is the signal by which the last run before this one ended, as systemd's log says.
func lastSignal(log string) string {
	all := exitLine.FindAllStringSubmatch(log, -1)
	if len(all) == 0 || all[len(all)-1][1] == "exited" {
		return ""
	}
	return all[len(all)-1][2]
}

var resultLine = regexp.MustCompile(`(?m)^\S+: Failed with result '([\w-]+)'`)

// lastResult is the kind of result of the last run before this one, if it names a reason.
func lastResult(log string) string {
	all := resultLine.FindAllStringSubmatch(log, -1)
	if len(all) == 0 {
		return ""
	}
	return reasonOfStatus(map[string]string{"Result": all[len(all)-1][1]})
}

var execCommand = regexp.MustCompile(`^\{ path=(\S+) ; argv\[\]=(.*?) ; ignore_errors=(\w+) .* code=(\S+) ; status=(\S+) \}`)

// programOf is the file that ExecStart= runs.
func programOf(execStart []string) string {
	for _, line := range execStart {
		if m := execCommand.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return ""
}

// failedCommand is the command of several that did not end well and may not fail.
func failedCommand(lines []string) (command, status string) {
	for _, line := range lines {
		m := execCommand.FindStringSubmatch(line)
		if m == nil || m[3] != "no" || m[4] != "exited" && m[4] != "killed" || strings.HasPrefix(m[5], "0") {
			continue
		}
		status, _, _ = strings.Cut(m[5], "/")
		return m[2], status
	}
	return "", ""
}

// lookAtProgram tells a file that is missing from one that cannot be run.
func (u *unitFacts) lookAtProgram(h host.Files, program string) {
	why, mode := programTrouble(h, program)
	switch {
	case mode:
		u.Reason, u.Detail = "permission-denied", why
	case why != "":
		u.Reason, u.Detail = "program-unusable", why
	}
}

// scriptHead is enough for the first line of a script and the identification of an ELF file.
const scriptHead = 4 << 10

// programTrouble says why a file that is there cannot be run; mode: because of its permissions. Empty if nothing is seen.
func programTrouble(h host.Files, program string) (why string, mode bool) {
	fi, err := h.Stat(program)
	switch {
	case program == "" || err != nil:
		return "", false
	case fi.Mode.IsDir():
		return program + " is a directory", false
	case fi.Mode.Perm()&0o111 == 0:
		return fmt.Sprintf("%s has mode %04o and may not be run", program, fi.Mode.Perm()), true
	case fi.Size == 0:
		return program + " is empty", false
	}
	if on := noexecMount(h, program); on != "" {
		return fmt.Sprintf("%s lies on %s, which is mounted noexec", program, on), false
	}
	if fi.Size > host.MaxFile {
		return "", false
	}
	text, err := h.ReadFile(program)
	if err != nil {
		return "", false
	}
	return headTrouble(h, program, text[:min(len(text), scriptHead)]), false
}

func headTrouble(h host.Files, program string, head []byte) string {
	line, _, _ := strings.Cut(string(head), "\n")
	switch {
	case strings.HasPrefix(line, "\x7fELF"):
		return ""
	case strings.HasPrefix(line, "\ufeff#!"):
		return program + " begins with a byte order mark (BOM), so that its first line is not taken for one that names an interpreter"
	case !strings.HasPrefix(line, "#!"):
		return program + " is neither a program nor a script whose first line is #! and an interpreter"
	case strings.HasSuffix(line, "\r"):
		return program + " has DOS line ends: its first line ends in a carriage return, which becomes part of the interpreter's name"
	}
	words := strings.Fields(line[2:])
	if len(words) == 0 {
		return program + " names no interpreter in its first line"
	}
	interpreter := words[0]
	if path.Base(interpreter) == "env" && len(words) > 1 && isThere(h, interpreter) {
		for _, word := range words[1:] {
			if strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
				continue
			}
			for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
				if strings.HasPrefix(word, "/") || isThere(h, dir+"/"+word) {
					return ""
				}
			}
			return fmt.Sprintf("the first line of %s asks env for %s, which is in no directory of the usual PATH", program, word)
		}
	}
	if !isThere(h, interpreter) {
		return fmt.Sprintf("the first line of %s names the interpreter %s, which is not there", program, interpreter)
	}
	if on := noexecMount(h, interpreter); on != "" {
		return fmt.Sprintf("its interpreter %s lies on %s, which is mounted noexec", interpreter, on)
	}
	return ""
}

// noexecMount is the mount that holds a file, if nothing may be run from it.
func noexecMount(h host.Files, name string) string {
	mounts, err := readMounts(h)
	if err != nil {
		return ""
	}
	var on mount
	for _, m := range mounts {
		if (m.point == "/" || name == m.point || strings.HasPrefix(name, m.point+"/")) && len(m.point) >= len(on.point) {
			on = m
		}
	}
	if slices.Contains(on.options, "noexec") {
		return on.point
	}
	return ""
}

// timeLimit says which time limit of systemd's the unit met.
func timeLimit(reason, log string, property func(string) string) string {
	switch {
	case reason == "watchdog":
		return "WatchdogSec=" + property("WatchdogUSec") + ": it did not tell systemd in time that it is alive"
	case strings.Contains(log, "reached runtime time limit"):
		return "RuntimeMaxSec=" + property("RuntimeMaxUSec") + ": systemd ends it after this time, however well it is"
	case strings.Contains(log, "stop-sigterm"), strings.Contains(log, "State 'stop"):
		return "TimeoutStopSec=: it did not end in time when it was stopped"
	}
	switch property("Type") {
	case "notify", "notify-reload":
		return "TimeoutStartSec=" + property("TimeoutStartUSec") + ", Type=notify: it did not tell systemd that it is ready (sd_notify READY=1)"
	case "forking":
		return "TimeoutStartSec=" + property("TimeoutStartUSec") + ", Type=forking: the process that was started did not end after putting a daemon into the background"
	case "dbus":
		return "TimeoutStartSec=" + property("TimeoutStartUSec") + ", Type=dbus: its bus name did not appear"
	}
	return "TimeoutStartSec=" + property("TimeoutStartUSec") + ": its start commands did not end in time"
}

// sandboxes are the settings of systemd.exec(5) and systemd.resource-control(5) that make a program see what its log complains of.
var sandboxes = []struct {
	reasons []string
	setting *regexp.Regexp
}{
	{[]string{"read-only"}, regexp.MustCompile(`^(?:ProtectSystem|ReadOnlyPaths|ReadOnlyDirectories|InaccessiblePaths|InaccessibleDirectories|ProtectHome|BindReadOnlyPaths|DynamicUser|ProtectKernelTunables|ProtectControlGroups|ProtectProc)=`)},
	{[]string{"permission-denied", "SYS", "KILL"}, regexp.MustCompile(`^(?:SystemCallFilter|SystemCallArchitectures|RestrictNamespaces|MemoryDenyWriteExecute|RestrictRealtime)=`)},
	{[]string{"permission-denied"}, regexp.MustCompile(`^(?:InaccessiblePaths|InaccessibleDirectories|NoExecPaths|ProtectHome|CapabilityBoundingSet|PrivateDevices|DevicePolicy|DeviceAllow|RestrictAddressFamilies|IPAddressDeny|PrivateUsers|ProtectClock|ProtectKernelModules|SocketBindDeny|DynamicUser)=`)},
	{[]string{"file-missing", "program-missing", "namespace", "directory-missing"}, regexp.MustCompile(`^(?:PrivateTmp|TemporaryFileSystem|ProtectHome|RootDirectory|RootImage|InaccessiblePaths|ReadWritePaths|ReadOnlyPaths|BindPaths|BindReadOnlyPaths|PrivateDevices|ReadWriteDirectories)=`)},
	{[]string{"dependency-refused", "name-unresolved", "address-missing"}, regexp.MustCompile(`^(?:PrivateNetwork|IPAddressDeny|NetworkNamespacePath|RestrictAddressFamilies)=`)},
}

// sandboxOf lists the settings in a unit's files below /etc and /run that can be the reason; what a package ships is meant for its program.
func sandboxOf(h host.Files, files []string, reason, signal string) []string {
	return settingsOf(h, files, func(line string) bool {
		for _, s := range sandboxes {
			if (reason == "" && signal == "" || slices.Contains(s.reasons, reason) || slices.Contains(s.reasons, signal) && signal != "KILL") && s.setting.MatchString(line) {
				return true
			}
		}
		return false
	})
}

// settingsOf lists the lines of a unit's files below /etc and /run that are asked for and are not off, as SETTING (FILE:LINE).
func settingsOf(h host.Files, files []string, wanted func(line string) bool) []string {
	found := []string{}
	for _, file := range files {
		if !strings.HasPrefix(file, "/etc/") && !strings.HasPrefix(file, "/run/") {
			continue
		}
		text, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			line = strings.TrimSpace(line)
			_, value, _ := strings.Cut(line, "=")
			if slices.Contains([]string{"", "no", "false", "off", "0"}, strings.TrimSpace(value)) || strings.HasPrefix(strings.TrimSpace(value), "-") {
				continue
			}
			if wanted(line) {
				found = append(found, fmt.Sprintf("%.80s (%s:%d)", line, file, n))
			}
		}
	}
	return found[:min(len(found), 5)]
}

// The bounds of looking for who kills a unit.
const (
	maxKillerFiles = 300
	maxScript      = 64 << 10
)

var killing = regexp.MustCompile(`\b(?:p?kill|killall5?|skill|fuser)\b|\bsystemctl\s+(?:-\S+\s+)*(?:kill|stop|restart|try-restart|reload-or-restart)\b|\bservice\s+\S+\s+(?:stop|restart)\b`)

// A script may look for the process in one line and kill what it found in another.
var (
	findsProcess = regexp.MustCompile(`\b(?:pgrep|pidof|ps|lsof|ss|systemctl show)\b|\.pid\b`)
	killsFound   = regexp.MustCompile(`\bkill\b[^#]*\$`)
)

// killerSearch looks through what runs by the clock or as a service on this host for a line that kills a unit.
type killerSearch struct {
	h     host.Files
	unit  string
	names *regexp.Regexp // of the unit or its program
	left  int
	seen  map[string]bool
}

// findKiller looks for who ends a unit: a job, another unit's commands or a running script that has a line with both kill and its name.
func findKiller(ctx context.Context, h host.Host, unit, program string) probes.Opt[string] {
	name := strings.TrimSuffix(unit, ".service")
	words := []string{regexp.QuoteMeta(name)}
	if program != "" && !slices.Contains([]string{"sh", "bash", "dash", "env", "python3", "perl", "node", "java"}, path.Base(program)) {
		words = append(words, regexp.QuoteMeta(path.Base(program)))
	}
	s := killerSearch{h: h, unit: unit, names: regexp.MustCompile(`(?:^|[^\w-])(?:` + strings.Join(words, "|") + `)(?:$|[^\w-])`), left: maxKillerFiles, seen: map[string]bool{}}
	for _, dir := range []string{"/etc/systemd/system", "/run/systemd/transient", "/run/systemd/system", "/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron", "/etc/cron.hourly", "/etc/monit/conf.d", "/etc/monit.d"} {
		entries, err := h.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.Name == unit || e.Type.IsDir() || strings.HasPrefix(dir, "/etc/systemd") && !strings.HasSuffix(e.Name, ".service") {
				continue
			}
			if where := s.file(dir+"/"+e.Name, true); where != "" {
				return probes.Some(where)
			}
		}
	}
	if where := s.file("/etc/crontab", true); where != "" {
		return probes.Some(where)
	}
	return s.processes(ctx)
}

// scriptWord is an absolute path in a command.
var scriptWord = regexp.MustCompile(`/[\w./@+-]+`)

// file looks for the line in a file, and in the scripts that the file names.
func (s *killerSearch) file(name string, follow bool) string {
	if s.left == 0 || s.seen[name] {
		return ""
	}
	s.left--
	s.seen[name] = true
	fi, err := s.h.Stat(name)
	if err != nil || !fi.Mode.IsRegular() || fi.Size > maxScript {
		return ""
	}
	text, err := s.h.ReadFile(name)
	if err != nil || strings.HasPrefix(string(text), "\x7fELF") {
		return ""
	}
	n, finds := 0, false
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		command := !strings.Contains(name, "/systemd/") || strings.HasPrefix(line, "Exec") && !strings.HasPrefix(line, "ExecStop")
		if line == "" || line[0] == '#' || line[0] == ';' || !command {
			continue
		}
		finds = finds || findsProcess.MatchString(line) && s.names.MatchString(line)
		if s.kills(line) || finds && killsFound.MatchString(line) {
			return fmt.Sprintf("%s:%d: %s", name, n, redactLine(line))
		}
		if !follow {
			continue
		}
		for _, script := range scriptWord.FindAllString(line, 4) {
			if where := s.file(script, false); where != "" {
				return where + " (run by " + name + ")"
			}
		}
	}
	return ""
}

func (s *killerSearch) kills(line string) bool {
	return killing.MatchString(line) && s.names.MatchString(line)
}

// processes looks at what shells and other interpreters are running.
func (s *killerSearch) processes(ctx context.Context) probes.Opt[string] {
	pids, err := processIDs(s.h)
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	for _, pid := range pids {
		if ctx.Err() != nil || s.left == 0 {
			break
		}
		comm, err := readLine(s.h, fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || !interpreters.MatchString(comm) {
			continue
		}
		b, err := s.h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		command := strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
		if s.kills(command) {
			return probes.Some(fmt.Sprintf("process %d: %s", pid, redactLine(command)))
		}
		for _, script := range scriptWord.FindAllString(command, 4) {
			if where := s.file(script, false); where != "" {
				return probes.Some(fmt.Sprintf("%s (run by process %d)", where, pid))
			}
		}
	}
	return probes.None[string]()
}

var interpreters = regexp.MustCompile(`^(?:(?:ba|da|z|k|a)?sh|python[\d.]*|perl|ruby|watch|monit|[\w-]*(?:guard|watch|monitor|health|clean)[\w.-]*)$`)

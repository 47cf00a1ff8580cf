package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Logging reads whether what programs say is kept, and whether the logs are rotated.
var Logging = probes.Define(probes.Probe[host.Host]{
	Name: "logging",
	Doc: `Logs: whether they are kept and rotated

Reads journald.conf with its drop-ins, looks at /dev/log, the journal's directory and the files that rsyslog writes, and reads logrotate's configuration with the eyes
of logrotate: files that it ignores, users that do not exist, words that it does not know, a log in two entries, a directory that it finds unsafe. logrotate does
not run. Costs 1 ms. What lies in logrotate's scripts is not judged.`,
	Every: 5 * time.Minute,
}, logging)

type loggingFacts struct {
	Journal  []journalProblem  `fact:"journal" doc:"Settings of the journal by which messages are lost, and what keeps it from being written"`
	Written  probes.Opt[age]   `fact:"journal_written" doc:"Time since the journal's file last changed; absent where there is none"`
	Rotation []rotationProblem `fact:"rotation" doc:"What logrotate refuses or does not understand"`
	Rotated  probes.Opt[age]   `fact:"rotated" doc:"Time since logrotate last wrote down what it did; absent where it never did"`
	Entries  int               `fact:"rotated_logs" unit:"count" doc:"Entries in logrotate's configuration"`
	Loops    []logLoop         `fact:"loops" doc:"Files that rsyslog reads (imfile) and writes itself"`
	Files    []logFileProblem  `fact:"files" doc:"Files that rsyslog is to write and cannot; empty where it is not enabled"`
}

type age = time.Duration

type journalProblem struct {
	Kind  string `fact:"kind,key" doc:"none: Storage=none; level: only emergencies are kept; small: it may be a few messages long; rate: more than a few messages are dropped; file: its directory is something else; locked: its file may not be changed (chattr); devlog: /dev/log leads nowhere"`
	File  string `fact:"file" doc:"The file that says so, or that is wrong"`
	Value string `fact:"value" doc:"The setting"`
}

type rotationProblem struct {
	Where string `fact:"where,key" doc:"The file of logrotate's configuration, and the line"`
	Kind  string `fact:"kind" doc:"mode: others may write the configuration; owner: it is not root's; directory: others than root may write the log's directory, and no su line says as whom to rotate; duplicate: the log is in another entry too; user: a user or group that does not exist; word: an unknown directive; unfinished: a bracket or script that does not end; state: its own state cannot be written; off: nothing starts logrotate, its timer is masked or not enabled"`
	What  string `fact:"what" doc:"The log, directory, user or word; how its timer is"`
	Extra string `fact:"extra" doc:"The mode, or the other place; with off: a large log of those that wait, and its size"`
}

type logLoop struct {
	File  string `fact:"file,key" doc:"The file"`
	Read  string `fact:"read_by" doc:"The configuration that reads it"`
	Write string `fact:"written_by" doc:"The configuration that writes it"`
}

type logFileProblem struct {
	Path    string `fact:"path,key" doc:"The file"`
	Where   string `fact:"where" doc:"The configuration that names it"`
	Problem string `fact:"problem" doc:"directory: it is one; locked: it may not be changed, or only be added to (chattr); owner: the user that rsyslog runs as may not write it; null: it leads to /dev/null"`
}

func logging(_ context.Context, h host.Host) (loggingFacts, error) {
	f := loggingFacts{Journal: []journalProblem{}, Rotation: []rotationProblem{}, Files: []logFileProblem{}, Loops: []logLoop{}}
	if _, err := h.Stat("/etc"); err != nil {
		return f, err
	}
	if isThere(h, "/run/systemd/system") {
		if err := f.journal(h); err != nil {
			return f, err
		}
	}
	// Debian's rsyslog keeps no file with its process id.
	if isThere(h, "/run/rsyslogd.pid") || isThere(h, "/etc/systemd/system/multi-user.target.wants/rsyslog.service") {
		f.rsyslog(h)
	}
	return f, f.rotation(h)
}

// setting is a value and the file that gives it.
type setting struct{ value, file string }

// systemdSettings reads a configuration of systemd's in the order in which it does: the main file, then the drop-ins by their names, of
// which one in /etc stands for one of the same name elsewhere (systemd.syntax(7)).
func systemdSettings(h host.Files, name, section string) (map[string]setting, error) {
	all := map[string]setting{}
	dropIns := map[string]string{}
	for _, dir := range []string{"/usr/lib/systemd/", "/run/systemd/", "/etc/systemd/"} {
		entries, err := h.ReadDir(dir + name + ".d")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name, ".conf") {
				dropIns[e.Name] = dir + name + ".d/" + e.Name
			}
		}
	}
	files := []string{"/etc/systemd/" + name}
	for _, base := range slices.Sorted(maps.Keys(dropIns)) {
		files = append(files, dropIns[base])
	}
	for _, file := range files {
		b, err := h.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		in := ""
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			key, value, ok := strings.Cut(line, "=")
			switch {
			case strings.HasPrefix(line, "["):
				in = strings.Trim(line, "[]")
			case ok && in == section && line[0] != '#' && line[0] != ';':
				all[strings.TrimSpace(key)] = setting{strings.TrimSpace(value), file}
			}
		}
	}
	return all, nil
}

// fewMessages are journal sizes and rates below which a host keeps nothing of use; journald's own defaults are a tenth of the disk and 10,000 in 30 s.
const (
	fewBytes    = 1 << 20
	fewMessages = 50
)

func (f *loggingFacts) journal(h host.Host) error {
	conf, err := systemdSettings(h, "journald.conf", "Journal")
	if err != nil {
		return err
	}
	tell := func(kind, key string) {
		f.Journal = append(f.Journal, journalProblem{kind, conf[key].file, key + "=" + conf[key].value})
	}
	if conf["Storage"].value == "none" {
		tell("none", "Storage")
	}
	if slices.Contains([]string{"emerg", "alert", "crit", "0", "1", "2"}, conf["MaxLevelStore"].value) {
		tell("level", "MaxLevelStore")
	}
	for _, key := range []string{"SystemMaxUse", "RuntimeMaxUse"} {
		volatile := conf["Storage"].value == "volatile" || !isThere(h, "/var/log/journal")
		if n, ok := sizeOf(conf[key].value); ok && n < fewBytes && volatile == (key == "RuntimeMaxUse") {
			tell("small", key)
		}
	}
	burst, err := parseCount(conf["RateLimitBurst"].value)
	if err == nil && 0 < burst && burst < fewMessages && !slices.Contains([]string{"0", "0s"}, conf["RateLimitIntervalSec"].value) {
		tell("rate", "RateLimitBurst")
	}
	if fi, err := h.Stat("/var/log/journal"); err == nil && !fi.Mode.IsDir() {
		f.Journal = append(f.Journal, journalProblem{"file", "/var/log/journal", fi.Mode.Type().String()})
	}
	if fi, err := h.Stat("/dev/log"); errors.Is(err, fs.ErrNotExist) && isThere(h, "/run/systemd/journal") || err == nil && fi.Mode.Type() != fs.ModeSocket {
		f.Journal = append(f.Journal, journalProblem{"devlog", "/dev/log", ""})
	}
	f.journalFile(h)
	return nil
}

// journalFile looks at the file that is written now: in memory until the disk's is there.
func (f *loggingFacts) journalFile(h host.Host) {
	id, err := readLine(h, "/etc/machine-id")
	if err != nil {
		return
	}
	for _, dir := range []string{"/var/log/journal/", "/run/log/journal/"} {
		name := dir + id + "/system.journal"
		fi, err := h.Stat(name)
		if err != nil {
			continue
		}
		f.Written = probes.Some(max(0, h.Now().Sub(fi.ModTime)))
		if a, err := h.Attributes(name); err == nil && (a.Immutable || a.AppendOnly) {
			f.Journal = append(f.Journal, journalProblem{"locked", name, ""})
		}
		return
	}
}

// sizeOf reads systemd's sizes: 1048576, 512K, 2M.
func sizeOf(s string) (int, bool) {
	unit := 1
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
			unit, s = 1<<(10*(i+1)), s[:len(s)-1]
		}
	}
	n, err := parseCount(s)
	return n * unit, err == nil
}

// rsyslog looks at the files that its rules name. It makes directories and files that are missing by itself.
func (f *loggingFacts) rsyslog(h host.Host) {
	files := []string{"/etc/rsyslog.conf"}
	entries, _ := h.ReadDir("/etc/rsyslog.d")
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".conf") {
			files = append(files, "/etc/rsyslog.d/"+e.Name)
		}
	}
	user := ""
	targets := map[string]string{}
	reads, everything := map[string]string{}, map[string]string{}
	for _, file := range files {
		b, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		fileInputs(withoutComments(string(b)), file, reads, everything)
		for line := range strings.Lines(string(b)) {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			switch {
			case len(words) == 2 && words[0] == "$PrivDropToUser":
				user = words[1]
			case len(words) == 2 && strings.Contains(words[0], ".") && strings.HasPrefix(strings.TrimPrefix(words[1], "-"), "/"):
				name, _, _ := strings.Cut(strings.TrimPrefix(words[1], "-"), ";")
				targets[name] = cmp.Or(targets[name], file)
				if facilities, _, _ := strings.Cut(words[0], "."); strings.ContainsRune(facilities, '*') || strings.Contains(facilities, "local0") { // imfile's own
					everything[name] = cmp.Or(everything[name], file)
				}
			}
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(reads)) {
		for _, name := range slices.Sorted(maps.Keys(everything)) {
			if same, _ := path.Match(pattern, name); same {
				f.Loops = append(f.Loops, logLoop{name, reads[pattern], everything[name]})
			}
		}
	}
	uid := -1
	if user != "" {
		if users, _, err := readColons(h, "/etc/passwd", 7); err == nil {
			for _, u := range users {
				if u[pwName] == user {
					uid, _ = parseCount(u[pwUID])
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		if p := logFile(h, name, uid); p != "" {
			f.Files = append(f.Files, logFileProblem{name, targets[name], p})
		}
	}
}

// imfile inputs that have no rules of their own, and actions that write files: input(type="imfile" File="/var/log/*.log" …), $InputFileName, action(type="omfile" …).
var (
	fileInput  = regexp.MustCompile(`(?is)\binput\s*\(([^)]*\btype\s*=\s*"imfile"[^)]*)\)`)
	fileAction = regexp.MustCompile(`(?is)\baction\s*\(([^)]*\btype\s*=\s*"omfile"[^)]*)\)`)
	fileNamed  = regexp.MustCompile(`(?i)\bfile\s*=\s*"(/[^"]+)"`)
	oldInput   = regexp.MustCompile(`(?im)^\s*\$InputFileName\s+(/\S+)`)
	ownRules   = regexp.MustCompile(`(?i)\bruleset\s*=`)
	ruleBlock  = regexp.MustCompile(`(?is)\bruleset\s*\([^)]*\)\s*\{.*?\}`)
)

func fileInputs(text, file string, reads, writes map[string]string) {
	for _, m := range fileInput.FindAllStringSubmatch(text, -1) {
		if name := fileNamed.FindStringSubmatch(m[1]); name != nil && !ownRules.MatchString(m[1]) {
			reads[name[1]] = file
		}
	}
	for _, m := range oldInput.FindAllStringSubmatch(text, -1) {
		reads[m[1]] = file
	}
	for _, m := range fileAction.FindAllStringSubmatch(ruleBlock.ReplaceAllString(text, ""), -1) {
		if name := fileNamed.FindStringSubmatch(m[1]); name != nil {
			writes[name[1]] = cmp.Or(writes[name[1]], file)
		}
	}
}

func logFile(h host.Host, name string, uid int) string {
	if strings.HasPrefix(name, "/dev/") {
		return ""
	}
	if target, err := h.Readlink(name); err == nil && target == "/dev/null" {
		return "null"
	}
	fi, err := h.Stat(name)
	if err != nil {
		return ""
	}
	a, attrErr := h.Attributes(name)
	switch {
	case fi.Mode.IsDir():
		return "directory"
	case attrErr == nil && a.Immutable:
		return "locked"
	case uid > 0 && fi.UID != uid && fi.Mode.Perm()&0o022 == 0:
		return "owner"
	}
	return ""
}

// rotation reads /etc/logrotate.conf and what it includes.
func (f *loggingFacts) rotation(h host.Host) error {
	const main = "/etc/logrotate.conf"
	text, err := h.ReadFile(main)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r := rotationReader{f: f, h: h, seen: map[string]string{}, names: map[string]map[string]bool{}}
	if r.trusted(main) {
		r.read(main, string(text))
	}
	r.started()
	for _, name := range []string{"/var/lib/logrotate/status", "/var/lib/logrotate/logrotate.status", "/var/lib/logrotate.status"} {
		fi, err := h.Stat(name)
		if err != nil {
			continue
		}
		f.Rotated = probes.Some(max(0, h.Now().Sub(fi.ModTime)))
		a, attrErr := h.Attributes(name)
		b, readErr := h.ReadFile(name)
		bad := readErr == nil && len(b) > 0 && !strings.HasPrefix(string(b), "logrotate state")
		if fi.Mode.IsDir() || attrErr == nil && (a.Immutable || a.AppendOnly) || bad {
			r.tell(name, "state", name, octal(fi.Mode))
		}
		break
	}
	return nil
}

// largeLog is a size that logs which are rotated seldom have.
const largeLog = 100 << 20

// started looks whether the timer that packages bring for logrotate is in use, or a crontab takes its place. The script that Debian's package also brings in
// cron.daily does nothing where systemd runs.
func (r *rotationReader) started() {
	const name, unit = "logrotate.timer", "/etc/systemd/system/logrotate.timer"
	if len(r.seen) == 0 || !isThere(r.h, "/run/systemd/system") || !isThere(r.h, "/usr/lib/systemd/system/"+name) && !isThere(r.h, "/lib/systemd/system/"+name) {
		return
	}
	how := "not enabled"
	if target, err := r.h.Readlink(unit); err == nil && target == "/dev/null" {
		how = "masked"
	} else if enabledUnits(r.h)[name] {
		return
	}
	crontabs := []string{"/etc/crontab", "/etc/cron.daily/logrotate", "/var/spool/cron/crontabs/root", "/var/spool/cron/root"}
	for _, dir := range []string{"/etc/cron.d", "/etc/cron.hourly"} {
		entries, _ := r.h.ReadDir(dir)
		for _, e := range entries {
			crontabs = append(crontabs, dir+"/"+e.Name)
		}
	}
	for _, file := range crontabs {
		if text, err := r.h.ReadFile(file); err == nil && strings.Contains(string(text), "logrotate") && !strings.Contains(string(text), "/run/systemd/system") {
			return
		}
	}
	large := ""
	entries, _ := r.h.ReadDir("/var/log")
	for _, e := range entries {
		if fi, err := r.h.Lstat("/var/log/" + e.Name); err == nil && fi.Mode.IsRegular() && fi.Size >= largeLog && large == "" {
			large = fmt.Sprintf("/var/log/%s has %d MiB", e.Name, fi.Size>>20)
		}
	}
	r.tell(name, "off", how, large)
}

type rotationReader struct {
	f     *loggingFacts
	h     host.Host
	su    bool                       // a su line outside of the entries holds for those that follow
	seen  map[string]string          // logs and where their entry is
	names map[string]map[string]bool // users and groups
}

func (r *rotationReader) tell(where, kind, what, extra string) {
	if !slices.ContainsFunc(r.f.Rotation, func(p rotationProblem) bool { return p.Where == where }) {
		r.f.Rotation = append(r.f.Rotation, rotationProblem{where, kind, what, extra})
	}
}

// trusted: logrotate ignores configuration that others could have written; readConfigFile of its config.c.
func (r *rotationReader) trusted(file string) bool {
	fi, err := r.h.Stat(file)
	switch {
	case err != nil || !fi.Mode.IsRegular():
		return false
	case fi.Mode.Perm()&0o022 != 0:
		r.tell(file, "mode", file, octal(fi.Mode))
	case fi.UID != 0:
		r.tell(file, "owner", file, fmt.Sprint(fi.UID))
	default:
		return true
	}
	return false
}

// tabooEnds are the files that logrotate leaves out when it includes a directory.
var tabooEnds = []string{",v", ".cfsaved", ".disabled", ".dpkg-bak", ".dpkg-del", ".dpkg-dist", ".dpkg-new", ".dpkg-old", ".dpkg-tmp", ".rhn-cfg-tmp-", ".rpmnew", ".rpmorig", ".rpmsave", ".swp", ".ucf-dist", ".ucf-new", ".ucf-old", "~", ".bak"}

func (r *rotationReader) include(name string) {
	entries, err := r.h.ReadDir(name)
	if err != nil {
		return
	}
	for _, e := range entries {
		file := path.Join(name, e.Name)
		if e.Type.IsDir() || strings.HasPrefix(e.Name, ".") || slices.ContainsFunc(tabooEnds, func(end string) bool { return strings.HasSuffix(e.Name, end) }) {
			continue
		}
		if r.trusted(file) {
			if text, err := r.h.ReadFile(file); err == nil {
				r.read(file, string(text))
			}
		}
	}
}

// rotationWords are the directives of logrotate(8), without those that begin a script.
var rotationWords = strings.Fields(`addextension allowhardlink compress compresscmd compressext compressoptions copy copytruncate create createolddir daily dateext
	dateformat datehourago dateyesterday delaycompress errors extension hourly ifempty ignoreduplicates include mail mailfirst maillast maxage maxsize minage
	minsize missingok monthly noallowhardlink nocompress nocopy nocopytruncate nocreate nocreateolddir nodateext nodelaycompress noignoreduplicates nomail nomissingok
	noolddir norenamecopy nosharedscripts noshred notifempty olddir renamecopy rotate sharedscripts shred shredcycles size start su syslog taboo tabooext
	taboopat uncompresscmd unmail weekly weeks yearly`)

var rotationScripts = []string{"firstaction", "lastaction", "postrotate", "preremove", "prerotate"}

// rotationEntry is what stands before and in a pair of brackets.
type rotationEntry struct {
	patterns []string
	line     int
	su       bool
	same     bool // ignoreduplicates
}

func (r *rotationReader) read(file, text string) {
	var entry *rotationEntry
	var patterns []string
	script, n := "", 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		where := fmt.Sprintf("%s:%d", file, n)
		switch {
		case script != "":
			if line == "endscript" {
				script = ""
			}
			continue
		case line == "" || line[0] == '#':
			continue
		}
		opens := strings.Contains(line, "{") && entry == nil
		before, after, _ := strings.Cut(line, "{")
		if entry == nil && (line[0] == '/' || line[0] == '"' || line[0] == '\'' || line[0] == '*' || opens || len(patterns) > 0) {
			patterns = append(patterns, strings.Fields(strings.NewReplacer(`"`, "", "'", "").Replace(before))...)
			if !opens {
				continue
			}
			entry, patterns = &rotationEntry{patterns: patterns, line: n, su: r.su}, nil
			line = strings.TrimSpace(after)
			if line == "" {
				continue
			}
		}
		body, _, closes := strings.Cut(line, "}")
		if words := strings.Fields(strings.ReplaceAll(body, "=", " ")); len(words) > 0 {
			script = r.directive(where, words, entry)
		}
		if closes && entry != nil && script == "" {
			r.entry(file, entry)
			entry = nil
		}
	}
	if script != "" || entry != nil || len(patterns) > 0 {
		r.tell(fmt.Sprintf("%s:%d", file, n), "unfinished", cmp.Or(script, "{"), "")
	}
}

// directive reads a line; it tells which script begins, if one does.
func (r *rotationReader) directive(where string, words []string, entry *rotationEntry) (script string) {
	word := words[0]
	switch {
	case slices.Contains(rotationScripts, word):
		return word
	case word == "include" && entry == nil && len(words) > 1:
		r.include(words[1])
	case word == "su":
		if entry != nil {
			entry.su = true
		} else {
			r.su = true
		}
		r.people(where, words[1:])
	case word == "create" || word == "createolddir":
		r.people(where, words[min(len(words), 2):])
	case word == "ignoreduplicates" && entry != nil:
		entry.same = true
	case word != "endscript" && !slices.Contains(rotationWords, word):
		r.tell(where, "word", word, "")
	}
	return ""
}

// people checks USER GROUP. A host whose accounts come from elsewhere has names that its files do not know.
func (r *rotationReader) people(where string, names []string) {
	for i, name := range names[:min(len(names), 2)] {
		file := []string{"/etc/passwd", "/etc/group"}[i]
		known, read := r.names[file]
		if !read {
			known = map[string]bool{}
			b, err := r.h.ReadFile(file)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(b)) {
				user, _, _ := strings.Cut(line, ":")
				known[user] = true
			}
			r.names[file] = known
		}
		if _, err := parseCount(name); err != nil && !known[name] && localNames(r.h) {
			r.tell(where, "user", name, path.Base(file))
		}
	}
}

// localNames reports whether accounts come from the files alone.
func localNames(h host.Files) bool {
	b, err := h.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key != "passwd" && key != "group" {
			continue
		}
		for source := range strings.FieldsSeq(value) {
			if !slices.Contains([]string{"files", "compat", "systemd", "altfiles"}, source) {
				return false
			}
		}
	}
	return true
}

// maxRotatedLogs bounds what one entry's patterns are followed to.
const maxRotatedLogs = 200

func (r *rotationReader) entry(file string, entry *rotationEntry) {
	r.f.Entries++
	where := fmt.Sprintf("%s:%d", file, entry.line)
	for _, pattern := range entry.patterns {
		logs := r.logs(pattern)
		if len(logs) == 0 {
			continue
		}
		if fi, err := r.h.Stat(path.Dir(pattern)); err == nil && !entry.su {
			perm := fi.Mode.Perm()
			if fi.GID != 0 && perm&0o020 != 0 || perm&0o002 != 0 {
				r.tell(where, "directory", path.Dir(pattern), octal(fi.Mode))
			}
		}
		for _, log := range logs {
			if other, ok := r.seen[log]; ok && !entry.same && other != where {
				r.tell(where, "duplicate", log, other)
			}
			r.seen[log] = cmp.Or(r.seen[log], where)
		}
	}
}

// logs are the files that a pattern stands for; one with a wildcard in a directory is not followed.
func (r *rotationReader) logs(pattern string) []string {
	dir, base := path.Split(pattern)
	if strings.ContainsAny(dir, "*?[") || !strings.HasPrefix(pattern, "/") {
		return nil
	}
	if !strings.ContainsAny(base, "*?[") {
		if isThere(r.h, pattern) {
			return []string{pattern}
		}
		return nil
	}
	entries, err := r.h.ReadDir(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return nil
	}
	var logs []string
	for _, e := range entries {
		if ok, _ := path.Match(base, e.Name); ok && !e.Type.IsDir() && len(logs) < maxRotatedLogs {
			logs = append(logs, dir+e.Name)
		}
	}
	return logs
}

package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// This file reads crontabs as cron and the shell that it starts do, and looks for jobs that cannot run. Nothing runs.

type brokenJob struct {
	Where string `fact:"where,key" doc:"File and line; for a script of cron.daily and the like the file"`
	Kind  string `fact:"kind" doc:"missing: its program or script is not there; path: its program is not in the PATH that cron sets; exec: it may not be executed; crlf: its first line ends in CR LF; interpreter: what its first line names is not there; output: the file that it writes to cannot be made; percent: a % that cron takes for the command's end; shell: SHELL= is not there; name: run-parts leaves out names with a dot; off: a script of cron.daily and the like that is not executable"`
	What  string `fact:"what" doc:"The program, script, file or name"`
	User  string `fact:"user" doc:"Whose job it is"`
}

type cronReader struct {
	f      *jobsFacts
	h      host.Files
	uids   map[string]int
	homes  map[string]string
	owners []string // who has a crontab with jobs
	local  bool     // accounts come from the files alone
	debian bool     // Debian's cron, not cronie
}

func (f *jobsFacts) readCrontabs(h host.Files, system []string) {
	r := cronReader{f: f, h: h, uids: map[string]int{}, homes: map[string]string{}, local: localNames(h), debian: isThere(h, "/etc/debian_version")}
	users, _, err := readColons(h, "/etc/passwd", 7)
	if err != nil || len(users) == 0 {
		return
	}
	for _, u := range users {
		uid, _ := parseCount(u[pwUID])
		r.uids[u[pwName]], r.homes[u[pwName]] = uid, u[pwHome]
	}
	for _, file := range system {
		if b, err := h.ReadFile(file); err == nil {
			r.crontab(file, string(b), "")
		}
	}
	if r.debian {
		r.spool("/var/spool/cron/crontabs")
		r.ignoredNames("/etc/cron.d")
	} else {
		r.spool("/var/spool/cron")
	}
	f.Denied = append(f.Denied, r.denied(users)...)
	for _, often := range []string{"hourly", "daily", "weekly", "monthly"} {
		r.parts("/etc/cron." + often)
	}
}

// leftovers are names that packages and editors leave, which are ignored on purpose.
var leftovers = regexp.MustCompile(`^\.|~$|\.(dpkg-\w+|rpm\w+|ucf-\w+|bak|old|orig|save|swp|disabled|off|sample|example|txt|md)$|^(README|0hourly\.)`)

// ignoredNames: Debian's cron heeds files in cron.d only if run-parts would.
func (r *cronReader) ignoredNames(dir string) {
	entries, err := r.h.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Type.IsRegular() && strings.Contains(e.Name, ".") && !leftovers.MatchString(e.Name) {
			r.f.Ignored = append(r.f.Ignored, ignoredCrontab{File: dir + "/" + e.Name, Why: "name"})
		}
	}
}

// spool reads people's own crontabs, whose mode and owner cron checks, too.
func (r *cronReader) spool(dir string) {
	entries, err := r.h.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.Type.IsRegular() || strings.HasPrefix(e.Name, "tmp.") || leftovers.MatchString(e.Name) {
			continue
		}
		file := dir + "/" + e.Name
		fi, err := r.h.Stat(file)
		b, readErr := r.h.ReadFile(file)
		if err != nil || readErr != nil || len(b) == 0 {
			continue
		}
		job := ignoredCrontab{File: file, Mode: octal(fi.Mode), UID: fi.UID}
		uid, known := r.uids[e.Name]
		switch {
		case !known && r.local:
			job.Why = "orphan"
		case known && fi.UID != uid && fi.UID != 0:
			job.Why = "owner"
		case r.debian && fi.Mode.Perm() != 0o600, fi.Mode.Perm()&0o022 != 0:
			job.Why = "own-mode"
		case b[len(b)-1] != '\n' && !lastIsComment(string(b)):
			job.Why = "newline"
		}
		if job.Why != "" {
			r.f.Ignored = append(r.f.Ignored, job)
			continue
		}
		if hasJob.Match(b) {
			r.f.Own++
			r.owners = append(r.owners, e.Name)
		}
		r.crontab(file, string(b), e.Name)
	}
}

// hasJob: a line that begins with a time.
var hasJob = regexp.MustCompile(`(?m)^\s*[0-9*@]`)

// deniedTool is crontab or at, and the file by which it refuses people: crontab(1), at.allow(5).
type deniedTool struct {
	Tool     string   `fact:"tool,key" doc:"crontab or at"`
	File     string   `fact:"file" doc:"The file that decides"`
	Users    []string `fact:"users" doc:"Accounts of people (user id 1000 and above, with a shell) that it turns away; at most 10"`
	WithJobs []string `fact:"with_jobs" doc:"Those of all accounts that have a crontab, which still runs, and which they can no longer change"`
}

const maxDenied = 10

// denied reads cron.allow and cron.deny, at.allow and at.deny. Where at has neither, only root may use it, which is its default.
func (r *cronReader) denied(users [][]string) []deniedTool {
	var all []deniedTool
	for tool, name := range map[string]string{"crontab": "/etc/cron", "at": "/etc/at"} {
		file, listed, allows := name+".allow", []string(nil), true
		text, err := readText(r.h, file)
		if errors.Is(err, fs.ErrNotExist) {
			file, allows = name+".deny", false
			text, err = readText(r.h, file)
		}
		if err != nil || tool == "at" && !isThere(r.h, "/usr/bin/at") {
			continue
		}
		for line := range strings.Lines(text) {
			listed = append(listed, strings.TrimSpace(line))
		}
		d := deniedTool{Tool: tool, File: file, Users: []string{}, WithJobs: []string{}}
		for _, u := range users {
			user, uid := u[pwName], r.uids[u[pwName]]
			if uid == 0 || slices.Contains(listed, user) == allows || len(d.Users) >= maxDenied {
				continue
			}
			if uid >= 1000 && uid < 60000 && !strings.HasSuffix(u[pwShell], "/nologin") && !strings.HasSuffix(u[pwShell], "/false") {
				d.Users = append(d.Users, user)
			}
			if tool == "crontab" && slices.Contains(r.owners, user) {
				d.WithJobs = append(d.WithJobs, user)
			}
		}
		if len(d.Users)+len(d.WithJobs) > 0 {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b deniedTool) int { return strings.Compare(a.Tool, b.Tool) })
	return all
}

var cronSetting = regexp.MustCompile(`^\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*=\s*(.*?)\s*$`)

// crontab reads the lines of a file; user is empty for the system's, whose lines name one.
func (r *cronReader) crontab(file, text, user string) {
	lookIn := "/usr/bin:/bin"
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		where := fmt.Sprintf("%s:%d", file, n)
		if m := cronSetting.FindStringSubmatch(line); m != nil {
			value := strings.Trim(m[2], `"'`)
			switch {
			case m[1] == "PATH":
				lookIn = value
			case m[1] == "SHELL" && strings.HasPrefix(value, "/"):
				if there, known := exists(r.h, value).Get(); known && !there {
					r.tell(where, "shell", value, user)
				}
			}
			continue
		}
		r.job(file, where, line, lookIn, user)
	}
}

func (r *cronReader) tell(where, kind, what, user string) {
	r.f.Broken = append(r.f.Broken, brokenJob{where, kind, what, user})
}

// ignore says that cron drops the whole file for a line.
func (r *cronReader) ignore(file, where, why, what string) {
	if !slices.ContainsFunc(r.f.Ignored, func(j ignoredCrontab) bool { return j.File == file }) {
		r.f.Ignored = append(r.f.Ignored, ignoredCrontab{File: file, Why: why, Where: where, What: what})
	}
}

func (r *cronReader) job(file, where, line, lookIn, user string) {
	fields := 5
	if line[0] == '@' {
		fields = 1
	} else if bad := badTime(strings.Fields(line)); bad != "" {
		r.ignore(file, where, "time", bad)
		return
	}
	command := afterWords(line, fields)
	if user == "" {
		user, _, _ = strings.Cut(command, " ")
		if tab := strings.IndexByte(user, '\t'); tab >= 0 {
			user = user[:tab]
		}
		command = afterWords(command, 1)
		user, _, _ = strings.Cut(user, ":") // cronie and BSD take a group
		if _, known := r.uids[user]; !known && r.local && user != "" {
			r.ignore(file, where, "user", user)
			return
		}
	}
	if command == "" {
		r.ignore(file, where, "command", "")
		return
	}
	r.command(where, command, lookIn, user)
}

// afterWords is the rest of a line after so many words.
func afterWords(line string, n int) string {
	for range n {
		at := strings.IndexAny(line, " \t")
		if at < 0 {
			return ""
		}
		line = strings.TrimLeft(line[at:], " \t")
	}
	return line
}

var cronRanges = []struct {
	low, high int
	names     []string
}{
	{0, 59, nil},
	{0, 23, nil},
	{1, 31, nil},
	{1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// badTime is the first of the five fields that no cron understands (crontab(5)); empty if all are well.
func badTime(words []string) string {
	if len(words) < 5 {
		return strings.Join(words, " ")
	}
	for i, r := range cronRanges {
		for part := range strings.SplitSeq(words[i], ",") {
			span, step, hasStep := strings.Cut(part, "/")
			if n, err := strconv.Atoi(step); hasStep && (err != nil || n <= 0) {
				return words[i]
			}
			if span == "*" || strings.Contains(span, "~") { // cronie's random times
				continue
			}
			for end := range strings.SplitSeq(span, "-") {
				n, err := strconv.Atoi(end)
				if !slices.Contains(r.names, strings.ToLower(end)) && (err != nil || n < r.low || n > r.high) {
					return words[i]
				}
			}
		}
	}
	return ""
}

var (
	// A date's format with a % that is not escaped: cron gives what follows it to the command as its input.
	cronPercent = regexp.MustCompile(`\+["']?[^\s|;&]*?(^|[^\\])%|\+["']?%`)
	cronOutput  = regexp.MustCompile(`(?:^|[^<>&\d])\d?>>?\s*(/[^\s;|&"'$` + "`" + `()]+)`)
)

// shellWords are what a shell knows by itself, or what begins a condition whose other branch is not followed.
var shellWords = strings.Fields(`. : [ [[ ! { ( alias bg break case cd command continue declare do echo elif else eval exec exit export false fi for function hash help history if
	jobs kill let local printf pwd read readonly return select set shift shopt sleep source test then time times trap true type typeset ulimit umask unalias unset until wait while`)

// wrappers run what comes after their options.
var wrappers = []string{"nice", "ionice", "nohup", "timeout", "flock", "sudo", "env", "chronic", "setsid", "exec", "time", "systemd-cat", "chrt"}

var cronInterpreters = regexp.MustCompile(`^(/usr)?(/local)?(/bin/)?(ba|da|z|k)?sh$|^(/usr)?(/local)?(/bin/)?(python[\d.]*|perl|php|ruby|node)$`)

func (r *cronReader) command(where, command, lookIn, user string) {
	if cronPercent.MatchString(command) {
		r.tell(where, "percent", "%", user)
		return
	}
	for _, m := range cronOutput.FindAllStringSubmatch(command, -1) {
		if !strings.HasPrefix(m[1], "/dev/") && !r.writable(m[1], user) {
			r.tell(where, "output", m[1], user)
			return
		}
	}
	words := strings.Fields(command)
	for len(words) > 0 && strings.Contains(words[0], "=") && !strings.ContainsAny(words[0], "/$(") {
		words = words[1:]
	}
	if len(words) > 3 && words[0] == "cd" && (words[2] == "&&" || words[2] == ";") {
		words = words[3:]
	}
	if len(words) == 0 || slices.Contains(shellWords, words[0]) || slices.Contains(wrappers, path.Base(words[0])) {
		return
	}
	word := strings.TrimRight(words[0], ";")
	if strings.ContainsAny(word, "$`*?~\"'\\(){}|&<>=[") {
		return
	}
	if cronInterpreters.MatchString(word) && len(words) > 1 && strings.HasPrefix(words[1], "/") && !strings.ContainsAny(words[1], "$`*?~\"'\\(){}|&<>;") {
		if there, known := exists(r.h, words[1]).Get(); known && !there {
			r.tell(where, "missing", words[1], user)
		}
		return
	}
	switch {
	case strings.HasPrefix(word, "/"):
		r.program(where, word, user)
	case !strings.Contains(word, "/"):
		r.inPath(where, word, lookIn, user)
	}
}

func (r *cronReader) inPath(where, word, lookIn, user string) {
	if strings.Contains(lookIn, "$") {
		return
	}
	for dir := range strings.SplitSeq(lookIn, ":") {
		if _, err := r.h.Stat(path.Join("/", dir, word)); !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	for _, dir := range []string{"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/snap/bin/", "/opt/bin/", path.Join("/", r.homes[user], "bin") + "/"} {
		if isThere(r.h, dir+word) {
			r.tell(where, "path", dir+word, user)
			return
		}
	}
	r.tell(where, "missing", word, user)
}

// maxCronScript bounds what is read of a job's program; a script's first line is at its beginning.
const maxCronScript = 64 << 10

func (r *cronReader) program(where, file, user string) {
	fi, err := r.h.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.tell(where, "missing", file, user)
		return
	case err != nil:
		return
	case fi.Mode.IsDir() || fi.Mode.IsRegular() && fi.Mode.Perm()&0o111 == 0:
		r.tell(where, "exec", file, user)
		return
	case fi.Size > maxCronScript || !fi.Mode.IsRegular():
		return
	}
	b, err := r.h.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(b), "#!") {
		return
	}
	line, _, _ := strings.Cut(string(b[2:]), "\n")
	interpreter := strings.Fields(line)
	switch {
	case strings.HasSuffix(line, "\r"):
		r.tell(where, "crlf", file, user)
	case len(interpreter) > 0 && strings.HasPrefix(interpreter[0], "/"):
		if there, known := exists(r.h, interpreter[0]).Get(); known && !there {
			r.tell(where, "interpreter", interpreter[0], user)
		}
	}
}

// writable says yes unless the job's user surely cannot open the file to write.
func (r *cronReader) writable(file, user string) bool {
	uid, known := r.uids[user]
	fi, err := r.h.Stat(file)
	if err == nil {
		return !fi.Mode.IsDir() && (!known || uid == 0 || fi.UID == uid || fi.Mode.Perm()&0o022 != 0)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	fi, err = r.h.Stat(path.Dir(file))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return fi.Mode.IsDir() && (!known || uid == 0 || fi.UID == uid || fi.Mode.Perm()&0o022 != 0)
}

var partsName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// parts looks at a directory whose scripts run-parts runs: on Debian only those whose names have no dot (run-parts(8)).
func (r *cronReader) parts(dir string) {
	entries, err := r.h.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		file := dir + "/" + e.Name
		if e.Type.IsDir() || leftovers.MatchString(e.Name) {
			continue
		}
		fi, err := r.h.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			r.tell(file, "missing", file, "root")
		case err != nil:
		case r.debian && !partsName.MatchString(e.Name):
			if fi.Mode.Perm()&0o111 != 0 {
				r.tell(file, "name", e.Name, "root")
			}
		case fi.Mode.Perm()&0o111 == 0:
			r.tell(file, "off", file, "root")
		default:
			r.program(file, file, "root")
		}
	}
}

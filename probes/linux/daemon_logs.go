package linux

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// daemonRefusal is that a database turns clients away that it should perhaps let in.
type daemonRefusal struct {
	Where  string             `fact:"where,key" doc:"The database, as in postgresql 127.0.0.1:5432"`
	PID    int                `fact:"pid" unit:"pid" doc:"Its process"`
	Unit   probes.Opt[string] `fact:"unit" doc:"Its systemd service; absent outside of any"`
	Reason string             `fact:"reason" doc:"rule: a line of pg_hba.conf rejects them; no-rule: none lets them in; password: it is wrong, or the account is for another way to log in; account, database: there is none of that name; right: the account may not do that"`
	User   string             `fact:"user" doc:"The account"`
	Client string             `fact:"client" doc:"Where it came from; empty if the log does not say"`
	Rule   string             `fact:"rule" doc:"The line of pg_hba.conf that decided, with file and number; empty if it was not found"`
	Says   string             `fact:"says" doc:"The last such line of the log"`
	Count  int                `fact:"count" unit:"count" doc:"Such lines in the last ten minutes, since its configuration was last read"`
}

// daemonFile is a file that a database cannot use.
type daemonFile struct {
	Path  string             `fact:"path,key" doc:"The file or directory"`
	Where string             `fact:"where" doc:"The database, as in mysql 127.0.0.1:3306"`
	PID   int                `fact:"pid" unit:"pid" doc:"Its process"`
	Unit  probes.Opt[string] `fact:"unit" doc:"Its systemd service; absent outside of any"`
	User  string             `fact:"user" doc:"Whom the server runs as"`
	Why   string             `fact:"why" doc:"missing: it is not there; denied: its owner and mode, or those of a directory above it, keep that user out; damaged: reading or writing it fails"`
	Owner string             `fact:"owner" doc:"Its owner, or that of the directory above it that keeps the server out"`
	Mode  string             `fact:"mode" doc:"And its mode, as in 0600"`
	At    string             `fact:"at" doc:"What has that owner and mode: the path itself or a directory above it"`
	Says  string             `fact:"says" doc:"The last line of the log on it"`
	Count int                `fact:"count" unit:"count" doc:"Such lines in the last ten minutes"`
}

// daemonRoom is a directory in which a database lacks room.
type daemonRoom struct {
	Directory string             `fact:"directory,key" doc:"Where it writes"`
	Where     string             `fact:"where" doc:"The database, as in mysql 127.0.0.1:3306"`
	PID       int                `fact:"pid" unit:"pid" doc:"Its process"`
	Unit      probes.Opt[string] `fact:"unit" doc:"Its systemd service; absent outside of any"`
	Size      int                `fact:"size" unit:"bytes" doc:"Of the file system there"`
	Free      int                `fact:"free" unit:"bytes" doc:"What is left of it now"`
	Temporary bool               `fact:"temporary" doc:"It is the directory of its temporary files"`
	Own       bool               `fact:"own" doc:"Something is mounted there for it alone"`
	Says      string             `fact:"says" doc:"The last line of its log on that; empty if it has said nothing"`
}

const (
	daemonLogTail  = 32 << 10
	daemonLogLines = 100
	daemonLogAge   = 10 * time.Minute
)

var (
	clientRefusals = []struct {
		reason string
		line   *regexp.Regexp // with the groups client and user, where there are such
	}{
		{"rule", regexp.MustCompile(`FATAL:  pg_hba\.conf rejects (?:replication )?connection for host "(?P<client>[^"]+)", user "(?P<user>[^"]+)"`)},
		{"no-rule", regexp.MustCompile(`FATAL:  no pg_hba\.conf entry for (?:replication connection from )?host "(?P<client>[^"]+)", user "(?P<user>[^"]+)"`)},
		{"password", regexp.MustCompile(`FATAL:  \w+ authentication failed for user "(?P<user>[^"]+)"`)},
		{"account", regexp.MustCompile(`FATAL:  role "(?P<user>[^"]+)" (?:does not exist|is not permitted to log in)`)},
		{"limit", regexp.MustCompile(`FATAL:  too many connections for role "(?P<user>[^"]+)"`)},
		{"limit", regexp.MustCompile(`(?P<user>[^@ ]+)@\S+ FATAL:  too many connections for database "`)},
		{"database", regexp.MustCompile(`(?P<user>[^@ ]+)@\S+ FATAL:  database "[^"]+" does not exist`)},
		{"right", regexp.MustCompile(`(?P<user>[^@ ]+)@\S+ (?:FATAL|ERROR):  permission denied for `)},
		{"password", regexp.MustCompile(`\[Warning\].* Access denied for user '(?P<user>[^']*)'@'(?P<client>[^']*)' \(using password`)},
		{"right", regexp.MustCompile(`\[Warning\].* Access denied for user '(?P<user>[^']*)'@'(?P<client>[^']*)' to database`)},
	}
	pgMatched = regexp.MustCompile(`onnection matched (?:file "([^"]+)"|pg_hba\.conf) line (\d+): "(.+)"`)
	// A file and what was wrong with it, as PostgreSQL, MySQL and MariaDB, and Redis say it.
	fileTrouble = regexp.MustCompile(`(?i)(?:could not|can'?t|cannot|can not|error|fail|unable)[^"']*["']([^"']+)["'].*?(permission denied|no such file or directory|no space left on device|disk quota exceeded|input/output error|(?:errno|errcode|os error): ?\d+)`)
	// InnoDB tells the kernel's error in a line before that of the file.
	innodbError = regexp.MustCompile(`InnoDB: Operating system error number (\d+) in a file operation`)
	innodbFile  = regexp.MustCompile(`InnoDB: .*'(\.?/[^']+)'`)
	// What was said before it read its configuration again, or started, may be mended since.
	readAgain = regexp.MustCompile(`received SIGHUP, reloading|database system is ready to accept|: ready for connections`)
)

// daemonLog is what a database's log says of the last minutes.
type daemonLog struct {
	h         host.Host
	d         *daemonFacts
	directory string // in which it runs, which is where its data lies
	refusals  []daemonRefusal
	files     []daemonFile
	rooms     []daemonRoom
}

// daemonDamage is that Docker cannot use what it keeps on its disk.
type daemonDamage struct {
	What  string `fact:"what,key" doc:"image: a layer cannot be registered, for its directory is half there; overlay2: a link of the storage driver's directory cannot be read"`
	Says  string `fact:"says" doc:"The last such line of its log"`
	Count int    `fact:"count" unit:"count" doc:"Such lines in the last ten minutes"`
}

// Node-problem-detector's patterns: https://github.com/kubernetes/node-problem-detector/blob/master/config/docker-monitor.json
var dockerDamages = []struct {
	what string
	line *regexp.Regexp
}{
	{"image", regexp.MustCompile(`failed to register layer: rename /\S+ /\S+: (?:directory not empty|file exists)`)},
	{"overlay2", regexp.MustCompile(`readlink /\S*/overlay2\S*: invalid argument`)},
}

// dockerDamage reads the end of the journal of dockerd; without one there is nothing to tell.
func dockerDamage(ctx context.Context, h host.Host) []daemonDamage {
	damaged := []daemonDamage{}
	out, err := h.Run(ctx, "journalctl", "-u", "docker.service", "-n", strconv.Itoa(daemonLogLines), "-o", "cat", "--no-pager", "-q", "--since", "-10min")
	if err != nil || out.Exit != 0 {
		return damaged
	}
	for line := range strings.Lines(string(out.Stdout)) {
		for _, d := range dockerDamages {
			if !d.line.MatchString(line) {
				continue
			}
			i := slices.IndexFunc(damaged, func(o daemonDamage) bool { return o.What == d.what })
			if i < 0 {
				i, damaged = len(damaged), append(damaged, daemonDamage{What: d.what})
			}
			damaged[i].Says, damaged[i].Count = redactLine(strings.TrimSpace(line)), damaged[i].Count+1
		}
	}
	return damaged
}

// readDaemonLog reads the end of a database's own log, if it was written lately: the file that is its standard error, the one that PostgreSQL's
// collector writes, or the journal.
func readDaemonLog(ctx context.Context, h host.Host, d *daemonFacts) *daemonLog {
	l := &daemonLog{h: h, d: d}
	if d.Kind != "postgresql" && d.Kind != "mysql" {
		return l
	}
	l.directory, _ = h.Readlink(fmt.Sprintf("/proc/%d/cwd", d.PID))
	if lines := l.lines(ctx); len(lines) > 0 {
		l.read(ctx, lines)
	}
	l.temporary(ctx)
	return l
}

func (l *daemonLog) lines(ctx context.Context) []string {
	target, err := l.h.Readlink(fmt.Sprintf("/proc/%d/fd/2", l.d.PID))
	if err != nil {
		return nil
	}
	unit, ok := l.d.Unit.Get()
	switch {
	case strings.HasPrefix(target, "pipe:") && l.d.Kind == "postgresql":
		text, err := readText(l.h, l.directory+"/current_logfiles") // "stderr log/postgresql-Sat.log"
		fields := strings.Fields(text)
		if err != nil || len(fields) < 2 || fields[0] != "stderr" {
			return nil
		}
		target = fields[1]
		if !strings.HasPrefix(target, "/") {
			target = path.Join(l.directory, target)
		}
	case strings.HasPrefix(target, "socket:") && ok:
		out, err := l.h.Run(ctx, "journalctl", "-u", unit, "-n", strconv.Itoa(daemonLogLines), "-o", "short-unix", "--no-pager", "-q", "--since", "-10min")
		if err != nil || out.Exit != 0 {
			return nil
		}
		return strings.Split(string(out.Stdout), "\n")
	case !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "/dev/"):
		return nil
	}
	fi, err := l.h.Stat(target)
	if err != nil || !fi.Mode.IsRegular() || l.h.Now().Sub(fi.ModTime) > daemonLogAge {
		return nil
	}
	text, err := l.h.ReadTail(target, daemonLogTail)
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// isLate reports whether a line is of the last minutes. Databases write local time or UTC, and lines that go on begin with neither.
func (l *daemonLog) isLate(line string) bool {
	now := l.h.Now()
	late := func(t time.Time) bool { return now.Sub(t) < daemonLogAge && now.Sub(t) > -time.Minute }
	if t, ok := lineTime(line, now); ok {
		return late(t)
	}
	if len(line) < len(time.DateTime) {
		return false
	}
	for _, in := range []*time.Location{time.UTC, now.Location()} {
		if t, err := time.ParseInLocation(time.DateTime, line[:len(time.DateTime)], in); err == nil && late(t) {
			return true
		}
	}
	return false
}

func (l *daemonLog) read(ctx context.Context, lines []string) {
	number := ""
	for i, line := range lines {
		if !l.isLate(line) {
			continue
		}
		if readAgain.MatchString(line) {
			l.refusals = nil
			continue
		}
		l.refusal(lines, i)
		if m := innodbError.FindStringSubmatch(line); m != nil {
			number = "errno: " + m[1]
			continue
		}
		if m := innodbFile.FindStringSubmatch(line); m != nil && number != "" {
			l.file(ctx, m[1], number, line)
			number = ""
		} else if m := fileTrouble.FindStringSubmatch(line); m != nil {
			l.file(ctx, m[1], strings.ToLower(m[2]), line)
		}
	}
}

func (l *daemonLog) refusal(lines []string, i int) {
	for _, p := range clientRefusals {
		m := p.line.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		r := daemonRefusal{Where: l.d.Where, PID: l.d.PID, Unit: l.d.Unit, Reason: p.reason, Says: redactLine(strings.TrimSpace(lines[i])), Count: 1}
		if g := p.line.SubexpIndex("client"); g > 0 {
			r.Client = m[g]
		}
		r.User = m[p.line.SubexpIndex("user")]
		if r.User == "hostmend" || r.User == "root" && !strings.Contains(lines[i], "using password: YES") || !isNear(r.Client) {
			return // what asks whether it is up without an account of its own, as pg_isready and mysqladmin ping, and strangers
		}
		if r.Reason == "rule" {
			r.Rule = l.rejects(&r)
		} else if l.d.Kind == "postgresql" && r.Reason == "password" {
			for _, next := range lines[i+1 : min(i+4, len(lines))] {
				if m := pgMatched.FindStringSubmatch(next); m != nil {
					r.Rule = fmt.Sprintf("line %s of pg_hba.conf: %s", m[2], m[3])
					break
				}
			}
			if !ruleIsNear(r.Rule) {
				return
			}
		}
		same := slices.IndexFunc(l.refusals, func(o daemonRefusal) bool { return o.Reason == r.Reason && o.User == r.User && o.Client == r.Client })
		if same >= 0 {
			r.Count += l.refusals[same].Count
			l.refusals = slices.Delete(l.refusals, same, same+1)
		}
		l.refusals = append(l.refusals, r)
		return
	}
}

// isNear reports whether a client is of this host or its private networks: strangers try every database that they reach.
func isNear(client string) bool {
	if a, err := netip.ParseAddr(client); err == nil {
		return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
	}
	return true // localhost, [local], a name of this network
}

// ruleIsNear reports whether a line of pg_hba.conf lets in only clients of this host and its private networks.
func ruleIsNear(rule string) bool {
	_, text, ok := strings.Cut(rule, "pg_hba.conf: ")
	fields := strings.Fields(text)
	if !ok || len(fields) < 4 {
		return false
	}
	if fields[0] == "local" || strings.HasPrefix(fields[3], "same") {
		return true
	}
	p, err := netip.ParsePrefix(fields[3])
	return err == nil && p.Bits() > 0 && isNear(p.Addr().String())
}

// rejects finds the line of pg_hba.conf that turned a client away: the first with the method reject that can mean it.
func (l *daemonLog) rejects(r *daemonRefusal) string {
	file := postgresConfig(l.h, l.d.PID, l.directory) + "/pg_hba.conf"
	text, err := readText(l.h, file)
	if err != nil {
		return ""
	}
	client, _ := netip.ParseAddr(r.Client)
	_, database, _ := strings.Cut(r.Says, `database "`)
	database, _, _ = strings.Cut(database, `"`)
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.HasPrefix(f[0], "host") || !slices.Contains(f[4:], "reject") {
			continue
		}
		if !meansAny(f[1], "sameuser", "samerole", "replication", database) || !meansAny(f[2], r.User) && !strings.HasPrefix(f[2], "+") {
			continue
		}
		if p, err := netip.ParsePrefix(f[3]); err != nil || p.Contains(client) {
			return fmt.Sprintf("%s:%d: %s", file, i+1, strings.Join(f, " "))
		}
	}
	return ""
}

// postgresConfig is the directory of a PostgreSQL's configuration: Debian passes its file, -c config_file=/etc/postgresql/15/main/postgresql.conf;
// others keep it with the data.
func postgresConfig(h host.Files, pid int, data string) string {
	args, err := h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	_, rest, ok := strings.Cut(string(args), "config_file=")
	if err != nil || !ok {
		return data
	}
	file, _, _ := strings.Cut(strings.ReplaceAll(rest, "\x00", " "), " ")
	return path.Dir(strings.Trim(file, `"'`))
}

// meansAny reports whether a field of pg_hba.conf, a list with commas, has all or one of these names.
func meansAny(field string, names ...string) bool {
	return slices.ContainsFunc(strings.Split(field, ","), func(s string) bool {
		s = strings.Trim(s, `"`)
		return s == "all" || slices.Contains(names, s)
	})
}

// errorNumbers are those of errno(3) on the usual architectures.
var errorNumbers = map[string]string{"2": "no such file", "5": "input/output error", "13": "permission denied", "28": "no space left", "122": "disk quota"}

// file looks at a file that the log complains of, as it is now.
func (l *daemonLog) file(ctx context.Context, name, trouble, line string) {
	if _, number, ok := strings.Cut(trouble, ": "); ok || strings.Contains(trouble, ":") {
		if !ok {
			_, number, _ = strings.Cut(trouble, ":")
		}
		trouble = errorNumbers[number]
	}
	if strings.HasPrefix(name, "/PostgreSQL.") { // shared memory, by its name for shm_open(3)
		name = "/dev/shm" + name
	} else if !strings.HasPrefix(name, "/") {
		name = path.Join(l.directory, name)
	}
	says := redactLine(strings.TrimSpace(line))
	if strings.HasPrefix(trouble, "no space") || strings.HasPrefix(trouble, "disk quota") {
		l.room(ctx, path.Dir(name), says)
		return
	}
	f := daemonFile{Path: name, Where: l.d.Where, PID: l.d.PID, Unit: l.d.Unit, Says: says, Count: 1, At: name}
	switch {
	case strings.HasPrefix(trouble, "permission"):
		if !l.denied(&f) {
			return
		}
	case strings.HasPrefix(trouble, "no such") && within(name, l.directory):
		if isThere(l.h, name) || !isThere(l.h, path.Dir(name)) {
			return
		}
		f.Why = "missing"
	case strings.HasPrefix(trouble, "input"):
		f.Why = "damaged"
	default:
		return
	}
	if same := slices.IndexFunc(l.files, func(o daemonFile) bool { return o.Path == f.Path }); same >= 0 {
		l.files[same].Count++
		return
	}
	if len(l.files) < 5 {
		l.files = append(l.files, f)
	}
}

// denied looks for what keeps the server's user out: the file, or the first directory above it that cannot be passed.
func (l *daemonLog) denied(f *daemonFile) bool {
	process, err := l.h.Stat(fmt.Sprintf("/proc/%d", l.d.PID)) // owned by whom it runs as
	if err != nil || process.UID == 0 {
		return false
	}
	names := userNames(l.h)
	say := func(uid int) string {
		if name := names[strconv.Itoa(uid)]; name != "" {
			return name
		}
		return strconv.Itoa(uid)
	}
	need := fs.FileMode(0o6)
	for at := f.Path; at != "/"; at = path.Dir(at) {
		fi, err := l.h.Stat(at)
		if err != nil {
			return false
		}
		if fi.Mode.IsDir() {
			need = 0o1
			if at == f.Path {
				need = 0o3
			}
		}
		mode := fi.Mode.Perm()
		switch {
		case fi.UID == process.UID:
			mode >>= 6
		case fi.GID == process.GID:
			mode >>= 3
		}
		if mode&need != need {
			f.Why, f.At, f.User, f.Owner, f.Mode = "denied", at, say(process.UID), say(fi.UID), fmt.Sprintf("%04o", fi.Mode.Perm())
			return true
		}
	}
	return false
}

func (l *daemonLog) room(ctx context.Context, directory, says string) {
	for !isThere(l.h, directory) && directory != "/" { // of files that are gone again
		directory = path.Dir(directory)
	}
	st, err := l.h.Statfs(ctx, directory)
	if err != nil {
		return
	}
	r := daemonRoom{Directory: directory, Where: l.d.Where, PID: l.d.PID, Unit: l.d.Unit, Size: int(st.Size), Free: int(st.Avail), Says: says}
	r.Temporary = strings.Contains(says, "tmp") || says == ""
	if mounts, err := readMounts(l.h); err == nil {
		r.Own = slices.ContainsFunc(mounts, func(m mount) bool { return m.point == directory })
	}
	l.rooms = slices.DeleteFunc(l.rooms, func(o daemonRoom) bool { return o.Directory == directory })
	l.rooms = append(l.rooms, r)
}

// temporary looks where a MySQL or MariaDB keeps its temporary files, of which it does not log that they found no room: from its start it holds some
// there that have no name any more.
func (l *daemonLog) temporary(ctx context.Context) {
	if l.d.Kind != "mysql" {
		return
	}
	for fd := 3; fd < firstDescriptors; fd++ {
		target, err := l.h.Readlink(fmt.Sprintf("/proc/%d/fd/%d", l.d.PID, fd))
		name, gone := strings.CutSuffix(target, " (deleted)")
		if err != nil || !gone || !strings.HasPrefix(name, "/") || within(name, l.directory) {
			continue
		}
		if directory := path.Dir(name); !slices.ContainsFunc(l.rooms, func(r daemonRoom) bool { return r.Directory == directory }) {
			l.room(ctx, directory, "")
		}
		return
	}
}

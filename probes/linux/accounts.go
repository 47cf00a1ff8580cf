package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Accounts reads whether root and the users could log in.
var Accounts = probes.Define(probes.Probe[host.Host]{
	Name: "accounts",
	Doc: `Accounts

Reads /etc/passwd, group, shadow (as root), shells and nsswitch.conf, and looks for root's home, the shells of those who may log in and
nologin files. Of a password it tells only whether there is one. Costs 0.2 ms. Accounts of LDAP or another directory are not seen.
A locked root password is what cloud images have who let root in by key: it is not a fault by itself.`,
	Every: time.Minute,
}, accounts)

type accountsFacts struct {
	Root          bool                       `fact:"root" doc:"There is an account called root; /etc/passwd"`
	RootUID       probes.Opt[int]            `fact:"root_uid" unit:"uid" doc:"Its user id, which must be 0"`
	RootShell     probes.Opt[string]         `fact:"root_shell" doc:"Its login shell"`
	RootLogin     probes.Opt[bool]           `fact:"root_shell_logs_in" doc:"The shell is not one that turns logins away (nologin, false)"`
	RootShellOK   probes.Opt[bool]           `fact:"root_shell_exists" doc:"The shell exists and may be executed"`
	RootListed    probes.Opt[bool]           `fact:"root_shell_listed" doc:"The shell is in /etc/shells, which su, chsh and FTP servers ask for; absent without that file"`
	RootHome      probes.Opt[string]         `fact:"root_home" doc:"Its home directory"`
	RootHomeOK    probes.Opt[bool]           `fact:"root_home_exists" doc:"The home directory is there"`
	RootPassword  probes.Opt[string]         `fact:"root_password" doc:"\"set\", \"locked\" (! or *, no password fits) or \"empty\" (anyone may log in on the console); needs root"`
	RootExpired   probes.Opt[bool]           `fact:"root_expired" doc:"The account's expiry date has passed: PAM refuses logins, by key too; needs root"`
	RootAged      probes.Opt[bool]           `fact:"root_password_expired" doc:"The password is older than its maximal age, or must be changed at the next login; needs root"`
	OtherRoots    []otherRoot                `fact:"other_roots" doc:"Further accounts with user id 0"`
	Logins        probes.Cut[loginFacts]     `fact:"logins" doc:"Accounts of people, and root: user id 0 or from 1000 to 60000, with a shell that lets them in; at most 200"`
	Problems      probes.Cut[accountProblem] `fact:"problems" doc:"Lines of passwd, group and shadow that break their form; the C library skips them"`
	NSSwitch      probes.Opt[string]         `fact:"nsswitch_passwd" doc:"Where accounts are looked up: the passwd line of /etc/nsswitch.conf; absent without one, then it is files"`
	NSSwitchFiles bool                       `fact:"nsswitch_files" doc:"Accounts of /etc/passwd are among what is looked up"`
	NSSwitchGone  []string                   `fact:"nsswitch_without_files" doc:"Lines of passwd, group and shadow in /etc/nsswitch.conf that leave the files out, as written"`
	LostGroups    []lostGroups               `fact:"lost_groups" doc:"Accounts that the last change of /etc/group, within a week, took out of groups that are still there; compared with the copy /etc/group-"`
	ShutOut       []shutOut                  `fact:"shut_out" doc:"Accounts with keys whose shell turns logins away, and which had another before the last change of /etc/passwd, within a week; compared with the copy /etc/passwd-"`
	Nologin       []nologinFile              `fact:"nologin" doc:"Files that forbid everyone but root to log in; pam_nologin(8)"`
	Shutdown      bool                       `fact:"shutdown_scheduled" doc:"A shutdown is planned, before which systemd itself writes /run/nologin; /run/systemd/shutdown/scheduled"`
}

type otherRoot struct {
	Name  string `fact:"name,key" doc:"Name of the account"`
	Shell string `fact:"shell" doc:"Its login shell"`
}

type loginFacts struct {
	Name        string           `fact:"name,key" doc:"Name of the account"`
	UID         int              `fact:"uid" unit:"uid" doc:"User id"`
	Shell       string           `fact:"shell" doc:"Login shell"`
	ShellExists probes.Opt[bool] `fact:"shell_exists" doc:"The shell exists and may be executed"`
	Home        string           `fact:"home" doc:"Home directory"`

	HomeExists probes.Opt[bool]   `fact:"home_exists" doc:"The home directory is there"`
	HomeWrong  string             `fact:"home_problem" doc:"Why the account cannot live in it: it is no directory, another account's, or closed to it; empty if it can, or it is not there"`
	Password   probes.Opt[string] `fact:"password" doc:"\"set\", \"locked\" (no password fits; keys still do) or \"empty\"; absent without a line in shadow; needs root"`
	Expired    probes.Opt[bool]   `fact:"expired" doc:"The account's expiry date has passed: no login, by key neither; needs root"`
	ExpiredFor probes.Opt[int]    `fact:"expired_days" unit:"days" doc:"Days since then; absent if it has not expired"`
	Retired    probes.Opt[bool]   `fact:"retired" doc:"Its password was locked (usermod -L), or its expiry is day 0 or 1, which was never a date: usermod(8) takes accounts out of use so; needs root"`
	Aged       probes.Opt[bool]   `fact:"password_expired" doc:"The password is older than its maximal age, or must be changed at the next login; needs root"`
	Forced     probes.Opt[bool]   `fact:"password_change_forced" doc:"Somebody said that it must be changed at the next login (chage -d 0); needs root"`
	Inactive   probes.Opt[bool]   `fact:"password_inactive" doc:"The password expired longer ago than the account may stay unused: no login until root changes that; needs root"`
}

type accountProblem struct {
	Where   string `fact:"where,key" doc:"\"/etc/passwd:12\""`
	Problem string `fact:"problem" doc:"What is wrong with the line"`
}

type lostGroups struct {
	Account string        `fact:"account,key" doc:"Name of the account"`
	Lost    []string      `fact:"lost" doc:"The groups that it was in before"`
	Gained  []string      `fact:"gained" doc:"The groups that it is in since; with them, and with all former ones lost, it is what usermod -G without -a leaves behind"`
	Left    int           `fact:"left" unit:"count" doc:"Groups that it was in before and still is"`
	Age     time.Duration `fact:"age" doc:"Time since the change"`
}

type shutOut struct {
	Account string        `fact:"account,key" doc:"Name of the account"`
	Shell   string        `fact:"shell" doc:"Its shell now"`
	Was     string        `fact:"was" doc:"Its shell before"`
	Age     time.Duration `fact:"age" doc:"Time since the change"`
}

type nologinFile struct {
	Path string        `fact:"path,key" doc:"/etc/nologin or /run/nologin"`
	Age  time.Duration `fact:"age" doc:"Time since it was written"`
}

const maxLogins = 200

func accounts(_ context.Context, h host.Host) (accountsFacts, error) {
	var f accountsFacts
	users, problems, err := readColons(h, "/etc/passwd", 7)
	if err != nil {
		return f, err
	}
	f.Problems.All = problems
	groups, problems, err := readColons(h, "/etc/group", 4)
	if err != nil {
		return f, err
	}
	f.Problems.All = append(f.Problems.All, problems...)
	f.users(h, users)
	f.shadow(h, users)
	if err := f.nsswitch(h); err != nil {
		return f, err
	}
	f.locks(h)
	f.agree(h, users, groups)
	f.changes(h, users, groups)
	return f, f.nologin(h)
}

// readColons reads a file of lines with a number of fields between colons. Empty lines, comments and NIS entries are passed over as
// the C library does.
func readColons(h host.Files, name string, n int) (rows [][]string, problems []accountProblem, err error) {
	b, err := h.ReadFile(name)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", name, err)
	}
	at := 0
	for line := range strings.Lines(string(b)) {
		at++
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimSpace(line) == "" || strings.ContainsRune("#+-", rune(line[0])) {
			continue
		}
		row := strings.Split(line, ":")
		switch {
		case len(row) != n:
			problems = append(problems, accountProblem{fmt.Sprintf("%s:%d", name, at), fmt.Sprintf("%d fields between colons, not %d", len(row), n)})
		case row[0] == "":
			problems = append(problems, accountProblem{fmt.Sprintf("%s:%d", name, at), "no name"})
		case strings.HasSuffix(line, "\r"):
			problems = append(problems, accountProblem{fmt.Sprintf("%s:%d", name, at), "it ends in a carriage return (a DOS line end)"})
			row[n-1] = strings.TrimSuffix(row[n-1], "\r")
			rows = append(rows, row)
		default:
			rows = append(rows, row)
		}
	}
	return rows, problems, nil
}

// Fields of /etc/passwd: passwd(5).
const (
	pwName = iota
	pwPassword
	pwUID
	pwGID
	pwGecos
	pwHome
	pwShell
)

func (f *accountsFacts) users(h host.Files, users [][]string) {
	for _, u := range users {
		uid, err := strconv.Atoi(u[pwUID])
		if err != nil {
			f.Problems.All = append(f.Problems.All, accountProblem{"/etc/passwd: " + u[pwName], fmt.Sprintf("the user id is %.40q, not a number", u[pwUID])})
			continue
		}
		shell := u[pwShell]
		if shell == "" {
			shell = "/bin/sh" // passwd(5)
		}
		switch {
		case u[pwName] == "root" && !f.Root:
			f.root(h, uid, shell, u[pwHome])
		case uid == 0:
			f.OtherRoots = append(f.OtherRoots, otherRoot{u[pwName], shell})
		}
		if !letsIn(shell) || uid != 0 && (uid < 1000 || uid > 60000) { // UID_MIN and UID_MAX of login.defs(5)
			continue
		}
		if len(f.Logins.All) == maxLogins {
			f.Logins.More++
			continue
		}
		f.Logins.All = append(f.Logins.All, loginFacts{
			Name: u[pwName], UID: uid, Shell: shell, ShellExists: executable(h, shell), Home: u[pwHome], HomeExists: exists(h, u[pwHome]), HomeWrong: homeProblem(h, u, uid),
		})
	}
}

// letsIn tells a shell from the programs that are entered in its place to turn logins away.
func letsIn(shell string) bool {
	name := shell[strings.LastIndexByte(shell, '/')+1:]
	return !slices.Contains([]string{"nologin", "false", "true", "sync", "halt", "shutdown"}, name)
}

func executable(h host.Files, name string) probes.Opt[bool] {
	fi, err := h.Stat(name)
	switch {
	case err == nil:
		return probes.Some(fi.Mode.IsRegular() && fi.Mode&0o111 != 0)
	case errors.Is(err, fs.ErrNotExist):
		return probes.Some(false)
	}
	return probes.Unread[bool](err.Error())
}

func (f *accountsFacts) root(h host.Files, uid int, shell, home string) {
	f.Root, f.RootUID = true, probes.Some(uid)
	f.RootShell, f.RootLogin, f.RootShellOK = probes.Some(shell), probes.Some(letsIn(shell)), executable(h, shell)
	f.RootHome, f.RootHomeOK = probes.Some(home), exists(h, home)
	b, err := h.ReadFile("/etc/shells")
	switch {
	case err == nil:
		f.RootListed = probes.Some(slices.Contains(strings.Fields(string(b)), shell))
	case !errors.Is(err, fs.ErrNotExist):
		f.RootListed = probes.Unread[bool](err.Error())
	}
}

// Fields of /etc/shadow: shadow(5). Dates are days since 1970.
const (
	spName = iota
	spPassword
	spChanged
	spMin
	spMax
	spWarn
	spInactive
	spExpires
)

// shadow reads root's password state. A password in passwd itself, with no x in its place, is the one that counts.
func (f *accountsFacts) shadow(h host.Host, users [][]string) {
	rows, problems, err := readColons(h, "/etc/shadow", 9)
	if err != nil {
		f.RootPassword = probes.Unread[string](err.Error())
		f.RootExpired, f.RootAged = probes.Unread[bool](err.Error()), probes.Unread[bool](err.Error())
		f.Problems.More, f.Problems.Why = 1, err.Error() // whatever is wrong in shadow
		for i := range f.Logins.All {
			f.Logins.All[i].shadowUnread(err.Error())
		}
		return
	}
	f.Problems.All = append(f.Problems.All, problems...)
	today := int(h.Now().Unix() / 86400)
	for _, row := range rows {
		if i := slices.IndexFunc(f.Logins.All, func(l loginFacts) bool { return l.Name == row[spName] }); i >= 0 {
			f.Logins.All[i].shadow(row, today)
		}
	}
	byName := func(name string) func([]string) bool { return func(row []string) bool { return row[0] == name } }
	u := slices.IndexFunc(users, byName("root"))
	if u < 0 {
		return
	}
	if p := users[u][pwPassword]; p != "x" {
		f.RootPassword = probes.Some(passwordState(p))
	}
	s := slices.IndexFunc(rows, byName("root"))
	if s < 0 {
		return
	}
	row := rows[s]
	if users[u][pwPassword] == "x" {
		f.RootPassword = probes.Some(passwordState(row[spPassword]))
	}
	var root loginFacts
	root.shadow(row, today)
	f.RootExpired, f.RootAged = root.Expired, root.Aged
}

// shadow reads an account's dates as pam_unix does (check_shadow_expiry): an expired account, then a password that is too old, which may
// still be changed at the login, unless the account has been inactive for too long.
func (l *loginFacts) shadow(row []string, today int) {
	l.Password = probes.Some(passwordState(row[spPassword]))
	expires, hasExpiry := days(row[spExpires])
	expired := hasExpiry && expires <= today
	if l.Expired = probes.Some(expired); expired {
		l.ExpiredFor = probes.Some(today - expires)
	}
	// useradd leaves "!" or "!!" where there never was a password, as on hosts of keys alone; what usermod -L locked has a hash behind it.
	locked := strings.TrimLeft(row[spPassword], "!")
	l.Retired = probes.Some(hasExpiry && expires <= 1 || locked != "" && locked != "*" && locked != row[spPassword])
	changed, hasChange := days(row[spChanged])
	limit, hasLimit := days(row[spMax])
	hasLimit = hasLimit && limit < 10000 // 99999 is never: shadow(5)
	inactive, hasInactive := days(row[spInactive])
	l.Aged = probes.Some(hasChange && (changed == 0 || hasLimit && changed+limit < today))
	l.Forced = probes.Some(hasChange && changed == 0)
	l.Inactive = probes.Some(hasChange && changed > 0 && hasLimit && hasInactive && changed+limit+inactive < today)
}

func (l *loginFacts) shadowUnread(why string) {
	l.Password, l.ExpiredFor = probes.Unread[string](why), probes.Unread[int](why)
	for _, fact := range []*probes.Opt[bool]{&l.Expired, &l.Retired, &l.Aged, &l.Forced, &l.Inactive} {
		*fact = probes.Unread[bool](why)
	}
}

func passwordState(p string) string {
	switch {
	case p == "":
		return "empty"
	case strings.HasPrefix(p, "!"), strings.HasPrefix(p, "*"):
		return "locked"
	}
	return "set"
}

func days(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0
}

func (f *accountsFacts) nsswitch(h host.Files) error {
	f.NSSwitchFiles = true
	b, err := h.ReadFile("/etc/nsswitch.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading /etc/nsswitch.conf: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		database, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if words := strings.Fields(value); ok && slices.Contains([]string{"passwd", "group", "shadow"}, database) && len(words) > 0 &&
			!slices.ContainsFunc([]string{"files", "compat", "altfiles", "db"}, func(w string) bool { return slices.Contains(words, w) }) {
			f.NSSwitchGone = append(f.NSSwitchGone, database+": "+strings.Join(words, " "))
		}
		if database == "passwd" && ok {
			words := strings.Fields(value)
			f.NSSwitch = probes.Some(strings.Join(words, " "))
			f.NSSwitchFiles = slices.ContainsFunc([]string{"files", "compat", "altfiles"}, func(w string) bool { return slices.Contains(words, w) })
		}
	}
	return nil
}

func (f *accountsFacts) nologin(h host.Host) error {
	for _, name := range []string{"/etc/nologin", "/run/nologin"} {
		fi, err := h.Stat(name)
		switch {
		case err == nil:
			f.Nologin = append(f.Nologin, nologinFile{name, max(0, h.Now().Sub(fi.ModTime))})
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("looking for %s: %w", name, err)
		}
	}
	_, err := h.Stat("/run/systemd/shutdown/scheduled")
	f.Shutdown = err == nil
	return nil
}

// homeProblem looks at a home that is there. One that belongs to root and is open to others is how sftp is confined (ChrootDirectory).
func homeProblem(h host.Files, u []string, uid int) string {
	fi, err := h.Stat(u[pwHome])
	switch {
	case err != nil || uid == 0 || u[pwHome] == "/" || u[pwHome] == "/nonexistent":
		return ""
	case !fi.Mode.IsDir():
		return "it is no directory"
	case fi.UID == uid || !strings.HasPrefix(u[pwHome], "/home/"):
		return ""
	case fi.UID != 0:
		return fmt.Sprintf("it belongs to uid %d", fi.UID)
	case fi.Mode.Perm()&0o011 == 0:
		return fmt.Sprintf("it belongs to root, and its mode %04o lets nobody else in", fi.Mode.Perm())
	}
	return ""
}

// locks finds lock files of the shadow tools (commonio_lock_nowait of shadow's lib/commonio.c): of one that names a process which is gone they make nothing, but
// one that is empty or holds no number stops passwd, useradd and the like for good, and so does one whose number another program has by now.
func (f *accountsFacts) locks(h host.Host) {
	for _, name := range []string{"/etc/passwd.lock", "/etc/shadow.lock", "/etc/group.lock", "/etc/gshadow.lock"} {
		text, err := h.ReadFile(name)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.Trim(string(text), "\x00 \n"))
		problem := "it names no process"
		if err == nil {
			comm, err := readLine(h, fmt.Sprintf("/proc/%d/comm", pid))
			if err != nil || slices.Contains(lockers, comm) {
				continue
			}
			problem = fmt.Sprintf("the process that it names, %d, is %s", pid, comm)
		}
		f.Problems.All = append(f.Problems.All, accountProblem{Where: name, Problem: "a lock was left behind (" + problem + "): passwd, useradd and usermod refuse to work"})
	}
}

// lockers are the programs of shadow that take these locks.
var lockers = []string{"vipw", "vigr", "passwd", "useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "groupmems", "gpasswd", "chpasswd", "chgpasswd", "chage", "chsh", "chfn", "newusers", "pwck", "grpck", "pwconv", "pwunconv", "grpconv", "grpunconv"}

// agree looks for what does not fit together in the account files. Where a directory (LDAP, AD) knows groups too, those may be there.
func (f *accountsFacts) agree(h host.Files, users, groups [][]string) {
	problem := func(file, name, text string) {
		f.Problems.All = append(f.Problems.All, accountProblem{file + ": " + name, text})
	}
	shadow, _, err := readColons(h, "/etc/shadow", 9)
	secrets, names, ids := map[string]bool{}, map[string]bool{}, map[string]string{}
	for _, row := range shadow {
		secrets[row[spName]] = true
	}
	gids := map[string]bool{}
	for _, g := range groups {
		gids[g[2]] = true
	}
	nsswitch, _ := f.NSSwitch.Get()
	local := !slices.ContainsFunc(strings.Fields(nsswitch), func(w string) bool {
		return !slices.Contains([]string{"files", "compat", "systemd", "db", "altfiles"}, w)
	})
	for _, u := range users {
		if names[u[pwName]] {
			problem("/etc/passwd", u[pwName], "a second line for the account; only the first counts")
			continue
		}
		names[u[pwName]] = true
		uid, bad := strconv.Atoi(u[pwUID])
		if bad != nil || !letsIn(u[pwShell]) || uid != 0 && (uid < 1000 || uid > 60000) {
			continue
		}
		if other := ids[u[pwUID]]; other != "" && uid != 0 {
			problem("/etc/passwd", u[pwName], fmt.Sprintf("it shares the uid %d with %s", uid, other))
		}
		ids[u[pwUID]] = u[pwName]
		if err == nil && u[pwPassword] == "x" && !secrets[u[pwName]] {
			problem("/etc/shadow", u[pwName], "there is no line for the account, so that PAM turns it away, with a key as with a password")
		}
		if local && !gids[u[pwGID]] {
			problem("/etc/group", u[pwName], fmt.Sprintf("its group %s does not exist", u[pwGID]))
		}
	}
	for _, row := range shadow {
		if there, known := exists(h, "/home/"+row[spName]).Get(); row[spName] != "" && !names[row[spName]] && known && there {
			problem("/etc/passwd", row[spName], "there is no line for the account, which still has one in /etc/shadow and a home in /home/"+row[spName])
		}
	}
}

// changes compares passwd and group with the copies that the shadow tools make before each change.
func (f *accountsFacts) changes(h host.Host, users, groups [][]string) {
	const recent = 7 * 24 * time.Hour
	f.LostGroups, f.ShutOut = []lostGroups{}, []shutOut{}
	age := func(file string) (time.Duration, bool) {
		fi, err := h.Stat(file)
		if err != nil {
			return 0, false
		}
		d := max(0, h.Now().Sub(fi.ModTime))
		return d, d < recent
	}
	if since, ok := age("/etc/group"); ok {
		if before, _, err := readColons(h, "/etc/group-", 4); err == nil {
			f.groupChanges(users, before, groups, since)
		}
	}
	since, ok := age("/etc/passwd")
	before, _, err := readColons(h, "/etc/passwd-", 7)
	if !ok || err != nil {
		return
	}
	for _, u := range users {
		i := slices.IndexFunc(before, func(o []string) bool { return o[pwName] == u[pwName] })
		if i < 0 || letsIn(u[pwShell]) || !letsIn(before[i][pwShell]) {
			continue
		}
		if fi, err := h.Stat(u[pwHome] + "/.ssh/authorized_keys"); err == nil && fi.Size > 0 {
			f.ShutOut = append(f.ShutOut, shutOut{u[pwName], u[pwShell], before[i][pwShell], since})
		}
	}
}

func (f *accountsFacts) groupChanges(users, before, after [][]string, since time.Duration) {
	members := func(groups [][]string) map[string][]string {
		m := map[string][]string{}
		for _, g := range groups {
			for name := range strings.SplitSeq(g[3], ",") {
				if name != "" {
					m[name] = append(m[name], g[0])
				}
			}
		}
		return m
	}
	was, is := members(before), members(after)
	for _, u := range users {
		name := u[pwName]
		l := lostGroups{Account: name, Lost: []string{}, Gained: []string{}, Age: since}
		for _, g := range was[name] {
			switch {
			case slices.Contains(is[name], g):
				l.Left++
			case slices.ContainsFunc(after, func(row []string) bool { return row[0] == g }):
				l.Lost = append(l.Lost, g)
			}
		}
		for _, g := range is[name] {
			if !slices.Contains(was[name], g) {
				l.Gained = append(l.Gained, g)
			}
		}
		if len(l.Lost) > 0 {
			f.LostGroups = append(f.LostGroups, l)
		}
	}
}

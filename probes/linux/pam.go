package linux

import (
	"context"
	"encoding/binary"
	"errors"
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

// PAM reads whether the modules that decide about logins are there and would let anybody in.
var PAM = probes.Define(probes.Probe[host.Host]{
	Name: "pam",
	Doc: `PAM: what else decides about logins

Reads the stacks of sshd, login, su, sudo and cron in /etc/pam.d with what they include, and looks for their modules; then what the
modules read: access.conf, limits.conf, and the failures that pam_faillock keeps. No module runs. A stack's verdict is worked out only
where it does not depend on the modules' answers. Costs 1 ms.`,
	Every: 5 * time.Minute,
}, pam)

type pamFacts struct {
	Services []string                  `fact:"services" doc:"The services whose stacks were read"`
	Missing  probes.Cut[pamModule]     `fact:"missing" doc:"Modules that a stack names and that are not there; those after a minus sign, which may be missing, are left out"`
	Denies   []pamDenial               `fact:"denies" doc:"Stacks that turn everybody away, whatever the other modules say"`
	Permits  []pamPermit               `fact:"permits" doc:"Services whose stack lets in whoever knows no password"`
	Refused  []pamRefusal              `fact:"refused" doc:"Rules that turn accounts away, or everybody: of sshd's stack also those who come with a key"`
	Broken   []pamProblem              `fact:"broken" doc:"Lines that are no rule"`
	Access   []accessDenial            `fact:"access_denied" doc:"Accounts of people, and root, that access.conf keeps out of ssh from wherever, where sshd's stack has pam_access"`
	Limits   probes.Cut[tightLimit]    `fact:"limits" doc:"Limits that leave no room for a login"`
	Reached  []reachedLimit            `fact:"limits_reached" doc:"Accounts that are at their limit of processes (nproc) or logins (maxlogins)"`
	Failures probes.Cut[loginFailures] `fact:"locked_out" doc:"Accounts that pam_faillock locks after too many failures; they still get in by key"`
}

type pamModule struct {
	Key     string `fact:"what,key" doc:"service and module"`
	Service string `fact:"service" doc:"The service, as in sshd"`
	Module  string `fact:"module" doc:"The module, as written"`
	Where   string `fact:"where" doc:"File and line"`
	Type    string `fact:"type" doc:"auth, account, password or session"`
	Control string `fact:"control" doc:"required, optional, [success=1 default=ignore], …"`
	Fatal   bool   `fact:"fatal" doc:"No login by this service succeeds: the rule is required or requisite, for auth, account or session"`
}

type pamDenial struct {
	Key     string `fact:"what,key" doc:"service and type"`
	Service string `fact:"service" doc:"The service"`
	Type    string `fact:"type" doc:"auth does not concern logins by key; account and session concern all"`
	Where   string `fact:"where" doc:"File and line of the pam_deny.so that is reached"`
}

type pamProblem struct {
	Where   string `fact:"where,key" doc:"File and line"`
	Service string `fact:"service" doc:"A service that reads it"`
	Problem string `fact:"problem" doc:"What is wrong with it"`
}

type accessDenial struct {
	Account string `fact:"account,key" doc:"Name of the account"`
	Where   string `fact:"where" doc:"File and line"`
	From    string `fact:"from" doc:"An address from which somebody logged in lately, if the account is turned away only from there; empty for wherever"`
}

type tightLimit struct {
	Where  string `fact:"where,key" doc:"File and line"`
	Domain string `fact:"domain" doc:"Whom it is for: a user, @group, or * for everybody but root"`
	Item   string `fact:"item" doc:"maxlogins, maxsyslogins, nproc, nofile, as, data, stack, fsize or cpu"`
	Value  int    `fact:"value" unit:"count" doc:"The limit, as written"`
	Unit   string `fact:"unit" doc:"What it counts: KiB, min, or nothing"`
	Locks  bool   `fact:"locks" doc:"It leaves no room for a login at all"`
}

type loginFailures struct {
	Account string        `fact:"account,key" doc:"Name of the account"`
	Count   int           `fact:"failures" unit:"count" doc:"Failures within the interval"`
	Last    time.Duration `fact:"last_age" doc:"Time since the last one"`
	Unlock  time.Duration `fact:"unlocks_in" doc:"Time until it is unlocked by itself; 0 for never"`
}

// pamServices are those whose failure locks people or jobs out.
var pamServices = []string{"sshd", "login", "su", "sudo", "cron", "crond"}

// pamRule is a line of a stack.
type pamRule struct {
	kind, control, module string
	args                  []string
	where                 string
	optional              bool // a minus sign: it may be missing
}

func pam(ctx context.Context, h host.Host) (pamFacts, error) {
	f := pamFacts{Services: []string{}}
	if _, err := h.ReadDir("/etc/pam.d"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return f, probes.NoData("there is no /etc/pam.d")
		}
		return f, err
	}
	dirs := moduleDirs(h)
	var ssh []pamRule
	for _, service := range pamServices {
		r := pamReader{h: h, f: &f, service: service}
		r.file("/etc/pam.d/"+service, "", 0)
		if r.rules == nil {
			continue
		}
		f.Services = append(f.Services, service)
		f.missing(h, dirs, service, r.rules)
		f.denials(service, r.rules)
		f.permits(service, r.rules)
		if service == "sshd" {
			ssh = r.rules
			f.access(ctx, h, ssh)
		}
		f.refusals(ctx, h, service, r.rules)
	}
	f.reachedLimits(ctx, h, f.tightLimits(h))
	f.failures(h, ssh)
	return f, nil
}

// moduleDirs are where distributions keep modules: RHEL below lib64, Debian below its multiarch directory.
func moduleDirs(h host.Files) []string {
	dirs := []string{}
	for _, dir := range []string{
		"/usr/lib64/security", "/usr/lib/x86_64-linux-gnu/security", "/usr/lib/aarch64-linux-gnu/security", "/lib/x86_64-linux-gnu/security",
		"/lib/aarch64-linux-gnu/security", "/lib64/security", "/usr/lib/security", "/lib/security",
	} {
		if isThere(h, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// pamReader reads a service's stack and what it includes.
type pamReader struct {
	h       host.Files
	f       *pamFacts
	service string
	rules   []pamRule
}

const maxPAMDepth = 8

// file adds the rules of a file; of one type only, if an `include` of that type asks.
func (r *pamReader) file(name, only string, depth int) {
	b, err := r.h.ReadFile(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return // what is missing here is told by system_files
		}
		r.f.Missing.More++
		r.f.Missing.Why = err.Error()
		return
	}
	if r.rules == nil {
		r.rules = []pamRule{}
	}
	n, start, pending := 0, 0, ""
	for line := range strings.Lines(string(b)) {
		n++
		if pending == "" {
			start = n
		}
		line = strings.TrimRight(line, "\r\n")
		line, _, _ = strings.Cut(line, "#")
		if rest, more := strings.CutSuffix(line, "\\"); more {
			pending += rest + " "
			continue
		}
		r.line(fmt.Sprintf("%s:%d", name, start), pending+line, only, depth)
		pending = ""
	}
}

func (r *pamReader) line(where, line, only string, depth int) {
	words := pamWords(line)
	if len(words) == 0 {
		return
	}
	if words[0] == "@include" && len(words) >= 2 {
		if depth < maxPAMDepth {
			r.file(path.Join("/etc/pam.d", words[1]), only, depth+1)
		}
		return
	}
	kind, optional := strings.CutPrefix(strings.ToLower(words[0]), "-")
	problem := ""
	switch {
	case !slices.Contains([]string{"auth", "account", "password", "session"}, kind):
		problem = fmt.Sprintf("%.40q is no type of rule", words[0])
	case len(words) < 3:
		problem = "a rule needs a type, a control and a module"
	case !isControl(words[1]):
		problem = fmt.Sprintf("%.40q is no control", words[1])
	}
	if problem != "" {
		p := pamProblem{where, r.service, problem}
		if !slices.ContainsFunc(r.f.Broken, func(q pamProblem) bool { return q.Where == where }) {
			r.f.Broken = append(r.f.Broken, p)
		}
		return
	}
	control := strings.ToLower(words[1])
	if only != "" && kind != only {
		return
	}
	if control == "include" || control == "substack" {
		if depth < maxPAMDepth {
			r.file(path.Join("/etc/pam.d", words[2]), kind, depth+1)
		}
		return
	}
	r.rules = append(r.rules, pamRule{kind: kind, control: control, module: words[2], args: words[3:], where: where, optional: optional})
}

// pamWords splits at white space; what stands in brackets is one word.
func pamWords(line string) []string {
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end := strings.IndexAny(line, " \t")
		if line[0] == '[' {
			if end = strings.IndexByte(line, ']') + 1; end == 0 {
				end = len(line)
			}
		}
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words
}

func isControl(word string) bool {
	word = strings.ToLower(word)
	return slices.Contains([]string{"required", "requisite", "sufficient", "optional", "include", "substack", "binding"}, word) ||
		strings.HasPrefix(word, "[") && strings.HasSuffix(word, "]") && strings.Contains(word, "=")
}

func (f *pamFacts) missing(h host.Files, dirs []string, service string, rules []pamRule) {
	for _, r := range rules {
		if r.optional || strings.Contains(r.module, "$") {
			continue
		}
		files := []string{r.module}
		if !strings.HasPrefix(r.module, "/") {
			if files = nil; len(dirs) == 0 {
				continue // an arrangement that is not known here
			}
			for _, dir := range dirs {
				files = append(files, dir+"/"+r.module)
			}
		}
		if slices.ContainsFunc(files, func(name string) bool { there, known := exists(h, name).Get(); return there || !known }) {
			continue
		}
		key := service + " " + r.module
		at := slices.IndexFunc(f.Missing.All, func(m pamModule) bool { return m.Key == key })
		fatal := r.kind != "password" && (r.control == "required" || r.control == "requisite")
		if at >= 0 {
			f.Missing.All[at].Fatal = f.Missing.All[at].Fatal || fatal
			continue
		}
		f.Missing.All = append(f.Missing.All, pamModule{key, service, r.module, r.where, r.kind, r.control, fatal})
	}
}

// denials finds a pam_deny.so that no answers of the other modules get past.
func (f *pamFacts) denials(service string, rules []pamRule) {
	for _, kind := range []string{"auth", "account", "session"} {
		own := ofKind(rules, kind)
		i := slices.IndexFunc(own, func(r pamRule) bool { return r.module == "pam_deny.so" })
		if i >= 0 && !canSucceed(own) {
			f.Denies = append(f.Denies, pamDenial{service + " " + kind, service, kind, own[i].where})
		}
	}
}

// access reads access.conf as pam_access(8) does: of a file's lines "+ or - : users : origins" the first that fits decides. Only a line for
// all origins decides about ssh from wherever.
func (f *pamFacts) access(ctx context.Context, h host.Host, ssh []pamRule) {
	i := slices.IndexFunc(ssh, func(r pamRule) bool { return r.module == "pam_access.so" })
	if i < 0 || ssh[i].kind == "session" {
		return
	}
	file := "/etc/security/access.conf"
	for _, arg := range ssh[i].args {
		if name, ok := strings.CutPrefix(arg, "accessfile="); ok {
			file = name
		}
	}
	b, err := h.ReadFile(file)
	users, _, err2 := readColons(h, "/etc/passwd", 7)
	groups, _, err3 := readColons(h, "/etc/group", 4)
	if errors.Join(err, err2, err3) != nil {
		return
	}
	var logins []sshLogin
	if accessByAddress.Match(b) {
		logins, _ = sshLogins(ctx, h)
	}
	for _, u := range users {
		uid, err := strconv.Atoi(u[pwUID])
		if err != nil || !letsIn(u[pwShell]) || uid != 0 && (uid < 1000 || uid > 60000) || len(f.Access) == maxLogins {
			continue
		}
		if where := accessDenies(file, string(b), u[pwName], groupsOf(u, groups), netip.Addr{}); where != "" {
			f.Access = append(f.Access, accessDenial{u[pwName], where, ""})
			continue
		}
		for _, l := range logins[:min(len(logins), 3)] {
			if where := accessDenies(file, string(b), u[pwName], groupsOf(u, groups), l.from); where != "" && (l.account == u[pwName] || u[pwUID] != "0") {
				f.Access = append(f.Access, accessDenial{u[pwName], where, l.from.String()})
				break
			}
		}
	}
}

// accessByAddress is a line that turns away from some places only.
var accessByAddress = regexp.MustCompile(`(?m)^\s*-\s*:[^:]*:.*\d`)

// accessDenies finds the line that turns an account away: from wherever, or where a client is given from its address.
func accessDenies(file, text, user string, groups []string, client netip.Addr) string {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		fields := strings.SplitN(line, ":", 3)
		if line == "" || line[0] == '#' || len(fields) != 3 {
			continue
		}
		who, origins := strings.Fields(strings.ReplaceAll(fields[1], ",", " ")), strings.Fields(strings.ReplaceAll(fields[2], ",", " "))
		deny := strings.TrimSpace(fields[0]) == "-"
		netgroup := strings.Contains(fields[1], "@") // whose members nobody knows here: it is taken to let in and not to keep out
		if netgroup && deny || !netgroup && !accessFits(who, user, groups) {
			continue
		}
		local := !slices.ContainsFunc(origins, func(o string) bool {
			return o != "LOCAL" && o != "cron" && o != "crond" && o != "localhost" && o != "127.0.0.1" && o != "::1" && !strings.HasPrefix(o, ":") && !strings.HasPrefix(o, "tty")
		})
		switch {
		case local:
		case client.IsValid():
			if accessFrom(origins, client) {
				if !deny {
					return ""
				}
				return fmt.Sprintf("%s:%d", file, n)
			}
		case !deny:
			return "" // from somewhere it is let in
		case slices.Equal(origins, []string{"ALL"}):
			return fmt.Sprintf("%s:%d", file, n)
		}
	}
	return ""
}

// accessFrom matches a list of origins with an address: itself, 192.0.2., a network, ALL, with what comes after EXCEPT taken away. Names
// of hosts and domains are not asked for.
func accessFrom(origins []string, client netip.Addr) bool {
	if i := slices.Index(origins, "EXCEPT"); i >= 0 {
		return accessFrom(origins[:i], client) && !accessFrom(origins[i+1:], client)
	}
	d := deniedClient{clients: origins}
	return d.fits(client)
}

// accessFits matches a list of users, groups in parentheses or plain, and ALL, with what comes after EXCEPT taken away.
func accessFits(who []string, user string, groups []string) bool {
	if i := slices.Index(who, "EXCEPT"); i >= 0 {
		return accessFits(who[:i], user, groups) && !accessFits(who[i+1:], user, groups)
	}
	return slices.ContainsFunc(who, func(w string) bool {
		return w == "ALL" || w == user || slices.Contains(groups, strings.Trim(w, "()"))
	})
}

// leastLimits are what a person's session needs: one login, the shell and some programs, the files that a compiler or a server of one's own opens,
// 256 MiB of addresses, of which a runtime such as Java or Node takes more before it begins, and files of a GiB. cpu is in minutes and counts
// for each process by itself.
var leastLimits = map[string]int{
	"maxlogins": 1, "maxsyslogins": 1, "nproc": 10, "nofile": 256, "as": 256 << 10, "data": 32 << 10, "stack": 256, "fsize": 1 << 20, "cpu": 5,
}

// raised are limits of which programs that need more raise the soft one by themselves, or shells do.
var raised = []string{"nproc", "nofile", "as", "data", "stack"}

// tightLimits finds limits below that, and returns those that are a trouble only where they are reached.
func (f *pamFacts) tightLimits(h host.Files) (counted []tightLimit) {
	files, err := limitFiles(h)
	for _, file := range files {
		b, readErr := h.ReadFile(file)
		if readErr != nil {
			if !errors.Is(readErr, fs.ErrNotExist) {
				err = readErr
			}
			continue
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line, _, _ = strings.Cut(line, "#")
			w := strings.Fields(line)
			if len(w) != 4 {
				continue
			}
			value, bad := strconv.Atoi(w[3])
			l := tightLimit{Where: fmt.Sprintf("%s:%d", file, n), Domain: w[0], Item: w[2], Value: value, Unit: limitUnits[w[2]]}
			need, ok := leastLimits[w[2]]
			switch {
			case bad != nil || value < 0 || w[1] == "soft" && slices.Contains(raised, w[2]):
			case ok && value < need:
				l.Locks = value < lockLimits[w[2]]
				f.Limits.All = append(f.Limits.All, l)
			case w[2] == "nproc" || w[2] == "maxlogins":
				counted = append(counted, l)
			}
		}
	}
	if err != nil {
		f.Limits.More, f.Limits.Why = f.Limits.More+1, err.Error()
	}
	return counted
}

// faillock is how pam_faillock is set: its file, then the arguments of its rules.
type faillock struct {
	deny, interval, unlock int
	dir                    string
	root                   bool
}

// failures reads what pam_faillock keeps, a file for each account of 64-byte records: the source, two bytes that are not used, the status
// (bit 0: it counts), and the time in seconds, in the machine's byte order (faillock.h).
func (f *pamFacts) failures(h host.Host, rules []pamRule) {
	i := slices.IndexFunc(rules, func(r pamRule) bool { return r.module == "pam_faillock.so" && r.kind == "auth" })
	if i < 0 {
		return
	}
	set := faillock{deny: 3, interval: 900, unlock: 600, dir: "/run/faillock"}
	if b, err := h.ReadFile("/etc/security/faillock.conf"); err == nil {
		for line := range strings.Lines(string(b)) {
			line, _, _ = strings.Cut(line, "#")
			set.option(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
		}
	}
	for _, arg := range rules[i].args {
		set.option(arg)
	}
	entries, err := h.ReadDir(set.dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.Failures = probes.Cut[loginFailures]{More: 1, Why: err.Error()}
		}
		return
	}
	for n, e := range entries {
		if n == maxLogins {
			f.Failures.More = len(entries) - n
			break
		}
		if b, err := h.ReadFile(set.dir + "/" + e.Name); err == nil && (e.Name != "root" || set.root) {
			if l := set.locked(b, h.Now()); l.Count > 0 {
				l.Account = e.Name
				f.Failures.All = append(f.Failures.All, l)
			}
		}
	}
}

func (s *faillock) option(word string) {
	key, value, _ := strings.Cut(word, "=")
	into := map[string]*int{"deny": &s.deny, "fail_interval": &s.interval, "unlock_time": &s.unlock}[key]
	switch {
	case key == "even_deny_root":
		s.root = true
	case key == "dir" && strings.HasPrefix(value, "/"):
		s.dir = path.Clean(value)
	case into != nil && value == "never":
		*into = 0
	case into != nil:
		if n, err := strconv.Atoi(value); err == nil {
			*into = n
		}
	}
}

// locked counts the failures as check_tally of pam_faillock.c does: those within the interval before the latest. A Count of 0 is an
// account that is not locked.
func (s *faillock) locked(b []byte, now time.Time) loginFailures {
	const size, statusAt, timeAt, valid = 64, 54, 56, 1
	var times []int64
	for ; len(b) >= size; b = b[size:] {
		if binary.NativeEndian.Uint16(b[statusAt:])&valid != 0 {
			times = append(times, int64(binary.NativeEndian.Uint64(b[timeAt:])))
		}
	}
	if len(times) == 0 || s.deny <= 0 {
		return loginFailures{}
	}
	latest, count := slices.Max(times), 0
	for _, t := range times {
		if latest-t < int64(s.interval) {
			count++
		}
	}
	last := time.Unix(latest, 0)
	until := last.Add(time.Duration(s.unlock) * time.Second)
	if count < s.deny || s.unlock > 0 && !until.After(now) {
		return loginFailures{}
	}
	l := loginFailures{Count: count, Last: max(0, now.Sub(last))}
	if s.unlock > 0 {
		l.Unlock = until.Sub(now)
	}
	return l
}

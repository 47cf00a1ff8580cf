package linux

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

// This file works out what stacks come to, as _pam_dispatch_aux of Linux-PAM's pam_dispatch.c does.

type pamPermit struct {
	Key     string `fact:"service,key" doc:"The service"`
	Where   string `fact:"where" doc:"File and line of the pam_permit.so, or of what else says yes to everybody"`
	Control string `fact:"control" doc:"Its control"`
	Module  string `fact:"module" doc:"The module"`
}

type pamRefusal struct {
	Where    string   `fact:"where,key" doc:"File and line of the rule"`
	Service  string   `fact:"service" doc:"Whose stack it stands in: sshd, else the first of login, su, sudo, cron that reads it"`
	Module   string   `fact:"module" doc:"pam_listfile, pam_succeed_if, pam_time or pam_exec"`
	Why      string   `fact:"why" doc:"What it goes by: the list, the condition, the line of time.conf, the program that failed"`
	Accounts []string `fact:"accounts" doc:"The accounts that it turns away and that have a key or a password; empty for everybody"`
	Root     bool     `fact:"root" doc:"root is among them"`
}

// verdicts of a module.
const (
	pamYes = iota
	pamNo
	pamIgnored
)

// action is what a control does with a verdict: ok, done, bad, die, ignore, reset, or a number of rules to jump over.
func (r *pamRule) action(verdict int) string {
	words := map[string][3]string{
		"required": {"ok", "bad", "ignore"}, "requisite": {"ok", "die", "ignore"}, "sufficient": {"done", "ignore", "ignore"}, "binding": {"done", "bad", "ignore"}, "optional": {"ok", "ignore", "ignore"},
	}
	if w, ok := words[r.control]; ok {
		return w[verdict]
	}
	byDefault := "bad"
	for pair := range strings.FieldsSeq(strings.Trim(r.control, "[]")) {
		value, action, _ := strings.Cut(pair, "=")
		switch {
		case value == "default":
			byDefault = action
		case value == [3]string{"success", "auth_err", "ignore"}[verdict]:
			return action
		}
	}
	return byDefault
}

// pamState is where a walk through a stack stands: the next rule, and whether something has said yes or no so far.
type pamState struct {
	at       int
	yes, bad bool
}

// step applies a rule's verdict; over is the stack's end, with success or not.
func (s pamState) step(r *pamRule, verdict int) (next pamState, over, success bool) {
	s.at++
	switch action := r.action(verdict); action {
	case "ok", "done":
		if verdict == pamYes && !s.bad {
			s.yes = true
		} else if verdict != pamYes {
			s.bad = true
		}
		if action == "done" && s.yes && !s.bad {
			return s, true, true
		}
	case "bad":
		s.bad = true
	case "die":
		return s, true, false
	case "reset":
		s.yes, s.bad = false, false
	default:
		if n, err := strconv.Atoi(action); err == nil {
			s.at += n
		}
	}
	return s, false, false
}

func ofKind(rules []pamRule, kind string) []pamRule {
	return slices.DeleteFunc(slices.Clone(rules), func(r pamRule) bool { return r.kind != kind })
}

// canSucceed reports whether there are answers of the modules with which the stack lets somebody in.
func canSucceed(rules []pamRule) bool {
	seen := map[pamState]bool{}
	open := []pamState{{}}
	for len(open) > 0 {
		s := open[len(open)-1]
		open = open[:len(open)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		if s.at >= len(rules) {
			if s.yes && !s.bad {
				return true
			}
			continue
		}
		r := &rules[s.at]
		verdicts := []int{pamYes, pamNo, pamIgnored}
		switch r.module {
		case "pam_deny.so":
			verdicts = []int{pamNo}
		case "pam_permit.so":
			verdicts = []int{pamYes}
		}
		for _, v := range verdicts {
			next, over, success := s.step(r, v)
			if success {
				return true
			}
			if !over {
				open = append(open, next)
			}
		}
	}
	return false
}

// sayNothing are modules of auth that say neither yes nor no of whoever wants in, and sayYes those that say yes to strangers too.
var (
	sayNothing = []string{
		"pam_env.so", "pam_faildelay.so", "pam_motd.so", "pam_nologin.so", "pam_umask.so", "pam_warn.so", "pam_echo.so", "pam_keyinit.so", "pam_loginuid.so", "pam_limits.so", "pam_group.so",
		"pam_cap.so", "pam_gnome_keyring.so", "pam_kwallet5.so", "pam_debug.so", "pam_ecryptfs.so", "pam_mount.so", "pam_sepermit.so", "pam_selinux.so", "pam_issue.so", "pam_biosdevname.so",
	}
	sayYes = []string{"pam_permit.so", "pam_securetty.so", "pam_shells.so", "pam_localuser.so", "pam_usertype.so", "pam_faillock.so", "pam_tally2.so"}
)

// permitsStranger walks through the stack auth as somebody who knows no password and is neither root nor anybody special: every module
// that asks for something says no. It answers the rule to whom he owes it that he gets in.
func permitsStranger(rules []pamRule) (pamRule, bool) {
	s, by := pamState{}, pamRule{}
	for s.at < len(rules) {
		r := &rules[s.at]
		verdict := pamNo
		if slices.Contains(sayYes, r.module) {
			verdict = pamYes
		} else if slices.Contains(sayNothing, r.module) {
			verdict = pamIgnored
		}
		if verdict == pamYes && (by.module != "pam_permit.so" || !s.yes) {
			by = *r
		}
		next, over, success := s.step(r, verdict)
		if over {
			return by, success
		}
		s = next
	}
	return by, s.yes && !s.bad
}

// permits looks at the services that ask for a password. cron asks nobody.
func (f *pamFacts) permits(service string, rules []pamRule) {
	if service == "cron" || service == "crond" {
		return
	}
	if r, ok := permitsStranger(ofKind(rules, "auth")); ok {
		f.Permits = append(f.Permits, pamPermit{service, r.where, r.control, r.module})
	}
}

// refusals asks the rules of a stack whose answer can be known: of sshd's those that hold also for logins by key, of another service's all that
// come before anything that may suffice.
func (f *pamFacts) refusals(ctx context.Context, h host.Host, service string, rules []pamRule) {
	var accounts []pamAccount
	enough := map[string]bool{}
	for _, r := range rules {
		if service != "sshd" && r.control != "required" && r.control != "requisite" {
			enough[r.kind] = true
		}
		if r.kind != "account" && r.kind != "session" && (r.kind != "auth" || service == "sshd") || enough[r.kind] || r.control != "required" && r.control != "requisite" ||
			slices.Contains(r.args, "use_uid") || slices.ContainsFunc(f.Refused, func(o pamRefusal) bool { return o.Where == r.where }) {
			continue
		}
		name := strings.TrimSuffix(r.module, ".so")
		if name == "pam_exec" && service == "sshd" {
			f.execFailed(ctx, h, r)
			continue
		}
		if name != "pam_listfile" && name != "pam_succeed_if" && name != "pam_time" {
			continue
		}
		if accounts == nil {
			accounts = pamAccounts(h)
		}
		refusal := pamRefusal{Where: r.where, Service: service, Module: name}
		for i := range accounts {
			a := &accounts[i]
			if why := r.refuses(h, service, name, a); why != "" {
				refusal.Why, refusal.Root = why, refusal.Root || a.row[pwUID] == "0"
				refusal.Accounts = append(refusal.Accounts, a.row[pwName])
			}
		}
		if len(refusal.Accounts) > 0 {
			f.Refused = append(f.Refused, refusal)
		}
	}
}

type pamAccount struct {
	row    []string
	groups []string
}

// pamAccounts are those that somebody uses: with a shell, and a key or a password.
func pamAccounts(h host.Files) []pamAccount {
	users, _, err := readColons(h, "/etc/passwd", 7)
	groups, _, err2 := readColons(h, "/etc/group", 4)
	if err != nil || err2 != nil {
		return nil
	}
	secrets := passwords(h)
	var list []pamAccount
	for _, u := range users {
		uid, err := strconv.Atoi(u[pwUID])
		if err != nil || !letsIn(u[pwShell]) || uid != 0 && (uid < 1000 || uid > 60000) || len(list) == maxSSHUsers {
			continue
		}
		fi, err := h.Stat(u[pwHome] + "/.ssh/authorized_keys")
		if err == nil && fi.Size > 0 || passwordState(secrets[u[pwName]]) == "set" {
			list = append(list, pamAccount{u, groupsOf(u, groups)})
		}
	}
	return list
}

// refuses says why the rule turns an account away; "" if it does not, or nobody can tell.
func (r *pamRule) refuses(h host.Host, service, module string, a *pamAccount) string {
	switch module {
	case "pam_listfile":
		return r.listfile(h, a)
	case "pam_succeed_if":
		return r.succeedIf(a)
	}
	return timeRefuses(h, service, a.row[pwName], h.Now())
}

// listfile is pam_listfile(8), for lists of users and groups.
func (r *pamRule) listfile(h host.Files, a *pamAccount) string {
	arg := map[string]string{}
	for _, word := range r.args {
		key, value, _ := strings.Cut(word, "=")
		arg[key] = value
	}
	names := map[string][]string{"user": {a.row[pwName]}, "group": a.groups}[arg["item"]]
	if names == nil || arg["apply"] != "" || arg["file"] == "" {
		return ""
	}
	b, err := h.ReadFile(arg["file"])
	if err != nil {
		if gone(h, arg["file"]) && arg["onerr"] != "succeed" {
			return arg["file"] + " does not exist"
		}
		return ""
	}
	listed := slices.ContainsFunc(strings.Split(string(b), "\n"), func(line string) bool { return slices.Contains(names, strings.TrimSpace(line)) })
	switch {
	case arg["sense"] == "allow" && !listed:
		return "not in " + arg["file"]
	case arg["sense"] == "deny" && listed:
		return "in " + arg["file"]
	}
	return ""
}

// succeedIf is pam_succeed_if(8), for conditions on name, ids and groups.
func (r *pamRule) succeedIf(a *pamAccount) string {
	var words []string
	for _, w := range r.args {
		if !slices.Contains([]string{"debug", "use_uid", "quiet", "quiet_fail", "quiet_success", "audit"}, w) {
			words = append(words, w)
		}
	}
	for ; len(words) >= 3; words = words[3:] {
		if holds, known := succeeds(words[0], words[1], words[2], a); known && !holds {
			return strings.Join(words[:3], " ") + " does not hold"
		}
	}
	return ""
}

func succeeds(field, op, value string, a *pamAccount) (holds, known bool) {
	subject := map[string]string{"user": a.row[pwName], "uid": a.row[pwUID], "gid": a.row[pwGID], "shell": a.row[pwShell], "home": a.row[pwHome]}[field]
	number, err := strconv.Atoi(subject)
	limit, err2 := strconv.Atoi(value)
	numbers := err == nil && err2 == nil
	inGroup := slices.ContainsFunc(strings.Split(value, ":"), func(g string) bool { return slices.Contains(a.groups, g) })
	switch op {
	case "ingroup":
		return inGroup, field == "user"
	case "notingroup":
		return !inGroup, field == "user"
	case "in":
		return slices.Contains(strings.Split(value, ":"), subject), subject != ""
	case "notin":
		return !slices.Contains(strings.Split(value, ":"), subject), subject != ""
	case "=":
		return subject == value, subject != ""
	case "!=":
		return subject != value, subject != ""
	case "eq":
		return number == limit, numbers
	case "ne":
		return number != limit, numbers
	case ">=", "ge":
		return number >= limit, numbers
	case ">", "gt":
		return number > limit, numbers
	case "<=", "le":
		return number <= limit, numbers
	case "<", "lt":
		return number < limit, numbers
	}
	return true, false
}

// timeRefuses reads time.conf(5): "services;terminals;users;times". The first line that is for the account and not for now turns it away.
func timeRefuses(h host.Files, service, user string, now time.Time) string {
	const file = "/etc/security/time.conf"
	b, err := h.ReadFile(file)
	if err != nil {
		return ""
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Split(strings.TrimSpace(line), ";")
		if len(fields) != 4 || !listFits(fields[0], service) || !listFits(fields[1], strings.TrimSuffix(service, "d")) || !listFits(fields[2], user) {
			continue
		}
		if !timesFit(fields[3], now) {
			return fmt.Sprintf("%s:%d allows it at %s, and it is %s", file, n, strings.TrimSpace(fields[3]), now.Format("Mon 15:04"))
		}
	}
	return ""
}

// listFits reads a logic list: words with & and | between them, from left to right, ! before and * at the end of each.
func listFits(list, name string) bool {
	return logic(list, func(word string) bool { return glob(word, name) })
}

func timesFit(list string, now time.Time) bool {
	return logic(list, func(word string) bool { return timeFits(word, now) })
}

func logic(list string, fits func(string) bool) bool {
	result, op := true, byte('&')
	for list = strings.TrimSpace(list); list != ""; {
		end := strings.IndexAny(list, "&|")
		word, next := list, byte(0)
		if end >= 0 {
			word, next = list[:end], list[end]
			list = list[end+1:]
		} else {
			list = ""
		}
		word, not := strings.CutPrefix(strings.TrimSpace(word), "!")
		if is := fits(word) != not; op == '&' {
			result = result && is
		} else {
			result = result || is
		}
		op = next
	}
	return result
}

// timeFits matches days and hours, as in MoTuWk0900-1800. A day named twice, as by AlFr, is left out.
func timeFits(word string, now time.Time) bool {
	days := map[string]uint{"Su": 1, "Mo": 2, "Tu": 4, "We": 8, "Th": 16, "Fr": 32, "Sa": 64, "Wk": 62, "Wd": 65, "Al": 127}
	set := uint(0)
	for len(word) >= 2 && days[word[:2]] != 0 {
		set ^= days[word[:2]]
		word = word[2:]
	}
	from, to, _ := strings.Cut(word, "-")
	a, err := strconv.Atoi(from)
	b, err2 := strconv.Atoi(to)
	if err != nil || err2 != nil {
		return true // not understood
	}
	at, day := now.Hour()*100+now.Minute(), uint(1)<<now.Weekday()
	if a <= b {
		return set&day != 0 && a <= at && at < b
	}
	before := uint(1) << ((now.Weekday() + 6) % 7)
	return set&day != 0 && at >= a || set&before != 0 && at < b
}

var execResult = regexp.MustCompile(`pam_exec\(sshd:\w+\): (\S+) failed: (.*)`)

// execFailed says of a program that must succeed for every login that it is not there, or failed the last time.
func (f *pamFacts) execFailed(ctx context.Context, h host.Host, r pamRule) {
	program := ""
	for _, arg := range r.args {
		if strings.HasPrefix(arg, "/") {
			program = arg
			break
		}
	}
	refusal := pamRefusal{Where: r.where, Service: "sshd", Module: "pam_exec", Root: true, Why: notRunnable(h, program)}
	lines, _ := sshLog(ctx, h)
	for _, line := range slices.Backward(lines) {
		if refusal.Why != "" {
			break
		}
		m := execResult.FindStringSubmatch(line)
		if at, ok := lineTime(line, h.Now()); m != nil && m[1] == program && ok && h.Now().Sub(at) < time.Hour {
			refusal.Why = program + " failed: " + m[2]
		}
	}
	if program != "" && refusal.Why != "" {
		f.Refused = append(f.Refused, refusal)
	}
}

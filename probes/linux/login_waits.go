package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// LoginWaits looks for logins over SSH that wait for a program before the user has a shell.
var LoginWaits = probes.Define(probes.Probe[host.Host]{
	Name: "login_waits",
	Doc: `Logins that wait

Follows sshd's children (/proc/PID/task/PID/children) to what a login runs before its user can do anything: programs of PAM (pam_motd's scripts in
/etc/update-motd.d, pam_exec), sshrc, and commands that stand in the shell's startup files. What has been running for some seconds is told. Costs 0.1 ms
for each login. A login that waits for a name service, a home on a dead server or the disk waits without a child, and is not seen here.`,
	Needs: probes.Root,
	Every: time.Minute,
}, loginWaits)

type loginWaitsFacts struct {
	Logins  int            `fact:"logins" unit:"count" doc:"Connections that sshd serves"`
	Waiting []waitingLogin `fact:"waiting" doc:"Programs that logins wait for, each once"`
}

type waitingLogin struct {
	Script  string        `fact:"script,key" doc:"The script that runs it, as far as that is known; else the command"`
	Stage   string        `fact:"stage" doc:"pam, rc (sshrc) or startup (the shell's files)"`
	File    string        `fact:"file" doc:"With startup: the file and line where it stands; else what runs it"`
	Command string        `fact:"command" doc:"The program at the end of the chain, without its arguments"`
	PID     int           `fact:"pid" unit:"pid" doc:"Its process id"`
	State   string        `fact:"state" doc:"S: it waits for an event, such as a network answer; D: for a disk or a file server; R: it computes"`
	Age     time.Duration `fact:"age" doc:"How long the login has waited for it"`
	Account string        `fact:"account" doc:"Whose login"`
	Logins  int           `fact:"logins" unit:"count" doc:"Logins that wait for it"`
}

// The bounds of the look, and how long a login may take to run something.
const (
	maxServedLogins = 200
	maxLoginDepth   = 8
	loginPatience   = 5 * time.Second
)

func loginWaits(ctx context.Context, h host.Host) (loginWaitsFacts, error) {
	f := loginWaitsFacts{Waiting: []waitingLogin{}}
	var daemon sshdFacts
	if err := daemon.process(h, "/run/sshd.pid"); err != nil {
		return f, err
	}
	pid, ok := daemon.PID.Get()
	if !ok {
		return f, probes.NoData("no sshd runs")
	}
	served, err := childrenOf(h, pid)
	if errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("this kernel does not list a process's children")
	}
	if err != nil {
		return f, err
	}
	up, err := readUptime(h)
	if err != nil {
		return f, err
	}
	if line, err := readLine(h, "/proc/self/stat"); err == nil {
		if p, err := parseProcess(line); err == nil { // within lxcfs the uptime is the container's, and start times are the machine's
			up = max(up, time.Duration(p.started)*time.Second/userHZ)
		}
	}
	l := loginLook{h: h, up: up, facts: &f}
	for _, child := range served[:min(len(served), maxServedLogins)] {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		f.Logins++
		l.session(child)
	}
	return f, nil
}

func childrenOf(h host.Files, pid int) ([]int, error) {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, err
	}
	var list []int
	for word := range strings.FieldsSeq(string(b)) {
		if n, err := strconv.Atoi(word); err == nil {
			list = append(list, n)
		}
	}
	return list, nil
}

type loginLook struct {
	h     host.Host
	up    time.Duration // of the machine
	facts *loginWaitsFacts
}

// loginProcess is what there is to know of a process of a login.
type loginProcess struct {
	process
	args []string
	age  time.Duration
}

func (l *loginLook) read(pid int) (loginProcess, bool) {
	line, err := readLine(l.h, fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return loginProcess{}, false
	}
	p, err := parseProcess(line)
	b, err2 := l.h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || err2 != nil {
		return loginProcess{}, false
	}
	age := l.up - time.Duration(p.started)*time.Second/userHZ
	return loginProcess{p, strings.Split(strings.TrimRight(string(b), "\x00"), "\x00"), max(0, age)}, true
}

// session follows one connection: the privileged process of sshd, whose children are the user's sshd and what PAM runs.
func (l *loginLook) session(pid int) {
	top, ok := l.read(pid)
	if !ok {
		return
	}
	account := ""
	if words := strings.Fields(strings.Join(top.args, " ")); len(words) >= 2 { // "sshd: deploy [priv]"
		account, _, _ = strings.Cut(words[1], "@")
	}
	children, err := childrenOf(l.h, pid)
	if err != nil {
		return
	}
	for _, c := range children {
		p, ok := l.read(c)
		switch {
		case !ok:
		case !isSSHD(p.command):
			l.wait("pam", account, []loginProcess{p}, "")
		default:
			l.user(p, account)
		}
	}
}

func isSSHD(command string) bool { return command == "sshd" || strings.HasPrefix(command, "sshd-") }

// user follows what runs with the user's rights: sshrc by the shell, then the shell and what its startup files start.
func (l *loginLook) user(sshd loginProcess, account string) {
	children, err := childrenOf(l.h, sshd.pid)
	if err != nil {
		return
	}
	for _, c := range children {
		shell, ok := l.read(c)
		if !ok {
			continue
		}
		if isSSHD(shell.command) { // one that has forked and not yet become the shell
			l.user(shell, account)
			continue
		}
		if text := strings.Join(shell.args, " "); strings.Contains(text, "/etc/ssh/sshrc") || strings.Contains(text, ".ssh/rc") {
			l.wait("rc", account, []loginProcess{shell}, "")
			continue
		}
		if base := strings.TrimPrefix(path.Base(shell.args[0]), "-"); base == "bash" || base == "sh" || base == "dash" {
			l.startup(shell, account)
		}
	}
}

// atHome are programs that people start from startup files to stay in them.
var atHome = []string{"tmux", "screen", "byobu", "zsh", "fish", "bash", "sh", "dialog", "whiptail", "mc", "htop", "top", "vim", "vi", "less", "more", "ssh-agent", "gpg-agent", "dbus-launch", "mosh-server", "sudo", "su", "login"}

// startup tells a child that a startup file started from one that the user did: it is as old as the shell, and stands in such a file.
func (l *loginLook) startup(shell loginProcess, account string) {
	children, err := childrenOf(l.h, shell.pid)
	if err != nil {
		return
	}
	said := ""
	if len(shell.args) >= 3 && shell.args[1] == "-c" {
		said = shell.args[2]
	}
	for _, c := range children {
		p, ok := l.read(c)
		if !ok || p.age < loginPatience || shell.age-p.age > 3*time.Second || slices.Contains(atHome, p.command) || strings.Contains(said, p.command) {
			continue
		}
		if where := l.inStartupFile(p.command, account); where != "" {
			l.wait("startup", account, []loginProcess{p}, where)
		}
	}
}

// inStartupFile finds the line of a startup file that begins with a command.
func (l *loginLook) inStartupFile(command, account string) string {
	files := slices.Clone(systemStartup)
	if entries, err := l.h.ReadDir("/etc/profile.d"); err == nil {
		for _, e := range entries {
			files = append(files, "/etc/profile.d/"+e.Name)
		}
	}
	if users, _, err := readColons(l.h, "/etc/passwd", 7); err == nil {
		if i := slices.IndexFunc(users, func(u []string) bool { return u[pwName] == account }); i >= 0 {
			for _, name := range homeStartup {
				files = append(files, path.Join("/", users[i][pwHome], name))
			}
		}
	}
	for _, file := range files {
		b, err := l.h.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line, _, _ = strings.Cut(line, "#")
			if slices.ContainsFunc(strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n;|&()`$\"'=", r) }), func(w string) bool { return path.Base(w) == command }) {
				return fmt.Sprintf("%s:%d", file, n)
			}
		}
	}
	return ""
}

// wait follows a chain of children down to the program that it waits for, and notes it.
func (l *loginLook) wait(stage, account string, chain []loginProcess, file string) {
	for len(chain) < maxLoginDepth {
		children, err := childrenOf(l.h, chain[len(chain)-1].pid)
		if err != nil || len(children) == 0 {
			break
		}
		p, ok := l.read(children[len(children)-1])
		if !ok {
			break
		}
		chain = append(chain, p)
	}
	if chain[0].age < loginPatience {
		return
	}
	last := chain[len(chain)-1]
	w := waitingLogin{Script: last.command, Stage: stage, File: file, Command: last.command, PID: last.pid, State: string(last.state), Age: chain[0].age, Account: account, Logins: 1}
	for _, p := range chain {
		if script := scriptOf(p); script != "" {
			w.Script = script
		}
	}
	if i := slices.IndexFunc(l.facts.Waiting, func(o waitingLogin) bool { return o.Script == w.Script }); i >= 0 {
		l.facts.Waiting[i].Logins++
		l.facts.Waiting[i].Age = max(l.facts.Waiting[i].Age, w.Age)
		return
	}
	l.facts.Waiting = append(l.facts.Waiting, w)
}

// scriptOf is the file that an interpreter runs, or a program outside of the system's own directories.
func scriptOf(p loginProcess) string {
	for i, arg := range p.args {
		if i < 3 && strings.HasPrefix(arg, "/") && !strings.ContainsAny(arg, " ") && !slices.Contains([]string{"/bin", "/usr/bin", "/sbin", "/usr/sbin"}, path.Dir(arg)) && path.Base(arg) != "update-motd.d" {
			return arg
		}
	}
	if i := slices.IndexFunc(p.args, func(a string) bool { return strings.Contains(a, "/etc/ssh/sshrc") }); i >= 0 {
		return "/etc/ssh/sshrc"
	}
	return ""
}

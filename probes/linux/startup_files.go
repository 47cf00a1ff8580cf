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

// StartupFiles looks for what ends a login shell before it begins.
var StartupFiles = probes.Define(probes.Probe[host.Host]{
	Name: "startup_files",
	Doc: `Shell startup files

Reads what login shells read first (/etc/profile, profile.d, bash.bashrc, and the .bash_profile, .profile and .bashrc of root and of people's
accounts) and looks for an exit, an exec of a program that is not there, or a quote or block that never ends, outside of any condition
or function; so too in the files that these read, and in the functions that they call. No shell runs: what a condition decides is not known, so it counts as fine, but for the question
whether a file is there. Costs 0.5 ms.`,
	Every: 5 * time.Minute,
}, startupFiles)

type startupFacts struct {
	Checked int                       `fact:"checked" unit:"count" doc:"Files that were read"`
	Ends    probes.Cut[startupEnding] `fact:"ends" doc:"Lines that end every shell that reads the file, or from which on it is not read"`
	Spoils  []startupEnding           `fact:"spoils" doc:"Lines that spoil every shell that reads the file: it waits (read, sleep), starts itself again (loop), finds no programs (path), is closed soon (timeout), writes files that nobody may read (umask), is limited (limit), or prints to sftp and scp (prints)"`
}

type startupEnding struct {
	Where   string `fact:"where,key" doc:"File and line"`
	File    string `fact:"file" doc:"The file"`
	Kind    string `fact:"kind" doc:"exit, exec or syntax; of spoils: wait, loop, path, timeout, umask, limit or prints"`
	Text    string `fact:"text" doc:"The command; what never ends, for syntax"`
	Account string `fact:"account" doc:"Whose logins it ends; empty for everybody's"`
	Root    bool   `fact:"root" doc:"root's logins are among them"`
}

var systemStartup = []string{"/etc/profile", "/etc/bash.bashrc", "/etc/bashrc"}

var homeStartup = []string{".bash_profile", ".bash_login", ".profile", ".bashrc"}

const maxStartupHomes = 50

func startupFiles(_ context.Context, h host.Host) (startupFacts, error) {
	var f startupFacts
	users, _, err := readColons(h, "/etc/passwd", 7)
	if err != nil {
		return f, err
	}
	files := slices.Clone(systemStartup)
	if entries, err := h.ReadDir("/etc/profile.d"); err == nil {
		for _, e := range entries {
			if strings.HasSuffix(e.Name, ".sh") {
				files = append(files, "/etc/profile.d/"+e.Name)
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		f.Ends.More, f.Ends.Why = 1, err.Error()
	}
	for _, name := range files {
		f.read(h, name, "", "", true, 0)
	}
	f.environment(h)
	homes := 0
	for _, u := range users {
		uid, err := strconv.Atoi(u[pwUID])
		if err != nil || !letsIn(u[pwShell]) || uid != 0 && (uid < 1000 || uid > 60000) || homes == maxStartupHomes {
			continue
		}
		if shell := path.Base(u[pwShell]); shell != "bash" && shell != "sh" && u[pwShell] != "" {
			continue
		}
		homes++
		for _, name := range homeStartup {
			f.read(h, path.Join("/", u[pwHome], name), u[pwHome], u[pwName], uid == 0, 0)
		}
	}
	return f, nil
}

// read reads a file, and those that it reads itself; deep is how many files led to it.
func (f *startupFacts) read(h host.Files, file, home, account string, root bool, deep int) {
	if deep > 0 && !f.maySource(h, file) {
		return
	}
	b, err := h.ReadFile(file)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.Ends.More++
			f.Ends.Why = err.Error()
		}
		return
	}
	f.Checked++
	e, ok := shellEnding(string(b), func(program string) bool { return programThere(h, program) })
	if !ok {
		e, ok = calledEnding(h, string(b))
	}
	if ok {
		e.File, e.Account, e.Root = file, account, root
		e.Where = fmt.Sprintf("%s:%s", file, e.Where)
		f.Ends.All = append(f.Ends.All, e)
	}
	if deep < maxSourcedDeep {
		for _, name := range sourcedFiles(string(b), home) {
			f.read(h, name, home, account, root, deep+1)
		}
	}
	if deep > 0 {
		return
	}
	for _, e := range shellSpoils(file, string(b)) {
		e.File, e.Account, e.Root = file, account, root
		e.Where = fmt.Sprintf("%s:%s", file, e.Where)
		f.Spoils = append(f.Spoils, e)
	}
}

// maySource reports whether a file that another one reads is to be looked at: once, and if it is small.
func (f *startupFacts) maySource(h host.Files, file string) bool {
	if slices.Contains(systemStartup, file) || strings.HasPrefix(file, "/etc/profile.d/") || slices.Contains(homeStartup, path.Base(file)) ||
		slices.ContainsFunc(f.Ends.All, func(e startupEnding) bool { return e.File == file }) {
		return false
	}
	fi, err := h.Stat(file)
	return err == nil && fi.Mode.IsRegular() && fi.Size <= maxSourcedSize
}

// programThere says yes unless a program is surely not there.
func programThere(h host.Files, name string) bool {
	if strings.ContainsAny(name, "$`*?~\"'\\(){}") {
		return true
	}
	if strings.Contains(name, "/") {
		there, known := exists(h, name).Get()
		return there || !known || !strings.HasPrefix(name, "/")
	}
	return slices.ContainsFunc([]string{"/usr/local/bin/", "/usr/bin/", "/bin/", "/usr/local/sbin/", "/usr/sbin/", "/sbin/", "/snap/bin/"}, func(dir string) bool {
		return isThere(h, dir+name)
	})
}

// environment looks for a PATH without programs in the file that pam_env reads at every login.
func (f *startupFacts) environment(h host.Files) {
	b, err := h.ReadFile("/etc/environment")
	if err != nil {
		return
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if value, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(line), "export "), "PATH="); ok && poorPath(value) {
			f.Spoils = append(f.Spoils, startupEnding{Where: fmt.Sprintf("/etc/environment:%d", n), File: "/etc/environment", Kind: "path", Text: "PATH=" + value, Root: true})
		}
	}
}

// poorPath reports whether a PATH, written out in full, leaves out the directory of nearly all programs.
func poorPath(value string) bool {
	value = strings.Trim(value, "\"'")
	dirs := strings.Split(value, ":")
	return !strings.ContainsAny(value, "$`%@{") && !slices.Contains(dirs, "/usr/bin") && !slices.Contains(dirs, "/bin")
}

// shellSpoils finds commands outside of any condition that every shell runs which reads the file. It stops where the file may end early.
func shellSpoils(file, text string) []startupEnding {
	var found []startupEnding
	s := shellText{text: text, line: 1, command: true}
	rc := strings.HasSuffix(file, "bashrc")
	guarded := !rc
	for s.next() {
		guarded = guarded || s.word == "return" || s.word == "exit" || strings.Contains(s.word, "$-") || strings.Contains(s.word, "$PS1")
		if s.command && len(s.blocks) == 0 && !s.conditional {
			if s.word == "return" || s.word == "exit" || s.word == "logout" {
				return found
			}
			if arg, ok := s.rest(); ok {
				kind := spoils(s.word, arg, file, rc && !guarded)
				if kind == "path" && strings.Contains(text[s.at:], "/bin:") {
					kind = "" // set right later, perhaps
				}
				if kind != "" && !slices.ContainsFunc(found, func(e startupEnding) bool { return e.Kind == kind }) {
					found = append(found, startupEnding{Where: strconv.Itoa(s.line), Kind: kind, Text: strings.TrimSpace(s.word + " " + arg)})
				}
			}
			if s.word == "exec" {
				return found
			}
		}
		s.step()
	}
	return found
}

// spoils tells what a command at the top of a startup file does to the shell. rc is a file that shells without a terminal read too.
func spoils(word, arg, file string, rc bool) string {
	words := strings.Fields(arg)
	switch word {
	case "export", "readonly", "declare", "typeset":
		for len(words) > 0 && strings.HasPrefix(words[0], "-") {
			words = words[1:]
		}
		if len(words) > 0 && isAssignment(words[0]) {
			return spoils(words[0], "", file, rc)
		}
	case "read":
		if !strings.Contains(arg, "<") && !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") && strings.Contains(w, "t") }) {
			return "wait"
		}
	case "sleep":
		if len(words) == 1 && longSleep(words[0]) {
			return "wait"
		}
	case "exec", "bash", "/bin/bash", "/usr/bin/bash", "su", "sh":
		program := word
		if word == "exec" && len(words) > 0 {
			program, words = words[0], words[1:]
		}
		if strings.HasSuffix(file, "bashrc") && path.Base(program) == "bash" && (len(words) == 0 || words[0] == "-i" && len(words) == 1) {
			return "loop"
		}
	case ".", "source":
		if len(words) == 1 {
			named := strings.Trim(words[0], "\"")
			own := "~/" + path.Base(file)
			if named == file || strings.HasSuffix(file, path.Base(own)) && (named == own || named == "$HOME/"+path.Base(file) || named == "${HOME}/"+path.Base(file)) && !strings.HasPrefix(file, "/etc/") {
				return "loop"
			}
		}
	case "umask":
		if n, err := strconv.ParseInt(arg, 8, 32); err == nil && n&0o700 != 0 {
			return "umask"
		}
	case "ulimit":
		return poorUlimit(words)
	case "echo", "printf", "cat", "fortune", "neofetch", "screenfetch", "figlet", "date", "uptime", "w", "who":
		if rc && !strings.Contains(arg, ">") {
			return "prints"
		}
	}
	name, value, ok := strings.Cut(word, "=")
	switch {
	case !ok:
	case name == "PATH" && poorPath(value):
		return "path"
	case name == "TMOUT":
		if n, err := strconv.Atoi(value); err == nil && n > 0 && n < 60 {
			return "timeout"
		}
	}
	return ""
}

func longSleep(arg string) bool {
	if arg == "infinity" || strings.HasSuffix(arg, "m") || strings.HasSuffix(arg, "h") || strings.HasSuffix(arg, "d") {
		return true
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(arg, "s"), 64)
	return err == nil && n >= 10
}

// poorUlimit holds ulimit's arguments to what limits.conf is held to.
func poorUlimit(words []string) string {
	items := map[byte]string{'f': "fsize", 'n': "nofile", 'u': "nproc", 'v': "as", 'd': "data", 's': "stack", 't': "cpu"}
	for i, w := range words {
		if len(w) < 2 || w[0] != '-' || i+1 >= len(words) {
			continue
		}
		value, err := strconv.Atoi(words[i+1])
		item, ok := items[w[len(w)-1]]
		need := leastLimits[item]
		if item == "cpu" {
			need *= 60
		}
		if err == nil && ok && value < need {
			return "limit"
		}
	}
	return ""
}

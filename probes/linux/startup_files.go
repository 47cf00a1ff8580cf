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
or function. No shell runs: what a condition decides is not known, so it counts as fine. Costs 0.5 ms.`,
	Every: 5 * time.Minute,
}, startupFiles)

type startupFacts struct {
	Checked int                       `fact:"checked" unit:"count" doc:"Files that were read"`
	Ends    probes.Cut[startupEnding] `fact:"ends" doc:"Lines that end every shell that reads the file, or from which on it is not read"`
}

type startupEnding struct {
	Where   string `fact:"where,key" doc:"File and line"`
	File    string `fact:"file" doc:"The file"`
	Kind    string `fact:"kind" doc:"exit, exec or syntax"`
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
		f.read(h, name, "", true)
	}
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
			f.read(h, path.Join("/", u[pwHome], name), u[pwName], uid == 0)
		}
	}
	return f, nil
}

func (f *startupFacts) read(h host.Files, file, account string, root bool) {
	b, err := h.ReadFile(file)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.Ends.More++
			f.Ends.Why = err.Error()
		}
		return
	}
	f.Checked++
	if e, ok := shellEnding(string(b), func(program string) bool { return programThere(h, program) }); ok {
		e.File, e.Account, e.Root = file, account, root
		e.Where = fmt.Sprintf("%s:%s", file, e.Where)
		f.Ends.All = append(f.Ends.All, e)
	}
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

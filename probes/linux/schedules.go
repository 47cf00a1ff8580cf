package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Schedules looks for commands that are run again and again and look out of place.
var Schedules = probes.Define(probes.Probe[host.Host]{
	Name: "schedules",
	Doc: `Signs of compromise: scheduled commands

Reads the crontabs of the system and of its users, and /etc/rc.local, and looks for lines that fetch a program and run it, decode one, run one
from a directory that everybody may write, or open a connection as a shell. Of a line only its kind and place are told, for it may hold
secrets. Costs 0.2 ms. Needs root.`,
	Needs: probes.Root,
	Every: 10 * time.Minute,
}, schedules)

type schedulesFacts struct {
	Lines   int                        `fact:"lines" unit:"count" doc:"Commands that were read"`
	Strange probes.Cut[strangeCommand] `fact:"strange" doc:"Those that look out of place"`
}

type strangeCommand struct {
	Where string `fact:"where,key" doc:"File and line"`
	Kind  string `fact:"kind" doc:"\"fetches and runs\", \"decodes and runs\", \"runs from a temporary directory\" or \"opens a shell to the network\""`
}

// strangeCommands are how miners and back doors come back; MITRE ATT&CK T1053.003. That bash opens /dev/tcp is no sign: it is how scripts
// ask whether a port answers. The shell must be at the other end of the connection.
var strangeCommands = []struct {
	kind string
	re   *regexp.Regexp
}{
	{"opens a shell to the network", regexp.MustCompile(`(^|[\s;&|("'])(/\S*/)?(nc|ncat|netcat)\s([^;&|]*\s)?(-\w*[ec]|--(sh-)?exec)[\s=]*["']?(/\S*/)?(ba|da|z|k)?sh\b`)},
	{"opens a shell to the network", regexp.MustCompile(`\b(ba|da|z|k)?sh\s+-i\b.*/dev/(tcp|udp)/|/dev/(tcp|udp)/.*\b0[<>]&1\b`)},
	{"opens a shell to the network", regexp.MustCompile(`\bexec\s+\d+<>\s*/dev/(tcp|udp)/.*(\b(ba|da|z|k)?sh\s[^;|]*<&|\|\s*(/\S*/)?(ba|da|z|k)?sh\b|\bread\s[^;]*;\s*do\s+(eval\s+)?"?\$)`)},
	{"fetches and runs", regexp.MustCompile(`\b(curl|wget)\b[^|;&]*\|\s*(sudo\s+)?(/\S*/)?(ba|da|z)?sh\b|\b(ba|da|z)?sh\s+(-c\s+)?["']?(<\(|\$\(|` + "`" + `)\s*(curl|wget)\b`)},
	{"decodes and runs", regexp.MustCompile(`\bbase64\s+(-d|-D|--decode)\b[^|]*\|\s*(/\S*/)?((ba|da|z)?sh|python\d?|perl)\b`)},
	{"runs from a temporary directory", regexp.MustCompile(`(^|[\s;&|])(/tmp|/var/tmp|/dev/shm)/[^\s;&|>]*(\s|$)`)},
}

func schedules(_ context.Context, h host.Host) (schedulesFacts, error) {
	var f schedulesFacts
	if err := f.file(h, "/etc/crontab", 6); err != nil {
		return f, err
	}
	if err := f.file(h, "/etc/rc.local", 0); err != nil {
		return f, err
	}
	for _, dir := range []string{"/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron"} {
		fields := 5
		if dir == "/etc/cron.d" { // with the user
			fields = 6
		}
		entries, err := h.ReadDir(dir)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return f, err
		}
		for _, e := range entries {
			name := dir + "/" + e.Name
			if e.Type&fs.ModeSymlink != 0 { // cron follows it
				if fi, err := h.Stat(name); err == nil {
					e.Type = fi.Mode.Type()
				} else if !errors.Is(err, fs.ErrNotExist) {
					return f, err
				}
			}
			if !e.Type.IsRegular() {
				continue
			}
			if err := f.file(h, name, fields); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

// file reads a crontab, in whose lines so many fields come before the command; @reboot stands for the first five.
func (f *schedulesFacts) file(h host.Files, name string, fields int) error {
	b, err := h.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		skip := fields
		if fields > 0 && strings.HasPrefix(line, "@") {
			skip = fields - 4
		}
		if len(words) <= skip {
			continue
		}
		f.Lines++
		command := strings.Join(words[skip:], " ")
		for _, s := range strangeCommands {
			if s.re.MatchString(command) && (s.kind != "runs from a temporary directory" || runsTemporary(words[skip:])) {
				f.Strange.All = append(f.Strange.All, strangeCommand{fmt.Sprintf("%s:%d", name, n), s.kind})
				break
			}
		}
	}
	return nil
}

// runsTemporary reports whether the program itself, or the script that a shell is given, lies in a temporary directory. To clean one up,
// or to write a log there, is what many do.
func runsTemporary(words []string) bool {
	for i, w := range words {
		temporary := strings.HasPrefix(w, "/tmp/") || strings.HasPrefix(w, "/var/tmp/") || strings.HasPrefix(w, "/dev/shm/")
		before := ""
		if i > 0 {
			before = words[i-1]
		}
		switch before {
		case "", "&&", "||", ";", "|", "nohup", "exec", "sh", "bash", "/bin/sh", "/bin/bash", "python3", "perl":
			if temporary {
				return true
			}
		}
	}
	return false
}

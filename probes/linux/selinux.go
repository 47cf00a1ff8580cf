package linux

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// SELinux reads whom SELinux keeps from logging in.
var SELinux = probes.Define(probes.Probe[host.Host]{
	Name: "selinux",
	Doc: `SELinux and logins

Where SELinux is on, reads its mode and the last 256 KiB of /var/log/audit/audit.log for what it denied to the programs that let people in (sshd, login, sudo, su and
PAM's helpers) within a day. What it denies without a word (dontaudit rules), and what was written before the log was rotated, is not seen. Costs 0.5 ms there, and nothing
elsewhere. https://github.com/SELinuxProject/selinux-notebook/blob/main/src/auditing.md`,
	Needs: probes.Root,
	Every: 5 * time.Minute,
}, selinux)

type selinuxFacts struct {
	Enforcing bool                      `fact:"enforcing" doc:"It denies, and does not only write; /sys/fs/selinux/enforce"`
	Denials   probes.Cut[selinuxDenial] `fact:"denials" doc:"What it denied in the last day, by program; unreadable without the audit log"`
}

type selinuxDenial struct {
	Program string        `fact:"program,key" doc:"The program's name"`
	Count   int           `fact:"count" unit:"count" doc:"How often, in the part of the log that was read"`
	Age     time.Duration `fact:"last_age" doc:"Time since the latest"`
	Text    string        `fact:"text" doc:"The latest: what was denied on what"`
}

const (
	auditLog     = "/var/log/audit/audit.log"
	auditLogTail = 256 << 10
)

// loginPrograms let people in, or are asked by those who do.
var loginPrograms = []string{"sshd", "sshd-session", "sshd-auth", "login", "sudo", "su", "unix_chkpwd"}

func selinux(_ context.Context, h host.Host) (selinuxFacts, error) {
	var f selinuxFacts
	mode, err := readIntHere(h, "/sys/fs/selinux/enforce")
	if errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("SELinux is not on")
	}
	if err != nil {
		return f, err
	}
	f.Enforcing = mode == 1
	text, err := h.ReadTail(auditLog, auditLogTail)
	if err != nil {
		f.Denials.More, f.Denials.Why = 1, err.Error()
		return f, nil
	}
	for line := range strings.Lines(string(text)) {
		f.denial(line, h.Now())
	}
	return f, nil
}

// readIntHere reads a number that the kernel writes without a line's end.
func readIntHere(h host.Files, name string) (int, error) {
	b, err := h.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return parseCount(strings.TrimSpace(string(b)))
}

var (
	auditTime = regexp.MustCompile(`^type=AVC msg=audit\((\d+)\.\d+:\d+\): avc: +denied +\{ ([^}]*) \}`)
	auditComm = regexp.MustCompile(` comm="([^"]*)"`)
	auditName = regexp.MustCompile(` (?:path|name|dest|src)="?([^" ]+)`)
)

// denial counts a line of the audit log such as
// type=AVC msg=audit(1700000000.123:42): avc:  denied  { read } for  pid=9 comm="sshd" name="authorized_keys" … tclass=file permissive=0.
func (f *selinuxFacts) denial(line string, now time.Time) {
	m, comm := auditTime.FindStringSubmatch(line), auditComm.FindStringSubmatch(line)
	if m == nil || comm == nil || strings.Contains(line, "permissive=1") || !slices.Contains(loginPrograms, comm[1]) {
		return
	}
	seconds, err := strconv.ParseInt(m[1], 10, 64)
	age := max(0, now.Sub(time.Unix(seconds, 0)))
	if err != nil || age > 24*time.Hour {
		return
	}
	said := m[2]
	if name := auditName.FindStringSubmatch(line); name != nil {
		said += " on " + path.Clean(name[1])
	}
	i := slices.IndexFunc(f.Denials.All, func(d selinuxDenial) bool { return d.Program == comm[1] })
	if i < 0 {
		i = len(f.Denials.All)
		f.Denials.All = append(f.Denials.All, selinuxDenial{Program: comm[1]})
	}
	d := &f.Denials.All[i]
	d.Count, d.Age, d.Text = d.Count+1, age, redactLine(said)
}

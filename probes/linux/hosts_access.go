package linux

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// wrappers reads hosts.allow and hosts.deny as hosts_access(5) does: of hosts.allow the first line that fits lets in, then of hosts.deny
// the first that fits turns away. Only a daemon that has the library loaded heeds them: OpenSSH has not since 6.7, Debian's and older
// distributions' sshd still has.
func (f *sshdFacts) wrappers(h host.Host) {
	denied, some := wrapperLine(h, "/etc/hosts.deny"), wrapperLine(h, "/etc/hosts.allow")
	pid, running := f.PID.Get()
	if denied.all == "" || some.all != "" || !running {
		return
	}
	maps, err := h.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	switch {
	case err != nil:
		f.WrappersDeny = probes.Unread[string](err.Error())
	case strings.Contains(string(maps), "/libwrap.so"):
		f.WrappersDeny, f.WrappersSome = probes.Some(denied.all), some.any
	}
}

// wrapperLines is what a file of TCP wrappers says of sshd.
type wrapperLines struct {
	all string // the line that is for all clients
	any bool   // some line is for sshd
}

func wrapperLine(h host.Files, file string) wrapperLines {
	var l wrapperLines
	b, err := h.ReadFile(file)
	if err != nil {
		return l
	}
	n := 0
	for line := range strings.Lines(strings.ReplaceAll(string(b), "\\\n", " ")) {
		n++
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		daemons, rest, ok := strings.Cut(line, ":")
		if !ok || !slices.ContainsFunc(wrapperWords(daemons), func(w string) bool { return w == "sshd" || w == "ALL" }) {
			continue
		}
		l.any = true
		clients, options, _ := strings.Cut(rest, ":")
		opposite := strings.Contains(options, "DENY") || strings.Contains(options, "ALLOW") || strings.Contains(options, "deny") || strings.Contains(options, "allow")
		if l.all == "" && !opposite && slices.Equal(wrapperWords(clients), []string{"ALL"}) && !strings.Contains(daemons, "EXCEPT") {
			l.all = fmt.Sprintf("%s:%d", file, n)
		}
	}
	return l
}

func wrapperWords(list string) []string { return strings.Fields(strings.ReplaceAll(list, ",", " ")) }

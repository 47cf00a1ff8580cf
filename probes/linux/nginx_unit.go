package linux

import (
	"path"
	"regexp"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// maxUnitFiles bounds the search for a unit; a host has some 300.
const maxUnitFiles = 600

var unitProgram = regexp.MustCompile(`(?m)^ExecStart=[-@:+!]*(/\S+)`)

// upstreamUnit finds the service that should serve at an address of this host where nobody does: the only one whose unit, or the script that it
// starts, names the port or the socket, or that has the socket's name (php8.2-fpm.sock). Looked for only once nginx was refused there.
func upstreamUnit(h host.Files, address string) probes.Opt[string] {
	_, rest, _ := strings.Cut(address, "://")
	socket, unix := strings.CutPrefix(rest, "unix:")
	word := regexp.QuoteMeta(path.Base(rest))
	if !unix {
		word = rest[strings.LastIndexByte(rest, ':')+1:]
	}
	names := regexp.MustCompile(`(?:^|[^\w.-])` + word + `(?:$|[^\w.-])`)
	var found []string
	seen := map[string]bool{}
	for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"} {
		files, err := h.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, file := range files {
			if !strings.HasSuffix(file.Name, ".service") || seen[file.Name] || len(seen) == maxUnitFiles {
				continue
			}
			seen[file.Name] = true // what lies in an earlier directory hides the later ones'
			if unix && file.Name == strings.TrimSuffix(path.Base(socket), ".sock")+".service" {
				return probes.Some(file.Name)
			}
			if startsNaming(h, dir+"/"+file.Name, names) {
				found = append(found, file.Name)
			}
		}
	}
	if len(found) != 1 {
		return probes.None[string]()
	}
	return probes.Some(found[0])
}

// startsNaming tells whether a unit's file, or the script that it starts, has the word.
func startsNaming(h host.Files, unit string, word *regexp.Regexp) bool {
	text, err := h.ReadFile(unit)
	if err != nil {
		return false
	}
	if word.Match(text) {
		return true
	}
	m := unitProgram.FindSubmatch(text)
	if m == nil || !strings.HasPrefix(unit, "/etc/") {
		return false
	}
	script := string(m[1])
	fi, err := h.Stat(script)
	if err != nil || fi.Size > 64<<10 { // a program and no script
		return false
	}
	code, err := h.ReadFile(script)
	return err == nil && strings.HasPrefix(string(code), "#!") && word.Match(code)
}

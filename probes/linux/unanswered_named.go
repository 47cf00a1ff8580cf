package linux

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// The bounds of the search for who names an address.
const (
	maxSilent     = 5
	maxNamingFile = 64 << 10
)

// silentServers are addresses of the host's own networks that did not answer when somebody wanted to reach them, and that a service is told to
// use. Of more than a few a scanner, or a network that is down, is the reason.
func silentServers(ctx context.Context, h host.Host) []unansweredPeer {
	var silent []netip.Addr
	err := h.Neighbours(ctx, func(n *host.Neighbour) error {
		if n.State == "failed" && !n.IP.IsLinkLocalUnicast() {
			silent = append(silent, n.IP)
		}
		return nil
	})
	if err != nil || len(silent) == 0 || len(silent) > maxSilent {
		return nil
	}
	var found []unansweredPeer
	files := serviceFiles(h)
	for _, a := range silent {
		for _, file := range files {
			if line := lineNaming(h, file, a.String()); line > 0 {
				found = append(found, unansweredPeer{Peer: a.String(), Address: a.String(), Named: probes.Some(fmt.Sprintf("%s:%d", file, line))})
				break
			}
		}
	}
	return found
}

// serviceFiles are the units and their environment that an administrator writes.
func serviceFiles(h host.Files) []string {
	var files []string
	for _, dir := range []string{"/etc/default", "/etc/sysconfig", "/etc/systemd/system"} {
		entries, err := h.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := dir + "/" + e.Name
			switch {
			case len(files) == maxKillerFiles:
				return files
			case e.Type.IsDir() && strings.HasSuffix(e.Name, ".service.d"):
				parts, _ := h.ReadDir(name) // gone by now
				for _, part := range parts {
					files = append(files, name+"/"+part.Name)
				}
			case e.Type.IsRegular() && (dir != "/etc/systemd/system" || strings.HasSuffix(e.Name, ".service")):
				files = append(files, name)
			}
		}
	}
	return files
}

// lineNaming is the first line of a file, comments apart, that has the address; 0 if there is none.
func lineNaming(h host.Files, file, address string) int {
	fi, err := h.Stat(file)
	if err != nil || fi.Size > maxNamingFile {
		return 0
	}
	text, err := h.ReadFile(file)
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		_, rest, ok := strings.Cut(line, address)
		before, _, _ := strings.Cut(line, address)
		if !ok || line[0] == '#' || line[0] == ';' {
			continue
		}
		if !continues(rest, 0) && !continues(before, len(before)-1) {
			return n
		}
	}
	return 0
}

// continues tells whether the character at a place belongs to an address: 10.0.0.1 is not named by 10.0.0.12 or 110.0.0.1.
func continues(text string, i int) bool {
	return i >= 0 && i < len(text) && strings.IndexByte("0123456789abcdef.", text[i]) >= 0 && (text[i] != '.' || i+1 < len(text) && text[i+1] >= '0' && text[i+1] <= '9')
}

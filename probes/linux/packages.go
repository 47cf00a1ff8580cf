package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Packages reads why nothing can be installed: the state of dpkg's packages and the configuration of apt.
var Packages = probes.Define(probes.Probe[host.Host]{
	Name: "packages",
	Doc: `Package management: what keeps packages from being installed

Reads dpkg's list of packages for those that were left half-way, apt's sources line by line as apt does, the keys that they name, and whether apt's configuration ends
its lines. Costs 1 ms and another for each MB of the list. No data on hosts without dpkg. Whether a mirror or proxy answers is what package_mirror asks.`,
	Every: 10 * time.Minute,
}, packages)

type packagesFacts struct {
	Unfinished []unfinishedPackage `fact:"unfinished" doc:"Packages that dpkg left half-way; the first 20"`
	Database   string              `fact:"database" doc:"What is wrong with dpkg's own files: missing, empty, locked (chattr), or damaged; empty if nothing is"`
	Where      string              `fact:"database_file" doc:"The file; empty if nothing is wrong"`
	Sources    []sourceProblem     `fact:"sources" doc:"What apt does not understand in its sources and configuration, and keys that are not there"`
	Installed  int                 `fact:"installed" unit:"count" doc:"Packages that are in dpkg's list"`
}

type unfinishedPackage struct {
	Name  string `fact:"name,key" doc:"The package"`
	State string `fact:"state" doc:"half-installed, unpacked, half-configured, triggers-awaited, triggers-pending, or reinstreq"`
}

type sourceProblem struct {
	Where string `fact:"where,key" doc:"File and line, or file"`
	Kind  string `fact:"kind" doc:"malformed: apt cannot read the line; method: nothing fetches from such an address; key: the key's file is not there, empty, or may not be read by all; config: apt's configuration does not hold; user: dpkg-statoverride names a user or group that is gone"`
	What  string `fact:"what" doc:"The word, the address or the key's file"`
}

const dpkgStatus = "/var/lib/dpkg/status"

func packages(_ context.Context, h host.Host) (packagesFacts, error) {
	f := packagesFacts{Unfinished: []unfinishedPackage{}, Sources: []sourceProblem{}}
	if _, err := h.Stat("/usr/bin/dpkg"); errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("dpkg is not installed")
	} else if err != nil {
		return f, err
	}
	f.database(h)
	f.overrides(h)
	f.sources(h)
	return f, nil
}

func (f *packagesFacts) database(h host.Host) {
	b, err := h.ReadFile(dpkgStatus)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Database, f.Where = "missing", dpkgStatus
		return
	case err != nil: // larger than the limit: some 8,000 packages
		return
	case len(bytes.TrimSpace(b)) == 0:
		f.Database, f.Where = "empty", dpkgStatus
		return
	case !bytes.HasPrefix(b, []byte("Package: ")) || bytes.IndexByte(b, 0) >= 0:
		f.Database, f.Where = "damaged", dpkgStatus
	}
	if a, err := h.Attributes(dpkgStatus); err == nil && (a.Immutable || a.AppendOnly) {
		f.Database, f.Where = "locked", dpkgStatus
	}
	for _, dir := range []string{"/var/lib/dpkg/info", "/var/lib/dpkg/updates"} {
		if there, known := exists(h, dir).Get(); known && !there {
			f.Database, f.Where = "missing", dir
		}
	}
	for block := range bytes.SplitSeq(b, []byte("\n\n")) {
		_, rest, ok := bytes.Cut(block, []byte("\nStatus: "))
		if !ok {
			continue
		}
		f.Installed++
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		words := strings.Fields(string(line))
		if len(words) != 3 {
			continue
		}
		state := words[2]
		if words[1] == "reinstreq" {
			state = words[1]
		}
		unfinished := slices.Contains([]string{"half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending", "reinstreq"}, state)
		if name, ok := bytes.CutPrefix(bytes.TrimLeft(block, "\n"), []byte("Package: ")); ok && unfinished && len(f.Unfinished) < 20 {
			first, _, _ := bytes.Cut(name, []byte("\n"))
			f.Unfinished = append(f.Unfinished, unfinishedPackage{string(first), state})
		}
	}
}

// overrides: "unknown user in statoverride file" ends every run of dpkg.
func (f *packagesFacts) overrides(h host.Host) {
	const file = "/var/lib/dpkg/statoverride"
	b, err := h.ReadFile(file)
	if err != nil || !localNames(h) {
		return
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		words := strings.Fields(line)
		if len(words) != 4 {
			continue
		}
		for i, accounts := range []string{"/etc/passwd", "/etc/group"} {
			text, err := h.ReadFile(accounts)
			if err == nil && words[i][0] != '#' && !bytes.Contains(append([]byte("\n"), text...), []byte("\n"+words[i]+":")) {
				f.tell(fmt.Sprintf("%s:%d", file, n), "user", words[i])
			}
		}
	}
}

func (f *packagesFacts) tell(where, kind, what string) {
	f.Sources = append(f.Sources, sourceProblem{where, kind, what})
}

func (f *packagesFacts) sources(h host.Host) {
	if b, err := h.ReadFile("/etc/apt/sources.list"); err == nil {
		f.list(h, "/etc/apt/sources.list", string(b))
	}
	entries, _ := h.ReadDir("/etc/apt/sources.list.d")
	for _, e := range entries {
		file := "/etc/apt/sources.list.d/" + e.Name
		b, err := h.ReadFile(file)
		switch {
		case err != nil || strings.HasPrefix(e.Name, "."):
		case strings.HasSuffix(e.Name, ".list"):
			f.list(h, file, string(b))
		case strings.HasSuffix(e.Name, ".sources"):
			f.paragraphs(h, file, string(b))
		}
	}
	entries, _ = h.ReadDir("/etc/apt/apt.conf.d")
	for _, e := range entries {
		file := "/etc/apt/apt.conf.d/" + e.Name
		if ending := path.Ext(e.Name); e.Type.IsDir() || ending != "" && ending != ".conf" {
			continue
		}
		if b, err := h.ReadFile(file); err == nil && !aptConfHolds(string(b)) {
			f.tell(file, "config", "")
		}
	}
}

// list reads sources.list(5): TYPE [OPTIONS] URI SUITE [COMPONENT…].
func (f *packagesFacts) list(h host.Host, file, text string) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		where := fmt.Sprintf("%s:%d", file, n)
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] != "deb" && words[0] != "deb-src" {
			f.tell(where, "malformed", words[0])
			continue
		}
		words = words[1:]
		if len(words) > 0 && strings.HasPrefix(words[0], "[") {
			end := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "]") })
			if end < 0 {
				f.tell(where, "malformed", words[0])
				continue
			}
			for _, option := range words[:end+1] {
				option = strings.Trim(option, "[]")
				if key, ok := strings.CutPrefix(strings.ToLower(option), "signed-by="); ok {
					f.key(h, where, option[len(option)-len(key):])
				}
			}
			words = words[end+1:]
		}
		switch {
		case len(words) < 2 || len(words) == 2 && !strings.HasSuffix(words[1], "/"):
			f.tell(where, "malformed", strings.Join(words, " "))
		case len(words) > 2 && strings.HasSuffix(words[1], "/") && words[1] != "/": // "absolute Suite Component"
			f.tell(where, "malformed", words[1])
		default:
			f.method(h, where, words[0])
		}
	}
}

func (f *packagesFacts) method(h host.Host, where, uri string) {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok || strings.Contains(scheme, "/") {
		f.tell(where, "malformed", uri)
		return
	}
	name, _, _ := strings.Cut(scheme, "+")
	if there, known := exists(h, "/usr/lib/apt/methods/"+name).Get(); known && !there && isThere(h, "/usr/lib/apt/methods") {
		f.tell(where, "method", scheme)
	}
}

func (f *packagesFacts) key(h host.Host, where, keys string) {
	for key := range strings.SplitSeq(keys, ",") {
		if !strings.HasPrefix(key, "/") {
			continue // a fingerprint
		}
		fi, err := h.Stat(key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (fi.Size == 0 || fi.Mode.Perm()&0o004 == 0) { // apt reads it as the user _apt
			f.tell(where, "key", key)
		}
	}
}

// paragraphs reads the other format of sources.list(5).
func (f *packagesFacts) paragraphs(h host.Host, file, text string) {
	fields, begins, n := map[string]string{}, 0, 0
	last := ""
	end := func() {
		where := fmt.Sprintf("%s:%d", file, begins)
		if len(fields) > 0 && strings.ToLower(fields["enabled"]) != "no" {
			for _, name := range []string{"types", "uris", "suites"} {
				if fields[name] == "" {
					f.tell(where, "malformed", name)
					return
				}
			}
			f.method(h, where, strings.Fields(fields["uris"])[0])
			f.key(h, where, strings.Join(strings.Fields(fields["signed-by"]), ","))
		}
	}
	for line := range strings.Lines(text + "\n\n") {
		n++
		line = strings.TrimRight(line, "\r\n")
		switch name, value, ok := strings.Cut(line, ":"); {
		case strings.TrimSpace(line) == "":
			end()
			fields, last = map[string]string{}, ""
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += "\n" + line
		case !ok:
			f.tell(fmt.Sprintf("%s:%d", file, n), "malformed", line)
		default:
			if len(fields) == 0 {
				begins = n
			}
			last = strings.ToLower(strings.TrimSpace(name))
			fields[last] = strings.TrimSpace(value)
		}
	}
}

// aptConfHolds reports whether all statements, brackets and quotes of a file end (apt.conf(5)).
func aptConfHolds(text string) bool {
	depth, quoted, comment := 0, false, false
	last := byte(';')
	for line := range strings.Lines(text) {
		if t := strings.TrimSpace(line); !comment && (strings.HasPrefix(t, "#") || strings.HasPrefix(t, "//")) {
			continue
		}
		for i := 0; i < len(line); i++ {
			c := line[i]
			switch {
			case comment:
				comment = !(c == '/' && i > 0 && line[i-1] == '*')
				continue
			case c == '"':
				quoted = !quoted
			case quoted:
			case strings.HasPrefix(line[i:], "/*"):
				comment = true
				continue
			case c == '/' && strings.HasPrefix(line[i:], "//"):
				i = len(line)
				continue
			case c == '{':
				depth++
			case c == '}':
				depth--
			}
			if depth < 0 {
				return false
			}
			if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
				last = c
			}
		}
		if quoted {
			return false
		}
	}
	return depth == 0 && (last == ';' || last == '}')
}

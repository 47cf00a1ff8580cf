package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Environment looks for settings that every login gets and that break what it starts.
var Environment = probes.Define(probes.Probe[host.Host]{
	Name: "environment",
	Doc: `The environment of logins, and what identifies the host

Reads /etc/environment, /etc/default/locale, /etc/locale.conf, /etc/profile and profile.d for what breaks programs: a PATH without the system's directories, libraries, lists of
certificates and interpreters' homes that are not there, a locale or a time zone that is not there, an umask that takes the owner's own rights. Of a script only lines count that
stand outside of conditions and functions. Looks at /etc/machine-id, /etc/localtime and the linker's cache. Costs 0.3 ms.`,
	Every: 10 * time.Minute,
}, environment)

type environmentFacts struct {
	Problems  []environmentProblem `fact:"problems" doc:"Settings that break programs"`
	MachineID string               `fact:"machine_id" doc:"What is wrong with /etc/machine-id: missing, empty, or malformed; empty if nothing is"`
	Zone      string               `fact:"localtime" doc:"Where /etc/localtime leads, if that is not there; empty if nothing is wrong"`
	Cache     bool                 `fact:"linker_cache_missing" doc:"/etc/ld.so.cache is not there or empty, on a host that has ldconfig and the C library of GNU: libraries outside of the linker's own directories are not found"`
}

type environmentProblem struct {
	Where string `fact:"where,key" doc:"File and line"`
	Name  string `fact:"name" doc:"The variable, or umask"`
	Kind  string `fact:"kind" doc:"path: it lacks the directories of the system's programs; missing: it names a file that is not there; locale: the locale is not made; libraries: it brings libraries that take the place of the system's; zone: there is no such time zone, and programs take UTC; umask: new files are closed to their own owner"`
	Value string `fact:"value" doc:"Its value"`
}

// named are variables whose value is a path without which programs fail or complain.
var namedFiles = []string{"LD_PRELOAD", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "PYTHONHOME", "PERL5OPT", "OPENSSL_CONF", "JAVA_HOME"}

func environment(_ context.Context, h host.Host) (environmentFacts, error) {
	f := environmentFacts{Problems: []environmentProblem{}}
	if _, err := h.Stat("/etc"); err != nil {
		return f, err
	}
	files := []string{"/etc/environment", "/etc/default/locale", "/etc/locale.conf", "/etc/profile"}
	entries, err := h.ReadDir("/etc/profile.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".sh") {
			files = append(files, "/etc/profile.d/"+e.Name)
		}
	}
	for _, file := range files {
		b, err := h.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return f, err
		}
		f.read(h, file, string(b))
	}
	f.identity(h)
	return f, nil
}

var (
	assignment = regexp.MustCompile(`^(?:export\s+)?([A-Z_][A-Z0-9_]*)=("[^"]*"|'[^']*'|\S*)\s*;?\s*(?:#.*)?$`)
	umaskLine  = regexp.MustCompile(`^umask\s+([0-7]{3,4})\s*(?:#.*)?$`)
	inner      = regexp.MustCompile(`^(if|for|while|until|case|function)\b|\{\s*$|\(\s*$`)
	outer      = regexp.MustCompile(`^(fi|done|esac)\b|^[})]`)
)

func (f *environmentFacts) read(h host.Files, file, text string) {
	depth, n := 0, 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case outer.MatchString(line):
			depth--
			continue
		case inner.MatchString(line) && !regexp.MustCompile(`;\s*(fi|done|esac)\b`).MatchString(line):
			depth++
			continue
		}
		if depth != 0 {
			continue
		}
		p := environmentProblem{Where: fmt.Sprintf("%s:%d", file, n)}
		if m := umaskLine.FindStringSubmatch(line); m != nil {
			if mask, err := strconv.ParseUint(m[1], 8, 32); err == nil && mask&0o700 != 0 {
				p.Name, p.Kind, p.Value = "umask", "umask", m[1]
			}
		} else if m := assignment.FindStringSubmatch(line); m != nil {
			p.Name, p.Value = m[1], strings.Trim(m[2], `"'`)
			p.Kind = f.kind(h, p.Name, p.Value)
		}
		if p.Kind != "" {
			f.Problems = append(f.Problems, p)
		}
	}
}

func (f *environmentFacts) kind(h host.Files, name, value string) string {
	switch {
	case strings.ContainsAny(value, "$`") || value == "":
	case name == "PATH":
		dirs := strings.Split(value, ":")
		if !slices.Contains(dirs, "/usr/bin") && !slices.Contains(dirs, "/bin") {
			return "path"
		}
	case slices.Contains(namedFiles, name):
		for file := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ':' || r == ' ' }) {
			if there, known := exists(h, file).Get(); strings.HasPrefix(file, "/") && known && !there {
				return "missing"
			}
		}
	case name == "TZ" && !zoneKnown(h, value):
		return "zone"
	case name == "LD_LIBRARY_PATH":
		for dir := range strings.SplitSeq(value, ":") {
			if shadows(h, dir) {
				return "libraries"
			}
		}
	case name == "LANG" || name == "LC_ALL":
		if !localeThere(h, value) {
			return "locale"
		}
	}
	return ""
}

// posixZone is the other form of TZ, as in CST-8 or <+08>-8: tzset(3).
var posixZone = regexp.MustCompile(`^(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)[+-]?\d`)

func zoneKnown(h host.Files, zone string) bool {
	zone = strings.TrimPrefix(zone, ":")
	if posixZone.MatchString(zone) || slices.Contains([]string{"UTC", "UTC0", "GMT", "Z"}, zone) || !isThere(h, "/usr/share/zoneinfo/Asia") {
		return true
	}
	if !strings.HasPrefix(zone, "/") {
		zone = "/usr/share/zoneinfo/" + zone
	}
	there, known := exists(h, zone).Get()
	return there || !known
}

// vitalLibraries are those without whose own version hardly a program of the system runs.
var vitalLibraries = regexp.MustCompile(`^(?:ld-linux.*|lib(?:c|m|dl|pthread|rt|z|pam|tinfo|selinux|crypto|ssl|crypt|stdc\+\+|gcc_s|readline|systemd|cap|audit|pcre2?-?8?))\.so(?:\.\d+)*$`)

// shadows reports whether a directory outside of the system's own has such a library, which programs then load in place of theirs.
func shadows(h host.Files, dir string) bool {
	if !strings.HasPrefix(dir, "/") || strings.HasPrefix(dir, "/usr/lib") || strings.HasPrefix(dir, "/lib") {
		return false
	}
	entries, err := h.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e host.DirEntry) bool { return vitalLibraries.MatchString(e.Name) })
}

// localeThere looks where the C library does: a directory of its own or the archive, by the normalized name (en_US.utf8).
func localeThere(h host.Files, name string) bool {
	base, charset, _ := strings.Cut(name, ".")
	if base == "C" || base == "POSIX" {
		return true
	}
	charset, modifier, _ := strings.Cut(charset, "@")
	names := []string{name, base}
	if charset != "" {
		names = append(names, base+"."+strings.ReplaceAll(strings.ToLower(charset), "-", ""))
	}
	entries, err := h.ReadDir("/usr/lib/locale")
	if err != nil || modifier != "" {
		return true // another C library, or one that this does not know
	}
	for _, e := range entries {
		if slices.Contains(names, e.Name) || strings.Contains(e.Name, "locale-archive") { // what is in an archive is not looked up
			return true
		}
	}
	return false
}

func (f *environmentFacts) identity(h host.Files) {
	if isThere(h, "/run/systemd/system") {
		b, err := h.ReadFile("/etc/machine-id")
		id := strings.TrimSpace(string(b))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.MachineID = "missing"
		case err != nil:
		case id == "" || id == "uninitialized":
			f.MachineID = "empty"
		case !regexp.MustCompile(`^[0-9a-fA-F]{32}$`).MatchString(strings.ReplaceAll(id, "-", "")):
			f.MachineID = "malformed"
		}
	}
	if target, err := h.Readlink("/etc/localtime"); err == nil {
		if _, err := h.Stat("/etc/localtime"); errors.Is(err, fs.ErrNotExist) {
			f.Zone = target
		}
	}
	if isThere(h, "/sbin/ldconfig") && isThere(h, "/etc/ld.so.conf") {
		fi, err := h.Stat("/etc/ld.so.cache")
		f.Cache = errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size == 0
	}
}

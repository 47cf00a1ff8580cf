package linux

import (
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

// serverConfig is the text of a server's configuration, without comments, and when any of it last changed.
type serverConfig struct {
	text    string
	changed time.Time
	files   []string // all that were read
}

// maxConfigFiles and maxConfigText bound the configuration of a host with a thousand sites.
const (
	maxConfigFiles = 200
	maxConfigText  = 2 << 20
)

// includes is nginx's and Apache's directive to include files by a name with wild cards.
var includes = regexp.MustCompile(`(?im)^\s*(?:include|includeoptional)\s+"?([^;"\s]+)`)

// readServerConfig reads a configuration file and, at their place, the files that it includes; names without a slash are below dir. What cannot be read is
// left out.
func readServerConfig(h host.Files, file, dir string) serverConfig {
	r := configReader{h: h, dir: dir, files: maxConfigFiles}
	text := r.read(file, 0)
	return serverConfig{text, r.changed, r.names}
}

type configReader struct {
	h       host.Files
	dir     string
	files   int
	size    int
	names   []string
	changed time.Time
}

func (r *configReader) read(file string, depth int) string {
	if r.files <= 0 || r.size > maxConfigText || depth > 5 {
		return ""
	}
	r.files--
	fi, err := r.h.Stat(file)
	if err != nil || !fi.Mode.IsRegular() {
		return ""
	}
	b, err := r.h.ReadFile(file)
	if err != nil {
		return ""
	}
	r.changed = laterOf(r.changed, fi.ModTime)
	r.size += len(b)
	r.names = append(r.names, file)
	text := withoutComments(string(b))
	var all strings.Builder
	kept := 0
	for _, m := range includes.FindAllStringSubmatchIndex(text, -1) {
		all.WriteString(text[kept:m[0]])
		kept = m[1]
		for _, name := range r.glob(text[m[2]:m[3]]) {
			all.WriteString("\n" + r.read(name, depth+1) + "\n")
		}
	}
	all.WriteString(text[kept:])
	return all.String()
}

// glob lists the files that a pattern means; wild cards stand in its last element.
func (r *configReader) glob(pattern string) []string {
	if !strings.HasPrefix(pattern, "/") {
		pattern = path.Join(r.dir, pattern)
	}
	dir, last := path.Split(pattern)
	if !strings.ContainsAny(last, "*?[") {
		return []string{pattern}
	}
	entries, err := r.h.ReadDir(path.Clean(dir))
	if err != nil {
		return nil
	}
	if fi, err := r.h.Stat(path.Clean(dir)); err == nil { // a file that is gone changed its directory
		r.changed = laterOf(r.changed, fi.ModTime)
	}
	var names []string
	for _, e := range entries {
		if ok, _ := path.Match(last, e.Name); ok && (!strings.HasPrefix(e.Name, ".") || strings.HasPrefix(last, ".")) {
			names = append(names, dir+e.Name)
		}
	}
	return names
}

// withoutComments drops what stands behind # at a word's beginning.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if i := strings.IndexByte(line, '#'); i == 0 || i > 0 && strings.ContainsRune(" \t;{}", rune(line[i-1])) {
			line = line[:i] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

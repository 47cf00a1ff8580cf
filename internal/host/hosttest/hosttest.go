// Package hosttest makes a host.Host of a capture: a txtar file that says what each question was answered. Tests, stories
// and `hostmend replay` use it in the place of a real machine.
//
// The comment at the head may hold lines `at: TIME` (RFC 3339), `root: yes|no` and `network: yes|no`; all else in it is
// for readers. A recorded capture's first line is `hostmend capture 1` and its last one `-- end --`. The sections:
//
//	-- /proc/stat --                  a file, mode 0644 and root's; its directories exist
//	-- /proc/stat @1s --              its content from one second later on; Sleep moves the clock
//	-- /etc/shadow 0640 0:42 --       a file with its mode and owner
//	-- /dev/vda 060660 0:6 --         file types as st_mode has them
//	-- /var/log/x nlink=0 size=9 --   what else stat(2) says: dev=MAJOR:MINOR, ino, nlink, size, blocks, mtime=TIME
//	-- /var/empty/sshd/ 0711 0:0 --   a directory
//	-- /etc/resolv.conf -> run/x --   a symbolic link; a target with a space in it is quoted as in Go, as is a path;
//	                                  -> !permission does not say where it leads
//	-- /etc/secret !permission --     opening it fails
//	-- /root/x stat!permission --     even stat(2) fails, as in a directory that may not be searched
//	-- /proc/7/ !notexist @1s --      it is gone from one second later on
//	-- /proc/7/cmdline [quoted] --    the content as Go strings, one a line, joined
//	-- $ sshd -t [exit 255] --        a command's standard output; [stderr] for its other one; !ERROR when it did not run
//	-- statfs / --                    the JSON of host.Statfs; a path with a space in it is quoted
//	-- attributes /etc/shadow --      the JSON of host.Attributes; a path with a space in it is quoted
//	-- beneath /data --               the JSON of host.Beneath
//	-- md5 /bin/ls --                 the digest of a file, in quotes
//	-- links --                       one JSON object a line: links, addrs, routes, rules, neighbours, qdiscs, tcp, udp
//	-- clock --                       the JSON of host.Clock
//	-- machine --                     the JSON of host.Machine
//	-- ping 10.0.0.1 1500 df --       the JSON of the answer: ping DST [SIZE] [df], connect ADDR:PORT, get URL, dns SERVER:PORT NAME TYPE,
//	                                  sntp SERVER, route-to DST, check NAME DIGEST
//	                                  sntp SERVER, route-to DST, ask SOCKET
//	                                  sntp SERVER, route-to DST, ask SOCKET, certificate PATH
//
// Instead of an answer, the body of a section that is not a file may be an error: !timeout, !refused, !unreachable, !permission,
// !notexist, !unsupported, the name of an errno like !ESRCH, or "! " and any text; a [quoted] body never is. Every section may have versions (@1s). A file that is not there does not
// exist, a command that is not there is not installed; any other question that is not there is host.ErrNotCaptured.
package hosttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
)

// Host is a captured machine.
type Host struct {
	at   time.Time
	caps host.Capabilities

	files   map[string]*node
	answers map[string][]version // by question: "$ sshd -t", "links", "ping 10.0.0.1"

	mu      sync.Mutex
	elapsed time.Duration
}

var _ host.Host = (*Host)(nil)

// node is a file, directory or symbolic link.
type node struct {
	mode     fs.FileMode
	uid, gid int
	target   string            // of a symbolic link
	err      error             // what opening it answers
	hidden   error             // what even stat answers
	stat     map[string]string // dev, ino, nlink, size, mtime
	versions []version
	children map[string]bool // of a directory
}

// version is an answer that holds from a time on.
type version struct {
	from time.Duration
	body string
	exit int
	err  error
}

// A recorded capture begins and ends with these lines, so that nothing else is taken for one, nor a part of one for the whole. What is
// missing in a capture is taken for missing on the host.
const (
	firstLine = "hostmend capture 1"
	lastLine  = "-- end --"
)

// Read makes a host of what [Recorder.Format] wrote. It refuses everything else, and what has lost its end.
func Read(data []byte) (*Host, error) {
	text := bytes.TrimSpace(data)
	if first, _, _ := bytes.Cut(text, []byte("\n")); string(first) != firstLine {
		return nil, fmt.Errorf("this is no capture: its first line is not %q", firstLine)
	}
	if !bytes.HasSuffix(text, []byte("\n"+lastLine)) {
		return nil, fmt.Errorf("the capture is cut short: its last line is not %q", lastLine)
	}
	return Parse(data)
}

// Open reads a recorded capture from a file.
func Open(file string) (*Host, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	h, err := Read(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return h, nil
}

// maxErrors is how many wrong sections Parse names: a file that is no capture may have a million.
const maxErrors = 20

// Parse reads a capture, also one that somebody wrote by hand and that does not have a recorded one's first and last line. The error lists the sections that are wrong.
func Parse(data []byte) (*Host, error) {
	ar := txtar.Parse(data)
	h := &Host{
		at:      time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		caps:    host.Capabilities{Root: true, Network: true},
		files:   map[string]*node{},
		answers: map[string][]version{},
	}
	errs := []error{h.dir("/"), h.header(string(ar.Comment))}
	for _, f := range ar.Files {
		if f.Name == "end" {
			continue
		}
		if err := h.section(f.Name, string(f.Data)); err != nil {
			errs = append(errs, fmt.Errorf("section %q: %w", f.Name, err))
		}
	}
	if errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil }); len(errs) > maxErrors {
		errs = append(errs[:maxErrors], fmt.Errorf("and more, %d in all", len(errs)))
	}
	return h, errors.Join(errs...)
}

func (h *Host) header(comment string) error {
	for line := range strings.Lines(comment) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "at":
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				return err
			}
			h.at = at
		case "root":
			h.caps.Root = value == "yes"
		case "network":
			h.caps.Network = value == "yes"
		}
	}
	return nil
}

// section is what a section's name says besides its name.
type section struct {
	version
	words  []string // the question, or the path
	target string
	mode   fs.FileMode
	uid    int
	gid    int
	stat   map[string]string
	stderr bool
	quoted bool
	hidden error
}

func (h *Host) section(name, body string) error {
	s, err := parseName(name)
	if err != nil {
		return err
	}
	if body, err = s.content(body); err != nil {
		return err
	}
	s.body = body
	if strings.HasPrefix(s.words[0], "/") {
		return h.addFile(s)
	}
	if !s.quoted {
		s.err = bodyError(body)
	}
	if s.err == nil {
		kind, _, _ := strings.Cut(s.words[0], " ")
		if err := check(kind, body); err != nil {
			return err
		}
	}
	question := strings.Join(s.words, " ")
	if s.stderr {
		question = "stderr " + question
	}
	h.answers[question] = append(h.answers[question], s.version)
	return nil
}

var (
	octal   = regexp.MustCompile(`^0[0-7]{3,6}$`)
	statted = regexp.MustCompile(`^(dev=\d+:\d+|(ino|nlink|size|blocks)=\d+|mtime=\d{4}-.*)$`)
	owner   = regexp.MustCompile(`^\d+:\d+$`)
	bracket = regexp.MustCompile(`\[(quoted|stderr|exit \d+)\]`)
)

// aboutPaths are the questions about a path that are not files' sections.
var aboutPaths = []string{"statfs ", "attributes ", "beneath ", "md5 "}

func parseName(name string) (*section, error) {
	s := &section{mode: 0o644}
	for _, m := range bracket.FindAllStringSubmatch(name, -1) {
		switch flag := m[1]; flag {
		case "quoted":
			s.quoted = true
		case "stderr":
			s.stderr = true
		default:
			s.exit, _ = strconv.Atoi(strings.TrimPrefix(flag, "exit "))
		}
	}
	if before, target, ok := strings.Cut(name, ` -> "`); ok { // a target with a space in it
		unquoted, err := strconv.Unquote(`"` + target)
		if err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
		s.words, s.target, s.mode = []string{before}, unquoted, fs.ModeSymlink|0o777
		return s, nil
	}
	prefix, quoted := "", name
	for _, kind := range aboutPaths {
		if rest, ok := strings.CutPrefix(name, kind); ok {
			prefix, quoted = kind, rest
		}
	}
	words := strings.Fields(bracket.ReplaceAllString(name, ""))
	if strings.HasPrefix(quoted, `"`) { // a path with a space in it
		first, err := strconv.QuotedPrefix(quoted)
		if err != nil {
			return nil, err
		}
		unquoted, _ := strconv.Unquote(first)
		words = append([]string{prefix + unquoted}, strings.Fields(bracket.ReplaceAllString(quoted[len(first):], ""))...)
	}
	if len(words) == 0 {
		return nil, errors.New("no name")
	}
	if n := len(words) - 1; n > 0 && strings.HasPrefix(words[n], "@") {
		from, err := time.ParseDuration(words[n][1:])
		if err != nil {
			return nil, err
		}
		s.from, words = from, words[:n]
	}
	s.words = words
	if !strings.HasPrefix(words[0], "/") {
		return s, nil
	}
	s.words = words[:1]
	return s, s.attributes(words[1:])
}

// attributes reads what follows a path.
func (s *section) attributes(words []string) error {
	if strings.HasSuffix(s.words[0], "/") {
		s.mode = fs.ModeDir | 0o755
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "->" && i+1 < len(words):
			i++
			s.target, s.mode = words[i], fs.ModeSymlink|0o777
			if word, ok := strings.CutPrefix(s.target, "!"); ok {
				if s.err = errorOf(word); s.err == nil {
					return fmt.Errorf("no error is called %s", s.target)
				}
			}
		case strings.HasPrefix(w, "stat!"):
			if s.hidden = errorOf(w[5:]); s.hidden == nil {
				return fmt.Errorf("no error is called %s", w)
			}
		case strings.HasPrefix(w, "!"):
			if s.err = errorOf(w[1:]); s.err == nil {
				return fmt.Errorf("no error is called %s", w)
			}
		case octal.MatchString(w):
			mode, _ := strconv.ParseUint(w, 8, 32)
			s.mode = fileMode(uint32(mode)) | s.mode&fs.ModeType
		case statted.MatchString(w):
			if s.stat == nil {
				s.stat = map[string]string{}
			}
			key, value, _ := strings.Cut(w, "=")
			s.stat[key] = value
		case owner.MatchString(w):
			uid, gid, _ := strings.Cut(w, ":")
			s.uid, _ = strconv.Atoi(uid)
			s.gid, _ = strconv.Atoi(gid)
		default:
			return fmt.Errorf("%q is no attribute of a file", w)
		}
	}
	return nil
}

// fileMode converts st_mode's bits.
func fileMode(st uint32) fs.FileMode {
	mode := fs.FileMode(st & 0o777)
	for bit, m := range map[uint32]fs.FileMode{
		syscall.S_ISUID: fs.ModeSetuid, syscall.S_ISGID: fs.ModeSetgid, syscall.S_ISVTX: fs.ModeSticky,
	} {
		if st&bit != 0 {
			mode |= m
		}
	}
	switch st & syscall.S_IFMT {
	case syscall.S_IFBLK:
		mode |= fs.ModeDevice
	case syscall.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case syscall.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case syscall.S_IFSOCK:
		mode |= fs.ModeSocket
	case syscall.S_IFDIR:
		mode |= fs.ModeDir
	}
	return mode
}

// content undoes [quoted].
func (s *section) content(body string) (string, error) {
	if !s.quoted {
		return body, nil
	}
	var b strings.Builder
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		part, err := strconv.Unquote(line)
		if err != nil {
			return "", fmt.Errorf("%s: %w", line, err)
		}
		b.WriteString(part)
	}
	return b.String(), nil
}

func (h *Host) addFile(s *section) error {
	name := path.Clean(s.words[0])
	if err := h.dir(path.Dir(name)); err != nil {
		return err
	}
	h.files[path.Dir(name)].children[path.Base(name)] = true
	n := h.files[name]
	later := n != nil && s.from > 0
	if n == nil {
		n = &node{mode: s.mode, uid: s.uid, gid: s.gid, target: s.target, err: s.err, hidden: s.hidden, stat: s.stat}
		if n.mode.IsDir() {
			n.children = map[string]bool{}
		}
		h.files[name] = n
	} else if n.mode.IsDir() && !later { // it was implied by a file in it
		n.mode, n.uid, n.gid, n.err, n.hidden, n.stat = s.mode|fs.ModeDir, s.uid, s.gid, s.err, s.hidden, s.stat
	}
	if !later {
		s.version.err = nil
	}
	n.versions = append(n.versions, s.version)
	return nil
}

// dir makes a directory and those above it, unless they are there.
func (h *Host) dir(name string) error {
	if n := h.files[name]; n != nil {
		if !n.mode.IsDir() {
			return fmt.Errorf("%s is no directory", name)
		}
		return nil
	}
	h.files[name] = &node{mode: fs.ModeDir | 0o755, children: map[string]bool{}}
	if name == "/" {
		return nil
	}
	if err := h.dir(path.Dir(name)); err != nil {
		return err
	}
	h.files[path.Dir(name)].children[path.Base(name)] = true
	return nil
}

// errorWords are the errors that a capture has a word for.
var errorWords = []struct {
	word string
	err  error
}{
	{"timeout", context.DeadlineExceeded},
	{"refused", syscall.ECONNREFUSED},
	{"unreachable", syscall.EHOSTUNREACH},
	{"noroute", syscall.ENETUNREACH},
	{"permission", fs.ErrPermission},
	{"notexist", fs.ErrNotExist},
	{"toolarge", host.ErrTooLarge},
	{"unsupported", host.ErrUnsupported},
	{"notallowed", host.ErrNotAllowed},
	{"notcaptured", host.ErrNotCaptured},
	{"io", syscall.EIO},
}

func errorOf(word string) error {
	for _, e := range errorWords {
		if e.word == word {
			return e.err
		}
	}
	for errno := syscall.Errno(1); errno < maxErrno; errno++ {
		if word != "" && unix.ErrnoName(errno) == word {
			return errno
		}
	}
	return nil
}

// maxErrno is beyond the last errno of Linux, EHWPOISON.
const maxErrno = 134

func bodyError(body string) error {
	first, _, _ := strings.Cut(body, "\n")
	word, ok := strings.CutPrefix(first, "!")
	if !ok {
		return nil
	}
	if err := errorOf(word); err != nil {
		return err
	}
	return errors.New(strings.TrimSpace(word))
}

// check refuses a body that no question could be answered with.
func check(kind, body string) error {
	switch kind {
	case "$":
		return nil
	case "statfs":
		return decode(body, &host.Statfs{})
	case "attributes":
		return decode(body, &host.Attributes{})
	case "beneath":
		return decode(body, &host.Beneath{})
	case "md5":
		return decode(body, new(string))
	case "links":
		return lines(body, func(*host.Link) error { return nil })
	case "addrs":
		return lines(body, func(*host.Addr) error { return nil })
	case "routes":
		return lines(body, func(*host.Route) error { return nil })
	case "rules":
		return lines(body, func(*host.Rule) error { return nil })
	case "neighbours":
		return lines(body, func(*host.Neighbour) error { return nil })
	case "qdiscs":
		return lines(body, func(*host.Qdisc) error { return nil })
	case "tcp", "udp":
		return lines(body, func(*host.Socket) error { return nil })
	case "clock":
		return decode(body, &host.Clock{})
	case "machine":
		return decode(body, &host.Machine{})
	case "ping":
		return decode(body, &host.Pong{})
	case "connect":
		_, err := time.ParseDuration(strings.TrimSpace(body))
		return err
	case "get":
		return decode(body, &host.HTTPAnswer{})
	case "dns":
		return decode(body, &host.DNSAnswer{})
	case "sntp":
		return decode(body, &host.SNTPAnswer{})
	case "route-to":
		return decode(body, &host.Route{})
	case "check":
		return decode(body, &host.CheckAnswer{})
	case "certificate":
		return decode(body, &host.KeyPair{})
	case "ask":
		return decode(body, &host.Reply{})
	}
	return fmt.Errorf("no question begins with %q", kind)
}

func decode(body string, into any) error {
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func lines[T any](body string, each func(*T) error) error {
	n := 0
	for line := range strings.Lines(body) {
		n++
		if strings.TrimSpace(line) == "" {
			continue
		}
		var v T
		if err := decode(line, &v); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := each(&v); err != nil {
			return err
		}
	}
	return nil
}

// Now is the time of the capture, moved on by Sleep.
func (h *Host) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at.Add(h.elapsed)
}

// Sleep moves the clock and does not wait.
func (h *Host) Sleep(ctx context.Context, d time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.elapsed += d
	return ctx.Err()
}

// Can reports what the capturing process was allowed.
func (h *Host) Can() host.Capabilities { return h.caps }

// now picks the version that holds at this time.
func (h *Host) now(versions []version) *version {
	h.mu.Lock()
	defer h.mu.Unlock()
	var latest *version
	for i := range versions {
		if v := &versions[i]; v.from <= h.elapsed && (latest == nil || v.from >= latest.from) {
			latest = v
		}
	}
	return latest
}

// maxHops is how many symbolic links Linux follows, MAXSYMLINKS.
const maxHops = 40

// walk finds a file, following symbolic links (the last one too, if follow says so) as the kernel does.
func (h *Host) walk(op, name string, follow bool) (*node, error) {
	fail := func(err error) (*node, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	at, rest := "/", strings.Split(path.Clean("/" + name)[1:], "/")
	for hops := 0; len(rest) > 0; {
		n := h.files[at]
		if rest[0] == "" || rest[0] == "." {
			rest = rest[1:]
			continue
		}
		if rest[0] == ".." {
			at, rest = path.Dir(at), rest[1:]
			continue
		}
		if !n.mode.IsDir() {
			return fail(syscall.ENOTDIR)
		}
		child := path.Join(at, rest[0])
		next := h.files[child]
		if next == nil || !h.exists(next) {
			return fail(fs.ErrNotExist)
		}
		if next.hidden != nil {
			return fail(next.hidden)
		}
		rest = rest[1:]
		if next.mode&fs.ModeSymlink != 0 && (follow || len(rest) > 0) {
			if next.err != nil {
				return fail(next.err)
			}
			if hops++; hops > maxHops {
				return fail(syscall.ELOOP)
			}
			if strings.HasPrefix(next.target, "/") {
				at = "/"
			}
			rest = append(strings.Split(next.target, "/"), rest...)
			continue
		}
		at = child
	}
	return h.files[at], nil
}

// exists reports whether a file that is there at some time is there now.
func (h *Host) exists(n *node) bool {
	if len(n.versions) == 0 {
		return true
	}
	v := h.now(n.versions)
	if v == nil { // before what its first section says: a file that goes was there, one that comes was not
		return errors.Is(n.versions[0].err, fs.ErrNotExist)
	}
	return !errors.Is(v.err, fs.ErrNotExist)
}

// ReadFile returns the version of the file that holds now.
func (h *Host) ReadFile(name string) ([]byte, error) {
	n, err := h.walk("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	if n.err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: n.err}
	}
	v := h.now(n.versions)
	if v == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if v.err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: v.err}
	}
	return []byte(v.body), nil
}

// ReadTail returns the end of the file.
func (h *Host) ReadTail(name string, limit int) ([]byte, error) {
	data, err := h.ReadFile(name)
	return data[max(0, len(data)-limit):], err
}

// ReadDir lists a directory.
func (h *Host) ReadDir(name string) ([]host.DirEntry, error) {
	n, err := h.walk("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: n.err}
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	entries := make([]host.DirEntry, 0, len(n.children))
	for child := range n.children {
		c, err := h.walk("readdir", path.Join(name, child), false)
		if errors.Is(err, fs.ErrNotExist) {
			continue // not yet, or no longer
		}
		if err != nil { // not even stat may look at it
			entries = append(entries, host.DirEntry{Name: child})
			continue
		}
		entries = append(entries, host.DirEntry{Name: child, Type: c.mode.Type()})
	}
	slices.SortFunc(entries, func(a, b host.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// Stat follows symbolic links.
func (h *Host) Stat(name string) (host.FileInfo, error) { return h.stat("stat", name, true) }

// Lstat does not follow the last one.
func (h *Host) Lstat(name string) (host.FileInfo, error) { return h.stat("lstat", name, false) }

func (h *Host) stat(op, name string, follow bool) (host.FileInfo, error) {
	n, err := h.walk(op, name, follow)
	if err != nil {
		return host.FileInfo{}, err
	}
	fi := host.FileInfo{Mode: n.mode, UID: n.uid, GID: n.gid, ModTime: h.at, Links: 1}
	if v := h.now(n.versions); v != nil {
		fi.Size = int64(len(v.body))
	}
	err = n.fill(&fi)
	if fi.Blocks == 0 {
		fi.Blocks = (fi.Size + 511) / 512
	}
	return fi, err
}

// fill adds what the capture says of a file beyond its mode, owner and content.
func (n *node) fill(fi *host.FileInfo) error {
	for key, value := range n.stat {
		var major, minor uint32
		var err error
		switch key {
		case "dev":
			_, err = fmt.Sscanf(value, "%d:%d", &major, &minor)
			fi.Dev = unix.Mkdev(major, minor)
		case "ino":
			fi.Inode, err = strconv.ParseUint(value, 10, 64)
		case "nlink":
			fi.Links, err = strconv.ParseUint(value, 10, 64)
		case "size":
			fi.Size, err = strconv.ParseInt(value, 10, 64)
		case "blocks":
			fi.Blocks, err = strconv.ParseInt(value, 10, 64)
		case "mtime":
			fi.ModTime, err = time.Parse(time.RFC3339Nano, value)
		}
		if err != nil {
			return fmt.Errorf("%s=%s: %w", key, value, err)
		}
	}
	return nil
}

// Readlink returns a symbolic link's target as it was written.
func (h *Host) Readlink(name string) (string, error) {
	n, err := h.walk("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.mode&fs.ModeSymlink == 0 {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: syscall.EINVAL}
	}
	if n.err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: n.err}
	}
	return n.target, nil
}

// answer finds the recorded answer to a question.
func (h *Host) answer(question string) (string, error) {
	v := h.now(h.answers[question])
	if v == nil {
		return "", fmt.Errorf("%s: %w", question, host.ErrNotCaptured)
	}
	if v.err != nil {
		return "", fmt.Errorf("%s: %w", question, v.err)
	}
	return v.body, nil
}

func ask[T any](h *Host, question string) (T, error) {
	var answer T
	body, err := h.answer(question)
	if err == nil {
		err = decode(body, &answer)
	}
	return answer, err
}

func list[T any](h *Host, question string) ([]T, error) {
	var all []T
	err := each(h, question, func(v *T) error { all = append(all, *v); return nil })
	return all, err
}

func each[T any](h *Host, question string, f func(*T) error) error {
	body, err := h.answer(question)
	if err != nil {
		return err
	}
	return lines(body, f)
}

// Statfs answers "statfs NAME".
func (h *Host) Statfs(_ context.Context, name string) (host.Statfs, error) {
	return ask[host.Statfs](h, "statfs "+name)
}

// Attributes answers "attributes NAME".
func (h *Host) Attributes(name string) (host.Attributes, error) {
	return ask[host.Attributes](h, "attributes "+name)
}

// Beneath answers "beneath NAME".
func (h *Host) Beneath(name string) (host.Beneath, error) {
	return ask[host.Beneath](h, "beneath "+name)
}

// MD5 answers "md5 NAME".
func (h *Host) MD5(name string) (string, error) { return ask[string](h, "md5 "+name) }

// Run answers "$ ARGV".
func (h *Host) Run(_ context.Context, argv ...string) (host.Output, error) {
	question := "$ " + strings.Join(argv, " ")
	v, stderr := h.now(h.answers[question]), h.now(h.answers["stderr "+question])
	if v == nil && stderr == nil {
		return host.Output{}, fmt.Errorf("running %q: %w", argv, fs.ErrNotExist)
	}
	out := host.Output{}
	for _, v := range []*version{v, stderr} {
		if v == nil {
			continue
		}
		if v.err != nil {
			return host.Output{}, fmt.Errorf("running %q: %w", argv, v.err)
		}
		out.Exit = max(out.Exit, v.exit)
	}
	if v != nil {
		out.Stdout = []byte(v.body)
	}
	if stderr != nil {
		out.Stderr = []byte(stderr.body)
	}
	return out, nil
}

// Links answers "links".
func (h *Host) Links(context.Context) ([]host.Link, error) { return list[host.Link](h, "links") }

// Addrs answers "addrs".
func (h *Host) Addrs(context.Context) ([]host.Addr, error) { return list[host.Addr](h, "addrs") }

// Routes answers "routes".
func (h *Host) Routes(_ context.Context, f func(*host.Route) error) error {
	return each(h, "routes", f)
}

// Rules answers "rules".
func (h *Host) Rules(context.Context) ([]host.Rule, error) { return list[host.Rule](h, "rules") }

// Neighbours answers "neighbours".
func (h *Host) Neighbours(_ context.Context, f func(*host.Neighbour) error) error {
	return each(h, "neighbours", f)
}

// Qdiscs answers "qdiscs".
func (h *Host) Qdiscs(context.Context) ([]host.Qdisc, error) { return list[host.Qdisc](h, "qdiscs") }

// Sockets answers "tcp" or "udp", the states selected.
func (h *Host) Sockets(_ context.Context, q host.SocketQuery, f func(*host.Socket) error) error {
	question := "tcp"
	if q.UDP {
		question = "udp"
	}
	return each(h, question, func(s *host.Socket) error {
		if q.States != 0 && q.States&(1<<s.State) == 0 {
			return nil
		}
		return f(s)
	})
}

// Clock answers "clock".
func (h *Host) Clock() (host.Clock, error) { return ask[host.Clock](h, "clock") }

// Machine answers "machine".
func (h *Host) Machine(context.Context) (host.Machine, error) { return ask[host.Machine](h, "machine") }

// Ping answers "ping DST [SIZE] [df]".
func (h *Host) Ping(_ context.Context, p host.Ping) (host.Pong, error) {
	return ask[host.Pong](h, pingQuestion(p))
}

func pingQuestion(p host.Ping) string {
	q := "ping " + p.Dst.String()
	if p.Size != 0 {
		q += " " + strconv.Itoa(p.Size)
	}
	if p.DF {
		q += " df"
	}
	return q
}

// Connect answers "connect ADDR:PORT" with a duration.
func (h *Host) Connect(_ context.Context, address netip.AddrPort) (time.Duration, error) {
	body, err := h.answer("connect " + address.String())
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(strings.TrimSpace(body))
}

// Get answers "get URL"; what headers were sent makes no difference.
func (h *Host) Get(_ context.Context, url string, _ map[string]string) (host.HTTPAnswer, error) {
	return ask[host.HTTPAnswer](h, "get "+url)
}

// Query answers "dns SERVER:PORT NAME TYPE", and "dns SERVER:PORT NAME TYPE again 1" where it is asked once more.
func (h *Host) Query(_ context.Context, q host.DNSQuery) (host.DNSAnswer, error) {
	return ask[host.DNSAnswer](h, dnsQuestion(q))
}

// SNTP answers "sntp SERVER".
func (h *Host) SNTP(_ context.Context, server string) (host.SNTPAnswer, error) {
	return ask[host.SNTPAnswer](h, "sntp "+server)
}

// RouteTo answers "route-to DST".
func (h *Host) RouteTo(_ context.Context, dst netip.Addr) (host.Route, error) {
	return ask[host.Route](h, "route-to "+dst.String())
}

// Check answers "check NAME DIGEST". The digest is of the whole question: with other check files than when it was recorded there is no
// answer.
func (h *Host) Check(_ context.Context, c host.Check) (host.CheckAnswer, error) {
	return ask[host.CheckAnswer](h, checkQuestion(c))
}

// Exchange answers "ask SOCKET"; what was said makes no difference.
func (h *Host) Exchange(_ context.Context, q host.Question) (host.Reply, error) {
	return ask[host.Reply](h, "ask "+q.Socket)
}

// ReadCertificate answers "certificate PATH"; which key it was compared with makes no difference.
func (h *Host) ReadCertificate(name, _ string) (host.KeyPair, error) {
	return ask[host.KeyPair](h, "certificate "+name)
}

package hosttest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
)

// Format writes what was recorded as a capture. The lines of comment are for readers.
func (r *Recorder) Format(comment ...string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &writer{files: map[string]*file{}, links: map[string]string{}, sealed: map[string]error{}}
	w.WriteString(firstLine + "\n")
	for _, line := range comment {
		w.WriteString(strings.ReplaceAll(line, "\n", " ") + "\n")
	}
	yes := map[bool]string{true: "yes", false: "no"}
	can := r.h.Can()
	fmt.Fprintf(w, "at: %s\nroot: %s\nnetwork: %s\n", r.at.UTC().Format(time.RFC3339Nano), yes[can.Root], yes[can.Network])
	for _, key := range r.order { // links first: they say where files lie
		switch a := r.answers[key]; {
		case key.kind != kindLink:
		case a.err == nil && a.value != nil:
			w.links[path.Clean(key.what)], _ = a.value.(string)
		case a.err != nil:
			w.sealed[path.Clean(key.what)] = a.err
		}
	}
	for _, key := range r.order {
		w.note(key, r.answers[key])
	}
	w.sections()
	w.WriteString(lastLine + "\n")
	return []byte(w.String())
}

// writer puts a capture together.
type writer struct {
	strings.Builder
	files  map[string]*file
	links  map[string]string // symbolic links and where they lead
	sealed map[string]error  // symbolic links that do not tell, as those of a process that may not be traced
	others []other
}

// file is what is known of a path.
type file struct {
	typ    fs.FileMode
	target string // of a symbolic link
	info   *host.FileInfo
	hidden error                             // what even stat says
	opened map[time.Duration]opened          // what opening it says, by time
	listed map[time.Duration][]host.DirEntry // what is in it, by time
	there  map[time.Duration]bool            // whether it was, by time
}

type opened struct {
	text string
	tail bool // only the end
	err  error
}

func (o opened) same(p opened) bool {
	if o.err != nil || p.err != nil {
		return o.err != nil && p.err != nil && errorWord(o.err) == errorWord(p.err)
	}
	return o.text == p.text
}

// other is a section that is not a file.
type other struct {
	name, flags, text string
	at                time.Duration
	quoted            bool
}

func (w *writer) file(name string) *file {
	f := w.files[name]
	if f == nil {
		f = &file{opened: map[time.Duration]opened{}, listed: map[time.Duration][]host.DirEntry{}, there: map[time.Duration]bool{}}
		w.files[name] = f
	}
	return f
}

// note takes up one answer.
func (w *writer) note(key asked, a *answer) {
	value, err := a.value, a.err
	if value == nil && err == nil { // it has not come back
		err = context.DeadlineExceeded
	}
	name, _, _ := strings.Cut(key.what, "\x00")
	switch key.kind {
	case kindLink:
	case kindRun:
		out, _ := value.(host.Output)
		w.command(key, out, err)
	case kindOther:
		w.other(key, value, err)
	case kindLstat:
		w.noteFile(w.resolve(path.Dir(name), path.Base(name)), key, value, err)
	default:
		w.noteFile(w.resolve(path.Clean(name), ""), key, value, err)
	}
}

// noteFile takes up what a question about a file was answered. Its name has no links in it.
func (w *writer) noteFile(name string, key asked, value any, err error) {
	if name == "" || strings.Contains(path.Base(name), ":[") { // socket:[1234], where a link under /proc leads: no file
		return
	}
	f := w.file(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		f.there[key.at] = false
		return
	}
	f.there[key.at] = true
	switch v := value.(type) {
	case []byte:
		if old, ok := f.opened[key.at]; err != nil && !ok || err == nil && (!ok || old.err != nil || key.kind == kindRead || old.tail && len(v) > len(old.text)) {
			f.opened[key.at] = opened{string(v), key.kind == kindTail, err}
		}
		if errors.Is(err, syscall.EISDIR) {
			delete(f.opened, key.at)
			f.typ = fs.ModeDir
		}
	case host.FileInfo:
		switch {
		case err != nil:
			f.hidden = err
		case f.info == nil:
			f.info, f.typ = &v, v.Mode.Type()
		}
	case []host.DirEntry:
		if err != nil {
			f.opened[key.at] = opened{err: err}
			return
		}
		f.typ |= fs.ModeDir
		f.listed[key.at] = v
		for _, e := range v {
			c := w.file(path.Join(name, e.Name))
			if c.info == nil {
				c.typ |= e.Type
			}
			c.there[key.at] = true
		}
	}
}

// resolve follows the links that were recorded on the way to a file; "" if they go round in a circle. The last element, if it is
// given apart, is not followed.
func (w *writer) resolve(name, last string) string {
	at, rest := "/", strings.Split(strings.TrimPrefix(name, "/"), "/")
	for hops := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		target, ok := w.links[next]
		if !ok {
			at = next
			continue
		}
		if hops++; hops > maxHops {
			return ""
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		rest = append(strings.Split(path.Clean(target), "/"), rest...)
	}
	return path.Join(at, last)
}

func (w *writer) command(key asked, out host.Output, err error) {
	name := "$ " + key.what
	switch {
	case errors.Is(err, fs.ErrNotExist): // not installed
		return
	case err != nil:
		w.others = append(w.others, other{name: name, text: errorBody(name, err), at: key.at})
		return
	}
	exit := ""
	if out.Exit != 0 {
		exit = fmt.Sprintf(" [exit %d]", out.Exit)
	}
	w.others = append(w.others, other{name, exit, string(out.Stdout), key.at, !plain(string(out.Stdout))})
	if len(out.Stderr) > 0 {
		w.others = append(w.others, other{name, exit + " [stderr]", string(out.Stderr), key.at, !plain(string(out.Stderr))})
	}
}

func (w *writer) other(key asked, value any, err error) {
	name := key.what
	for _, kind := range aboutPaths {
		if p, ok := strings.CutPrefix(name, kind); ok {
			name = kind + quotePath(p)
		}
	}
	text := ""
	switch v := value.(type) {
	case body:
		text = string(v)
	case time.Duration:
		text = v.String() + "\n"
	default:
		b, failed := json.Marshal(v)
		text = string(b) + "\n"
		err = cmp.Or(err, failed)
	}
	switch {
	case errors.Is(err, host.ErrNotCaptured): // a capture of a capture
		return
	case err != nil:
		text = errorBody(name, err)
	}
	w.others = append(w.others, other{name: name, text: text, at: key.at})
}

// sections writes the files by name and then everything else.
func (w *writer) sections() {
	for name, target := range w.links {
		dir, base := path.Split(name)
		f := w.file(w.resolve(path.Clean(dir), base))
		f.typ, f.target = fs.ModeSymlink, target
	}
	implied := map[string]bool{} // directories that a file in them tells of
	for name, f := range w.files {
		if f.typ.IsDir() || !f.everThere(w, name) {
			continue
		}
		for dir := path.Dir(name); !implied[dir]; dir = path.Dir(dir) {
			implied[dir] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		if f := w.files[name]; name != "/" && f.everThere(w, name) {
			w.writeFile(name, f, implied[name])
		}
	}
	slices.SortStableFunc(w.others, func(a, b other) int { return strings.Compare(a.name, b.name) })
	last := map[string]string{} // by section, without versions
	for _, s := range w.others {
		id, says, at := s.name+strconv.FormatBool(strings.HasSuffix(s.flags, "[stderr]")), s.flags+s.text, ""
		before, again := last[id]
		if again && before == says {
			continue
		}
		if again {
			at = " @" + s.at.String()
		}
		last[id] = says
		w.section(s.name+at+s.flags, s.text, s.quoted)
	}
}

func (w *writer) writeFile(name string, f *file, implied bool) {
	if f.typ&fs.ModeSymlink != 0 {
		target := quoteTarget(f.target)
		if err := w.sealed[name]; err != nil {
			target = "!" + errorWord(err)
		}
		w.section(quotePath(name)+" -> "+target, "", false)
		return
	}
	head, appeared, vanished := quotePath(name), f.appeared(w, name), f.vanished(w, name)
	if f.typ.IsDir() {
		head = quotePath(name + "/")
		if implied && f.info == nil && f.hidden == nil && len(f.opened) == 0 && appeared == 0 && vanished == 0 {
			return
		}
	}
	head += f.attributes()
	if appeared > 0 {
		head += " @" + appeared.String()
	}
	times := slices.Sorted(maps.Keys(f.opened))
	if len(times) == 0 || f.opened[times[0]].err != nil {
		w.section(head, "", false)
	}
	for i, at := range times {
		now := f.opened[at]
		switch {
		case i > 0 && now.same(f.opened[times[i-1]]):
		case now.err != nil && i > 0:
			w.section(quotePath(name)+" !"+errorWord(now.err)+" @"+at.String(), "", false)
		case i > 0:
			w.section(quotePath(name)+" @"+at.String(), now.text, !plain(now.text))
		case now.err == nil:
			w.section(head, now.text, !plain(now.text))
		}
	}
	if vanished > 0 {
		w.section(quotePath(name)+" !notexist @"+vanished.String(), "", false)
	}
}

// at tells the times at which a file was there and those at which it was not, by its own answers and by its directory's listings.
func (f *file) at(w *writer, name string) (there, not []time.Duration) {
	for at, yes := range f.there {
		if yes {
			there = append(there, at)
		} else {
			not = append(not, at)
		}
	}
	if parent := w.files[path.Dir(name)]; parent != nil {
		for at, list := range parent.listed {
			if _, known := f.there[at]; !known && !slices.ContainsFunc(list, func(e host.DirEntry) bool { return e.Name == path.Base(name) }) {
				not = append(not, at)
			}
		}
	}
	slices.Sort(there)
	slices.Sort(not)
	return there, not
}

// everThere reports whether a file was there at any time.
func (f *file) everThere(w *writer, name string) bool {
	there, _ := f.at(w, name)
	return len(there) > 0 || f.typ&fs.ModeSymlink != 0
}

// appeared is the first time at which a file was there, if it had been looked for in vain before; else 0.
func (f *file) appeared(w *writer, name string) time.Duration {
	if there, not := f.at(w, name); len(there) > 0 && len(not) > 0 && not[0] < there[0] {
		return there[0]
	}
	return 0
}

// vanished is the first time at which a file that had been there was not; else 0.
func (f *file) vanished(w *writer, name string) time.Duration {
	there, not := f.at(w, name)
	for _, at := range not {
		if len(there) > 0 && at > there[len(there)-1] {
			return at
		}
	}
	return 0
}

// attributes are what follows a path: mode, owner, what stat says, errors.
func (f *file) attributes() string {
	var b strings.Builder
	if i := f.info; i != nil {
		fmt.Fprintf(&b, " 0%03o %d:%d", unixMode(i.Mode), i.UID, i.GID)
		if i.Dev != 0 || i.Inode != 0 {
			fmt.Fprintf(&b, " dev=%d:%d ino=%d", unix.Major(i.Dev), unix.Minor(i.Dev), i.Inode)
		}
		if i.Links != 1 {
			fmt.Fprintf(&b, " nlink=%d", i.Links)
		}
		fmt.Fprintf(&b, " size=%d", i.Size)
		if i.Blocks != (i.Size+511)/512 {
			fmt.Fprintf(&b, " blocks=%d", i.Blocks)
		}
		fmt.Fprintf(&b, " mtime=%s", i.ModTime.UTC().Format(time.RFC3339Nano))
	} else if bits := unixMode(f.typ); bits != 0 && !f.typ.IsDir() {
		fmt.Fprintf(&b, " 0%o", bits)
	}
	switch {
	case f.hidden != nil:
		b.WriteString(" stat!" + errorWord(f.hidden))
	case len(f.opened) > 0:
		if first := f.opened[slices.Min(slices.Collect(maps.Keys(f.opened)))]; first.err != nil {
			b.WriteString(" !" + errorWord(first.err))
		}
	case f.typ.IsRegular(): // nobody asked what is in it
		b.WriteString(" !notcaptured")
	}
	return b.String()
}

// unixMode are st_mode's bits, without the type of directories and regular files, of which the name tells.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for bit, is := range map[uint32]bool{
		syscall.S_ISUID: m&fs.ModeSetuid != 0, syscall.S_ISGID: m&fs.ModeSetgid != 0, syscall.S_ISVTX: m&fs.ModeSticky != 0,
		syscall.S_IFIFO: m&fs.ModeNamedPipe != 0, syscall.S_IFSOCK: m&fs.ModeSocket != 0,
		syscall.S_IFCHR: m&fs.ModeCharDevice != 0, syscall.S_IFBLK: m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0,
	} {
		if is {
			bits |= bit
		}
	}
	return bits
}

func (w *writer) section(name, text string, quoted bool) {
	if quoted {
		name += " [quoted]"
	}
	w.WriteString("-- " + name + " --\n")
	if !quoted {
		w.WriteString(text)
		return
	}
	for line := range strings.Lines(text) {
		w.WriteString(strconv.QuoteToGraphic(line) + "\n")
	}
}

// plain reports whether a text can stand in a capture as it is.
func plain(text string) bool {
	if text == "" {
		return true
	}
	if !strings.HasSuffix(text, "\n") || !utf8.ValidString(text) || strings.HasPrefix(text, "!") || strings.HasPrefix(text, "-- ") || strings.Contains(text, "\n-- ") {
		return false
	}
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// quotePath quotes a path that the words of a section's name cannot hold.
func quotePath(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return r == utf8.RuneError || r == '"' || r == '[' || r == ' ' || !unicode.IsPrint(r)
	}) {
		return strings.ReplaceAll(strconv.Quote(name), "[", `\x5b`)
	}
	return name
}

// quoteTarget quotes the target of a symbolic link.
func quoteTarget(target string) string {
	if strings.HasPrefix(target, "!") || strings.ContainsAny(target, "[\\\"") || quotePath(target) != target {
		return strings.ReplaceAll(strconv.Quote(target), "[", `\x5b`)
	}
	return target
}

// errorWord is the word that a capture has for an error; "io" where there is none.
func errorWord(err error) string {
	for _, e := range errorWords {
		if errors.Is(err, e.err) {
			return e.word
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && unix.ErrnoName(errno) != "" {
		return unix.ErrnoName(errno)
	}
	return "io"
}

// errorBody is an error as the text of a section. The question, which names the section, need not be in it.
func errorBody(question string, err error) string {
	if word := errorWord(err); word != "io" || errors.Is(err, syscall.EIO) {
		return "!" + word + "\n"
	}
	return "! " + strings.ReplaceAll(strings.TrimPrefix(err.Error(), question+": "), "\n", " ") + "\n"
}

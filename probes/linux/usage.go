package linux

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Usage finds what fills a file system.
var Usage = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "usage",
	Doc: `What fills a file system

Only for file systems of which 80 % of the space or of the inodes is used and less than 50 GiB is left, the three fullest of them: goes through
their directories, the breadth first and what packages installed last, and adds up sizes as du does, without leaving the file system. It looks at
5,000 entries of each, for up to about 300 ms of all, and does not list a directory whose own file is larger than 1 MiB, which takes 20,000 entries
or more; "complete" tells whether it saw everything. What grew between the samples is found by size, and who writes it by the descriptors
of all processes. The files of /var/log itself that are being written are compared, too. A host with room everywhere pays 0.2 ms for it; one with a full disk about 20 ms a sample. Network and FUSE file systems are left out.`,
	Every:   5 * time.Minute,
	Timeout: 3 * time.Second,
}, sampleUsage, usage)

type usageFacts struct {
	Filesystems []usageFilesystem `fact:"filesystems" doc:"The file systems that were gone through, the fullest first; none on a host with room everywhere"`
	Logs        []usageFile       `fact:"logs" doc:"Files of /var/log itself, without its directories, that are written right now; five at most"`
}

type usageFilesystem struct {
	Mount       string                    `fact:"mount,key" doc:"Where it is mounted"`
	Complete    bool                      `fact:"complete" doc:"All of it was seen; else the sums are the least that there is"`
	Entries     int                       `fact:"entries" unit:"count" doc:"Files and directories that were seen"`
	Growth      probes.Opt[float64]       `fact:"growth_per_s" unit:"bytes/s" doc:"By how much its used space grew between the samples; below zero if it shrank. Absent until there are two samples"`
	FullIn      probes.Opt[time.Duration] `fact:"full_in" doc:"When it is full if it goes on like that; absent if it does not grow, or not within 30 days"`
	Directories []usageDirectory          `fact:"directories" doc:"The five largest directories, each as deep as four fifths of it lie in one place"`
	Largest     string                    `fact:"largest" doc:"The largest three directories and two files with their sizes, for people: /data/log 40.1 GiB, file /data/dump.sql 9.3 GiB"`
	Most        string                    `fact:"most_entries" doc:"The directories with most entries, for people: /data/sessions 120000"`
	Files       []usageFile               `fact:"files" doc:"The five largest files"`
	Growing     []usageFile               `fact:"growing" doc:"Files that grew between the samples, the fastest five first"`
	Crowded     []usageCrowd              `fact:"crowded" doc:"The three directories with most entries of their own"`
}

// usageLogs marks the sample of the files of /var/log itself.
const usageLogs = "logs"

// growingLogs looks at the files of /var/log that are being written: daemons with logs of their own have directories below, so that what
// grows here is the system's log, or a stray's.
func growingLogs(h host.Host) usageSample {
	const recent, large = 5 * time.Second, 256 << 10
	s := usageSample{dev: usageLogs}
	entries, err := h.ReadDir("/var/log")
	if err != nil {
		return s
	}
	for _, e := range entries[:min(len(entries), 200)] {
		if !e.Type.IsRegular() || len(s.files) == usageTop {
			continue
		}
		name := "/var/log/" + e.Name
		fi, err := h.Lstat(name)
		if age := h.Now().Sub(fi.ModTime); err == nil && fi.Size >= large && age < recent {
			s.files = append(s.files, usageEntry{path: name, bytes: int(fi.Blocks * sector), size: fi.Size, age: max(0, age)})
		}
	}
	return s
}

type usageDirectory struct {
	Path  string `fact:"path,key" doc:"The directory"`
	Bytes int    `fact:"bytes" unit:"bytes" doc:"Space that everything in it takes, as far as it was seen"`
	Kind  string `fact:"kind" doc:"What such a directory holds: journal, logs, container layers, package cache, core dumps, kernels, …; empty if the path does not tell"`
}

type usageFile struct {
	Path   string                    `fact:"path,key" doc:"The file"`
	Bytes  int                       `fact:"bytes" unit:"bytes" doc:"Space that it takes"`
	Age    time.Duration             `fact:"age" doc:"Time since it was last written"`
	Growth probes.Opt[float64]       `fact:"growth_per_s" unit:"bytes/s" doc:"Growth between the samples; absent until there are two"`
	Grew   probes.Opt[time.Duration] `fact:"grew_for" doc:"How long it has grown, if always at this rate; absent if it does not grow"`
	Writer probes.Opt[string]        `fact:"writer" doc:"Command name of a process that has it open; absent if none was found, or it was not written within the last minute"`
	PID    probes.Opt[int]           `fact:"pid" unit:"pid" doc:"That process"`
	Unit   probes.Opt[string]        `fact:"unit" doc:"The systemd service or scope that it runs in; absent outside of any"`
	Kind   string                    `fact:"kind" doc:"As of directories; log and core dump also by the file's name"`
}

type usageCrowd struct {
	Path    string `fact:"path,key" doc:"The directory"`
	Entries int    `fact:"entries" unit:"count" doc:"Entries in it; of one that was not listed the least that its own size allows"`
	Listed  bool   `fact:"listed" doc:"The entries were counted"`
}

const (
	usageFull    = 80.0     // percent, from which on it is worth looking
	usageRoom    = 50 << 30 // bytes; with more left nobody is in a hurry, unless it is
	usageFullest = 97.0     // percent full
	usageSystems = 3
	usageEntries = 5000
	usageTime    = 300 * time.Millisecond
	// A directory's own file takes 24 bytes and more an entry on ext4, XFS and btrfs (name, inode, padding), so 1 MiB is 20,000 and more.
	usageBigDir     = 1 << 20
	usageEntryBytes = 50
	usageTop        = 5
)

// usageSample is one look at a full file system.
type usageSample struct {
	mount    string
	dev      string
	used     uint64
	avail    uint64
	pct      float64
	inodes   float64
	complete bool
	entries  int
	dirs     map[string]*usageNode // by path
	files    []usageEntry          // the largest, and those written of late
	crowds   []usageCrowd
}

// usageNode is a directory; bytes are of all below it once totals were made.
type usageNode struct {
	parent   string
	bytes    int
	children []string
}

type usageEntry struct {
	path   string
	bytes  int
	size   int64
	age    time.Duration
	writer fileWriter
}

type fileWriter struct {
	command string
	pid     int
	unit    probes.Opt[string]
}

func sampleUsage(ctx context.Context, h host.Host) ([]usageSample, error) {
	mounts, err := readFilesystems(h)
	if err != nil {
		return nil, err
	}
	list := fullFilesystems(ctx, h, mounts)
	ctx, cancel := context.WithTimeout(ctx, usageTime)
	defer cancel()
	written := map[string]*usageEntry{}
	for i := range list {
		w := usageWalk{ctx: ctx, h: h, now: h.Now(), s: &list[i]}
		w.run()
		for j := range list[i].files {
			if f := &list[i].files[j]; f.age < time.Minute {
				written[f.path] = f
			}
		}
	}
	logs := growingLogs(h)
	for i := range logs.files {
		if f := &logs.files[i]; written[f.path] == nil {
			written[f.path] = f
		}
	}
	if len(written) > 0 {
		findWriters(h, written)
	}
	return append(list, logs), nil
}

// fullFilesystems asks how full each is, all at once as the probe filesystems does.
func fullFilesystems(ctx context.Context, h host.Host, mounts []mount) []usageSample {
	ctx, cancel := context.WithTimeout(ctx, statfsLimit)
	defer cancel()
	all := make([]usageSample, len(mounts))
	var wg sync.WaitGroup
	for i, m := range mounts {
		if isFUSE(&m) || slices.Contains(networkTypes, m.fstype) || slices.Contains(imageTypes, m.fstype) || slices.Contains(m.options, "ro") {
			continue
		}
		wg.Go(func() {
			st, err := h.Statfs(ctx, m.point)
			if err != nil || st.Size == 0 || st.Size < st.Free {
				return
			}
			var f filesystemFacts
			f.numbers(&st)
			s := usageSample{mount: m.point, dev: m.dev, used: st.Size - st.Free, avail: st.Avail, pct: percent(float64(st.Size-st.Free), float64(st.Size-st.Free+st.Avail))}
			if st.Files > 0 && st.FilesFree <= st.Files && m.fstype != "xfs" { // XFS makes inodes of free space
				s.inodes = percent(float64(st.Files-st.FilesFree), float64(st.Files))
			}
			if s.inodes >= usageFull || s.pct >= usageFull && (s.avail < usageRoom || s.pct >= usageFullest) {
				all[i] = s
			}
		})
	}
	wg.Wait()
	all = slices.DeleteFunc(all, func(s usageSample) bool { return s.mount == "" })
	slices.SortStableFunc(all, func(a, b usageSample) int { return cmp.Compare(max(b.pct, b.inodes), max(a.pct, a.inodes)) })
	return all[:min(len(all), usageSystems)]
}

// usageWalk goes through one file system.
type usageWalk struct {
	ctx         context.Context
	h           host.Host
	now         time.Time
	s           *usageSample
	dev         uint64
	queue, last []string // directories still to be listed; those of packages come last
}

func (w *usageWalk) run() {
	s := w.s
	s.dirs = map[string]*usageNode{}
	root, err := w.h.Lstat(s.mount)
	if err != nil {
		return
	}
	w.dev = root.Dev
	w.enter(s.mount, "", &root)
	s.complete = true
	for len(w.queue)+len(w.last) > 0 {
		if s.entries >= usageEntries || w.ctx.Err() != nil {
			s.complete = false
			break
		}
		next := &w.queue
		if len(*next) == 0 {
			next = &w.last
		}
		dir := (*next)[0]
		*next = (*next)[1:]
		w.list(dir)
	}
	slices.SortStableFunc(s.crowds, func(a, b usageCrowd) int { return cmp.Compare(b.Entries, a.Entries) })
	s.crowds = s.crowds[:min(len(s.crowds), 3)]
	s.total()
	s.keepFiles()
}

// enter notes a directory and puts it into the queue, unless it is too large to be listed.
func (w *usageWalk) enter(dir, parent string, fi *host.FileInfo) {
	w.s.dirs[dir] = &usageNode{parent: parent, bytes: int(fi.Blocks * sector)}
	if p := w.s.dirs[parent]; p != nil {
		p.children = append(p.children, dir)
	}
	switch {
	case fi.Size > usageBigDir:
		w.s.crowds = append(w.s.crowds, usageCrowd{Path: dir, Entries: int(fi.Size) / usageEntryBytes})
		w.s.complete = false
	case isPackages(dir):
		w.last = append(w.last, dir)
	default:
		w.queue = append(w.queue, dir)
	}
}

// isPackages is where packages put what does not grow.
func isPackages(dir string) bool {
	for _, p := range []string{"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"} {
		if dir == p || strings.HasPrefix(dir, p+"/") {
			return !strings.HasPrefix(dir, "/usr/local")
		}
	}
	return false
}

func (w *usageWalk) list(dir string) {
	entries, err := w.h.ReadDir(dir)
	if err != nil {
		w.s.complete = w.s.complete && errors.Is(err, fs.ErrNotExist) // it went meanwhile
		return
	}
	w.s.crowds = append(w.s.crowds, usageCrowd{Path: dir, Entries: len(entries), Listed: true})
	for i, e := range entries {
		if i%256 == 255 && w.ctx.Err() != nil { // a directory may take longer than all the time there is
			w.s.complete = false
			return
		}
		if e.Type&fs.ModeSymlink != 0 {
			w.s.entries++
			continue
		}
		if w.s.entries >= 2*usageEntries { // a crowded directory, of which this is enough
			w.s.complete = false
			return
		}
		name := path.Join(dir, e.Name)
		fi, err := w.h.Lstat(name)
		if err != nil {
			continue
		}
		w.s.entries++
		switch {
		case fi.Mode.IsDir() && fi.Dev == w.dev:
			w.enter(name, dir, &fi)
		case fi.Mode.IsRegular():
			bytes := int(fi.Blocks * sector)
			w.s.dirs[dir].bytes += bytes
			w.s.files = append(w.s.files, usageEntry{path: name, bytes: bytes, size: fi.Size, age: max(0, w.now.Sub(fi.ModTime))})
		}
	}
}

// total adds the bytes of each directory to those above it, the deepest first.
func (s *usageSample) total() {
	names := make([]string, 0, len(s.dirs))
	for name := range s.dirs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")) })
	for _, name := range names {
		if p := s.dirs[s.dirs[name].parent]; p != nil && name != s.mount {
			p.bytes += s.dirs[name].bytes
		}
	}
}

// keepFiles forgets all files but the largest, and the largest of those that were written in the last ten minutes.
func (s *usageSample) keepFiles() {
	const recent, keep = 10 * time.Minute, 20
	slices.SortStableFunc(s.files, func(a, b usageEntry) int { return cmp.Compare(b.bytes, a.bytes) })
	n, young := 0, 0
	s.files = slices.DeleteFunc(s.files, func(f usageEntry) bool {
		n++
		if f.age < recent {
			young++
			return young > keep
		}
		return n > usageTop
	})
}

// largest are the directories that an administrator would look into: from each under the mount down to where it spreads.
func (s *usageSample) largest() []usageDirectory {
	var list []usageDirectory
	root := s.dirs[s.mount]
	if root == nil {
		return nil
	}
	for _, child := range root.children {
		for {
			d := s.dirs[child]
			i := slices.IndexFunc(d.children, func(c string) bool { return 5*s.dirs[c].bytes >= 4*d.bytes })
			if i < 0 {
				break
			}
			child = d.children[i]
		}
		list = append(list, usageDirectory{Path: child, Bytes: s.dirs[child].bytes, Kind: kindOfPath(child + "/")})
	}
	slices.SortStableFunc(list, func(a, b usageDirectory) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return list[:min(len(list), usageTop)]
}

// pathKinds say what a well-known place holds; the first that fits counts.
var pathKinds = []struct{ prefix, kind string }{
	{"/var/log/journal/", "journal"},
	{"/run/log/journal/", "journal"},
	{"/var/lib/systemd/coredump/", "core dumps"},
	{"/var/crash/", "core dumps"},
	{"/var/lib/apport/coredump/", "core dumps"},
	{"/var/lib/docker/overlay2/", "container layers"},
	{"/var/lib/docker/containers/", "container logs"},
	{"/var/lib/docker/volumes/", "container volumes"},
	{"/var/lib/docker/", "containers"},
	{"/var/lib/containerd/", "container layers"},
	{"/var/lib/containers/", "containers"},
	{"/var/log/", "logs"},
	{"/var/cache/apt/", "package cache"},
	{"/var/cache/yum/", "package cache"},
	{"/var/cache/dnf/", "package cache"},
	{"/var/cache/zypp/", "package cache"},
	{"/var/cache/", "cache"},
	{"/var/spool/clientmqueue/", "mail"},
	{"/var/spool/postfix/", "mail"},
	{"/var/mail/", "mail"},
	{"/var/spool/mail/", "mail"},
	{"/var/lib/php/sessions/", "sessions"},
	{"/var/lib/mysql/", "database"},
	{"/var/lib/postgresql/", "database"},
	{"/var/lib/snapd/", "snaps"},
	{"/boot/", "kernels"},
	{"/tmp/", "temporary files"},
	{"/var/tmp/", "temporary files"},
}

func kindOfPath(name string) string {
	for _, k := range pathKinds {
		if strings.HasPrefix(name, k.prefix) {
			return k.kind
		}
	}
	switch base := path.Base(name); {
	case strings.HasSuffix(name, "/"):
		return ""
	case base == "core", strings.HasPrefix(base, "core.") && strings.Trim(base[5:], "0123456789") == "":
		return "core dumps"
	case strings.HasSuffix(base, ".log"), strings.Contains(base, ".log."), strings.HasSuffix(base, ".out"):
		return "logs"
	}
	return ""
}

// findWriters looks for who has the files open, among the descriptors that the probe deleted_files also looks at.
func findWriters(h host.Files, written map[string]*usageEntry) {
	pids, err := processIDs(h)
	if err != nil {
		return
	}
	room := maxDescriptors
	for _, pid := range pids {
		if room <= 0 {
			break
		}
		dir := "/proc/" + strconv.Itoa(pid)
		fds, err := h.ReadDir(dir + "/fd")
		if err != nil {
			continue
		}
		fds = fds[:min(len(fds), maxDescriptorsPerProcess, room)]
		room -= len(fds)
		for _, fd := range fds {
			target, err := h.Readlink(dir + "/fd/" + fd.Name)
			if f := written[target]; err == nil && f != nil && f.writer.pid == 0 {
				command, _ := readLine(h, dir+"/comm")
				f.writer = fileWriter{command, pid, processUnit(h, pid)}
			}
		}
	}
}

func usage(cur []usageSample, prev *[]usageSample, dt time.Duration) (usageFacts, error) {
	var facts usageFacts
	for i := range cur {
		s := &cur[i]
		var before *usageSample
		if prev != nil && dt > 0 {
			if j := slices.IndexFunc(*prev, func(p usageSample) bool { return p.mount == s.mount && p.dev == s.dev }); j >= 0 {
				before = &(*prev)[j]
			}
		}
		if s.dev == usageLogs {
			for j := range s.files {
				if file := s.files[j].facts(before, dt); before != nil {
					facts.Logs = append(facts.Logs, file)
				}
			}
			continue
		}
		f := usageFilesystem{Mount: s.mount, Complete: s.complete, Entries: s.entries, Directories: s.largest(), Crowded: s.crowds}
		if before != nil {
			growth := (float64(s.used) - float64(before.used)) / dt.Seconds()
			f.Growth = probes.Some(growth)
			if seconds := float64(s.avail) / growth; growth > 0 && seconds < (30*24*time.Hour).Seconds() {
				f.FullIn = probes.Some(time.Duration(seconds) * time.Second)
			}
		}
		for j := range s.files {
			file := s.files[j].facts(before, dt)
			if j < usageTop {
				f.Files = append(f.Files, file)
			}
			if _, ok := file.Grew.Get(); ok {
				f.Growing = append(f.Growing, file)
			}
		}
		slices.SortStableFunc(f.Growing, func(a, b usageFile) int {
			x, _ := a.Growth.Get()
			y, _ := b.Growth.Get()
			return cmp.Compare(y, x)
		})
		f.Growing = f.Growing[:min(len(f.Growing), usageTop)]
		f.Largest, f.Most = f.inWords()
		facts.Filesystems = append(facts.Filesystems, f)
	}
	return facts, nil
}

// inWords says what an administrator wants to read in one line.
func (f *usageFilesystem) inWords() (largest, crowded string) {
	var big, many []string
	for _, d := range f.Directories[:min(len(f.Directories), 3)] {
		big = append(big, d.Path+" "+sizeInWords(d.Bytes))
	}
	for _, file := range f.Files[:min(len(f.Files), 2)] {
		big = append(big, "file "+file.Path+" "+sizeInWords(file.Bytes))
	}
	for _, c := range f.Crowded {
		many = append(many, c.Path+" "+strconv.Itoa(c.Entries))
	}
	return strings.Join(big, ", "), strings.Join(many, ", ")
}

func sizeInWords(n int) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	x := float64(n) / 1024
	i := 0
	for ; x >= 1024 && i < len(units)-1; i++ {
		x /= 1024
	}
	return strconv.FormatFloat(x, 'f', 1, 64) + " " + units[i]
}

func (e *usageEntry) facts(before *usageSample, dt time.Duration) usageFile {
	f := usageFile{Path: e.path, Bytes: e.bytes, Age: e.age.Truncate(time.Second), Kind: kindOfPath(e.path)}
	if e.writer.pid != 0 {
		f.Writer, f.PID, f.Unit = probes.Some(e.writer.command), probes.Some(e.writer.pid), e.writer.unit
	}
	if before == nil {
		return f
	}
	if i := slices.IndexFunc(before.files, func(o usageEntry) bool { return o.path == e.path }); i >= 0 {
		growth := float64(e.size-before.files[i].size) / dt.Seconds()
		f.Growth = probes.Some(growth)
		if growth > 0 {
			f.Grew = probes.Some(time.Duration(float64(e.size)/growth) * time.Second)
		}
	}
	return f
}

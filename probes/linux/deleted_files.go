package linux

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// DeletedFiles finds the space that deleted files still hold.
var DeletedFiles = probes.Define(probes.Probe[host.Host]{
	Name: "deleted_files",
	Doc: `Deleted files that are still open

Reads where the descriptors of all processes point (/proc/*/fd), and asks stat(2) of those that point to a file without a name: df
counts its blocks and du does not find them, until the last process closes it. Costs about 2 µs a descriptor; it looks at 20,000 of
them, at most 2,000 a process, and says what it left out. Without root only the caller's own processes can be read. A file that is
only mapped into memory and not open is not seen, and neither are the loop devices and swap files of the kernel itself.`,
	Every: time.Minute,
}, deletedFiles)

type deletedFilesFacts struct {
	Filesystems probes.Cut[deletedOnFilesystem] `fact:"filesystems" doc:"File systems on which deleted files hold space; more counts the processes that were not looked at"`
	Largest     probes.Cut[deletedFile]         `fact:"largest" doc:"The ten largest of these files"`
}

type deletedOnFilesystem struct {
	Mount string `fact:"mount,key" doc:"Where the file system is mounted"`
	Bytes int    `fact:"bytes" unit:"bytes" doc:"Disk space that its deleted files hold"`
	Files int    `fact:"files" unit:"count" doc:"How many they are"`
	// The process to restart is what an administrator asks for next.
	Process      string `fact:"process" doc:"Name of the process that holds most of it"`
	PID          int    `fact:"pid" unit:"pid" doc:"Its process id"`
	ProcessBytes int    `fact:"process_bytes" unit:"bytes" doc:"How much that process holds"`
}

type deletedFile struct {
	Path    string `fact:"path,key" doc:"The name that it had"`
	Mount   string `fact:"mount" doc:"Where its file system is mounted"`
	Bytes   int    `fact:"bytes" unit:"bytes" doc:"Disk space that it holds"`
	Process string `fact:"process" doc:"Name of a process that has it open"`
	PID     int    `fact:"pid" unit:"pid" doc:"Its process id"`
}

const maxLargest = 10

func deletedFiles(ctx context.Context, h host.Host) (deletedFilesFacts, error) {
	mounts, err := readFilesystems(h)
	if err != nil {
		return deletedFilesFacts{}, err
	}
	all, err := allDescriptors(ctx, h)
	if err != nil {
		return deletedFilesFacts{}, err
	}
	s := deletedSearch{h: h, seen: map[[2]uint64]bool{}}
	for i := range all {
		s.process(&all[i])
	}
	return s.facts(mounts), nil
}

// deletedSearch goes through the processes.
type deletedSearch struct {
	h     host.Host
	seen  map[[2]uint64]bool // device and inode: processes share files
	files []heldFile
	more  int    // processes that were not looked at, or not in full
	why   string // the reason, if it is not their number
}

type heldFile struct {
	deletedFile
	dev uint64
}

func (s *deletedSearch) process(d *processDescriptors) {
	if d.cut || d.err != nil {
		s.more++
	}
	if d.err != nil && s.why == "" {
		s.why = d.err.Error()
	}
	for _, file := range d.deleted {
		s.file(d.pid, fmt.Sprintf("/proc/%d/fd/%s", d.pid, file.fd), file.path)
	}
}

// file looks at a deleted file. /proc/*/fd/* leads to it although it has no name.
func (s *deletedSearch) file(pid int, fd, path string) {
	fi, err := s.h.Stat(fd)
	if err != nil || !fi.Mode.IsRegular() || fi.Links > 0 { // another name of it is left
		return
	}
	id := [2]uint64{fi.Dev, fi.Inode}
	if s.seen[id] {
		return
	}
	s.seen[id] = true
	process, err := readLine(s.h, fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		process = "?"
	}
	s.files = append(s.files, heldFile{deletedFile{Path: path, Bytes: int(fi.Blocks * sector), Process: process, PID: pid}, fi.Dev})
}

// facts adds up per file system. Files of file systems that nothing is mounted of (shared memory) hold no disk space.
func (s *deletedSearch) facts(mounts []mount) deletedFilesFacts {
	var f deletedFilesFacts
	for _, m := range mounts {
		d := deletedOnFilesystem{Mount: m.point}
		byProcess := map[int]int{}
		for i := range s.files {
			file := &s.files[i]
			if fmt.Sprintf("%d:%d", unix.Major(file.dev), unix.Minor(file.dev)) != m.dev {
				continue
			}
			file.Mount = m.point
			d.Bytes += file.Bytes
			d.Files++
			byProcess[file.PID] += file.Bytes
			if n := byProcess[file.PID]; n > d.ProcessBytes || d.Process == "" {
				d.Process, d.PID, d.ProcessBytes = file.Process, file.PID, n
			}
		}
		if d.Files > 0 {
			f.Filesystems.All = append(f.Filesystems.All, d)
		}
	}
	s.files = slices.DeleteFunc(s.files, func(file heldFile) bool { return file.Mount == "" })
	slices.SortStableFunc(s.files, func(a, b heldFile) int { return cmp.Compare(b.Bytes, a.Bytes) })
	for i := range s.files {
		if i == maxLargest {
			f.Largest.More = len(s.files) - maxLargest
			break
		}
		f.Largest.All = append(f.Largest.All, s.files[i].deletedFile)
	}
	f.Filesystems.More, f.Filesystems.Why = s.more, s.why
	f.Largest.More, f.Largest.Why = f.Largest.More+s.more, s.why
	return f
}

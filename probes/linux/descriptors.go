package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// processDescriptors are what a process has open, as far as probes ask: sockets, inotify instances, pseudo-terminals, and files without a name.
type processDescriptors struct {
	pid       int
	sockets   []uint32 // inodes
	inotify   []string // numbers of the descriptors
	deleted   []deletedDescriptor
	terminals int   // pseudo-terminals that it made
	cut       bool  // it has more, which were not looked at
	err       error // it could not be read
}

type deletedDescriptor struct{ fd, path string }

// The bounds: 20,000 descriptors take about 40 ms. A process with more than 2,000 is a server with its connections.
const (
	maxDescriptors           = 20_000
	maxDescriptorsPerProcess = 2_000
)

// allDescriptors reads where the descriptors of all processes point (/proc/*/fd), once for all probes of a run: on a small host that
// took four of them a quarter of a diagnosis. Processes that ended meanwhile are left out.
func allDescriptors(ctx context.Context, h host.Host) ([]processDescriptors, error) {
	return probes.Share(ctx, "descriptors", func() ([]processDescriptors, error) {
		pids, err := processIDs(h)
		if err != nil {
			return nil, fmt.Errorf("listing processes: %w", err)
		}
		if len(pids) == 0 {
			return nil, errors.New("listing processes: /proc has none")
		}
		var all []processDescriptors
		room := maxDescriptors
		for _, pid := range pids {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if d, ended := readDescriptors(h, pid, &room); !ended {
				all = append(all, d)
			}
		}
		return all, nil
	})
}

// processIDs lists the processes, in the order of /proc.
func processIDs(h host.Files) ([]int, error) {
	entries, err := h.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(entries))
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func readDescriptors(h host.Files, pid int, room *int) (d processDescriptors, ended bool) {
	d.pid = pid
	if *room == 0 {
		d.cut = true
		return d, false
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := h.ReadDir(dir)
	if err != nil {
		d.err = err
		return d, errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	if limit := min(*room, maxDescriptorsPerProcess); len(fds) > limit {
		fds, d.cut = fds[:limit], true
	}
	*room -= len(fds)
	for _, fd := range fds {
		target, err := h.Readlink(dir + "/" + fd.Name)
		if err != nil {
			continue // closed meanwhile
		}
		d.add(fd.Name, target)
	}
	return d, false
}

// deletedMark is what the kernel appends to the name of a file that has none any more (d_path in fs/d_path.c).
const deletedMark = " (deleted)"

func (d *processDescriptors) add(fd, target string) {
	if inode, ok := socketInode(target); ok {
		d.sockets = append(d.sockets, inode)
		return
	}
	switch path, deleted := strings.CutSuffix(target, deletedMark); {
	case target == "anon_inode:inotify", target == "inotify": // the latter before Linux 2.6.36
		d.inotify = append(d.inotify, fd)
	case target == "/dev/ptmx", target == "/dev/pts/ptmx":
		d.terminals++
	case deleted && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/memfd:"):
		d.deleted = append(d.deleted, deletedDescriptor{fd, path})
	}
}

// socketInode reads "socket:[4711]".
func socketInode(target string) (uint32, bool) {
	number, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
	return uint32(n), err == nil
}

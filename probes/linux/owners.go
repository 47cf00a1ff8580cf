package linux

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// owner is a process that has a socket open.
type owner struct {
	pid           int
	command, unit string
}

func (o owner) String() string {
	if o.unit == "" {
		return fmt.Sprintf("%s (pid %d)", o.command, o.pid)
	}
	return fmt.Sprintf("%s (pid %d, %s)", o.command, o.pid, o.unit)
}

// The bounds of looking for owners. Listeners are opened early, so they are among a process's first descriptors; to list those of a
// server with 50,000 connections costs 15 ms.
const (
	firstDescriptors  = 48
	maxOwnerProcesses = 300
)

// listenerOwners finds whose the listening TCP sockets are, by inode, once for all probes of a run.
func listenerOwners(ctx context.Context, h host.Host) (map[uint32]owner, error) {
	return probes.Share(ctx, "owners of listeners", func() (map[uint32]owner, error) {
		inodes := map[uint32]bool{}
		err := h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
			inodes[s.Inode] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
		return findOwners(ctx, h, inodes)
	})
}

// findOwners finds whose sockets these are, by inode. Processes of services come first; only if one was not found there, all others do.
func findOwners(ctx context.Context, h host.Host, inodes map[uint32]bool) (map[uint32]owner, error) {
	s := ownerSearch{h: h, left: maps.Clone(inodes), found: map[uint32]owner{}}
	served := serviceProcesses(h)
	for _, pid := range served {
		if len(s.left) == 0 {
			break
		}
		s.first(pid)
	}
	if len(s.left) == 0 {
		return s.found, nil
	}
	all, err := allDescriptors(ctx, h)
	if err != nil {
		return nil, err
	}
	for i := range all {
		for _, inode := range all[i].sockets {
			s.belongs(inode, all[i].pid)
		}
	}
	return s.found, nil
}

type ownerSearch struct {
	h     host.Host
	left  map[uint32]bool
	found map[uint32]owner
}

// first looks at a process's first descriptors without listing them.
func (s *ownerSearch) first(pid int) {
	missing := 0
	for fd := 0; fd < firstDescriptors && missing < 8; fd++ {
		if s.look(pid, strconv.Itoa(fd)) {
			missing = 0
		} else {
			missing++
		}
	}
}

func (s *ownerSearch) look(pid int, fd string) bool {
	target, err := s.h.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd))
	if err != nil {
		return false
	}
	if inode, ok := socketInode(target); ok {
		s.belongs(inode, pid)
	}
	return true
}

// belongs notes whose a socket is, if it is one that is looked for.
func (s *ownerSearch) belongs(inode uint32, pid int) {
	if s.left[inode] {
		delete(s.left, inode)
		s.found[inode] = s.owner(pid)
	}
}

func (s *ownerSearch) owner(pid int) owner {
	o := owner{pid: pid, command: "?"}
	if command, err := readLine(s.h, fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		o.command = command
	}
	o.unit, _ = processUnit(s.h, pid).Get()
	return o
}

// serviceProcesses lists the processes of the system's services; of each service the first few, for the rest were forked by them.
func serviceProcesses(h host.Files) []int {
	var pids []int
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		for _, group := range serviceGroups(h, root, "/system.slice") {
			for line := range strings.Lines(group) {
				if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
					pids = append(pids, pid)
				}
			}
		}
		if len(pids) > 0 {
			break
		}
	}
	slices.Sort(pids)
	return pids[:min(len(pids), maxOwnerProcesses)]
}

// serviceGroups are the contents of cgroup.procs of the services in a slice and in the slices of templates in it (system-getty.slice).
func serviceGroups(h host.Files, root, slice string) []string {
	entries, err := h.ReadDir(root + slice)
	if err != nil {
		return nil
	}
	var groups []string
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name, ".service"):
			if b, err := h.ReadFile(root + slice + "/" + e.Name + "/cgroup.procs"); err == nil {
				groups = append(groups, string(b))
			}
		case strings.HasSuffix(e.Name, ".slice") && slice == "/system.slice":
			groups = append(groups, serviceGroups(h, root, slice+"/"+e.Name)...)
		}
	}
	return groups
}

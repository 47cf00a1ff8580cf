package linux

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// lostSocket is a Unix socket on which a service listens, and which nobody finds any more: the file was deleted, or its directory moved.
type lostSocket struct {
	Path    string `fact:"path,key" doc:"Where it was bound"`
	Process string `fact:"process" doc:"Name of the process that listens"`
	PID     int    `fact:"pid" unit:"pid" doc:"Its process id"`
	Unit    string `fact:"unit" doc:"Its systemd service"`
}

// The bounds: hosts with many containers in one network namespace have thousands of sockets.
const (
	maxUnixSockets = 5000
	maxLostSockets = 20
)

// lostSockets reads /proc/net/unix (proc_pid_net(5)). Only what services listen on counts: ssh's shared connections and the like come and go.
func lostSockets(ctx context.Context, h host.Host) []lostSocket {
	lost := []lostSocket{}
	b, err := h.ReadFile("/proc/net/unix")
	if err != nil {
		return lost
	}
	paths, inodes, seen := map[uint32]string{}, map[uint32]bool{}, 0
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) != 8 || words[3] != "00010000" || !strings.HasPrefix(words[7], "/") || strings.HasPrefix(words[7], "/proc/") {
			continue
		}
		if seen++; seen > maxUnixSockets || len(paths) == maxLostSockets {
			break
		}
		inode, err := strconv.ParseUint(words[6], 10, 32)
		if err == nil && gone(h, words[7]) && !renamed(h, words[7]) {
			paths[uint32(inode)], inodes[uint32(inode)] = words[7], true
		}
	}
	if len(paths) == 0 {
		return lost
	}
	owners, err := findOwners(ctx, h, inodes)
	if err != nil {
		return lost
	}
	for inode, name := range paths {
		o, ok := owners[inode]
		if ok && o.pid > 1 && strings.HasSuffix(o.unit, ".service") && gone(h, fmt.Sprintf("/proc/%d/root%s", o.pid, name)) { // it may have a /tmp or a root of its own
			lost = append(lost, lostSocket{name, o.command, o.pid, o.unit})
		}
	}
	slices.SortFunc(lost, func(a, b lostSocket) int { return strings.Compare(a.Path, b.Path) })
	return lost
}

// renamed reports whether a server bound it under another name first, as HAProxy does: NAME.PID.tmp.
func renamed(h host.Files, name string) bool {
	for strings.Contains(path.Base(name), ".") {
		name = strings.TrimSuffix(name, path.Ext(name))
		if !strings.HasSuffix(name, "/") && !gone(h, name) {
			return true
		}
	}
	return false
}

package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Netlink reads which programs missed messages of the kernel.
var Netlink = probes.Define(probes.Probe[host.Host]{
	Name: "netlink",
	Doc: `Messages of the kernel that programs missed

Reads the column Drops of /proc/net/netlink: messages (a route, an address, a device that came or went) that did not fit a program's receive buffer since its socket was made.
Costs 0.1 ms. Whose a socket is, is known where its port is a process id, which the first socket of a process has.`,
	Every: time.Minute,
}, netlinkDrops)

type netlinkFacts struct {
	Sockets int           `fact:"sockets" unit:"sockets" doc:"Netlink sockets of programs and of the kernel"`
	Losers  []netlinkDrop `fact:"losers" doc:"Those that have lost messages; at most 20"`
}

type netlinkDrop struct {
	Socket  string             `fact:"socket,key" doc:"Protocol and port: route 612"`
	Family  string             `fact:"protocol" doc:"route, netfilter, uevent, audit, generic, …, or its number"`
	Command probes.Opt[string] `fact:"command" doc:"Whose it is; absent where that is not known"`
	Drops   int                `fact:"drops" unit:"count" doc:"Messages lost since the socket was made"`
}

// netlinkNames are of include/uapi/linux/netlink.h.
var netlinkNames = map[string]string{"0": "route", "4": "sock_diag", "6": "xfrm", "7": "selinux", "9": "audit", "12": "netfilter", "15": "uevent", "16": "generic", "18": "scsi"}

const maxNetlinkDrops = 20

func netlinkDrops(_ context.Context, h host.Host) (netlinkFacts, error) {
	f := netlinkFacts{Losers: []netlinkDrop{}}
	text, err := readText(h, "/proc/net/netlink")
	if errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("the kernel does not list netlink sockets")
	}
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "sk" {
			continue
		}
		if len(words) < 9 { // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode; Drops came with Linux 2.6.30
			return f, fmt.Errorf("/proc/net/netlink: %.80q has no column for drops", line)
		}
		f.Sockets++
		drops, err := strconv.Atoi(words[8])
		if err != nil {
			return f, fmt.Errorf("/proc/net/netlink: drops: %w", err)
		}
		if drops == 0 || len(f.Losers) >= maxNetlinkDrops {
			continue
		}
		d := netlinkDrop{Family: words[1], Drops: drops}
		if name := netlinkNames[words[1]]; name != "" {
			d.Family = name
		}
		d.Socket = d.Family + " " + words[2]
		if comm, err := readLine(h, "/proc/"+words[2]+"/comm"); err == nil && words[2] != "0" {
			d.Command = probes.Some(comm)
		}
		f.Losers = append(f.Losers, d)
	}
	return f, nil
}

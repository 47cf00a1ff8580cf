package linux

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

const (
	maxThreads   = 1000 // of a MySQL that are looked at
	waitingLeast = 3    // connections; a replica or two wait for news at all times
	waitingTicks = 5    // of CPU between the looks, 1/100 s: more is work
)

// lookAtThreads tells how many connections of a MySQL or MariaDB neither idle nor get on. It has a thread for each; one that waits for its client's
// next command sleeps in poll(2), one that waits for a lock in futex(2). Nobody asks the server, which would need an account. Where fewer threads
// than connections are there (a pool of threads), nothing can be told.
func (d *daemonFacts) lookAtThreads(ctx context.Context, h host.Host) {
	port, err := strconv.Atoi(d.Where[strings.LastIndexByte(d.Where, ':')+1:])
	if err != nil {
		return
	}
	first, ticks := d.unserved(ctx, h, port)
	if first < waitingLeast || h.Sleep(ctx, sessionsApart) != nil {
		return
	}
	second, later := d.unserved(ctx, h, port)
	if second >= waitingLeast && later-ticks < waitingTicks {
		d.Waiting = min(first, second)
	}
}

// unserved counts the connections beyond those that idle, and what the server has used of the CPU.
func (d *daemonFacts) unserved(ctx context.Context, h host.Host, port int) (n int, ticks uint64) {
	connections := unixConnections(h, "mysql")
	err := h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPEstablished}, func(s *host.Socket) error {
		if int(s.Local.Port()) == port {
			connections++
		}
		return nil
	})
	line, unread := readLine(h, fmt.Sprintf("/proc/%d/stat", d.PID))
	p, odd := parseProcess(line)
	if err != nil || unread != nil || odd != nil || connections < waitingLeast || p.threads < connections || p.threads > maxThreads {
		return 0, 0
	}
	tasks, err := h.ReadDir(fmt.Sprintf("/proc/%d/task", d.PID))
	if err != nil {
		return 0, 0
	}
	idle := 0
	for _, task := range tasks {
		name, err := readLine(h, fmt.Sprintf("/proc/%d/task/%s/wchan", d.PID, task.Name))
		if err != nil || task.Name == strconv.Itoa(d.PID) { // the first thread takes new connections
			continue
		}
		if strings.Contains(name, "poll") || strings.Contains(name, "recv") || strings.Contains(name, "wait_woken") || strings.Contains(name, "sk_wait") {
			idle++
		}
	}
	return connections - idle, p.ticks
}

// unixConnections counts the connections to a Unix socket whose path has that in it: "0000…: 00000003 00000000 00000000 0001 03 4711 /run/mysqld/mysqld.sock".
func unixConnections(h host.Files, name string) (n int) {
	b, err := h.ReadFile("/proc/net/unix")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 8 && f[5] == "03" && strings.Contains(f[7], name) {
			n++
		}
	}
	return n
}

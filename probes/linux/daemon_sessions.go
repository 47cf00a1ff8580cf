package linux

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
)

const (
	maxSessions    = 500 // looked at
	maxIdle        = 5   // told
	sessionsApart  = time.Second
	deadlockWakeup = 2 // a session that waits wakes once after deadlock_timeout, a second, to look for a deadlock
)

// postgresTitle is the title of a session's process: "postgres: 15/main: user database 10.0.0.1(5432) UPDATE waiting"
// (src/backend/utils/misc/ps_status.c).
var postgresTitle = regexp.MustCompile(`^postgres: (?:\S+: )?(\S+) (\S+) (\[local\]|\S+\(\d+\)) (.+)$`)

type session struct {
	who      string
	waiting  bool
	switches string // how often the process gave up the processor: one that does nothing does not change it
}

// lookAtSessions tells which sessions of a PostgreSQL wait for a lock, and which are idle in a transaction meanwhile. Nobody asks the
// server, which would need an account: its processes' titles say it.
func (d *daemonFacts) lookAtSessions(ctx context.Context, h host.Host) {
	pids := sessionProcesses(h, d.PID)
	first := readSessions(h, pids)
	if !hasWaiting(first) || h.Sleep(ctx, sessionsApart) != nil {
		return
	}
	second := readSessions(h, pids)
	for _, pid := range pids {
		a, b := first[pid], second[pid]
		switch {
		case a == nil || b == nil || a.who != b.who || a.waiting != b.waiting:
		case a.waiting && switchesBetween(a, b) <= deadlockWakeup:
			d.Waiting++
		case !a.waiting && a.switches == b.switches && len(d.IdleInTx) < maxIdle:
			d.IdleInTx = append(d.IdleInTx, fmt.Sprintf("pid %d: %s", pid, b.who))
		}
	}
}

func hasWaiting(sessions map[int]*session) bool {
	for _, s := range sessions {
		if s.waiting {
			return true
		}
	}
	return false
}

func switchesBetween(a, b *session) int {
	before, err := strconv.Atoi(a.switches)
	after, other := strconv.Atoi(b.switches)
	if err != nil || other != nil {
		return deadlockWakeup + 1
	}
	return after - before
}

// sessionProcesses are the processes of a server's control group.
func sessionProcesses(h host.Files, pid int) []int {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && (parts[1] == "" || parts[1] == "name=systemd") {
			if pids := groupProcesses(h, parts[2]); len(pids) > 0 {
				slices.Sort(pids)
				return pids[:min(len(pids), maxSessions)]
			}
		}
	}
	return nil
}

func readSessions(h host.Files, pids []int) map[int]*session {
	found := map[int]*session{}
	for _, pid := range pids {
		b, err := h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		m := postgresTitle.FindStringSubmatch(strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")))
		if m == nil {
			continue
		}
		s := &session{waiting: strings.HasSuffix(m[4], " waiting")}
		if !s.waiting && !strings.HasPrefix(m[4], "idle in transaction") {
			continue
		}
		s.who = fmt.Sprintf("user %s, database %s, client %s, %s", m[1], m[2], m[3], m[4])
		s.switches = voluntarySwitches(h, pid)
		found[pid] = s
	}
	return found
}

func voluntarySwitches(h host.Files, pid int) string {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// judgeHAProxy reads the table of "show stat" (https://docs.haproxy.org/2.8/management.html#9.1): fields by name in the first line, then a
// line for each frontend, backend and server.
func judgeHAProxy(d *daemonFacts, text string) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "# pxname,") {
		d.Answer = "other"
		return
	}
	d.Answer = "ok"
	place := map[string]int{}
	for i, name := range strings.Split(strings.TrimPrefix(lines[0], "# "), ",") {
		place[name] = i
	}
	servers := map[string][]string{}
	alive := map[string]bool{}
	var backends []string
	for _, line := range lines[1:] {
		fields := strings.Split(line, ",")
		get := func(name string) string {
			if i, ok := place[name]; ok && i < len(fields) {
				return fields[i]
			}
			return ""
		}
		proxy, name, status := get("pxname"), get("svname"), get("status")
		switch {
		case name == "FRONTEND":
			if now, most := get("scur"), get("slim"); now == most && now != "0" && now != "" {
				d.Full = append(d.Full, fmt.Sprintf("frontend %s has %s of %s sessions", proxy, now, most))
			}
		case name == "BACKEND":
			backends = append(backends, proxy)
			alive[proxy] = !strings.HasPrefix(status, "DOWN")
		case strings.HasPrefix(status, "DOWN"), strings.HasPrefix(status, "MAINT"), strings.HasPrefix(status, "NOLB"):
			servers[proxy] = append(servers[proxy], strings.TrimSpace(fmt.Sprintf("%s %s %s %s", name, status, get("check_status"), get("last_chk"))))
		default:
			if n := get("qcur"); n != "" && n != "0" {
				d.Full = append(d.Full, fmt.Sprintf("server %s/%s has %s requests in its queue and %s of %s sessions", proxy, name, n, get("scur"), get("slim")))
			}
		}
	}
	for _, b := range backends {
		said := redactLine(b + ": " + strings.Join(servers[b], "; "))
		switch {
		case !alive[b]:
			d.Down = append(d.Down, said)
		case len(servers[b]) > 0:
			d.Partly = append(d.Partly, said)
		}
	}
}

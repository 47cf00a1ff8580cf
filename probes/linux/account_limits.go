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

type reachedLimit struct {
	Account string   `fact:"account,key" doc:"Name of the account"`
	Item    string   `fact:"item" doc:"nproc or maxlogins"`
	Limit   int      `fact:"limit" unit:"count" doc:"The limit"`
	Count   int      `fact:"count" unit:"count" doc:"What it has: processes and threads, or 0 if it was only logged"`
	Where   string   `fact:"where" doc:"File and line of the limit"`
	By      []string `fact:"by" doc:"The commands that it has most of, with their number"`
	Unit    string   `fact:"unit" doc:"The systemd unit that most of them run in; empty if it is not known"`
}

// limitUnits are those of limits.conf(5), for the items that need one.
var limitUnits = map[string]string{"as": "KiB", "data": "KiB", "stack": "KiB", "fsize": "KiB", "cpu": "min"}

// lockLimits are those below which no login succeeds.
var lockLimits = map[string]int{"maxlogins": 1, "maxsyslogins": 1, "nproc": 2, "nofile": 10, "as": 10 << 10, "cpu": 1}

// nearNproc is how much of nproc counts as all of it: a login needs a few more.
const nearNproc = 0.95

// reachedLimits counts an account's tasks where the machine has as many as its limit of them, and reads whom pam_limits turned away.
func (f *pamFacts) reachedLimits(ctx context.Context, h host.Host, counted []tightLimit) {
	if len(counted) == 0 {
		return
	}
	users, _, err := readColons(h, "/etc/passwd", 7)
	groups, _, err2 := readColons(h, "/etc/group", 4)
	tasks, err3 := tasksAtMost(h)
	if err != nil || err2 != nil || err3 != nil {
		return
	}
	var table map[int]*userTasks
	for _, u := range users {
		uid, err := strconv.Atoi(u[pwUID])
		if err != nil || uid == 0 || uid > 60000 {
			continue
		}
		if l, ok := limitFor(counted, "maxlogins", u, groups); ok && tooManyLogins(ctx, h, u[pwName]) {
			f.Reached = append(f.Reached, reachedLimit{Account: u[pwName], Item: l.Item, Limit: l.Value, Where: l.Where, By: []string{}})
		}
		l, ok := limitFor(counted, "nproc", u, groups)
		if !ok || float64(tasks) < nearNproc*float64(l.Value) {
			continue
		}
		if table == nil {
			table = tasksByUser(ctx, h)
		}
		if t := table[uid]; t != nil && float64(t.tasks) >= nearNproc*float64(l.Value) {
			by, unit := t.most(h)
			f.Reached = append(f.Reached, reachedLimit{u[pwName], l.Item, l.Value, t.tasks, l.Where, by, unit})
		}
	}
}

// tasksAtMost is the number of all threads, or of the processes where that is made up for a container by lxcfs.
func tasksAtMost(h host.Files) (int, error) {
	line, err := readLine(h, "/proc/loadavg")
	if err != nil {
		return 0, err
	}
	load, err := parseLoadavg(line)
	if err != nil {
		return 0, err
	}
	entries, err := h.ReadDir("/proc")
	return max(load.Tasks, len(entries)), err
}

// limitFor finds the limit of an account as pam_limits(8) does: a line for the user beats one for a group, and that one for all; of equals the last counts.
func limitFor(limits []tightLimit, item string, user []string, groups [][]string) (tightLimit, bool) {
	var found tightLimit
	best := 0
	in := groupsOf(user, groups)
	for _, l := range limits {
		rank := 0
		switch name, isGroup := strings.CutPrefix(l.Domain, "@"); {
		case l.Domain == user[pwName]:
			rank = 3
		case isGroup && slices.Contains(in, name):
			rank = 2
		case l.Domain == "*":
			rank = 1
		}
		if l.Item == item && rank > 0 && rank >= best {
			found, best = l, rank
		}
	}
	return found, best > 0
}

var tooMany = regexp.MustCompile(`pam_limits\(\S+\): Too many logins \(max \d+\) for (\S+)`)

func tooManyLogins(ctx context.Context, h host.Host, user string) bool {
	lines, _ := sshLog(ctx, h)
	return slices.ContainsFunc(lines, func(line string) bool {
		m := tooMany.FindStringSubmatch(line)
		at, ok := lineTime(line, h.Now())
		return m != nil && m[1] == user && ok && h.Now().Sub(at) < time.Hour
	})
}

// userTasks is what one user runs.
type userTasks struct {
	tasks    int
	commands map[string]int
	example  map[string]int // a pid of each command
}

func tasksByUser(ctx context.Context, h host.Host) map[int]*userTasks {
	pids, err := processIDs(h)
	if err != nil {
		return nil
	}
	table := map[int]*userTasks{}
	for _, pid := range pids {
		if ctx.Err() != nil {
			break
		}
		dir := "/proc/" + strconv.Itoa(pid)
		fi, err := h.Stat(dir)
		if err != nil || fi.UID == 0 {
			continue
		}
		line, err := readLine(h, dir+"/stat")
		if err != nil {
			continue
		}
		p, err := parseProcess(line)
		if err != nil {
			continue
		}
		t := table[fi.UID]
		if t == nil {
			t = &userTasks{commands: map[string]int{}, example: map[string]int{}}
			table[fi.UID] = t
		}
		t.tasks += max(1, p.threads)
		t.commands[p.command] += max(1, p.threads)
		t.example[p.command] = pid
	}
	return table
}

// most names the three commands with most tasks, and the unit of the first.
func (t *userTasks) most(h host.Files) (by []string, unit string) {
	names := make([]string, 0, len(t.commands))
	for name := range t.commands {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := t.commands[b] - t.commands[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names[:min(3, len(names))] {
		by = append(by, fmt.Sprintf("%d × %s", t.commands[name], name))
	}
	unit, _ = processUnit(h, t.example[names[0]]).Get()
	return by, unit
}

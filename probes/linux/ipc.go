package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// IPC reads how much of the limits on System V IPC and on kernel keys is used.
var IPC = probes.Define(probes.Probe[host.Host]{
	Name: "ipc",
	Doc: `Semaphores, shared memory, message queues and keys

Reads /proc/sysvipc, the limits of kernel.sem, shmmni, shmall and msgmni, and /proc/key-users. Costs 0.1 ms, and 1 ms for 10,000
semaphore sets. A program that reaches one of these limits says "No space left on device" or "Disk quota exceeded", and df shows nothing. System V
objects outlive the programs that made them. Both are of this IPC or user namespace: containers have their own, or share the host's.`,
	Every: time.Minute,
}, ipc)

type ipcFacts struct {
	Sets       ipcLimit               `fact:"semaphore_sets" doc:"Sets of semaphores; their limit is the fourth number of kernel.sem"`
	Semaphores ipcLimit               `fact:"semaphores" doc:"Semaphores in all sets; their limit is the second number of kernel.sem"`
	Segments   ipcLimit               `fact:"shm_segments" doc:"Shared memory segments; their limit is kernel.shmmni"`
	Attached   int                    `fact:"shm_unattached" unit:"count" doc:"Segments that no process is attached to"`
	Orphaned   int                    `fact:"shm_unattached_bytes" unit:"bytes" doc:"Memory that they hold"`
	Queues     ipcLimit               `fact:"message_queues" doc:"Message queues; their limit is kernel.msgmni"`
	Keys       probes.Cut[keyringUse] `fact:"keys" doc:"Users of kernel keys, the fullest first, at most 20; empty in a kernel without keys"`
}

type ipcLimit struct {
	Used  int     `fact:"used" unit:"count" doc:"How many there are"`
	Max   int     `fact:"max" unit:"count" doc:"How many there may be"`
	Pct   float64 `fact:"pct" unit:"%" doc:"used, as part of max"`
	Owner string  `fact:"owner" doc:"User with most of them, by name where /etc/passwd has it, else by id; empty if there are none"`
	Owned int     `fact:"owned" unit:"count" doc:"How many are that user's"`
}

type keyringUse struct {
	User     string  `fact:"user,key" doc:"Name of the user, or its id where /etc/passwd does not have it"`
	UID      int     `fact:"uid" unit:"uid" doc:"User id"`
	Keys     int     `fact:"keys" unit:"count" doc:"Keys that count for the quota"`
	KeysMax  int     `fact:"keys_max" unit:"count" doc:"How many there may be: kernel.keys.maxkeys, for root root_maxkeys"`
	Bytes    int     `fact:"bytes" unit:"bytes" doc:"Bytes in them"`
	BytesMax int     `fact:"bytes_max" unit:"bytes" doc:"How many there may be: kernel.keys.maxbytes, for root root_maxbytes"`
	Pct      float64 `fact:"pct" unit:"%" doc:"The fuller of the two, in percent"`
}

func ipc(_ context.Context, h host.Host) (ipcFacts, error) {
	var f ipcFacts
	names := userNames(h)
	limits, err := readNumbers(h, "/proc/sys/kernel/sem", 4)
	if errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("the kernel has no System V IPC")
	}
	if err != nil {
		return f, err
	}
	sets, err := readSysvipc(h, "sem")
	if err != nil {
		return f, err
	}
	f.Sets = sets.limit(limits[3], names)
	f.Semaphores = ipcLimit{Used: sets.sum("nsems"), Max: limits[1], Owner: f.Sets.Owner, Owned: f.Sets.Owned}
	f.Semaphores.Pct = percent(float64(f.Semaphores.Used), float64(f.Semaphores.Max))
	segments, err := readSysvipc(h, "shm")
	if err != nil {
		return f, err
	}
	n, err := readInt(h, "/proc/sys/kernel/shmmni")
	if err != nil {
		return f, err
	}
	f.Segments, f.Attached, f.Orphaned = segments.limit(n, names), segments.count("nattch", 0), segments.orphaned()
	queues, err := readSysvipc(h, "msg")
	if err != nil {
		return f, err
	}
	if n, err = readInt(h, "/proc/sys/kernel/msgmni"); err != nil {
		return f, err
	}
	f.Queues = queues.limit(n, names)
	if f.Keys.All, err = readKeyUsers(h, names); err != nil {
		f.Keys.Why = err.Error()
	}
	if len(f.Keys.All) > 20 {
		f.Keys.More, f.Keys.All = len(f.Keys.All)-20, f.Keys.All[:20]
	}
	return f, nil
}

// readNumbers reads a line of at least n numbers.
func readNumbers(h host.Files, name string, n int) ([]int, error) {
	line, err := readLine(h, name)
	if err != nil {
		return nil, err
	}
	var list []int
	for field := range strings.FieldsSeq(line) {
		v, err := parseCount(field)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		list = append(list, v)
	}
	if len(list) < n {
		return nil, fmt.Errorf("reading %s: %d numbers, not %d", name, len(list), n)
	}
	return list, nil
}

// userNames maps ids to names as far as /etc/passwd knows them.
func userNames(h host.Files) map[string]string {
	names := map[string]string{}
	users, _, _ := readColons(h, "/etc/passwd", 7)
	for _, u := range users {
		if names[u[pwUID]] == "" {
			names[u[pwUID]] = u[pwName]
		}
	}
	return names
}

// sysvipc is a table of /proc/sysvipc: a line of column names, then one an object.
type sysvipc struct {
	columns []string
	rows    [][]string
}

func readSysvipc(h host.Files, kind string) (sysvipc, error) {
	name := "/proc/sysvipc/" + kind
	text, err := readText(h, name)
	if err != nil {
		return sysvipc{}, err
	}
	var t sysvipc
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if t.columns == nil {
			t.columns = f
			continue
		}
		if len(f) != len(t.columns) {
			return t, fmt.Errorf("reading %s: %d columns, not %d", name, len(f), len(t.columns))
		}
		t.rows = append(t.rows, f)
	}
	if !slices.Contains(t.columns, "uid") {
		return t, fmt.Errorf("reading %s: it has no column uid", name)
	}
	return t, nil
}

func (t *sysvipc) sum(column string) int {
	total := 0
	if i := slices.Index(t.columns, column); i >= 0 {
		for _, row := range t.rows {
			n, _ := strconv.Atoi(row[i])
			total += n
		}
	}
	return total
}

func (t *sysvipc) count(column string, value int) int {
	n, i := 0, slices.Index(t.columns, column)
	for _, row := range t.rows {
		if i >= 0 && row[i] == strconv.Itoa(value) {
			n++
		}
	}
	return n
}

// orphaned is the resident size of segments without a process. Linux tells it since 2.6.34.
func (t *sysvipc) orphaned() int {
	attached, size := slices.Index(t.columns, "nattch"), slices.Index(t.columns, "rss")
	total := 0
	for _, row := range t.rows {
		if attached >= 0 && size >= 0 && row[attached] == "0" {
			n, _ := strconv.Atoi(row[size])
			total += n
		}
	}
	return total
}

func (t *sysvipc) limit(most int, names map[string]string) ipcLimit {
	l := ipcLimit{Used: len(t.rows), Max: most, Pct: percent(float64(len(t.rows)), float64(most))}
	by, i := map[string]int{}, slices.Index(t.columns, "uid")
	for _, row := range t.rows {
		by[row[i]]++
		if n := by[row[i]]; n > l.Owned {
			l.Owned, l.Owner = n, cmp.Or(names[row[i]], row[i])
		}
	}
	return l
}

// readKeyUsers parses " 1000:     3 3/3 2/200 25/20000": uid, references, keys and instantiated ones, and the quotas of keys and bytes
// (proc_key_users_show in security/keys/proc.c).
func readKeyUsers(h host.Files, names map[string]string) ([]keyringUse, error) {
	text, err := h.ReadFile("/proc/key-users")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []keyringUse
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("reading /proc/key-users: %.80q is cut short", line)
		}
		uid := strings.TrimSuffix(f[0], ":")
		k := keyringUse{User: cmp.Or(names[uid], uid)}
		_, err1 := fmt.Sscanf(f[3], "%d/%d", &k.Keys, &k.KeysMax)
		_, err2 := fmt.Sscanf(f[4], "%d/%d", &k.Bytes, &k.BytesMax)
		var err3 error
		k.UID, err3 = strconv.Atoi(uid)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("reading /proc/key-users: %.80q: %w", line, err)
		}
		k.Pct = max(percent(float64(k.Keys), float64(k.KeysMax)), percent(float64(k.Bytes), float64(k.BytesMax)))
		list = append(list, k)
	}
	slices.SortStableFunc(list, func(a, b keyringUse) int { return cmp.Compare(b.Pct, a.Pct) })
	return list, nil
}

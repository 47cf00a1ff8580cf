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

// Limits reads how much of the machine-wide limits is used.
var Limits = probes.Define(probes.Probe[host.Host]{
	Name: "limits",
	Doc: `Limits on files, tasks and logins

Reads /proc/sys/fs, /proc/sys/kernel, /proc/loadavg and the nofile lines of /etc/security/limits.conf and limits.d. Costs 0.2 ms. The
limits of a single process, user or control group are not seen here: "too many open files" mostly comes from those.`,
	Every: time.Minute,
}, limits)

type limitsFacts struct {
	FilesOpen int     `fact:"files_open" unit:"count" doc:"Open file handles of all processes; first number of /proc/sys/fs/file-nr"`
	FilesMax  int     `fact:"files_max" unit:"count" doc:"How many there may be; fs.file-max"`
	FilesPct  float64 `fact:"files_pct" unit:"%" doc:"files_open, as part of files_max"`
	NrOpen    int     `fact:"nr_open" unit:"count" doc:"The most files that one process may be allowed; fs.nr_open"`

	Tasks      int     `fact:"tasks" unit:"tasks" doc:"Threads that exist; /proc/loadavg"`
	PIDMax     int     `fact:"pid_max" unit:"count" doc:"How many ids there are for them; kernel.pid_max"`
	ThreadsMax int     `fact:"threads_max" unit:"tasks" doc:"How many threads memory allows; kernel.threads-max"`
	TasksMax   int     `fact:"tasks_max" unit:"tasks" doc:"The smaller of pid_max and threads_max"`
	TasksPct   float64 `fact:"tasks_pct" unit:"%" doc:"tasks, as part of tasks_max"`

	InotifyWatches   probes.Opt[int] `fact:"inotify_watches_max" unit:"count" doc:"Watches that a user may have; fs.inotify.max_user_watches"`
	InotifyInstances probes.Opt[int] `fact:"inotify_instances_max" unit:"count" doc:"Inotify instances that a user may have; fs.inotify.max_user_instances"`
	AIO              probes.Opt[int] `fact:"aio_requests" unit:"count" doc:"Asynchronous I/O requests that are allowed for; fs.aio-nr"`
	AIOMax           probes.Opt[int] `fact:"aio_requests_max" unit:"count" doc:"How many there may be; fs.aio-max-nr"`

	Nofile probes.Cut[nofileLimit] `fact:"nofile" doc:"The nofile lines of limits.conf(5), in the order in which pam_limits reads them"`
}

type nofileLimit struct {
	Where     string `fact:"where,key" doc:"File and line, as in /etc/security/limits.conf:12"`
	File      string `fact:"file" doc:"The file"`
	Domain    string `fact:"domain" doc:"Whom it is for: a user, @group, or * for everybody but root"`
	Hard      bool   `fact:"hard" doc:"It sets the hard limit: type hard or -"`
	Value     int    `fact:"value" unit:"count" doc:"The limit; -1 where it is unlimited"`
	Unlimited bool   `fact:"unlimited" doc:"Written as unlimited, infinity or -1, which pam_limits takes for fs.nr_open since Linux-PAM 1.5.2"`
}

func limits(_ context.Context, h host.Host) (limitsFacts, error) {
	var f limitsFacts
	line, err := readLine(h, "/proc/sys/fs/file-nr")
	if err != nil {
		return f, err
	}
	if f.FilesOpen, f.FilesMax, err = parseFileNr(line); err != nil {
		return f, fmt.Errorf("reading /proc/sys/fs/file-nr: %w", err)
	}
	if line, err = readLine(h, "/proc/loadavg"); err != nil {
		return f, err
	}
	load, err := parseLoadavg(line)
	if err != nil {
		return f, fmt.Errorf("reading /proc/loadavg: %w", err)
	}
	for _, l := range []struct {
		name string
		into *int
	}{{"fs/nr_open", &f.NrOpen}, {"kernel/pid_max", &f.PIDMax}, {"kernel/threads-max", &f.ThreadsMax}} {
		if *l.into, err = readInt(h, "/proc/sys/"+l.name); err != nil {
			return f, err
		}
	}
	f.FilesPct = percent(float64(f.FilesOpen), float64(f.FilesMax))
	f.Tasks, f.TasksMax = load.Tasks, min(f.PIDMax, f.ThreadsMax)
	f.TasksPct = percent(float64(f.Tasks), float64(f.TasksMax))
	f.InotifyWatches = optionalInt(h, "/proc/sys/fs/inotify/max_user_watches")
	f.InotifyInstances = optionalInt(h, "/proc/sys/fs/inotify/max_user_instances")
	f.AIO, f.AIOMax = optionalInt(h, "/proc/sys/fs/aio-nr"), optionalInt(h, "/proc/sys/fs/aio-max-nr")
	if f.Nofile.All, err = nofileLimits(h); err != nil {
		f.Nofile.Why = err.Error()
	}
	return f, nil
}

// parseFileNr parses "593	0	2466177": allocated, allocated but unused (0 since Linux 2.6), maximum.
func parseFileNr(line string) (open, limit int, err error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return 0, 0, fmt.Errorf("%.80q has %d numbers, not 3", line, len(fields))
	}
	allocated, err1 := parseCount(fields[0])
	unused, err2 := parseCount(fields[1])
	limit, err3 := parseCount(fields[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, 0, err
	}
	return max(0, allocated-unused), limit, nil
}

// nofileLimits reads the nofile lines of limits.conf and then of limits.d/*.conf by name, as pam_limits(8) does: of two
// lines for the same domain the later one wins.
func nofileLimits(h host.Files) ([]nofileLimit, error) {
	files, err := limitFiles(h)
	if err != nil {
		return nil, err
	}
	var found []nofileLimit
	for _, file := range files {
		b, err := h.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			if l, ok := parseNofile(line); ok {
				l.File, l.Where = file, file+":"+strconv.Itoa(n)
				found = append(found, l)
			}
		}
	}
	return found, nil
}

// limitFiles are the files that pam_limits(8) reads, in its order.
func limitFiles(h host.Files) ([]string, error) {
	files := []string{"/etc/security/limits.conf"}
	entries, err := h.ReadDir("/etc/security/limits.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".conf") {
			files = append(files, "/etc/security/limits.d/"+e.Name)
		}
	}
	return files, nil
}

// parseNofile parses "* - nofile 65535 # comment". Other items, and lines that pam_limits skips as wrong, are none.
func parseNofile(line string) (nofileLimit, bool) {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	if len(fields) != 4 || fields[2] != "nofile" {
		return nofileLimit{}, false
	}
	l := nofileLimit{Domain: fields[0], Hard: fields[1] == "hard" || fields[1] == "-"}
	switch fields[3] {
	case "unlimited", "infinity", "-1":
		l.Unlimited, l.Value = true, -1
		return l, true
	}
	var err error
	l.Value, err = parseCount(fields[3])
	return l, err == nil
}

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

// Inotify counts who watches files.
var Inotify = probes.Define(probes.Probe[host.Host]{
	Name: "inotify",
	Doc: `Watches on files

Counts the inotify instances of each user among the descriptors of all processes (/proc/*/fd), and the watches in those of users who have
many, from fdinfo. The limits are a user's, over all his programs: fs.inotify.max_user_instances and max_user_watches. Whoever reaches them is told
"Too many open files" or "No space left on device". The descriptors are read once for this probe, deleted_files and listeners: about 2 µs each, 20,000 of
them, at most 2,000 a process. Needs root for other users' processes. Instances in containers with user namespaces of their own count for themselves too, which is not seen here.`,
	Every: 5 * time.Minute, Needs: probes.Root,
}, inotify)

type inotifyFacts struct {
	InstancesMax int                     `fact:"instances_max" unit:"count" doc:"Instances that a user may have; fs.inotify.max_user_instances"`
	WatchesMax   int                     `fact:"watches_max" unit:"count" doc:"Watches that a user may have; fs.inotify.max_user_watches"`
	Users        probes.Cut[inotifyUser] `fact:"users" doc:"Users with instances, most first; more counts processes that were not looked at in full"`
}

type inotifyUser struct {
	User         string  `fact:"user,key" doc:"Name of the user, or its id where /etc/passwd does not have it"`
	Instances    int     `fact:"instances" unit:"count" doc:"Instances of all programs of the user"`
	InstancesPct float64 `fact:"instances_pct" unit:"%" doc:"instances, as part of instances_max"`
	Watches      int     `fact:"watches" unit:"count" doc:"Watches in them, as far as 64 instances tell"`
	WatchesPct   float64 `fact:"watches_pct" unit:"%" doc:"watches, as part of watches_max"`
	Process      string  `fact:"process" doc:"Command name of the process with most instances"`
	PID          int     `fact:"pid" unit:"pid" doc:"That process"`
}

const inotifyFdinfo = 64 // whose watches are counted, of one user

func inotify(ctx context.Context, h host.Host) (inotifyFacts, error) {
	var f inotifyFacts
	var err error
	if f.InstancesMax, err = readInt(h, "/proc/sys/fs/inotify/max_user_instances"); errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("the kernel has no inotify")
	} else if err != nil {
		return f, err
	}
	if f.WatchesMax, err = readInt(h, "/proc/sys/fs/inotify/max_user_watches"); err != nil {
		return f, err
	}
	all, err := allDescriptors(ctx, h)
	if err != nil {
		return f, err
	}
	s := inotifySearch{h: h, users: map[int]*inotifyUser{}, most: map[int]int{}}
	for i := range all {
		s.process(&all[i])
	}
	names := userNames(h)
	for uid, u := range s.users {
		u.User = cmp.Or(names[strconv.Itoa(uid)], strconv.Itoa(uid))
		u.InstancesPct = percent(float64(u.Instances), float64(f.InstancesMax))
		u.WatchesPct = percent(float64(u.Watches), float64(f.WatchesMax))
		f.Users.All = append(f.Users.All, *u)
	}
	slices.SortFunc(f.Users.All, func(a, b inotifyUser) int {
		return cmp.Or(cmp.Compare(b.Instances, a.Instances), cmp.Compare(a.User, b.User))
	})
	f.Users.More, f.Users.Why = s.more, s.why
	return f, nil
}

type inotifySearch struct {
	h     host.Host
	users map[int]*inotifyUser // by uid
	most  map[int]int          // by uid, the most that one process has
	more  int
	why   string
}

func (s *inotifySearch) process(d *processDescriptors) {
	if d.cut || d.err != nil {
		s.more++
	}
	if d.err != nil && s.why == "" {
		s.why = d.err.Error()
	}
	found := d.inotify
	if len(found) == 0 {
		return
	}
	dir := fmt.Sprintf("/proc/%d", d.pid)
	fi, err := s.h.Stat(dir)
	if err != nil {
		return // it has ended
	}
	u := s.users[fi.UID]
	if u == nil {
		u = &inotifyUser{}
		s.users[fi.UID] = u
	}
	for _, fd := range found[:min(len(found), max(0, inotifyFdinfo-u.Instances))] {
		if b, err := s.h.ReadFile(dir + "/fdinfo/" + fd); err == nil {
			u.Watches += strings.Count(string(b), "inotify wd:")
		}
	}
	u.Instances += len(found)
	if len(found) > s.most[fi.UID] {
		s.most[fi.UID] = len(found)
		u.PID = d.pid
		u.Process, _ = readLine(s.h, dir+"/comm")
	}
}

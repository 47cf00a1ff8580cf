package linux

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Immutable looks for files of services that chattr(1) keeps from being written.
var Immutable = probes.Define(probes.Probe[host.Host]{
	Name: "immutable",
	Doc: `Data that may not be changed

Asks for the attributes of chattr(1) where services write: the roots of file systems on disks and what lies right in them, the homes that accounts have in /var/lib and the directories there that are not root's,
/var/log and /var/spool/cron, one level deep. At most 200 files are asked, 5 µs each. Neither root nor the owner can change, replace or delete an immutable file, or make one in an
immutable directory; the program is told "Operation not permitted", whatever the modes say. Empty directories, which some protect while nothing is mounted on them, and
the .user.ini that hosting panels protect are left out. Needs root.`,
	Every: 5 * time.Minute,
	Needs: probes.Root,
}, immutable)

type immutableFacts struct {
	List []immutableFile `fact:"list" doc:"What may not be changed"`
}

type immutableFile struct {
	Path      string `fact:"path,key" doc:"The file or directory"`
	Directory bool   `fact:"directory" doc:"It is a directory: nothing can be made, renamed or deleted in it"`
	Flag      string `fact:"flag" doc:"i: immutable; a: append-only, of a directory: files can be made and not deleted"`
}

const (
	maxImmutable      = 200
	maxImmutableInDir = 40
	maxBranches       = 4 // entries of a directory that only leads on
)

func immutable(_ context.Context, h host.Host) (immutableFacts, error) {
	f := immutableFacts{List: []immutableFile{}}
	mounts, err := readMounts(h)
	if err != nil {
		return f, err
	}
	dirs := []string{"/var/log", "/var/spool/cron", "/var/spool/cron/crontabs"}
	for i := range mounts {
		if m := &mounts[i]; m.point != "/" && strings.HasPrefix(m.source, "/dev/") && slices.Contains([]string{"ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs"}, m.fstype) && m.root == "/" && !isElsewhere(m.point) {
			dirs = append(dirs, m.point)
		}
	}
	for _, d := range serviceDirectories(h) {
		dirs = append(dirs, dataIn(h, d.path, 2)...)
	}
	left := maxImmutable
	seen := map[string]bool{}
	for _, dir := range dirs {
		entries, err := h.ReadDir(dir)
		if err != nil || len(entries) == 0 {
			continue
		}
		if !seen[dir] {
			f.look(h, dir, true, &left)
		}
		seen[dir] = true
		for _, e := range entries[:min(len(entries), maxImmutableInDir)] {
			name := path.Join(dir, e.Name)
			if !seen[name] && e.Name != ".user.ini" && e.Name != "lost+found" && (e.Type.IsDir() || e.Type.IsRegular()) {
				seen[name] = true
				f.look(h, name, e.Type.IsDir(), &left)
			}
		}
	}
	return f, nil
}

// dataIn are a service's directory and, where that only holds a few others, these: PostgreSQL's data lie in /var/lib/postgresql/15/main.
func dataIn(h host.Files, dir string, deeper int) []string {
	dirs := []string{dir}
	entries, err := h.ReadDir(dir)
	if err != nil || deeper == 0 || len(entries) > maxBranches {
		return dirs
	}
	for _, e := range entries {
		if !e.Type.IsDir() && !strings.HasPrefix(e.Name, ".") {
			return dirs[:1]
		}
		if e.Type.IsDir() {
			dirs = append(dirs, dataIn(h, path.Join(dir, e.Name), deeper-1)...)
		}
	}
	return dirs
}

func (f *immutableFacts) look(h host.Host, name string, dir bool, left *int) {
	if *left--; *left < 0 {
		return
	}
	a, err := h.Attributes(name)
	if err != nil || !a.Immutable && (!a.AppendOnly || !dir) { // a log that may only grow is meant
		return
	}
	if dir && name != "/" {
		if entries, err := h.ReadDir(name); err != nil || len(entries) == 0 {
			return
		}
	}
	flag := "a"
	if a.Immutable {
		flag = "i"
	}
	f.List = append(f.List, immutableFile{name, dir, flag})
}

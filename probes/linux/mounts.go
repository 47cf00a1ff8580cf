package linux

import (
	"fmt"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// mount is a row of /proc/self/mountinfo.
type mount struct {
	id      string // "36", unique while it is mounted
	parent  string // the mount that its place lies in; of one that lies on another at the same place, that one
	dev     string // "254:1": the file system's st_dev; what mounts of one file system have in common
	root    string // the directory of the file system that is mounted; "/" but for bind mounts and subvolumes
	point   string
	options []string // of this mount
	fstype  string
	source  string
	super   []string // options of the file system, which all its mounts share
}

// readMounts reads the mounts that this process sees, later ones last. A mount that a later one at the same place covers is left out.
func readMounts(h host.Files) ([]mount, error) {
	all, err := readAllMounts(h)
	if err != nil {
		return nil, err
	}
	last := make(map[string]int, len(all))
	for i := range all {
		last[all[i].point] = i
	}
	mounts := make([]mount, 0, len(last))
	for i := range all {
		if last[all[i].point] == i {
			mounts = append(mounts, all[i])
		}
	}
	return mounts, nil
}

// readAllMounts reads them with those that others cover.
func readAllMounts(h host.Files) ([]mount, error) {
	const name = "/proc/self/mountinfo"
	b, err := h.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	var mounts []mount
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("reading %s: line %d: %w", name, n, err)
		}
		mounts = append(mounts, m)
	}
	if len(mounts) == 0 {
		return nil, fmt.Errorf("reading %s: it is empty", name)
	}
	return mounts, nil
}

// parseMount parses "36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/sda1 rw,errors=continue"; between the options and
// the dash there may be any number of fields: proc(5).
func parseMount(line string) (mount, error) {
	own, fs, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(own), strings.Split(fs, " ") // the source may be empty
	if !ok || len(left) < 6 || len(right) < 3 || !strings.Contains(left[2], ":") {
		return mount{}, fmt.Errorf("%.80q is not a mount", line)
	}
	return mount{
		id: left[0], parent: left[1], dev: left[2], root: unescapeMount(left[3]), point: unescapeMount(left[4]), options: strings.Split(left[5], ","),
		fstype: right[0], source: unescapeMount(right[1]), super: strings.Split(right[2], ","),
	}, nil
}

// unescapeMount undoes the kernel's \ooo for space, tab, newline, backslash and # (mangle in fs/seq_file.c); fstab(5) has the same.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1]) && isOctal(s[i+2]) && isOctal(s[i+3]) {
			b.WriteByte(s[i+1]<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(c byte) bool { return '0' <= c && c <= '7' }

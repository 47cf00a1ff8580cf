package linux

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
)

func TestDeletedFiles(t *testing.T) {
	const mounts = "-- /proc/self/mountinfo --\n1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 254:17 / /data rw - xfs /dev/vdb1 rw\n"
	fd := func(pid, n int, target string) string {
		return fmt.Sprintf("-- /proc/%d/fd/%d -> %q --\n", pid, n, target)
	}
	gone := func(path, attributes string) string {
		return fmt.Sprintf("-- %q %s --\n", path+" (deleted)", attributes)
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "a log that two processes hold counts once; what has another name, no disk or no mount does not count",
			capture: mounts + fd(10, 1, `/var/log/app.log (deleted)`) + fd(11, 5, `/var/log/app.log (deleted)`) + fd(11, 6, `/data/tmp (deleted)`) +
				fd(11, 7, `/var/linked (deleted)`) + fd(11, 8, "socket:[55]") + fd(11, 9, `/memfd:pulse (deleted)`) + fd(11, 10, `/dev/zero (deleted)`) +
				fd(11, 11, "/etc/passwd") +
				"-- /proc/10/comm --\nlogger\n-- /proc/11/comm --\njava\n" +
				gone("/var/log/app.log", "dev=254:1 ino=7 nlink=0 size=5120000") + gone("/data/tmp", "dev=254:17 ino=7 nlink=0 size=1024") +
				gone("/var/linked", "dev=254:1 ino=9 nlink=1 size=999999") + gone("/dev/zero", "dev=0:1 ino=3 nlink=0 size=4096") +
				"-- /etc/passwd dev=254:1 ino=1 size=1 --\n",
			want: map[string]string{
				"filesystems[/].bytes": "5120000", "filesystems[/].files": "1", "filesystems[/].process": `"logger"`, "filesystems[/].pid": "10",
				"filesystems[/data].bytes": "1024", "filesystems[/data].process": `"java"`,
				"largest[/var/log/app.log].mount": `"/"`, "largest[/dev/zero]": "none", "largest[/var/linked]": "none",
			},
		},
		{
			name:    "processes of others, without root",
			capture: "root: no\n" + mounts + "-- /proc/10/fd/ !permission --\n-- /proc/11/comm --\nbash\n-- /proc/11/fd/ --\n",
			want: map[string]string{
				"filesystems": `{"items":[],"more":1,"why":"open /proc/10/fd: permission denied"}`,
				"largest":     `{"items":[],"more":1,"why":"open /proc/10/fd: permission denied"}`,
			},
		},
		{
			name:    "nothing held",
			capture: mounts + fd(10, 1, "/etc/passwd") + "-- /etc/passwd --\n",
			want:    map[string]string{"filesystems": "[]", "largest": "[]"},
		},
		{
			name: "a process with too many descriptors",
			capture: mounts + func() string {
				var b strings.Builder
				for n := range maxDescriptorsPerProcess + 5 {
					b.WriteString(fd(10, n, "socket:[1]"))
				}
				return b.String()
			}(),
			want: map[string]string{"filesystems": `{"items":[],"more":1}`},
		},
		{name: "no process", capture: mounts, want: map[string]string{"(reason)": "listing processes"}},
		{name: "no mounts", want: map[string]string{"(reason)": "mountinfo"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, DeletedFiles, observe(t, DeletedFiles, c.capture), c.want) })
	}
}

// TestDeletedFilesOfThisProcess deletes a file that it keeps open.
func TestDeletedFilesOfThisProcess(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "held")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 3<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // before that ext4 has not given it blocks
		t.Fatal(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	room := maxDescriptors
	d, _ := readDescriptors(&host.Local{}, os.Getpid(), &room)
	s := deletedSearch{h: &host.Local{}, seen: map[[2]uint64]bool{}}
	s.process(&d)
	if len(s.files) != 1 || s.files[0].Path != f.Name() || s.files[0].Bytes < 3<<20 || s.files[0].PID != os.Getpid() {
		t.Fatalf("found %+v", s.files)
	}
	mounts, err := readFilesystems(&host.Local{})
	if err != nil {
		t.Fatal(err)
	}
	facts := s.facts(mounts)
	if len(facts.Filesystems.All) != 1 || facts.Filesystems.All[0].Bytes < 3<<20 || len(facts.Largest.All) != 1 {
		t.Errorf("summed up to %+v", facts)
	}
}

package linux

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host/hosttest"
)

func TestUsage(t *testing.T) {
	const mounts = "at: 2026-11-20T12:00:00Z\n-- /proc/self/mountinfo --\n" +
		"30 1 254:0 / / rw - ext4 /dev/vda1 rw\n31 30 254:16 / /data rw - ext4 /dev/vdb rw\n"
	statfs := func(mount string, free, inodes int) string {
		return fmt.Sprintf("-- statfs %s --\n{\"type\":61267,\"size\":1000000000,\"free\":%d,\"avail\":%d,\"files\":1000,\"files_free\":%d}\n", mount, free, free, inodes)
	}
	const tree = `-- / dev=254:0 ino=2 --
-- /data/ dev=254:16 ino=2 mtime=2026-11-20T11:00:00Z --
-- /data/www/ dev=254:16 ino=3 --
-- /data/www/log/ dev=254:16 ino=4 --
-- /data/www/log/app.log dev=254:16 ino=5 size=600000000 blocks=1171875 mtime=2026-11-20T11:59:59Z --
-- /data/www/log/old.log dev=254:16 ino=6 size=1000000 blocks=2000 mtime=2026-11-01T11:59:59Z --
-- /data/big/ dev=254:16 ino=7 size=2000000 --
-- /data/other/ dev=254:32 ino=2 --
-- /data/other/huge dev=254:32 ino=3 size=900000000 blocks=1800000 --
-- /proc/77/comm --
java
-- /proc/77/fd/4 -> /data/www/log/app.log --
-- /proc/77/cgroup --
0::/system.slice/web.service
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"room everywhere", mounts + statfs("/", 900000000, 900) + statfs("/data", 900000000, 900), map[string]string{"filesystems": "[]"}},
		{"a log fills the data disk", mounts + statfs("/", 900000000, 900) + statfs("/data", 100000000, 900) + tree, map[string]string{
			"filesystems[/data].directories[/data/www/log].bytes": "601024000", "filesystems[/data].directories[/data/big].bytes": "2000384",
			"filesystems[/data].directories[/data/other].bytes": "none", "filesystems[/data].complete": "false", // /data/big was not listed
			"filesystems[/data].crowded[/data/big].entries":         "40000",
			"filesystems[/data].files[/data/www/log/app.log].kind":  `"logs"`,
			"filesystems[/data].files[/data/www/log/app.log].pid":   "77",
			"filesystems[/data].files[/data/www/log/app.log].unit":  `"web.service"`,
			"filesystems[/data].files[/data/www/log/old.log].pid":   "null",
			"filesystems[/data].growth_per_s":                       "0",
			"filesystems[/data].full_in":                            "null",
			"filesystems[/data].largest":                            `"/data/www/log 573.2 MiB, /data/big 1.9 MiB, file /data/www/log/app.log 572.2 MiB, file /data/www/log/old.log 1000.0 KiB"`,
			"filesystems[/data].growing[/data/www/log/app.log].pid": "none",
		}},
		{"it grows", mounts + statfs("/", 900000000, 900) + statfs("/data", 100000000, 900) +
			strings.ReplaceAll(statfs("/data", 90000000, 900), "/data --", "/data @1s --") + tree +
			"-- /data/www/log/app.log dev=254:16 ino=5 size=610000000 blocks=1191406 mtime=2026-11-20T12:00:01Z @1s --\n", map[string]string{
			"filesystems[/data].growth_per_s": "1e+07", "filesystems[/data].full_in": `"9s"`,
		}},
		{"inodes", mounts + statfs("/", 900000000, 900) + statfs("/data", 900000000, 1) + tree, map[string]string{
			"filesystems[/data].crowded[/data/www/log].entries": "2", "filesystems[/data].crowded[/data/big].listed": "false",
		}},
		{"no directory may be listed", mounts + statfs("/", 900000000, 900) + statfs("/data", 100000000, 900) + "-- /data/ !permission dev=254:16 ino=2 --\n", map[string]string{
			"filesystems[/data].complete": "false", "filesystems[/data].directories": "[]",
		}},
		{"no mounts", "", map[string]string{"(reason)": "mountinfo"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Usage, observe(t, Usage, c.capture), c.want) })
	}
}

func TestUsageGrowth(t *testing.T) {
	at := func(size int64, used uint64) usageSample {
		return usageSample{mount: "/data", used: used, avail: 1000, files: []usageEntry{{path: "/data/log", size: size}}}
	}
	f, err := usage([]usageSample{at(5000, 600)}, &[]usageSample{at(4000, 500)}, 1e10)
	if err != nil || len(f.Filesystems[0].Growing) != 1 {
		t.Fatal(f, err)
	}
	g := f.Filesystems[0].Growing[0]
	if grew, _ := g.Grew.Get(); grew.Seconds() != 50 {
		t.Errorf("it grew for %v, want 50s: 5000 bytes at 100 a second", grew)
	}
	f, _ = usage([]usageSample{at(3000, 400)}, &[]usageSample{at(4000, 500)}, 1e10)
	if _, full := f.Filesystems[0].FullIn.Get(); full || len(f.Filesystems[0].Growing) != 0 {
		t.Errorf("what shrinks is never full: %+v", f)
	}
}

// endingContext ends once it was asked for its error some times.
type endingContext struct {
	context.Context
	left int
}

func (c *endingContext) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func TestUsageStopsWithinADirectory(t *testing.T) {
	var capture strings.Builder
	capture.WriteString("-- /data/ dev=254:16 ino=2 --\n")
	for i := range 2000 {
		fmt.Fprintf(&capture, "-- /data/%04d dev=254:16 ino=%d size=1 blocks=8 --\n", i, 10+i)
	}
	h, err := hosttest.Parse([]byte(capture.String()))
	if err != nil {
		t.Fatal(err)
	}
	s := usageSample{mount: "/data"}
	w := usageWalk{ctx: &endingContext{t.Context(), 1}, h: h, s: &s}
	w.run()
	if s.complete || s.entries > 256 {
		t.Errorf("%d entries, complete %v: it should have stopped after 256", s.entries, s.complete)
	}
}

package playbooks_test

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/playbooks"
)

const conntrackStory = `A shop on sale: the table of a host with 4 GiB of memory fills up.
-- facts --
conntrack: {count: 65000, max: 65536, drops_per_s: 12.5, entry_bytes: 320, loaded: true}
memory.total: 4294967296
-- yes: it drops packets --
find:
  severity: critical
  evidence: 65000 of 65536 entries used, 12.5/s dropped
  steps: [conntrack.limit max=131072]
-- yes: it is only full so far --
conntrack.drops_per_s: 0
find: warning
-- yes: no memory is left for a larger table --
memory.total: 268435456
find: {steps: [], manual: No memory is left}
-- no: it is just below --
conntrack.count: 62000
-- no: the operator allows more --
params: {full: 0.999}
-- unknown: the counter cannot be read --
conntrack: failed, permission denied
missing: [conntrack.max, conntrack.count]
-- not here: no module --
conntrack: no data, the conntrack module is not loaded
`

const filesystemStory = `A log that nobody rotates.
-- facts --
filesystems:
  mounts:
    - {mount: /, device: /dev/vda1, fstype: ext4, used_pct: 45.06, bytes_free: 12884901888, read_only: false}
    - {mount: /data, device: /dev/vdb1, fstype: xfs, used_pct: 97.25, bytes_free: 1288490188, read_only: false}
-- yes: one is full --
find:
  /data:
    severity: critical
    title: /data is almost full
    evidence: /data (/dev/vdb1) is 97.2 % full, 1.2 GiB left
    steps: [journal.vacuum mount=/data]
-- yes: both --
filesystems.mounts[/].used_pct: 91
find: {/: critical, /data: critical}
-- no: it is read-only --
filesystems.mounts[/data].read_only: true
-- no: another disk, in one go --
filesystems.mounts[/data]: {used_pct: 12, fstype: ext4}
-- no: not a disk --
filesystems.mounts[/data].fstype: tmpfs
-- unknown: the rest is fine --
filesystems.mounts[/data].used_pct: {unreadable: statfs timed out}
missing: [fs.used_pct]
`

func TestRunStory(t *testing.T) {
	l := load(t, conntrackFull, filesystemFull)
	for name, text := range map[string]string{"conntrack-table-full": conntrackStory, "filesystem-full": filesystemStory} {
		if err := playbooks.RunStory(l, playbooks.File{Name: name + ".txtar", Data: []byte(text)}); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// A story made of a snapshot holds what the playbook read, and comes out as it did; a changed verdict is seen.
func TestCaptureStory(t *testing.T) {
	l := load(t, conntrackFull, filesystemFull)
	for _, c := range []struct{ id, facts, want string }{
		{"conntrack-table-full", "conntrack: {count: 65000, max: 65536, drops_per_s: 12.5, entry_bytes: 320, loaded: true}\nmemory.total: 4294967296", "  severity: critical\n"},
		{"conntrack-table-full", "conntrack: no data, the module is not loaded", "-- not here: as it was --"},
		{"conntrack-table-full", "conntrack: failed, permission denied\nmemory.total: 5", `conntrack: "failed, permission denied"`},
		{"filesystem-full", `filesystems.mounts: [{mount: "/a b\"", device: d, fstype: ext4, used_pct: 99, bytes_free: 5, read_only: false}, {mount: /c, fstype: xfs, used_pct: {unreadable: timeout}, read_only: false}]`, `  "/a b\"":`},
	} {
		snap, err := playbooks.Facts(schema(t), playbooks.File{Name: "facts", Data: []byte(c.facts)})
		if err != nil {
			t.Fatal(err)
		}
		story, err := playbooks.CaptureStory(l, c.id, "From a test.", snap)
		if err != nil {
			t.Errorf("%s: %v", c.facts, err)
			continue
		}
		if !strings.Contains(string(story), c.want) {
			t.Errorf("%s: there is no %s in\n%s", c.facts, c.want, story)
		}
		wrong := strings.Replace(strings.Replace(string(story), "-- not here:", "-- no:", 1), "severity: critical", "severity: info", 1)
		if err := playbooks.RunLife(l, playbooks.File{Name: c.id + ".txtar", Data: []byte(wrong)}); (err == nil) != (wrong == string(story)) {
			t.Errorf("%s: changed, it says %v", c.facts, err)
		}
	}
}

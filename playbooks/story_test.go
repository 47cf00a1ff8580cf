package playbooks_test

import (
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

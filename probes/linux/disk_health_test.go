package linux

import "testing"

func TestDiskHealth(t *testing.T) {
	device := func(number, name, properties string) string {
		return "-- /sys/dev/block/" + number + " -> ../../devices/x/block/" + name + " --\n-- /run/udev/data/b" + number + " --\n" + properties
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"healthy, and LVM's and a raid's members", "-- /sys/block/sda/device/state --\nrunning\n-- /sys/block/nvme0n1/device/state --\nlive\n" +
			device("8:1", "sda1", "E:ID_FS_UUID=a\nE:ID_FS_TYPE=linux_raid_member\n") + device("8:17", "sdb1", "E:ID_FS_UUID=a\nE:ID_FS_TYPE=linux_raid_member\n") +
			"-- /proc/mdstat --\nPersonalities : [raid1]\nmd0 : active raid1 sdb1[1] sda1[0]\n      1046528 blocks super 1.2 [2/2] [UU]\n      [>....]  check =  5.0% (1/2) finish=1min speed=1K/sec\n\nunused devices: <none>\n", map[string]string{
			"arrays[md0].working": "2", "arrays[md0].recovering": "false", "failed": "[]", "duplicates": "[]",
		}},
		{"sick", "-- /sys/block/sda/device/state --\noffline\n-- /etc/fstab --\nUUID=a /data ext4 defaults 0 2\n" +
			device("8:1", "sda1", "E:ID_FS_UUID=a\nE:ID_FS_LABEL=data\nE:ID_FS_TYPE=ext4\nE:ID_PART_ENTRY_UUID=p1\n") +
			device("8:17", "sdb1", "S:x\nE:ID_FS_UUID=a\nE:ID_FS_TYPE=ext4\nE:ID_PART_ENTRY_UUID=p1\n") +
			"-- /proc/mdstat --\nmd127 : active (auto-read-only) raid5 sdc1[2](F) sdb1[1] sda1[0]\n      100 blocks level 5, 64k chunk, algorithm 2 [3/2] [UU_]\n      [=>...]  recovery = 12.6% (1/2) finish=1min\nmd2 : inactive sdx1[0](S)\n      100 blocks\n", map[string]string{
			"failed[sda].state": `"offline"`, "duplicates[UUID=a].devices": `["sda1","sdb1"]`, "duplicates[UUID=a].used": "true",
			"duplicates[PARTUUID=p1].used": "false", "duplicates[LABEL=data].used": "none",
			"arrays[md127].failed": "1", "arrays[md127].disks": "3", "arrays[md127].working": "2", "arrays[md127].level": `"raid5"`, "arrays[md127].progress_pct": "12.6",
			"arrays[md2].active": "false",
		}},
		{"an array of the firmware's", "-- /sys/block/sda/device/state --\nrunning\n" + "-- /proc/mdstat --\nmd126 : active raid1 nvme1n1[1] nvme0n1[0]\n      100 blocks super external:/md127/0 [2/2] [UU]\n\n" +
			"md127 : inactive nvme1n1[1](S) nvme0n1[0](S)\n      10402 blocks super external:imsm\n\nunused devices: <none>\n", map[string]string{"arrays[md126].working": "2", "arrays": `[{"name":"md126","level":"raid1","active":true,"disks":2,"working":2,"failed":0,"recovering":false,"progress_pct":null}]`}},
		{"udev's file cut short", "-- /sys/block/sda/device/state --\nrunning\n" + "-- /sys/dev/block/8:1 -> ../x/sda1 --\n-- /run/udev/data/b8:1 !permission --\n", map[string]string{"duplicates": `{"items":[],"more":1}`, "arrays": "[]"}},
		{"no disk", "-- /proc/stat --\n", map[string]string{"(reason)": "no disk"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, DiskHealth, observe(t, DiskHealth, c.capture), c.want) })
	}
}

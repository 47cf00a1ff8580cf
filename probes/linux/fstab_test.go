package linux

import "testing"

func TestFstab(t *testing.T) {
	const mounts = "-- /proc/self/mountinfo --\n1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 254:17 / /data rw - xfs /dev/vdb1 rw\n3 1 0:9 / /run/lock rw - tmpfs tmpfs rw\n"
	const swaps = "-- /proc/swaps --\nFilename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/vda2                               partition\t1048572\t\t0\t\t-2\n"
	const disk = "-- /dev/vda1 060660 --\n-- /dev/vda2 060660 --\n-- /dev/vdb1 060660 --\n" +
		"-- /dev/disk/by-uuid/1111-AAAA -> ../../vda1 --\n-- /dev/disk/by-uuid/5a -> ../../vda2 --\n-- /dev/disk/by-label/my\\x20disk -> ../../vdb1 --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "devices, mounts and swap",
			capture: mounts + swaps + disk + "-- /var/lock -> /run/lock --\n-- /backup/ --\n-- /mnt/nas/ --\n-- /etc/fstab --\n" + `
# a comment
UUID=1111-AAAA / ext4 errors=remount-ro 0 1
UUID=5a none swap sw 0 0
LABEL="my\040disk" /data/ xfs defaults,nofail 0 2
UUID=dead-beef /backup ext4 defaults
nas:/export /mnt/nas nfs4 _netdev,ro,x-systemd.automount
tmpfs /var/lock tmpfs size=1m
//srv/share /mnt/smb cifs user=me,password=hunter2,uid=0
/dev/vdc1 /gone auto noauto
`,
			want: map[string]string{
				"problems": "[]", "entries[/].device_exists": "true", "entries[/].mounted": "true", "entries[/].line": "3", "entries[/].auto": "true",
				"entries[swap (line 4)].mounted": "true", "entries[swap (line 4)].swap": "true", "entries[swap (line 4)].mount_point_exists": "null",
				"entries[/data].device_exists": "true", "entries[/data].mounted": "true", "entries[/data].nofail": "true",
				"entries[/backup].device_exists": "false", "entries[/backup].mounted": "false", "entries[/backup].mount_point_exists": "true", "entries[/backup].nofail": "false",
				"entries[/mnt/nas].device_exists": "null", "entries[/mnt/nas].auto": "false", "entries[/mnt/nas].network": "true", "entries[/mnt/nas].read_only": "true",
				"entries[/var/lock].mounted": "true", "entries[/var/lock].device_exists": "null",
				"entries[/mnt/smb].options": `"user=me,password=***,uid=0"`, "entries[/mnt/smb].device_exists": "null", "entries[/mnt/smb].mount_point_exists": "false",
				"entries[/gone].device_exists": "false", "entries[/gone].auto": "false",
			},
		},
		{
			name: "lines that break the rules",
			capture: mounts + swaps + "-- /etc/fstab [quoted] --\n" + quote("/dev/vdb1 /data xfs defaults 0 0\r\n") + quote("/dev/vdb1 /data\n") +
				quote("/dev/vdb1 data ext4 defaults 0 0\n") + quote("/dev/vdb1 /my data ext4 defaults 0\n") + quote("/dev/vdb1 /data ext4 defaults 0 two\n") +
				quote("/dev/vdb1 /data ext4 defaults 0 2 3\n"),
			want: map[string]string{
				"entries": "[]", "problems[/etc/fstab:1].line": "1", "problems[/etc/fstab:2].problem": `"2 fields; at least device, mount point and type are needed"`,
				"problems[/etc/fstab:3].problem": `"the mount point is \"data\", not an absolute path"`, "problems[/etc/fstab:4].problem": `"the dump field is \"defaults\", not a number"`,
				"problems[/etc/fstab:5].problem": `"the pass field is \"two\", not a number"`, "problems[/etc/fstab:6].problem": `"7 fields, more than six; a space in a name is written \\040"`,
			},
		},
		{
			name:    "a separator is lost",
			capture: mounts + swaps + disk + "-- /etc/fstab --\n/dev/vdb1 /a ext4,noatime,nofail 0 2\n/dev/vdb1 /b defaults 0 2\n/dev/vdb1 /c ext4 0 2\n/dev/vdb1 /d ext4,xfs noatime 0 2\n/dev/vdb1 /e auto nofail\n",
			want: map[string]string{
				"problems[/etc/fstab:1].problem": `"the type is \"ext4,noatime,nofail\", but noatime is an option: a separator or the type is missing"`, "problems[/etc/fstab:2].line": "2",
				"problems[/etc/fstab:3].problem": `"the options are \"0\": they, or a separator before them, are missing"`, "entries[/d].line": "4", "entries[/e].line": "5",
			},
		},
		{
			name: "a wrong type, and options that do not exist",
			capture: mounts + swaps + disk + "-- /etc/fstab --\n/dev/vda1 / ext3 defaults 0 1\n/dev/vdb1 /data ext4 noatime 0 2\n/dev/vda2 /a ext4 deefaults,x-systmd.foo 0 2\n/dev/vda2 /b xfs noatme,inode64\n" +
				"/dev/vda2 /c ext4 noquota,novelty=1 0 2\n",
			want: map[string]string{
				"problems[/etc/fstab:1]": "none", "problems[/etc/fstab:2].problem": `"the type is ext4, but xfs is mounted on /data: the next mount, at boot, fails with \"wrong fs type\""`,
				"problems[/etc/fstab:3].problem": `"there is no option \"deefaults\"; defaults is probably meant. The next mount, at boot, fails"`, "problems[/etc/fstab:4].line": "4", "problems[/etc/fstab:5]": "none",
			},
		},
		{
			name:    "two entries for one place",
			capture: mounts + swaps + disk + "-- /etc/fstab --\n/dev/vda1 / ext4\n/dev/vdb1 / xfs\n",
			want:    map[string]string{"entries[/].device": `"/dev/vda1"`, "entries[xfs (line 2)].device": `"/dev/vdb1"`},
		},
		{
			name: "without udev blkid is asked",
			capture: mounts + "-- /dev/vdb1 060660 --\n-- /etc/fstab --\nUUID=abc /data xfs\nUUID=def /x xfs noauto\n-- /x/ --\n" +
				"-- $ blkid -c /dev/null -o export --\nDEVNAME=/dev/vdb1\nUUID=abc\nTYPE=xfs\n",
			want: map[string]string{"entries[/data].device_exists": "true", "entries[/x].device_exists": "false"},
		},
		{
			name:    "without udev and blkid nobody knows",
			capture: mounts + "-- /etc/fstab --\nUUID=abc /data xfs\n/dev/vdz /z ext4\n-- /z/ --\n",
			want: map[string]string{
				"entries[/data].device_exists": `{"unreadable":"there is no /dev/disk, and asking blkid: running [\"blkid\" \"-c\" \"/dev/null\" \"-o\" \"export\"]: file does not exist"}`,
				"entries[/z].device_exists":    "false",
			},
		},
		{name: "an empty file", capture: mounts + "-- /etc/fstab --\n# UNCONFIGURED FSTAB\n", want: map[string]string{"entries": "[]", "problems": "[]"}},
		{name: "no file", capture: mounts, want: map[string]string{"(reason)": "there is no /etc/fstab"}},
		{name: "may not be read", capture: mounts + "-- /etc/fstab !permission --\n", want: map[string]string{"(reason)": "permission denied"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Fstab, observe(t, Fstab, c.capture), c.want) })
	}
}

package linux

import "testing"

func TestFilesystems(t *testing.T) {
	const root = "27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw,errors=remount-ro\n"
	const rootStat = "-- statfs / --\n" + `{"type":61267,"size":1000000,"free":150000,"avail":100000,"files":1000,"files_free":250,"read_only":false}` + "\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "numbers as df prints them",
			capture: "-- /proc/self/mountinfo --\n" + root + rootStat +
				"-- /sys/dev/block/254:1 -> ../../devices/vda/vda1 --\n-- /sys/devices/vda/vda1/size --\n4000\n-- /sys/fs/ext4/vda1/errors_count --\n2\n",
			want: map[string]string{
				"mounts[/].used_pct": "89.47368421052632", "mounts[/].bytes_free": "100000", "mounts[/].inodes_used_pct": "75", "mounts[/].read_only": "false",
				"mounts[/].read_only_error": "false", "mounts[/].hung": "false", "mounts[/].device_size": "2048000", "mounts[/].errors": "2",
				"mounts[/].device": `"/dev/vda1"`, "mounts[/].fstype": `"ext4"`, "mounts[/].network": "false",
			},
		},
		{
			name:    "a hung mount hides only its own numbers",
			capture: "-- /proc/self/mountinfo --\n" + root + "40 27 0:50 / /srv/data rw - nfs4 nas:/data rw,hard\n" + rootStat + "-- statfs /srv/data --\n!timeout\n",
			want: map[string]string{
				"mounts[/].used_pct": "89.47368421052632", "mounts[/srv/data].hung": "true", "mounts[/srv/data].network": "true",
				"mounts[/srv/data].used_pct": `{"unreadable":"statfs /srv/data: context deadline exceeded"}`,
			},
		},
		{
			name: "read-only after an error, on kernels before and after 6.12, and on purpose",
			capture: "-- /proc/self/mountinfo --\n" +
				"1 0 1:1 / /a rw,relatime shared:1 - ext4 /dev/vda1 ro,errors=remount-ro\n" +
				"2 0 1:2 / /b rw,relatime - ext4 /dev/vda2 rw,errors=remount-ro,emergency_ro\n" +
				"3 0 1:3 / /c ro,relatime - ext4 /dev/vda3 ro\n" +
				"4 0 7:1 / /snap rw,nodev - squashfs /dev/loop1 ro\n" +
				"5 0 1:4 / /d ro,relatime - ext4 /dev/vda4 rw\n",
			want: map[string]string{
				"mounts[/a].read_only_error": "true", "mounts[/a].read_only": "true", "mounts[/b].read_only_error": "true", "mounts[/b].read_only": "true",
				"mounts[/c].read_only_error": "false", "mounts[/c].read_only": "true", "mounts[/snap].image": "true", "mounts[/snap].read_only_error": "false",
				"mounts[/d].read_only": "true", "mounts[/d].read_only_error": "false",
			},
		},
		{
			name: "one of two mounts was remounted read-only on purpose; an emergency beside a read-only bind mount",
			capture: "-- /proc/self/mountinfo --\n" +
				"1 0 1:1 / /a rw,relatime - ext4 /dev/vda1 ro\n2 1 1:1 /x /chroot ro,relatime - ext4 /dev/vda1 ro\n" +
				"3 0 1:2 / /b rw,relatime - ext4 /dev/vda2 rw,shutdown\n4 3 1:2 /x /jail ro,relatime - ext4 /dev/vda2 rw,shutdown\n",
			want: map[string]string{"mounts[/a].read_only": "true", "mounts[/a].read_only_error": "false", "mounts[/b].read_only_error": "true"},
		},
		{
			name: "the root of a chroot, beside a mount that shows more",
			capture: "-- /proc/self/mountinfo --\n" +
				"1 0 254:1 /srv/jail / rw - ext4 /dev/vda1 rw\n2 1 254:1 /src /src rw - ext4 /dev/vda1 rw\n3 1 254:1 / /whole rw - ext4 /dev/vda1 rw\n" + rootStat,
			want: map[string]string{"mounts[/].used_pct": "89.47368421052632", "mounts[/src]": "none", "mounts[/whole]": "none"},
		},
		{
			name: "each file system once, by the mount that shows most of it",
			capture: "-- /proc/self/mountinfo --\n" +
				"1 0 254:1 /var/lib/x /srv/x rw - ext4 /dev/vda1 rw\n" + root + "3 1 254:1 /home /bind rw - ext4 /dev/vda1 rw\n" +
				"4 1 0:5 / /proc rw - proc proc rw\n5 1 0:6 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n6 1 0:7 / /dev rw - devtmpfs udev rw\n" +
				"7 1 0:8 / /var/lib/docker/overlay2/1/merged rw - overlay overlay rw,lowerdir=/x\n8 1 0:9 / /misc rw - autofs systemd-1 rw\n" +
				"9 1 0:10 / /run rw - tmpfs tmpfs rw\n" + rootStat,
			want: map[string]string{
				"mounts[/].used_pct": "89.47368421052632", "mounts[/srv/x]": "none", "mounts[/bind]": "none", "mounts[/proc]": "none", "mounts[/sys/fs/cgroup]": "none",
				"mounts[/dev]": "none", "mounts[/var/lib/docker/overlay2/1/merged]": "none", "mounts[/misc]": "none", "mounts[/run].fstype": `"tmpfs"`,
			},
		},
		{
			name: "the root of a container; no inodes on btrfs; a mount over a mount; a space in a name",
			capture: "-- /proc/self/mountinfo --\n" + "1 0 0:8 / / rw - overlay overlay rw,lowerdir=/x\n2 1 0:31 / /a\\040b rw - btrfs /dev/vdb rw\n" +
				"3 1 254:9 / /m rw - ext4 /dev/vdc rw\n4 3 254:10 / /m rw - ext4 /dev/vdd rw\n" +
				"-- statfs / --\n{\"size\":100,\"free\":50,\"avail\":50,\"files\":0,\"files_free\":0}\n" +
				"-- statfs /a b --\n{}\n",
			want: map[string]string{
				"mounts[/].used_pct": "50", "mounts[/].inodes_used_pct": "null", "mounts[/].device_size": "null", "mounts[/a b].fstype": `"btrfs"`, "mounts[/m].device": `"/dev/vdd"`,
			},
		},
		{
			name:    "a file system without a size, and what is none",
			capture: "-- /proc/self/mountinfo --\n1 0 0:8 / /r rw - fuse.x x rw\n2 0 0:9 / /ram rw - ramfs ramfs rw\n3 0 254:2 /etc/hosts /etc/hosts rw - ext4 /dev/vda2 rw\n-- /etc/hosts --\n-- $ stat -f -c %t %S %b %f %a %c %d /r --\n65735546 4096 0 0 0 0 0\n-- statfs /none --\n{}\n",
			want:    map[string]string{"mounts[/r].used_pct": "null", "mounts[/r].size": "null", "mounts[/r].hung": "false", "mounts[/ram].fstype": `"ramfs"`, "mounts[/etc/hosts]": "none"},
		},
		{
			name: "a FUSE file system is asked in a process of its own",
			capture: "-- /proc/self/mountinfo --\n1 0 0:8 / /s3 rw - fuse.s3fs s3fs rw\n2 0 0:9 / /dead rw - fuse.sshfs a:/ rw\n3 0 0:7 / /odd rw - fuse x rw\n" +
				"-- $ stat -f -c %t %S %b %f %a %c %d /s3 --\n65735546 4096 100 50 25 10 5\n-- $ stat -f -c %t %S %b %f %a %c %d /dead --\n!timeout\n" +
				"-- $ stat -f -c %t %S %b %f %a %c %d /odd --\nwhat\n",
			want: map[string]string{
				"mounts[/s3].size": "409600", "mounts[/s3].bytes_free": "102400", "mounts[/s3].inodes_used_pct": "50", "mounts[/dead].hung": "true", "mounts[/odd].hung": "false",
				"mounts[/odd].size": `{"unreadable":"stat -f: \"what\\n\": expected integer"}`,
			},
		},
		{name: "no dash", capture: "-- /proc/self/mountinfo --\n1 0 0:8 / /r rw ramfs ramfs rw\n", want: map[string]string{"(reason)": "line 1"}},
		{name: "empty", capture: "-- /proc/self/mountinfo --\n", want: map[string]string{"(reason)": "it is empty"}},
		{name: "nothing", want: map[string]string{"(reason)": "reading /proc/self/mountinfo"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Filesystems, observe(t, Filesystems, c.capture), c.want) })
	}
}

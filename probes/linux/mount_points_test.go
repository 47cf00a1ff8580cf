package linux

import "testing"

func TestMountPoints(t *testing.T) {
	const root = "-- /proc/self/mountinfo --\n20 1 254:1 / / rw - ext4 /dev/vda1 rw\n21 20 0:5 / /dev rw,nosuid - devtmpfs udev rw\n22 20 254:17 / /data rw - ext4 /dev/vdb rw\n"
	const fstab = "-- /etc/fstab --\n/dev/vda1 / ext4 defaults 0 1\n/dev/vdb /data ext4 defaults 0 2\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"all is well", root + fstab, map[string]string{"hiding": "[]", "barred": "[]"}},
		{"over another mount", root + "30 22 0:40 / /data rw - tmpfs scratch rw\n" + fstab + "-- /data/ --\n", map[string]string{
			"hiding[/data].over": `"mount"`, "hiding[/data].hides": `"/dev/vdb on /data"`, "hiding[/data].device": `"scratch"`, "hiding[/data].empty": "true", "hiding[/data].asked": "true",
		}},
		{"over the directory of another mount", root + "30 20 254:33 / /srv/a rw - ext4 /dev/vdc rw\n31 20 0:40 / /srv rw - tmpfs tmpfs rw\n" + fstab + "-- beneath /srv --\n{\"mode\": 2147484141, \"entries\": [\"a\"]}\n-- /srv/x --\n", map[string]string{
			"hiding[/srv].hides": `"/dev/vdc on /srv/a"`, "hiding[/srv].empty": "false", "hiding[/srv].asked": "false",
		}},
		{"on itself", root + "30 22 254:17 / /data ro - ext4 /dev/vdb rw\n31 20 254:1 /srv /srv ro - ext4 /dev/vda1 rw\n" + fstab, map[string]string{"hiding": "[]"}},
		{"over files, by hand", root + "30 20 0:40 / /var/lib/mysql rw - tmpfs tmpfs rw\n31 20 254:1 /root/old /etc/app rw - ext4 /dev/vda1 rw\n" + fstab +
			"-- /var/lib/mysql/ --\n-- /etc/app/ --\n-- /etc/app/x --\n-- beneath /var/lib/mysql --\n{\"mode\": 2147484141, \"entries\": [\"ibdata1\", \"lost+found\"]}\n-- beneath /etc/app --\n{\"mode\": 2147484141}\n", map[string]string{
			"hiding[/var/lib/mysql].hides": `"ibdata1"`, "hiding[/var/lib/mysql].over": `"directory"`, "hiding[/etc/app]": "none",
		}},
		{"a new disk of its service over its old directory", root + "30 20 254:33 / /var/lib/redis rw - ext4 /dev/vdc rw\n" + fstab +
			"-- /var/lib/redis/ 0750 101:102 --\n-- /var/lib/redis/dump.rdb --\n-- beneath /var/lib/redis --\n{\"mode\": 2147484136, \"entries\": [\"dump.rdb\"]}\n", map[string]string{
			"hiding[/var/lib/redis].over": `"directory"`, "hiding[/var/lib/redis].fitted": "true",
		}},
		{"over a file", root + "30 20 0:5 /null /etc/app.conf rw - devtmpfs udev rw\n" + fstab + "-- /etc/app.conf 020666 --\n-- beneath /etc/app.conf --\n{\"mode\": 420, \"size\": 70}\n", map[string]string{
			"hiding[/etc/app.conf].over": `"file"`, "hiding[/etc/app.conf].device": `"/null of udev"`, "hiding[/etc/app.conf].empty": "true",
		}},
		{"asked for by a unit", root + "30 20 0:40 / /srv/my-data rw - tmpfs tmpfs rw\n" + fstab + "-- /etc/systemd/system/srv-my\\x2ddata.mount --\n-- beneath /srv/my-data --\n{\"mode\": 2147484141, \"entries\": [\"a\"]}\n", map[string]string{"hiding": "[]"}},
		{"the kernel cannot tell", root + "30 20 0:40 / /srv rw - tmpfs tmpfs rw\n" + fstab + "-- beneath /srv --\n!unsupported\n", map[string]string{"hiding": "[]"}},
		{"noexec", "-- /proc/self/mountinfo --\n20 1 254:1 / / rw - ext4 /dev/vda1 rw\n22 20 254:17 / /data rw,noexec - ext4 /dev/vdb rw\n23 20 0:9 / /tmp rw,noexec - tmpfs tmpfs rw\n" + fstab +
			"-- /etc/systemd/system/worker.service --\n[Service]\nExecStartPre=-/data/bin/check now\nExecStart=/data/bin/worker --fast\nExecStop=/bin/sh /data/stop.sh\n-- /data/bin/check 0755 --\n-- /data/bin/worker 0755 --\n-- /data/stop.sh 0755 --\n" +
			"-- /data/plain 0644 --\n-- /etc/cron.d/report --\n# /data/bin/old\n5 4 * * * root /data/bin/report\n6 4 * * * root /data/plain\n7 4 * * * root /data/none\n-- /data/bin/report 0755 --\n-- /data/bin/old 0755 --\n", map[string]string{
			"barred[/data/bin/worker].unit": `"worker.service"`, "barred[/data/bin/check].mount": `"/data"`, "barred[/data/bin/report].by": `"/etc/cron.d/report"`, "barred[/data/bin/report].unit": "null",
			"barred[/data/stop.sh]": "none", "barred[/data/bin/old]": "none", "barred[/data/plain]": "none", "barred[/data/none]": "none",
		}},
		{"nosuid and nodev", "-- /proc/self/mountinfo --\n20 1 254:1 / / rw,nosuid - ext4 /dev/vda1 rw\n21 20 0:5 / /dev rw,nodev - devtmpfs udev rw\n-- /usr/bin/sudo 04755 --\n-- /dev/null 020666 --\n", map[string]string{
			"barred[/usr/bin/sudo].option": `"nosuid"`, "barred[/dev/null].option": `"nodev"`,
		}},
		{"read-only by hand, of a service whose account has no home", "-- /proc/self/mountinfo --\n20 1 254:1 / / rw - ext4 /dev/vda1 rw\n22 20 254:1 /var/lib/mysql /var/lib/mysql ro - ext4 /dev/vda1 rw\n23 20 254:1 /var/lib/dpkg /var/lib/dpkg ro - ext4 /dev/vda1 rw\n" +
			"-- /etc/passwd --\nmysql:x:101:102::/nonexistent:/bin/false\n-- /var/lib/mysql/ 0700 101:102 --\n-- /var/lib/dpkg/ 0755 0:0 --\n", map[string]string{
			"barred[/var/lib/mysql].by": `"the account mysql"`, "barred[/var/lib/dpkg]": "none",
		}},
		{"read-only by hand", "-- /proc/self/mountinfo --\n20 1 254:1 / / rw - ext4 /dev/vda1 rw\n21 20 254:1 /tmp /tmp ro - ext4 /dev/vda1 rw\n22 20 254:1 /var/lib/redis /var/lib/redis ro - ext4 /dev/vda1 rw\n23 20 254:1 /srv /mnt/www ro - ext4 /dev/vda1 rw\n" +
			"-- /etc/passwd --\nroot:x:0:0:root:/root:/bin/bash\nredis:x:101:102::/var/lib/redis:/usr/sbin/nologin\n-- /var/lib/redis/ --\n", map[string]string{
			"barred[/tmp].option": `"ro"`, "barred[/var/lib/redis].by": `"the account redis"`, "barred[/mnt/www]": "none",
		}},
		{"no mounts", "", map[string]string{"(reason)": "mountinfo"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, MountPoints, observe(t, MountPoints, c.capture), c.want) })
	}
}

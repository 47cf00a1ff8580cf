package linux

import "testing"

func TestInotify(t *testing.T) {
	const limits = "-- /proc/sys/fs/inotify/max_user_instances --\n4\n-- /proc/sys/fs/inotify/max_user_watches --\n100\n-- /etc/passwd --\ndeploy:x:1000:1000::/:/bin/sh\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"two programs of one user", limits + `-- /proc/7/ 0555 1000:1000 --
-- /proc/7/comm --
node
-- /proc/7/fd/3 -> anon_inode:inotify --
-- /proc/7/fd/4 -> anon_inode:inotify --
-- /proc/7/fd/5 -> /dev/null --
-- /proc/7/fdinfo/3 --
pos:	0
inotify wd:2 ino:1 sdev:1 mask:1
inotify wd:1 ino:1 sdev:1 mask:1
-- /proc/8/ 0555 1000:1000 --
-- /proc/8/comm --
tail
-- /proc/8/fd/3 -> anon_inode:inotify --
-- /proc/9/fd/3 -> socket:[1] --
`, map[string]string{
			"users[deploy].instances": "3", "users[deploy].instances_pct": "75", "users[deploy].watches": "2", "users[deploy].process": `"node"`,
			"users[deploy].pid": "7", "watches_max": "100", "users[0].instances": "none",
		}},
		{"others' descriptors may not be read", limits + "-- /proc/7/fd/ !permission --\n-- /proc/7/comm --\nx\n", map[string]string{"users[deploy].instances": "none"}},
		{"no inotify", "-- /proc/1/comm --\ninit\n", map[string]string{"(reason)": "no inotify"}},
		{"half of the limits", "-- /proc/sys/fs/inotify/max_user_instances --\n12", map[string]string{"(reason)": "max_user_watches"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Inotify, observe(t, Inotify, c.capture), c.want) })
	}
}

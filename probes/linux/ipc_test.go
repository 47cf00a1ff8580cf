package linux

import "testing"

func TestIPC(t *testing.T) {
	const head = "-- /etc/passwd --\nroot:x:0:0::/root:/bin/sh\ndeploy:x:1000:1000::/:/bin/sh\n-- /proc/sys/kernel/sem --\n32000\t1024000000\t500\t4\n" +
		"-- /proc/sys/kernel/shmmni --\n4096\n-- /proc/sys/kernel/msgmni --\n32000\n"
	const sem = "-- /proc/sysvipc/sem --\n       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
	const rest = "-- /proc/sysvipc/shm --\n key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n" +
		"0 1 600 4096 10 10 0 77 0 0 0 0 0 0 8192 0\n-- /proc/sysvipc/msg --\n key msqid perms cbytes qnum lspid lrpid uid gid cuid cgid stime rtime ctime\n"
	const row = " 0 1 600 16 1000 1000 1000 1000 0 1\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"nearly full", head + sem + row + row + " 0 1 600 1 0 0 0 0 0 1\n" + rest + "-- /proc/key-users --\n    0:     9 8/8 3/1000000 40/25000000\n 1000:   201 200/200 199/200 4000/20000\n", map[string]string{
			"semaphore_sets.used": "3", "semaphore_sets.pct": "75", "semaphore_sets.owner": `"deploy"`, "semaphore_sets.owned": "2",
			"semaphores.used": "33", "shm_segments.used": "1", "shm_segments.owner": `"77"`, "shm_unattached": "1", "shm_unattached_bytes": "8192", "message_queues.used": "0",
			"message_queues.owner": `""`, "keys[deploy].pct": "99.5", "keys[root].keys_max": "1000000",
		}},
		{
			"Linux 2.6.32: no rss, no keys", head + sem + "-- /proc/sysvipc/shm --\n key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime\n-- /proc/sysvipc/msg --\n key uid\n",
			map[string]string{"semaphore_sets.used": "0", "shm_segments.pct": "0", "keys": "[]"},
		},
		{"cut short", head + sem + " 0 1 600 16\n" + rest, map[string]string{"(reason)": "4 columns, not 10"}},
		{"a key user cut short", head + sem + rest + "-- /proc/key-users --\n 1000: 201 200\n", map[string]string{"keys": `{"unreadable":"reading /proc/key-users: \" 1000: 201 200\\n\" is cut short"}`}},
		{"none of it", "", map[string]string{"(reason)": "no System V IPC"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, IPC, observe(t, IPC, c.capture), c.want) })
	}
}

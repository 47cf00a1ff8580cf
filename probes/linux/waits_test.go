package linux

import (
	"fmt"
	"strings"
	"testing"
)

// standing is a process of a service that has not moved: where it waits, and how often it did.
func standing(pid int, command, unit, wchan string) string {
	return fmt.Sprintf("-- /proc/%d/wchan --\n%s-- /proc/%d/status --\nName:\t%s\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t1\n", pid, wchan+"\n", pid, command) +
		fmt.Sprintf("-- /proc/%d/comm --\n%s\n-- /proc/%d/cgroup --\n0::/system.slice/%s\n-- /proc/%d/stat --\n%s", pid, command, pid, unit, pid, stat(pid, command, "S", 1, 0, 5, 0, 1, 100, 10, 0))
}

func TestWaits(t *testing.T) {
	const nobody = "-- tcp --\n"
	const group = "-- /sys/fs/cgroup/system.slice/%s/cgroup.procs --\n%s\n"
	feed := nobody + fmt.Sprintf(group, "feed.service", "40\n41") + standing(40, "feed", "feed.service", "anon_pipe_write") + "-- /proc/40/syscall --\n1 0x1 0x7f 0x1001 0x0 0x0 0x0 0x7f 0x7f\n" +
		"-- /proc/40/fd/1 -> pipe:[99] --\n-- /proc/41/fd/0 -> pipe:[99] --\n-- /proc/41/fdinfo/0 --\npos:\t0\nflags:\t00\n" + standing(41, "store", "feed.service", "hrtimer_nanosleep")
	locks := "-- /proc/locks --\n1: FLOCK  ADVISORY  WRITE 50 08:01:77 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 51 08:01:77 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 52 08:01:77 0 EOF\n"
	queue := `-- tcp --
{"state":10,"local":"0.0.0.0:7100","rq":%d,"wq":128,"uid":0,"ino":5}
` + fmt.Sprintf(group, "orders.service", "60") + "-- /proc/60/fd/3 -> socket:[5] --\n-- /proc/60/maps --\n7f0000000000-7f0000001000 rw-s 00000000 00:16 88 /dev/shm/x\n-- /dev/shm/sem.orders ino=88 --\n"
	local := nobody + `-- /proc/net/unix --
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 5 /run/thumbs.sock
0000000000000000: 00000003 00000000 00000000 0001 %s /run/thumbs.sock
0000000000000000: 00000003 00000000 00000000 0001 %s /run/thumbs.sock
0000000000000000: 00000002 00000000 00000000 0002 01 9
` + fmt.Sprintf(group, "orders.service", "60") + "-- /proc/60/fd/3 -> socket:[5] --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"nobody waits", nobody + fmt.Sprintf(group, "a.service", "40") + standing(40, "a", "a.service", "ep_poll"), map[string]string{"list": "[]"}},
		{"a pipe that is not read", feed, map[string]string{
			"list[feed.service].kind": `"pipe"`, "list[feed.service].by": `"store (pid 41, feed.service)"`, "list[feed.service].command": `"feed"`,
		}},
		{"a pipe that is read", feed + "-- /proc/40/status @700ms --\nvoluntary_ctxt_switches:\t9\n", map[string]string{"list": "[]"}},
		{"a queue that nobody reads", nobody + fmt.Sprintf(group, "send.service", "40") + standing(40, "send", "send.service", "do_msgsnd") + "-- /proc/40/syscall --\n69 0x3 0x7f 0x400 0x0\n" +
			"-- /proc/sysvipc/msg --\n key msqid perms cbytes qnum lspid lrpid\n 20306 3 666 16384 16 40 0\n", map[string]string{
			"list[send.service].on": `"System V message queue 3 (key 0x4f52): 16 messages of 16384 bytes, nobody has ever read from it"`,
		}},
		{"a lock that is held", nobody + locks + standing(50, "backup", "backup.service", "hrtimer_nanosleep") + standing(51, "job", "job.service", "flock_lock_inode_wait") +
			standing(52, "bash", "session-1.scope", "flock_lock_inode_wait") + "-- /proc/50/fd/3 -> /run/shop.lock --\n-- /run/shop.lock ino=77 --\n", map[string]string{
			"list[job.service].on": `"/run/shop.lock"`, "list[job.service].by": `"backup (pid 50, backup.service)"`, "list[job.service].still": "true", "list[job.service].count": "1",
		}},
		{"connections that nobody accepts", fmt.Sprintf(queue, 3) + standing(60, "orders", "orders.service", "futex_do_wait"), map[string]string{
			"list[orders.service].kind": `"accept"`, "list[orders.service].count": "3", "list[orders.service].file": `"semaphore /orders"`, "list[orders.service].within": `"futex_do_wait"`,
		}},
		{"connections that nobody accepts at a Unix socket", fmt.Sprintf(local, "02 0", "02 0") + standing(60, "thumbs", "orders.service", "hrtimer_nanosleep"), map[string]string{
			"list[orders.service].kind": `"accept"`, "list[orders.service].on": `"/run/thumbs.sock"`, "list[orders.service].count": "2",
		}},
		{"connections at a Unix socket that were accepted", fmt.Sprintf(local, "03 71", "03 72") + standing(60, "thumbs", "orders.service", "hrtimer_nanosleep"), map[string]string{"list": "[]"}},
		{"a server that is busy", fmt.Sprintf(queue, 3) + strings.Replace(standing(60, "orders", "orders.service", "0"), ") S ", ") R ", 1), map[string]string{"list": "[]"}},
		{"none that waits", fmt.Sprintf(queue, 0), map[string]string{"list": "[]"}},
		{"the kernel does not tell", nobody + "-- /proc/locks --\n1: -> FLOCK\n", map[string]string{"list": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Waits, observe(t, Waits, c.capture), c.want) })
	}
}

func TestServicesThatAreKeptBack(t *testing.T) {
	base := uptime1000 + "-- /proc/self/auxv [quoted] --\n" + quote("\x06\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00") +
		"-- /sys/fs/cgroup/system.slice/app.service/cgroup.procs --\n40\n-- /proc/40/cgroup --\n0::/system.slice/app.service\n-- /proc/1/status --\nCpus_allowed_list:\t0-1\n" +
		section(1, "", stat(1, "systemd", "S", 0, 0, 50, 0, 1, 1, 1000, 0))
	spin := func(pid, more int) string {
		counts := fmt.Sprintf("-- /proc/%d/status --\nvoluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t2\n", pid)
		return counts + section(pid, "", stat(pid, "encode", "R", 1, 0, 500, 0, 1, 100, 1, 0)) + section(pid, "@1s", stat(pid, "encode", "R", 1, 0, 500+more, 0, 1, 100, 1, 0))
	}
	app := func(nice, policy int, cores, tracer string) string {
		return section(40, "", stat(40, "app", "S", 1, 0, 5, nice, 1, 100, 1, policy)) + "-- /proc/40/status --\nTracerPid:\t" + tracer + "\nCpus_allowed_list:\t" + cores + "\n"
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"penned in", base + app(0, 0, "1", "0") + spin(70, 98), map[string]string{"starved[app.service].why": `"cores"`, "starved[app.service].cores": `"1"`, "starved[app.service].most_command": `"encode"`, "traced": "[]"}},
		{"on a core that idles", base + app(0, 0, "0", "0") + spin(70, 98), map[string]string{"starved": "[]"}},
		{"yields", base + app(19, 0, "0-1", "0") + spin(70, 90) + spin(71, 92), map[string]string{"starved[app.service].why": `"nice"`}},
		{"is like all others", base + app(0, 0, "0-1", "0") + spin(70, 90) + spin(71, 92), map[string]string{"starved": "[]"}},
		{"a tracer", base + app(0, 0, "0-1", "80") + section(80, "", stat(80, "strace", "S", 1, 0, 5, 0, 1, 100, 1, 0)) + "-- /proc/80/cgroup --\n0::/user.slice\n-- /proc/80/cmdline [quoted] --\n" +
			quote("strace\x00-f\x00-e\x00inject=openat:error=ENOSPC\x00-p\x0040\x00"), map[string]string{
			"traced[app.service].tracer": `"strace"`, "traced[app.service].injects": `"inject=openat:error=ENOSPC"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Processes, observe(t, Processes, c.capture), c.want) })
	}
}

func TestRedisKeys(t *testing.T) {
	info := func(evicted, keys int) string {
		return fmt.Sprintf(`$300\r\nrole:master\r\nuptime_in_seconds:100\r\nused_memory:1\r\ntotal_commands_processed:900\r\nevicted_keys:%d\r\nexpired_keys:0\r\ndb0:keys=%d,expires=0,avg_ttl=0\r\n`, evicted, keys)
	}
	first := daemonHost("redis-server", "6379", `{"text":"+PONG\r\n`+info(5, 50)+`+OK\r\n","took":1}`)
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"it evicts and is emptied", first + "-- ask 127.0.0.1:6379 @600ms --\n" + `{"text":"` + info(11, 40) + `$9\r\ncmdstat_flushall:calls=4,usec=9\r\n+OK\r\n","took":1}` + "\n", map[string]string{
			"evicted_per_s": "10", "expired_per_s": "0", "keys": "40", "flushes": "4", "flush_every": `"25s"`, "removals": `["FLUSHALL 4 times"]`,
		}},
		{"it is held up", strings.Replace(strings.ReplaceAll(first, "evicted_keys:5", "evicted_keys:0"), "keys=50", "keys=60000", 1) + "-- ask 127.0.0.1:6379 @600ms --\n" + `{"text":"` + info(0, 60000) +
			`\r\n*2\r\n*6\r\n:2\r\n:` + "1767225600" + `\r\n:900000\r\n*2\r\n$4\r\nkeys\r\n$1\r\n*\r\n$11\r\n127.0.0.1:9\r\n$0\r\n\r\n*6\r\n:1\r\n:5\r\n:9\r\n*1\r\n$4\r\nPING\r\n$","took":1}` + "\n", map[string]string{
			"keys": "60000", "slow": "1", "slow_command": `"KEYS *"`, "slow_client": `"127.0.0.1:9"`, "slow_longest": `"900ms"`, "misses_per_s": "null",
		}},
		{"it never lost one", strings.ReplaceAll(first, "evicted_keys:5", "evicted_keys:0"), map[string]string{"evicted_per_s": "null", "keys": "50", "flushes": "0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string]string{}
			for k, v := range c.want {
				want["list[redis 127.0.0.1:6379]."+k] = v
			}
			wantFacts(t, Daemons, observe(t, Daemons, c.capture), want)
		})
	}
}

func TestMySQLSessions(t *testing.T) {
	server := func(threads int, wchan, more string) string {
		var b strings.Builder
		b.WriteString(daemonHost("mariadbd", "3306", `{"text":"J\u0000\u0000\u0000\n10.11","took":1}`) + "-- /proc/net/unix --\nNum RefCount Protocol Flags Type St Inode Path\n00: 00000002 00000000 00010000 0001 01 9 /run/mysqld/mysqld.sock\n")
		for range 5 {
			b.WriteString("00: 00000003 00000000 00000000 0001 03 8 /run/mysqld/mysqld.sock\n")
		}
		b.WriteString(section(40, "", stat(40, "mariadbd", "S", 1, 0, 5, 0, threads, 1, 1, 0)) + "-- /proc/40/task/40/wchan --\npoll_schedule_timeout\n" + more)
		for i := range 5 {
			fmt.Fprintf(&b, "-- /proc/40/task/%d/wchan --\n%s\n", 50+i, wchan)
		}
		return b.String()
	}
	for _, c := range []struct{ name, capture, want string }{
		{"five wait", server(20, "futex_do_wait", ""), "5"},
		{"five idle", server(20, "poll_schedule_timeout.constprop.0", ""), "0"},
		{"a pool of threads", server(4, "futex_do_wait", ""), "0"},
		{"it computes", server(20, "futex_do_wait", section(40, "@1s", stat(40, "mariadbd", "S", 1, 0, 95, 0, 20, 1, 1, 0))), "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFacts(t, Daemons, observe(t, Daemons, c.capture), map[string]string{"list[mysql 127.0.0.1:3306].waiting": c.want})
		})
	}
}

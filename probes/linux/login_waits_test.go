package linux

import (
	"fmt"
	"strings"
	"testing"
)

func TestLoginWaits(t *testing.T) {
	proc := func(pid, parent int, command string, started int, children string, args ...string) string {
		return fmt.Sprintf("-- /proc/%d/stat --\n%d (%s) S %d 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 1 0 %d 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n-- /proc/%d/cmdline [quoted] --\n%s\n-- /proc/%d/task/%d/children --\n%s\n",
			pid, pid, command, parent, started, pid, quote(strings.Join(args, "\x00")+"\x00"), pid, pid, children)
	}
	host := func(up string) string {
		return "-- /proc/uptime --\n" + up + " 1.0\n-- /run/sshd.pid --\n9\n-- /proc/9/comm --\nsshd\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\n" +
			proc(9, 1, "sshd", 100, "20 ", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")
	}
	motd := proc(20, 9, "sshd", 5000, "21 22 ", "sshd: deploy [priv]") + proc(21, 20, "sshd", 5000, "", "sshd: deploy [net]") + proc(22, 20, "sh", 5010, "23 ", "sh", "-c", "/usr/bin/env -i run-parts --lsbsysinit /etc/update-motd.d > /run/motd.dynamic.new") +
		proc(23, 22, "run-parts", 5010, "24 ", "run-parts", "--lsbsysinit", "/etc/update-motd.d") + proc(24, 23, "60-inventory", 5011, "25 ", "/bin/sh", "/etc/update-motd.d/60-inventory") + proc(25, 24, "curl", 5011, "", "curl", "-s", "http://192.0.2.80/")
	shell := func(command, bashrc string, started int) string {
		return "-- /home/deploy/.bashrc --\n" + bashrc + proc(20, 9, "sshd", 5000, "21 ", "sshd: deploy [priv]") + proc(21, 20, "sshd", 5000, "22 ", "sshd: deploy@pts/0") + proc(22, 21, "bash", 5000, "23 ", "-bash") + proc(23, 22, command, started, "", command, "x")
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"the message of the day", host("90.00") + motd, map[string]string{
			"logins": "1", "waiting[/etc/update-motd.d/60-inventory].command": `"curl"`, "waiting[/etc/update-motd.d/60-inventory].stage": `"pam"`, "waiting[/etc/update-motd.d/60-inventory].age": `"39.9s"`,
			"waiting[/etc/update-motd.d/60-inventory].account": `"deploy"`, "waiting[/etc/update-motd.d/60-inventory].pid": "25",
		}},
		{"it has only begun", host("52.00") + motd, map[string]string{"waiting": "[]"}},
		{"a command of a startup file", host("90.00") + shell("curl", "# x\ncurl -s http://192.0.2.80/ # y\n", 5010), map[string]string{"waiting[curl].file": `"/home/deploy/.bashrc:2"`, "waiting[curl].stage": `"startup"`}},
		{"what the user started himself", host("90.00") + shell("curl", "alias ll='ls -l'\n", 5010), map[string]string{"waiting": "[]"}},
		{"the same command, later", host("90.00") + shell("curl", "curl -m 2 http://x/\n", 7000), map[string]string{"waiting": "[]"}},
		{"what people stay in", host("90.00") + shell("tmux", "tmux attach\n", 5010), map[string]string{"waiting": "[]"}},
		{"sshrc", host("90.00") + proc(20, 9, "sshd", 5000, "21 ", "sshd: deploy [priv]") + proc(21, 20, "sshd", 5000, "22 ", "sshd: deploy@notty") + proc(22, 21, "sh", 5000, "23 ", "/bin/sh", "/etc/ssh/sshrc") + proc(23, 22, "nc", 5000, "", "nc", "192.0.2.80", "80"), map[string]string{
			"waiting[/etc/ssh/sshrc].stage": `"rc"`, "waiting[/etc/ssh/sshrc].command": `"nc"`,
		}},
		{"an uptime that lxcfs made up", host("5.00") + motd + "-- /proc/self/stat --\n" + strings.SplitN(proc(99, 1, "hostmend", 9000, "", "x"), "\n", 3)[1] + "\n", map[string]string{"waiting[/etc/update-motd.d/60-inventory].age": `"39.9s"`}},
		{"no sshd", "-- /proc/ --\n", map[string]string{"(reason)": "no sshd runs"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, LoginWaits, observe(t, LoginWaits, c.capture), c.want) })
	}
}

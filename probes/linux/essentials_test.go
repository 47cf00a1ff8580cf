package linux

import "testing"

func TestEssentials(t *testing.T) {
	const fine = "-- /dev/null 020666 --\n-- /dev/zero 020666 --\n-- /dev/random 020444 --\n-- /dev/urandom 020666 --\n-- /tmp/ 01777 --\n"
	const plain = "-- attributes /etc/passwd --\n{}\n-- attributes /etc/shadow --\n{}\n"
	const sshUnit = "-- /etc/systemd/system/multi-user.target.wants/sshd.service --\n[Service]\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"all is well", fine + plain + "-- /dev/shm/ 01777 --\n", map[string]string{
			"devices[/dev/null].problem": `""`, "devices[/dev/random].problem": `""`, "devices[/dev/full]": "none", "directories[/tmp].problem": `""`, "directories[/].problem": `""`,
			"directories[/tmp].mode": `"1777"`, "attributes[/etc/shadow].immutable": "false", "loaders": "[]",
		}},
		{"a file in its place, and closed ones", "-- /dev/null 0600 --\nx\n-- /dev/zero 020600 --\n-- /dev/random 020600 --\n-- /tmp/ 0755 --\n-- /var/tmp/ 0777 --\n-- /dev/shm/ 01777 --\n", map[string]string{
			"devices[/dev/null].problem": `"it is no device"`, "devices[/dev/zero].problem": `"not everybody may read and write it"`, "devices[/dev/random].problem": `"not everybody may read it"`,
			"devices[/dev/urandom].problem": `"it does not exist"`, "directories[/tmp].problem": `"not everybody may write it"`, "directories[/tmp].locked": "true",
			"directories[/var/tmp].problem": `"everybody may delete the files of others: the sticky bit is missing"`, "directories[/var/tmp].locked": "false", "directories[/tmp].good_mode": `"01777"`,
		}},
		{"attributes", fine + "-- attributes /etc/shadow --\n{\"immutable\": true}\n-- attributes /etc/passwd --\n!unsupported\n-- attributes /etc/group --\n!permission\n", map[string]string{
			"attributes[/etc/shadow].immutable": "true", "attributes[/etc/passwd].immutable": "null", "attributes[/etc/group].immutable": `{"unreadable":"attributes /etc/group: permission denied"}`,
		}},
		{"sshd is gone", fine + sshUnit + "ExecStartPre=/usr/sbin/sshd -t\nExecStart=-/usr/sbin/sshd -D $SSHD_OPTS\n", map[string]string{"sshd_missing": "true"}},
		{"sshd is there", fine + sshUnit + "ExecStart=/usr/local/sbin/sshd -D\n-- /usr/local/sbin/sshd 0755 --\n", map[string]string{"sshd_missing": "false"}},
		{"the package of sshd is gone", fine + "-- /etc/systemd/system/multi-user.target.wants/ssh.service -> /lib/systemd/system/ssh.service --\n", map[string]string{"sshd_missing": "null"}},
		{"a drop-in may start another", fine + sshUnit + "ExecStart=/usr/sbin/sshd\n-- /etc/systemd/system/sshd.service.d/o.conf --\n", map[string]string{"sshd_missing": "null"}},
		{"a loader that is gone", fine + "-- /usr/lib/x86_64-linux-gnu/libc.so.6 --\n", map[string]string{"loaders[/lib64/ld-linux-x86-64.so.2].exists": "false"}},
		{"a loader", fine + "-- /usr/lib/x86_64-linux-gnu/libc.so.6 --\n-- /lib64/ld-linux-x86-64.so.2 --\n", map[string]string{"loaders[/lib64/ld-linux-x86-64.so.2].exists": "true"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Essentials, observe(t, Essentials, c.capture), c.want) })
	}
}

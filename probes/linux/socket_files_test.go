package linux

import "testing"

func TestLostSockets(t *testing.T) {
	const table = "-- /proc/net/unix --\nNum       RefCount Protocol Flags    Type St Inode Path\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 900 /run/mysqld/mysqld.sock\n" +
		"0000000000000000: 00000003 00000000 00000000 0001 03 901 /run/mysqld/mysqld.sock\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 902 @/tmp/abstract\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 903 /run/haproxy/admin.sock.12.tmp\n" +
		"0000000000000000: 00000002 00000000 0001"
	server := daemonHost("mariadbd", "3306", `{"text":"J","took":1}`) + "-- udp --\n"
	for _, c := range []struct{ name, more, want string }{
		{"deleted", "-- /proc/40/fd/21 -> socket:[900] --\n-- /run/haproxy/admin.sock --\n", `"mariadbd"`},
		{"there", "-- /run/mysqld/mysqld.sock --\n-- /run/haproxy/admin.sock --\n", "none"},
		{"in a root of its own", "-- /proc/40/fd/21 -> socket:[900] --\n-- /proc/40/root/run/mysqld/mysqld.sock --\n-- /run/haproxy/admin.sock --\n", "none"},
		{"of nobody who was found", "-- /run/haproxy/admin.sock --\n", "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFacts(t, Listeners, observe(t, Listeners, server+table+"\n"+c.more), map[string]string{"lost_sockets[/run/mysqld/mysqld.sock].process": c.want, "lost_sockets[/run/haproxy/admin.sock.12.tmp].process": "none"})
		})
	}
}

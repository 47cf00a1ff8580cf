package linux

import "testing"

func TestPrograms(t *testing.T) {
	const dpkg = "-- /bin/sh 0755 0:0 --\n#\n-- /var/lib/dpkg/info/sudo.list mtime=2025-01-02T00:00:00Z --\n/.\n/usr/bin\n/usr/bin/sudo\n/usr/bin/sudoedit\n/usr/share/doc/sudo/sudo\n" +
		"-- /var/lib/dpkg/info/coreutils.list mtime=2025-01-02T00:00:00Z --\n/bin/cat\n/bin/ls\n/usr/bin/env\n" +
		"-- /var/lib/dpkg/info/libssl3:amd64.list mtime=2025-01-02T00:00:00Z --\n/usr/lib/x86_64-linux-gnu/libssl.so.3\n/usr/lib/x86_64-linux-gnu/gconv/x.so\n" +
		"-- /var/lib/dpkg/info/coreutils.md5sums --\n0007  bin/cat\n" +
		"-- /usr/bin/sudoedit -> sudo --\n-- /usr/bin/env 0755 0:0 --\nELF\n-- /bin/ls 0755 0:0 --\nELF\n-- /usr/lib/x86_64-linux-gnu/libssl.so.3 0644 0:0 --\nELF\n"
	const cat, sudo = "-- /bin/cat 0755 0:0 mtime=2024-01-02T00:00:00Z --\nELF\n", "-- /usr/bin/sudo 04755 0:0 --\nELF\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"as installed", dpkg + cat + sudo, map[string]string{"broken": "[]", "changed": "[]"}},
		{"sudo lost its bit, cat its own", dpkg + "-- /bin/cat 0644 0:0 --\nELF\n-- /usr/bin/sudo 0755 0:0 --\nELF\n", map[string]string{
			"broken[/usr/bin/sudo].kind": `"setuid"`, "broken[/usr/bin/sudo].good_mode": `"4755"`, "broken[/usr/bin/sudo].vital": "true", "broken[/bin/cat].kind": `"exec"`,
		}},
		{"sudo is another's", dpkg + cat + "-- /usr/bin/sudo 04755 1000:0 --\nELF\n", map[string]string{"broken[/usr/bin/sudo].kind": `"setuid"`}},
		{"sudo is gone, and with it a link", dpkg + cat, map[string]string{"broken[/usr/bin/sudo].kind": `"missing"`, "broken[/usr/bin/sudo].package": `"sudo"`, "broken[/usr/bin/sudoedit].kind": `"dangling"`}},
		{"on purpose", dpkg + cat + "-- /usr/bin/sudo 0750 0:0 --\nELF\n-- /var/lib/dpkg/statoverride --\nroot adm 0750 /usr/bin/sudo\n", map[string]string{"broken": "[]"}},
		{"cat is another", dpkg + sudo + "-- /bin/cat 0755 0:0 mtime=2025-06-01T00:00:00Z --\nELF\n-- md5 /bin/cat --\n\"0008\"\n", map[string]string{"broken": "[]", "changed[/bin/cat].package": `"coreutils"`}},
		{"cat has another date", dpkg + sudo + "-- /bin/cat 0755 0:0 mtime=2025-06-01T00:00:00Z --\nELF\n-- md5 /bin/cat --\n\"0007\"\n", map[string]string{"changed": "[]"}},
		{"no dpkg", "-- /bin/sh --\n#\n-- /usr/bin/su 0755 0:0 --\nELF\n-- /usr/bin/mount 0755 0:0 --\nELF\n-- /usr/bin/ls 0644 0:0 --\nELF\n", map[string]string{
			"broken[/usr/bin/su].kind": `"setuid"`, "broken[/usr/bin/ls].kind": `"exec"`, "broken[/usr/bin/mount]": "none",
		}},
		{"no shell; a link to a program that is gone", "-- /usr/bin/su 04755 0:0 --\nELF\n-- /etc/alternatives/vi -> /usr/bin/vim.basic --\n-- /etc/alternatives/x.1.gz -> /usr/share/man/man1/x.1.gz --\n", map[string]string{
			"broken[/bin/sh].kind": `"missing"`, "broken[/etc/alternatives/vi].kind": `"alternative"`, "broken[/etc/alternatives/x.1.gz]": "none",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Binaries, observe(t, Binaries, c.capture), c.want) })
	}
}

package linux

import "testing"

func TestSudoUnused(t *testing.T) {
	const base = "-- /usr/bin/sudo 04755 --\n-- /etc/sudoers --\nDefaults secure_path=\"/usr/sbin:/usr/bin\"\nroot ALL=(ALL:ALL) ALL\n"
	const include = "@includedir /etc/sudoers.d\n"
	const rule = "deploy ALL=(root) NOPASSWD: ALL\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"as it should be", base + include + "-- /etc/sudoers.d/README.md --\n" + rule + "-- /etc/sudoers.d/x.rpmsave --\n" + rule + "-- /etc/sudoers.d/deploy --\n" + rule, map[string]string{"unused": "[]"}},
		{"a name with a dot", base + include + "-- /etc/sudoers.d/deploy.conf --\n# x\n" + rule, map[string]string{"unused[/etc/sudoers.d/deploy.conf].kind": `"name"`}},
		{"a name with a dot, and no rule", base + include + "-- /etc/sudoers.d/deploy.conf --\n# x\n", map[string]string{"unused": "[]"}},
		{"nothing includes it", base + "## includedir /etc/sudoers.d\n-- /etc/sudoers.d/deploy --\n" + rule, map[string]string{"unused[/etc/sudoers.d/deploy].kind": `"include"`}},
		{"a later rule", base + include + "-- /etc/sudoers.d/deploy --\n" + rule + "-- /etc/sudoers.d/zz --\ndeploy ALL=(ALL) !ALL\n", map[string]string{"unused[/etc/sudoers.d/zz:1].kind": `"overridden"`}},
		{"an earlier rule", base + include + "-- /etc/sudoers.d/aa --\ndeploy ALL=(ALL) !ALL\n-- /etc/sudoers.d/deploy --\n" + rule, map[string]string{"unused": "[]"}},
		{"a terminal", base + "Defaults env_reset, requiretty\n" + include, map[string]string{"unused[/etc/sudoers:3].kind": `"requiretty"`}},
		{"a terminal, but for one, and taken back", base + "Defaults requiretty\nDefaults !requiretty\nDefaults:deploy requiretty\n" + include, map[string]string{"unused": "[]"}},
		{"a path without programs", base + "Defaults secure_path=/opt/bin\n" + include, map[string]string{"unused[/etc/sudoers:3].kind": `"secure_path"`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Sudo, observe(t, Sudo, c.capture), c.want) })
	}
}

func TestShellSpoils(t *testing.T) {
	for _, c := range []struct{ name, file, text, kind string }{
		{"a path", "/etc/profile.d/x.sh", "export PATH=/opt/x/bin\n", "path"},
		{"a path that goes on", "/etc/profile.d/x.sh", "PATH=$PATH:/opt/x/bin\nexport PATH\nPATH=/usr/local/bin:/usr/bin\nPATH=`x`\n", ""},
		{"a path in a condition", "/etc/profile.d/x.sh", "if [ -d /opt/x ]; then PATH=/opt/x; fi\n[ -d /x ] && PATH=/x\n", ""},
		{"read", "/root/.profile", "read -p 'Press enter' x\n", "wait"},
		{"read of a file, or for some seconds", "/root/.profile", "read x </etc/hostname\nread -t 3 x\ncat x | while read y; do :; done\n", ""},
		{"sleep", "/root/.bashrc", "sleep 10m\n", "wait"},
		{"a nap, and one in the background", "/root/.bashrc", "sleep 0.5\nsleep 600 &\n", ""},
		{"bash in .bashrc", "/root/.bashrc", "exec bash\n", "loop"},
		{"bash in .profile", "/root/.profile", "exec bash\n", ""},
		{"itself", "/root/.bashrc", ". ~/.bashrc\n", "loop"},
		{"another file", "/root/.profile", ". ~/.bashrc\n. /etc/profile.d/x.sh\n", ""},
		{"umask", "/etc/profile", "umask 0777\n", "umask"},
		{"a strict umask", "/etc/profile", "umask 077\numask u=rwx,g=,o=\n", ""},
		{"ulimit", "/etc/profile", "ulimit -S -f 100\n", "limit"},
		{"limits that are raised, or none", "/etc/profile", "ulimit -n 65535\nulimit -c 0\nulimit -f unlimited\nulimit -a\n", ""},
		{"a timeout", "/etc/profile", "readonly TMOUT=5\n", "timeout"},
		{"a usual timeout", "/etc/profile", "TMOUT=900\nexport TMOUT\n", ""},
		{"a greeting", "/root/.bashrc", "echo Welcome\n", "prints"},
		{"a greeting for terminals", "/root/.bashrc", "case $- in *i*) ;; *) return;; esac\necho Welcome\n", ""},
		{"a greeting to stderr, and one in .profile", "/root/.bashrc", "echo Welcome >&2\n", ""},
		{"what comes after the end", "/root/.bashrc", "return\nsleep 600\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			for _, e := range shellSpoils(c.file, c.text) {
				got += e.Kind
			}
			if got != c.kind {
				t.Errorf("%q, want %q", got, c.kind)
			}
		})
	}
}

func TestAccountChanges(t *testing.T) {
	const base = "-- /etc/passwd 0644 mtime=2025-12-31T23:00:00Z --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/usr/sbin/nologin\nanna:x:1001:1001::/home/anna:/bin/bash\n-- /etc/passwd- --\ndeploy:x:1000:1000::/home/deploy:/bin/bash\n" +
		"-- /etc/group 0644 mtime=2025-12-31T23:00:00Z --\nroot:x:0:\ndocker:x:9:\nusers:x:100:deploy\nanna:x:1001:\n-- /etc/group- --\nroot:x:0:\ndocker:x:9:deploy\ngone:x:10:deploy,anna\nusers:x:100:\n" +
		"-- /home/deploy/ 0700 1000:1000 --\n-- /home/deploy/.ssh/authorized_keys --\nkey\n-- /home/anna/ 0755 1000:1000 --\n"
	f := observe(t, Accounts, base)
	wantFacts(t, Accounts, f, map[string]string{
		"lost_groups[deploy].lost": `["docker"]`, "lost_groups[deploy].gained": `["users"]`, "lost_groups[deploy].left": "0", "lost_groups[anna]": "none",
		"shut_out[deploy].was": `"/bin/bash"`, "logins[anna].home_problem": `"it belongs to uid 1000"`, "nsswitch_without_files": "[]",
	})
	wantFacts(t, Accounts, observe(t, Accounts, base+"-- /etc/nsswitch.conf --\npasswd: files\nshadow: ldap # x\ngroup: sss files\n"), map[string]string{"nsswitch_without_files": `["shadow: ldap"]`})
}

func TestNosuidMount(t *testing.T) {
	const mounts = "1 0 8:1 / / rw,relatime - ext4 /dev/vda1 rw\n2 1 8:2 / /usr rw,nosuid - ext4 /dev/vda2 rw\n3 1 0:5 / /usr/lo rw - tmpfs x rw\n"
	for name, want := range map[string]string{"/usr/bin/sudo": "/usr", "/bin/su": "", "/usr/lo/x": ""} {
		if got := nosuidMount(mounts, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

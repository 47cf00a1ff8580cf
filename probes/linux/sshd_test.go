package linux

import (
	"strings"
	"testing"
)

func TestSshd(t *testing.T) {
	const installed = "-- /usr/sbin/sshd 0755 --\n-- /etc/ssh/sshd_config --\nPort 22\n-- /etc/passwd --\nroot:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
	const keys = "-- /etc/ssh/ssh_host_rsa_key 0600 --\n-- /etc/ssh/ssh_host_ed25519_key 0600 --\n-- /run/sshd/ 0755 --\n-- /root/ 0700 --\n-- /root/.ssh/ 0700 --\n-- /root/.ssh/authorized_keys 0600 --\n"
	const running = "-- /run/sshd.pid --\n700\n-- /proc/700/comm --\nsshd\n-- /proc/700/cmdline --\nsshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups\n-- /proc/700/fd/3 -> socket:[9001] --\n"
	const listener = "-- tcp --\n{\"state\":10,\"local\":\"0.0.0.0:22\",\"rq\":0,\"wq\":128,\"uid\":0,\"ino\":9001}\n"
	const config = "-- $ sshd -T --\nport 22\naddressfamily any\nlistenaddress [::]:22\nusepam yes\nmaxsessions 10\npermitrootlogin without-password\npubkeyauthentication yes\n" +
		"passwordauthentication no\nstrictmodes yes\nauthorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\nhostkey /etc/ssh/ssh_host_rsa_key\n" +
		"hostkey /etc/ssh/ssh_host_ed25519_key\nallowusers root\nallowusers deploy\nmaxstartups 10:30:100\npidfile /run/sshd.pid\n"
	refused := func(stderr string) string { return "-- $ sshd -T [exit 255] --\n-- $ sshd -T [stderr] --\n" + stderr }
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "in order", capture: installed + keys + running + listener + config,
			want: map[string]string{
				"running": "true", "pid": "700", "listening": "true", "ports[22].own": "true", "config_valid": "true", "startable": "true", "config_errors": "[]", "complaint": "null",
				"host_keys_missing": "false", "privilege_separation_missing": "false", "privilege_separation_user": "true", "permit_root_login": `"without-password"`,
				"password_authentication": "false", "strict_modes": "true", "allow_users": `["root","deploy"]`, "deny_users": "[]", "max_sessions": "10", "max_startups": `"10:30:100"`,
				"paths[/etc/ssh/ssh_host_rsa_key].problem": `""`, "paths[/root/.ssh/authorized_keys].mode": `"0600"`, "paths[/root/.ssh/authorized_keys2]": "none",
				"paths[/run/sshd].problem": `""`, "socket_activated": "false", "disabled": "false", "config_exists": "true",
			},
		},
		{
			name: "a bad line; a stale pid file; only a session is left",
			capture: installed + keys + strings.Replace(running, "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "sshd: root@pts/0", 1) + "-- tcp --\n" +
				refused("/etc/ssh/sshd_config: line 12: Bad configuration option: Foo\r\n/etc/ssh/sshd_config line 30: Deprecated option UsePrivilegeSeparation\n/etc/ssh/sshd_config: terminating, 1 bad configuration options\n"),
			want: map[string]string{
				"running": "false", "pid": "null", "listening": "false", "ports[22].listening": "false", "ports[22].own": "null", "config_valid": "false", "startable": "false",
				"config_errors[/etc/ssh/sshd_config:12].text": `"Bad configuration option: Foo"`, "config_errors[/etc/ssh/sshd_config:30]": "none",
				"host_keys_missing": `{"unreadable":"sshd stopped before it came to this"}`, "allow_users": `{"unreadable":"there is no effective configuration"}`,
			},
		},
		{
			name: "no host keys", capture: installed + "-- /proc/1/comm --\ninit\n-- tcp --\n" + refused("sshd: no hostkeys available -- exiting.\n"),
			want: map[string]string{
				"config_valid": "true", "startable": "false", "host_keys_missing": "true", "complaint": `"sshd: no hostkeys available -- exiting."`, "config_errors": "[]",
				"paths[/etc/ssh/ssh_host_ed25519_key].exists": "false", "privilege_separation_missing": `{"unreadable":"sshd stopped before it came to this"}`,
			},
		},
		{
			name: "no privilege-separation directory", capture: installed + keys + "-- /proc/1/comm --\ninit\n-- tcp --\n" + refused("Missing privilege separation directory: /run/sshd\n"),
			want: map[string]string{"config_valid": "true", "privilege_separation_missing": "true", "host_keys_missing": "false", "startable": "false"},
		},
		{
			name: "no privilege-separation directory, because the unit that makes it is stopped",
			capture: installed + keys + "-- /proc/1/comm --\nsystemd\n-- tcp --\n-- /run/systemd/system/ --\n-- /lib/systemd/system/ssh.service --\n[Service]\nRuntimeDirectory=sshd\nRuntimeDirectoryMode=0755\n" +
				refused("Missing privilege separation directory: /run/sshd\n"),
			want: map[string]string{"config_valid": "true", "privilege_separation_missing": "false", "host_keys_missing": "false", "startable": "true", "complaint": "null", "running": "false"},
		},
		{
			name: "no configuration file", capture: "-- /usr/sbin/sshd 0755 --\n-- tcp --\n-- /proc/1/comm --\ninit\n" + refused("/etc/ssh/sshd_config: No such file or directory\n"),
			want: map[string]string{"config_exists": "false", "config_valid": "false", "config_errors[/etc/ssh/sshd_config].text": `"/etc/ssh/sshd_config: No such file or directory"`},
		},
		{
			name: "another port, and somebody else has it",
			capture: installed + keys + running + strings.Replace(config, "port 22", "port 2222\nport 22", 1) +
				"-- tcp --\n{\"state\":10,\"local\":\"[::]:2222\",\"rq\":0,\"wq\":128,\"uid\":0,\"ino\":5}\n{\"state\":1,\"local\":\"10.0.0.1:22\",\"rq\":0,\"wq\":0,\"uid\":0,\"ino\":6}\n",
			want: map[string]string{"listening": "false", "ports[2222].listening": "true", "ports[2222].own": "false", "ports[22].listening": "false"},
		},
		{
			name: "systemd listens in its place", capture: installed + keys + config + listener + "-- /proc/1/comm --\nsystemd\n-- /proc/1/fd/40 -> socket:[9001] --\n",
			want: map[string]string{"running": "false", "listening": "true", "socket_activated": "true", "ports[22].own": "true"},
		},
		{
			name: "modes that sshd refuses",
			capture: installed + running + listener + config + "-- /etc/ssh/ 0777 --\n-- /etc/ssh/ssh_host_rsa_key 0644 --\n-- /etc/ssh/ssh_host_ed25519_key 0640 0:990 --\n" +
				"-- /run/sshd/ 0777 --\n-- /root/ 0775 --\n-- /root/.ssh/ 0700 1000:1000 --\n-- /root/.ssh/authorized_keys 0666 --\n",
			want: map[string]string{
				"paths[/etc/ssh].problem": `"others may write it"`, "paths[/etc/ssh].good_mode": `"0755"`,
				"paths[/etc/ssh/ssh_host_rsa_key].problem": `"others may read it: sshd ignores the key"`, "paths[/etc/ssh/ssh_host_rsa_key].good_mode": `"0600"`,
				"paths[/etc/ssh/ssh_host_ed25519_key].problem": `""`, "paths[/run/sshd].problem": `"others may write it: sshd does not start"`,
				"paths[/root].problem": `"others may write it: sshd ignores the keys (StrictModes)"`, "paths[/root/.ssh].problem": `"not owned by root"`,
				"paths[/root/.ssh/authorized_keys].good_mode": `"0600"`,
			},
		},
		{
			name: "StrictModes is off", capture: installed + keys + running + listener + strings.Replace(config, "strictmodes yes", "strictmodes no", 1),
			want: map[string]string{"strict_modes": "false", "paths[/root]": "none", "paths[/etc/ssh].exists": "true"},
		},
		{
			name: "not root", capture: "root: no\n" + installed + running + listener,
			want: map[string]string{"running": "true", "config_valid": `{"unreadable":"sshd -T needs root"}`, "startable": `{"unreadable":"sshd -T needs root"}`, "config_errors": `{"unreadable":"sshd -T needs root"}`},
		},
		{
			name: "switched off on purpose", capture: installed + keys + config + "-- tcp --\n-- /proc/1/comm --\ninit\n-- /etc/ssh/sshd_not_to_be_run --\n",
			want: map[string]string{"disabled": "true", "running": "false"},
		},
		{
			name: "nothing printed", capture: installed + "-- tcp --\n-- /proc/1/comm --\ninit\n-- $ sshd -T --\n",
			want: map[string]string{"config_valid": `{"unreadable":"sshd -T printed no configuration"}`},
		},
		{
			name: "sockets cannot be listed", capture: installed + keys + running + config,
			want: map[string]string{"listening": `{"unreadable":"tcp: not in the capture"}`, "running": "true"},
		},
		{name: "not installed", want: map[string]string{"(reason)": "sshd is not installed"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Sshd, observe(t, Sshd, c.capture), c.want) })
	}
}

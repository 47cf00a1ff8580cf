package linux

import (
	"strings"
	"testing"
)

func TestAccounts(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\nanna:x:1000:1000:Anna,,,:/home/anna:/bin/zsh\n"
	// 2026-01-01, the captures' default date, is day 20454.
	base := map[string]string{
		"/etc/passwd": passwd, "/etc/group": "root:x:0:\nstaff:x:50:anna\nanna:x:1000:\n", "/etc/shadow 0640 0:42": "root:$6$salt$hash:20000:0:99999:7:::\nanna:!:20000:0:99999:7:::\n",
		"/etc/shells": "# shells\n/bin/sh\n/bin/bash\n", "/etc/nsswitch.conf": "# x\npasswd:  files systemd # y\nhosts: files dns\n",
		"/bin/bash 0755": "", "/root/ 0700": "",
	}
	capture := func(change map[string]string) string {
		var b strings.Builder
		for name, body := range base {
			key, _, _ := strings.Cut(name, " ")
			if changed, ok := change[key]; ok {
				if body = changed; body == "-" {
					continue
				}
			}
			b.WriteString("-- " + name + " --\n" + body)
		}
		for name, body := range change {
			if strings.HasPrefix(name, "+") {
				b.WriteString("-- " + name[1:] + " --\n" + body)
			}
		}
		return b.String()
	}
	for _, c := range []struct {
		name   string
		change map[string]string
		want   map[string]string
	}{
		{
			name: "a host in order",
			want: map[string]string{
				"root": "true", "root_uid": "0", "root_shell": `"/bin/bash"`, "root_shell_exists": "true", "root_shell_listed": "true", "root_shell_logs_in": "true",
				"root_home_exists": "true", "root_password": `"set"`, "root_expired": "false", "root_password_expired": "false", "other_roots": "[]", "problems": "[]",
				"logins[root].uid": "0", "logins[anna].shell_exists": "false", "logins[daemon]": "none", "nsswitch_passwd": `"files systemd"`, "nsswitch_files": "true",
				"nologin": "[]", "shutdown_scheduled": "false",
			},
		},
		{
			name: "somebody's dates", change: map[string]string{"/etc/shadow": "root:*:20000:0:99999:7:::\nanna:!$6$x:20000:0:90:7:30:20450:\n", "+/home/anna/": ""},
			want: map[string]string{
				"logins[anna].password": `"locked"`, "logins[anna].expired": "true", "logins[anna].expired_days": "4", "logins[anna].password_expired": "true",
				"logins[anna].retired": "true", "logins[anna].password_change_forced": "false", "logins[anna].password_inactive": "true", "logins[anna].home_exists": "true", "logins[root].expired": "false", "logins[root].expired_days": "null",
			},
		},
		{
			name: "an account of keys alone has expired", change: map[string]string{"/etc/shadow": "root:*:20000:0:99999:7:::\nanna:!!:0:0:90:7::20450:\n"},
			want: map[string]string{"logins[anna].retired": "false", "logins[anna].expired": "true", "logins[anna].password_change_forced": "true"},
		},
		{
			name: "taken out of use by its date", change: map[string]string{"/etc/shadow": "root:*:20000:0:99999:7:::\nanna:$6$x:20000:0:99999:7::1:\n"},
			want: map[string]string{"logins[anna].retired": "true", "logins[anna].expired": "true"},
		},
		{
			name: "somebody's password is old and may be changed", change: map[string]string{"/etc/shadow": "root:*:20000:0:99999:7:::\nanna:$6$x:20360:0:90:7:30::\n"},
			want: map[string]string{
				"logins[anna].expired": "false", "logins[anna].password_expired": "true", "logins[anna].password_inactive": "false", "logins[anna].home_exists": "false",
			},
		},
		{
			name: "a cloud image: root is locked", change: map[string]string{"/etc/shadow": "root:*:20000:0:99999:7:::\n"},
			want: map[string]string{"root_password": `"locked"`, "root_password_expired": "false"},
		},
		{
			name: "no password, and the account has expired", change: map[string]string{"/etc/shadow": "root::20000:0:99999:7::20454:\n"},
			want: map[string]string{"root_password": `"empty"`, "root_expired": "true"},
		},
		{
			name: "too old a password; the hash is never told", change: map[string]string{"/etc/shadow": "root:$6$canary:20000:0:90:7::20455:\n"},
			want: map[string]string{"root_password": `"set"`, "root_expired": "false", "root_password_expired": "true"},
		},
		{
			name: "must be changed at the next login", change: map[string]string{"/etc/shadow": "root:$6$x:0:0:99999:7:::\n"},
			want: map[string]string{"root_password_expired": "true"},
		},
		{
			name: "not root", change: map[string]string{"/etc/shadow": "-", "+/etc/shadow !permission": ""},
			want: map[string]string{"root_password": `{"unreadable":"reading /etc/shadow: open /etc/shadow: permission denied"}`, "problems": `{"items":[],"more":1,"why":"reading /etc/shadow: open /etc/shadow: permission denied"}`},
		},
		{
			name:   "no root, another uid 0, broken lines",
			change: map[string]string{"/etc/passwd": "toor:x:0:0::/root:/bin/sh\n\n# c\n+nis::::::\nbad:x:5\nworse:x:five:1::/:/bin/sh\n:x:7:7::/:/bin/sh\n"},
			want: map[string]string{
				"root": "false", "root_uid": "null", "root_password": "null", "other_roots[toor].shell": `"/bin/sh"`,
				"problems[/etc/passwd:5].problem": `"3 fields between colons, not 7"`, "problems[/etc/passwd:7].problem": `"no name"`,
				"problems[/etc/passwd: worse].problem": `"the user id is \"five\", not a number"`,
			},
		},
		{
			name:   "a shell that is not there, a home that is gone, DOS line ends",
			change: map[string]string{"/etc/passwd": "root:x:0:0:root:/gone:/bin/fish\n", "/etc/group": "-", "+/etc/group [quoted]": quote("root:x:0:\r\n")},
			want: map[string]string{
				"root_shell_exists": "false", "root_shell_listed": "false", "root_home_exists": "false",
				"problems[/etc/group:1].problem": `"it ends in a carriage return (a DOS line end)"`,
			},
		},
		{name: "root may not log in", change: map[string]string{"/etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\n"}, want: map[string]string{"root_shell_logs_in": "false", "logins": "[]"}},
		{
			name: "accounts are looked up elsewhere alone", change: map[string]string{"/etc/nsswitch.conf": "passwd: ldap\n"},
			want: map[string]string{"nsswitch_files": "false", "nsswitch_passwd": `"ldap"`},
		},
		{name: "no nsswitch.conf means files", change: map[string]string{"/etc/nsswitch.conf": "-"}, want: map[string]string{"nsswitch_files": "true", "nsswitch_passwd": "null"}},
		{
			name: "nologin", change: map[string]string{"+/etc/nologin mtime=2025-12-31T21:30:00Z": "maintenance\n", "+/run/systemd/shutdown/scheduled": "x\n"},
			want: map[string]string{"nologin[/etc/nologin].age": `"2h30m0s"`, "shutdown_scheduled": "true"},
		},
		{name: "no passwd", change: map[string]string{"/etc/passwd": "-"}, want: map[string]string{"(reason)": "reading /etc/passwd"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Accounts, observe(t, Accounts, capture(c.change)), c.want) })
	}
}

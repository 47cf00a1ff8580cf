package linux

import "testing"

func TestSELinux(t *testing.T) {
	// 2026-01-01T00:00:00Z, the time of a capture that has none, is 1767225600.
	const on = "-- /sys/fs/selinux/enforce [quoted] --\n\"1\"\n"
	const log = `-- /var/log/audit/audit.log --
type=AVC msg=audit(1767221900.1:40): avc:  denied  { read } for  pid=9 comm="sshd" name="authorized_keys" dev="vda1" ino=7 scontext=x tcontext=y tclass=file permissive=0
type=AVC msg=audit(1767222000.1:42): avc:  denied  { name_bind } for  pid=9 comm="sshd" src=2222 scontext=x tcontext=y tclass=tcp_socket permissive=0
type=AVC msg=audit(1767222000.1:43): avc:  denied  { read } for  pid=9 comm="httpd" name="x" permissive=0
type=AVC msg=audit(1767222000.1:44): avc:  denied  { read } for  pid=9 comm="login" name="x" permissive=1
type=AVC msg=audit(1767000000.1:45): avc:  denied  { read } for  pid=9 comm="sudo" name="x" permissive=0
type=USER_LOGIN msg=audit(1767222000.1:46): pid=9 comm="sshd" res=success
type=AVC msg=audit(17672220
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"denials", on + log, map[string]string{
			"enforcing": "true", "denials[sshd].count": "2", "denials[sshd].last_age": `"1h0m0s"`, "denials[sshd].text": `"name_bind on 2222"`, "denials[httpd]": "none", "denials[login]": "none", "denials[sudo]": "none",
		}},
		{"only watching", "-- /sys/fs/selinux/enforce --\n0\n-- /var/log/audit/audit.log --\n", map[string]string{"enforcing": "false", "denials": "[]"}},
		{"no audit log", on, map[string]string{"enforcing": "true"}},
		{"off", "-- /etc/x --\n", map[string]string{"(reason)": "not on"}},
		{"cut short", "-- /sys/fs/selinux/enforce --\n", map[string]string{"(reason)": "not a count"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, SELinux, observe(t, SELinux, c.capture), c.want) })
	}
}

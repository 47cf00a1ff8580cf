package linux

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// pamHost is a Debian host's stacks.
const pamHost = "-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\n-- /etc/group --\nroot:x:0:\ndeploy:x:1000:\nops:x:50:deploy\n" +
	"-- /usr/lib/x86_64-linux-gnu/security/pam_unix.so --\n-- /usr/lib/x86_64-linux-gnu/security/pam_deny.so --\n-- /usr/lib/x86_64-linux-gnu/security/pam_permit.so --\n" +
	"-- /usr/lib/x86_64-linux-gnu/security/pam_access.so --\n-- /usr/lib/x86_64-linux-gnu/security/pam_faillock.so --\n" +
	"-- /etc/pam.d/common-auth --\nauth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth\trequisite\tpam_deny.so\nauth\trequired\tpam_permit.so\n" +
	"-- /etc/pam.d/common-account --\naccount\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so \naccount\trequisite\tpam_deny.so\naccount\trequired\tpam_permit.so\n"

func TestPAM(t *testing.T) {
	const sshd = "-- /etc/pam.d/sshd --\n@include common-auth\n@include common-account\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"Debian's", pamHost + sshd + "-session optional pam_systemd_home.so\nsession [success=ok ignore=ignore \\\n  default=bad] pam_unix.so # all one rule\n", map[string]string{
			"services": `["sshd"]`, "missing": "[]", "denies": "[]", "broken": "[]", "limits": "[]", "access_denied": "[]", "locked_out": "[]",
		}},
		{"RHEL's", pamHost + "-- /etc/pam.d/sshd --\nauth substack password-auth\naccount include password-auth\n-- /etc/pam.d/password-auth --\nauth required pam_env.so\nauth sufficient pam_unix.so\nauth required pam_deny.so\naccount required pam_unix.so\n-- /usr/lib64/security/pam_env.so --\n", map[string]string{
			"missing": "[]", "denies": "[]",
		}},
		{"modules that are missing", pamHost + sshd + "account required pam_tally2.so\nauth optional pam_gone.so\npassword required pam_old.so\nsession [default=ignore] /opt/x.so\n", map[string]string{
			"missing[sshd pam_tally2.so].fatal": "true", "missing[sshd pam_tally2.so].where": `"/etc/pam.d/sshd:3"`, "missing[sshd pam_gone.so].fatal": "false", "missing[sshd pam_old.so].fatal": "false",
			"missing[sshd /opt/x.so].type": `"session"`,
		}},
		{"all are turned away", pamHost + "-- /etc/pam.d/sshd --\naccount required pam_unix.so\naccount required pam_deny.so\n@include common-auth\n", map[string]string{
			"denies[sshd account].where": `"/etc/pam.d/sshd:2"`, "denies[sshd auth]": "none",
		}},
		{"lines that are none", pamHost + sshd + "acount required pam_unix.so\nauth requierd pam_unix.so\nauth required\nauth [success=1 pam_unix.so\n", map[string]string{
			"broken[/etc/pam.d/sshd:3].problem": `"\"acount\" is no type of rule"`, "broken[/etc/pam.d/sshd:4].problem": `"\"requierd\" is no control"`,
			"broken[/etc/pam.d/sshd:5].problem": `"a rule needs a type, a control and a module"`, "broken[/etc/pam.d/sshd:6].service": `"sshd"`,
		}},
		{"access.conf", pamHost + sshd + "account required pam_access.so\n-- /etc/security/access.conf --\n# x\n+:root:ALL\n-:@net:ALL\n-:ALL EXCEPT (ops) admin:ALL EXCEPT LOCAL\n-:(ops):ALL\n", map[string]string{
			"access_denied[deploy].where": `"/etc/security/access.conf:5"`, "access_denied[root]": "none",
		}},
		{"access.conf of nobody", pamHost + sshd + "-- /etc/security/access.conf --\n-:ALL:ALL\n", map[string]string{"access_denied": "[]"}},
		{"access.conf that lets in from somewhere", pamHost + sshd + "account required pam_access.so\n-- /etc/security/access.conf --\n-:ALL:LOCAL\n+:deploy root:10.0.0.0/8\n-:ALL:ALL\n", map[string]string{"access_denied": "[]"}},
		{"limits", pamHost + sshd + "-- /etc/security/limits.conf --\n* hard nproc 1\n* soft nproc 0\n* hard nofile 65535\ndeploy - maxlogins 0\n@x hard as 1024\n* hard core 0\n* - nofile -1\n", map[string]string{
			"limits[/etc/security/limits.conf:1].item": `"nproc"`, "limits[/etc/security/limits.conf:2]": "none", "limits[/etc/security/limits.conf:4].domain": `"deploy"`,
			"limits[/etc/security/limits.conf:5].value": "1024", "limits[/etc/security/limits.conf:6]": "none", "limits[/etc/security/limits.conf:7]": "none",
		}},
		{"no PAM", "-- /etc/passwd --\n", map[string]string{"(reason)": "there is no /etc/pam.d"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, PAM, observe(t, PAM, c.capture), c.want) })
	}
}

func TestPAMFailures(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) // a capture's
	tally := func(ages ...time.Duration) string {
		var b []byte
		for _, age := range ages {
			r := make([]byte, 64)
			copy(r, "10.0.0.9")
			binary.NativeEndian.PutUint16(r[54:], 1)
			binary.NativeEndian.PutUint64(r[56:], uint64(now.Add(-age).Unix()))
			b = append(b, r...)
		}
		return quote(string(b))
	}
	const m = time.Minute
	host := func(args, user, records string) string {
		return pamHost + "-- /etc/pam.d/sshd --\nauth required pam_faillock.so preauth " + args + "\nauth sufficient pam_unix.so\n" +
			fmt.Sprintf("-- /run/faillock/%s [quoted] --\n%s", user, records)
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"locked", host("", "deploy", tally(1*m, 2*m, 3*m)), map[string]string{"locked_out[deploy].failures": "3", "locked_out[deploy].unlocks_in": `"9m0s"`}},
		{"for good", host("unlock_time=never deny=2", "deploy", tally(500*m, 501*m)), map[string]string{"locked_out[deploy].failures": "2", "locked_out[deploy].unlocks_in": `"0s"`}},
		{"two are not three", host("", "deploy", tally(1*m, 2*m)), map[string]string{"locked_out": "[]"}},
		{"long ago", host("", "deploy", tally(11*m, 12*m, 13*m)), map[string]string{"locked_out": "[]"}},
		{"too far apart", host("", "deploy", tally(1*m, 10*m, 20*m)), map[string]string{"locked_out": "[]"}},
		{"root is spared", host("", "root", tally(1*m, 2*m, 3*m)), map[string]string{"locked_out": "[]"}},
		{"root is not", host("even_deny_root", "root", tally(1*m, 2*m, 3*m)), map[string]string{"locked_out[root].failures": "3"}},
		{"by the file", host("", "deploy", tally(1*m)) + "-- /etc/security/faillock.conf --\n# deny = 9\ndeny = 1\n", map[string]string{"locked_out[deploy].failures": "1"}},
		{"cut short", host("", "deploy", quote("10.0.0.9")), map[string]string{"locked_out": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, PAM, observe(t, PAM, c.capture), c.want) })
	}
}

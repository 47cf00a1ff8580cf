package linux

import (
	"testing"
	"time"
)

func TestPAMVerdicts(t *testing.T) {
	const debian = "-- /etc/pam.d/su --\nauth sufficient pam_rootok.so\n@include common-auth\n@include common-account\n"
	auth := func(text string) string {
		return "-- /etc/passwd --\n-- /etc/group --\n-- /etc/pam.d/common-account --\n-- /etc/pam.d/common-auth --\n" + text + debian
	}
	const tail = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"Debian's", auth(tail), map[string]string{"permits": "[]", "denies": "[]"}},
		{"with a directory", auth("auth [success=2 default=ignore] pam_unix.so\nauth [success=1 default=ignore] pam_sss.so use_first_pass\nauth requisite pam_deny.so\nauth required pam_permit.so\nauth optional pam_cap.so\n"), map[string]string{"permits": "[]", "denies": "[]"}},
		{"RHEL's", auth("auth required pam_env.so\nauth required pam_faillock.so preauth\nauth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\nauth [default=1 ignore=ignore success=ok] pam_localuser.so\nauth sufficient pam_unix.so\n" +
			"auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\nauth sufficient pam_sss.so forward_pass\nauth required pam_faillock.so authfail\nauth required pam_deny.so\n"), map[string]string{"permits": "[]", "denies": "[]"}},
		{"RHEL's without its end", auth("auth required pam_faillock.so preauth\nauth sufficient pam_unix.so\n"), map[string]string{"permits[su].module": `"pam_faillock.so"`}},
		{"permit comes first", auth("auth\tsufficient\tpam_permit.so\n" + tail), map[string]string{"permits[su].where": `"/etc/pam.d/common-auth:1"`, "permits[su].control": `"sufficient"`}},
		{"permit alone", auth("auth required pam_permit.so\n"), map[string]string{"permits[su].where": `"/etc/pam.d/common-auth:1"`}},
		{"permit that is optional", auth("auth optional pam_permit.so\n" + tail), map[string]string{"permits": "[]"}},
		{"a jump over the refusal", auth("auth [success=1 default=1] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n"), map[string]string{"permits[su].where": `"/etc/pam.d/common-auth:3"`}},
		{"a jump into the refusal", auth("auth [success=1 default=ignore] pam_unix.so\nauth optional pam_faildelay.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n") + "-- /etc/pam.d/sudo --\n@include common-auth\n", map[string]string{
			"denies[sudo auth].where": `"/etc/pam.d/common-auth:3"`, "denies[su auth]": "none", "permits": "[]",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, PAM, observe(t, PAM, c.capture), c.want) })
	}
}

func TestPAMRefusals(t *testing.T) {
	const users = "-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\nidle:x:1001:1001::/home/idle:/bin/bash\n-- /etc/group --\nroot:x:0:\ndeploy:x:1000:\nops:x:50:root\n" +
		"-- /home/deploy/.ssh/authorized_keys --\nkey\n-- /root/.ssh/authorized_keys --\nkey\n-- /usr/bin/true 0755 --\n-- /etc/pam.d/sshd --\n"
	const log = "-- $ journalctl -u ssh.service -u sshd.service -n 1000 -o short-unix --no-pager -q --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"a list that allows", users + "account required pam_listfile.so onerr=fail item=user sense=allow file=/etc/ssh/users\n-- /etc/ssh/users --\nroot\n", map[string]string{
			"refused[/etc/pam.d/sshd:1].accounts": `["deploy"]`, "refused[/etc/pam.d/sshd:1].why": `"not in /etc/ssh/users"`, "refused[/etc/pam.d/sshd:1].root": "false",
		}},
		{"a list that denies", users + "account required pam_listfile.so onerr=succeed item=group sense=deny file=/etc/ssh/groups\n-- /etc/ssh/groups --\nops\n", map[string]string{"refused[/etc/pam.d/sshd:1].accounts": `["root"]`}},
		{"a list that is gone", users + "account required pam_listfile.so item=user sense=deny file=/etc/ssh/users\n", map[string]string{"refused[/etc/pam.d/sshd:1].accounts": `["root","deploy"]`}},
		{"a list that is gone, and needs not be", users + "account required pam_listfile.so onerr=succeed item=user sense=allow file=/etc/ssh/users\n", map[string]string{"refused": "[]"}},
		{"a condition", users + "account requisite pam_succeed_if.so quiet user ingroup ops uid >= 0\n", map[string]string{"refused[/etc/pam.d/sshd:1].why": `"user ingroup ops does not hold"`, "refused[/etc/pam.d/sshd:1].accounts": `["deploy"]`}},
		{"conditions that hold, or decide nothing", users + "account required pam_succeed_if.so uid < 60000 shell notin /bin/false:/x tty = x\naccount sufficient pam_succeed_if.so uid < 0\nauth required pam_succeed_if.so uid < 0\n", map[string]string{"refused": "[]"}},
		{"hours", users + "account required pam_time.so\n-- /etc/security/time.conf --\n# x\nlogin;*;deploy;!Al0000-2400\nsshd;*;deploy|x*;Al0100-2300\n", map[string]string{
			"refused[/etc/pam.d/sshd:1].why": `"/etc/security/time.conf:3 allows it at Al0100-2300, and it is Thu 00:00"`, "refused[/etc/pam.d/sshd:1].accounts": `["deploy"]`,
		}},
		{"a program that is gone", users + "session required pam_exec.so quiet /opt/check\nsession optional pam_exec.so /opt/y\n", map[string]string{"refused[/etc/pam.d/sshd:1].why": `"/opt/check does not exist"`, "refused[/etc/pam.d/sshd:2]": "none"}},
		{"a program that fails", users + "account required pam_exec.so /usr/bin/true\n" + log + "1767225500.5 h sshd[7]: pam_exec(sshd:account): /usr/bin/true failed: exit code 1\n", map[string]string{"refused[/etc/pam.d/sshd:1].why": `"/usr/bin/true failed: exit code 1"`}},
		{"a program that failed long ago", users + "account required pam_exec.so /usr/bin/true\n" + log + "1767205500.5 h sshd[7]: pam_exec(sshd:account): /usr/bin/true failed: exit code 1\n", map[string]string{"refused": "[]"}},
		{"access.conf by address", users + "account required pam_access.so\n-- /etc/security/access.conf --\n-:deploy:ALL EXCEPT 10.0.0.0/8\n" + log + "1767225500.5 h sshd[7]: Accepted publickey for deploy from 203.0.113.10 port 5 ssh2\n", map[string]string{
			"access_denied[deploy].from": `"203.0.113.10"`, "access_denied[deploy].where": `"/etc/security/access.conf:1"`, "access_denied[root]": "none",
		}},
		{"access.conf, and who came fits", users + "account required pam_access.so\n-- /etc/security/access.conf --\n-:deploy:ALL EXCEPT 10.0.0.0/8\n" + log + "1767225500.5 h sshd[7]: Accepted publickey for deploy from 10.1.2.3 port 5 ssh2\n", map[string]string{"access_denied": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, PAM, observe(t, PAM, c.capture), c.want) })
	}
}

func TestTimeFits(t *testing.T) {
	monday := time.Date(2026, 1, 5, 14, 30, 0, 0, time.UTC)
	for word, want := range map[string]bool{
		"Al0000-2400": true, "Wk0900-1800": true, "Wd0900-1800": false, "MoTu1430-1431": true, "Mo1431-1500": false, "AlMo0000-2400": false,
		"Su2200-1500": true, "Mo2200-1500": false, "Mo1400-0200": true, "what": true,
	} {
		if timeFits(word, monday) != want {
			t.Errorf("%s: not %v", word, want)
		}
	}
}

func TestReachedLimits(t *testing.T) {
	const host = "-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\nanna:x:1001:1001::/home/anna:/bin/bash\n-- /etc/group --\nops:x:50:deploy\n-- /etc/pam.d/sshd --\n" +
		"-- /proc/7/ 0555 1000:1000 --\n-- /proc/7/stat --\n7 (queue) S 1 7 7 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 12 0 100 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n-- /proc/7/cgroup --\n0::/system.slice/queue.service\n"
	limits := func(text string) string { return "-- /etc/security/limits.conf --\n" + text }
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"reached", host + limits("* hard nproc 5000\n@ops hard nproc 12\n") + "-- /proc/loadavg --\n0 0 0 1/40 9\n", map[string]string{
			"limits_reached[deploy].count": "12", "limits_reached[deploy].limit": "12", "limits_reached[deploy].unit": `"queue.service"`, "limits_reached[deploy].by": `["12 × queue"]`, "limits_reached[anna]": "none",
		}},
		{"the machine has not so many", host + limits("* hard nproc 12\n") + "-- /proc/loadavg --\n0 0 0 1/10 9\n", map[string]string{"limits_reached": "[]"}},
		{"its own line beats the group's", host + limits("deploy hard nproc 30\n@ops hard nproc 12\n") + "-- /proc/loadavg --\n0 0 0 1/40 9\n", map[string]string{"limits_reached": "[]"}},
		{"too many logins", host + limits("* - maxlogins 2\n") + "-- /proc/loadavg --\n0 0 0 1/40 9\n-- $ journalctl -u ssh.service -u sshd.service -n 1000 -o short-unix --no-pager -q --\n1767225500.5 h sshd[7]: pam_limits(sshd:session): Too many logins (max 2) for anna\n", map[string]string{
			"limits_reached[anna].item": `"maxlogins"`, "limits_reached[deploy]": "none",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, PAM, observe(t, PAM, c.capture), c.want) })
	}
}

package linux

import (
	"strings"
	"testing"
)

func TestSshdObstacles(t *testing.T) {
	ed := sshKey("ssh-ed25519", strings.Repeat("k", 32))
	const host = "-- /proc/ --\n-- /usr/sbin/sshd 0755 --\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\n-- /etc/group --\nroot:x:0:\ndeploy:x:1000:\n" +
		"-- /etc/shadow --\nroot:*:1::::::\ndeploy:!:1::::::\n-- tcp --\n-- / 0755 --\n-- /usr/lib/sftp-server 0755 --\n-- /home/deploy/ 0755 1000:1000 --\n-- /home/deploy/.ssh/ 0700 1000:1000 --\n"
	const conf = "port 22\npubkeyauthentication yes\npasswordauthentication yes\nstrictmodes yes\nauthorizedkeysfile .ssh/authorized_keys\n"
	capture := func(config, effective string) string {
		return host + "-- /home/deploy/.ssh/authorized_keys 0600 1000:1000 --\n" + ed + "\n-- /etc/ssh/sshd_config --\n" + config + "-- $ sshd -T --\n" + conf + effective
	}
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"all is well", capture("", "subsystem sftp /usr/lib/sftp-server -l INFO\nrevokedkeys none\nforcecommand none\nchrootdirectory none\nmaxsessions 10\nmaxauthtries 6\nlogingracetime 120\nauthenticationmethods any\nusepam yes\n"+
			"ciphers aes256-gcm@openssh.com\nmacs hmac-md5\nkexalgorithms curve25519-sha256\n"), map[string]string{"obstacles": "[]"}},
		{"sftp's server lies elsewhere", capture("# x\nsubsystem\tsftp /usr/libexec/sftp-server\n", "subsystem sftp /usr/libexec/sftp-server\n"), map[string]string{
			"obstacles[Subsystem].problem": `"/usr/libexec/sftp-server does not exist"`, "obstacles[Subsystem].where": `"/etc/ssh/sshd_config:2"`, "obstacles[Subsystem].kind": `"transfer"`,
		}},
		{"one's own sftp", capture("", "subsystem sftp internal-sftp -f AUTH\n"), map[string]string{"obstacles": "[]"}},
		{"a command that is not there, and one within a chroot", capture("", "forcecommand /opt/menu --all\nchrootdirectory /srv\n"), map[string]string{"obstacles[ForceCommand]": "none", "obstacles[ChrootDirectory (deploy)].problem": `"/srv does not exist"`}},
		{"a command for everybody", capture("", "forcecommand /opt/menu --all\n"), map[string]string{"obstacles[ForceCommand].problem": `"/opt/menu does not exist"`, "obstacles[ForceCommand].account": `""`}},
		{"a chroot that its user owns", capture("", "chrootdirectory %h\n"), map[string]string{
			"obstacles[ChrootDirectory (deploy)].problem": `"/home/deploy has owner 1000 and mode 0755; it must be root's, and nobody else's to write: sshd ends the session"`,
		}},
		{"lists and counts", capture("", "revokedkeys /etc/ssh/revoked\nmaxsessions 0\nmaxauthtries 0\nlogingracetime 2\ntrustedusercakeys /etc/ssh/ca\n"), map[string]string{
			"obstacles[RevokedKeys].kind": `"login"`, "obstacles[MaxSessions].value": `"0"`, "obstacles[MaxAuthTries].value": `"0"`, "obstacles[LoginGraceTime].value": `"2"`, "obstacles[TrustedUserCAKeys].kind": `"certificate"`,
		}},
		{"a second factor that the account has not", capture("", "authenticationmethods publickey,password\n"), map[string]string{"obstacles[AuthenticationMethods (deploy)].problem": `"publickey,password: password is asked for, and the account has none"`}},
		{"one of the lists will do", capture("", "authenticationmethods publickey,password publickey\n"), map[string]string{"obstacles": "[]"}},
		{"keys are switched off", capture("", "pubkeyauthentication no\n"), map[string]string{"obstacles": "[]"}},
		{"old algorithms", capture("", "ciphers 3des-cbc,aes128-cbc\nkexalgorithms diffie-hellman-group1-sha1\nmacs hmac-md5\n"), map[string]string{
			"obstacles[Ciphers].kind": `"login"`, "obstacles[KexAlgorithms].kind": `"login"`, "obstacles[MACs].kind": `"login"`,
		}},
		{"a host key that is not offered", capture("", "hostkey /etc/ssh/rsa\nhostkeyalgorithms ssh-ed25519\n") + "-- /etc/ssh/rsa 0600 --\n-- /etc/ssh/rsa.pub --\nssh-rsa AAAA x\n", map[string]string{"obstacles[HostKeyAlgorithms].problem": `"none of the host keys is of these kinds: ssh-rsa"`}},
		{"a locked account, without PAM", capture("", "usepam no\n"), map[string]string{"obstacles[UsePAM (deploy)].account": `"deploy"`, "obstacles[UsePAM (root)]": "none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "keys are switched off" { // conf says yes before
				c.capture = strings.Replace(c.capture, "pubkeyauthentication yes\n", "", 1)
				c.want = map[string]string{"obstacles[PubkeyAuthentication (deploy)].kind": `"login"`}
			}
			wantFacts(t, Sshd, observe(t, Sshd, c.capture), c.want)
		})
	}
}

func TestSshdKeyOptions(t *testing.T) {
	ed := sshKey("ssh-ed25519", strings.Repeat("k", 32))
	const host = "-- /proc/ --\n-- /usr/sbin/sshd 0755 --\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\n-- /etc/group --\nroot:x:0:\ndeploy:x:1000:\n-- tcp --\n" +
		"-- / 0755 --\n-- /home/ 0755 --\n-- /home/deploy/ 0755 1000:1000 --\n-- /home/deploy/.ssh/ 0700 1000:1000 --\n-- /etc/ssh/sshd_config --\n-- $ sshd -T --\nport 22\npubkeyauthentication yes\nstrictmodes yes\nauthorizedkeysfile .ssh/authorized_keys\n"
	const log = "-- $ journalctl -u ssh.service -u sshd.service -n 1000 -o short-unix --no-pager -q --\n"
	keys := func(text string) string {
		return host + "-- /home/deploy/.ssh/authorized_keys 0600 1000:1000 --\n" + text
	}
	const refused = "1767225500.5 h sshd[7]: Authentication tried for deploy with correct key but not from a permitted host (host=203.0.113.10, ip=203.0.113.10, required=10.*).\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"bound, and nobody came from elsewhere", keys("from=\"10.*,192.0.2.0/24\",no-pty "+ed+"\n") + log + "1767225500.5 h sshd[7]: Accepted publickey for deploy from 10.0.0.1 port 5 ssh2\n", map[string]string{
			"users[deploy].keys_bound": `["/home/deploy/.ssh/authorized_keys:1: only from 10.*,192.0.2.0/24"]`, "users[deploy].keys_dead": "0", "users[deploy].refused_from": `""`,
		}},
		{"bound, and somebody did", keys("from=\"10.*\" "+ed+"\n") + log + refused, map[string]string{"users[deploy].refused_from": `"203.0.113.10"`, "users[deploy].refused_from_by": `"from="`}},
		{"another key is free", keys("from=\"10.*\" "+ed+"\n"+ed+"\n") + log + refused, map[string]string{"users[deploy].refused_from": `""`}},
		{"expired, a command that is not there, and one that is", keys("expiry-time=\"20250101\" " + ed + "\ncommand=\"/opt/x \\\"a,b\\\"\" " + ed + "\nexpiry-time=\"20990101\",command=\"/usr/sbin/sshd -x\" " + ed + "\n"), map[string]string{
			"users[deploy].keys_dead": "2", "users[deploy].keys_bound": `["/home/deploy/.ssh/authorized_keys:1: expired on 20250101","/home/deploy/.ssh/authorized_keys:2: /opt/x does not exist"]`,
		}},
		{"keys that only root may read", host + "-- /home/deploy/.ssh/authorized_keys 0600 0:0 --\n" + ed + "\n", map[string]string{
			"users[deploy].untrusted": `"/home/deploy/.ssh/authorized_keys"`, "users[deploy].untrusted_why": `"the account itself may not read it, and sshd reads it with the account's rights"`,
		}},
		{"kept out by address", strings.Replace(keys(ed+"\n"), "sshd_config --\n", "sshd_config --\nMatch Address 203.0.113.0/24\n DenyUsers deploy\n", 1) +
			"-- $ sshd -T -C user=deploy,host=client.invalid,addr=10.0.0.1 --\nport 22\npubkeyauthentication yes\nauthorizedkeysfile .ssh/authorized_keys\n-- $ sshd -T -C user=deploy,host=client.invalid,addr=203.0.113.10 --\nport 22\ndenyusers deploy\n" +
			log + "1767225500.5 h sshd[7]: Accepted publickey for deploy from 203.0.113.10 port 5 ssh2\n", map[string]string{"users[deploy].refused_from": `"203.0.113.10"`, "users[deploy].refused_from_by": `"DenyUsers"`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Sshd, observe(t, Sshd, c.capture), c.want) })
	}
}

// A daemon that runs misses its directory, even if the unit makes it at the start.
func TestSshdPrivsepGone(t *testing.T) {
	const host = "-- /usr/sbin/sshd 0755 --\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\n-- tcp --\n-- /run/systemd/system/ --\n-- /usr/lib/systemd/system/ssh.service --\n[Service]\nRuntimeDirectory=sshd\n" +
		"-- $ sshd -T [exit 255] [stderr] --\nMissing privilege separation directory: /run/sshd\n"
	const running = "-- /run/sshd.pid --\n9\n-- /proc/9/comm --\nsshd\n-- /proc/9/cmdline [quoted] --\n\"sshd\\x00\"\n"
	wantFacts(t, Sshd, observe(t, Sshd, host+running), map[string]string{"privilege_separation_missing": "true", "running": "true"})
	wantFacts(t, Sshd, observe(t, Sshd, host+"-- /proc/ --\n"), map[string]string{"privilege_separation_missing": "false", "startable": "true"})
}

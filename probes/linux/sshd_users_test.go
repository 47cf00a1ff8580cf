package linux

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
)

// sshKey is a key as it stands in authorized_keys: its type and further fields, each after its length.
func sshKey(kind string, fields ...string) string {
	var b []byte
	for _, f := range append([]string{kind}, fields...) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return kind + " " + base64.StdEncoding.EncodeToString(b)
}

func TestSshdUsers(t *testing.T) {
	ed := sshKey("ssh-ed25519", strings.Repeat("k", 32))
	rsa := func(bytes int) string { return sshKey("ssh-rsa", "\x01\x00\x01", "\x00"+strings.Repeat("\xaa", bytes)) }
	const base = "-- /proc/ --\n-- /usr/sbin/sshd 0755 --\n-- /etc/ssh/sshd_config --\nUsePAM yes\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\nwww:x:33:33::/var/www:/usr/sbin/nologin\n" +
		"-- /etc/group --\nroot:x:0:\ndeploy:x:1000:\nops:x:50:deploy\n-- tcp --\n{\"state\": 10, \"local\": \"127.0.0.1:22\", \"ino\": 5}\n-- /home/deploy/ 0755 1000:1000 --\n-- /home/deploy/.ssh/ 0700 1000:1000 --\n-- /root/.ssh/ 0700 --\n"
	const conf = "port 22\npubkeyauthentication yes\npasswordauthentication no\nkbdinteractiveauthentication no\nstrictmodes yes\nauthorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\n" +
		"pubkeyacceptedalgorithms ssh-ed25519,rsa-sha2-512,rsa-sha2-256\n"
	sshdT := func(more string) string {
		return "-- $ sshd -T --\n" + strings.NewReplacer("NOROOT", "permitrootlogin no").Replace(conf+more)
	}
	keys := func(text string) string { return "-- /home/deploy/.ssh/authorized_keys 0600 1000:1000 --\n" + text }
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"all is well", base + sshdT("permitrootlogin without-password\n") + keys("# mine\n"+ed+" me@home\nfrom=\"10.*, *.example.com\",command=\"echo \\\"x y\\\"\" "+rsa(256)+"\n"), map[string]string{
			"users[deploy].refused_by": `""`, "users[deploy].keys": "2", "users[deploy].keys_accepted": "2", "users[deploy].keys_forced": "1", "users[deploy].untrusted": `""`, "users[deploy].malformed": "[]",
			"users[deploy].password": "false", "users[deploy].pubkey": "true", "users[root].keys": "0", "users[www]": "none", "loopback_only": "true",
		}},
		{"who may", base + sshdT("allowusers root adm?n ops@10.*\nallowgroups ops\n"), map[string]string{"users[deploy].refused_by": `"AllowUsers"`, "users[root].refused_by": `"AllowGroups"`}},
		{"who may not", base + sshdT("denyusers dep*\npermitrootlogin no\n"), map[string]string{"users[deploy].refused_by": `"DenyUsers"`, "users[root].refused_by": `"PermitRootLogin"`}},
		{"from somewhere", base + sshdT("allowusers deploy@10.0.0.*\nallowusers root\ndenyusers root@192.0.2.1\n"), map[string]string{"users[deploy].refused_by": `""`, "users[root].refused_by": `""`}},
		{"groups", base + sshdT("allowgroups op?\ndenygroups root\n"), map[string]string{"users[deploy].refused_by": `""`, "users[root].refused_by": `"DenyGroups"`}},
		{"kinds of keys", base + sshdT("") + keys(sshKey("ssh-dss", "p")+"\n"+rsa(64)+"\n"+rsa(128)+"\n"), map[string]string{
			"users[deploy].keys": "3", "users[deploy].keys_accepted": "1", "users[deploy].keys_refused": `["ssh-dss","ssh-rsa of 512 bits"]`,
		}},
		{"a longer least length", base + sshdT("requiredrsasize 3072\n") + keys(rsa(256)+"\n"), map[string]string{"users[deploy].keys_accepted": "0", "users[deploy].keys_refused": `["ssh-rsa of 2048 bits"]`}},
		{"lines that are no keys", base + sshdT("") + keys("ssh-ed25519\nAAAAC3Nza\n"+strings.Replace(ed, " ", "\n", 1)+"\n"+ed[:40]+" me\n\n#\nssh-ed25519 <redacted SHA256:abc> me\n"), map[string]string{
			"users[deploy].keys": "1", "users[deploy].malformed": `["/home/deploy/.ssh/authorized_keys:1","/home/deploy/.ssh/authorized_keys:2","/home/deploy/.ssh/authorized_keys:3","/home/deploy/.ssh/authorized_keys:4","/home/deploy/.ssh/authorized_keys:5"]`,
		}},
		{"keys that a Redis server wrote", base + sshdT("") + "-- /home/deploy/.ssh/authorized_keys 0600 1000:1000 [quoted] --\n" + quote("REDIS0011\xfa\x00\n\n"+ed+"\n\n\xff"), map[string]string{
			"users[deploy].keys": "1", "users[deploy].keys_dumped": `["/home/deploy/.ssh/authorized_keys"]`, "users[root].keys_dumped": "[]",
		}},
		{"elsewhere", base + "-- $ sshd -T --\n" + strings.Replace(conf, ".ssh/authorized_keys .ssh/authorized_keys2", "/etc/ssh/keys/%u", 1) + keys(ed+"\n"), map[string]string{
			"users[deploy].keys": "0", "users[deploy].keys_files": `["/etc/ssh/keys/deploy"]`, "users[deploy].keys_unused": `["/home/deploy/.ssh/authorized_keys"]`, "users[root].keys_unused": "[]",
		}},
		{"a home that others may write", strings.Replace(base, "/home/deploy/ 0755", "/home/deploy/ 0777", 1) + sshdT("") + keys(ed+"\n"), map[string]string{
			"users[deploy].untrusted": `"/home/deploy"`, "users[deploy].untrusted_why": `"everybody may write it (mode 0777)"`,
		}},
		{"without StrictModes", strings.Replace(base, "/home/deploy/ 0755", "/home/deploy/ 0777", 1) + strings.Replace(sshdT(""), "strictmodes yes", "strictmodes no", 1) + keys(ed+"\n"), map[string]string{"users[deploy].untrusted": `""`}},
		{"its own group may write", strings.Replace(base, "/home/deploy/ 0755", "/home/deploy/ 0775", 1) + sshdT("") + keys(ed+"\n"), map[string]string{"users[deploy].untrusted": `""`}},
		{"another group may write", strings.Replace(base, "/home/deploy/ 0755 1000:1000", "/home/deploy/ 0775 1000:50", 1) + sshdT("") + keys(ed+"\n"), map[string]string{"users[deploy].untrusted": `"/home/deploy"`}},
		{"keys of a stranger", base + sshdT("") + strings.Replace(keys(ed+"\n"), "1000:1000", "1001:1001", 1), map[string]string{"users[deploy].untrusted_why": `"it belongs to uid 1001, neither the account nor root"`}},
		{"a block of its own", strings.Replace(base, "UsePAM yes", "Match User deploy\n  AllowUsers nobody", 1) + sshdT("") + "-- $ sshd -T -C user=deploy,host=client.invalid,addr=10.0.0.1 --\n" + conf + "allowusers nobody\n", map[string]string{
			"users[deploy].refused_by": `"AllowUsers"`, "users[root].refused_by": `""`,
		}},
		{"keys that may not be read", base + sshdT("") + "-- /home/deploy/.ssh/authorized_keys !permission --\n", map[string]string{"users[deploy].keys": `{"unreadable":"open /home/deploy/.ssh/authorized_keys: permission denied"}`}},
		{"no configuration", base, map[string]string{"users": `{"unreadable":"there is no effective configuration"}`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Sshd, observe(t, Sshd, c.capture), c.want) })
	}
}

func TestSshdStartups(t *testing.T) {
	const host = "-- /usr/sbin/sshd 0755 --\n-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\n-- /run/sshd.pid --\n9\n-- /proc/9/comm --\nsshd\n-- tcp --\n{\"state\": 10, \"local\": \"0.0.0.0:22\", \"ino\": 5}\n-- /proc/9/cmdline [quoted] --\n"
	for title, want := range map[string]map[string]string{
		"sshd: /usr/sbin/sshd -D [listener] 6 of 4-60 startups\x00": {"startups": "6", "startups_drop": "4", "startups_max": "60", "loopback_only": "false"},
		"/usr/sbin/sshd\x00-D\x00":                                  {"startups": "null", "startups_max": "null"},
	} {
		t.Run(title, func(t *testing.T) { wantFacts(t, Sshd, observe(t, Sshd, host+quote(title)), want) })
	}
}

package linux

import (
	"fmt"
	"strings"
	"testing"
)

func TestSystemFiles(t *testing.T) {
	const must = "-- /etc/passwd --\nroot:x:0:0::/root:/bin/sh\n-- /etc/group --\nroot:x:0:\n-- /etc/shadow 0640 0:42 --\nroot:*:::::::\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name:    "in order, as Debian and as RHEL have it",
			capture: must + "-- /etc/gshadow 0000 0:0 --\nroot:*::\n-- /etc/pam.d/sshd --\n@include common-auth\n-- /etc/pam.d/common-auth --\nauth required pam_unix.so\n",
			want: map[string]string{
				"files[/etc/passwd].problem": `""`, "files[/etc/passwd].crlf": "false", "files[/etc/shadow].problem": `""`, "files[/etc/shadow].mode": `"0640"`,
				"files[/etc/gshadow].problem": `""`, "files[/etc/pam.d/common-auth].exists": "true", "files[/etc/fstab]": "none", "preload": "[]",
			},
		},
		{
			name: "DOS line ends",
			capture: must + "-- /etc/profile [quoted] --\n" + quote("export A=1\r\n") + "-- /etc/ssh/sshd_config.d/x.conf [quoted] --\n" + quote("Port 22\r\n") +
				"-- /etc/profile.d/a.sh [quoted] --\n" + quote("printf 'a\\r'\n") + "-- /etc/pam.d/x.dpkg-old [quoted] --\n" + quote("a\r\n"),
			want: map[string]string{
				"files[/etc/profile].crlf": "true", "files[/etc/ssh/sshd_config.d/x.conf].crlf": "true", "files[/etc/profile.d/a.sh].crlf": "false",
				"files[/etc/pam.d/x.dpkg-old]": "none",
			},
		},
		{
			name:    "missing, and missing because another file includes it",
			capture: "-- /etc/group --\n-- /etc/passwd --\n-- /etc/pam.d/sshd --\n#@include gone\n@include common-auth\n-session include maybe\naccount  substack password-auth # x\n@include common-auth\n",
			want: map[string]string{
				"files[/etc/shadow].exists": "false", "files[/etc/shadow].required": "true", "files[/etc/shadow].mode": `""`, "files[/etc/shadow].crlf": "null",
				"files[/etc/pam.d/common-auth].exists": "false", "files[/etc/pam.d/common-auth].needed_by": `"/etc/pam.d/sshd"`,
				"files[/etc/pam.d/password-auth].required": "true", "files[/etc/pam.d/gone]": "none", "files[/etc/pam.d/maybe]": "none", "files[/etc/group].empty": "true",
			},
		},
		{
			name: "modes and owners",
			capture: "-- /etc/passwd 0600 --\n-- /etc/group 0666 --\n-- /etc/shadow 0644 --\n-- /etc/sudoers 0440 1000:0 --\n-- /etc/hosts 0664 0:50 --\n" +
				"-- /etc/sudoers.d/x 0660 0:27 --\n-- /etc/nsswitch.conf/ --\n",
			want: map[string]string{
				"files[/etc/passwd].problem": `"not everyone may read it"`, "files[/etc/passwd].good_mode": `"0644"`, "files[/etc/group].problem": `"everyone may write it"`,
				"files[/etc/shadow].problem": `"everyone may read it"`, "files[/etc/sudoers].problem": `"not owned by root"`,
				"files[/etc/hosts].problem": `"a group other than root's may write it"`, "files[/etc/sudoers.d/x].good_mode": `"0440"`,
				"files[/etc/nsswitch.conf].problem": `"not a regular file"`,
			},
		},
		{
			name: "preloaded libraries and their packages",
			capture: must + "-- /etc/ld.so.preload --\n/lib/x/a.so /usr/local/lib/b.so /gone.so\n-- /lib/x/a.so --\n-- /usr/local/lib/b.so --\n" +
				"-- /var/lib/dpkg/info/a.list --\n/.\n/usr\n/usr/lib/x/a.so\n-- /var/lib/dpkg/info/b.list --\n/.\n/usr/local/lib/b.so.1\n",
			want: map[string]string{"preload[/lib/x/a.so].packaged": "true", "preload[/usr/local/lib/b.so].packaged": "false", "preload[/gone.so].packaged": "null"},
		},
		{
			name:    "preloaded libraries and packages that may not be read",
			capture: must + "-- /etc/ld.so.preload --\n/a.so\n-- /a.so --\n-- /var/lib/dpkg/info/a.list !permission --\n",
			want:    map[string]string{"preload[/a.so].packaged": `{"unreadable":"open /var/lib/dpkg/info/a.list: permission denied"}`},
		},
		{
			name:    "preloaded libraries",
			capture: must + "-- /etc/ld.so.preload --\n# x\n/usr/lib/a.so:/gone.so libb.so\n-- /usr/lib/a.so --\n",
			want:    map[string]string{"preload[/usr/lib/a.so].exists": "true", "preload[/gone.so].exists": "false", "preload[libb.so].exists": "null", "preload[/usr/lib/a.so].packaged": "null"},
		},
		{
			name:    "not root",
			capture: must + "-- /etc/sudoers 0440 !permission --\n",
			want:    map[string]string{"files[/etc/sudoers].crlf": `{"unreadable":"open /etc/sudoers: permission denied"}`, "files[/etc/sudoers].mode": `"0440"`},
		},
		{name: "no /etc", want: map[string]string{"(reason)": "looking at the key files"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, SystemFiles, observe(t, SystemFiles, c.capture), c.want) })
	}
}

// TestSystemFilesNotSeen counts what a closed or crowded directory keeps from us: nothing may pass that nobody looked at.
func TestSystemFilesNotSeen(t *testing.T) {
	const passwd = "-- /etc/passwd 0666 --\nroot:x:0:0::/root:/bin/sh\n"
	var crowd strings.Builder
	for i := range maxKeyDir + 3 {
		fmt.Fprintf(&crowd, "-- /etc/profile.d/%03d.sh --\n", i)
	}
	for _, c := range []struct {
		name, capture string
		more          int
		why           string
	}{
		{"a closed directory", passwd + "-- /etc/sudoers.d/ !permission --\n", 1, "open /etc/sudoers.d: permission denied"},
		{"a directory with too many files", passwd + crowd.String(), 3, ""},
		{"all seen", passwd + "-- /etc/sudoers.d/ --\n", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := observe(t, SystemFiles, c.capture)
			files := o.Facts.At(0)
			if files.More() != c.more || files.Reason() != c.why {
				t.Errorf("%d more, %q; want %d, %q", files.More(), files.Reason(), c.more, c.why)
			}
			wantFacts(t, SystemFiles, o, map[string]string{"files[/etc/passwd].problem": `"everyone may write it"`})
		})
	}
}

package linux

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host/hosttest"
)

func TestClosedTo(t *testing.T) {
	const accounts = "-- /etc/passwd --\nroot:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n-- /etc/group --\nroot:x:0:\nweb:x:33:\nstaff:x:50:web\n-- / 0755 0:0 --\n"
	const page = "-- /srv/www/page 0644 0:0 --\nx\n"
	for _, c := range []struct{ name, capture, user, want string }{
		{"open", "-- /srv/ 0755 0:0 --\n-- /srv/www/ 0755 0:0 --\n" + page, "web", ""},
		{"a directory on the way", "-- /srv/ 0700 0:0 --\n-- /srv/www/ 0755 0:0 --\n" + page, "web", "/srv has mode 0700"},
		{"root", "-- /srv/ 0700 0:0 --\n-- /srv/www/ 0755 0:0 --\n" + page, "root", ""},
		{"the file", "-- /srv/ 0755 0:0 --\n-- /srv/www/ 0755 0:0 --\n-- /srv/www/page 0600 0:0 --\nx\n", "web", "/srv/www/page has mode 0600"},
		{"by a further group", "-- /srv/ 0755 0:0 --\n-- /srv/www/ 0750 0:50 --\n" + page, "web", ""},
		{"an access list against the user", "-- /srv/ 0755 0:0 --\n-- /srv/www/ 0755 0:0 --\n" + page + "-- attributes /srv/www --\n{\"acl\":\"user:33:---,group::r-x,mask::r-x\"}\n", "web", "/srv/www has an access list"},
		{"an access list for the user", "-- /srv/ 0755 0:0 --\n-- /srv/www/ 0750 0:0 --\n" + page + "-- attributes /srv/www --\n{\"acl\":\"user:33:r-x,group::---,mask::r-x\"}\n", "web", ""},
		{"its mask", "-- /srv/ 0755 0:0 --\n-- /srv/www/ 0705 0:0 --\n" + page + "-- attributes /srv/www --\n{\"acl\":\"user:33:r-x,group::---,mask::---\"}\n", "web", "/srv/www has an access list"},
		{"not there", "-- /srv/ 0755 0:0 --\n", "web", ""},
		{"nobody of that name", "-- /srv/ 0700 0:0 --\n", "web2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := hosttest.Parse([]byte(accounts + c.capture))
			if err != nil {
				t.Fatal(err)
			}
			if got := closedTo(h, "/srv/www/page", c.user, "", mayRead); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
}

func TestObjectIn(t *testing.T) {
	for line, want := range map[string]string{
		"redis: Failed to load private key: /etc/redis/k.pem: error:8000000D:system library::Permission denied": "/etc/redis/k.pem",
		`open("/var/log/a.log"): Permission denied.`:                                                            "/var/log/a.log",
		"cannot open './ibdata1': Permission denied":                                                            "",
		"dial http://127.0.0.1:80/x: connection refused":                                                        "",
		"[Errno 2] No such file or directory: '/etc/shop/a.ini'":                                                "/etc/shop/a.ini",
		"/opt/run.sh: line 3: /srv/data/x: Permission denied":                                                   "/srv/data/x",
	} {
		if got := objectIn(line); got != want {
			t.Errorf("%s: %q, not %q", line, got, want)
		}
	}
}

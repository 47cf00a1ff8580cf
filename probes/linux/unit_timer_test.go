package linux

import (
	"testing"

	"github.com/hostmend/hostmend/internal/host/hosttest"
)

func TestAsTimer(t *testing.T) {
	const backup = "-- /etc/systemd/system/backup.service --\nx\n"
	for _, c := range []struct {
		name, capture, enabled, active, object string
		idle                                   bool
	}{
		{"never enabled", backup + "-- /etc/systemd/system/backup.timer --\n[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n", "disabled", "inactive", "", true},
		{"started by another", backup + "-- /etc/systemd/system/backup.timer --\n[Timer]\nOnCalendar=daily\n", "static", "inactive", "", false},
		{"runs", "-- /etc/systemd/system/backup.timer --\n[Timer]\n", "enabled", "active", "", false},
		{"names another", backup + "-- /etc/systemd/system/backup.timer --\n[Timer]\nUnit=bakcup.service\n[Install]\n", "enabled", "inactive", "bakcup.service", false},
		{"an instance", "-- /usr/lib/systemd/system/backup@.service --\nx\n-- /etc/systemd/system/backup.timer --\n[Timer]\nUnit=backup@db.service\n[Install]\n", "enabled", "inactive", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := hosttest.Parse([]byte(c.capture))
			if err != nil {
				t.Fatal(err)
			}
			u := unitFacts{Name: "backup.timer", Starts: "backup.service", Load: "loaded", Active: c.active, Enabled: c.enabled}
			if u.asTimer(h); u.Idle != c.idle || u.Object != c.object {
				t.Errorf("idle %t, object %q", u.Idle, u.Object)
			}
		})
	}
}

func TestLacksRequired(t *testing.T) {
	for _, c := range []struct{ name, capture, want string }{
		{"not there", "-- /etc/systemd/system/a.service --\n[Unit]\nRequires=vault.service data.mount\n", "vault.service"},
		{"there", "-- /lib/systemd/system/vault.service --\nx\n-- /etc/systemd/system/a.service --\n[Unit]\nRequires=vault.service\n", ""},
		{"only wanted", "-- /etc/systemd/system/a.service --\n[Unit]\nWants=vault.service\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := hosttest.Parse([]byte(c.capture))
			if err != nil {
				t.Fatal(err)
			}
			u := unitFacts{Name: "a.service", Load: "loaded", Active: "inactive", Enabled: "enabled"}
			if u.lacksRequired(h); u.Object != c.want {
				t.Errorf("%q, not %q", u.Object, c.want)
			}
		})
	}
}

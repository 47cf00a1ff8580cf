package linux

import (
	"strings"
	"testing"
)

const showUnits = "$ systemctl show --no-pager --property=" + unitProperties + " *.service *.socket *.mount *.swap *.timer"

// showUnit is a unit in order, with changes; the captures' default date is 2026-01-01 00:00:00.
func showUnit(name string, change ...string) string {
	p := []string{
		"Id=" + name, "Description=A service", "LoadState=loaded", "ActiveState=active", "SubState=running", "Result=success", "Type=simple", "ExecMainCode=0",
		"ExecMainStatus=0", "NRestarts=0", "UnitFileState=enabled", "ConditionResult=yes", "StateChangeTimestamp=Wed 2025-12-31 23:00:00 UTC",
	}
	for _, c := range change {
		key, _, _ := strings.Cut(c, "=")
		for i := range p {
			if strings.HasPrefix(p[i], key+"=") {
				p[i] = c
			}
		}
	}
	return strings.Join(p, "\n") + "\n\n"
}

func TestUnits(t *testing.T) {
	const booted = "-- /run/systemd/system/ --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "only what is worth a look",
			capture: booted + "-- " + showUnits + " --\n" + showUnit("ssh.service") + showUnit("app.service") +
				showUnit("gone.service", "LoadState=not-found", "ActiveState=inactive", "SubState=dead") +
				showUnit("off.service", "UnitFileState=disabled", "ActiveState=inactive", "SubState=dead") +
				showUnit("masked.service", "LoadState=masked", "UnitFileState=masked", "ActiveState=inactive", "SubState=dead") +
				showUnit("once.service", "Type=oneshot", "ActiveState=inactive", "SubState=dead") +
				showUnit("not-here.service", "ConditionResult=no", "ActiveState=inactive", "SubState=dead") +
				showUnit("stopped.service", "ActiveState=inactive", "SubState=dead"),
			want: map[string]string{
				"loaded": "7", "failed": "0", "list[ssh.service].running": "true", "list[ssh.service].since": `"1h0m0s"`, "list[ssh.service].log": "[]",
				"list[app.service]": "none", "list[gone.service]": "none", "list[off.service]": "none", "list[masked.service]": "none", "list[once.service]": "none",
				"list[not-here.service]": "none", "list[stopped.service].stopped": "true", "list[stopped.service].running": "false",
			},
		},
		{
			name: "failed and restarting, with their last words and without secrets",
			capture: booted + "-- " + showUnits + " --\n" +
				showUnit("loop.service", "ActiveState=activating", "SubState=auto-restart", "Result=exit-code", "ExecMainCode=1", "ExecMainStatus=3", "NRestarts=12") +
				showUnit("dead.service", "ActiveState=failed", "SubState=failed", "Result=signal", "ExecMainCode=2", "ExecMainStatus=9") +
				"-- $ journalctl -u dead.service -n 5 -o cat --no-pager -q --\nstarting with DB_PASSWORD=hunter2 and postgres://app:hunter2@db/x\n\nbind: address already in use\n",
			want: map[string]string{
				"failed": "1", "list[loop.service].restarts": "12", "list[loop.service].exit_code": "3", "list[loop.service].result": `"exit-code"`, "list[loop.service].log": "[]",
				"list[dead.service].exit_code": "null", "list[dead.service].log": `["starting with DB_PASSWORD=*** and postgres://app:***@db/x","bind: address already in use"]`,
			},
		},
		{
			name: "an old systemd does not count restarts", capture: booted + "-- " + showUnits + " --\n" + strings.Replace(showUnit("cron.service"), "NRestarts=0\n", "", 1),
			want: map[string]string{"list[cron.service].restarts": "0"},
		},
		{name: "no systemd", want: map[string]string{"(reason)": "systemd is not the service manager"}},
		{name: "systemd does not answer", capture: booted + "-- " + showUnits + " [exit 1] --\n-- " + showUnits + " [stderr] --\nFailed to connect to bus\n", want: map[string]string{"(reason)": "exit status 1: Failed to connect to bus"}},
		{name: "cut short", capture: booted + "-- " + showUnits + " --\nId=a.service\nDescr\n", want: map[string]string{"(reason)": "is not KEY=value"}},
		{name: "cut after a line", capture: booted + "-- " + showUnits + " --\nId=a.service\n", want: map[string]string{"(reason)": "no LoadState for unit \"a.service\""}},
		{name: "no answer at all", capture: booted + "-- " + showUnits + " --\n", want: map[string]string{"(reason)": "no Id for unit"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Units, observe(t, Units, c.capture), c.want) })
	}
}

func TestRedactLine(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"listening on 0.0.0.0:80", "listening on 0.0.0.0:80"},
		{"password: hunter2 rejected", "password: *** rejected"},
		{`{"api_key": "hunter2", "user": "a"}`, `{"api_key": ***, "user": "a"}`},
		{"Authorization: Basic aHVudGVyMg==", "Authorization: ***"},
		{"sent Bearer eyJhbGciOi.hunter2.x", "sent Bearer ***"},
		{"redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"},
		{"AccessKeySecret=hunter2", "AccessKeySecret=***"},
		{"key 0123456789abcdef0123456789abcdef01234567 loaded", "key *** loaded"},
		{"/usr/lib/python3/dist-packages/some/very/long/path/of/a/module.py: no such file", "/usr/lib/python3/dist-packages/some/very/long/path/of/a/module.py: no such file"},
		{strings.Repeat("ä ", 300), strings.Repeat("ä ", 100) + "…"},
	} {
		if got := redactLine(c.line); got != c.want {
			t.Errorf("redactLine(%q) = %q, want %q", c.line, got, c.want)
		}
	}
}

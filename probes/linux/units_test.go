package linux

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const listUnitsCommand = "$ systemctl list-units --all --full --plain --no-legend --no-pager"

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

// systemdHost is a host whose systemd lists and shows these units.
func systemdHost(blocks ...string) string {
	var list, show strings.Builder
	var names []string
	for _, b := range blocks {
		p := map[string]string{}
		for line := range strings.Lines(b) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			p[key] = value
		}
		fmt.Fprintf(&list, "%-30s %s %s %s %s\n", p["Id"], p["LoadState"], p["ActiveState"], p["SubState"], p["Description"])
		if p["asked"] != "no" {
			names = append(names, p["Id"])
			show.WriteString(b)
		}
	}
	return "-- /run/systemd/system/ --\n-- " + listUnitsCommand + " --\n" + list.String() +
		"-- $ systemctl show --no-pager --property=" + unitProperties + " -- " + strings.Join(names, " ") + " --\n" + show.String()
}

func TestUnits(t *testing.T) {
	const dead = "ActiveState=inactive"
	unasked := func(b string) string { return "asked=no\n" + b }
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "only what is worth a look",
			capture: systemdHost(
				showUnit("ssh.service"), showUnit("app.service"), unasked(showUnit("gone.service", "LoadState=not-found", dead, "SubState=dead")),
				unasked(showUnit("off.service", dead, "SubState=dead")), unasked(showUnit("once.service", "SubState=exited")), unasked(showUnit("data.mount", "SubState=mounted")),
				unasked(showUnit("dev-vda.device", "SubState=plugged")), showUnit("job.service", "Type=oneshot", dead, "SubState=dead"),
				showUnit("not-here.service", "ConditionResult=no", dead, "SubState=dead"), showUnit("stopped.service", dead, "SubState=dead"),
			) + "-- /etc/systemd/system/multi-user.target.wants/job.service -> /x --\n-- /etc/systemd/system/multi-user.target.wants/not-here.service -> /x --\n" +
				"-- /etc/systemd/system/multi-user.target.wants/stopped.service -> /x --\n-- /etc/systemd/system/x.service.d/off.service --\n",
			want: map[string]string{
				"loaded": "8", "failed": "0", "list[ssh.service].running": "true", "list[ssh.service].since": `"1h0m0s"`, "list[ssh.service].log": "[]",
				"list[app.service]": "none", "list[off.service]": "none", "list[job.service]": "none", "list[not-here.service]": "none",
				"list[stopped.service].stopped": "true", "list[stopped.service].running": "false",
			},
		},
		{
			name: "failed and restarting, with their last words and without secrets",
			capture: systemdHost(
				showUnit("loop.service", "ActiveState=activating", "SubState=auto-restart", "Result=exit-code", "ExecMainCode=1", "ExecMainStatus=3", "NRestarts=12"),
				showUnit("dead.service", "ActiveState=failed", "SubState=failed", "Result=signal", "ExecMainCode=2", "ExecMainStatus=9"),
				showUnit("between.service", "NRestarts=4"), showUnit("-.mount", "ActiveState=failed", "SubState=failed"),
			) + "-- $ journalctl -u dead.service -n 20 -o cat --no-pager -q --\nstarting with DB_PASSWORD=hunter2 and postgres://app:hunter2@db/x\n\nbind: address already in use\n" +
				"dead.service: Main process exited, code=killed, status=9/KILL\nFailed to start dead.service - A service.\n",
			want: map[string]string{
				"failed": "2", "list[loop.service].restarts": "12", "list[loop.service].exit_code": "3", "list[loop.service].result": `"exit-code"`, "list[loop.service].log": "[]",
				"list[dead.service].exit_code": "null", "list[dead.service].log": `["starting with DB_PASSWORD=*** and postgres://app:***@db/x","bind: address already in use"]`,
				"list[between.service].restarts": "4", "list[between.service].running": "true", "list[-.mount].active": `"failed"`,
			},
		},
		{
			name: "an old systemd does not count restarts", capture: systemdHost(strings.Replace(showUnit("cron.service"), "NRestarts=0\n", "", 1)),
			want: map[string]string{"list[cron.service].restarts": "0"},
		},
		{
			name:    "a mark before the name",
			capture: strings.Replace(systemdHost(showUnit("x.service", "ActiveState=failed", "SubState=failed")), "x.service    ", "● x.service    ", 1),
			want:    map[string]string{"failed": "1", "list[x.service].active": `"failed"`},
		},
		{name: "no systemd", want: map[string]string{"(reason)": "systemd is not the service manager"}},
		{
			name:    "systemd does not answer",
			capture: "-- /run/systemd/system/ --\n-- " + listUnitsCommand + " [exit 1] --\n-- " + listUnitsCommand + " [stderr] --\nFailed to connect to bus\n",
			want:    map[string]string{"(reason)": "exit status 1: Failed to connect to bus"},
		},
		{
			name:    "a description of some lines",
			capture: strings.Replace(systemdHost(showUnit("x.service", "ActiveState=failed", "SubState=failed")), " A service\n", " /bin/sh -c import time\n                                                      time.sleep(3600)\n\n", 1),
			want:    map[string]string{"failed": "1", "list[x.service].active": `"failed"`},
		},
		{name: "nothing listed", capture: "-- /run/systemd/system/ --\n-- " + listUnitsCommand + " --\n", want: map[string]string{"(reason)": "it lists nothing"}},
		{name: "the list is cut short", capture: "-- /run/systemd/system/ --\n-- " + listUnitsCommand + " --\nssh.service loaded\n", want: map[string]string{"(reason)": "is not UNIT LOAD ACTIVE SUB"}},
		{name: "cut short", capture: strings.Replace(systemdHost(showUnit("ssh.service")), "LoadState=loaded", "Loa", 1), want: map[string]string{"(reason)": "is not KEY=value"}},
		{name: "cut after a line", capture: systemdHost("Id=ssh.service\nLoadState=loaded\nActiveState=active\n"), want: map[string]string{"(reason)": "is not UNIT LOAD ACTIVE SUB"}},
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

func TestOutdated(t *testing.T) {
	for load, want := range map[string]bool{"loaded": true, "masked": false} { // a masked unit's file is /dev/null
		u, _, err := parseUnit("Id=app.service\nLoadState="+load+"\nActiveState=inactive\nSubState=dead\nNeedDaemonReload=yes", time.Time{})
		if err != nil || u.Outdated != want {
			t.Errorf("a unit that is %s: outdated %t, %v, want %t", load, u.Outdated, err, want)
		}
	}
}

func TestLastWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"Started app.service - The application.\ncannot read configuration\napp.service: Main process exited, code=exited, status=3\n", "cannot read configuration"},
		{"app.service: Main process exited\napp.service: Failed with result 'signal'.\n", "app.service: Main process exited|app.service: Failed with result 'signal'."},
		{"1\n2\n3\n4\n5\n6\n7\n", "3|4|5|6|7"},
		{"Started listening on port 80\n", "Started listening on port 80"},
		{"", ""},
	} {
		if got := strings.Join(lastWords("app.service", c.text), "|"); got != c.want {
			t.Errorf("lastWords(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

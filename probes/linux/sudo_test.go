package linux

import "testing"

func TestSudo(t *testing.T) {
	const fine = "-- /usr/bin/sudo 04755 --\n-- /etc/sudoers --\n# x\nDefaults\tenv_reset\nDefaults secure_path=\"/usr/bin:/bin\"\nUser_Alias OPS = anna, \\\n  ben\nroot ALL=(ALL:ALL) ALL\n%sudo\tALL=(ALL:ALL) ALL # all\n@includedir /etc/sudoers.d\n" +
		"#1000 ALL = (root) NOPASSWD: /bin/ls \"\\\"\", /bin/echo \\(\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"as it should be", fine, map[string]string{"setuid": "true", "rules": "6", "problems": "[]"}},
		{"wrong lines, and nobody to ask", fine + "-- /etc/sudoers.d/app --\ndeploy ALL=(ALL NOPASSWD: ALL\n\nbob ALL\ncarl ALL=\nDefaults x=\"y\n-- /etc/sudoers.d/app.bak --\nnonsense\n-- /etc/sudoers.d/app~ --\nnonsense\n", map[string]string{
			"problems[/etc/sudoers.d/app:1].problem": `"a parenthesis is not closed"`, "problems[/etc/sudoers.d/app:3].problem": `"a rule needs USER HOST = COMMANDS"`,
			"problems[/etc/sudoers.d/app:4].problem": `"one side of = is empty"`, "problems[/etc/sudoers.d/app:5].problem": `"a quote is not closed"`, "problems[/etc/sudoers.d/app.bak:1]": "none",
		}},
		{"visudo agrees", fine + "-- /etc/sudoers.d/app --\nbob ALL\n-- $ visudo -c [exit 1] [stderr] --\n/etc/sudoers.d/app:1:8: syntax error\n", map[string]string{"problems[/etc/sudoers.d/app:1].file": `"/etc/sudoers.d/app"`}},
		{"visudo knows better", fine + "-- /etc/sudoers.d/app --\nbob ALL\n-- $ visudo -c --\n/etc/sudoers: parsed OK\n", map[string]string{"problems": "[]"}},
		{"a tag without its colon", fine + "-- /etc/sudoers.d/app --\n# x\ndeploy ALL=(root) NOPASSWD /bin/ls, /bin/cat x\nbob ALL = (root:adm) NOPASSWD:SETENV: !/bin/su, SHELLS, sudoedit /etc/motd # and\nann,ben h1, h2 = /bin/ls : h3 = ALL\n-- $ visudo -c [exit 1] [stderr] --\n/etc/sudoers.d/app:2:27: syntax error\n", map[string]string{
			"problems[/etc/sudoers.d/app:2].file": `"/etc/sudoers.d/app"`, "problems[/etc/sudoers.d/app:3]": "none", "problems[/etc/sudoers.d/app:4]": "none",
		}},
		{"unusual, and nobody to ask", fine + "-- /etc/sudoers.d/app --\nann,ben h1, h2 = /bin/ls : h3 = ALL\n", map[string]string{"problems": "[]"}},
		{"lost its mode", "-- /usr/bin/sudo 0755 --\n-- /etc/sudoers --\n", map[string]string{"setuid": "false"}},
		{"closed", "-- /usr/bin/sudo 04755 --\n-- /etc/sudoers !permission --\n", map[string]string{"(reason)": "permission denied"}},
		{"not installed", "", map[string]string{"(reason)": "sudo is not installed"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Sudo, observe(t, Sudo, c.capture), c.want) })
	}
}

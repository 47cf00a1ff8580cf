package linux

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestShellEnding(t *testing.T) {
	there := func(program string) bool { return program != "gone" && program != "/opt/gone" }
	for _, c := range []struct{ name, text, where, kind string }{
		{"an exit", "a=1\nexit\n", "2", "exit"},
		{"with a status, after a semicolon", "echo x; exit 3 # bye\n", "1", "exit"},
		{"after a finished block", "if a; then\n  b\nfi\n# x\nlogout\n", "5", "exit"},
		{"after a function that is fine", "f() {\n  exit 1\n}\nexit\n", "4", "exit"},
		{"after a here-document", "cat <<-'END'\n\texit\n\tEND\nexit\n", "4", "exit"},
		{"exec of what is not there", "export A=1\nexec gone --x\n", "2", "exec"},
		{"exec of a path that is not there", "exec /opt/gone\n", "1", "exec"},
		{"a quote that stays open", "a='1\nb=2\n", "1", "syntax"},
		{"a double quote that stays open", "a=1\necho \"b\nc\n", "2", "syntax"},
		{"a block that stays open", "if a; then\nb\n", "1", "syntax"},

		{"Debian's .bashrc", "case $- in\n    *i*) ;;\n      *) return;;\nesac\nif [ -x /usr/bin/tput ] && tput setaf 1 >&/dev/null; then\n\tc=yes\nfi\nPS1='${d:+($d)}\\u@\\h:\\w\\$ '\n", "", ""},
		{"in a block", "if a\nthen exit 1\nfi\nfor x in a; do exit; done\n{ exit; }\n(exit 1)\ncase $1 in (a|b) exit;; c) exit ;; esac\n", "", ""},
		{"in a function", "f() { exit; }\nfunction g { exit 1; }\nh ()\n{\n  exit\n}\n", "", ""},
		{"in a list", "[ -f x ] && exit\n[ -f x ] ||\n  exit 1\n[[ $a == b && $c > d ]] || exit\n", "", ""},
		{"in a pipeline, in the background", "exit | cat\ncat | exit\nexit &\n", "", ""},
		{"as a word", "echo exit\necho 'a\nexit\n'\necho \"x\nexit\"\ntrap exit INT\nalias q=exit\nx=$(exit 1)\ny=`exit`\n#exit\n: <<X\nexit\nX\n", "", ""},
		{"what the file returned before", "return 0\nexit\n", "", ""},
		{"what another program takes over from", "exec zsh -l\nexit\n", "", ""},
		{"exec for its redirections", "exec 2>&1\nexec >>/tmp/log\nexec {fd}<x\nexec -a n x\nexec $SHELL gone\n", "", ""},
		{"blocks in one line", "{ while read a; do echo; done; } | { while read b; do echo; done }\n", "", ""},
		{"quotes in comments and substitutions", "# don't\na=${b#\"x\"}\nc=\"$(echo \"y\" | tr 'a' \"b\")\"\nd=$'it\\'s'\ne=\\'\n", "", ""},
		{"arrays and arithmetic", "a=(1 '2' \"3\")\nb+=( x )\n((i = 1))\nfor ((i=0; i<3; i++)); do :; done\ncase x in @(a|b)) ;; esac\n", "", ""},
		{"cut short in a here-document", "cat <<END\nif\n", "", ""},
		{"nothing", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if e, _ := shellEnding(c.text, there); e.Where != c.where || e.Kind != c.kind {
				t.Errorf("%+v; want %s at line %q", e, c.kind, c.where)
			}
		})
	}
}

// TestShellEndingOfRealFiles reads the longest shell texts of this machine: where bash itself finds no error, neither may we.
func TestShellEndingOfRealFiles(t *testing.T) {
	n := 0
	for _, pattern := range []string{"/usr/share/bash-completion/completions/*", "/etc/profile.d/*.sh", "/etc/profile", "/etc/bash.bashrc", "/etc/skel/.*", "/etc/init.d/*"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			n++
			if e, ok := shellEnding(string(b), func(string) bool { return true }); ok && e.Kind == "syntax" {
				if exec.CommandContext(t.Context(), "bash", "-n", file).Run() == nil {
					t.Errorf("%s: %+v, and bash has nothing against it", file, e)
				}
			}
		}
	}
	if n == 0 {
		t.Skip("no shell files here")
	}
}

func TestStartupFiles(t *testing.T) {
	const passwd = "-- /etc/passwd --\nroot:x:0:0::/root:/bin/bash\ndeploy:x:1000:1000::/home/deploy:/bin/bash\nfish:x:1001:1001::/home/fish:/usr/bin/fish\nwww:x:33:33::/var/www:/usr/sbin/nologin\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"all is well", passwd + "-- /etc/profile --\nif [ -d x ]; then exit; fi\n-- /home/fish/.bashrc --\nexit\n-- /var/www/.bashrc --\nexit\n", map[string]string{"checked": "1", "ends": "[]"}},
		{"an account's", passwd + "-- /home/deploy/.bashrc --\necho x\nexit 1\n", map[string]string{"ends[/home/deploy/.bashrc:2].account": `"deploy"`, "ends[/home/deploy/.bashrc:2].root": "false", "ends[/home/deploy/.bashrc:2].text": `"exit 1"`}},
		{"everybody's", passwd + "-- /etc/profile.d/x.sh --\nexec /opt/gone\n-- /etc/profile.d/README --\nexit\n", map[string]string{"ends[/etc/profile.d/x.sh:1].account": `""`, "ends[/etc/profile.d/x.sh:1].root": "true", "ends[/etc/profile.d/x.sh:1].kind": `"exec"`}},
		{"a file that is read by another", passwd + "-- /home/deploy/.bashrc --\nif [ -f ~/.env ]; then\n  . ~/.env\nfi\n[ -r /opt/b ] && . /opt/b\n[ -n \"$X\" ] && . /opt/c\n. /opt/d\n-- /home/deploy/.env --\nexit 2\n-- /opt/b --\n. /opt/e\n-- /opt/c --\nexit\n-- /opt/d --\nreturn\nexit\n-- /opt/e --\nx\nexit\n", map[string]string{
			"ends[/home/deploy/.env:1].account": `"deploy"`, "ends[/opt/e:2].text": `"exit"`, "ends[/opt/c:1]": "none", "ends[/opt/d:2]": "none",
		}},
		{"a function that exits", passwd + "-- /home/deploy/.bashrc --\n. /opt/env\n-- /opt/env --\n# x\nload() {\n  [ -r /srv/gone ] || { echo none >&2; exit 3; }\n  x=$(cat /srv/gone)\n}\nunused() {\n  exit\n}\nload\n", map[string]string{
			"ends[/opt/env:3].text": `"exit 3, since /srv/gone is not there, in load, which line 9 calls"`, "ends[/opt/env:3].account": `"deploy"`,
		}},
		{"functions that go on", passwd + "-- /srv/here --\n-- /home/deploy/.bashrc --\nload() {\n  [ -r /srv/here ] || exit 3\n  if [ -n \"$X\" ]; then\n    [ -r /srv/gone ] || exit 3\n  fi\n  [ -r /srv/gone ] && exit\n}\nload\nstop() {\n  exit\n}\n(stop)\nstop || true\n[ -n \"$X\" ] && stop\n", map[string]string{"ends": "[]"}},
		{"root's, for an ordinary user", passwd + "-- /etc/profile --\nPS1='$ '\n-- /root/.bashrc !permission --\n", map[string]string{
			"checked": "1", "ends": `{"items":[],"more":1,"why":"open /root/.bashrc: permission denied"}`,
		}},
		{"no accounts", "", map[string]string{"(reason)": "/etc/passwd"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, StartupFiles, observe(t, StartupFiles, c.capture), c.want) })
	}
}

package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Sudo reads whether sudo could work.
var Sudo = probes.Define(probes.Probe[host.Host]{
	Name: "sudo",
	Doc: `sudo

Looks at the program's mode, and at the lines of /etc/sudoers and /etc/sudoers.d: whether each has the parts of a rule, an alias or a default and
its parentheses and quotes are closed. What looks wrong is put to ` + "`visudo -c`" + `, and only what that refuses too is told. A wrong name
of a user or command is not seen. Costs 0.2 ms, and 5 ms for visudo.`,
	Needs: probes.Root,
	Every: 5 * time.Minute,
}, sudo)

type sudoFacts struct {
	Setuid   bool                    `fact:"setuid" doc:"The program belongs to root and is set-uid, without which it can do nothing"`
	Rules    int                     `fact:"rules" unit:"count" doc:"Lines that are rules, aliases or defaults"`
	Problems probes.Cut[sudoersLine] `fact:"problems" doc:"Lines that sudo does not accept"`
	Unused   []unusedRule            `fact:"unused" doc:"Rules that sudo does not read or that come to nothing, and defaults that keep people out"`
}

type sudoersLine struct {
	Where   string `fact:"where,key" doc:"File and line"`
	File    string `fact:"file" doc:"The file"`
	Problem string `fact:"problem" doc:"What is wrong with it"`
}

type unusedRule struct {
	Where   string `fact:"where,key" doc:"File, or file and line"`
	Kind    string `fact:"kind" doc:"name: sudo passes over files of that name; include: nothing includes the directory; overridden: a later rule takes it back, or takes back its NOPASSWD; requiretty; secure_path"`
	Problem string `fact:"problem" doc:"What is wrong with it"`
}

func sudo(ctx context.Context, h host.Host) (sudoFacts, error) {
	var f sudoFacts
	fi, err := h.Stat("/usr/bin/sudo")
	if errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("sudo is not installed")
	}
	if err != nil {
		return f, err
	}
	f.Setuid = fi.UID == 0 && fi.Mode&fs.ModeSetuid != 0
	files := []string{"/etc/sudoers"}
	entries, err := h.ReadDir("/etc/sudoers.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	for _, e := range entries { // sudo passes over names with a dot or a tilde at the end
		switch {
		case e.Type.IsDir():
		case !strings.Contains(e.Name, ".") && !strings.HasSuffix(e.Name, "~"):
			files = append(files, "/etc/sudoers.d/"+e.Name)
		case !leftOver.MatchString(e.Name) && holdsRule(h, "/etc/sudoers.d/"+e.Name):
			f.Unused = append(f.Unused, unusedRule{"/etc/sudoers.d/" + e.Name, "name", "sudo passes over files whose names have a dot"})
		}
	}
	var all []sudoersText
	for _, file := range files {
		b, err := h.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		f.lint(file, string(b))
		all = append(all, sudoersText{file, string(b)})
	}
	f.useless(all)
	f.askedAgain(h, all)
	if len(f.Problems.All) > 0 {
		f.ask(ctx, h)
	}
	return f, nil
}

var anyCommand = regexp.MustCompile(`^(\S+)\s+ALL\s*=\s*(?:\([^)]*\)\s*)?ALL$`)

// askedAgain finds rules with NOPASSWD whose account is asked for a password all the same: of several rules that fit the last counts, and a later one for everything,
// for the account itself or a group of his, is without the tag.
func (f *sudoFacts) askedAgain(h host.Files, all []sudoersText) {
	type tagged struct{ subject, where string }
	var free []tagged
	for _, t := range all {
		n := 0
		for line := range strings.Lines(t.text) {
			n++
			line, where := strings.TrimSpace(line), fmt.Sprintf("%s:%d", t.file, n)
			rule, wide := ruleOf.FindStringSubmatch(line), anyCommand.FindStringSubmatch(line)
			switch {
			case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "Defaults"):
			case wide != nil:
				for _, was := range free {
					if was.subject == wide[1] || wide[1] == "ALL" || memberOf(h, was.subject, wide[1]) {
						f.Unused = append(f.Unused, unusedRule{was.where, "overridden", "NOPASSWD for " + was.subject + " does not count: " + where + " comes later, fits, too, and asks for a password (" + line + ")"})
						return
					}
				}
			case rule != nil && strings.Contains(line, "NOPASSWD:"):
				free = append(free, tagged{rule[1], where})
			}
		}
	}
}

// memberOf tells whether an account is in a %group of sudoers, or has it as its own.
func memberOf(h host.Files, account, group string) bool {
	name, ok := strings.CutPrefix(group, "%")
	if !ok || strings.HasPrefix(account, "%") {
		return false
	}
	users, _, err := readColons(h, "/etc/passwd", 7)
	groups, _, groupErr := readColons(h, "/etc/group", 4)
	i := slices.IndexFunc(users, func(row []string) bool { return row[pwName] == account })
	return err == nil && groupErr == nil && i >= 0 && slices.Contains(groupsOf(users[i], groups), name)
}

// leftOver are the names that package managers and editors give to what they set aside, beside README.
var leftOver = regexp.MustCompile(`(?i)~$|\.(?:rpm\w+|dpkg-\w+|ucf-\w+|bak|old|orig|save|swp|tmp|disabled|off|example|sample|md|txt|\d+)$|^\.`)

func holdsRule(h host.Files, file string) bool {
	b, err := h.ReadFile(file)
	return err == nil && slices.ContainsFunc(strings.Split(string(b), "\n"), func(line string) bool {
		line = strings.TrimSpace(line)
		return line != "" && line[0] != '#' && line[0] != '@' && strings.Contains(line, "=") && sudoersProblem(line) == ""
	})
}

type sudoersText struct{ file, text string }

var (
	includesDir = regexp.MustCompile(`(?m)^\s*[#@]include(?:dir)?\s+\S*sudoers\.d`)
	ruleOf      = regexp.MustCompile(`^(\S+)\s+\S+\s*=\s*(?:\([^)]*\)\s*)?(?:[A-Z_]+:\s*)*(.+)$`)
	securePath  = regexp.MustCompile(`^Defaults\s+(?:.*,\s*)?secure_path\s*=\s*"?([^"]+)"?`)
)

// useless looks at what the rules come to. Of those for one subject sudo takes the last that fits.
func (f *sudoFacts) useless(all []sudoersText) {
	if len(all) > 1 && all[0].text != "" && !includesDir.MatchString(all[0].text) {
		for _, t := range all[1:] {
			if slices.ContainsFunc(strings.Split(t.text, "\n"), func(line string) bool { return ruleOf.MatchString(line) }) {
				f.Unused = append(f.Unused, unusedRule{t.file, "include", "/etc/sudoers has no line @includedir /etc/sudoers.d"})
			}
		}
		all = all[:1]
	}
	given := map[string]bool{}
	tty := unusedRule{}
	for _, t := range all {
		n := 0
		for line := range strings.Lines(t.text) {
			n++
			line, where := strings.TrimSpace(line), fmt.Sprintf("%s:%d", t.file, n)
			rule := ruleOf.FindStringSubmatch(line)
			path := securePath.FindStringSubmatch(line)
			switch {
			case strings.HasPrefix(line, "#"):
			case path != nil:
				dirs := strings.Split(path[1], ":")
				if !slices.Contains(dirs, "/usr/bin") && !slices.Contains(dirs, "/bin") {
					f.Unused = append(f.Unused, unusedRule{where, "secure_path", "secure_path leaves out /usr/bin, so that sudo finds no command by its name"})
				}
			case strings.HasPrefix(line, "Defaults"):
				if words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }); slices.Contains(words, "requiretty") && words[0] == "Defaults" {
					tty = unusedRule{where, "requiretty", "sudo refuses whoever has no terminal: scripts, ssh HOST sudo …, deployments"}
				} else if slices.Contains(words, "!requiretty") && words[0] == "Defaults" {
					tty = unusedRule{}
				}
			case rule != nil && strings.TrimSpace(rule[2]) == "!ALL":
				if given[rule[1]] {
					f.Unused = append(f.Unused, unusedRule{where, "overridden", "it takes back what rules before it give to " + rule[1]})
				}
			case rule != nil:
				given[rule[1]] = true
			}
		}
	}
	if tty.Where != "" {
		f.Unused = append(f.Unused, tty)
	}
}

func (f *sudoFacts) lint(file, text string) {
	n, start, pending := 0, 0, ""
	for line := range strings.Lines(text) {
		n++
		if pending == "" {
			start = n
		}
		line = strings.TrimRight(line, "\r\n")
		if rest, more := strings.CutSuffix(line, "\\"); more {
			pending += rest + " "
			continue
		}
		line, pending = strings.TrimSpace(pending+line), ""
		if line == "" || line[0] == '#' && !strings.HasPrefix(line, "#include") {
			continue
		}
		f.Rules++
		problem := sudoersProblem(line)
		if problem == "" && !usualRule.MatchString(line) && !otherThanRule.MatchString(line) {
			problem = unusual
		}
		if problem != "" {
			f.Problems.All = append(f.Problems.All, sudoersLine{fmt.Sprintf("%s:%d", file, start), file, problem})
		}
	}
}

var quotedText = regexp.MustCompile(`"[^"]*"|\\.`)

var (
	otherThanRule = regexp.MustCompile(`^(?:Defaults|[@#]include|(?:User|Runas|Host|Cmnd|Cmd)_Alias\b)`)
	// usualRule is what nearly all rules look like. Of others visudo is asked, and what it does not refuse is well.
	usualRule = regexp.MustCompile(`^\S[^=]*\s[^=\s]+\s*=\s*` + usualCommand + `(?:\s*,\s*` + usualCommand + `)*\s*(?:#.*)?$`)
)

const (
	usualCommand = `(?:\([^)]*\)\s*)?(?:[A-Z_]+:\s*)*!?(?:/[^,#]*|[A-Z][A-Z0-9_]*|sudoedit\s[^,#]*)`
	unusual      = "it does not read as USER HOST=(RUNAS) TAG: COMMAND, COMMAND"
)

// sudoersProblem holds a line to the outline of sudoers(5)'s grammar.
func sudoersProblem(line string) string {
	first, _, _ := strings.Cut(line, " ")
	bare := quotedText.ReplaceAllString(line, "")
	bare, _, _ = strings.Cut(bare, "#") // which may begin a comment, or a number of a user
	switch {
	case strings.Contains(bare, `"`):
		return "a quote is not closed"
	case strings.HasPrefix(first, "Defaults"), strings.HasPrefix(first, "@include"), strings.HasPrefix(first, "#include"):
		return ""
	case strings.Count(bare, "(") != strings.Count(bare, ")"):
		return "a parenthesis is not closed"
	case !strings.Contains(line, "="):
		return "a rule needs USER HOST = COMMANDS"
	case strings.HasPrefix(line, "="), strings.HasSuffix(strings.TrimSpace(bare), "=") && !strings.Contains(line, "#"):
		return "one side of = is empty"
	}
	return ""
}

// ask has visudo settle it, where it is there.
func (f *sudoFacts) ask(ctx context.Context, h host.Host) {
	out, err := h.Run(ctx, "visudo", "-c")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Problems.All = slices.DeleteFunc(f.Problems.All, func(l sudoersLine) bool { return l.Problem == unusual })
	case err != nil:
		f.Problems = probes.Cut[sudoersLine]{More: len(f.Problems.All), Why: err.Error()}
	case out.Exit == 0:
		f.Problems.All = nil
	default:
		said := string(out.Stdout) + string(out.Stderr)
		f.Problems.All = slices.DeleteFunc(f.Problems.All, func(l sudoersLine) bool {
			return !strings.Contains(said, l.File) || l.Problem == unusual && !namesLine(said, l.Where)
		})
	}
}

// namesLine reports whether visudo names a line: "FILE:2:27: syntax error", or "FILE: syntax error near line 2" before sudo 1.9.3.
func namesLine(said, where string) bool {
	return strings.Contains(said, where+":") || strings.Contains(said, "near line "+where[strings.LastIndexByte(where, ':')+1:]+" ")
}

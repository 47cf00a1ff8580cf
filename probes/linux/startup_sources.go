package linux

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// This file follows startup files into the files that they read, and into the functions that they call.

// The bounds of what is followed from one startup file.
const (
	maxSourced     = 10
	maxSourcedDeep = 2
	maxSourcedSize = 64 << 10 // what is larger is a program's own, such as bash_completion
)

// sourcedFiles lists what a startup file reads with . or source: files that it names in full, outside of any condition but that the file is there.
func sourcedFiles(text, home string) []string {
	var files []string
	lines := strings.Split(text, "\n")
	s := shellText{text: text, line: 1, command: true}
	for s.next() && len(files) < maxSourced {
		if s.command && len(s.blocks) == 0 && !s.conditional && slices.Contains([]string{"return", "exit", "logout", "exec"}, s.word) {
			break
		}
		if s.command && (s.word == "." || s.word == "source") && s.line <= len(lines) {
			from := s.line
			if n := len(s.blocks); n > 0 {
				from = s.blocks[n-1].line
			}
			arg, _, _ := strings.Cut(strings.TrimSpace(s.text[s.at:]), "\n")
			arg, _, _ = strings.Cut(arg, ";")
			arg, _, _ = strings.Cut(arg, " ")
			file := strings.Trim(arg, `"`)
			before := strings.Join(lines[from-1:s.line], "\n")
			if file := homeFile(file, home); file != "" && (len(s.blocks) == 0 && !s.conditional || len(s.blocks) <= 1 && onlyIfThere(before, arg)) {
				files = append(files, file)
			}
		}
		s.step()
	}
	return files
}

// homeFile is the file's path; empty where it is not certain.
func homeFile(file, home string) string {
	for _, begin := range []string{"~/", "$HOME/", "${HOME}/"} {
		if rest, ok := strings.CutPrefix(file, begin); ok && home != "" {
			file = path.Join("/", home, rest)
		}
	}
	if !strings.HasPrefix(file, "/") || strings.ContainsAny(file, "$`*?~'\\(){}|&<>") {
		return ""
	}
	return file
}

var fileTest = regexp.MustCompile(`\[\[?\s+-[efrs]\s+(\S+)\s+\]`)

// onlyIfThere reports whether the one condition before a command is that its file is there.
func onlyIfThere(before, arg string) bool {
	m := fileTest.FindAllStringSubmatch(before, -1)
	return len(m) == 1 && strings.Trim(m[0][1], `"`) == strings.Trim(arg, `"`) && !strings.Contains(before, "else") && !strings.Contains(before, "||") && strings.Count(before, "&&") <= 1
}

var (
	shellFunction = regexp.MustCompile(`(?m)^[ \t]*(?:function[ \t]+)?([A-Za-z_][A-Za-z0-9_-]*)[ \t]*\(\)[ \t]*\{[^\n]*\n((?s:.*?))^\}`)
	// "[ -r /srv/release ] || { echo none; exit 3; }", and "[ ! -r … ] && exit": what is asked is whether a file is there.
	exitUnless = regexp.MustCompile(`^[ \t]*(?:\[\[?|test)\s+(!\s+)?-[efrsdx]\s+"?(/[^\s"\]$` + "`" + `*]+)"?\s*(?:\]\]?)?\s*(&&|\|\|)\s*(?:\{\s*)?(?:[^}]*;\s*)?((?:exit|logout)\b\s*\d*)`)
)

// calledEnding finds an exit within a function that the file calls outside of any condition, or one that only waits for a file which is not there.
func calledEnding(h host.Files, text string) (startupEnding, bool) {
	type body struct {
		text string
		line int
	}
	functions := map[string]body{}
	for _, at := range shellFunction.FindAllStringSubmatchIndex(text, -1) {
		functions[text[at[2]:at[3]]] = body{text[at[4]:at[5]], 1 + strings.Count(text[:at[4]], "\n")}
	}
	s := shellText{text: text, line: 1, command: true}
	for s.next() {
		if s.command && len(s.blocks) == 0 && !s.conditional {
			_, ok := s.rest()
			switch b, known := functions[s.word]; {
			case slices.Contains([]string{"return", "exit", "logout", "exec"}, s.word):
				return startupEnding{}, false
			case s.word == "[" || s.word == "[[" || s.word == "test":
				line, _, _ := strings.Cut(s.text[s.at-len(s.word):], "\n")
				if what := missingExit(h, line); what != "" {
					return startupEnding{Where: strconv.Itoa(s.line), Kind: "exit", Text: what}, true
				}
			case known && ok && !strings.HasPrefix(strings.TrimSpace(s.text[s.at:]), "("):
				if e, found := bodyEnding(h, b.text); found {
					n, _ := strconv.Atoi(e.Where)
					e.Where = strconv.Itoa(b.line + n - 1)
					e.Text += " in " + s.word + ", which line " + strconv.Itoa(s.line) + " calls"
					return e, true
				}
			}
		}
		s.step()
	}
	return startupEnding{}, false
}

// bodyEnding looks for the end of the shell in a function.
func bodyEnding(h host.Files, text string) (startupEnding, bool) {
	if e, ok := shellEnding(text, func(string) bool { return true }); ok && e.Kind == "exit" {
		return e, true
	}
	return calledEnding(h, text)
}

// missingExit is the exit of a line that ends the shell because a file is not there; empty if it does not.
func missingExit(h host.Files, line string) string {
	m := exitUnless.FindStringSubmatch(line)
	if m == nil || (m[1] != "") != (m[3] == "&&") {
		return ""
	}
	if there, known := exists(h, m[2]).Get(); !known || there {
		return ""
	}
	return strings.TrimSpace(m[4]) + ", since " + m[2] + " is not there,"
}

package linux

import (
	"strconv"
	"strings"
)

// shellEnding finds the first command of a shell script that ends it unconditionally: exit, or exec of a program that is not there; or that
// a quote or a block is still open at its end, for which bash gives the file up. It understands as much of the grammar (POSIX.1, XCU 2)
// as it takes to know what stands outside of blocks, functions, lists with && and ||, quotes and here-documents; what it does not understand
// it believes to be fine.
func shellEnding(text string, there func(program string) bool) (startupEnding, bool) {
	s := shellText{text: text, line: 1, command: true}
	for s.next() {
		switch {
		case !s.command || len(s.blocks) > 0 || s.conditional:
		case s.word == "return":
			return startupEnding{}, false // of the shell that reads the file; what comes after is not read
		case s.word == "exit" || s.word == "logout":
			if arg, ok := s.rest(); ok {
				return startupEnding{Where: strconv.Itoa(s.line), Kind: "exit", Text: strings.TrimSpace(s.word + " " + arg)}, true
			}
		case s.word == "exec":
			arg, ok := s.rest()
			program, _, _ := strings.Cut(arg, " ")
			switch {
			case !ok || program == "" || strings.ContainsAny(program[:1], "<>-0123456789{&"): // redirections, options
			case there(program):
				return startupEnding{}, false
			default:
				return startupEnding{Where: strconv.Itoa(s.line), Kind: "exec", Text: "exec " + program}, true
			}
		}
		s.step()
	}
	if s.open != "" && !s.lost {
		return startupEnding{Where: strconv.Itoa(s.openLine), Kind: "syntax", Text: s.open}, true
	}
	return startupEnding{}, false
}

// shellText walks over a script, word by word.
type shellText struct {
	text string
	at   int
	line int

	word        string // the word, or the operator, at hand
	command     bool   // it stands where a command begins
	conditional bool   // && or || came before it in its list
	blocks      []shellBlock
	heredocs    []string // ends of here-documents that begin after this line
	goesOn      bool     // the list goes on in the next line
	piped       bool     // in a pipeline, whose parts run in shells of their own

	open     string // what is open at the end
	openLine int
	lost     bool // something was not understood
}

type shellBlock struct {
	end  string
	line int
}

// next reads the next word or operator into word; false at the end of the text.
func (s *shellText) next() bool {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == ' ' || c == '\t' || c == '\r':
			s.at++
		case c == '\\' && strings.HasPrefix(s.text[s.at:], "\\\n"):
			s.at += 2
			s.line++
		case c == '#':
			for s.at < len(s.text) && s.text[s.at] != '\n' {
				s.at++
			}
		case c == '\n':
			s.word = "\n"
			s.at++
			return true
		case strings.IndexByte(";&|()<>", c) >= 0:
			s.operator()
			return true
		default:
			return s.readWord()
		}
	}
	if len(s.blocks) > 0 && s.open == "" {
		b := s.blocks[len(s.blocks)-1]
		s.open, s.openLine = "no "+b.end+" ends what began here", b.line
	}
	return false
}

func (s *shellText) operator() {
	for _, op := range []string{";;&", "<<-", "<<<", ";;", ";&", "&&", "||", "<<", ">>", "<&", ">&", "<>", ">|", "&>", "<(", ">("} {
		if strings.HasPrefix(s.text[s.at:], op) {
			s.word = op
			s.at += len(op)
			return
		}
	}
	s.word = s.text[s.at : s.at+1]
	s.at++
}

// readWord reads a word with its quotes and substitutions.
func (s *shellText) readWord() bool {
	from := s.at
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case strings.IndexByte(" \t\r\n;&|<>)", c) >= 0:
			s.word = s.text[from:s.at]
			return true
		case c == '(': // name(), or an array: name=(…), or a pattern: @(a|b)
			if s.at > from && strings.IndexByte("=@?*+!", s.text[s.at-1]) >= 0 {
				if !s.skipTo(')', s.at+1) {
					return false
				}
				continue
			}
			s.word = s.text[from:s.at]
			return true
		case !s.skipPart():
			return false
		}
	}
	s.word = s.text[from:]
	return true
}

// skipPart passes over one character, or over what it opens.
func (s *shellText) skipPart() bool {
	switch c := s.text[s.at]; {
	case c == '\\':
		if s.at+1 < len(s.text) && s.text[s.at+1] == '\n' {
			s.line++
		}
		s.at = min(len(s.text), s.at+2)
	case c == '\'':
		end := strings.IndexByte(s.text[s.at+1:], '\'')
		if s.at > 0 && s.text[s.at-1] == '$' { // $'…' knows \'
			end = ansiEnd(s.text[s.at+1:])
		}
		if end < 0 {
			return s.unclosed("a single quote")
		}
		s.line += strings.Count(s.text[s.at:s.at+1+end], "\n")
		s.at += end + 2
	case c == '"':
		return s.skipDouble()
	case c == '`':
		return s.skipTo('`', s.at+1)
	case strings.HasPrefix(s.text[s.at:], "$("):
		return s.skipTo(')', s.at+2)
	case strings.HasPrefix(s.text[s.at:], "${"):
		return s.skipTo('}', s.at+2)
	default:
		s.at++
	}
	return true
}

func ansiEnd(text string) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '\'':
			return i
		}
	}
	return -1
}

func (s *shellText) unclosed(what string) bool {
	s.open, s.openLine, s.at = what+" is never closed", s.line, len(s.text)
	return false
}

func (s *shellText) skipDouble() bool {
	start := s.line
	s.at++
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return true
		case c == '\n':
			s.line++
			s.at++
		case c == '\'':
			s.at++
		case !s.skipPart():
			return false
		}
	}
	s.line = start
	return s.unclosed("a double quote")
}

// skipTo passes over a substitution up to its end. A here-document or a case within $(…) may hold what looks like that end: such a text is
// not understood.
func (s *shellText) skipTo(end byte, from int) bool {
	start := s.line
	s.at = from
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == end:
			s.at++
			return true
		case c == '\n':
			s.line++
			s.at++
		case c == '(' && end == ')':
			if !s.skipTo(')', s.at+1) {
				return false
			}
		case end == ')' && (strings.HasPrefix(s.text[s.at:], "<<") || strings.HasPrefix(s.text[s.at:], "case ") || c == '#'), end == '`' && c == '\\', end == '}' && c == '\'':
			s.lost = true
			s.at++
		case !s.skipPart():
			return false
		}
	}
	s.line = start
	return s.unclosed("a substitution")
}

// rest is the simple command's remaining words, if nothing after it takes the command into a list: a pipe, &, && or ||.
func (s *shellText) rest() (string, bool) {
	line, _, _ := strings.Cut(s.text[s.at:], "\n")
	if i := strings.IndexByte(line, '#'); i >= 0 {
		line = line[:i]
	}
	if i := strings.IndexByte(line, ';'); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line), !strings.ContainsAny(line, "|&()") && !s.piped
}

// step moves on from the word at hand: what it opens or closes, and whether a command comes next.
func (s *shellText) step() {
	was, goesOn := s.command, s.goesOn
	s.command, s.goesOn = false, false
	switch s.word {
	case "\n":
		s.line++
		s.hereDocuments()
		if s.command = true; goesOn {
			s.goesOn = true
		} else {
			s.conditional, s.piped = false, false
		}
	case ";", ";;", ";&", ";;&", "&":
		s.command, s.conditional, s.piped = true, false, false
		if strings.HasPrefix(s.word, ";;") || s.word == ";&" {
			s.command = false // a pattern comes
			s.pattern()
		}
	case "&&", "||":
		s.command, s.conditional, s.goesOn = true, true, true
	case "|":
		s.command, s.piped, s.goesOn = true, true, true
	case "<<", "<<-":
		if s.next() {
			s.heredocs = append(s.heredocs, strings.Map(unquoted, s.word))
		}
	case "(", "<(", ">(":
		s.begin(")")
		s.command = true
	case ")":
		s.close(")")
		s.command = true // after NAME() the body
	case "<", ">", ">>", "<&", ">&", "<>", ">|", "&>", "<<<":
		if s.next() && was { // a redirection before the command
			s.command = true
		}
	default:
		if was {
			s.reserved()
		}
	}
}

func unquoted(r rune) rune {
	if r == '"' || r == '\'' || r == '\\' {
		return -1
	}
	return r
}

func (s *shellText) begin(end string) { s.blocks = append(s.blocks, shellBlock{end, s.line}) }

func (s *shellText) close(end string) {
	if n := len(s.blocks); n > 0 && s.blocks[n-1].end == end {
		s.blocks = s.blocks[:n-1]
		return
	}
	s.lost = true
}

// reserved treats a word where a command begins.
func (s *shellText) reserved() {
	switch s.word {
	case "if":
		s.begin("fi")
		s.command = true
	case "while", "until", "for", "select":
		s.begin("done")
		s.command = s.word == "while" || s.word == "until"
	case "case":
		s.begin("esac")
		s.toIn()
	case "{":
		s.begin("}")
		s.command = true
	case "then", "else", "elif", "do", "!", "time":
		s.command = true
	case "fi", "done", "esac", "}":
		s.close(s.word)
		s.command = true // of another block, "done }"
	case "[[":
		s.toBrackets()
	case "function":
		if s.next() { // its name
			s.command = true
		}
	default:
		s.command = isAssignment(s.word)
	}
}

func isAssignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.Trim(strings.TrimSuffix(name, "+"), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_[]") == ""
}

// toIn passes over the subject of a case, and its first pattern.
func (s *shellText) toIn() {
	for s.next() {
		if s.word == "\n" {
			s.line++
		}
		if s.word == "in" {
			s.pattern()
			return
		}
	}
}

// pattern passes over a pattern of a case up to its parenthesis; or the case ends here.
func (s *shellText) pattern() {
	for s.next() {
		switch s.word {
		case "\n":
			s.line++
		case "esac":
			s.close("esac")
			return
		case ")":
			s.command, s.conditional, s.piped = true, false, false
			return
		}
	}
}

// toBrackets passes over [[ … ]], where && and || are no lists and < and > no redirections.
func (s *shellText) toBrackets() {
	for s.next() {
		switch s.word {
		case "\n":
			s.line++
		case "]]":
			return
		}
	}
}

// hereDocuments passes over those that the line before announced.
func (s *shellText) hereDocuments() {
	for _, end := range s.heredocs {
		for {
			if s.at >= len(s.text) {
				s.lost = true
				break
			}
			line, rest, _ := strings.Cut(s.text[s.at:], "\n")
			s.at = len(s.text) - len(rest)
			s.line++
			if strings.TrimLeft(strings.TrimRight(line, "\r"), "\t") == end {
				break
			}
		}
	}
	s.heredocs = nil
}

package playbooks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// Problem is something that is wrong in a file, in words that help its author.
type Problem struct {
	File   string
	Line   int    // from 1; 0: the file as a whole
	Column int    // in characters, from 1
	Source string // the line
	Text   string
}

// Error is the problem as FILE:LINE:COLUMN: text, with the line and a caret below.
func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
	if p.Source == "" {
		return s
	}
	line, column := window(p.Source, p.Column-1)
	return s + "\n    " + line + "\n    " + indent(line, column) + "^"
}

// Problems are all that is wrong, in the order of files and lines.
type Problems []Problem

func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i := range p {
		texts[i] = p[i].Error()
	}
	return strings.Join(texts, "\n")
}

// maxProblems are told of one file; more only bury the first.
const maxProblems = 50

// err is p as an error, nil without problems.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(p, func(a, b Problem) bool { return a == b })
}

// window cuts a long line to what fits a terminal around the column.
func window(line string, column int) (string, int) {
	const width = 110
	runes := []rune(strings.TrimRight(line, "\r\n"))
	column = min(column, len(runes))
	if len(runes) <= width {
		return string(runes), column
	}
	from := max(0, min(column-width/2, len(runes)-width))
	text, to := string(runes[from:min(from+width, len(runes))]), from+width
	if to < len(runes) {
		text += "…"
	}
	if from == 0 {
		return text, column
	}
	return "…" + text, column - from + 1
}

// indent is the white space that puts a caret under the column: tabs stay tabs, and Chinese characters are two wide.
func indent(line string, column int) string {
	var b strings.Builder
	for _, r := range line {
		if column == 0 {
			break
		}
		column--
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff ||
			r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0x20000):
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// source is a file and what was found wrong in it.
type source struct {
	name     string
	text     string
	lines    []int // where each line begins
	problems Problems
	trees    map[string]ast.Node // of the expressions so far, while it is read: each language of a text has the same
	mu       sync.Mutex          // held while an overlay, which many hosts share, is tried out on one
}

func newSource(f File) *source {
	s := &source{name: f.Name, text: string(f.Data), lines: []int{0}}
	for i := range len(s.text) {
		if s.text[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// offset is the place of a line and column (in characters), both from 1.
func (s *source) offset(line, column int) int {
	if line < 1 || line > len(s.lines) {
		return len(s.text)
	}
	at := s.lines[line-1]
	for ; column > 1 && at < len(s.text) && s.text[at] != '\n'; column-- {
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	return at
}

// errorf records a problem at a place of the text; -1: the file as a whole.
func (s *source) errorf(at int, format string, args ...any) {
	if len(s.problems) >= maxProblems {
		return
	}
	p := Problem{File: s.name, Text: fmt.Sprintf(format, args...)}
	if at >= 0 {
		at = min(at, len(s.text))
		i, found := slices.BinarySearch(s.lines, at)
		if !found {
			i--
		}
		line, _, _ := strings.Cut(s.text[s.lines[i]:], "\n")
		p.Line, p.Column, p.Source = i+1, utf8.RuneCountInString(s.text[s.lines[i]:at])+1, strings.TrimRight(line, "\r")
	}
	s.problems = append(s.problems, p)
}

// didYouMean is `; did you mean "x"?` with the candidate nearest to a name that does not exist, or which there are, if few.
func didYouMean(name string, candidates []string) string {
	best, least := "", 1+max(1, len(name)/3)
	for _, c := range candidates {
		d := distance(name, c)
		// A name whose beginning or end was left out is not near by letters, but plain to a reader: used, used_pct.
		if d >= least && len(name) > 2 && (strings.HasPrefix(c, name+"_") || strings.HasSuffix(c, "_"+name) || strings.HasSuffix(c, "."+name)) {
			d = least - 1
		}
		if d < least {
			best, least = c, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	if len(candidates) > 0 && len(candidates) <= 12 {
		return "; there are " + strings.Join(candidates, ", ")
	}
	return ""
}

// distance is how many letters must be put in, left out, changed or swapped with the next to make b of a.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	prev, cur, before := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

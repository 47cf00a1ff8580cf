package playbooks

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// Limits of an expression's text, checked before the parser sees it: 250 KB of `(` take it a second.
const (
	maxExpression = 4 << 10
	maxBrackets   = 32
	maxNodes      = 1000
)

// expression is a parsed piece of a playbook: a whole scalar, or the inside of {…} within a text.
type expression struct {
	text string
	in   *node // the scalar that it stands in
	off  int   // where it begins there, in runes
	tree ast.Node
}

// errorf records a problem at a rune of the expression.
func (e *expression) errorf(rune int, format string, args ...any) {
	e.in.src.errorf(e.in.place(e.off+rune), format, args...)
}

// parse parses an expression; nil if it cannot be, which is then recorded.
func parse(in *node, off int, text string) *expression {
	e := &expression{text: text, in: in, off: off, tree: in.src.trees[text]}
	if e.tree != nil {
		return e
	}
	if len(text) > maxExpression {
		e.errorf(0, "the expression has %d bytes; %d is the limit: give its parts names under `let`", len(text), maxExpression)
		return nil
	}
	if strings.TrimSpace(text) == "" {
		e.errorf(0, "an expression is missing")
		return nil
	}
	depth := 0
	for i, r := range text {
		switch r {
		case '(', '[', '{':
			if depth++; depth > maxBrackets {
				e.errorf(utf8.RuneCountInString(text[:i]), "brackets are nested more than %d deep", maxBrackets)
				return nil
			}
		case ')', ']', '}':
			depth--
		}
	}
	tree, err := parser.ParseWithConfig(text, &conf.Config{DisableIfOperator: true, MaxNodes: maxNodes})
	if err != nil {
		var at *file.Error
		if !errors.As(err, &at) {
			e.errorf(0, "%s", err)
			return nil
		}
		e.errorf(min(at.Location.From, utf8.RuneCountInString(text)), "%s", e.words(at.Message))
		return nil
	}
	e.tree = tree.Node
	if in.src.trees == nil {
		in.src.trees = map[string]ast.Node{}
	}
	in.src.trees[text] = e.tree
	return e
}

// words says what an error of the parser usually means in a playbook.
func (e *expression) words(message string) string {
	switch {
	case e.in.comment():
		return message + ` (to YAML, what follows " #" is a comment: if it belongs to the expression, put the whole expression in quotes)`
	case strings.Contains(message, `unexpected token Operator("=")`):
		return "= is no operator; to compare, write =="
	case strings.Contains(message, "unexpected token EOF"):
		return "the expression ends too early"
	case strings.Contains(message, "exceeds maximum allowed nodes"):
		return "the expression is too large: give its parts names under `let`"
	case strings.Contains(message, "(??) cannot be mixed"):
		return "?? does not mix with other operators: write (a ?? b) + c, or a ?? (b + c)"
	case strings.Contains(message, `Operator("..")`):
		return "ranges (..) are not part of the language"
	}
	return unexpected.ReplaceAllString(message, `"$1" is not expected here`)
}

var unexpected = regexp.MustCompile(`^unexpected token \w+\("(.*)"\)$`)

// span is a part of an expression's text, in runes.
type span struct{ from, to int }

func (e *expression) all() span { return span{0, utf8.RuneCountInString(e.text)} }

// cut is the text of a span on one line, without the brackets around it.
func (e *expression) cut(s span) string {
	runes := []rune(e.text)
	text := strings.Join(strings.Fields(string(runes[s.from:min(s.to, len(runes))])), " ")
	for len(text) > 2 && text[0] == '(' && text[len(text)-1] == ')' && closes(text) {
		text = strings.TrimSpace(text[1 : len(text)-1])
	}
	return text
}

// closes reports whether the bracket at the beginning of the text is closed at its end, and not before.
func closes(text string) bool {
	depth, quote := 0, rune(0)
	escaped := false
	for i, r := range text {
		switch {
		case escaped:
			escaped = false
		case quote != 0:
			if r == '\\' && quote != '`' {
				escaped = true
			} else if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'' || r == '`':
			quote = r
		case r == '(':
			depth++
		case r == ')':
			if depth--; depth == 0 {
				return i == len(text)-1
			}
		}
	}
	return false
}

// part is a clause: a part of a condition that `and` and `or` join.
type part struct {
	node ast.Node
	span span
}

// clauses splits a condition where `and` and `or` join its parts. Nodes know only where their operator stands, so a part's text
// is what lies between operators.
func (e *expression) clauses(n ast.Node, s span, parts []part) []part {
	b, ok := n.(*ast.BinaryNode)
	if !ok || !isJunction(b) {
		return append(parts, part{n, s})
	}
	at := b.Location()
	// An operator within brackets lies deeper than the span's own edges: the brackets belong to neither side.
	left, right := span{s.from, at.From}, span{at.To, s.to}
	runes := []rune(e.text)
	left.from += opened(runes[left.from:left.to])
	right.to -= closed(runes[right.from:right.to])
	return e.clauses(b.Right, right, e.clauses(b.Left, left, parts))
}

// isJunction reports whether a node is a real `and` or `or`: in 1 < x < 5 the parser makes an && of two comparisons that share x.
func isJunction(b *ast.BinaryNode) bool {
	switch b.Operator {
	case "and", "&&":
		return !isChain(b)
	case "or", "||":
		return true
	}
	return false
}

func isChain(b *ast.BinaryNode) bool {
	right, ok := b.Right.(*ast.BinaryNode)
	if !ok || b.Operator != "&&" {
		return false
	}
	left, ok := b.Left.(*ast.BinaryNode)
	if ok && left.Operator == "&&" {
		left, ok = left.Right.(*ast.BinaryNode)
	}
	return ok && left.Right == right.Left
}

// opened is how many runes at the beginning of the text come before and with the brackets that are not closed within it.
func opened(text []rune) int {
	excess, n := -balance(text), 0
	for i := 0; i < len(text) && excess < 0; i++ {
		if text[i] == '(' {
			excess++
			n = i + 1
		} else if !isSpace(text[i]) {
			break
		}
	}
	return n
}

// closed is how many runes at the end of the text belong to brackets that were not opened within it.
func closed(text []rune) int {
	excess, n := -balance(text), 0
	for i := len(text) - 1; i >= 0 && excess > 0; i-- {
		if text[i] == ')' {
			excess--
			n = len(text) - i
		} else if !isSpace(text[i]) {
			break
		}
	}
	return n
}

// balance is how many more brackets are opened than closed, outside quotes.
func balance(text []rune) int {
	depth, quote := 0, rune(0)
	for i := 0; i < len(text); i++ {
		switch r := text[i]; {
		case quote != 0:
			if r == '\\' && quote != '`' {
				i++
			} else if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'' || r == '`':
			quote = r
		case r == '(':
			depth++
		case r == ')':
			depth--
		}
	}
	return depth
}

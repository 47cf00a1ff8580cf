package playbooks

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a file. The parser's memory grows with the square of the nesting: 100 KB of `[` took 8 GB.
const (
	maxFile    = 256 << 10
	maxDepth   = 16
	maxTokens  = 40_000 // a long playbook has a thousand
	maxEntries = 500    // of one mapping
)

// node is a piece of a YAML file: what playbooks, overlays and stories need of YAML, with exact places, and nothing else of it.
type node struct {
	kind  nodeKind
	text  string  // scalar, decoded
	style style   // scalar: how it was written
	at    int     // where it begins in the file
	keys  []*node // mapping
	items []*node // mapping: the values; sequence: the items
	src   *source
}

type nodeKind uint8

const (
	null nodeKind = iota
	scalar
	mapping
	sequence
)

func (k nodeKind) String() string { return [...]string{"nothing", "a text", "a mapping", "a list"}[k] }

type style uint8

const (
	plain style = iota
	quoted
	block
)

// parseYAML reads the one document of a file. On a mistake it returns nil; what is wrong is in src.
func parseYAML(src *source) *node {
	switch {
	case len(src.text) > maxFile:
		src.errorf(-1, "the file has %d KiB; %d KiB is the limit", len(src.text)>>10, maxFile>>10)
		return nil
	case !utf8.ValidString(src.text):
		i := 0
		for i < len(src.text) {
			r, size := utf8.DecodeRuneInString(src.text[i:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			i += size
		}
		src.errorf(i, "this byte is not UTF-8")
		return nil
	}
	// The parser drops tabs within plain texts, and joins the words around them.
	if i := strings.IndexByte(src.text, '\t'); i >= 0 {
		src.errorf(i, "this is a tab: YAML is written with spaces")
		return nil
	}
	if n := usualYAML(src); n != nil {
		return n
	}
	return generalYAML(src)
}

// generalYAML reads whatever is YAML, and says what is wrong with what is not.
func generalYAML(src *source) *node {
	tokens := lexer.Tokenize(src.text)
	if !checkTokens(src, tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		src.syntax(err)
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		src.errorf(-1, "the file is empty")
		return nil
	}
	if len(file.Docs) > 1 {
		src.errorf(-1, "there are %d documents; one file holds one", len(file.Docs))
		return nil
	}
	before := len(src.problems)
	n := src.node(file.Docs[0].Body)
	if len(src.problems) > before {
		return nil
	}
	return n
}

// checkTokens refuses what the language does without, and nesting that would cost too much to parse.
func checkTokens(src *source, tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		src.errorf(-1, "the file has more than %d pieces", maxTokens)
		return false
	}
	var flow int
	var columns []int // of the block collections that are open
	place := func(t *token.Token) int { return src.offset(t.Position.Line, t.Position.Column) }
	for i, t := range tokens {
		open := 0 // the column at which a block collection's entry begins
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType:
			open = t.Position.Column
		case token.MappingValueType:
			if flow == 0 && i > 0 {
				open = tokens[i-1].Position.Column
			}
		case token.AnchorType, token.AliasType, token.TagType:
			src.errorf(place(t), "YAML reads %q here as an anchor, alias or tag, which are not allowed; if it begins an expression, write the "+
				"expression in quotes or on its own lines after `|`", firstRune(src.text[place(t):]))
			return false
		case token.MergeKeyType:
			src.errorf(place(t), "merge keys (<<) are not allowed: write the keys out")
			return false
		case token.MappingKeyType:
			src.errorf(place(t), "`?` begins a complex key in YAML; if it belongs to an expression, quote the whole expression")
			return false
		case token.DirectiveType:
			src.errorf(place(t), "directives (%%) are not allowed; if it begins an expression, quote the expression")
			return false
		case token.DocumentHeaderType, token.DocumentEndType:
			if i > 0 && tokens[i-1].Type != token.CommentType {
				src.errorf(place(t), "one file holds one document")
				return false
			}
		case token.InvalidType:
			src.errorf(place(t), "%s", yamlWords(t.Error, src, place(t)))
			return false
		}
		if open > 0 {
			for len(columns) > 0 && columns[len(columns)-1] >= open {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, open)
		}
		if flow+len(columns) > maxDepth {
			src.errorf(place(t), "nested more than %d deep", maxDepth)
			return false
		}
	}
	return true
}

func firstRune(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return s[:size]
}

// syntax records an error of the parser, in words for its usual causes.
func (s *source) syntax(err error) {
	var e interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &e) || e.GetToken() == nil {
		s.errorf(-1, "%s", err)
		return
	}
	at := s.offset(e.GetToken().Position.Line, e.GetToken().Position.Column)
	s.errorf(at, "%s", yamlWords(e.GetMessage(), s, at))
}

// yamlWords says what a YAML error usually means in a playbook.
func yamlWords(message string, s *source, at int) string {
	start := strings.LastIndexByte(s.text[:min(at, len(s.text))], '\n') + 1
	line, _, _ := strings.Cut(s.text[start:], "\n")
	key, rest, _ := strings.Cut(line, ": ")
	switch {
	case strings.Contains(message, "mapping value is not allowed") && strings.Contains(rest, ": "):
		return "a `: ` within a plain text begins a mapping in YAML: put the whole value of " + strings.TrimSpace(key) +
			" in quotes ('…'), or on lines of its own after `|`"
	case strings.Contains(message, "could not find end character") || strings.Contains(message, "must be specified"):
		return message + " (an expression that begins with \" ' [ or { must be put in quotes as a whole, or written after `|`)"
	case strings.IndexAny(strings.TrimSpace(rest), `"'[{`) == 0:
		return message + " (an expression that begins with \" ' [ or { must be put in quotes as a whole, or written after `|`)"
	}
	return message
}

// node converts what the parser made.
func (s *source) node(n ast.Node) *node {
	if n == nil {
		return &node{kind: null, src: s, at: len(s.text)}
	}
	t := n.GetToken()
	out := &node{src: s, at: s.offset(t.Position.Line, t.Position.Column)}
	switch n := n.(type) {
	case *ast.NullNode:
		if t.Type != token.ImplicitNullType {
			out.kind, out.text = scalar, t.Value
		}
	case *ast.StringNode:
		out.kind, out.text = scalar, n.Value
		if t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType {
			out.style = quoted
		}
	case *ast.LiteralNode:
		out.kind, out.text, out.style = scalar, n.Value.Value, block
		if end := strings.IndexByte(s.text[out.at:], '\n'); end >= 0 {
			out.at += end + 1
		}
	case *ast.MappingNode:
		out.kind = mapping
		for _, v := range n.Values {
			out.add(v, n.IsFlowStyle)
		}
		if !n.IsFlowStyle && len(out.keys) > 0 {
			out.at = out.keys[0].at
		}
	case *ast.MappingValueNode:
		out.kind = mapping
		out.add(n, n.IsFlowStyle)
		out.at = out.keys[0].at
	case *ast.SequenceNode:
		out.kind = sequence
		for _, v := range n.Values {
			item := s.node(v)
			if n.IsFlowStyle && unbalanced(item) {
				s.cutByComma(item)
			}
			out.items = append(out.items, item)
		}
	default: // numbers, booleans, infinities: texts to us; what they mean depends on where they stand
		out.kind, out.text = scalar, t.Value
	}
	return out
}

// add appends an entry of a mapping.
func (n *node) add(v *ast.MappingValueNode, flow bool) {
	key, value := n.src.node(v.Key), n.src.node(v.Value)
	if value.kind == null && value.at >= len(n.src.text) {
		value.at = key.at
	}
	if flow && (unbalanced(key) || unbalanced(value)) {
		n.src.cutByComma(key)
		return
	}
	if len(n.keys) == maxEntries {
		n.src.errorf(key.at, "one mapping has more than %d entries", maxEntries)
	}
	if len(n.keys) >= maxEntries {
		return
	}
	for _, k := range n.keys {
		if k.text == key.text {
			n.src.errorf(key.at, "the key %q is given twice", key.text)
			break
		}
	}
	n.keys, n.items = append(n.keys, key), append(n.items, value)
}

// unbalanced reports whether a plain text has a bracket without its partner: within {…} and […] a comma ends it.
func unbalanced(n *node) bool {
	return n.kind == scalar && n.style == plain &&
		(strings.Count(n.text, "(") != strings.Count(n.text, ")") || strings.Count(n.text, `"`)%2 == 1)
}

func (s *source) cutByComma(n *node) {
	if len(s.problems) > 0 && strings.Contains(s.problems[len(s.problems)-1].Text, "a comma ends") {
		return // the other half of the same expression
	}
	s.errorf(n.at, "within {…} and […] a comma ends a plain text, and cut this one here: put the whole expression in quotes")
}

// get is the value under a key, or nil.
func (n *node) get(key string) *node {
	if n == nil || n.kind != mapping {
		return nil
	}
	for i, k := range n.keys {
		if k.text == key {
			return n.items[i]
		}
	}
	return nil
}

func (n *node) errorf(format string, args ...any) { n.src.errorf(n.at, format, args...) }

// place is where character i (counted in runes) of a scalar's decoded text stands in the file. The decoded text and the raw one
// are walked side by side: white space matches white space, and what is only in the raw text (indentation, the backslash of an
// escape, the second of two single quotes) is passed over.
func (n *node) place(i int) int {
	raw, at := n.src.text, n.at
	if n.style == quoted {
		at++
	}
	for _, r := range n.text {
		if isSpace(r) {
			if i == 0 {
				return at
			}
			i--
			if at < len(raw) && isSpace(rune(raw[at])) {
				at++
			}
			continue
		}
		next := at
		for next < len(raw) && next < at+256 {
			have, size := utf8.DecodeRuneInString(raw[next:])
			if have == r {
				break
			}
			next += size
		}
		if next >= len(raw) || next >= at+256 {
			return at // an escape like \u4e2d: near enough
		}
		if i == 0 {
			return next
		}
		i--
		at = next + utf8.RuneLen(r)
	}
	return at
}

func isSpace(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || r == '\r' }

// comment is what follows a plain scalar on its line after ` #`: to YAML it is a comment, to the author it may be part of the
// expression.
func (n *node) comment() bool {
	if n.style != plain || n.kind != scalar {
		return false
	}
	end := n.place(utf8.RuneCountInString(n.text))
	rest, _, _ := strings.Cut(n.src.text[min(end, len(n.src.text)):], "\n")
	return strings.HasPrefix(strings.TrimLeft(rest, " \t"), "#")
}

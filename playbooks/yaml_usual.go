package playbooks

import "strings"

// usualYAML reads a file that is written as playbooks usually are: block mappings and lists, values on one line, quotes, {…}, […], and
// blocks after |, |- and >-. It makes the same tree as the general parser at a twentieth of the cost, which was half of a library's
// loading; whatever it is not certain of, mistakes among it, it leaves to that one: nil.
func usualYAML(src *source) *node {
	r := usualReader{src: src, text: src.text}
	if !strings.HasSuffix(r.text, "\n") || strings.ContainsAny(r.text, "\r\uFEFF\u0085\u2028\u2029") || hasControls(r.text) {
		return nil
	}
	if r.nextLine() != 0 {
		return nil
	}
	n := r.mapping(0, 0)
	if r.odd || r.at < len(r.text) {
		return nil
	}
	return n
}

func hasControls(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' && text[i] != '\n' || text[i] == 0x7f {
			return true
		}
	}
	return false
}

// usualReader goes through a text once.
type usualReader struct {
	src  *source
	text string
	at   int
	odd  bool // something is not usual
}

// Less than the general parser's limits.
const (
	usualDepth   = maxDepth / 2
	usualEntries = 100
)

func (r *usualReader) giveUp() *node {
	r.odd, r.at = true, len(r.text)
	return nil
}

// peek is the byte at the reader's place; 0 at the end.
func (r *usualReader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

func (r *usualReader) spaces() {
	for r.peek() == ' ' {
		r.at++
	}
}

// nextLine goes to the first character of the next line that is neither empty nor a comment, and returns its indentation; -1 at the end. It
// must be called at a line's beginning.
func (r *usualReader) nextLine() int {
	for r.at < len(r.text) {
		from := r.at
		r.spaces()
		switch r.peek() {
		case '\n':
			r.at++
		case '#':
			r.skipLine()
		default:
			return r.at - from
		}
	}
	return -1
}

func (r *usualReader) skipLine() {
	r.at += strings.IndexByte(r.text[r.at:], '\n') + 1
}

// indentation is that of the next line with something in it; the reader stays where it is.
func (r *usualReader) indentation() int {
	at := r.at
	n := r.nextLine()
	r.at = at
	return n
}

// endLine wants the rest of the line to be empty.
func (r *usualReader) endLine() {
	if r.peek() != '\n' {
		r.giveUp()
		return
	}
	r.at++
}

// mapping reads the entries that stand at an indentation, from the first one's key on.
func (r *usualReader) mapping(indent, depth int) *node {
	out := &node{kind: mapping, src: r.src, at: r.at}
	for !r.odd {
		key := r.key()
		if r.odd || depth == usualDepth || len(out.keys) == usualEntries || out.get(key.text) != nil {
			return r.giveUp()
		}
		var value *node
		if r.peek() == '\n' {
			r.at++
			value = r.nested(indent, depth)
		} else {
			r.at++
			value = r.value(indent, depth)
		}
		if r.odd || value == nil {
			return r.giveUp()
		}
		out.keys, out.items = append(out.keys, key), append(out.items, value)
		switch next := r.indentation(); {
		case next == indent:
			r.nextLine()
		case next > indent: // a text that goes on, or a mistake
			return r.giveUp()
		default:
			return out
		}
	}
	return nil
}

// nested reads what stands below a key or after a dash.
func (r *usualReader) nested(indent, depth int) *node {
	in := r.nextLine()
	if in <= indent {
		return r.giveUp()
	}
	switch c := r.peek(); {
	case c == '-' && strings.HasPrefix(r.text[r.at:], "- "):
		return r.sequence(in, depth+1)
	case c == '[' || c == '{':
		n := r.flow(indent, depth+1)
		r.endLine()
		return n
	case isWord(c):
		return r.mapping(in, depth+1)
	}
	return r.giveUp()
}

// sequence reads the items that stand at an indentation, from the first dash on.
func (r *usualReader) sequence(indent, depth int) *node {
	out := &node{kind: sequence, src: r.src, at: r.at}
	for !r.odd {
		if !strings.HasPrefix(r.text[r.at:], "- ") || depth == usualDepth || len(out.items) == usualEntries {
			return r.giveUp()
		}
		r.at += 2
		var item *node
		if r.keyAhead() {
			item = r.mapping(indent+2, depth+1)
		} else {
			item = r.value(indent, depth)
		}
		if r.odd || item == nil {
			return r.giveUp()
		}
		out.items = append(out.items, item)
		switch next := r.indentation(); {
		case next == indent:
			r.nextLine()
		case next > indent:
			return r.giveUp()
		default:
			return out
		}
	}
	return nil
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// keyAhead reports whether a key begins here.
func (r *usualReader) keyAhead() bool {
	i := r.at
	for i < len(r.text) && isWord(r.text[i]) {
		i++
	}
	return i > r.at && r.text[r.at] != '-' && i+1 < len(r.text) && r.text[i] == ':' && (r.text[i+1] == ' ' || r.text[i+1] == '\n')
}

// key reads a key and the colon behind it.
func (r *usualReader) key() *node {
	if !r.keyAhead() {
		return r.giveUp()
	}
	from := r.at
	r.at += strings.IndexByte(r.text[from:], ':') + 1
	return &node{kind: scalar, src: r.src, at: from, text: r.text[from : r.at-1]}
}

// value reads what stands behind a key or a dash, and the end of its line.
func (r *usualReader) value(indent, depth int) *node {
	if c := r.peek(); c == ' ' || c == '\n' {
		return r.giveUp()
	}
	var n *node
	switch c := r.peek(); c {
	case '|', '>':
		return r.block(indent)
	case '"', '\'':
		n = r.quoted(c)
	case '{', '[':
		n = r.flow(indent, depth+1)
	default:
		end := strings.IndexByte(r.text[r.at:], '\n')
		n = r.plain(r.text[r.at : r.at+end])
	}
	r.endLine()
	return n
}

// plain takes a text without quotes.
func (r *usualReader) plain(text string) *node {
	if text == "" || strings.IndexByte("-?:,[]{}#&*!|>'\"%@`=<~ ", text[0]) >= 0 || strings.HasSuffix(text, ":") || strings.HasSuffix(text, " ") ||
		strings.Contains(text, ": ") || strings.Contains(text, " #") {
		return r.giveUp()
	}
	n := &node{kind: scalar, src: r.src, at: r.at, text: text}
	r.at += len(text)
	return n
}

// quoted reads a text in quotes that ends on its line.
func (r *usualReader) quoted(quote byte) *node {
	n := &node{kind: scalar, src: r.src, at: r.at, style: quoted}
	r.at++
	from := r.at
	escaped := false
	for ; r.at < len(r.text); r.at++ {
		next := byte(0)
		if r.at+1 < len(r.text) {
			next = r.text[r.at+1]
		}
		switch c := r.text[r.at]; {
		case c == '\n', quote == '"' && c == '\\' && next != '"' && next != '\\':
			return r.giveUp()
		case quote == '"' && c == '\\', quote == '\'' && c == quote && next == quote:
			escaped = true
			r.at++
		case c == quote:
			n.text = r.text[from:r.at]
			r.at++
			if escaped && quote == '"' {
				n.text = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(n.text)
			} else if escaped {
				n.text = strings.ReplaceAll(n.text, "''", "'")
			}
			return n
		}
	}
	return r.giveUp()
}

// block reads the lines after |, |- or >-, all of which are indented as the first one is, or more after |.
func (r *usualReader) block(indent int) *node {
	line, _, _ := strings.Cut(r.text[r.at:], "\n")
	if line != "|" && line != "|-" && line != ">-" {
		return r.giveUp()
	}
	r.skipLine()
	n := &node{kind: scalar, src: r.src, at: r.at, style: block}
	var b strings.Builder
	in := 0
	for r.at < len(r.text) {
		from := r.at
		r.spaces()
		own := r.at - from
		if r.peek() == '\n' && (own > 0 || line == ">-" || in == 0) {
			return r.giveUp()
		}
		if in == 0 {
			in = own
			if in <= indent {
				return r.giveUp()
			}
		}
		if own < in && r.peek() != '\n' {
			if own > indent || r.peek() == '#' {
				return r.giveUp()
			}
			r.at = from
			break
		}
		if own > in && line == ">-" {
			return r.giveUp()
		}
		r.at = from
		r.skipLine()
		if line == ">-" && b.Len() > 0 {
			b.WriteByte(' ')
		}
		text := r.text[from+min(own, in) : r.at-1]
		if strings.HasSuffix(text, " ") {
			return r.giveUp()
		}
		b.WriteString(text)
		if line != ">-" {
			b.WriteByte('\n')
		}
	}
	n.text = b.String()
	switch body := strings.TrimRight(n.text, "\n"); {
	case body == "":
		return r.giveUp()
	case line == "|":
		n.text = body + "\n"
	default:
		n.text = body
	}
	return n
}

// flow reads {…} or […].
func (r *usualReader) flow(indent, depth int) *node {
	out := &node{kind: sequence, src: r.src, at: r.at}
	end := byte(']')
	if r.peek() == '{' {
		out.kind, end = mapping, '}'
	}
	if depth >= usualDepth {
		return r.giveUp()
	}
	r.at++
	for !r.odd {
		r.between(indent)
		if out.kind == mapping {
			key := r.key()
			if r.odd || r.peek() != ' ' || len(out.keys) == usualEntries || out.get(key.text) != nil {
				return r.giveUp()
			}
			r.at++
			out.keys = append(out.keys, key)
		}
		item := r.item(indent, depth)
		if r.odd || item == nil || unbalanced(item) || len(out.items) == usualEntries {
			return r.giveUp()
		}
		out.items = append(out.items, item)
		switch r.peek() {
		case end:
			r.at++
			return out
		case ',':
			r.at++
			if c := r.peek(); c != ' ' && c != '\n' {
				return r.giveUp()
			}
		default:
			return r.giveUp()
		}
	}
	return nil
}

// between passes over what is between the entries of a flow collection: a space, or the end of the line.
func (r *usualReader) between(indent int) {
	r.spaces()
	if r.peek() != '\n' {
		return
	}
	r.at++
	from := r.at
	r.spaces()
	if c := r.peek(); r.at-from <= indent || c == '\n' || c == '#' {
		r.giveUp()
	}
}

// item reads an entry of a flow collection, or the value of one.
func (r *usualReader) item(indent, depth int) *node {
	switch c := r.peek(); c {
	case '"', '\'':
		return r.quoted(c)
	case '{', '[':
		return r.flow(indent, depth+1)
	}
	end := strings.IndexAny(r.text[r.at:], ",]}[{\n")
	if end < 0 {
		return r.giveUp()
	}
	return r.plain(r.text[r.at : r.at+end])
}

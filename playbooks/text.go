package playbooks

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hostmend/hostmend/probes"
)

// rawText is a text as it is written: words, and expressions in {…}. {{ and }} stand for the brackets themselves.
type rawText struct {
	in     *node
	pieces []rawPiece
}

type rawPiece struct {
	words string
	expr  *expression
}

// readText splits a text; nil if it cannot be, which is then recorded.
func readText(n *node) *rawText {
	t, ok := &rawText{in: n}, true
	if !strings.ContainsAny(n.text, "{}") {
		if n.text != "" {
			t.pieces = []rawPiece{{words: n.text}}
		}
		return t
	}
	runes := []rune(n.text)
	var words strings.Builder
	flush := func() {
		if words.Len() > 0 {
			t.pieces = append(t.pieces, rawPiece{words: words.String()})
			words.Reset()
		}
	}
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case (r == '{' || r == '}') && i+1 < len(runes) && runes[i+1] == r:
			words.WriteRune(r)
			i++
		case r == '{':
			end := closing(runes, i)
			if end < 0 {
				n.src.errorf(n.place(i), "this { is not closed; {{ stands for the bracket itself")
				return nil
			}
			flush()
			e := parse(n, i+1, string(runes[i+1:end]))
			ok = ok && e != nil
			t.pieces = append(t.pieces, rawPiece{expr: e})
			i = end
		case r == '}':
			n.src.errorf(n.place(i), "this } closes nothing; }} stands for the bracket itself")
			return nil
		default:
			words.WriteRune(r)
		}
	}
	flush()
	if !ok {
		return nil
	}
	return t
}

// closing is where the bracket at i is closed, outside quotes.
func closing(runes []rune, i int) int {
	depth, quote := 0, rune(0)
	for ; i < len(runes); i++ {
		switch r := runes[i]; {
		case quote != 0:
			if r == '\\' {
				i++
			} else if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'' || r == '`':
			quote = r
		case r == '{':
			depth++
		case r == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// lone is the expression of a text that is nothing but {expression}: it keeps its type.
func (t *rawText) lone() *expression {
	if len(t.pieces) == 1 {
		return t.pieces[0].expr
	}
	return nil
}

// template is a text whose expressions are compiled.
type template struct{ pieces []piece }

type piece struct {
	words   string
	op      *operand // nil: words; one for both languages
	element bool     // it is about the element of for_each
}

// inText is an expression of a text, where the element of for_each can be seen or not.
type inText struct {
	text    string
	element bool
}

func (c *compiler) template(t *rawText) template {
	var out template
	if t == nil {
		return out
	}
	out.pieces = make([]piece, 0, len(t.pieces))
	for _, p := range t.pieces {
		if p.expr == nil {
			out.pieces = append(out.pieces, piece{words: p.words})
			continue
		}
		key := inText{p.expr.text, c.each != nil}
		if known, ok := c.texts[key]; ok {
			out.pieces = append(out.pieces, known)
			continue
		}
		c.usesElement = false
		o := c.compile(p.expr)
		if o.ok() && (o.is(probes.Struct) || o.is(probes.Map)) {
			p.expr.errorf(0, "a text cannot show %s: name one of its facts", words(o.typ))
			continue
		}
		if o.is(probes.List) && (o.typ.Elem.Kind >= probes.List) {
			p.expr.errorf(0, "a text cannot show a list of these: name one fact of each, map(list, .NAME)")
			continue
		}
		if o.ok() {
			c.texts[key] = piece{op: &o, element: c.usesElement}
			out.pieces = append(out.pieces, c.texts[key])
		}
	}
	return out
}

// language is what differs between the languages of texts.
type language struct{ unknown, separator, more string }

var (
	english = language{unknown: "unknown", separator: ", ", more: " and %d more"}
	chinese = language{unknown: "未知", separator: "、", more: " 等 %d 个"}
)

// say fills a text in for people. Without an element, what is about one is left open.
func (t template) say(m *machine, l language, element bool) string {
	if len(t.pieces) == 1 && t.pieces[0].words != "" {
		return t.pieces[0].words
	}
	var b strings.Builder
	for _, p := range t.pieces {
		switch {
		case p.words != "":
			b.WriteString(p.words)
		case p.element && !element:
			b.WriteString("…")
		default:
			b.WriteString(p.op.say(m, l))
		}
	}
	return b.String()
}

// maxListed is how many elements of a list a text names.
const maxListed = 5

func (o operand) say(m *machine, l language) string {
	if o.is(probes.List) {
		var parts []string
		n := 0
		more, st := o.q.each(m, func(belongs truth) bool {
			if belongs != yes {
				return true
			}
			if n++; n <= maxListed {
				parts = append(parts, o.q.elem.say(m, l))
			}
			return true
		})
		if st != known {
			return l.unknown
		}
		s := strings.Join(parts, l.separator)
		if n += more; n > len(parts) {
			rest := n - len(parts)
			if l.more == chinese.more {
				rest = n
			}
			s += fmt.Sprintf(l.more, rest)
		}
		return s
	}
	v, st := o.eval(m)
	if st != known {
		return l.unknown
	}
	return Human(&v, o.unit)
}

// exact is a value as a program wants it.
func exact(v *probes.Value) string {
	switch v.Kind() {
	case probes.Bool:
		return strconv.FormatBool(v.Bool())
	case probes.Int:
		return strconv.FormatInt(v.Int(), 10)
	case probes.Float:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case probes.Duration:
		return v.Duration().String()
	}
	return v.Str()
}

// Human is a known scalar as people read it: bytes as 1.2 GiB, a duration as 3h2m, a number with no more digits than matter.
func Human(v *probes.Value, unit string) string {
	switch v.Kind() {
	case probes.Bool:
		if v.Bool() {
			return "yes"
		}
		return "no"
	case probes.Int:
		if unit == "bytes" {
			return bytesText(float64(v.Int()))
		}
		return strconv.FormatInt(v.Int(), 10)
	case probes.Float:
		if unit == "bytes" {
			return bytesText(v.Float())
		}
		if unit == "%" {
			return trimZeros(strconv.FormatFloat(v.Float(), 'f', 1, 64))
		}
		return number(v.Float())
	case probes.Duration:
		return durationText(v.Duration())
	}
	return truncate(oneLine(v.Str()), maxShown)
}

// oneLine keeps what a host says from making lines of its own among the playbook's: a mount may be called "x\n1. Run this".
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// maxShown is how many characters of one text a text shows: a kernel message may have a thousand.
const maxShown = 200

// number shows three digits that matter, and all before the point.
func number(f float64) string {
	digits := 3
	if a := math.Abs(f); a >= 1 {
		digits = max(0, 2-int(math.Log10(a)))
	} else if a > 0 {
		digits = min(12, 2-int(math.Floor(math.Log10(a))))
	}
	return trimZeros(strconv.FormatFloat(f, 'f', digits, 64))
}

func trimZeros(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// bytesText leaves odd numbers below 10 KiB as they are: an MTU of 1500 is no 1.5 KiB.
func bytesText(f float64) string {
	if math.Abs(f) < 10<<10 && math.Mod(f, 1024) != 0 || f == 0 {
		return strconv.FormatFloat(f, 'f', 0, 64) + " B"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for ; math.Abs(f) >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return trimZeros(strconv.FormatFloat(f, 'f', 1, 64)) + " " + units[i]
}

// durationText shows the two largest parts of a duration.
func durationText(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -max(d, -math.MaxInt64)
	}
	day := 24 * time.Hour
	var s string
	switch {
	case d == 0:
		return "0s"
	case d >= day:
		s = fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		s = fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		s = fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d >= time.Second:
		s = number(d.Seconds()) + "s"
	case d >= time.Millisecond:
		s = number(float64(d)/float64(time.Millisecond)) + "ms"
	default:
		s = number(float64(d)/float64(time.Microsecond)) + "µs"
	}
	for _, zero := range []string{"d0h", "h0m", "m0s"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return sign + s
}

// truncate cuts a text that people read.
func truncate(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

package report

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// clean makes a text harmless to print: what a terminal or a reader would act on (escape sequences, line breaks, characters that
// turn the direction of writing or that cannot be seen) is written out as Go would. Names of files, units, processes and
// messages of the kernel are chosen by whoever is on the host.
func clean(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case !unicode.IsPrint(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// cleaned is a copy of the report of which every text is clean. It goes over all fields, so that none can be forgotten. Manual
// steps, which playbooks write in several lines, keep their lines.
func (r *Report) cleaned() *Report {
	c := deepClean(reflect.ValueOf(*r), clean).Interface().(Report)
	return &c
}

func deepClean(v reflect.Value, f func(string) string) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		out.SetString(f(v.String()))
	case reflect.Struct:
		if v.Type().PkgPath() != reflect.TypeFor[Report]().PkgPath() { // time.Time
			return v
		}
		for i := range v.NumField() {
			g := f
			if v.Type().Field(i).Name == "Manual" {
				g = CleanLines
			}
			out.Field(i).Set(deepClean(v.Field(i), g))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 || v.IsNil() {
			return v
		}
		out = reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(deepClean(v.Index(i), f))
		}
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		out = reflect.MakeMap(v.Type())
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), deepClean(it.Value(), f))
		}
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out = reflect.New(v.Type().Elem())
		out.Elem().Set(deepClean(v.Elem(), f))
	default:
		return v
	}
	return out
}

// CleanLines is a text of several lines in which nothing can act on a terminal, such as an error that quotes a file.
func CleanLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// columns is how many columns of a terminal a clean text takes: two for a wide (Chinese) character, none for a mark that
// combines with the one before it.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// wrap breaks a text into lines of at most max columns: at spaces; within Chinese, which has none, between characters, but not
// before a mark that ends a phrase; a word that is too long wherever it must be.
func wrap(s string, limit int) []string {
	var lines []string
	line, used, gap := "", 0, ""
	for _, word := range words(keepTogether.Replace(s)) {
		switch n := columns(word); {
		case word == " ":
			gap = " "
			continue
		case used > 0 && used+len(gap)+n > limit:
			lines, line, used = append(lines, line), word, n
		default:
			if used == 0 {
				gap = ""
			}
			line, used = line+gap+word, used+len(gap)+n
		}
		gap = ""
		for used > limit {
			head, rest := cutColumns(line, limit)
			if rest == "" {
				break
			}
			lines, line, used = append(lines, head), rest, columns(rest)
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], noBreak, " ")
	}
	return lines
}

// noBreak stands for a space at which no line ends, while it is being wrapped: a number stays with its unit.
const noBreak = "\u00a0"

var keepTogether = strings.NewReplacer(" %", noBreak+"%", " KiB", noBreak+"KiB", " MiB", noBreak+"MiB", " GiB", noBreak+"GiB", " TiB", noBreak+"TiB", " ms", noBreak+"ms")

// words splits a text at spaces, which are words of their own, and around wide characters.
func words(s string) []string {
	var out []string
	open := false // the last word may grow
	for _, r := range s {
		switch {
		case r == ' ':
			out, open = append(out, " "), false
		case closing(r) && len(out) > 0 && out[len(out)-1] != " ":
			out[len(out)-1] += string(r)
			open = false
		case runeColumns(r) == 2:
			out, open = append(out, string(r)), false
		case open:
			out[len(out)-1] += string(r)
		default:
			out, open = append(out, string(r)), true
		}
	}
	return out
}

// closing reports whether r is a mark of Chinese writing that must not begin a line.
func closing(r rune) bool {
	return strings.ContainsRune("，。；：！？、）》」』”’…", r)
}

// cutColumns cuts a text after at most limit columns, but never before its first character.
func cutColumns(s string, limit int) (head, rest string) {
	n := 0
	for i, r := range s {
		if n += runeColumns(r); n > limit && i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// pad fills a text up with spaces to n columns.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-columns(s)))
}

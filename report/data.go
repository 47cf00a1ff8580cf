package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// WriteData writes a value as "json" or "yaml": the same keys in the same order.
func WriteData(w io.Writer, format string, v any) error {
	compact, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if format == "yaml" {
		return writeYAML(w, compact)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is for programs and terminals; the HTML page is made by html/template
	enc.SetIndent("", "  ")
	if err := enc.Encode(json.RawMessage(compact)); err != nil {
		return err
	}
	_, err = io.WriteString(w, escapeUnseen(b.String()))
	return err
}

// escapeUnseen writes characters that a terminal would act on or not show as \u escapes; encoding/json lets those above 0x7f
// pass. In JSON's text they stand only within strings.
func escapeUnseen(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// writeYAML writes JSON's values in YAML's block style. Strings that are not plain words are quoted, in which JSON and YAML agree.
func writeYAML(w io.Writer, data []byte) error {
	y := &yamlWriter{dec: json.NewDecoder(strings.NewReader(string(data)))}
	y.dec.UseNumber()
	if err := y.value(0, false); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.TrimPrefix(y.String(), "\n"))
	return err
}

type yamlWriter struct {
	strings.Builder
	dec *json.Decoder
}

// value writes the next value; where item is set, it follows a "- " on the same line.
func (y *yamlWriter) value(depth int, item bool) error {
	t, err := y.dec.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		return y.collection(t, depth, item)
	case string:
		y.WriteString(" " + yamlString(t))
	case nil:
		y.WriteString(" null")
	default:
		fmt.Fprintf(y, " %v", t)
	}
	if depth == 0 {
		y.WriteByte('\n')
	}
	return nil
}

// collection writes an object or an array that has begun.
func (y *yamlWriter) collection(open json.Delim, depth int, item bool) error {
	if !y.dec.More() {
		y.WriteString(map[json.Delim]string{'{': " {}", '[': " []"}[open])
	}
	for first := true; y.dec.More(); first = false {
		if item && first {
			y.WriteByte(' ')
		} else {
			y.WriteString("\n" + strings.Repeat("  ", depth))
		}
		if open == '{' {
			key, err := y.dec.Token()
			if err != nil {
				return err
			}
			y.WriteString(yamlString(key.(string)) + ":")
		} else {
			y.WriteByte('-')
		}
		if err := y.value(depth+1, open == '['); err != nil {
			return err
		}
	}
	_, err := y.dec.Token()
	if depth == 0 {
		y.WriteByte('\n')
	}
	return err
}

// yamlString quotes a string unless it is a word that YAML cannot take for anything else.
func yamlString(s string) string {
	plain := s != ""
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		plain = plain && (letter || i > 0 && (r >= '0' && r <= '9' || strings.ContainsRune("_-./", r)))
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n": // YAML 1.1 and 1.2
		plain = false
	}
	if plain {
		return s
	}
	return yamlQuote(s)
}

// yamlQuote writes a string in double quotes, with the escapes of YAML 1.2 for what cannot be seen.
func yamlQuote(s string) string {
	b := []byte{'"'}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case unicode.IsPrint(r):
			b = append(b, string(r)...)
		case r > 0xffff:
			b = fmt.Appendf(b, `\U%08x`, r)
		default:
			b = append(b, `\u`...)
			b = append(b, strconv.FormatInt(int64(r)+0x10000, 16)[1:]...)
		}
	}
	return string(append(b, '"'))
}

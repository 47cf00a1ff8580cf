package report

import (
	"fmt"
	"io"
	"strings"
)

// Page is what a report for people is made for.
type Page struct {
	Lang  string // "en" or "zh"
	Width int    // columns; 0: 80
	Color bool   // a terminal that shows colours
	ASCII bool   // a terminal that shows nothing else
}

// page writes lines to a terminal or a file, and keeps the first error.
type page struct {
	Page
	w   io.Writer
	err error
}

func newPage(w io.Writer, p Page) *page {
	if p.Width <= 0 {
		p.Width = 80
	}
	p.Width = max(p.Width, 40) // narrower, indentation would eat the text
	return &page{Page: p, w: w}
}

func (p *page) line(s string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(s, " "))
	}
}

// block prints a text after a label, its further lines indented as far. Both are plain; the styles are put around them here, where
// the columns have been counted.
func (p *page) block(label, labelStyle, text, textStyle string) {
	indent := columns(label)
	if indent > p.Width/2 { // a label as wide as the page: the text begins on the next line
		p.line(p.style(labelStyle, label))
		label, indent = strings.Repeat(" ", 6), 6
	}
	for i, l := range wrap(text, p.Width-indent) {
		if i > 0 {
			label = strings.Repeat(" ", indent)
		}
		p.line(p.style(labelStyle, label) + p.style(textStyle, l))
	}
}

// text prints a text indented by n columns.
func (p *page) text(n int, text string) { p.block(strings.Repeat(" ", n), "", text, "") }

// The styles: Select Graphic Rendition of ECMA-48.
const (
	bold   = "1"
	dim    = "2"
	red    = "1;31"
	green  = "32"
	yellow = "1;33"
	blue   = "1;34"
)

func (p *page) style(code, s string) string {
	if !p.Color || code == "" || strings.TrimSpace(s) == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

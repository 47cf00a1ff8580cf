package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/hostmend/hostmend/report"
)

// outputFlag adds -o with the formats that a command has; the first is the default.
func outputFlag(c *cobra.Command, into *string, formats ...string) {
	c.Flags().StringVarP(into, "output", "o", formats[0], "format: "+strings.Join(formats, ", "))
	complete(c, "output", formats...)
	c.PreRunE = chain(c.PreRunE, func(c *cobra.Command, _ []string) error {
		if !slices.Contains(formats, *into) {
			return fmt.Errorf("-o %s: the formats of %q are %s", *into, c.CommandPath(), strings.Join(formats, ", "))
		}
		return nil
	})
}

// chain runs one check of a command's flags after another.
func chain(first, then func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	if first == nil {
		return then
	}
	return func(c *cobra.Command, args []string) error {
		if err := first(c, args); err != nil {
			return err
		}
		return then(c, args)
	}
}

// page describes what the reader has before them.
func (p *program) page() report.Page {
	locale := p.locale()
	utf8 := strings.Contains(strings.ToLower(strings.ReplaceAll(locale, "-", "")), "utf8")
	page := report.Page{Lang: p.language(), ASCII: !utf8 && p.language() == "en"}
	if fd, ok := terminal(p.Stdout); ok {
		page.Color = p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(fd); err == nil {
			page.Width = min(width, 120) // longer lines are hard to read
		}
	}
	return page
}

// terminal reports whether w is a terminal, and its descriptor.
func terminal(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	fd := int(f.Fd())
	return fd, term.IsTerminal(fd)
}

// locale is the locale of messages, by the precedence of setlocale(3).
func (p *program) locale() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := p.getenv(name); v != "" {
			return v
		}
	}
	return ""
}

func (p *program) language() string {
	if p.lang != "" {
		return p.lang
	}
	if strings.HasPrefix(p.locale(), "zh") {
		return "zh"
	}
	return "en"
}

func (p *program) checkLang() error {
	if p.lang != "" && p.lang != "en" && p.lang != "zh" {
		return fmt.Errorf("--lang %s: there are en and zh", p.lang)
	}
	return nil
}
